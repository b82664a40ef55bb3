"""Which classes are taken for each other, with frames of both, for the page."""

from collections.abc import Iterable, Mapping
from typing import Any

from uniformer_video.evaluation.parts import FramesOfVideo
from uniformer_video.pages.parts import with_frames

MAX_SHOWN = 6

Video = Mapping[str, Any]


def confused_classes(
    results: Mapping[str, Any], open_video: FramesOfVideo | None
) -> dict[str, Any]:
    """The most frequent pairs of a true and a predicted class, of a record where videos have one label.

    open_video: as `pages.report.write_report` takes it. Of each pair: the `first` and the `second` class,
    `count` of the `of` videos of the first, and how often it is the other way round, `back` of `back_of`.
    `taken` is the video of the first class that scores highest in the second. `own` is one of the second: of
    those that are right the one that scores highest; without any, the first that could be decoded. Both
    have frames, and `taken_score` and `own_score` are their scores in the second class.
    """
    counts = {(true, predicted): count for true, predicted, count in results["confusion"]}
    wrong = {pair: count for pair, count in counts.items() if pair[0] != pair[1]}
    of = {row["class"]: row["videos"] for row in results["per_class"]}
    decoded = [video for video in results["videos"] if video["top5"]]
    answers = [((v["label"], v["top5"][0]["class"]), v["top5"][0]["score"], v) for v in decoded]
    surest = _surest(answers)
    any_of = {video["label"]: video for video in reversed(decoded)}
    shown: list[dict[str, Any]] = []
    for first, second in sorted(wrong, key=lambda pair: (-wrong[pair], of[pair[0]], pair)):
        if len(shown) == MAX_SHOWN:
            break
        score, video = surest[first, second]
        own_score, own = surest.get((second, second), (None, any_of.get(second)))
        shown.append(
            {
                "first": first,
                "second": second,
                "count": wrong[first, second],
                "of": of[first],
                "back": counts.get((second, first), 0),
                "back_of": of[second],
                "taken": with_frames(video, open_video),
                "taken_score": score,
                "own": with_frames(own, open_video) if own else None,
                "own_score": own_score,
                "own_is_right": (second, second) in surest,
            }
        )
    return {"shown": shown, "total": len(wrong)}


def confused_labels(
    results: Mapping[str, Any], threshold: float, open_video: FramesOfVideo | None
) -> dict[str, Any]:
    """The same where videos have any labels: a label that is missed, and one that is chosen wrongly, of the
    record's "confused_labels". `own` is the video with the second label that scores highest in it, right
    from the threshold on.
    """
    found = results.get("confused_labels") or []  # earlier records have none
    videos, of = results["videos"], {row["class"]: row["videos"] for row in results["per_class"]}
    surest = _surest(
        (label, score, video)
        for video in videos
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
                "taken": with_frames(videos[pair["example"]], open_video),
                "taken_score": pair["score"],
                "own": with_frames(own, open_video) if own else None,
                "own_score": own_score,
                "own_is_right": own_score is not None and own_score >= threshold,
            }
        )
    return {"shown": shown, "total": len(found)}


def _surest(
    scored: Iterable[tuple[Any, float | None, Video]],
) -> dict[Any, tuple[float | None, Video]]:
    """{key: (score, video)} of the highest score of each key, the first one among equals."""
    best: dict[Any, tuple[float | None, Video]] = {}
    for key, score, video in scored:
        if key not in best or (score or 0.0) > (best[key][0] or 0.0):
            best[key] = (score, video)
    return best
