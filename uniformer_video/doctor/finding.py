"""What a check has found."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How much a finding matters."""

    FINE = "fine"
    NOTE = "note"  # works, but slower, or without something
    WRONG = "WRONG"  # something will not work


@dataclass(frozen=True)
class Finding:
    """about: what was looked at. found: how it is, in words. remedy: what to do, unless it is fine."""

    about: str
    found: str
    level: Level = Level.FINE
    remedy: str = ""

    def lines(self, width: int) -> list[str]:
        """For a terminal; `width` characters for what it is about."""
        first = f"{self.level.value:5}  {self.about:{width}}  {self.found}"
        return [first, f"{'':{width + 7}}  -> {self.remedy}"] if self.remedy else [first]


def note(about: str, found: str, remedy: str = "") -> Finding:
    """Something that works, but slower, or without a part."""
    return Finding(about, found, Level.NOTE, remedy)


def wrong(about: str, found: str, remedy: str) -> Finding:
    """Something that will not work."""
    return Finding(about, found, Level.WRONG, remedy)
