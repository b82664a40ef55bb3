"""What stands at a path in place of a weights file, called by its name: folders, pipes, other files."""

import codecs
import json
import re
import stat
from pathlib import Path

from uniformer_video.errors import CheckpointError, DamagedError
from uniformer_video.files import name_special
from uniformer_video.words import name_some, system_reason

EXPORTED = (".onnx", ".pt2", ".xml")  # what exported models are called, see `export/formats.py`
HEAD_BYTES = 4096  # of a file, which tell its kind
# Of the list of a file in parts, as Hugging Face's libraries write it
_INDEX_SUFFIX = ".index.json"
_MAX_INDEX = 100_000_000  # bytes

_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body|\?xml)", re.DOTALL | re.I)
_POINTER = b"version https://git-lfs.github.com/spec/"
_OTHER_KINDS = [  # (where its mark stands, the mark, what it is)
    (4, b"ftyp", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (0, b"\x00\x00\x01\xba", "a video"),
    (0, b"\xff\xd8\xff", "an image"),
    (0, b"\x89PNG", "an image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89HDF", "an HDF5 file; only files of torch.save and safetensors are read"),
    (0, b"GGUF", "a GGUF file; only files of torch.save and safetensors are read"),
    (0, b"\x93NUMPY", "a NumPy array; only files of torch.save and safetensors are read"),
    (0, b"\x1f\x8b", "compressed (gzip); unpack it first"),
    (0, b"BZh", "compressed (bzip2); unpack it first"),
    (0, b"\xfd7zXZ", "compressed (xz); unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed (zstandard); unpack it first"),
    (0, b"7z\xbc\xaf", "compressed (7z); unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
]
_FROM_DCP = (
    "is a distributed checkpoint of torch, in parts; make one file of it (dcp_to_torch_save): "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch {} weights.pt"
)
_FROM_ZERO = (
    "is a distributed checkpoint of DeepSpeed, in parts; make one file of it with the script that DeepSpeed "
    "puts into it: python {}/zero_to_fp32.py {} weights.pt"
)
_FOLDERS = [  # (files that tell the kind of a folder, itself or one level below, what is said of it)
    (("*.distcp", ".metadata", "*/*.distcp"), _FROM_DCP),
    (
        ("*zero_pp_rank_*", "*/*zero_pp_rank_*", "zero_to_fp32.py", "*/mp_rank_*_model_states.pt"),
        _FROM_ZERO,
    ),
    (("mp_rank_*_model_states.pt",), _FROM_ZERO),
    (
        ("latest_checkpointed_iteration.txt", "mp_rank_*/model_optim_rng.pt"),
        "is a checkpoint of Megatron-LM, in parts; make one file of it with its tools/checkpoint/convert.py",
    ),
    (
        ("saved_model.pb", "*.data-00000-of-*"),
        "is a checkpoint of TensorFlow; only torch's are read",
    ),
    (
        ("_METADATA", "_CHECKPOINT_METADATA"),
        "is a checkpoint of JAX (Orbax); only torch's are read",
    ),
]
_SUFFIXES = (".pt", ".pth", ".pyth", ".ckpt", ".safetensors", ".bin", ".tar")


def check_place(path: Path | str, name: str) -> None:
    """Raise `CheckpointError` unless a weights file stands at `path`, whole or in parts that can be read.

    Nothing is opened: to open a pipe is to wait for whoever writes into it. `name` is what messages call it.
    """
    path = Path(path)
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        raise CheckpointError(f"there is no weights file {name}") from None
    except (OSError, ValueError) as error:  # ValueError: a path that no system takes
        raise CheckpointError(f"cannot read {name}: {system_reason(error)}") from None
    if stat.S_ISDIR(kind):
        if not find_index(path):
            raise CheckpointError(f"{name} {_folder_kind(path)}")
    elif not stat.S_ISREG(kind):
        what = name_special(kind) or "no regular file"
        raise CheckpointError(
            f"{name} is {what}, not a weights file, which is read in any order; write the weights to a "
            "file first"
        )
    elif path.suffix == ".distcp":
        folder = path.parent
        raise CheckpointError(
            f"{name} is one part of {folder}, which {_in_folder(_FROM_DCP, folder)}"
        )
    elif re.match(r"(bf16_)?zero_pp_rank_", path.name):
        folder = path.parent.parent
        raise CheckpointError(
            f"{name} is one part of {folder}, which {_in_folder(_FROM_ZERO, folder)}"
        )


def find_index(path: Path | str) -> Path | None:
    """The list of the parts of weights at `path`, that list or the folder that holds it; None for others."""
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob(f"*{_INDEX_SUFFIX}"))
        return found[0] if len(found) == 1 else None
    return path if path.name.endswith(_INDEX_SUFFIX) else None


def files_of(path: Path | str) -> list[Path]:
    """The files that the weights at `path` are made of: itself, or a list of parts and the parts in order.

    Raises `CheckpointError` for a list that is damaged, or names what does not lie beside it.
    """
    index = find_index(path)
    if index is None:
        return [Path(path)]
    try:
        if index.stat().st_size > _MAX_INDEX:
            raise ValueError
        parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(parts.values()))
        # A part is a file beside its list: a list from elsewhere must not reach into other folders.
        if not names or any(Path(name).name != name for name in names):
            raise ValueError
    except OSError as error:
        raise CheckpointError(f"cannot read {index}: {system_reason(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(
            f"{index} is not a readable list of the parts of a weights file; get it again from where it came"
        ) from None
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise CheckpointError(
            f"of the {len(names)} parts that {index} lists, {name_some(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not beside it; get them from where it came"
        )
    return [index, *(index.parent / name for name in names)]


def other_kind(head: bytes) -> str | None:
    """What a file that starts with `head` is, when it is surely not a weights file; else None."""
    if head.startswith(_POINTER):
        return (
            "a Git LFS pointer, not the weights it stands for; run `git lfs pull` in its repository, "
            "or download the file itself"
        )
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _PAGE.match(text):
        return (
            "a web page, not a weights file: the download asked for a login or a confirmation; "
            "download it in a browser, or from an address that answers with the file itself"
        )
    for start, mark, kind in _OTHER_KINDS:
        if head[start : start + len(mark)] == mark:
            separator = "" if ";" in kind else ", not a weights file"
            return kind + separator
    if _is_prose(text, whole=len(head) < HEAD_BYTES):
        return "a text file, not a weights file"
    return None


def _is_prose(head: bytes, whole: bool) -> bool:
    try:  # the last character of a part may be cut
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=whole)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\n\r\f" for character in text)


def _folder_kind(folder: Path) -> str:
    """What is said of a folder that stands in place of a weights file."""
    try:
        for patterns, text in _FOLDERS:
            if any(next(folder.glob(pattern), None) for pattern in patterns):
                return _in_folder(text, folder)
        inside = [
            each.name
            for each in sorted(folder.iterdir())
            if each.suffix in _SUFFIXES and each.is_file()
        ]
    except OSError as error:
        return f"is a directory that cannot be read: {system_reason(error)}"
    if not inside:
        return "is a directory, not a weights file"
    first = next((name for name in inside if name == "best.pt"), inside[0])
    others = f" (it holds {name_some(inside)})" if len(inside) > 1 else ""
    return f"is a directory, not a weights file; give the file in it: {folder / first}{others}"


def _in_folder(text: str, folder: Path) -> str:
    if text is _FROM_ZERO and (folder.parent / "zero_to_fp32.py").is_file():
        folder = folder.parent  # the folder of one step was given
    return text.replace("{}", str(folder))
