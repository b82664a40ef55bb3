"""The formats of exported models: their names, the suffixes of their files, what installs their libraries.

And by which names int8 is asked for.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from uniformer_video.errors import ConfigError, MissingLibraryError, choice_error
from uniformer_video.program import install


@dataclass(frozen=True)
class ExportFormat:
    """One kind of exported file.

    name: as `--format` takes it. suffix: of the file. title: what people call it. extra: what installs its
    `libraries`, those that write and read it; "" where torch does.
    """

    name: str
    suffix: str
    title: str
    extra: str = ""
    libraries: tuple[str, ...] = ()

    def require(self) -> None:
        """Raise `MissingLibraryError`, which says what to install, where a library is not there."""
        for library in self.libraries:
            import_library(library, self)


ONNX = ExportFormat("onnx", ".onnx", "ONNX", "export", ("onnx", "onnxscript", "onnxruntime"))
TORCH_EXPORT = ExportFormat("torch-export", ".pt2", "torch.export")
OPENVINO = ExportFormat("openvino", ".xml", "OpenVINO", "openvino", ("openvino",))
FORMATS = {each.name: each for each in (ONNX, TORCH_EXPORT, OPENVINO)}
_BY_SUFFIX = {each.suffix: each for each in FORMATS.values()}

STATIC, DYNAMIC = METHODS = ("static", "dynamic")  # of int8, see `int8.py`
RANGES = {
    "minmax": "MinMax",
    "entropy": "Entropy",
    "percentile": "Percentile",
}  # ONNX Runtime's words


def import_library(name: str, of: ExportFormat) -> ModuleType:
    """A library of the format `of`, imported. Raises `MissingLibraryError` where it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingLibraryError(
            f"{of.title} files need {name}, which cannot be imported ({error}): {install(of.extra)}"
        ) from None


def format_of(path: Path | str) -> ExportFormat | None:
    """The format whose suffix a file has; None for another."""
    return _BY_SUFFIX.get(Path(path).suffix.lower())


def is_export(path: Path | str) -> bool:
    """Whether a file is an exported model by its name."""
    return format_of(path) is not None


def choose_format(path: Path | str, name: str | None) -> ExportFormat:
    """The format of a file to write: the one called `name`, or by the suffix of `path`.

    Raises `ConfigError` for an unknown name, and for a suffix that does not fit.
    """
    if name is not None and name not in FORMATS:
        raise choice_error("the format", name, FORMATS)
    found = format_of(path)
    suffixes = ", ".join(f"{each.suffix} ({each.name})" for each in FORMATS.values())
    if name is None and found is None:
        raise ConfigError(
            f"{path}: the suffix tells no format of an exported model; it is one of {suffixes}"
        )
    chosen = FORMATS[name] if name is not None else found
    assert chosen is not None
    if Path(path).suffix != chosen.suffix:  # no other case: torch and OpenVINO refuse .PT2 and .XML
        raise ConfigError(
            f"{path}: a file of the format {chosen.name} ends in {chosen.suffix}; give such a name, or "
            f"another format: {suffixes}"
        )
    return chosen
