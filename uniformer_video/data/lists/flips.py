"""Classes that mirroring a clip exchanges: "move left", mirrored, shows "move right".

Modes: "off" mirrors nothing; "all" mirrors half of all clips and keeps their labels;
"skip-directional" never mirrors a class that has a counterpart; "swap-labels" mirrors it too and gives
the mirrored clip the counterpart's label; "by-names" is that for any classes: "turn left" without a "turn
right" is not mirrored, and where no name has a side, all are. Of several labels each is exchanged, and one
that must not be mirrored is enough for the clip to be skipped.
"""

import re
from collections.abc import Container, Iterable, Sequence

_OPPOSITES = (
    ("left", "right"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("clockwise", "counterclockwise"),
    ("cw", "ccw"),
)
_OTHER_SIDE = {side: other for a, b in _OPPOSITES for side, other in ((a, b), (b, a))}


def mirror_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of class names that a mirrored video exchanges, as tuples in index order.

    They become each other when left and right, and clockwise and counter-clockwise, change places,
    whichever way words are written and joined: "turn left", "turn_left", "TurnLeft".
    """
    words = [_words(name) for name in names]
    pairs = []
    for place, own in enumerate(words):
        mirrored = tuple(_OTHER_SIDE.get(word, word) for word in own)
        if mirrored != own and mirrored in words[place + 1 :]:
            pairs.append((names[place], names[words.index(mirrored, place + 1)]))
    return pairs


def one_sided(names: Sequence[str]) -> list[str]:
    """The class names with a direction that a mirror changes, and no class to be its counterpart."""
    paired = {name for pair in mirror_pairs(names) for name in pair}
    return [
        name
        for name in names
        if name not in paired and not _OTHER_SIDE.keys().isdisjoint(_words(name))
    ]


def may_mirror(labels: Iterable[int], skipped: Container[int]) -> bool:
    """Whether a clip with these classes may be mirrored, where `skipped` ones never are."""
    return not any(label in skipped for label in labels)


def mirror_labels(labels: Iterable[int], exchange: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """The classes of a mirrored clip in rising order; `exchange`: pairs (class, its counterpart)."""
    counterparts = dict(exchange)
    return tuple(sorted(counterparts.get(label, label) for label in labels))


def _words(name: str) -> tuple[str, ...]:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    plain = re.sub(r"[\W_]+", " ", parted).lower()
    return tuple(re.sub(r"\b(counter|anti) ?clockwise\b", "counterclockwise", plain).split())
