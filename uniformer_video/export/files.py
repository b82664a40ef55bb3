"""A traced network as a file of each format, with its `ExportInfo` inside."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.export import graph
from uniformer_video.export.formats import ONNX, OPENVINO, ExportFormat, import_library
from uniformer_video.export.metadata import EXTRA_FILE, KEY, ExportInfo, json_beside
from uniformer_video.export.planes import Planes
from uniformer_video.files import atomic_write, full_disk_told

_HIGHEST_OPSET = 25  # the last one that torch's exporter writes; of higher ones it writes another


def write_program(
    program: torch.export.ExportedProgram,
    info: ExportInfo,
    path: Path,
    opset: int = graph.OPSET,
    planes: Planes = Planes.ALL,
) -> ExportInfo:
    """Write `path` in the format that `info` names, and return what is written of it there.

    OpenVINO's weights go into a .bin file beside it. The file is not whole until this returns: give a place
    where nobody looks. opset, planes: of a file of ONNX, see `graph.to_onnx`. Raises `MissingLibraryError`,
    and `CheckpointError` where a network has no form in these operators.
    """
    return _WRITERS[info.format](program, info, path, opset, planes)


def check_opset(chosen: ExportFormat, opset: int) -> None:
    """Raise `ConfigError` for a set of operators that cannot be written, or is not for this format."""
    if chosen is not ONNX:
        raise ConfigError(f"--opset is for files of ONNX, and the format is {chosen.name}")
    highest = min(_HIGHEST_OPSET, import_library("onnx", ONNX).defs.onnx_opset_version())
    if not graph.OPSET <= opset <= highest:
        raise ConfigError(f"--opset is {opset}; from {graph.OPSET} to {highest} can be written")


def files_of(path: Path) -> list[Path]:
    """The files that an exported model at `path` consists of, itself last."""
    weights = [path.with_suffix(".bin")] if path.suffix == OPENVINO.suffix else []
    return [*weights, json_beside(path), path]


def _write_onnx(
    program: torch.export.ExportedProgram,
    info: ExportInfo,
    path: Path,
    opset: int,
    planes: Planes,
) -> ExportInfo:
    info = replace(info, opset=opset)
    sides = {axis: side for axis, side in enumerate(info.input["shape"]) if isinstance(side, str)}
    graph.to_onnx(
        program,
        path,
        opset,
        info.input["name"],
        info.output["name"],
        sides,
        {KEY: info.to_json()},
        planes,
    )
    imports = import_library("onnx", ONNX).load_model(path).opset_import
    if opset not in [each.version for each in imports if each.domain in ("", "ai.onnx")]:
        raise CheckpointError(
            f"torch has no form of this network in the operators of --opset {opset}"
        )
    return info


def _write_torch_export(
    program: torch.export.ExportedProgram,
    info: ExportInfo,
    path: Path,
    opset: int,
    planes: Planes,
) -> ExportInfo:
    # in memory first: into a file, torch ends the process where the disk is full
    whole = io.BytesIO()
    torch.export.save(program, whole, extra_files={EXTRA_FILE: info.to_json()})
    with atomic_write(path) as file:
        file.write(whole.getbuffer())
    return info


def _write_openvino(
    program: torch.export.ExportedProgram,
    info: ExportInfo,
    path: Path,
    opset: int,
    planes: Planes,
) -> ExportInfo:
    openvino = import_library("openvino", OPENVINO)
    with graph.without_noise():
        model = openvino.convert_model(program)
    model.inputs[0].set_names({info.input["name"]})
    model.outputs[0].set_names({info.output["name"]})
    model.set_rt_info(info.to_json(), [KEY, "info"])
    weights = sum(value.nbytes for value in program.state_dict.values())
    with full_disk_told(path, weights):
        openvino.save_model(model, path, compress_to_fp16=False)  # weights as they are
    return info


_WRITERS: dict[
    str, Callable[[torch.export.ExportedProgram, ExportInfo, Path, int, Planes], ExportInfo]
] = {
    "onnx": _write_onnx,
    "torch-export": _write_torch_export,
    "openvino": _write_openvino,
}
