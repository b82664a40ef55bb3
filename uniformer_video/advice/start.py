"""The weights that a training would start from, and what they were trained on."""

import os
from dataclasses import dataclass
from pathlib import Path

from uniformer_video.data.protocol import recorded_protocol
from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.weights.download import is_remote
from uniformer_video.words import one_line
from uniformer_video.zoo.published import (
    PUBLISHED,
    SUFFIXES,
    WEIGHTS_FOLDER,
    PublishedWeights,
    local_file,
    may_be_fetched,
    published_by_name,
)
from uniformer_video.zoo.registry import find_model, identify_model

SCRATCH = "none"  # what `--weights` calls a training from scratch
# Of the published weights, those that are taken where several are there, the first first: small models of
# video learn from few videos, and 16 frames of stride 4 fit most.
_PREFERRED = (
    "uniformer_small_k400_16x4",
    "uniformer_small_k600_16x4",
    "uniformer_small_k400_16x8",
    "uniformer_small_k600_16x8",
    "uniformer_small_k400_8x8",
)
_MODEL = "uniformer_s"  # theirs
_KINETICS_SPAN = 64  # frames that a clip of the usual published weights spans


@dataclass(frozen=True)
class Start:
    """Weights to start from, and the input that they know.

    name: as `UNIFORMER.PRETRAIN_NAME` takes it; "" = from scratch. model: `MODEL.MODEL_NAME`. why: where they
    are, or why there are none. rule, num_frames, stride, crop_size, channel_order: as in `Protocol`.
    """

    name: str
    model: str
    why: str
    num_frames: int = 16
    stride: int = 4
    crop_size: int = 224
    rule: str = "dense"
    channel_order: str = "RGB"

    @property
    def span(self) -> int:
        """Frames of a video that a clip reaches over."""
        return self.num_frames * self.stride


def find_start(asked: str | None, model: str | None = None) -> Start:
    """The `Start` of the weights that the user names, or of the best that can be had on this machine.

    asked: a path, an address or a published name; `SCRATCH` for none; None = whatever is there. model: its
    name, where the user has given it. Raises `CheckpointError` for weights that are not there or are of no
    known model.
    """
    if asked and asked != SCRATCH:
        return _start_of(asked, model, f"{asked}, as you asked")
    if asked == SCRATCH:
        return _native("", model or _MODEL, "you asked for it")
    if model and model != _MODEL:
        listed = [each.source for each in find_model(model).weights if each.source]
        hint = f", such as {listed[0]}" if listed else ""
        return _native("", model, f"weights of {model} have to be named, by --weights{hint}")
    for name in _PREFERRED:
        if is_here(name):
            return _start_of(name, model, f"published, and in {_weights_folder()}{os.sep} here")
    for name in _PREFERRED:
        if PUBLISHED[name].hub and is_on_hub(PUBLISHED[name]):
            return _start_of(
                name, model, "published; the run fetches them from the Hugging Face hub"
            )
    usual = PUBLISHED[_PREFERRED[0]]
    return _native(
        "",
        _MODEL,
        f"no published weights are in {_weights_folder()}{os.sep}, and the Hugging Face hub does not answer. "
        f"They are worth more than any setting below: save {usual.url} as "
        f"{_weights_folder() / usual.name}.pth and run this again",
    )


def _weights_folder() -> Path:
    return Path(os.environ.get("UNIFORMER_WEIGHTS") or WEIGHTS_FOLDER)


def is_here(name: str) -> bool:
    """Whether published weights lie where a run looks for them."""
    return any((_weights_folder() / f"{name}{suffix}").is_file() for suffix in SUFFIXES)


def is_on_hub(weights: PublishedWeights) -> bool:
    """Whether a run could fetch published weights now: they are in the hub's cache, or it answers."""
    try:
        import huggingface_hub
    except ImportError:
        return False
    file = f"{weights.name}.pth"
    try:
        if isinstance(huggingface_hub.try_to_load_from_cache(weights.hub, file), str):
            return True
        url = huggingface_hub.hf_hub_url(weights.hub, file, endpoint=os.environ.get("HF_ENDPOINT"))
        return bool(huggingface_hub.get_hf_file_metadata(url, timeout=5).size)
    except Exception:  # of the library or of its HTTP client, which have no common base
        return False


def _start_of(asked: str, model: str | None, why: str) -> Start:
    known = published_by_name(asked)
    can_come = is_remote(asked) or (known and (is_here(known.name) or known.hub))
    if known and can_come and may_be_fetched(asked):
        return _of_published(asked, known, model, why)
    path = local_file(asked)
    if known:
        return _of_published(asked, known, model, why)
    weights = read_weights(path)
    protocol = recorded_protocol(weights.metadata, asked)
    try:
        name = model or identify_model(weights).name
    except CheckpointError as error:
        raise CheckpointError(
            f"{one_line(error)}: MODEL.MODEL_NAME NAME behind the command"
        ) from None
    if protocol is None:
        return _native(asked, name, why)
    clips, views = protocol.sampling, protocol.views
    return Start(
        asked,
        name,
        why,
        clips.num_frames,
        clips.frame_stride,
        views.crop_size,
        clips.rule,
        views.normalise.channel_order,
    )


def _of_published(asked: str, known: PublishedWeights, model: str | None, why: str) -> Start:
    protocol = known.protocol()
    if protocol is None:
        return _native(asked, model or known.model, why)
    return Start(
        asked,
        model or known.model,
        why,
        known.num_frames,
        known.frame_stride,
        known.crop_size,
        protocol.sampling.rule,
        protocol.views.normalise.channel_order,
    )


def _native(asked: str, name: str, why: str) -> Start:
    """Weights that say nothing of their input: that of their model, over as much of a video as is usual."""
    known = find_model(name)
    if known.family.labels_pixels:
        raise ConfigError(
            f"{asked} is a model of segmentation ({name}); advice is for classifiers of videos: name one"
        )
    if known.takes_images:
        known = find_model(known.video_model or _MODEL)
    stride = max(1, round(_KINETICS_SPAN / known.num_frames))
    return Start(asked, known.name, why, known.num_frames, stride, known.crop_size)
