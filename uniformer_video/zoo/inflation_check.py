"""What a correct inflated file must show, held against the image weights that it was made from.

In both modes a kernel summed over time is the image model's kernel, so on a still clip without beginning or
end the features are those of the image. With "center" they are so on any still clip; with "average" they are
not, as the zeros before and after a clip enter the kernels.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniformer_video.errors import CheckpointError
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.weights.checkpoint import (
    GAMMAS,
    Weights,
    fit_weights,
    is_of_images_alone,
    read_weights,
)
from uniformer_video.weights.inflate import MODES, inflate_kernel
from uniformer_video.words import name_some, plural
from uniformer_video.zoo.create import build_for_weights

CHECK_FRAMES = 8
_ROUNDING = {torch.float16: 1e-3, torch.bfloat16: 1e-2}  # of the largest, by what a file stores
_SAME = 1e-5  # of the largest feature
_OF_VIDEOS = ("ndim", "local_kernel", "split", "std", "aux_head")  # as the file shows, or always so
_STARTS_ANEW = ".t_attn.", ".t_norm."  # the temporal attention of divided blocks, which images lack


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. is_right: whether it is as it must be; None where nothing must be."""

    text: str
    is_right: bool | None = None

    def __str__(self) -> str:
        return f"  {'' if self.is_right is None else 'ok: ' if self.is_right else 'WRONG: '}{self.text}"


@dataclass(frozen=True)
class InflationCheck:
    """The findings about the file `target`, inflated from `source` by `mode`, and the verdict."""

    source: str
    target: str
    mode: str
    findings: tuple[Finding, ...]

    @property
    def is_correct(self) -> bool:
        """Whether everything is as it must be."""
        return all(finding.is_right is not False for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """For people; the verdict comes last."""
        yield f"check of {self.target} against {self.source}, inflated by {self.mode}:"
        yield from map(str, self.findings)
        wrong = sum(finding.is_right is False for finding in self.findings)
        yield (
            f"verdict: correct, {self.target} is {self.source} inflated by {self.mode}"
            if not wrong
            else f"verdict: WRONG, {self.target} is not {self.source} inflated by {self.mode}: "
            f"{plural(wrong, 'finding')} of {len(self.findings)}"
        )


def check_inflation(
    source: Weights, image: UniFormer, target: Path | str, name: str, mode: str, frame: Tensor
) -> InflationCheck:
    """Hold the 3D file `target` against the 2D weights `source`.

    Args:
        source, image: the 2D weights, and the image model that holds them.
        name: of the video model that the file should hold.
        mode: how it should be inflated, "average" or "center"; "" = as the file says, or else shows.
        frame: `[3, H, W]` float, normalised, to compare both models on.

    A file that holds something else is a finding. Raises `CheckpointError` where there is no file.
    """
    if not Path(target).exists():
        raise CheckpointError(f"there is no weights file {target} to check")
    try:
        found = read_weights(target)
        shown = "" if found.is_image else _shown_mode(source, found)
        recorded = found.metadata.get("inflated", {}).get("mode", "")
        mode = mode or recorded or shown or "average"
        said = f"its metadata say {recorded}" if recorded else "its metadata name no inflation"
        findings = [Finding(said, recorded == mode if recorded else None)]
        findings += _compare_tensors(source, image, found, mode)
        factors = [key for key in found.state if _is_factor(key) and key not in source.state]
        if all(finding.is_right is not False for finding in findings) and not factors:
            findings += _compare_models(image, _build(found, name, image), frame, mode)
    except CheckpointError as error:
        mode = mode or "average"
        findings = [Finding(str(error), False)]
    return InflationCheck(str(source.path), str(target), mode, tuple(findings))


def _build(found: Weights, name: str, image: UniFormer) -> UniFormer:
    """The video model in a file, of the image model's sizes; its classifier does not matter."""
    sizes = {key: value for key, value in image.arguments.items() if key not in _OF_VIDEOS}
    video = build_for_weights(found, name, 1, **sizes)
    fit_weights(video, found, replace_head=True)
    return cast(UniFormer, video)  # the only models that image weights are recognised as


def _shown_mode(source: Weights, found: Weights) -> str:
    """The mode that most kernels of a file agree with; "" where none does."""
    shown = Counter(
        mode
        for key, value in source.state.items()
        for mode in MODES
        if _is_kernel(value, found.state.get(key))
        and _difference(inflate_kernel(value, found.state[key].shape[2], mode), found.state[key])
        is None
    )
    return shown.most_common(1)[0][0] if shown else ""


def _is_kernel(flat: Tensor, value: Tensor | None) -> bool:
    return value is not None and flat.dim() == 4 and value.dim() == 5 and value.shape[2] > 1


def _compare_tensors(
    source: Weights, image: UniFormer, found: Weights, mode: str
) -> Iterator[Finding]:
    """Whether every tensor behind the classifiers is what the mode makes of the image's."""
    if found.is_image:
        raise CheckpointError(
            f"{found.path} holds 2D (image) weights; an inflated file holds 3D ones"
        )
    heads = set(image.head_keys)
    body = {key: value for key, value in source.state.items() if key not in heads}
    absent = [key for key in body if key not in found.state and "num_batches" not in key]
    if dropped := [key for key in absent if is_of_images_alone(key)]:
        yield Finding(
            f"without {plural(len(dropped), 'tensor')} of the image weights that no video model has: "
            f"{name_some(dropped)}"
        )
    lacking = [key for key in absent if key not in dropped]
    if lacking:
        yield Finding(
            f"{plural(len(lacking), 'tensor')} of the image weights lacking: {name_some(lacking)}",
            False,
        )
    extra = [key for key in found.state if key not in body and key not in heads]
    if any(_is_factor(key) for key in extra):
        yield Finding(
            "layer scale that the image weights lack: the features are others from the start"
        )
    added = [
        key for key in extra if not (_is_factor(key) or any(part in key for part in _STARTS_ANEW))
    ]
    if added:
        yield Finding(
            f"{plural(len(added), 'tensor')} that the image weights lack: {name_some(added)}", False
        )
    copies, kernels, differing = 0, 0, []
    for key in (key for key in body if key in found.state):
        flat, value = body[key], found.state[key]
        is_kernel = value.dim() == 5 and flat.dim() == 4
        wanted = _inflate(key, flat, value, mode)
        reason = _difference(wanted, value)
        if reason:
            differing.append(f"{key} ({_other_mode(flat, value, mode) or reason})")
        kernels, copies = kernels + is_kernel, copies + (not is_kernel)
    if not copies + kernels:
        yield Finding("no tensor of the image weights is in it", False)
        return
    yield Finding(
        f"{plural(len(differing), 'tensor')} of {copies + kernels} "
        f"{'differs' if len(differing) == 1 else 'differ'} from the image's: "
        f"{name_some(differing)}"
        if differing
        else f"all {copies} tensors without time are the image's, all {kernels} kernels are its kernels "
        + (
            "divided by their frames, in every frame"
            if mode == "average"
            else "in the middle frame, else 0"
        ),
        not differing,
    )


def _is_factor(key: str) -> bool:
    """Whether a tensor is of layer scale."""
    return key.rpartition(".")[2] in GAMMAS


def _inflate(key: str, flat: Tensor, value: Tensor, mode: str) -> Tensor:
    """What stands in an inflated file for the image's tensor `flat`."""
    if not (value.dim() == 5 and flat.dim() == 4):
        return flat
    if _is_factor(key):
        return flat.unsqueeze(2)
    return inflate_kernel(flat, value.shape[2], mode)


def _other_mode(flat: Tensor, value: Tensor, mode: str) -> str:
    """What a kernel that is not of `mode` is, where it is of the other one; else ""."""
    other = "center" if mode == "average" else "average"
    if not _is_kernel(flat, value):
        return ""
    return (
        f"inflated by {other}"
        if _difference(inflate_kernel(flat, value.shape[2], other), value) is None
        else ""
    )


def _difference(wanted: Tensor, value: Tensor) -> str | None:
    """How far a tensor is from the one wanted, in words; None where they agree up to rounding."""
    if wanted.shape != value.shape:
        return f"{list(value.shape)}, not {list(wanted.shape)}"
    stored = {wanted.dtype, value.dtype}
    allowed = max([_ROUNDING.get(dtype, 1e-6) for dtype in stored])
    wanted, value = wanted.double(), value.double()
    scale = float(wanted.abs().max()) if wanted.numel() else 0.0
    apart = float((wanted - value).abs().max()) if wanted.numel() else 0.0
    if apart <= allowed * scale:
        return None
    return f"off by {apart:.2g}, its largest value is {scale:.2g}"


@torch.inference_mode()
def _compare_models(
    image: UniFormer, video: UniFormer, frame: Tensor, mode: str
) -> Iterator[Finding]:
    """What both models make of the frame, in float64."""
    image, video = image.double().eval(), video.double().eval()
    clip = frame.double().unsqueeze(1).repeat(1, CHECK_FRAMES, 1, 1)[None]
    wanted = _features(image, frame.double()[None])
    is_light = isinstance(video, LightUniFormer)
    asked = wanted[:2] if is_light else wanted
    as_it_is = _features(video, clip)
    _sum_kernels_over_time(video)
    endless = _features(video, clip)
    still = f"the frame {CHECK_FRAMES} times"
    apart = _largest_difference(asked, endless)
    what = "maps of stages 1 and 2" if is_light else "maps of all stages and features"
    yield Finding(
        f"{still}, kernels summed over time (a still clip without beginning or end): {what} must be the "
        f"image model's; they are off by {apart:.1e} of the largest",
        apart <= _SAME,
    )
    apart = _largest_difference(asked, as_it_is)
    must, why = "must be", ""
    if mode != "center":
        must, why = "must not quite be", ", as zeros before and after the clip enter"
    yield Finding(
        f"{still}, as it is: {what} {must} the image model's{why}; they are off by {apart:.1e} of the "
        "largest",
        (apart <= _SAME) == (mode == "center"),
    )
    *stages, pooled = [_cosine(ours, theirs) for ours, theirs in zip(wanted, as_it_is, strict=True)]
    shown = ", ".join(f"stage {i} {value:.4f}" for i, value in enumerate(stages, start=1))
    light = "; below 1 because a light model ranks tokens over all frames" if is_light else ""
    yield Finding(f"{still}, cosine similarity: features {pooled:.4f} ({shown}){light}")


def _features(model: UniFormer, x: Tensor) -> list[Tensor]:
    """The maps of the four stages, a clip's with its frames `[T, H, W, C]`, and the pooled features."""
    maps = model.forward_stages(x)
    pooled = model.forward_head(model.norm(maps[-1][0]), pre_logits=True)
    return [*(flow[0][0] for flow in maps), pooled[0]]


def _largest_difference(wanted: list[Tensor], found: list[Tensor]) -> float:
    """Over all maps, of every frame: the largest difference as a share of the largest value."""
    pairs = zip(wanted, found, strict=False)
    return max(float((ours - theirs).abs().max() / ours.abs().max()) for ours, theirs in pairs)


def _cosine(ours: Tensor, theirs: Tensor) -> float:
    theirs = theirs.mean(0) if theirs.dim() > ours.dim() else theirs
    return float(F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0))


def _sum_kernels_over_time(model: nn.Module) -> None:
    """Put each kernel's sum over time into its middle frame, and 0 elsewhere, in place.

    So it computes on repeated frames what it would if they went on before and after the clip.
    """
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() == 5 and weight.shape[2] > 1:
            total = weight.sum(2)
            weight.data.zero_()
            weight.data[:, :, weight.shape[2] // 2] = total
