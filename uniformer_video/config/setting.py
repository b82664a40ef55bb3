"""What a row of the table of settings can say, and whether a value fits it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from uniformer_video.errors import ConfigError, choice_error, quote

# What a setting may do where a training run is gone on with.
MUST_MATCH = "must match"
MATCHES_UNLESS_FROM_BEST = "must match, unless the run goes on from its best weights"
FREE = "free"

MAX_CLASSES = 1_000_000
PLUGINS = "PLUGINS"  # the modules to import before any other key is looked at
TRAINING, TEST = "TRAIN.ENABLE", "TEST.ENABLE"  # the switches of the two phases of a run


@dataclass(frozen=True)
class Limits:
    """The smallest and the largest number; infinity and NaN lie outside all limits."""

    lowest: float
    highest: float
    above: bool = False  # than the lowest, which is itself not allowed
    below: bool = False  # likewise for the highest

    def allow(self, number: float) -> bool:
        """Whether `number` lies inside."""
        high_enough = self.lowest < number if self.above else self.lowest <= number
        return high_enough and (number < self.highest if self.below else number <= self.highest)

    def __str__(self) -> str:
        low, high = _digits(self.lowest), _digits(self.highest)
        if not (self.above or self.below):
            return f"from {low} to {high}"
        first = f"above {low}" if self.above else f"of at least {low}"
        return f"{first} and {'below' if self.below else 'at most'} {high}"


@dataclass(frozen=True)
class Condition:
    """When a setting has an effect, as far as other settings, its `switches`, decide that.

    holds: flat settings -> whether it has. gives_way: who sets a switch on the command line means to put
    aside what a file says here, as by another format of lists, or by weights given by their path.
    """

    switches: tuple[str, ...]
    holds: Callable[[dict[str, Any]], bool]
    gives_way: bool = False

    def reason(self, flat: dict[str, Any]) -> str:
        """Why it does not hold: what the switches are."""
        return " and ".join(f"{key} is {value_in_words(flat[key])}" for key in self.switches)


@dataclass(frozen=True)
class Setting:
    """One row: all that is said about a setting. The default's type is the setting's type.

    elements: types that an entry of a list may have; nested: entries are lists of them, `inner_lengths`
    long. limits: of a number, or of every number in a list. lengths: that a list may have; () = any.
    choices: the values that are allowed, in a list the entries; () = any. counts: a text that is a whole
    number from 0, or "all". or_list: a text may also be a list of several texts. form: in words, what a value
    is, where all this does not say it well. on_resume: one of the words above. affects_test: the results of a
    test depend on it. phase: the only one that uses it, `TRAINING` or `TEST`. used_when: it has an effect
    where all these hold.
    """

    key: str
    default: Any
    meaning: str
    elements: tuple[type, ...] = ()
    limits: Limits | None = None
    lengths: tuple[int, ...] = ()
    choices: tuple[Any, ...] = ()
    nested: bool = False
    inner_lengths: tuple[int, ...] = ()
    counts: bool = False
    form: str = ""
    on_resume: str = MUST_MATCH
    affects_test: bool = False
    phase: str = ""
    used_when: tuple[Condition, ...] = ()
    or_list: bool = False

    def convert(self, value: Any) -> Any:
        """`value` in the type of the setting; None where it has another."""
        if isinstance(self.default, str) and value is None:
            return ""
        if self.counts and type(value) is int:
            return str(value)
        if value is False and "off" in self.choices:
            return "off"  # YAML reads a bare `off` as False
        if self.or_list and isinstance(value, (list, tuple)):
            return _texts(value)
        if not isinstance(self.default, list):
            return _as_type(value, (type(self.default),))
        if not isinstance(value, (list, tuple)):
            return None
        if not self.nested:
            return self._entries(value)
        if not all(isinstance(entry, list) for entry in value):
            return None
        inner = [self._entries(entry) for entry in value]
        return None if None in inner else inner

    def accept(self, value: Any, where: str = "") -> Any:
        """`value` in the type of the setting; `ConfigError`, with `where` it stands, unless it is allowed."""
        converted = self.convert(value)
        if converted is None:
            raise self.error(value, where)
        self.check(converted)
        return converted

    def _entries(self, values: Sequence[Any]) -> list[Any] | None:
        entries = [_as_type(value, self.elements) for value in values]
        return None if None in entries else entries

    def check(self, value: Any) -> None:
        """Raise `ConfigError` for a value of the right type that is not allowed."""
        if self.choices:
            for entry in value if isinstance(value, list) else [value]:
                if entry not in self.choices:
                    raise choice_error(self.key, entry, self.choices)
        elif not (self._has_length(value) and self._is_inside(value) and self._counts(value)):
            raise self.error(value)

    def _has_length(self, value: Any) -> bool:
        if not isinstance(value, list):
            return True
        inner = value if self.inner_lengths else ()
        return (not self.lengths or len(value) in self.lengths) and all(
            len(entry) in self.inner_lengths for entry in inner
        )

    def _counts(self, value: Any) -> bool:
        return not self.counts or value == "all" or re.fullmatch(r"\d{1,9}", value) is not None

    def _is_inside(self, value: Any) -> bool:
        if isinstance(value, list):
            return all(self._is_inside(entry) for entry in value)
        return self.limits is None or isinstance(value, str) or self.limits.allow(value)

    def error(self, value: Any, where: str = "") -> ConfigError:
        """The error for a value that does not fit; `where` it stands."""
        place = f" {where}" if where else ""
        return ConfigError(f"{self.key} is {quote(value)}{place}; it must be {self.allowed}")

    @property
    def allowed(self) -> str:
        """What values the setting takes, in words."""
        if self.form:
            return self.form
        if self.choices:
            *first, last = (repr(choice) for choice in self.choices)
            return f"{', '.join(first)} or {last}"
        inside = f" {self.limits}" if self.limits else ""
        kinds = {bool: "True or False", str: "text", int: "a whole number", float: "a number"}
        if not isinstance(self.default, list):
            return kinds[type(self.default)] + inside
        names: dict[tuple[type, ...], str] = {
            (int,): "whole numbers",
            (float,): "numbers",
            (str,): "texts",
        }
        entries = names.get(self.elements, "values")
        entries = f"lists of {entries}" if self.nested else entries
        count = " or ".join(str(length) for length in self.lengths if length)
        count = f"{count} " if count else ""
        or_none = ", or []" if 0 in self.lengths else ""
        return f"a list of {count}{entries}{inside and f', each{inside}'}{or_none}"


def value_in_words(value: Any) -> str:
    """A value in the middle of a sentence."""
    return "empty" if value == "" else str(value)


def flag(key: str, default: bool, meaning: str, *used_when: Condition, **more: Any) -> Setting:
    """The row of a switch."""
    return Setting(key, default, meaning, used_when=used_when, **more)


def text(key: str, default: str, meaning: str, *used_when: Condition, **more: Any) -> Setting:
    """The row of a text."""
    return Setting(key, default, meaning, used_when=used_when, **more)


def choice(
    key: str,
    default: Any,
    meaning: str,
    choices: tuple[Any, ...],
    *used_when: Condition,
    **more: Any,
) -> Setting:
    """The row of a text or a whole number that is one of the `choices`."""
    return Setting(key, default, meaning, choices=choices, used_when=used_when, **more)


def number(
    key: str,
    default: Any,
    meaning: str,
    lowest: float,
    highest: float,
    *used_when: Condition,
    **more: Any,
) -> Setting:
    """The row of a number, or of a list of numbers, `elements` if the default is empty.

    above, below: the lowest, the highest number is itself not allowed.
    """
    limits = Limits(lowest, highest, more.pop("above", False), more.pop("below", False))
    if isinstance(default, list) and default:
        more["elements"] = (type(default[0]),)
    return Setting(key, default, meaning, limits=limits, used_when=used_when, **more)


def share(key: str, default: float, meaning: str, *used_when: Condition, **more: Any) -> Setting:
    """The row of a number from 0 to 1."""
    return number(key, default, meaning, 0, 1, *used_when, **more)


def class_pairs(key: str, meaning: str, *used_when: Condition, **more: Any) -> Setting:
    """The row of pairs of classes, each its name or its number."""
    return Setting(
        key,
        [],
        meaning,
        elements=(str, int),
        limits=Limits(0, MAX_CLASSES),
        nested=True,
        inner_lengths=(2,),
        form="pairs of class names or numbers, [[class, class], ...]",
        used_when=used_when,
        **more,
    )


def all_of(
    *rows: Setting, used_when: Condition | None = None, **shared: Any
) -> tuple[Setting, ...]:
    """`rows`, all of which say what is `shared`, and need `used_when` beside what they need already."""
    first = (used_when,) if used_when else ()
    return tuple(replace(row, used_when=first + row.used_when, **shared) for row in rows)


def needs(key: str, *values: Any, gives_way: bool = False) -> Condition:
    """The setting is used where `key` has one of the values; without values, where it is on or not 0."""
    return Condition(
        (key,), lambda flat: flat[key] in values if values else bool(flat[key]), gives_way
    )


def _as_type(value: Any, types: tuple[type, ...]) -> Any:
    if type(value) in types:
        return value
    if types == (float,) and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def _texts(values: Sequence[Any]) -> str | list[str] | None:
    """Several texts as a list, a single one as it is; None where one of them is none, or empty."""
    if not all(isinstance(value, str) and value for value in values):
        return None
    return list(values) if len(values) > 1 else "".join(values)


def _digits(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
