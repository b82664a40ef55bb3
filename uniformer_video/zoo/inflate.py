"""2D weights files to 3D ones, and whether a 3D file is what became of a 2D one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.weights.architectures import name_architecture
from uniformer_video.weights.checkpoint import (
    LoadReport,
    Weights,
    fit_weights,
    is_of_images_alone,
    read_weights,
    write_checkpoint,
)
from uniformer_video.words import name_some
from uniformer_video.zoo.architecture import is_light, read_arguments
from uniformer_video.zoo.convert import check_target
from uniformer_video.zoo.create import build_for_weights, build_network
from uniformer_video.zoo.family import read_model_name
from uniformer_video.zoo.inflation_check import InflationCheck, check_inflation
from uniformer_video.zoo.published import local_file
from uniformer_video.zoo.registry import MODELS, count_classes, find_model, identify_model

TOKEN_LABELLED = (
    "these image weights were trained by token labelling, whose second head is dropped; the published video "
    "models start from weights that were trained without it"
)
VideoModel = tuple[str, Mapping[str, Any]]


def inflate_file(
    source: Path | str,
    target: Path | str,
    mode: str,
    local_kernel: Sequence[int],
    name: str | None = None,
    head_dim: int | None = None,
    video_model: VideoModel | None = None,
) -> list[str]:
    """Write the 3D checkpoint `target` from the 2D weights in `source`; returns the report's lines.

    `name` is the image architecture; left out, the file tells it, or, where only `head_dim` could, is
    an error that asks for it. `video_model` is (name, options) of the video model instead, for sizes of
    one's own. The classifiers are dropped. Raises `CheckpointError` for video weights, and for weights of
    other sizes.
    """
    check_target(target)
    weights, image, image_name, video, video_name = _build_both(
        source, local_kernel, name, head_dim, video_model
    )
    report = _inflate(weights, image, video, mode)
    state = {key: value for key, value in video.state_dict().items() if key not in video.head_keys}
    metadata = {
        "model": {"name": video_name, "arguments": dict(video.arguments)},
        "inflated": {"from": Path(str(source)).name, "mode": mode},
    }
    write_checkpoint(target, state, metadata)
    width, num_classes = video.arguments["head_dim"], count_classes(weights, video_name)
    return [
        f"{source} is 2D weights of {image_name}, for {video_name} with head_dim {width}",
        f"copied as they are: {len(report.loaded)} tensors",
        f"inflated to 3D ({mode}): {len(report.inflated)} tensors, local kernels {list(local_kernel)}",
        f"dropped: the classifier ({num_classes or 'no'} classes)",
        *_note_dropped(report.skipped),
        *([TOKEN_LABELLED] if weights.is_token_labelled else []),
        f"written: {target}; train from it with UNIFORMER.PRETRAIN_NAME {target}",
    ]


def check_file(
    source: Path | str,
    target: Path | str,
    mode: str,
    frame: Tensor,
    local_kernel: Sequence[int],
    name: str | None = None,
    head_dim: int | None = None,
    video_model: VideoModel | None = None,
) -> InflationCheck:
    """Whether the 3D file `target` is what `inflate_file` makes of `source`, see `check_inflation`.

    mode: "" = as the file says. frame: `[3, H, W]`, normalised. Other arguments: as of `inflate_file`.
    """
    weights, image, _, _, video_name = _build_both(
        source, local_kernel, name, head_dim, video_model
    )
    # the only models that image weights are recognised as
    return check_inflation(weights, cast(UniFormer, image), target, video_name, mode, frame)


def _build_both(
    source: Path | str,
    local_kernel: Sequence[int],
    name: str | None,
    head_dim: int | None,
    video_model: VideoModel | None,
) -> tuple[Weights, RecognitionModel, str, RecognitionModel, str]:
    """The 2D weights, the image model that holds them and its name, a fresh video model and its name."""
    weights = read_weights(local_file(source))
    if not weights.is_image:
        what = name_architecture(weights.state)
        kind = f"holds the weights of {what}" if what else "is not a UniFormer's"
        if weights.local_kernel:
            kind = "holds video weights already"
        raise CheckpointError(f"{source} {kind}; inflation takes 2D (image) UniFormer weights")
    options: dict[str, Any] = {"head_dim": head_dim} if head_dim else {}
    if video_model:
        video_name, own = video_model
        options = {**own, **options, "local_kernel": tuple(local_kernel)}
        video = build_for_weights(weights, video_name, 1, **options)
        image, image_name = _image_model(video, video_name, weights), "the same sizes"
    else:
        image_name = name or _named(weights, options)
        if find_model(image_name).family.labels_pixels:
            raise ConfigError(
                f"{image_name} is for segmentation; inflation takes the weights of image classifiers, such "
                "as image_uniformer_s"
            )
        video_name = find_model(image_name).video_model or image_name
        classes = count_classes(weights, image_name) or 1
        image = build_for_weights(weights, image_name, classes, **options)
        arguments = {"ndim": 3, "local_kernel": list(local_kernel), "aux_head": False}
        video = build_network(video_name, 1, **{**image.arguments, **arguments})
    fit_weights(image, weights, replace_head=True)
    return weights, image, image_name, video, video_name


def _inflate(
    weights: Weights, image: RecognitionModel, video: RecognitionModel, mode: str
) -> LoadReport:
    """Fill `video` with the weights of `image`, without its classifiers; the `LoadReport`."""
    body = {key: value for key, value in weights.state.items() if key not in image.head_keys}
    report = fit_weights(video, replace(weights, state=body), mode, replace_head=True)
    if other := [key for key in report.skipped if not is_of_images_alone(key)]:
        raise CheckpointError(
            f"{weights.path} is of another architecture than the model: it has {', '.join(other[:3])}"
        )
    return report


def _note_dropped(skipped: Sequence[str]) -> list[str]:
    """The line on what no video model has, if there is any."""
    if not skipped:
        return []
    return [
        f"dropped: the layer scale of dropped tokens, which video models do not have ({name_some(skipped)})"
    ]


def _image_model(video: RecognitionModel, name: str, weights: Weights) -> RecognitionModel:
    """The model of images that has the sizes of `video`, called `name`, and the kernel of `weights`."""
    shown = read_arguments(weights)
    keys = ("local_kernel", "aux_head", "layer_scale")
    own: dict[str, Any] = {key: shown[key] for key in keys if key in shown}
    arguments = {**video.arguments, **own, "ndim": 2, "split": False, "std": False}
    image = find_model(name).family.build(count_classes(weights, name) or 1, **arguments)
    return cast(RecognitionModel, image)


def _named(weights: Weights, options: Mapping[str, Any]) -> str:
    """The name of the image model that `weights` record or show; for sizes of one's own says what to give."""
    shown = {} if read_model_name(weights) else read_arguments(weights)
    keys = ("embed_dims", "depths")
    known = [model.arguments for model in MODELS.values() if "ndim" in model.arguments]
    if shown and not any(all(model[key] == shown[key] for key in keys) for model in known):
        light = "uniformer_xxs" if is_light(weights.state) else "uniformer_s"
        settings = {
            "MODEL.MODEL_NAME": "uniformer_s_plus" if shown["conv_embeds"] == 4 else light,
            "UNIFORMER.EMBED_DIM": str(shown["embed_dims"]).replace(" ", ""),
            "UNIFORMER.DEPTH": str(shown["depths"]).replace(" ", ""),
            "UNIFORMER.MLP_RATIO": f"{shown['mlp_ratio']:g}",
            "UNIFORMER.HEAD_DIM": "N, the width of its attention heads",
        }
        raise CheckpointError(
            f"{weights.path} has sizes that no named model has; give them as a training takes them, by --cfg "
            f"or as settings: {' '.join(f'{key} {value}' for key, value in settings.items())}"
        )
    return identify_model(weights, options).name
