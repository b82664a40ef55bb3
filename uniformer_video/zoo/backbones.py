"""Backbones for other people's detectors, segmentation and pose models, made by name."""

import difflib
import logging
from pathlib import Path
from typing import Any, Literal, overload

from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.models.dense.backbone import Pyramid
from uniformer_video.models.dense.neck import CHANNELS, PyramidWithNeck
from uniformer_video.plugins import import_installed
from uniformer_video.weights.checkpoint import fit_weights, read_weights
from uniformer_video.zoo.dense import LIGHT_SEMANTIC_FPN, SEMANTIC_FPN
from uniformer_video.zoo.dense_family import ATTENTION
from uniformer_video.zoo.family import NamedModel
from uniformer_video.zoo.published import local_file
from uniformer_video.zoo.registry import MODELS, find_model
from uniformer_video.zoo.uniformer_family import UniFormerFamily

log = logging.getLogger(__name__)
OUTS = ("pyramid", "fpn")


@overload
def create_backbone(
    name: str,
    out: Literal["pyramid"] = "pyramid",
    checkpoint: Path | str | None = None,
    window: int | None = None,
    hybrid: bool | None = None,
    **options: Any,
) -> Pyramid: ...


@overload
def create_backbone(
    name: str,
    out: Literal["fpn"],
    checkpoint: Path | str | None = None,
    window: int | None = None,
    hybrid: bool | None = None,
    **options: Any,
) -> PyramidWithNeck: ...


def create_backbone(
    name: str,
    out: Literal["pyramid", "fpn"] = "pyramid",
    checkpoint: Path | str | None = None,
    window: int | None = None,
    hybrid: bool | None = None,
    **options: Any,
) -> Pyramid | PyramidWithNeck:
    """A UniFormer of images as the backbone of a detector, a segmentation or a pose model.

    Args:
        name: of an image model, with or without its `image_`, such as "uniformer_s", "uniformer_xxs".
        out: "pyramid" gives a `Pyramid`: a tuple of the maps of the four stages, at strides of 4, 8, 16 and
            32, as MMDetection takes them. "fpn" gives a `PyramidWithNeck`: an ordered dictionary of five maps
            of `neck_channels` (256), as torchvision's detectors take them. Both have `channels`, `strides`.
        checkpoint: weights, as `create_model` takes them: of an image model, whose classifier is left out; or
            of a segmentation, detection or pose model, whose backbone (and neck) load whole, without its
            heads. What is new is said in a warning.
        window, hybrid: attention of stage 3 within windows of so many tokens a side, such as 14 or 32, with
            every fourth block global if `hybrid`. Left out, as the checkpoint records, else all is global.
        options: those of `Pyramid`, such as drop_path_rate=0.2, checkpoint_blocks=(0, 0, 8, 0).

    Raises `ConfigError` for unknown names and options, `CheckpointError` for weights that do not fit.
    """
    import_installed()
    if out not in OUTS:
        raise choice_error("out", out, OUTS)
    known = _find_images(name)
    assert isinstance(known.family, UniFormerFamily)
    family = LIGHT_SEMANTIC_FPN if known.family.light else SEMANTIC_FPN
    neck = {"out_channels": options.pop("neck_channels", CHANNELS)} if out == "fpn" else {}
    given = {"window": window, "hybrid": hybrid}
    options |= {key: value for key, value in given.items() if value is not None}
    allowed = family.backbone_options
    _check_options(name, options, allowed)
    arguments = {key: value for key, value in known.arguments.items() if key in allowed}
    weights = read_weights(local_file(checkpoint)) if checkpoint is not None else None
    if weights:
        model = NamedModel(known.name, family, arguments, 0, known.crop_size)
        told = family.options_for_weights(model, weights, [], options)
        options = {**{key: told[key] for key in allowed if key in told}, **options}
    pyramid = family.pyramid(**{**arguments, **options})
    backbone = PyramidWithNeck(pyramid, **neck) if out == "fpn" else pyramid
    if weights:
        report = fit_weights(backbone, weights, replace_head=True)
        log.log(logging.WARNING if report.missing else logging.INFO, "\n".join(report.lines()))
        backbone.eval()
    return backbone


def _find_images(name: str) -> NamedModel:
    """The image UniFormer called `name`, or `image_name`."""
    known = MODELS.get(f"image_{name}") or find_model(name)
    if not _is_backbone(known):
        names = [
            model.name.removeprefix("image_") for model in MODELS.values() if _is_backbone(model)
        ]
        raise ConfigError(f"{name} is no backbone for images; these are: {', '.join(names)}")
    return known


def _is_backbone(model: NamedModel) -> bool:
    """Whether it is an image classifier, without token labelling, of which no backbone is published."""
    is_uniformer = isinstance(model.family, UniFormerFamily) and not model.family.labels_pixels
    return is_uniformer and model.takes_images and not model.arguments.get("aux_head")


def _check_options(name: str, options: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for option in options:
        if option not in allowed and option not in ATTENTION:  # light models say why they have none
            near = difflib.get_close_matches(option, allowed, n=1)
            raise ConfigError(
                f"the backbone {name} has no option {option!r}"
                + (f"; did you mean {near[0]}?" if near else f"; it has {', '.join(allowed)}")
            )
