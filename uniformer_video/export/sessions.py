"""An exported file as a plain function of arrays, as the check of a file runs it."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from uniformer_video.errors import CheckpointError
from uniformer_video.export.formats import ONNX, OPENVINO, import_library
from uniformer_video.logs import errors_alone
from uniformer_video.words import one_line

Run = Callable[[np.ndarray], np.ndarray]  # a batch of inputs -> `[B, K]`


def open_session(path: Path, name: str, called: Path | None = None) -> Run:
    """What runs the exported file at `path`, of the format `name`, on the processor, in float32.

    As many threads as torch has. called: what messages call the file, where it has not its name yet. Raises
    `CheckpointError` where the runtime refuses the file.
    """
    return _OPENERS[name](path, called or path)


def _open_onnx(path: Path, called: Path) -> Run:
    runtime = import_library("onnxruntime", ONNX)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # else they go on spinning for a while after a run, and what decodes the next clip waits for a core
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class but this
        hint = ""
        if any(word in str(error).lower() for word in ("opset", "ir version")):
            hint = "; it is too old for these operators: update it, or export with a lower --opset"
        raise _refused(called, f"onnxruntime {runtime.__version__}", error, hint) from None
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def _open_torch_export(path: Path, called: Path) -> Run:
    try:
        with errors_alone("torch.export"):  # it prints the traceback of what the error says
            module = torch.export.load(path).module()
    except Exception as error:  # of a damaged file, whatever its reading came upon
        hint = "; it is damaged, or another torch wrote it: export it again"
        raise _refused(called, f"torch {torch.__version__}", error, hint) from None

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy()

    return run


def open_openvino(path: Path, called: Path | None = None, precision: str = "fp32") -> Run:
    """What runs a file of OpenVINO, or of ONNX, by OpenVINO.

    called: see `open_session`. precision: "fp32" or "bf16"; a processor without instructions for bf16
    computes in fp32. Raises as `open_session`.
    """
    openvino: Any = import_library("openvino", OPENVINO)
    options = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    try:
        compiled = openvino.compile_model(path, "CPU", options)
    except Exception as error:  # mostly RuntimeError, and its own
        raise _refused(called or path, f"openvino {openvino.__version__}", error) from None
    one_at_a_time = Lock()  # a compiled model has one request

    def run(batch: np.ndarray) -> np.ndarray:
        with one_at_a_time:
            return compiled(batch)[0]

    return run


def _refused(called: Path, runtime: str, error: Exception, hint: str = "") -> CheckpointError:
    """The error for a file that its runtime, named with its version, does not take."""
    reason = one_line(error).partition(" Please check the warnings")[0]  # torch's, not shown here
    return CheckpointError(f"{runtime} refuses {called}: {reason[:300].rstrip('. ')}{hint}")


_OPENERS: dict[str, Callable[[Path, Path], Run]] = {
    "onnx": _open_onnx,
    "torch-export": _open_torch_export,
    "openvino": open_openvino,
}
