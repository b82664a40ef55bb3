"""The figures of `bench run` as text: a table of each phase, and what it might take at best."""

from collections.abc import Iterator

from uniformer_video.bench.figures import Figure, Measured, short
from uniformer_video.bench.limits import RATE

_PHASES = {"train": ("whole step", "ms a step"), "test": ("whole", "ms a video")}
_LIMIT, _PROCESSES, _ALONE = "limit: ", "processes: ", "loader alone"


def lines(found: Measured) -> list[str]:
    """What was measured, on what, and the limits beside it."""
    machine = found.machine
    told = [
        f"{machine['processor']} ({machine['instructions']}), {machine['cores']} cores, "
        f"{machine['threads']} threads, {machine['device']}; load {machine['load']}",
    ]
    for phase in _PHASES:
        own = {
            name.removeprefix(f"{phase}/"): figure
            for name, figure in found.figures.items()
            if name.startswith(f"{phase}/")
        }
        if any(
            name.startswith(_PHASES[phase][0]) for name in own
        ):  # not where that was interrupted
            told += ["", *_table(phase, own)]
    told += ["", *_rates(found)]
    return [*told, *found.notes]


def _table(phase: str, figures: dict[str, Figure]) -> Iterator[str]:
    start, unit = _PHASES[phase]
    whole = next(name for name in figures if name.startswith(start))
    side = figures[whole].median
    yield f"{unit:30} {'median':>9} {'share':>6} {'limit':>9}   lowest - highest"
    for name, figure in figures.items():
        if name.startswith((_LIMIT, _PROCESSES)) or name in (_ALONE, whole):
            continue
        limit = figures.get(f"{_LIMIT}{name}")
        yield _row(name, figure, side, short(limit.median) if limit else "")
    limits = [each.median for name, each in figures.items() if name.startswith(_LIMIT)]
    yield _row(whole, figures[whole], side, short(sum(limits)) if limits else "")
    for name, figure in figures.items():
        if name.startswith(_PROCESSES):  # which may work side by side, and meanwhile
            yield _row(f"  {name}", figure, None, "")
    if limits:
        yield (
            f"The limit is what the model's operations would take as large matrix products: "
            f"{sum(limits) / side:.0%} of the {whole}."
        )


def _row(name: str, figure: Figure, whole: float | None, limit: str) -> str:
    share = f"{figure.median / whole:6.1%}" if whole else ""
    return f"{name:30} {short(figure.median):>9} {share:>6} {limit:>9}   {figure.spread}".rstrip()


def _rates(found: Measured) -> Iterator[str]:
    for name, figure in found.figures.items():
        if name.startswith(RATE):
            yield f"{name}: {short(figure.median)} {figure.unit} ({figure.spread})"
    if alone := found.figures.get(f"train/{_ALONE}"):
        yield f"The loader alone, where nobody trains: {short(alone.median)} {alone.unit}"
