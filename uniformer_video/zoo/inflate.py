"""2D weights files to 3D ones, and how close the video model then is to the image model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from uniformer_video.errors import CheckpointError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.weights.architectures import name_architecture
from uniformer_video.weights.checkpoint import (
    LoadReport,
    Weights,
    fit_weights,
    read_weights,
    write_checkpoint,
)
from uniformer_video.zoo.architecture import is_light, read_arguments
from uniformer_video.zoo.convert import check_target
from uniformer_video.zoo.create import build_for_weights, build_network
from uniformer_video.zoo.family import read_model_name
from uniformer_video.zoo.published import local_file
from uniformer_video.zoo.registry import MODELS, count_classes, find_model, identify_model

CHECK_FRAMES = 8
TOKEN_LABELLED = (
    "these image weights were trained by token labelling, whose second head is dropped; the published video "
    "models start from weights that were trained without it"
)


def inflate_file(
    source: Path | str,
    target: Path | str,
    mode: str,
    local_kernel: Sequence[int],
    name: str | None = None,
    head_dim: int | None = None,
    frame: Tensor | None = None,
    video_model: tuple[str, Mapping[str, Any]] | None = None,
) -> list[str]:
    """Write the 3D checkpoint `target` from the 2D weights in `source`; returns the report's lines.

    `name` is the image architecture; left out, the file tells it, or, where only `head_dim` could, is
    an error that asks for it. `video_model` is (name, options) of the video model instead, for sizes of
    one's own. The classifiers are dropped. `frame` `[3, H, W]`, normalised, asks for a comparison of both
    models on it. Raises `CheckpointError` for video weights, and for weights of other sizes.
    """
    check_target(target)
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
        video_name = find_model(image_name).video_model or image_name
        classes = count_classes(weights, image_name) or 1
        image = build_for_weights(weights, image_name, classes, **options)
        arguments = {"ndim": 3, "local_kernel": list(local_kernel), "aux_head": False}
        video = build_network(video_name, 1, **{**image.arguments, **arguments})
    fit_weights(image, weights, replace_head=True)
    report = _inflate(weights, image, video, mode)
    state = {key: value for key, value in video.state_dict().items() if key not in video.head_keys}
    metadata = {
        "model": {"name": video_name, "arguments": dict(video.arguments)},
        "inflated": {"from": Path(str(source)).name, "mode": mode},
    }
    write_checkpoint(target, state, metadata)
    width, num_classes = video.arguments["head_dim"], count_classes(weights, video_name)
    lines = [
        f"{source} is 2D weights of {image_name}, for {video_name} with head_dim {width}",
        f"copied as they are: {len(report.loaded)} tensors",
        f"inflated to 3D ({mode}): {len(report.inflated)} tensors, local kernels {list(local_kernel)}",
        f"dropped: the classifier ({num_classes or 'no'} classes)",
        *([TOKEN_LABELLED] if weights.is_token_labelled else []),
        f"written: {target}; train from it with UNIFORMER.PRETRAIN_NAME {target}",
    ]
    if frame is not None:
        # the only models that image weights are recognised as
        lines += similarity_lines(cast(UniFormer, image), cast(UniFormer, video), frame)
    return lines


def _inflate(
    weights: Weights, image: RecognitionModel, video: RecognitionModel, mode: str
) -> LoadReport:
    """Fill `video` with the weights of `image`, without its classifiers; the `LoadReport`."""
    body = {key: value for key, value in weights.state.items() if key not in image.head_keys}
    report = fit_weights(video, replace(weights, state=body), mode, replace_head=True)
    if report.skipped:
        raise CheckpointError(
            f"{weights.path} is of another architecture than the model: it has "
            f"{', '.join(report.skipped[:3])}"
        )
    return report


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


@torch.inference_mode()
def compare_on_frame(image: UniFormer, video: UniFormer, frame: Tensor) -> list[float]:
    """Cosine similarities of the image model on `frame` `[3, H, W]` and the video model on it repeated.

    Returns those of the four stages' maps, the video's averaged over time, and of the pooled features.
    """
    image, video = image.eval(), video.eval()
    clip = frame.unsqueeze(1).repeat(1, CHECK_FRAMES, 1, 1)
    maps, clip_maps = image.forward_stages(frame[None]), video.forward_stages(clip[None])
    similarities = [
        _cosine(ours[0], theirs[0].mean(1)) for ours, theirs in zip(maps, clip_maps, strict=True)
    ]
    pooled = image.forward_head(image.norm(maps[-1][0]), pre_logits=True)
    return [
        *similarities,
        _cosine(pooled, video.forward_head(video.norm(clip_maps[-1][0]), pre_logits=True)),
    ]


def similarity_lines(image: UniFormer, video: UniFormer, frame: Tensor) -> list[str]:
    """The comparison for people."""
    *stages, pooled = compare_on_frame(image, video, frame)
    shown = ", ".join(f"stage {i} {value:.4f}" for i, value in enumerate(stages, start=1))
    return [
        f"check, cosine similarity with the image model, the frame repeated {CHECK_FRAMES} times: "
        f"features {pooled:.4f} ({shown}); below 1 because the zeros before and after the clip enter the "
        "kernels (average), or because the tokens are ranked over all frames (light models)"
    ]


def _cosine(ours: Tensor, theirs: Tensor) -> float:
    return float(F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0))
