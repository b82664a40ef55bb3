"""An exported file in the place of a model: logits by another runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.export.files import files_of
from uniformer_video.export.formats import DYNAMIC, FORMATS, ONNX
from uniformer_video.export.metadata import ExportInfo, json_beside, read_info
from uniformer_video.export.sessions import open_session
from uniformer_video.weights.checkpoint import CALIBRATION, file_sha256

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

    def forward(self, views: Tensor) -> Tensor:
        """`[B, 3, T, H, W]` -> `[B, K]`."""
        batch = views.detach().float().cpu().contiguous().numpy()
        if (self.info.quantization or {}).get("method") == DYNAMIC and len(batch) > 1:
            # its ranges are those of the whole batch: an answer must not depend on the others in it
            logits = np.concatenate([self._run(view[None]) for view in batch])
        else:
            logits = self._run(batch)
        return torch.from_numpy(logits).to(views.device)

    def extra_repr(self) -> str:
        """The file."""
        return str(self.path)


def open_exported(path: str | Path) -> ExportedModel:
    """The model in an exported file that takes clips and gives logits.

    Raises `CheckpointError` for one with the preparation inside, which gives no logits of views, one whose
    JSON beside it is of another file, and whatever `read_info` and the runtime refuse.
    """
    path = Path(path)
    info = read_info(path)
    if info.preprocess:
        raise CheckpointError(
            f"{path} holds the preparation too: it takes frames and gives probabilities of a clip, which "
            "have no views; export the checkpoint again without --preprocess to predict and test here"
        )
    _check_beside(path, info)
    return ExportedModel(path, info)


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
