"""Classes that stand for what files of other projects carry beside tensors: data, never the real thing.

They have slots, so that a file cannot plant an attribute (a `__setstate__` of its own, say) on them.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import numpy as np

_MAX_ARRAY = 4096
_NUMBERS = re.compile(r"[<>=|]?[biufcSU]\d{1,4}")


class Inert:
    """Stands for an object whose content does not matter: takes anything, holds nothing."""

    __slots__ = ()

    def __new__(cls, *arguments: object) -> "Inert":
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class Options:
    """Stands for a namespace; `values` are its attributes."""

    __slots__ = ("values",)
    values: dict[Any, Any]

    def __new__(cls, *arguments: object) -> "Options":
        options = object.__new__(cls)
        options.values = {}
        return options

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.values = state


class Mapping:
    """Stands for a class derived from dict. Makes an `OrderedDict`, which the unpickler can fill."""

    __slots__ = ()

    def __new__(cls, *arguments: object) -> Any:
        given = arguments[0] if arguments else None
        return OrderedDict(given if isinstance(given, dict) else {})


class Sequence:
    """Stands for `deque`. Makes a list."""

    __slots__ = ()

    def __new__(cls, *arguments: object) -> Any:
        given = arguments[0] if arguments else ()
        return list(given) if isinstance(given, (list, tuple)) else []


class PathText:
    """Stands for a path. Makes its text."""

    __slots__ = ()

    def __new__(cls, *parts: object) -> Any:
        return str(PurePosixPath(*[part for part in parts if isinstance(part, str)]))


class Dtype:
    """Stands for a numpy dtype; `code` is such as "<f8"."""

    __slots__ = ("code",)
    code: str

    def __new__(cls, *arguments: object) -> "Dtype":
        dtype = object.__new__(cls)
        dtype.code = str(arguments[0]) if arguments else ""
        return dtype

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.code = state[1] + self.code.lstrip("<>=|")

    def values(self, raw: object) -> np.ndarray | None:
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

    def __new__(cls, *arguments: object) -> Any:
        dtype, raw = arguments if len(arguments) == 2 else (None, None)
        values = dtype.values(raw) if isinstance(dtype, Dtype) else None
        return Inert() if values is None or len(values) != 1 else values[0].item()


class Array:
    """Stands for a numpy array; `values` is a flat list, or None for a large or odd one."""

    __slots__ = ("values",)
    values: list[Any] | None

    def __new__(cls, *arguments: object) -> "Array":
        array = object.__new__(cls)
        array.values = None
        return array

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], Dtype):
            return
        values = state[2].values(state[4])
        if values is not None and len(values) <= _MAX_ARRAY:
            self.values = values.tolist()


def make_stand_ins() -> list[type]:
    """A class for each name, because torch finds what it allows by a class's module and name."""
    modules: dict[type, Iterable[str]] = {
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


def _rename_class(stand_in: type, full_name: str) -> type:
    module, _, name = full_name.rpartition(".")
    return type(name, (stand_in,), {"__slots__": (), "__module__": module})
