"""Signs in the names of videos that several are of one source, person or day, and so not independent."""

import re
from collections.abc import Sequence

from uniformer_video.data.lists.records import VideoRecord

# (what a group is, a pattern whose brackets hold it): the surest first.
_WORDS = "person|people|subject|subj|sub|actor|user|participant|signer|patient|player"
_PLACES = "scene|session|camera|cam|video|vid|source|src|day|take|group|id|s|p|g"
_SIGNS = (
    ("group", r"_(g\d+)_c\d+"),  # of UCF101
    ("person", rf"(?i)(?:^|[/_.-])((?:{_WORDS})[_-]?\d+)(?=[/_.-])"),
    ("source", rf"(?i)(?:^|[/_.-])((?:{_PLACES})[_-]?\d+)(?=[/_.-])"),
    ("day", r"((?:19|20)\d\d[_\-]?(?:0[1-9]|1[0-2])[_\-]?(?:0[1-9]|[12]\d|3[01]))"),
    ("video", r"(?:^|/)([\w\-]{11})_\d{6}_\d{6}"),  # of Kinetics: seconds behind the name of a film
    ("folder", r"^[^/]+/([^/]+)/"),
)
_MOST_OF = 0.9  # of the names have to show the sign
_FEWER = 0.7  # groups than videos; else each is of its own


def find_groups(records: Sequence[VideoRecord]) -> tuple[str, str, int] | None:
    """(what a group is, a regular expression whose brackets hold it, how many groups); None without a sign.

    A sign is one that nearly all names have, and that several videos share in many of them.
    """
    names = [record.name.replace("\\", "/") for record in records]
    for kind, pattern in _SIGNS:
        found = [match[1].lower() for name in names if (match := re.search(pattern, name))]
        groups = len(set(found))
        if len(found) >= _MOST_OF * len(names) and 2 <= groups <= _FEWER * len(names):
            if kind == "folder" and _are_classes(records, pattern):
                continue
            return kind, _of_these(pattern, found), groups
    return None


def _of_these(pattern: str, found: Sequence[str]) -> str:
    """`pattern` with the one word that these videos use, in place of all words that are looked for."""
    (word, *others) = {re.split(r"[\d_-]", group, maxsplit=1)[0] for group in found}
    return pattern if others else re.sub(r"\(\?:\w+(\|\w+)+\)", word, pattern)


def _are_classes(records: Sequence[VideoRecord], pattern: str) -> bool:
    """Whether such a folder is that of a class, as in lists of `train/class/a.mp4`, and not of a source.

    With several labels a video, nothing tells.
    """
    if any(len(record.labels) != 1 for record in records):
        return True
    pairs = {
        (match[1], record.labels)
        for record in records
        if (match := re.search(pattern, record.name.replace("\\", "/")))
    }
    folders, labels = ({pair[side] for pair in pairs} for side in (0, 1))
    return len(pairs) == len(folders) == len(labels)
