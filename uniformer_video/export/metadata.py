"""What an exported file says of itself, as one JSON text inside it and beside it, and how it is read.

Where the text is: in ONNX the entry `uniformer_video` of `metadata_props`, in files of torch.export the extra
file `uniformer_video.json`, in OpenVINO's the entry `uniformer_video/info` of `rt_info`.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import CheckpointError, DamagedError, DataError, quote
from uniformer_video.export.formats import FORMATS, ONNX, OPENVINO, format_of, import_library
from uniformer_video.words import one_line, system_reason

KIND = "exported-model"
FORMAT_VERSION = 1  # of what is below; a reader refuses a later one
KEY = "uniformer_video"  # of the text in ONNX and OpenVINO
EXTRA_FILE = f"{KEY}.json"  # in files of torch.export
_TYPES: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "model": (str,),
    "task": (str,),
    "class_names": (list,),
    "protocol": (dict,),
    "preprocess": (bool,),
    "temperature": (float, int, type(None)),
    "calibration": (dict, type(None)),
    "license": (str,),
    "versions": (dict,),
    "fingerprint": (str,),
    "parameters": (int,),
    "opset": (int, type(None)),
    "input": (dict,),
    "output": (dict,),
}
_ADDED: dict[str, tuple[type, ...]] = {
    "quantization": (dict, type(None))
}  # earlier files lack them


@dataclass(frozen=True)
class ExportInfo:
    """What an exported file says of itself.

    format: "onnx", "torch-export" or "openvino". model: the name of the architecture. task: the name of the
    task. class_names: in index order. protocol: how clips are taken, prepared and scored, as checkpoints
    record it. preprocess: whether preparing is inside: then frames go in, uint8 `[B, T, H, W, 3]` RGB, and
    probabilities `[B, K]` come out; else normalised clips go in, float32 `[B, 3, T, H, W]` (of images without
    T), and logits `[B, K]` come out. temperature: by which the logits were divided inside, for the
    probabilities; None = not. calibration: what the checkpoint records of it, see
    `inference/calibrated.py`; None without one.
    license: of the videos that it was trained on, in words. versions: of what wrote it. fingerprint: SHA-256
    of the weights, see `fingerprint_of`. parameters: how many the model was trained with. opset: of ONNX's
    operators. input, output: name, shape and type, with words for sides that may vary. quantization: what
    `int8.Quantization` says; None = all is in float32.
    """

    format: str
    model: str
    task: str
    class_names: tuple[str, ...]
    protocol: Protocol
    preprocess: bool = False
    temperature: float | None = None
    calibration: dict[str, Any] | None = None
    license: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    parameters: int = 0
    opset: int | None = None
    input: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    quantization: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain types, which `from_dict` reads back."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        own |= {"class_names": list(self.class_names), "protocol": self.protocol.to_dict()}
        return {"kind": KIND, "format_version": FORMAT_VERSION, **own}

    def to_json(self) -> str:
        """One line of JSON, in ASCII: what any reader of any of the formats keeps as it is."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, record: Any, source: str) -> "ExportInfo":
        """The info in a record of `to_dict`; what a later writer may have added is passed over.

        source: the file, for messages. Raises `CheckpointError` for a record of another kind or of a later
        format, `DamagedError` for one that is not whole.
        """
        if not isinstance(record, Mapping) or record.get("kind") != KIND:
            raise CheckpointError(_NO_INFO.format(source))
        version = record.get("format_version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise DamagedError(f"{source} is damaged: its format version is {quote(version)}")
        if version > FORMAT_VERSION:
            raise CheckpointError(
                f"{source} is an exported model of format {version}, and this version reads up to "
                f"{FORMAT_VERSION}; update uniformer-video"
            )
        record = dict.fromkeys(_ADDED) | dict(record)
        for name, types in (_TYPES | _ADDED).items():
            if name not in record or not isinstance(record[name], types):
                raise DamagedError(
                    f"{source} is damaged: what it says of its {name} is {quote(record.get(name))}"
                )
        if record["format"] not in FORMATS:
            raise DamagedError(f"{source} is damaged: its format is {quote(record['format'])}")
        if not all(isinstance(name, str) for name in record["class_names"]):
            raise DamagedError(f"{source} is damaged: its class names are no texts")
        try:
            protocol = Protocol.from_dict(record["protocol"], source)
        except DataError as error:
            raise DamagedError(str(error)) from None
        own = {name: record[name] for name in _TYPES | _ADDED}
        own |= {"class_names": tuple(record["class_names"]), "protocol": protocol}
        return cls(**own)

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> "ExportInfo":
        """As `from_dict`, of `to_json`'s text."""
        try:
            record = json.loads(text)
        except ValueError as error:
            raise DamagedError(
                f"{source} is damaged: what it says of itself is no JSON ({one_line(error)})"
            ) from None
        return cls.from_dict(record, source)


_NO_INFO = (
    "{} says nothing of classes and preparation, as a file that `export` wrote does; export the checkpoint "
    "with it"
)


def read_info(path: Path | str) -> ExportInfo:
    """The `ExportInfo` inside an exported file of any format; the runtime that would run it is not needed.

    Raises `CheckpointError` for a file that is none, `DamagedError` where it is incomplete, and
    `MissingLibraryError` where an ONNX file is to be read without the library onnx.
    """
    path, found = Path(path), format_of(path)
    if found is None:
        suffixes = ", ".join(each.suffix for each in FORMATS.values())
        raise CheckpointError(f"{path} is no exported model; such a file ends in {suffixes}")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"cannot read {path}: it {what}")
    try:
        text = _READERS[found.name](path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {system_reason(error)}") from None
    if text is None:
        raise CheckpointError(_NO_INFO.format(path))
    info = ExportInfo.from_json(text, str(path))
    if info.format != found.name:
        raise DamagedError(f"{path} is damaged: it says that its format is {info.format}")
    return info


def json_beside(path: Path | str) -> Path:
    """Where the same is written beside an exported file: `model.onnx.json`."""
    return Path(f"{path}.json")


def fingerprint_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors with their names, types and shapes, in hexadecimal, the same on any device."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _damaged(path: Path, error: object) -> DamagedError:
    return DamagedError(
        f"{path} is incomplete or damaged ({one_line(error)}); export it again, or copy it again"
    )


def _read_onnx(path: Path) -> str | None:
    onnx = import_library("onnx", ONNX)
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # onnx needs it

    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        raise _damaged(path, error) from None
    if not model.graph.node:
        raise _damaged(path, "it holds no network")
    return next((each.value for each in model.metadata_props if each.key == KEY), None)


def _read_torch_export(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/{EXTRA_FILE}")]
            return archive.read(names[0]).decode() if names else None
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from None


def _read_openvino(path: Path) -> str | None:
    """From the description of the network; the weights beside it are there, and as long as it says."""
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise _damaged(path, error) from None
    if root.tag != "net":
        raise CheckpointError(f"{path} is XML, but not a model of {OPENVINO.title}")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise CheckpointError(f"{path} needs its weights beside it, and {weights} does not exist")
    ends = [
        int(each.get("offset", 0)) + int(each.get("size", 0))
        for each in root.iter("data")
        if each.get("offset")
    ]
    if weights.stat().st_size < max(ends, default=0):
        raise _damaged(weights, f"{weights.stat().st_size} bytes of {max(ends)}")
    entry = root.find(f"rt_info/{KEY}/info")
    return None if entry is None else entry.get("value")


_READERS: dict[str, Callable[[Path], str | None]] = {
    "onnx": _read_onnx,
    "torch-export": _read_torch_export,
    "openvino": _read_openvino,
}
