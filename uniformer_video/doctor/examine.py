"""All checks, in their order."""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path

from uniformer_video.doctor.finding import Finding, wrong
from uniformer_video.words import one_line

WIDTH = 17  # characters of the longest name of a check


def examine(folder: Path | None) -> Iterator[Finding]:
    """Every finding as soon as there is it. folder: empty, for the self-test; None leaves that out."""
    yield from _of("libraries", "check_python")
    yield from _of("libraries", "check_command")
    yield from _of("libraries", "check_libraries")
    yield from _of("libraries", "check_torch")
    yield from _of("machine", "check_disks")
    yield from _of("machine", "check_shared_memory")
    yield from _of("machine", "check_limits")
    yield from _of("decoders", "check_decoders")
    if folder is None:
        return
    for name in ("codecs", "self-test"):
        (folder / name).mkdir()
    yield from _of("decoders", "check_reading", folder / "codecs")
    yield from _of("self_test", "self_test", folder / "self-test")


def _of(module: str, name: str, *arguments) -> Iterator[Finding]:
    """What a check finds. One that fails itself, as for want of a library, is a finding too."""
    try:
        check: Callable[..., Finding | Iterable[Finding]] = getattr(
            import_module(f"uniformer_video.doctor.{module}"), name
        )
        found = check(*arguments)
        yield from [found] if isinstance(found, Finding) else found
    except ImportError as error:
        yield wrong(
            module, one_line(error), "install what is missing, or install the toolkit again"
        )
    except Exception as error:  # the doctor goes on with the next check
        yield wrong(module, f"{type(error).__name__}: {one_line(error)}", "report this")
