"""An ONNX file's layers in 8-bit integers, by ONNX Runtime's quantisation.

Static: what goes into a layer is quantised by a fixed range, which is measured on clips beforehand. Dynamic:
by the range that it has at the time. Weights are quantised by output channel (Krishnamoorthi 2018,
"Quantizing deep convolutional networks for efficient inference"), signed and symmetric; what is not a
convolution or a product of matrices stays in float.
"""

import ast
import io
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.errors import CheckpointError, MissingLibraryError
from uniformer_video.export.formats import DYNAMIC, ONNX, RANGES, STATIC, import_library
from uniformer_video.export.metadata import KEY
from uniformer_video.files import full_disk_told
from uniformer_video.logs import errors_alone
from uniformer_video.words import one_line

_SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter says of which module a node is
_OPERATORS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Quantization:
    """What an int8 file says of its quantisation.

    method: "static" or "dynamic". ranges: how those of activations were found, one of `RANGES`; None where
    they are found anew each time. videos, clips: how many they were measured on. source: where those are
    from, in words. layers: how many are in int8. float_layers: the names of those that are left in float, for
    the sake of the answers. passed_over: how many convolutions and products are in float because the method
    does not take them.
    """

    method: str
    ranges: str | None
    videos: int
    clips: int
    source: str
    layers: int
    float_layers: tuple[str, ...] = ()
    passed_over: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain types, with what the weights are."""
        return {"type": "int8", **asdict(self), "float_layers": list(self.float_layers)}


class FloatGraph:
    """A float32 ONNX file whose layers can be written in int8, any of them.

    Args:
        path: of the file, as `files.write_program` writes it.
        folder: for files that are needed meanwhile.
        method: one of `formats.METHODS`.

    layers: {name of a module: names of its nodes} of what can be quantised, in the order of the network.
    passed_over: how many others there are. Of a dynamic file these are convolutions, which take up to twice
    the time that they take in float (`docs/export.md`), and products of two activations.

    Raises `MissingLibraryError` without what quantises, `CheckpointError` for a graph that cannot be
    prepared, or has no layer that can be quantised.
    """

    def __init__(self, path: Path, folder: Path, method: str):
        self.method = method
        self._folder = folder
        self._tools = quantization_tools()
        onnx = import_library("onnx", ONNX)
        self._path, self._bytes = folder / "prepared.onnx", path.stat().st_size
        modules = {node.name: _module(node) for node in onnx.load_model(path).graph.node}
        with self._told("prepared"):
            # BatchNorm folded, constants computed; torch wrote the shapes, which the symbolic inference of
            # ONNX Runtime 1.32 fails to find for token-labelling models
            self._tools.shape_inference.quant_pre_process(
                str(path), str(self._path), skip_symbolic_shape=True
            )
            graph = onnx.load_model(self._path).graph
        weights = {each.name for each in graph.initializer}
        self._nodes = [node.name for node in graph.node if node.op_type in _OPERATORS]
        self.layers: dict[str, list[str]] = {}
        others = set()
        for node in graph.node:
            if node.op_type not in _OPERATORS:
                continue
            name = modules.get(node.name) or node.name
            if method == STATIC or _is_product_with_weights(node, weights):
                self.layers.setdefault(name, []).append(node.name)
            else:
                others.add(name)
        self.passed_over = len(others - self.layers.keys())
        if not self.layers:
            raise CheckpointError(
                f"this network has no layer that ONNX Runtime has in int8 ({method})"
            )
        self._ranges: Any = None

    def calibrate(self, inputs: Iterable[np.ndarray], ranges: str) -> int:
        """Measure the ranges of all activations on `inputs`, one clip `[1, ...]` each; how many there were.

        ranges: one of `RANGES`. A clip's activations are in memory at a time.
        """
        onnx, calibrate = import_library("onnx", ONNX), self._tools.calibrate
        count = 0
        with self._told("calibrated"):
            name = onnx.load_model(self._path).graph.input[0].name
            calibrator = calibrate.create_calibrator(
                self._path,
                list(_OPERATORS),
                augmented_model_path=str(self._folder / "calibrated.onnx"),
                calibrate_method=getattr(self._tools.CalibrationMethod, RANGES[ranges]),
            )
            for clip in inputs:
                calibrator.collect_data(_reader(self._tools, {name: clip}))
                count += 1
            self._ranges = calibrator.compute_data()
        return count

    def write(self, path: Path, chosen: Collection[str]) -> None:
        """Write `path` with the `chosen` layers in int8 and everything else in float.

        A static one wants `calibrate` first.
        """
        within = {node for name in chosen for node in self.layers[name]}
        left = [node for node in self._nodes if node not in within]
        kinds = self._tools.QuantType
        with self._told("quantised"):
            if self.method == DYNAMIC:
                self._tools.quantize_dynamic(
                    str(self._path),
                    str(path),
                    list(_OPERATORS),
                    per_channel=True,
                    weight_type=kinds.QInt8,
                    # a Gemm becomes a product and a sum, by this name
                    nodes_to_exclude=[*left, *(f"{node}_MatMul" for node in left)],
                )
                return
            assert self._ranges is not None
            quantizer = self._tools.QDQQuantizer(
                import_library("onnx", ONNX).load_model(self._path),
                per_channel=True,
                reduce_range=False,
                weight_qType=kinds.QInt8,
                activation_qType=kinds.QUInt8,  # x86 multiplies unsigned by signed: faster than two signed
                tensors_range=self._ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=left,
                op_types_to_quantize=list(_OPERATORS),
                extra_options={},
            )
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(str(path))

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Without the tools' remarks, and with their errors as one of ours: they have no common class."""
        with errors_alone(""), redirect_stdout(io.StringIO()):
            try:
                with full_disk_told(self._path, self._bytes):
                    yield
            except (OSError, MemoryError):
                raise
            except Exception as error:
                version = import_library("onnxruntime", ONNX).__version__
                raise CheckpointError(
                    f"the network cannot be {what} by onnxruntime {version} ({type(error).__name__}: "
                    f"{one_line(error)[:300]})"
                ) from error


def quantization_tools() -> Any:
    """`onnxruntime.quantization`. Raises `MissingLibraryError` where this onnxruntime is without it."""
    import_library("onnxruntime", ONNX)
    tools = import_library("onnxruntime.quantization", ONNX)
    import_library("onnxruntime.quantization.shape_inference", ONNX)
    if not hasattr(tools, "QDQQuantizer"):
        raise MissingLibraryError("this onnxruntime cannot quantise: update it")
    return tools


def record_quantization(path: Path, text: str) -> None:
    """Put the text of an `ExportInfo` into an ONNX file in place of its own."""
    onnx = import_library("onnx", ONNX)
    model = onnx.load_model(path)
    onnx.helper.set_model_props(model, {KEY: text})
    with full_disk_told(path, path.stat().st_size):
        onnx.save_model(model, path)


def _reader(tools: Any, feed: dict[str, np.ndarray]) -> Any:
    """What ONNX Runtime's calibration reads one input from."""

    class Reader(tools.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [feed]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    return Reader()


def _module(node: Any) -> str:
    """The module that a node is of, such as "blocks3.0.mlp.fc1"; "" where nothing says it."""
    text = next((each.value for each in node.metadata_props if each.key == _SCOPES), "[]")
    modules = ast.literal_eval(text)[:-1]  # the last one is the operation
    return next((name for name in reversed(modules) if name), "").removeprefix("model.")


def _is_product_with_weights(node: Any, weights: Collection[str]) -> bool:
    """Whether a dynamic file has the node in int8."""
    return node.op_type != "Conv" and node.input[1] in weights
