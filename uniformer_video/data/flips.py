"""What mirroring a clip does to its class: "move left", mirrored, shows "move right".

Modes: "off" mirrors nothing; "all" mirrors half of all clips and keeps their labels;
"skip-directional" never mirrors a class that has a counterpart; "swap-labels" mirrors it too and gives
the mirrored clip the counterpart's label.
"""

import re

_OPPOSITES = (
    *(("left", "right"), ("leftward", "rightward"), ("leftwards", "rightwards")),
    *(("clockwise", "counterclockwise"), ("cw", "ccw")),
)
_OTHER_SIDE = {side: other for a, b in _OPPOSITES for side, other in ((a, b), (b, a))}


def mirror_pairs(names):
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


def _words(name):
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    plain = re.sub(r"[\W_]+", " ", parted).lower()
    return tuple(re.sub(r"\b(counter|anti) ?clockwise\b", "counterclockwise", plain).split())
