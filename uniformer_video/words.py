"""Numbers and errors as people read them: durations, counts of things, one line of an error."""

from collections.abc import Sequence


def duration(seconds: float, digits: int = 0) -> str:
    """Seconds for people: "45 s", "3 min 10 s", "2 h 05 min"; below a minute with so many `digits`."""
    if round(seconds, digits) < 60:
        return f"{seconds:.{digits}f} s"
    seconds = round(seconds)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def plural(count: int, noun: str, many: str = "") -> str:
    """1, "clip" -> "1 clip"; 4, "clip" -> "4 clips". many: where that is more than an s, "classes"."""
    return f"{count} {noun}" if count == 1 else f"{count} {many or f'{noun}s'}"


def article(noun: str) -> str:
    """ "video" -> "a video", "image" -> "an image"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def name_some(items: Sequence[str], most: int = 3, mark: str = ", ") -> str:
    """The first few of many: "a, b, c and 4 more", with a `mark` between."""
    named = mark.join(items[:most])
    return named if len(items) <= most else f"{named} and {len(items) - most} more"


def system_reason(error: Exception) -> str:
    """What the system says of an error, "No space left on device"; the message of one it knows nothing of."""
    return (getattr(error, "strerror", None) or str(error)).strip()


def one_line(error: object) -> str:
    """The message of an error on one line; the kind of error where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
