"""Files of `torch.save`, read so that nothing in them can run.

`torch.load(weights_only=True)` makes tensors and plain types only and refuses everything else by name.
Files of other projects carry a little more: options, numbers from numpy, logs. For those names the
unpickler gets the stand-ins below, which are data and never the real thing. They have slots, so that a
file cannot plant an attribute (a `__setstate__` of its own, say) on them.
"""

import contextlib
import pickle
import pickletools
import re
import threading
import warnings
from collections import OrderedDict
from pathlib import PurePosixPath

import numpy as np
import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

MAX_ITEMS = 100_000  # of `plain`: a small file can describe an endless structure
MAX_DEPTH = 16
_MAX_ARRAY = 4096
_ARCHIVE = b"PK"  # how a file of `torch.save` starts, unless it is from before torch 1.6
_DROPPED = object()
_NUMBERS = re.compile(r"[<>=|]?[biufcSU]\d{1,4}")
_TENSOR_PARTS = re.compile(
    r"torch\._utils\._rebuild\w+|torch\.\w+|collections\.(OrderedDict|Counter)"
)
_LOCK = threading.Lock()


class Inert:
    """Stands for an object whose content does not matter: takes anything, holds nothing."""

    __slots__ = ()

    def __new__(cls, *arguments):
        return object.__new__(cls)

    def __setstate__(self, state):
        pass


class Options:
    """Stands for a namespace; `values` are its attributes."""

    __slots__ = ("values",)

    def __new__(cls, *arguments):
        options = object.__new__(cls)
        options.values = {}
        return options

    def __setstate__(self, state):
        if isinstance(state, dict):
            self.values = state


class Mapping:
    """Stands for a class derived from dict. Makes an `OrderedDict`, which the unpickler can fill."""

    __slots__ = ()

    def __new__(cls, *arguments):
        given = arguments[0] if arguments else None
        return OrderedDict(given if isinstance(given, dict) else {})


class Sequence:
    """Stands for `deque`. Makes a list."""

    __slots__ = ()

    def __new__(cls, *arguments):
        given = arguments[0] if arguments else ()
        return list(given) if isinstance(given, (list, tuple)) else []


class PathText:
    """Stands for a path. Makes its text."""

    __slots__ = ()

    def __new__(cls, *parts):
        return str(PurePosixPath(*[part for part in parts if isinstance(part, str)]))


class Dtype:
    """Stands for a numpy dtype; `code` is such as "<f8"."""

    __slots__ = ("code",)

    def __new__(cls, *arguments):
        dtype = object.__new__(cls)
        dtype.code = str(arguments[0]) if arguments else ""
        return dtype

    def __setstate__(self, state):
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.code = state[1] + self.code.lstrip("<>=|")

    def values(self, raw):
        """The numbers or texts in `raw` as a numpy array `[N]`; None for anything but those."""
        if not isinstance(raw, bytes) or not _NUMBERS.fullmatch(self.code):
            return None
        try:
            return np.frombuffer(raw, np.dtype(self.code))
        except (TypeError, ValueError):
            return None


class Scalar:
    """Stands for the maker of numpy scalars. Makes a plain number or text."""

    __slots__ = ()

    def __new__(cls, *arguments):
        dtype, raw = arguments if len(arguments) == 2 else (None, None)
        values = dtype.values(raw) if isinstance(dtype, Dtype) else None
        return Inert() if values is None or len(values) != 1 else values[0].item()


class Array:
    """Stands for a numpy array; `values` is a flat list, or None for a large or odd one."""

    __slots__ = ("values",)

    def __new__(cls, *arguments):
        array = object.__new__(cls)
        array.values = None
        return array

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], Dtype):
            return
        values = state[2].values(state[4])
        if values is not None and len(values) <= _MAX_ARRAY:
            self.values = values.tolist()


def _stand_ins():
    """A class for each name, because torch finds what it allows by a class's module and name."""
    modules = {
        Options: ("argparse.Namespace", "types.SimpleNamespace"),
        Mapping: (
            "collections.defaultdict",
            "fvcore.common.config.CfgNode",
            "yacs.config.CfgNode",
            "easydict.EasyDict",
            "detectron2.config.config.CfgNode",
            "mmengine.config.config.ConfigDict",
            "mmcv.utils.config.ConfigDict",
            "addict.addict.Dict",
            # Options of Lightning
            "lightning.fabric.utilities.data.AttributeDict",
            "lightning_fabric.utilities.data.AttributeDict",
            "pytorch_lightning.utilities.parsing.AttributeDict",
        ),
        Sequence: ("collections.deque",),
        PathText: [
            f"{module}.{kind}"
            for module in ("pathlib", "pathlib._local")
            for kind in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
        ],
        Dtype: ("numpy.dtype",),
        Scalar: ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
        Array: ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
        Inert: (
            "numpy.ndarray",
            *(f"numpy.{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
            "numpy.float16",
            "numpy.float32",
            "numpy.float64",
            "numpy.bool_",
            "numpy.str_",
            "datetime.datetime",
            "datetime.date",
            "datetime.timedelta",
            # Logs of MMAction2: objects of mmengine, and their methods by `getattr`
            "mmengine.logging.history_buffer.HistoryBuffer",
            "mmengine.logging.log_buffer.LogBuffer",
            "mmengine.logging.message_hub.MessageHub",
            "mmengine.config.config.Config",
            "mmcv.utils.config.Config",
            *(f"builtins.{name}" for name in ("getattr", "int", "float", "bool", "str", "bytes")),
            *(f"builtins.{name}" for name in ("list", "tuple", "dict", "frozenset", "slice")),
            "builtins.range",
            "builtins.object",
            # Options of Hydra
            "omegaconf.dictconfig.DictConfig",
            "omegaconf.listconfig.ListConfig",
            "omegaconf.base.ContainerMetadata",
            "omegaconf.base.Metadata",
            *(
                f"omegaconf.nodes.{kind}Node"
                for kind in ("Any", "Boolean", "Float", "Integer", "String")
            ),
            "typing.Any",
        ),
    }
    return [_rename_class(stand_in, name) for stand_in, names in modules.items() for name in names]


def _rename_class(stand_in, full_name):
    module, _, name = full_name.rpartition(".")
    return type(name, (stand_in,), {"__slots__": (), "__module__": module})


def _full_name(item):
    """Of an entry in torch's list: a class or function, or one with the name that it goes by."""
    return item[1] if isinstance(item, tuple) else f"{item.__module__}.{item.__qualname__}"


_ALLOWED = _stand_ins()
_NAMES = {_full_name(stand_in) for stand_in in _ALLOWED}


def load(path):
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
def _stand_ins_in_place():
    """torch's list of allowed names, one for the whole process, has ours for the length of the block.

    The same names that a program allowed for its own loading (the real `argparse.Namespace`, say)
    step aside meanwhile: a name that is listed twice would be either.
    """
    theirs = get_safe_globals()
    clear_safe_globals()
    add_safe_globals([item for item in theirs if _full_name(item) not in _NAMES] + _ALLOWED)
    try:
        yield
    finally:
        added = [item for item in get_safe_globals() if item not in _ALLOWED]
        clear_safe_globals()
        add_safe_globals([*theirs, *added])


def _operations(stream):
    """(name, argument, text that it gives or None) of each operation of a pickle, which is not run."""
    memo, text = {}, None
    for opcode, argument, _ in pickletools.genops(stream):
        kind = opcode.name
        if kind in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if kind == "MEMOIZE" else argument] = text
            continue
        text = argument if "UNICODE" in kind else None
        if kind in ("GET", "BINGET", "LONG_BINGET"):
            text = memo.get(argument)
        yield kind, argument, text


def foreign_name(stream):
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


def tensor_key(stream, storage):
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


def plain(value):
    """`value` as dicts, lists, numbers and texts; other things in it are left out, None if it is one.

    Bounded in depth and size, because a file may describe a structure that contains itself.
    """
    result = _plain(value, MAX_DEPTH, [MAX_ITEMS])
    return None if result is _DROPPED else result


def _plain(value, depth, budget):
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
