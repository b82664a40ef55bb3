"""A local weights file to its content. Nothing in the file is executed; a wrong file is named as such."""

import contextlib
import errno
import io
import json
import logging
import pickle
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import torch
from torch import Tensor
from torch.serialization import get_crc32_options, set_crc32_options

from uniformer_video.errors import (
    CheckpointError,
    DamagedError,
    MissingLibraryError,
    is_want_of_memory,
)
from uniformer_video.files import atomic_write
from uniformer_video.program import install
from uniformer_video.weights import unpickle
from uniformer_video.weights.file_kinds import (
    HEAD_BYTES,
    check_place,
    files_of,
    find_index,
    other_kind,
)
from uniformer_video.weights.unwrap import key_for_messages
from uniformer_video.words import system_reason

log = logging.getLogger(__name__)

FORMAT = "uniformer-video checkpoint"
FORMAT_VERSION = 1
SAFETENSORS = ".safetensors"
_HEADER_KEY = "uniformer-video"  # of a safetensors file's header, whose values are texts
_PIECE = 1 << 20  # bytes
_DIRECTORY = 0x10  # among a zip member's attributes

_OPTION_LOCK = threading.Lock()

_ARCHIVE = b"PK"


def read_content(path: Path | str, name: str) -> Any:
    """What the weights file at `path` holds, as it was saved; `name` is what messages call it.

    safetensors files of this toolkit come back as `write_content` got them, others as tensors by key.
    Raises `CheckpointError` with one line for anything that is not a weights file or wants to run code,
    `DamagedError` where the file is incomplete, another kind of file, or not what its checksums say.
    Weights in parts are read through the list of them, which `path` or a folder there is.
    """
    path = Path(path)
    check_place(path, name)
    if find_index(path):
        return _read_parts(path)
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"cannot read {name}: {system_reason(error)}") from None
    if not head:
        raise DamagedError(
            f"{name} is empty (0 bytes): its download failed or was cut off; get it again"
        )
    kind = other_kind(head)
    if kind:
        raise DamagedError(f"{name} is {kind}")
    if _is_safetensors(head, path):
        return _read_safetensors(path, name)
    if head.startswith(_ARCHIVE):
        _check_archive(path, name, size, head)
    return _read_torch(path, name, head)


@contextlib.contextmanager
def _write_checksums() -> Iterator[None]:
    """torch's option of checksums, one for the whole process, is on for the length of the block."""
    with _OPTION_LOCK:
        before = get_crc32_options()
        set_crc32_options(True)
        try:
            yield
        finally:
            set_crc32_options(before)


def _save(content: Mapping[str, Any], file: IO[bytes]) -> None:
    """`torch.save` with checksums. Its own error at a full disk hides the one that tells it."""
    try:
        with _write_checksums():
            torch.save(content, file)
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        raise cause or error from None


def write_content(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write `content` atomically, as safetensors when `path` ends so, else as `torch.save` does.

    content: a checkpoint of ours, or tensors by key, as they are or in one dict. Raises
    `CheckpointError` for training state in a safetensors file, `MissingLibraryError` when the library
    is not there.
    """
    if Path(path).suffix != SAFETENSORS:
        with atomic_write(path) as file:
            _save(content, file)
        return
    if "training" in content:
        raise CheckpointError(
            f"{path}: a safetensors file holds tensors only, no training state; resuming needs a .pt file"
        )
    save = _safetensors().save
    header = {"format": "pt"}
    if content.get("format") == FORMAT:
        rest = {key: value for key, value in content.items() if key != "model"}
        header[_HEADER_KEY] = json.dumps(rest)
    state = {
        key: value.clone(memory_format=torch.contiguous_format)  # it takes no shared memory
        for key, value in content.get("model", _only_dict(content)).items()
    }
    with atomic_write(path) as file:
        file.write(save(state, header))


def _only_dict(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((value for value in content.values() if isinstance(value, dict)), content)


def _read_parts(path: Path) -> dict[str, Tensor]:
    """The tensors of all parts that a list of parts names."""
    state: dict[str, Tensor] = {}
    for part in files_of(path)[1:]:
        content = read_content(part, str(part))
        if not isinstance(content, dict):
            raise CheckpointError(f"{part} holds no tensors by name, so it is no part of weights")
        state |= content
    return state


def _is_safetensors(head: bytes, path: Path) -> bool:
    """By content, because a download may have lost its suffix: a length, then a JSON object."""
    if len(head) < 9 or head[8:9] != b"{":
        return False
    length = int.from_bytes(head[:8], "little")
    return length < 100_000_000 and (path.suffix == SAFETENSORS or head[9:10] in b'"} ')


def _read_safetensors(path: Path, name: str) -> dict[str, Any]:
    library = _safetensors()
    import safetensors

    with _one_line(name):  # the library refuses any size but the one that the header gives
        with safetensors.safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(_HEADER_KEY)
        state = library.load_file(path)
    if header is None:
        return state
    try:
        return {**json.loads(header), "model": state}
    except (ValueError, TypeError, RecursionError):
        raise DamagedError(f"{name}: what it says about its model is damaged") from None


def _safetensors() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError:
        raise MissingLibraryError(
            f"safetensors files need the library safetensors: {install('hub')}"
        ) from None
    return safetensors.torch


@contextlib.contextmanager
def _one_line(name: str) -> Iterator[None]:
    """What libraries raise while they read the file that messages call `name`, as `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # on damaged files, they raise whatever they stumble on
        if is_want_of_memory(error):
            raise CheckpointError(f"not enough memory to read {name}") from None
        code = getattr(error, "errno", None)
        if code is not None and code != errno.EINVAL:  # EINVAL: sought a place that no file has
            raise CheckpointError(f"cannot read {name}: {system_reason(error)}") from None
        raise _damage_error(name) from None


def _check_archive(path: Path, name: str, size: int, head: bytes) -> None:
    """Raise `CheckpointError` for a zip archive that is damaged, or not written by `torch.save`."""
    with _one_line(name):
        if not zipfile.is_zipfile(path):
            raise DamagedError(
                f"{name} is not a readable weights file: it is incomplete, {size:,} bytes that end too "
                "early; get it again from where it came"
            )
        with zipfile.ZipFile(path) as archive:
            _check_kind(archive.namelist(), name, head)
            _check_sums(archive, name)


def _check_kind(members: list[str], name: str, head: bytes) -> None:
    if any(member.endswith("/constants.pkl") for member in members):
        raise CheckpointError(
            f"{name} is a TorchScript archive, a program with its weights, and is not run; save the "
            "weights alone where it was made: torch.save(torch.jit.load(FILE).state_dict(), ...)"
        )
    if any(member.endswith("/data.pkl") for member in members):
        return
    if b"/data.pkl" in head:  # it is there, but the list at the end of the archive is damaged
        raise _damage_error(name)
    inside = f"it holds {key_for_messages(members[0])}" if members else "it is empty"
    raise CheckpointError(
        f"{name} is a zip archive that torch.save did not write ({inside}), not a weights file; "
        "unpack it if the weights are inside"
    )


def _check_sums(archive: zipfile.ZipFile, name: str) -> None:
    """Raise `DamagedError` where a member of a zip archive is not what was saved.

    torch writes a CRC-32 of each and ignores it when it loads, so a flipped bit would become a weight.
    """
    members = [member for member in archive.infolist() if member.file_size]
    summed = any(member.CRC for member in members)
    if not summed:  # as after `torch.serialization.set_crc32_options(False)`
        log.warning(
            "%s was saved without checksums, so damage inside it would not be noticed", name
        )
    for member in members:
        if not _is_as_torch_writes(member) or (summed and not _has_its_sum(archive, member)):
            raise DamagedError(
                f"{name} is damaged: {_part(archive, member)} is not what was saved; "
                "get it again from where it came"
            )


def _is_as_torch_writes(member: zipfile.ZipInfo) -> bool:
    """For a directory torch would give memory as it found it; other kinds of packing it cannot read."""
    is_packed = member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return not (member.external_attr & _DIRECTORY or is_packed)


def _has_its_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Whether a zip member can be read and has the sum that it is listed with."""
    try:
        with archive.open(member) as file:
            while file.read(_PIECE):  # after the last one, it compares the sum
                pass
    except (OSError, MemoryError):
        raise
    except Exception:  # BadZipFile, and whatever zlib and `zipfile` stumble on
        return False
    return True


def _part(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """What messages call a zip member: by the tensor that is in it, where a whole data.pkl tells."""
    folder, _, storage = member.filename.rpartition("/data/")
    key = None
    with contextlib.suppress(Exception):  # there may be none, or that is damaged too
        key = unpickle.tensor_key(io.BytesIO(archive.read(f"{folder}/data.pkl")), storage)
    inside = key_for_messages(member.filename)
    return f"its part {inside}" if key is None else f"the tensor {key_for_messages(key)} ({inside})"


def _read_torch(path: Path, name: str, head: bytes) -> Any:
    with _one_line(name):
        try:
            return unpickle.load(path)
        except pickle.UnpicklingError as error:
            raise _refusal(path, name, head, str(error)) from None


def _refusal(path: Path, name: str, head: bytes, reason: str) -> CheckpointError:
    """The error for a pickle that torch refuses for `reason`."""
    protocol, foreign = _look_inside(path, head)
    if found := re.search(r"GLOBAL (\S+)", reason):
        foreign = found[1]
    if foreign:
        return CheckpointError(
            f"{name} wants to load {key_for_messages(foreign)}, which is not plain data; it is refused "
            "because it could run any program. Ask its author for the tensors alone: "
            "torch.save(model.state_dict(), ...)"
        )
    if protocol > 2:
        return CheckpointError(
            f"{name} is in pickle protocol {protocol}, of which only 2 can be read safely; save it again "
            "with torch.save and its default protocol"
        )
    return _damage_error(name)


def _look_inside(path: Path, head: bytes) -> tuple[int, str | None]:
    """The protocol of a file's pickle (0: there is none) and the first name in it that is refused."""
    try:
        with contextlib.ExitStack() as stack:
            if head.startswith(_ARCHIVE):
                archive = stack.enter_context(zipfile.ZipFile(path))
                members = [member for member in archive.namelist() if member.endswith("/data.pkl")]
                file = stack.enter_context(archive.open(members[0]))
            else:
                file = stack.enter_context(open(path, "rb"))
            start = re.match(rb"\x80([\x02-\x05])", file.read(2))
            file.seek(0)
            return (start[1][0], unpickle.foreign_name(file)) if start else (0, None)
    except Exception:  # what is damaged inside an archive shows in as many ways
        return 0, None


def _damage_error(name: str) -> DamagedError:
    return DamagedError(
        f"{name} is not a readable weights file: it is damaged, incomplete, or not one at all; "
        "get it again from where it came"
    )
