"""The model that a config names, with the weights to begin with or to test."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import check_recorded_settings, config_text
from uniformer_video.config.rows import DEFAULTS
from uniformer_video.config.settings import flat_config, with_settings
from uniformer_video.data.clips.transforms import Normalisation
from uniformer_video.data.lists.formats import MASK
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import CheckpointError, DataError, UserError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.plugins import all_plugins
from uniformer_video.program import command
from uniformer_video.runs.build_masks import mask_classes_of
from uniformer_video.runs.build_task import build_task, check_same_task
from uniformer_video.runs.build_training import _rate_factor
from uniformer_video.runs.class_order import arrange_head
from uniformer_video.versions import versions
from uniformer_video.weights.checkpoint import (
    CALIBRATION,
    TEMPERATURE_LEFT_OUT,
    LoadReport,
    Weights,
    fit_weights,
    read_weights,
)
from uniformer_video.zoo.create import build_for_weights, build_network
from uniformer_video.zoo.inflate import TOKEN_LABELLED
from uniformer_video.zoo.published import known_protocol, local_file
from uniformer_video.zoo.registry import count_classes, find_model, name_by_sizes

log = logging.getLogger(__name__)
# Half of the lowest learning rate at which published runs train without weights to start from
_LOW_RATE = 5e-4


def name_model(cfg: CfgNode) -> CfgNode:
    """`cfg` under the name of the registered model that has its sizes, if it gives those of another.

    Raises `ConfigError` for a name that nobody knows.
    """
    name = cfg.MODEL.MODEL_NAME
    found = name_by_sizes(name, model_options(cfg))
    if found == name:
        return cfg
    log.info("The sizes that are set make MODEL.MODEL_NAME %s the model %s.", name, found)
    return with_settings(cfg, {"MODEL.MODEL_NAME": found})


def build_begun_model(cfg: CfgNode, num_classes: int, weights: Weights) -> RecognitionModel | None:
    """The model of a training that goes on from `weights`, which are loaded later; None if they do not fit.

    What it once started from is not needed any more.
    """
    try:
        return _model_for(cfg, weights, num_classes)
    except UserError:  # another run's, of which the settings tell more
        return None


def note_from_scratch(cfg: CfgNode) -> str:
    """What to say before a training without weights at the rates of fine-tuning, or ""."""
    solver, factor = cfg.SOLVER, _rate_factor(cfg)
    rate = solver.BASE_LR * factor
    scaled = f", scaled to {rate:g}" if factor != 1 else ""
    rates, remedies = [], []
    if rate < _LOW_RATE:
        rates.append(f"a learning rate for fine-tuning (SOLVER.BASE_LR {solver.BASE_LR:g}{scaled})")
        remedies.append("set a rate for training from scratch, about 1e-3")
    if solver.LAYER_DECAY < 1:
        decay = f"SOLVER.LAYER_DECAY {solver.LAYER_DECAY:g}"
        rates.append(f"lower rates for the first layers, which know nothing yet ({decay})")
        remedies.append("set SOLVER.LAYER_DECAY 1")
    if cfg.UNIFORMER.PRETRAIN_NAME or not rates:
        return ""
    return (
        f"No weights to start from (UNIFORMER.PRETRAIN_NAME is empty): {cfg.MODEL.MODEL_NAME} trains from "
        f"scratch, at {' and '.join(rates)}. Name the weights, see `{command('models')}`; or "
        f"{', and '.join(remedies)}."
    )


def build_model(
    cfg: CfgNode, num_classes: int, class_names: Sequence[str] = ()
) -> tuple[RecognitionModel, LoadReport | None]:
    """The model to train, and the `LoadReport` of the weights that it starts from, or None.

    `class_names` are the data's: a classifier that the weights bring is put into their order.
    """
    start = cfg.UNIFORMER.PRETRAIN_NAME
    if not start:
        return build_network(cfg.MODEL.MODEL_NAME, num_classes, **model_options(cfg)), None
    weights = read_weights(local_file(start))
    # Weights without a head for tokens may start token labelling: it begins anew.
    heads = {"aux_head": True} if cfg.TOKEN_LABELS.ENABLE else {}
    model = _model_for(cfg, weights, num_classes, **heads)
    weights, line = arrange_head(weights, model.head_keys, list(class_names), cfg.MODEL.MODEL_NAME)
    report = fit_weights(
        model,
        weights,
        inflate_mode=cfg.UNIFORMER.INFLATE_MODE,
        adapt_kernel=_adapt_kernel(cfg),
        replace_head=True,
    )
    report.notes += [line] if line else []
    report.notes += _notes_on_start(cfg, weights)
    report.notes += [TEMPERATURE_LEFT_OUT] if CALIBRATION in weights.metadata else []
    if weights.training:
        told = weights.training.get("progress", {}).get("epoch")
        unit, stood = weights.place or ("epoch", told)
        report.notes.append(
            f"its training stood at {unit} {stood}; this one begins at 0, with fresh moments"
        )
    return model, report


def _notes_on_start(cfg: CfgNode, weights: Weights) -> Iterator[str]:
    """What is to be known of weights that saw pixels otherwise than this training, or learnt otherwise."""
    own, known = Protocol.from_cfg(cfg), None
    with suppress(DataError):  # damaged, which only a test by it would suffer from
        known = known_protocol(weights)
    if not weights.metadata and own.medium != IMAGE.name:
        known = None  # published runs of videos start from published files with pixels of their own
    ours, theirs = own.views.normalise, known.views.normalise if known else None
    if theirs and theirs != ours:
        yield (
            f"they were trained on pixels of {_in_words(theirs)}, and this run takes {_in_words(ours)}; "
            "DATA.MEAN, DATA.STD and DATA.CHANNEL_ORDER make it the same"
        )
    if weights.is_token_labelled and not find_model(cfg.MODEL.MODEL_NAME).takes_images:
        yield TOKEN_LABELLED


def _in_words(pixels: Normalisation) -> str:
    return f"mean {list(pixels.mean)}, deviation {list(pixels.std)}, {pixels.channel_order}"


def fetch_weights(source: str, ranks: Ranks) -> Path:
    """The local file of weights given as a path, an address or a published name; one rank downloads."""
    ranks.on_main(lambda: str(local_file(source)))
    return local_file(source)


def load_tested_model(
    cfg: CfgNode, path: str | Path, select: str = "model"
) -> tuple[RecognitionModel, Weights]:
    """The model in the checkpoint at `path`, complete, and its `Weights`; select: as `read_weights`."""
    weights = read_weights(path, select)
    if weights.is_image and not find_model(cfg.MODEL.MODEL_NAME).takes_images:
        raise CheckpointError(
            f"{path} holds image (2D) weights, and {cfg.MODEL.MODEL_NAME} takes videos: train from them "
            f"(UNIFORMER.PRETRAIN_NAME {path}), or test them on images"
        )
    check_recorded_settings(weights.metadata.get("config"), str(path))
    check_same_task(weights, build_task(cfg))
    model = _model_for(cfg, weights, count_classes(weights, cfg.MODEL.MODEL_NAME))
    fit_weights(model, weights, adapt_kernel=_adapt_kernel(cfg))
    return model.eval(), weights


def build_metadata(
    cfg: CfgNode, model: RecognitionModel, class_names: Sequence[str]
) -> dict[str, Any]:
    """What a checkpoint says about itself, in plain types: enough to predict with it."""
    task = build_task(cfg)
    palette = mask_classes_of(cfg).palette if task.label_kind == MASK else None
    return {
        "model": {"name": cfg.MODEL.MODEL_NAME, "arguments": dict(model.arguments)},
        "class_names": list(class_names),
        **({"palette": [list(colour) for colour in palette]} if palette else {}),
        **task.mark(),
        "protocol": Protocol.from_cfg(cfg).to_dict(),
        "config": config_text(cfg),
        "plugins": all_plugins(),
        "versions": versions(),
    }


def model_options(cfg: CfgNode) -> Mapping[str, Any]:
    """The arguments of the model that the config sets; what it leaves open is left out."""
    model = find_model(cfg.MODEL.MODEL_NAME)
    flat = flat_config(cfg)
    values = {key: flat[key] for key in model.family.settings}
    # An empty default leaves the choice to the model.
    values = {key: value for key, value in values.items() if value or DEFAULTS[key]}
    return model.family.options_from_settings(model, values)


def _adapt_kernel(cfg: CfgNode) -> bool:
    """Whether weights of another local kernel may be fitted, to a model that has one."""
    has_kernel = "UNIFORMER.ADAPT_KERNEL" in find_model(cfg.MODEL.MODEL_NAME).family.settings
    return cfg.UNIFORMER.ADAPT_KERNEL and has_kernel


def _model_for(
    cfg: CfgNode, weights: Weights, num_classes: int | None, **more: Any
) -> RecognitionModel:
    """A model by the config and `more` options, with what the checkpoint alone knows taken from it."""
    name, options = cfg.MODEL.MODEL_NAME, {**model_options(cfg), **more}
    return build_for_weights(weights, name, num_classes, _adapt_kernel(cfg), **options)
