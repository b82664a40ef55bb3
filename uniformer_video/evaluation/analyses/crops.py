"""What the centre crop leaves out of wide videos, and what that costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uniformer_video.data.clips.transforms import scaled_size
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.evaluation.analyses.tested import Tested, renumbered
from uniformer_video.evaluation.parts import number
from uniformer_video.evaluation.view_choice import central_crops
from uniformer_video.words import plural

WIDE = 1.5  # the long side by the short one; 16:9 is 1.78, 4:3 is 1.33
ENOUGH_VIDEOS = 10  # of a class
WORTH_A_NOTE = 0.1  # of the pixels
_CHANCE = 40  # of so many 95 % intervals one lies below 0 by chance alone
_NAMED_CLASSES = 3


def centre_against_all(tested: Tested) -> dict[str, Any] | None:
    """The centre crop of every clip against all crops, over all videos and over the wide ones, and by class.

    With one crop: how much of the videos' frames it never sees. None where no side is left out, and where
    one crop was tested and no video is known to be wide; and of images, of which the centre alone is tested.
    """
    if tested.protocol.medium == IMAGE.name:
        return None
    pixels = tested.protocol.views
    sizes = {place: tested.sizes[at] for place, at in enumerate(tested.good) if at in tested.sizes}
    wide = np.zeros(len(tested.good), bool)
    wide[[place for place, size in sizes.items() if _is_wide(size)]] = True
    shares = {
        place: _unseen(size, pixels.short_side, pixels.crop_size) for place, size in sizes.items()
    }
    unseen, of_wide = [*shares.values()], [shares[place] for place in shares if wide[place]]
    one_crop = pixels.num_crops == 1
    if (one_crop and not wide.any()) or (
        not any(unseen) and (one_crop or len(unseen) == len(wide))
    ):
        return None
    found = {
        "figure": tested.task.headline,
        "short": tested.headline_name,
        "crops": pixels.num_crops,
        "videos": len(wide),
        "sizes_known": len(unseen),
        "wide": len(of_wide),
        "unseen": _mean(unseen),
        "unseen_of_wide": _mean(of_wide),
    }
    if pixels.num_crops == 1:
        return found
    centre, every = tested.scores(crops=central_crops(1, pixels.num_crops)), tested.scores()
    parts = {"all": np.ones(len(wide), bool), "wide": wide}
    compared = {
        name: _compare(tested, centre, every, part) for name, part in parts.items() if part.any()
    }
    of = "wide" if wide.any() else "all"
    classes = _compare_classes(tested, centre, every, parts[of])
    return {
        **found,
        "compared": compared,
        "classes_of": of,
        "enough_videos": ENOUGH_VIDEOS,
        "per_class": classes,
    }


def _is_wide(size: tuple[int, int]) -> bool:
    return max(size) >= WIDE * min(size)


def _unseen(size: tuple[int, int], short_side: int, crop: int) -> float:
    """The share of the pixels of frames of this size that their centre crop leaves out."""
    width, height = size
    scaled_height, scaled_width = scaled_size(height, width, short_side)
    return 1 - crop * crop / (scaled_height * scaled_width)


def _mean(shares: Sequence[float]) -> float | None:
    return float(np.mean(shares)) if shares else None


def _compare(
    tested: Tested, centre: np.ndarray, every: np.ndarray, part: np.ndarray
) -> dict[str, Any]:
    """The headline of some of the videos, bool `[G]`, by both scores `[G, K]`, centre less all crops."""
    task, labels, groups = tested.task, *_part(tested, part)
    first, second = (task.evidence(scores[part], labels, groups) for scores in (centre, every))
    low, high = task.difference_interval(first, second, groups) or (None, None)
    figures = [number(task.headline_of(scores[part], labels)) for scores in (centre, every)]
    return {
        "videos": int(part.sum()),
        "centre": figures[0],
        "all_crops": figures[1],
        "low": low,
        "high": high,
    }


def _compare_classes(
    tested: Tested, centre: np.ndarray, every: np.ndarray, part: np.ndarray
) -> list[dict[str, Any]]:
    """As `_compare`, for each class that has enough of the videos; the greatest loss first."""
    labels, groups = _part(tested, part)
    rows = [
        {
            "class": row["class"],
            "name": tested.class_names[row["class"]],
            "videos": row["videos"],
            "centre": row["first"],
            "all_crops": row["second"],
            "low": row["low"],
            "high": row["high"],
        }
        for row in tested.task.class_differences(
            centre[part], every[part], labels, ENOUGH_VIDEOS, groups
        )
    ]
    return sorted(rows, key=lambda row: row["centre"] - row["all_crops"])


def _part(tested: Tested, part: np.ndarray) -> tuple[list[Any], np.ndarray | None]:
    """The labels and the groups of some of the decoded videos."""
    labels = [label for label, own in zip(tested.good_labels, part, strict=True) if own]
    groups = tested.good_groups
    return labels, None if groups is None else renumbered(groups[part])


def notes(found: Mapping[str, Any]) -> list[str]:
    """What is to be known of the crops, where it matters."""
    if found["crops"] == 1:
        return _note_of_one_crop(found)
    for name, which in (("all", ""), ("wide", "wide ")):
        compared = found["compared"].get(name)
        if compared and _is_worse(compared):
            return [
                f"The sides of the frames matter: on {compared['videos']} {which}videos the centre crop "
                f"alone has {found['short']} {compared['centre']:.1%}, {found['crops']} crops have "
                f"{compared['all_crops']:.1%} (difference {_points(compared)}). Predictions with one crop "
                "miss that."
            ]
    worse = [row for row in found["per_class"] if _is_worse(row)]
    if len(worse) <= len(found["per_class"]) / _CHANCE:
        return []
    named = "; ".join(
        f"{row['name']} {row['centre']:.1%} against {row['all_crops']:.1%} ({_points(row)})"
        for row in worse[:_NAMED_CLASSES]
    )
    return [
        f"The centre crop alone loses against {found['crops']} crops in {len(worse)} of "
        f"{plural(len(found['per_class']), 'class', 'classes')} that have {found['enough_videos']} "
        f"{'wide ' if found['classes_of'] == 'wide' else ''}videos: {named}."
    ]


def _note_of_one_crop(found: Mapping[str, Any]) -> list[str]:
    if not found["wide"] or found["unseen_of_wide"] < WORTH_A_NOTE:
        return []
    return [
        f"Wide videos (one side at least {WIDE:g} times the other): {found['wide']} of "
        f"{found['sizes_known']}. The centre crop never sees {found['unseen_of_wide']:.0%} of their frames; "
        "TEST.NUM_SPATIAL_CROPS 3 tests three crops along the long side, and says what the centre alone "
        "costs."
    ]


def _is_worse(compared: Mapping[str, Any]) -> bool:
    return compared["high"] is not None and compared["high"] < 0


def _points(compared: Mapping[str, Any]) -> str:
    difference = compared["centre"] - compared["all_crops"]
    return (
        f"{100 * difference:+.1f} points, paired 95 % interval {100 * compared['low']:+.1f} to "
        f"{100 * compared['high']:+.1f}"
    )
