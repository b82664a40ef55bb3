"""The only place, with `build_data.py`, that turns a config into objects."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import check_recorded_settings, config_text
from uniformer_video.config.rows import DEFAULTS
from uniformer_video.config.settings import flat_config, with_settings
from uniformer_video.data.clips.train_views import TrainAugmentation
from uniformer_video.data.lists.flips import mirror_pairs
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset, TrainDataset
from uniformer_video.data.loading.loader import (
    TrainLoader,
    TrainPlan,
    resolve_workers,
    sampling_weights,
)
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError, UserError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.layer_groups import layer_groups
from uniformer_video.plugins import all_plugins
from uniformer_video.program import command
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_task import build_task, check_same_task
from uniformer_video.runs.class_order import arrange_head
from uniformer_video.training.averages import EMA, AveragedWeights
from uniformer_video.training.compiling import CompiledOutputs
from uniformer_video.training.freezing import Freezing
from uniformer_video.training.mixup import Mixup
from uniformer_video.training.optim import (
    SGD,
    CosineSchedule,
    StepSchedule,
    adamw,
    parameter_groups,
)
from uniformer_video.training.settings import TrainSettings
from uniformer_video.training.state import TrainingOutputs, TrainState
from uniformer_video.versions import versions
from uniformer_video.weights.checkpoint import LoadReport, Weights, fit_weights, read_weights
from uniformer_video.zoo.create import build_for_weights, build_network
from uniformer_video.zoo.published import local_file
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
    model = _model_for(cfg, weights, num_classes)
    weights, line = arrange_head(weights, model.head_keys, list(class_names), cfg.MODEL.MODEL_NAME)
    report = fit_weights(
        model,
        weights,
        inflate_mode=cfg.UNIFORMER.INFLATE_MODE,
        adapt_kernel=_adapt_kernel(cfg),
        replace_head=True,
    )
    report.notes += [line] if line else []
    if weights.training:
        stood = weights.training.get("progress", {}).get("epoch")
        report.notes.append(
            f"its training stood at epoch {stood}; this one begins at 0, with fresh moments"
        )
    return model, report


def fetch_weights(source: str, ranks: Ranks) -> Path:
    """The local file of weights given as a path, an address or a published name; one rank downloads."""
    ranks.on_main(lambda: str(local_file(source)))
    return local_file(source)


def load_tested_model(
    cfg: CfgNode, path: str | Path, select: str = "model"
) -> tuple[RecognitionModel, Weights]:
    """The model in the checkpoint at `path`, complete, and its `Weights`; select: as `read_weights`."""
    weights = read_weights(path, select)
    check_recorded_settings(weights.metadata.get("config"), str(path))
    check_same_task(weights, build_task(cfg))
    model = _model_for(cfg, weights, count_classes(weights, cfg.MODEL.MODEL_NAME))
    fit_weights(model, weights, adapt_kernel=_adapt_kernel(cfg))
    return model.eval(), weights


def build_train_dataset(
    cfg: CfgNode,
    records: Sequence[VideoRecord],
    class_names: Sequence[str],
    faults: dict[str, str] | None = None,
) -> TrainDataset:
    """Random augmented clips; `faults` as in `Data`."""
    return TrainDataset(
        records,
        Protocol.from_cfg(cfg).sampling,
        build_augmentation(cfg, class_names),
        cfg.RNG_SEED,
        copies=cfg.AUG.NUM_SAMPLE if cfg.AUG.ENABLE else 1,
        backend=cfg.DATA.DECODING_BACKEND,
        label_tensor=partial(build_task(cfg).label_tensor, num_classes=len(class_names)),
        faults=faults,
        decode_short_side=cfg.DATA.DECODE_SHORT_SIDE,
    )


def build_train_loader(cfg: CfgNode, data: Data, ranks: Ranks) -> TrainLoader:
    """Batches of augmented clips for this process."""
    dataset = build_train_dataset(cfg, data.train, data.class_names, data.faults)
    slots = cfg.NUM_GPUS * cfg.NUM_SHARDS * cfg.SOLVER.ACCUMULATION_STEPS
    plan = TrainPlan(
        len(data.train),
        slots,
        cfg.TRAIN.BATCH_SIZE // cfg.NUM_GPUS,
        cfg.RNG_SEED,
        sampling_weights(data.train, cfg.DATA.BALANCE),
    )
    workers = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
    own_slots = ranks.own_slots(slots)
    return TrainLoader(dataset, plan, own_slots, workers, cfg.DATA_LOADER.TIMEOUT)


def build_augmentation(cfg: CfgNode, class_names: Sequence[str]) -> TrainAugmentation:
    """What training does to clips."""
    on = cfg.AUG.ENABLE
    relative = cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE
    return TrainAugmentation(
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
        policy=cfg.AUG.AA_TYPE if on else "",
        interpolation=cfg.AUG.INTERPOLATION,
        color_jitter=cfg.AUG.COLOR_JITTER if on else 0.0,
        area=tuple(relative) if relative else None,
        ratio=tuple(cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE),
        scales=tuple(cfg.DATA.TRAIN_JITTER_SCALES),
        **_flips(cfg, class_names),
        erasing=cfg.AUG.RE_PROB if on else 0.0,
        normalise=Protocol.from_cfg(cfg).views.normalise,
        on_device=cfg.AUG.ON_DEVICE,
    )


def _flips(cfg: CfgNode, class_names: Sequence[str]) -> dict[str, Any]:
    """Which clips may be mirrored, and what that does to their classes."""
    mode, exchange = mirroring(cfg, class_names)
    if mode in ("off", "all"):
        return {"flip": mode == "all"}
    if mode == "skip-directional":
        return {"flip": True, "flip_skipped": tuple(exchange)}
    return {"flip": True, "flip_labels": tuple(exchange.items())}


def mirroring(cfg: CfgNode, class_names: Sequence[str]) -> tuple[str, dict[int, int]]:
    """What DATA.FLIP comes to, no "auto" any more, and `{class: the class of its mirrored videos}`, both
    ways; {} where mirrored videos keep their classes.
    """
    given, mode = cfg.DATA.FLIP_CLASS_PAIRS, cfg.DATA.FLIP
    exchange = class_exchange(given, class_names, "DATA.FLIP_CLASS_PAIRS")
    if mode == "auto":
        flipped = "swap-labels" if given else "all"
        mode = flipped if cfg.DATA.RANDOM_FLIP else "off"
    if mode in ("off", "all"):
        return mode, {}
    exchange = exchange or class_exchange(mirror_pairs(class_names), class_names, "DATA.FLIP")
    if not exchange:
        raise ConfigError(
            f"DATA.FLIP is {mode}, and no two classes differ in left and right alone; set "
            "DATA.FLIP_CLASS_PAIRS [[class, class], ...], name the classes, or set DATA.FLIP all or off"
        )
    return mode, exchange


def build_test_dataset(
    cfg: CfgNode,
    records: Sequence[VideoRecord],
    protocol: Protocol,
    playback: str = "forward",
    faults: dict[str, str] | None = None,
) -> EvalDataset:
    """All views of each video; `faults` as in `Data`."""
    return EvalDataset(
        records,
        protocol.sampling,
        protocol.views,
        protocol.num_clips,
        playback,
        backend=protocol.decoder,
        faults=faults,
        decode_short_side=protocol.decode_short_side,
    )


def build_mixup(cfg: CfgNode) -> Mixup | None:
    """Mixup and cutmix, or None."""
    if not cfg.MIXUP.ENABLE:
        return None
    return Mixup(cfg.MIXUP.ALPHA, cfg.MIXUP.CUTMIX_ALPHA, cfg.MIXUP.PROB, cfg.MIXUP.SWITCH_PROB)


def build_optimizer(cfg: CfgNode, model: RecognitionModel) -> torch.optim.Optimizer:
    """The optimiser with the published parameter groups, if the settings do not change them."""
    solver = cfg.SOLVER
    decay: dict[str, Any] = {
        "weight_decay": solver.WEIGHT_DECAY,
        "spare_model_list": solver.ZERO_WD_POS_EMBED,
        "spare_vectors": solver.ZERO_WD_1D_PARAM,
        "batch_norm_decay": cfg.BN.WEIGHT_DECAY,
        "layer_decay": solver.LAYER_DECAY,
    }
    if solver.OPTIMIZING_METHOD == "sgd":
        groups = parameter_groups(model, **decay)
        return SGD(groups, solver.MOMENTUM, solver.DAMPENING, solver.NESTEROV)
    return adamw(model, betas=solver.BETAS, **decay)


def build_train_state(
    cfg: CfgNode, model: RecognitionModel, precision: str, ranks: Ranks
) -> TrainState:
    """The `TrainState` at the beginning, of a model on its device."""
    _set_batch_norms(cfg, model)
    resting = build_freezing(cfg).apply(model)
    outputs = CompiledOutputs if cfg.MODEL.COMPILE else TrainingOutputs
    network = ranks.wrap(outputs(model, resting))  # before anybody holds the parameters
    parts = {EMA: AveragedWeights(model, cfg.EMA.DECAY, cfg.EMA.WARMUP)} if cfg.EMA.ENABLE else {}
    return TrainState(
        model=model,
        network=network,
        optimizer=build_optimizer(cfg, model),
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=precision == "fp16"),
        parts=parts,
    )


def build_freezing(cfg: CfgNode) -> Freezing:
    """What of the model is not trained."""
    model = cfg.MODEL
    return Freezing(
        tuple(model.FREEZE), model.DETACH_FINAL_FC, model.FROZEN_BN, model.FROZEN_BN_AFFINE
    )


def _set_batch_norms(cfg: CfgNode, model: RecognitionModel) -> None:
    """Give BatchNorm another momentum than its own, where one is set."""
    momentum = cfg.BN.MOMENTUM
    if momentum == DEFAULTS["BN.MOMENTUM"]:
        return
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


def build_schedule(cfg: CfgNode) -> Callable[[float], float]:
    """The learning rate as a function of the epoch."""
    solver = cfg.SOLVER
    factor = _rate_factor(cfg)
    shared = {
        "base_lr": solver.BASE_LR * factor,
        "warmup_start_lr": solver.WARMUP_START_LR * factor,
        "warmup_epochs": solver.WARMUP_EPOCHS,
    }
    if solver.LR_POLICY == "steps_with_relative_lrs":
        return StepSchedule(**shared, steps=tuple(solver.STEPS), factors=tuple(solver.LRS))
    return CosineSchedule(
        **shared,
        end_lr=solver.COSINE_END_LR * factor,
        max_epoch=solver.MAX_EPOCH,
        after_warmup=solver.COSINE_AFTER_WARMUP,
    )


def _rate_factor(cfg: CfgNode) -> float:
    if cfg.SOLVER.BASE_LR_BATCH_SIZE:
        return videos_of_step(cfg) / cfg.SOLVER.BASE_LR_BATCH_SIZE
    return cfg.NUM_SHARDS if cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS else 1


def videos_of_step(cfg: CfgNode) -> int:
    """How many videos an update of the weights sees, on all machines."""
    return cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS * cfg.SOLVER.ACCUMULATION_STEPS


def decay_line(cfg: CfgNode, model: RecognitionModel) -> str:
    """What the layers' rates are, or "" where all learn at one."""
    decay = cfg.SOLVER.LAYER_DECAY
    if decay == 1:
        return ""
    layers = layer_groups(model)
    by_name = dict(model.named_parameters())
    is_trained = [any(by_name[name].requires_grad for name in names) for names in layers]
    shares = [decay ** (len(layers) - 1 - depth) for depth in range(len(layers))]
    trained = [share for share, learns in zip(shares, is_trained, strict=True) if learns]
    if trained == [1]:
        return f"SOLVER.LAYER_DECAY {decay:g} has no effect: only the head is trained."
    over = f"SOLVER.LAYER_DECAY {decay:g} over {len(layers)} layers"
    if all(is_trained):
        return f"{over}: the head learns at the learning rate, the stem at {shares[0]:.2g} of it."
    return (
        f"{over}: of the {len(trained)} that are trained the last learns at {trained[-1]:.2g} of the "
        f"learning rate, the first at {trained[0]:.2g}."
    )


def rate_line(cfg: CfgNode) -> str:
    """What scaling did to the learning rates, or "" where they are as given."""
    solver, factor = cfg.SOLVER, _rate_factor(cfg)
    if solver.BASE_LR_BATCH_SIZE:
        meant = solver.BASE_LR_BATCH_SIZE
        why = f"a step has {videos_of_step(cfg)} videos, SOLVER.BASE_LR_BATCH_SIZE is {meant}"
    elif solver.BASE_LR_SCALE_NUM_SHARDS:
        why = f"SOLVER.BASE_LR_SCALE_NUM_SHARDS True, and NUM_SHARDS is {cfg.NUM_SHARDS}"
    else:
        return ""
    return (
        f"All learning rates are multiplied by {factor:g} ({why}): the peak is {solver.BASE_LR * factor:g}, "
        f"in place of SOLVER.BASE_LR {solver.BASE_LR:g}."
    )


def build_train_settings(cfg: CfgNode) -> TrainSettings:
    """The numbers of the training loop."""
    return TrainSettings(
        max_epoch=cfg.SOLVER.MAX_EPOCH,
        seed=cfg.RNG_SEED,
        clip_gradient=cfg.SOLVER.CLIP_GRADIENT,
        eval_period=cfg.TRAIN.EVAL_PERIOD,
        checkpoint_period=cfg.TRAIN.CHECKPOINT_PERIOD,
        checkpoint_seconds=cfg.TRAIN.CHECKPOINT_MINUTES * 60,
        max_bad_ratio=cfg.DATA.MAX_BAD_RATIO,
        max_nonfinite=cfg.TRAIN.MAX_NONFINITE,
        patience=cfg.TRAIN.PATIENCE,
        precise_batches=cfg.BN.NUM_BATCHES_PRECISE if cfg.BN.USE_PRECISE_STATS else 0,
    )


def build_metadata(
    cfg: CfgNode, model: RecognitionModel, class_names: Sequence[str]
) -> dict[str, Any]:
    """What a checkpoint says about itself, in plain types: enough to predict with it."""
    return {
        "model": {"name": cfg.MODEL.MODEL_NAME, "arguments": dict(model.arguments)},
        "class_names": list(class_names),
        **build_task(cfg).mark(),
        "protocol": Protocol.from_cfg(cfg).to_dict(),
        "config": config_text(cfg),
        "plugins": all_plugins(),
        "versions": versions(),
    }


def opposite_classes(cfg: CfgNode, class_names: Sequence[str]) -> dict[int, int]:
    """`{class: the class of its videos played backwards}`, both ways; {} where none are named."""
    return class_exchange(cfg.DATA.OPPOSITE_CLASS_PAIRS, class_names, "DATA.OPPOSITE_CLASS_PAIRS")


def class_exchange(
    pairs: Sequence[Sequence[str | int]], class_names: Sequence[str], key: str
) -> dict[int, int]:
    """`{class: its counterpart}` both ways, from pairs of class names or indices."""
    exchange: dict[int, int] = {}
    for pair in pairs:
        a, b = (_class_index(entry, class_names, key) for entry in pair)
        if a == b or a in exchange or b in exchange:
            raise ConfigError(
                f"{key} names a class of {pair} twice; each stands in one pair at most"
            )
        exchange |= {a: b, b: a}
    return exchange


def _class_index(entry: str | int, class_names: Sequence[str], key: str) -> int:
    if type(entry) is int and 0 <= entry < len(class_names):
        return entry
    if entry in class_names:
        return class_names.index(entry)
    raise ConfigError(
        f"{key} names {entry!r}, which is not a class; the classes are {', '.join(class_names[:8])}"
        + (" ..." if len(class_names) > 8 else "")
    )


def model_options(cfg: CfgNode) -> Mapping[str, Any]:
    """The arguments of the model that the config sets; what it leaves open is left out.

    Raises `ConfigError` for a model of images.
    """
    model = find_model(cfg.MODEL.MODEL_NAME)
    if model.takes_images:
        raise ConfigError(
            f"MODEL.MODEL_NAME {model.name} takes images, and a run is about videos; take "
            f"{model.video_model or 'a video model'}, and the image weights as "
            "UNIFORMER.PRETRAIN_NAME"
        )
    flat = flat_config(cfg)
    values = {key: flat[key] for key in model.family.settings}
    # An empty default leaves the choice to the model.
    values = {key: value for key, value in values.items() if value or DEFAULTS[key]}
    return model.family.options_from_settings(model, values)


def _adapt_kernel(cfg: CfgNode) -> bool:
    """Whether weights of another local kernel may be fitted, to a model that has one."""
    has_kernel = "UNIFORMER.ADAPT_KERNEL" in find_model(cfg.MODEL.MODEL_NAME).family.settings
    return cfg.UNIFORMER.ADAPT_KERNEL and has_kernel


def _model_for(cfg: CfgNode, weights: Weights, num_classes: int | None) -> RecognitionModel:
    """A video model by the config, with what the checkpoint alone knows taken from it."""
    name, options = cfg.MODEL.MODEL_NAME, model_options(cfg)
    return build_for_weights(weights, name, num_classes, _adapt_kernel(cfg), **options)
