"""What an advice says, as data and as text for a terminal."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from uniformer_video.advice.cost import Cost
from uniformer_video.advice.rules import Choice
from uniformer_video.advice.start import Start
from uniformer_video.advice.videos import Spread, VideoFacts
from uniformer_video.words import duration, name_some, plural

_WIDTH = 100
_INDENT = 12
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Advice:
    """Which recipe and settings fit somebody's videos, and why. `str()` of it is what the command prints.

    source: what was pointed at. format: of its lists, `TRAIN.DATASET`; "" = there are no labels. splits:
    {part: videos}. classes: {name: videos}. facts: of the videos. start: the weights, None without labels.
    recipe: the config's name; "" without labels. settings: those of the command, beside the recipe.
    choices: what decided them, each with its reason. notes: what to look at. cost: time and memory; None =
    not asked for. command: the ready command; "" where there is none.
    """

    source: str
    format: str
    splits: dict[str, int]
    classes: dict[str, int]
    facts: VideoFacts
    start: Start | None = None
    recipe: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    notes: tuple[str, ...] = ()
    cost: Cost | None = None
    command: str = ""

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types, for JSON."""
        return asdict(self)


def _lines(advice: Advice) -> Iterator[str]:
    """What is there, what to do and why, the command as the last line."""
    yield from _what_is_there(advice)
    if advice.recipe:
        yield from ("", *_what_to_do(advice))
    if advice.notes:
        yield from ("", "Look at", *_bullets(advice.notes))
    if advice.command:
        yield from ("", "Run", "", advice.command)


def _what_is_there(advice: Advice) -> Iterator[str]:
    facts = advice.facts
    label = f", format {advice.format}" if advice.format else ""
    looked = "" if facts.looked_at == facts.videos else f"; looked at {facts.looked_at:,} of them"
    yield f"{advice.source}: {facts.videos:,} {'video' if facts.videos == 1 else 'videos'}{label}{looked}"
    if advice.classes:
        counts = advice.classes.values()
        parts = ", ".join(f"{count:,} {part}" for part, count in advice.splits.items())
        yield from _row(
            "classes",
            f"{len(counts)}, {_range(min(counts), max(counts))}; {parts}",
        )
    if facts.seconds:
        yield from _row("length", _spread(facts.seconds, " s"))
    if facts.frames:
        yield from _row("frames", _spread(facts.frames, digits=".0f"))
    if facts.rates:
        yield from _row("rate", f"{_counts(facts.rates, ' fps')}")
    if facts.sizes:
        portrait = f"; {facts.portrait} higher than wide" if facts.portrait else ""
        yield from _row("size", f"{_counts(facts.sizes)}{portrait}")
    if facts.broken:
        yield from _row("broken", f"{len(facts.broken)} of {facts.looked_at}")


def _what_to_do(advice: Advice) -> Iterator[str]:
    assert advice.start is not None  # there are labels
    yield from _row("Weights", f"{advice.start.name or 'from scratch'}: {advice.start.why}")
    first, *others = advice.choices
    yield from _row("Recipe", f"{advice.recipe}: {first.why}")
    for choice in others:
        told = [
            f"{key} {value}" for key, value in choice.settings.items() if key in advice.settings
        ]
        if choice.settings and not told:
            yield from _row("", f"as the recipe: {choice.why}")
        else:
            yield from _row("", f"{', '.join(told)}: {choice.why}")
    cost = advice.cost
    if cost and not cost.reason:
        yield from _row(
            "Time",
            f"about {duration(cost.seconds)} here, on {cost.device}: {cost.clips:,} training clips, "
            f"validation and test; measured: {cost.step_seconds:.3g} s a clip in a training step, "
            f"{cost.decode_seconds:.2g} s to decode one on a core",
        )
    if cost and cost.memory:
        free = f", {cost.available / _GIGABYTE:.1f} GB are free" if cost.available else ""
        yield from _row(
            "Memory", f"about {cost.memory / _GIGABYTE:.1f} GB{free}; measured on few clips"
        )


def _row(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"  {name:{_INDENT - 2}}",
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _bullets(notes: tuple[str, ...]) -> Iterator[str]:
    for note in notes:
        yield from textwrap.wrap(
            note,
            _WIDTH,
            initial_indent="  - ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _spread(spread: Spread, unit: str = "", digits: str = ".1f") -> str:
    low, middle, high = (f"{value:{digits}}" for value in (spread.low, spread.middle, spread.high))
    if low == middle == high:
        return f"{middle}{unit}"
    return f"median {middle}{unit}, 5 % below {low}{unit}, 5 % above {high}{unit}"


def _range(least: int, most: int) -> str:
    if least == most:
        return f"{plural(least, 'video')} each"
    return f"of {least:,} to {most:,} videos"


def _counts(counts: Mapping[str, int], unit: str = "") -> str:
    if len(counts) == 1:
        return f"{next(iter(counts))}{unit}"
    return name_some([f"{value}{unit} ({count})" for value, count in counts.items()], 4)
