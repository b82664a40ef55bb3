"""An exported file in the place of a model: logits by another runtime."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uniformer_video.data.clips.frame_views import FrameViews
from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.export.files import files_of
from uniformer_video.export.formats import DYNAMIC, FORMATS, ONNX, is_export
from uniformer_video.export.metadata import ExportInfo, json_beside, read_info
from uniformer_video.export.sessions import open_session
from uniformer_video.tasks.registry import recorded_task
from uniformer_video.weights.checkpoint import CALIBRATION, file_sha256
from uniformer_video.words import plural

_PREPARED = (
    "short_side",
    "crop_size",
    "num_crops",
    "mean",
    "std",
    "channel_order",
)  # of a protocol
_RUNTIMES = {ONNX.name: "ONNX Runtime"}  # where it is called otherwise than its files


class ExportedModel(nn.Module):
    """Maps clips `[B, 3, T, H, W]` (of images without T) to logits `[B, K]`, by a runtime on the CPU.

    In float32 or int8, as the file is, whatever autocast says; clips may lie on any device. It has no layers,
    and cannot be trained. Several threads may call it.
    """

    def __init__(self, path: Path, info: ExportInfo):
        """Open the file at `path`; `CheckpointError` where its runtime refuses it."""
        super().__init__()
        self.path, self.info, self.num_classes = path, info, len(info.class_names)
        self._run = open_session(path, info.format)

    @property
    def registered_name(self) -> str:
        """The name of the model that was exported."""
        return self.info.model

    def forward(self, views: Tensor) -> Tensor:
        """`[B, 3, T, H, W]` -> `[B, K]`."""
        batch = views.detach().float().cpu().contiguous().numpy()
        return torch.from_numpy(self._answers(batch)).to(views.device)

    def _answers(self, batch: np.ndarray) -> np.ndarray:
        """What the file gives for inputs `[B, ...]`, `[B, K]`: of each the same, whatever the others are."""
        if (self.info.quantization or {}).get("method") == DYNAMIC and len(batch) > 1:
            # its ranges are those of all that it gets at once
            return np.concatenate([self._run(each[None]) for each in batch])
        return self._run(batch)

    def extra_repr(self) -> str:
        """The file."""
        return str(self.path)

    def protocol_for(self, num_clips: int | None = None, num_crops: int | None = None) -> Protocol:
        """The file's protocol with so many clips and crops; None = its own. `ConfigError` for others."""
        return self.info.protocol.with_views(num_clips, num_crops)


class ExportedFrames(ExportedModel):
    """One with the preparation inside: whole frames `uint8 [B, 3, T, H, W]` RGB to logits `[B, K]` of clips.

    The file gives probabilities, of all crops together and at its temperature. Logits that make these are as
    good as its model's own: they differ in what no probability shows. The temperature is taken back out, for
    whoever predicts applies it, or does not, by the clips that it is for.
    """

    def __init__(self, path: Path, info: ExportInfo):
        """Raises `ConfigError` for a task that cannot tell logits of probabilities."""
        super().__init__(path, info)
        self._task = recorded_task(metadata_of(info), str(path))
        self._task.unsoften(
            torch.full((1, self.num_classes), 0.5)
        )  # a task that cannot says so now

    def forward(self, views: Tensor) -> Tensor:
        """`uint8 [B, 3, T, H, W]` -> `[B, K]`."""
        frames = views.detach().cpu().permute(0, 2, 3, 4, 1).contiguous().numpy()
        probabilities = torch.from_numpy(self._answers(frames)).to(views.device)
        return self._task.unsoften(probabilities) * (self.info.temperature or 1.0)

    def protocol_for(self, num_clips: int | None = None, num_crops: int | None = None) -> Protocol:
        """As `ExportedModel` has it, of whole frames; the crops are those of the file."""
        own = self.info.protocol
        crops = own.views.num_crops
        if num_crops not in (None, crops):
            raise ConfigError(
                f"{self.path} cuts {plural(crops, 'crop')} of each clip itself, and --crops is {num_crops}; "
                "leave that out, or export the checkpoint without --preprocess"
            )
        protocol = own.with_views(num_clips)
        if self.info.temperature and own.score != "logits" and crops > 1 and protocol != own:
            raise ConfigError(
                f"{self.path} applies a temperature itself, to each of {crops} crops, which is for "
                f"{plural(own.num_clips, 'clip')} of a video, and this asks for {protocol.num_clips}; ask "
                "for as many, or export the checkpoint without --preprocess"
            )
        return replace(protocol, views=FrameViews.of(protocol.views))


def open_exported(path: str | Path) -> ExportedModel:
    """The model in an exported file; of one with the preparation inside, an `ExportedFrames`.

    Raises `CheckpointError` for one whose JSON beside it is of another file, and whatever `read_info` and the
    runtime refuse.
    """
    path = Path(path)
    info = read_info(path)
    _check_beside(path, info)
    return ExportedFrames(path, info) if info.preprocess else ExportedModel(path, info)


def cuts_crops(path: str | Path) -> bool:
    """Whether a checkpoint is an exported file with the preparation inside; raises what `read_info` does."""
    return is_export(path) and read_info(path).preprocess


def check_gives_views(model: ExportedModel, what: str) -> None:
    """Raise `CheckpointError` for a file that shows nothing of single views, which `what`, a plural, need."""
    if isinstance(model, ExportedFrames):
        raise CheckpointError(
            f"{model.path} prepares frames itself and gives the probabilities of a clip, all its crops "
            f"together, and {what} need the logits of each view; export the checkpoint again "
            "without --preprocess, and give that file"
        )


def tested_views(model: ExportedModel, protocol: Protocol) -> EvalViews:
    """How a test by `protocol` shows frames to the file: as the protocol has it, or whole.

    What a file with the preparation inside answers is that of a view where it cuts one crop of a clip. Raises
    `CheckpointError` for others of that kind, `ConfigError` where it prepares frames otherwise than the
    protocol.
    """
    if not isinstance(model, ExportedFrames):
        return protocol.views
    own = model.info.protocol
    if own.views.num_crops > 1:
        check_gives_views(model, "tests")
    known, asked = own.to_dict(), protocol.to_dict()
    differs = [
        f"{name} {known[name]}, not {asked[name]}"
        for name in _PREPARED
        if known[name] != asked[name]
    ]
    if differs:
        raise ConfigError(
            f"{model.path} prepares frames itself: {', '.join(differs)}; take the settings of its run, or "
            "export the checkpoint without --preprocess"
        )
    return FrameViews.of(own.views)


def check_shape(model: ExportedModel, protocol: Protocol) -> None:
    """Raise `ConfigError` where the clips of `protocol` do not go into the file."""
    own = model.info.protocol
    if protocol.medium != own.medium:
        raise ConfigError(
            f"{model.path} takes {own.medium}s, and this is of {protocol.medium}s; take the settings of its "
            "run, or another file"
        )
    asked = {
        "frames": (protocol.sampling.num_frames, own.sampling.num_frames),
        "pixels a side": (protocol.views.crop_size, own.views.crop_size),
    }
    if "height" in model.info.input.get("shape", ()):
        del asked["pixels a side"]
    for what, (wanted, fixed) in asked.items():
        if wanted != fixed:
            raise ConfigError(
                f"{model.path} takes clips of {fixed} {what}, and this asks for {wanted}; set it to {fixed} "
                "(DATA.NUM_FRAMES, DATA.TEST_CROP_SIZE), or export the checkpoint for other clips"
            )


def metadata_of(info: ExportInfo) -> dict[str, Any]:
    """What the file says of itself, as a checkpoint's metadata would."""
    calibration = {CALIBRATION: info.calibration} if info.calibration else {}
    return {
        "model": {"name": info.model},
        "class_names": list(info.class_names),
        "task": info.task,
        "protocol": info.protocol.to_dict(),
        **calibration,
    }


def digest_of(path: str | Path) -> str:
    """SHA-256 of an exported file, in hexadecimal; of one in two files, of both in turn."""
    parts = [file for file in files_of(Path(path)) if file != json_beside(path)]
    return "-".join(file_sha256(file) for file in parts)


def runtime_of(info: ExportInfo) -> tuple[str, tuple[str, ...]]:
    """(what runs the file, in words; the libraries whose versions count)."""
    chosen = FORMATS[info.format]
    name = _RUNTIMES.get(info.format, chosen.title)
    if info.quantization:
        name += f", {info.quantization.get('type')} ({info.quantization.get('method')})"
    return name, chosen.libraries


def _check_beside(path: Path, info: ExportInfo) -> None:
    beside = json_beside(path)
    try:
        told = json.loads(beside.read_bytes())
        differs = told.get("fingerprint") != info.fingerprint
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError):
        differs = True
    if differs:
        raise CheckpointError(
            f"{beside} is not of {path.name}: it tells of other weights, or is damaged; put the right one "
            "beside it, or delete it"
        )
