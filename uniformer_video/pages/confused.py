"""Which classes are taken for each other, with frames of both, for the page."""

from collections.abc import Iterable, Mapping
from typing import Any

from uniformer_video.evaluation.per_class import MAX_PAIRS
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.parts import with_strip

MAX_SHOWN = 6


def confused_classes(results: Mapping[str, Any], strips: Strips) -> dict[str, Any]:
    """The most frequent pairs of a true and a predicted class, of a record where videos have one label.

    strips: those of the test. Of each pair: the `first` and the `second` class,
    `count` of the `of` videos of the first, and how often it is the other way round, `back` of `back_of`.
    `taken` is the video of the first class that scores highest in the second. `own` is one of the second: of
    those that are right the one that scores highest; without any, the first that could be decoded. Both
    have their strips, and `taken_score` and `own_score` are their scores in the second class.
    """
    counts = {(true, predicted): count for true, predicted, count in results["confusion"]}
    wrong = {pair: count for pair, count in counts.items() if pair[0] != pair[1]}
    of = {row["class"]: row["videos"] for row in results["per_class"]}
    videos = results["videos"]
    decoded = [
        (place, video, video["top5"][0]) for place, video in enumerate(videos) if video["top5"]
    ]
    surest = _surest(
        ((video["label"], best["class"]), best["score"], place) for place, video, best in decoded
    )
    any_of = {video["label"]: place for place, video, _ in reversed(decoded)}
    shown: list[dict[str, Any]] = []
    for first, second in sorted(wrong, key=lambda pair: (-wrong[pair], of[pair[0]], pair)):
        if len(shown) == MAX_SHOWN:
            break
        score, taken = surest[first, second]
        own_score, own = surest.get((second, second), (None, any_of.get(second)))
        shown.append(
            {
                "first": first,
                "second": second,
                "count": wrong[first, second],
                "of": of[first],
                "back": counts.get((second, first), 0),
                "back_of": of[second],
                "taken": with_strip(videos, taken, strips),
                "taken_score": score,
                "own": None if own is None else with_strip(videos, own, strips),
                "own_score": own_score,
                "own_is_right": (second, second) in surest,
            }
        )
    return {"shown": shown, "total": len(wrong), "is_cut": False}


def confused_labels(results: Mapping[str, Any], threshold: float, strips: Strips) -> dict[str, Any]:
    """The same where videos have any labels: a label that is missed, and one that is chosen wrongly, of the
    record's "confused_labels". `own` is the video with the second label that scores highest in it, right
    from the threshold on.
    """
    found = results.get("confused_labels") or []  # earlier records have none
    videos, of = results["videos"], {row["class"]: row["videos"] for row in results["per_class"]}
    surest = _surest(
        (label, score, place)
        for place, video in enumerate(videos)
        if video["top5"]
        for label, score in zip(video["labels"], video["label_scores"], strict=True)
    )
    shown = []
    for pair in found[:MAX_SHOWN]:
        own_score, own = surest.get(pair["chosen"], (None, None))
        shown.append(
            {
                "first": pair["missed"],
                "second": pair["chosen"],
                "count": pair["videos"],
                "of": of[pair["missed"]],
                "taken": with_strip(videos, pair["example"], strips),
                "taken_score": pair["score"],
                "own": None if own is None else with_strip(videos, own, strips),
                "own_score": own_score,
                "own_is_right": own_score is not None and own_score >= threshold,
            }
        )
    return {"shown": shown, "total": len(found), "is_cut": len(found) == MAX_PAIRS}


def _surest(
    scored: Iterable[tuple[Any, float | None, int]],
) -> dict[Any, tuple[float | None, int]]:
    """{key: (score, place of the video)} of the highest score of each key, the first one among equals."""
    best: dict[Any, tuple[float | None, int]] = {}
    for key, score, place in scored:
        if key not in best or (score or 0.0) > (best[key][0] or 0.0):
            best[key] = (score, place)
    return best
