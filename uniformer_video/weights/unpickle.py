"""Files of `torch.save`, read so that nothing in them can run.

`torch.load(weights_only=True)` makes tensors and plain types only and refuses everything else by name.
Files of other projects carry a little more: options, numbers from numpy, logs. For those names the
unpickler gets the classes of `stand_ins`, which are data and never the real thing.
"""

import contextlib
import pickle
import pickletools
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from uniformer_video.weights.stand_ins import Array, Options, make_stand_ins

MAX_ITEMS = 100_000  # of `plain`: a small file can describe an endless structure
MAX_DEPTH = 16
_ARCHIVE = b"PK"  # how a file of `torch.save` starts, unless it is from before torch 1.6
_DROPPED = object()
_TENSOR_PARTS = re.compile(
    r"torch\._utils\._rebuild\w+|torch\.\w+|collections\.(OrderedDict|Counter)"
)
_LOCK = threading.Lock()


def _full_name(item: Any) -> str:
    """Of an entry in torch's list: a class or function, or one with the name that it goes by."""
    return item[1] if isinstance(item, tuple) else f"{item.__module__}.{item.__qualname__}"


_ALLOWED = make_stand_ins()
_NAMES = {_full_name(stand_in) for stand_in in _ALLOWED}


def load(path: Path | str) -> Any:
    """What `torch.save` wrote to `path`, on the CPU, with stand-ins for the inert types above.

    Raises `pickle.UnpicklingError` for anything else, and whatever torch stumbles on in a damaged file.
    A file from before torch 1.6 is refused, too, unless it ends where its last tensor does.
    """
    with _LOCK, open(path, "rb") as file, warnings.catch_warnings(), _stand_ins_in_place():
        is_archive = file.read(len(_ARCHIVE)) == _ARCHIVE
        file.seek(0)
        warnings.simplefilter("ignore")
        try:
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=False)
        except pickle.UnpicklingError:
            if not is_archive and not file.read(1):  # a name that is cut off, not a foreign one
                raise EOFError("the file ends within its pickle") from None
            raise
        if not is_archive and file.read(1):
            raise ValueError("the file goes on behind its last tensor")
        return content


@contextlib.contextmanager
def _stand_ins_in_place() -> Iterator[None]:
    """torch's list of allowed names, one for the whole process, has ours for the length of the block.

    The same names that a program allowed for its own loading (the real `argparse.Namespace`, say)
    step aside meanwhile: a name that is listed twice would be either.
    """
    theirs = get_safe_globals()
    clear_safe_globals()
    others = (item for item in theirs if _full_name(item) not in _NAMES)
    add_safe_globals([*others, *_ALLOWED])
    try:
        yield
    finally:
        added = [item for item in get_safe_globals() if item not in _ALLOWED]
        clear_safe_globals()
        add_safe_globals([*theirs, *added])


def _operations(stream: IO[bytes]) -> Iterator[tuple[str, Any, str | None]]:
    """(name, argument, text that it gives or None) of each operation of a pickle, which is not run."""
    memo: dict[object, str | None] = {}
    text: str | None = None
    for opcode, argument, _ in pickletools.genops(stream):
        kind = opcode.name
        if kind in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if kind == "MEMOIZE" else argument] = text
            continue
        text = argument if "UNICODE" in kind else None
        if kind in ("GET", "BINGET", "LONG_BINGET"):
            text = memo.get(argument)
        yield kind, argument, text


def foreign_name(stream: IO[bytes]) -> str | None:
    """Full name of the first thing that `load` refuses in the pickle in a binary `stream`, or None.

    The pickle's opcodes are only read. This tells what is in pickles of protocols that `load` does not
    speak at all.
    """
    texts = []
    try:
        for kind, argument, text in _operations(stream):
            name = None
            if text is not None:
                texts.append(text)
            if kind in ("GLOBAL", "INST"):
                name = re.sub(r"^__builtin__\.", "builtins.", argument.replace(" ", "."))
            elif kind == "STACK_GLOBAL":
                name = ".".join(texts[-2:])
            if name and name not in _NAMES and not _TENSOR_PARTS.fullmatch(name):
                return name.removeprefix("builtins.")
    except Exception:  # damaged, or no pickle: genops raises whatever it stumbles on
        return None
    return None


def tensor_key(stream: IO[bytes], storage: str) -> str | None:
    """Key of the first tensor whose values are in `storage`, by the pickle in a binary `stream`, or None.

    storage: such as "17", for the archive's member data/17. The pickle's opcodes are only read.
    """
    texts = []
    try:
        for kind, _, text in _operations(stream):
            if text is not None:
                texts.append(text)
            elif kind == "BINPERSID":  # closes the tensor's key, "storage", the storage, its device
                if len(texts) > 3 and texts[-3:-1] == ["storage", storage]:
                    return texts[-4]
                texts.clear()
    except Exception:  # as above
        return None
    return None


def plain(value: object) -> Any:
    """`value` as dicts, lists, numbers and texts; other things in it are left out, None if it is one.

    Bounded in depth and size, because a file may describe a structure that contains itself.
    """
    result = _plain(value, MAX_DEPTH, [MAX_ITEMS])
    return None if result is _DROPPED else result


def _plain(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if depth == 0 or budget[0] < 0:
        return _DROPPED
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, torch.Tensor):
        return value.item() if value.numel() == 1 and not value.is_meta else _DROPPED
    if isinstance(value, (Options, Array)):
        return _DROPPED if value.values is None else _plain(value.values, depth, budget)
    if isinstance(value, dict):
        items = ((str(key), _plain(item, depth - 1, budget)) for key, item in value.items())
        return {key: item for key, item in items if item is not _DROPPED}
    if isinstance(value, (list, tuple, set)):
        items = (_plain(item, depth - 1, budget) for item in value)
        return [item for item in items if item is not _DROPPED]
    return _DROPPED
