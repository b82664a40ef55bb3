"""A model as a graph of plain operations: by `torch.export`, and from there as an ONNX file."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from uniformer_video.errors import ConfigError
from uniformer_video.export.formats import ONNX, import_library
from uniformer_video.export.planes import Planes, conv3d_translation
from uniformer_video.files import atomic_write
from uniformer_video.logs import errors_alone

OPSET = 18  # of ONNX's operators: the first that torch writes; any runtime since 2023 has it
_FIRST_WITH_GELU = 20  # of these sets has an operator for it
_MORE = (64, 96)  # pixels that an example of varying size is larger by, in height and width
INPUT, OUTPUT = "input", "output"
BATCH, HEIGHT, WIDTH = "batch", "height", "width"  # names of sides that vary


def trace(
    model: nn.Module,
    example: Tensor,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    sides: tuple[int, int] = (-2, -1),
) -> ExportedProgram:
    """The graph of a model that takes one tensor, such as `[B, 3, T, H, W]`, and returns one.

    Args:
        model: in evaluation mode, best behind `for_inference`; it stays as it is.
        example: an input; its values do not matter.
        dynamic_batch: whether the program takes batches of any size, else of the example's alone.
        dynamic_size: whether height and width may vary; the time never does.
        sides: which axes of the example they are.

    Raises `ConfigError` for a model in training mode, and where a side is to vary for a model that takes one
    size alone (MViT).
    """
    if model.training:
        raise ConfigError("a model is exported in evaluation mode: call eval() or for_inference()")
    height, width = (axis % example.dim() for axis in sides)
    names = {0: BATCH} if dynamic_batch else {}
    names |= {height: HEIGHT, width: WIDTH} if dynamic_size else {}
    shape = list(example.shape)
    # torch.export takes sides of 1 for constant, also those of maps inside, and those that are equal for one
    if dynamic_batch:
        shape[0] = max(shape[0], 2)
    if dynamic_size:
        shape[height] += _MORE[0]
        shape[width] += _MORE[1]
    dims = dict.fromkeys(names, Dim.AUTO)  # DYNAMIC complains by an error whose class is private
    with torch.no_grad(), without_noise():
        try:
            program = torch.export.export(
                model, (example.new_zeros(shape),), dynamic_shapes=(dims,), strict=False
            )
        except ConfigError as error:
            if dynamic_size:
                raise ConfigError(f"this model takes inputs of one size alone: {error}") from error
            raise
    varying = varying_sides(program)
    if fixed := [name for axis, name in names.items() if axis not in varying]:
        raise ConfigError(
            f"this model takes inputs of one {' and one '.join(fixed)} alone; export it without varying sides"
        )
    return program


def varying_sides(program: ExportedProgram) -> dict[int, str]:
    """The axes of the program's input that may vary, each with its symbol."""
    (name,) = program.graph_signature.user_inputs
    (node,) = [node for node in program.graph.nodes if node.name == name]
    sides = enumerate(map(str, node.meta["val"].shape))
    return {
        axis: side for axis, side in sides if not side.isdigit()
    }  # a side found fixed: its number


def to_onnx(
    program: ExportedProgram,
    path: Path | str,
    opset: int = OPSET,
    input_name: str = INPUT,
    output_name: str = OUTPUT,
    axes: Mapping[int, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    planes: Planes = Planes.ALL,
) -> None:
    """Write a program of `trace` as an ONNX file, its weights inside.

    opset: of ONNX's operators. axes: what sides of the input that vary are called, by their numbers; others
    keep torch's symbols. metadata: texts that the file carries, its `metadata_props`. planes: which
    depthwise convolutions of clips are written as sums of convolutions of frames.

    Raises `MissingLibraryError`; nothing is written after an error.
    """
    onnx = import_library("onnx", ONNX)
    with without_noise():
        written = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=opset,
            input_names=[input_name],
            output_names=[output_name],
            custom_translation_table=_translations(opset, planes),
            verbose=False,
        )
    assert written is not None
    symbols = varying_sides(program)
    names: dict[Any, str] = {
        symbols[axis]: name for axis, name in (axes or {}).items() if axis in symbols
    }
    if names:
        written.rename_axes(names)
    written.model.metadata_props.update(metadata or {})
    with atomic_write(path) as file:
        onnx.save_model(written.model_proto, file)


def _translations(opset: int, planes: Planes) -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX operators for those of torch that its exporter does not know, or writes so that they are slow."""
    op: Any = import_library("onnxscript", ONNX).opset18

    def stable_sort(
        self: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False
    ) -> Any:
        """Of equal values the one with the lower index comes first: so ONNX defines TopK."""
        length = op.Reshape(
            op.Gather(op.Shape(self), op.Constant(value_ints=[dim]), axis=0),
            op.Constant(value_ints=[1]),
        )
        return op.TopK(self, length, axis=dim, largest=descending, sorted=True)

    def gelu(self: Any, *, approximate: str = "none") -> Any:
        """`x (1 + erf(x / sqrt 2)) / 2` in the one order in which ONNX Runtime sees that it is a GELU.

        It then computes it in one pass, in place of five.
        """
        root, one, half = (op.Constant(value_float=value) for value in (math.sqrt(2), 1.0, 0.5))
        if approximate == "none":
            return op.Mul(op.Mul(self, op.Add(op.Erf(op.Div(self, root)), one)), half)
        cubes = op.Mul(op.Mul(op.Mul(self, self), self), op.Constant(value_float=0.044715))
        inner = op.Mul(op.Add(self, cubes), op.Constant(value_float=math.sqrt(2 / math.pi)))
        return op.Mul(op.Mul(self, op.Add(op.Tanh(inner), one)), half)

    found: dict[Callable[..., Any], Callable[..., Any]] = {
        torch.ops.aten.sort.stable: stable_sort,
        torch.ops.aten.conv3d.default: conv3d_translation(op, planes),
    }
    if opset < _FIRST_WITH_GELU:
        found[torch.ops.aten.gelu.default] = gelu
    return found


@contextmanager
def without_noise() -> Iterator[None]:
    """Without the exporter's remarks on itself: torchvision is not there, torch uses what it deprecates."""
    with errors_alone("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
