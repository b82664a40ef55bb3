"""What `runtimes.py` sets beside each other: one model, by torch and as exported files by other runtimes."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import UserError
from uniformer_video.export.files import write_program
from uniformer_video.export.formats import (
    FORMATS,
    ONNX,
    OPENVINO,
    STATIC,
    TORCH_EXPORT,
    import_library,
)
from uniformer_video.export.graph import trace
from uniformer_video.export.int8 import FloatGraph
from uniformer_video.export.metadata import ExportInfo
from uniformer_video.export.planes import Planes
from uniformer_video.export.sessions import open_openvino, open_session
from uniformer_video.models.inference_mode import lay_out, prepare_for_inference
from uniformer_video.training.precision import autocast_for

CPU = torch.device("cpu")
PRECISIONS = ("fp32", "bf16", "int8")
Run = Callable[[np.ndarray], np.ndarray]  # clips `[B, 3, T, H, W]` -> logits `[B, K]`


class NotHere(UserError):
    """What a runtime does not have, or this machine does not; the text says why."""


@dataclass
class Subject:
    """A model in evaluation mode, its clips, and the files that are made of it in `folder` when asked for.

    backend: what compiles it, in place of torch's own.
    """

    model: torch.nn.Module
    clips: np.ndarray
    folder: Path
    backend: str = "inductor"

    @cached_property
    def folded(self) -> torch.nn.Module:
        """As tests and predictions run it."""
        return prepare_for_inference(copy.deepcopy(self.model))

    def file(self, name: str, planes: Planes = Planes.ALL) -> Path:
        """The exported file of a format, which takes batches of any size, written by `export`'s functions."""
        path = self.folder / f"{planes.name.lower()}{FORMATS[name].suffix}"
        if not path.exists():
            FORMATS[name].require()
            write_program(self._program, self._info(name), path, planes=planes)
        return path

    def int8_file(self, planes: Planes = Planes.LAST) -> Path:
        """The ONNX file with all that can be in int8, as `export --int8 static` begins, from one random clip.

        It is as fast as one whose ranges are of videos. Whether answers stay right is for `export` to tell.
        """
        path = self.folder / f"int8_{planes.name.lower()}.onnx"
        if not path.exists():
            graph = FloatGraph(self.file(ONNX.name, planes), self.folder, STATIC)
            graph.calibrate([self.clips[:1]], "minmax")
            graph.write(path, graph.layers)
        return path

    @cached_property
    def _program(self) -> torch.export.ExportedProgram:
        return trace(self.folded, torch.from_numpy(self.clips))

    def _info(self, name: str) -> ExportInfo:
        sides = ["batch", *self.clips.shape[1:]]
        return ExportInfo(
            format=name,
            model=type(self.model).__name__,
            task="single-label",
            class_names=(),
            protocol=Protocol.from_cfg(load_config()),
            input={"name": "clip", "shape": sides, "type": "float32"},
            output={"name": "logits", "shape": ["batch", "classes"], "type": "float32"},
        )


def _by_torch(model: Callable[[torch.Tensor], torch.Tensor], precision: str) -> Run:
    """A function of arrays; bf16 by autocast, as tests and predictions have it."""
    autocast = autocast_for(precision, CPU)

    def run(clips: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), autocast():
            return model(torch.from_numpy(clips)).float().numpy()

    return run


def _laid_out(subject: Subject, precision: str) -> torch.nn.Module:
    """The folded model as `Predictor` lays it out for a precision."""
    model = copy.deepcopy(subject.folded)
    lay_out(model, CPU, precision)
    return model


def _eager(subject: Subject, precision: str) -> Run:
    return _by_torch(subject.model, precision)


def _folded(subject: Subject, precision: str) -> Run:
    return _by_torch(_laid_out(subject, precision), precision)


def _compiled(subject: Subject, precision: str) -> Run:
    model = torch.compile(_laid_out(subject, precision), backend=subject.backend, dynamic=False)
    return _by_torch(model, precision)


def _torch_export(subject: Subject, precision: str) -> Run:
    return open_session(subject.file(TORCH_EXPORT.name), TORCH_EXPORT.name)


def _onnx(subject: Subject, precision: str) -> Run:
    path = subject.int8_file() if precision == "int8" else subject.file(ONNX.name)
    return open_session(path, ONNX.name)


def _onnx_in_3d(subject: Subject, precision: str) -> Run:
    """The same without planes: every depthwise convolution as one in three dimensions."""
    none = Planes.NONE
    path = subject.int8_file(none) if precision == "int8" else subject.file(ONNX.name, none)
    return open_session(path, ONNX.name)


def _onnx_by_openvino(subject: Subject, precision: str) -> Run:
    return open_openvino(subject.file(ONNX.name))


def _openvino(subject: Subject, precision: str) -> Run:
    openvino = import_library("openvino", OPENVINO)
    if precision == "int8":  # it reads ONNX files, and computes what these quantise in int8
        return open_openvino(subject.int8_file())
    if precision == "bf16" and "BF16" not in openvino.Core().get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        raise NotHere("OpenVINO computes bf16 on processors with instructions for it alone")
    return open_openvino(subject.file(OPENVINO.name), precision=precision)


OPENERS: dict[str, Callable[[Subject, str], Run]] = {
    "eager": _eager,
    "folded": _folded,
    "compiled": _compiled,
    "torch-export": _torch_export,
    "onnxruntime": _onnx,
    "onnxruntime-3d": _onnx_in_3d,
    "openvino": _openvino,
    "openvino-onnx": _onnx_by_openvino,
}
RUNTIMES = tuple(OPENERS)
_NO_INT8 = "this toolkit computes no int8 by torch"
_NO_BF16 = "ONNX Runtime has no bf16 arithmetic on x86 processors"
_LACKS = {
    ("eager", "int8"): _NO_INT8,
    ("folded", "int8"): _NO_INT8,
    ("compiled", "int8"): _NO_INT8,
    ("torch-export", "int8"): _NO_INT8,
    ("torch-export", "bf16"): "the file computes in fp32",
    ("onnxruntime", "bf16"): _NO_BF16,
    ("onnxruntime-3d", "bf16"): _NO_BF16,
    ("openvino-onnx", "bf16"): "measured as openvino, from its own file",
    ("openvino-onnx", "int8"): "measured as openvino, which reads the ONNX file",
}


def open_side(subject: Subject, runtime: str, precision: str) -> Run:
    """What runs the model of a subject by a runtime in a precision.

    Raises `NotHere`, or another `UserError`, where there is none; whatever a compiler or a runtime raises.
    """
    if why := _LACKS.get((runtime, precision)):
        raise NotHere(why)
    return OPENERS[runtime](subject, precision)
