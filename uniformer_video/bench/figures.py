"""What a benchmark has measured: medians with their spread, on a machine that is named, and in a file."""

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import simplejson
import torch

from uniformer_video.cores import usable_cores
from uniformer_video.errors import ConfigError
from uniformer_video.files import write_text
from uniformer_video.versions import device_name, versions
from uniformer_video.words import name_some, one_line

SCHEMA_VERSION = 1
_LESS_IS_BETTER = ("ms", "s")  # of units; of others, such as clips/s, more is


@dataclass(frozen=True)
class Figure:
    """The median of `count` measurements, and the lowest and highest of them; all in `unit`."""

    median: float
    low: float
    high: float
    count: int
    unit: str = "ms"

    @classmethod
    def of(cls, values: Sequence[float], unit: str = "ms") -> "Figure":
        """From measurements in that unit."""
        return cls(statistics.median(values), min(values), max(values), len(values), unit)

    @classmethod
    def of_seconds(cls, seconds: Sequence[float]) -> "Figure":
        """From seconds, in ms."""
        return cls.of([1e3 * value for value in seconds])

    @property
    def spread(self) -> str:
        """The lowest and highest in words; "" of a single measurement."""
        return "" if self.count == 1 else f"{short(self.low)} - {short(self.high)}"


@dataclass
class Measured:
    """The figures of one call, by name.

    bench: its name, as the command has it. what: settings and options that decide what was measured. notes:
    sentences for whoever reads the figures. interrupted: only what was complete by then is there,
    some of it of fewer rounds.
    """

    bench: str
    what: dict[str, Any]
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    machine: dict[str, Any] = field(default_factory=lambda: machine_facts())
    versions: dict[str, str] = field(default_factory=lambda: versions(("numba", "triton")))

    def add_seconds(self, seconds: Mapping[str, Sequence[float]]) -> None:
        """Add figures by name, in ms, or put them in the place of those of fewer rounds."""
        self.figures |= {name: Figure.of_seconds(each) for name, each in seconds.items()}

    def write(self, path: Path | str, typed: str) -> str:
        """As JSON, with the machine, versions, and the command that was `typed`; what to say of that.

        A file that is there already stays where this was interrupted: it may hold more.
        """
        if self.interrupted and os.path.exists(path):
            return f"Not written: {path} is there already, and stays as it is"
        told = {
            "schema_version": SCHEMA_VERSION,
            "bench": self.bench,
            "interrupted": self.interrupted,
            "command": typed,
            "what": self.what,
            "machine": self.machine,
            "versions": self.versions,
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "notes": self.notes,
        }
        write_text(Path(path), simplejson.dumps(told, indent=1) + "\n")
        return f"Written: {path}"


def machine_facts() -> dict[str, Any]:
    """What a time depends on beside the program; "load" tells how busy the machine was before."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "device": device_name(),
        "load": None if load is None else round(load, 1),
    }


def processor_name() -> str:
    """The processor's name as Linux tells it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def read_earlier(path: Path | str, bench: str) -> dict[str, Any]:
    """What `Measured.write` wrote for the same bench; raises `ConfigError` for all else."""
    try:
        told = simplejson.loads(Path(path).read_text(encoding="utf-8"))
        figures = {name: _read_figure(each) for name, each in told["figures"].items()}
        found, schema = told["bench"], told["schema_version"]
        told["what"].items(), told["machine"].items(), told["versions"].items()
    except OSError as error:
        raise ConfigError(f"--compare {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--compare {path} is no file that --json of `bench` has written ({one_line(error)})"
        ) from None
    if schema != SCHEMA_VERSION:
        raise ConfigError(
            f"--compare {path} has the schema {schema}, and this version compares {SCHEMA_VERSION}; measure "
            "anew"
        )
    if found != bench:
        raise ConfigError(
            f"--compare {path} is of `bench {found}`, and this is `bench {bench}`; give a file of the same"
        )
    return {**told, "figures": figures}


def _read_figure(told: Mapping[str, Any]) -> Figure:
    """Raises `TypeError` or `ValueError` where its numbers are none."""
    figure = Figure(**told)
    for number in (figure.median, figure.low, figure.high):
        if not math.isfinite(number):
            raise ValueError(f"{number} is no measurement")
    return figure


def comparison(now: Measured, earlier: Mapping[str, Any], name: str) -> list[str]:
    """Lines: each figure then and now, and how many times as good it is now.

    Where the machine, what was measured or a version is another one, that is said first and in capitals.
    name: of the file. "within the spread": the ranges of both overlap.
    """
    lines = ["", f"compared with {name}"]
    if earlier.get("interrupted"):
        lines.append("INTERRUPTED THEN: fewer figures, and some of fewer rounds")
    for title, then, new in (
        ("MACHINE", earlier["machine"], now.machine),
        ("SETTINGS", earlier["what"], now.what),
        ("VERSIONS", earlier["versions"], now.versions),
    ):
        if differs := _differences(then, new):
            lines.append(f"NOT THE SAME {title}: {name_some(differs, 8, '; ')}")
    figures: Mapping[str, Figure] = earlier["figures"]
    both = [each for each in now.figures if each in figures]
    width = max([28, *map(len, both)])
    lines.append(f"{'':{width}} {'then':>10} {'now':>10}  ratio")
    for each in both:
        before, after = figures[each], now.figures[each]
        medians = f"{short(before.median):>10} {short(after.median):>10}"
        lines.append(f"{each:{width}} {medians} {_ratio(before, after)}")
    for title, others in (
        ("only then", figures.keys() - now.figures.keys()),
        ("only now", now.figures.keys() - figures.keys()),
    ):
        if others:
            lines.append(f"{title}: {name_some(sorted(others), 8)}")
    return lines


def _ratio(then: Figure, now: Figure) -> str:
    if not (then.median and now.median) or then.unit != now.unit:
        return f"{'-':>6}"
    is_time = now.unit in _LESS_IS_BETTER
    ratio = then.median / now.median if is_time else now.median / then.median
    overlap = then.low <= now.high and now.low <= then.high
    return f"{ratio:5.2f}x" + ("  within the spread" if overlap else "")


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{key} {then.get(key, 'not told')!s} then, {now.get(key, 'not told')!s} now"
        for key in sorted({*then, *now} - {"load"})
        if then.get(key) != now.get(key)
    ]


def short(value: float) -> str:
    """Three digits or more of a number."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
