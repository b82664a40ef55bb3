"""The videos that a calibration is fitted on, and those that it is reported on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.evaluation.record import Results
from uniformer_video.randomness import generator
from uniformer_video.runs.score_again import Scorer, validation_scores
from uniformer_video.tasks.task import Task
from uniformer_video.words import plural

MIN_VIDEOS = 10  # to fit on, and to report on


@dataclass(frozen=True)
class Sample:
    """Decoded videos: the logits of their views, `[N, view, K]`, and labels as `Task.label_of` gives them."""

    logits: np.ndarray
    labels: list[Any]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, places: np.ndarray) -> "Sample":
        """Some of the videos, by their places."""
        return Sample(self.logits[places], [self.labels[place] for place in places])

    def at(self, temperature: float) -> "Sample":
        """The same with logits that are divided by the temperature."""
        return Sample(self.logits.astype(np.float64) / temperature, self.labels)


def decoded(
    task: Task, videos: Sequence[dict[str, Any]], scores: np.ndarray
) -> tuple[Sample, np.ndarray]:
    """The videos that could be decoded, and their places in the list."""
    places = np.flatnonzero(~np.isnan(scores).any(axis=(1, 2)))
    return Sample(scores[places], [task.recorded_label(videos[int(p)]) for p in places]), places


def halves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(places to fit on, places to report on) of so many videos; of an odd number the first has one more."""
    order = generator("calibration half", seed).permutation(count)
    middle = (count + 1) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def split_test(
    test: Sample, seed: int, noun: str = "video"
) -> tuple[Sample, Sample, dict[str, Any]]:
    if len(test) < 2 * MIN_VIDEOS:
        raise DataError(
            f"the test decoded {plural(len(test), noun)}, and two halves take {2 * MIN_VIDEOS} at least; "
            f"calibrate on the validation {noun}s (--on val), or test more {noun}s"
        )
    fitted, reported = map(test.part, halves(len(test), seed))
    return (
        fitted,
        reported,
        {
            "seed": seed,
            "fitted_on": f"a half of the test {noun}s (seed {seed})",
            "videos": len(fitted),
            "reported_on": "the other half",
            "videos_reported": len(reported),
        },
    )


def validation_and_test(
    task: Task, scorer: Scorer, results: Results, test: Sample, places: np.ndarray
) -> tuple[Sample, Sample, dict[str, Any]]:
    """All validation videos to fit on; the test videos that are none of them to report on."""
    records, scores = validation_scores(
        scorer, task, lambda records: _check_numbers(records, results, places)
    )
    noun = results.protocol.medium
    known = ~np.isnan(scores).any(axis=(1, 2))
    labels = [task.label_of(record) for record, good in zip(records, known, strict=True) if good]
    fitted = Sample(scores[known], labels)
    if len(fitted) < MIN_VIDEOS:
        raise DataError(
            f"{plural(len(fitted), f'validation {noun}')} could be decoded, and a temperature takes "
            f"{MIN_VIDEOS} at least; calibrate on a half of the test (--on half)"
        )
    reported = test.part(_not_among(records, results, places))
    return (
        fitted,
        reported,
        {
            "fitted_on": f"the validation {noun}s",
            "videos": len(fitted),
            "reported_on": f"the test {noun}s that are not among them",
            "videos_reported": len(reported),
        },
    )


def _check_numbers(records: Sequence[VideoRecord], results: Results, places: np.ndarray) -> None:
    """Raise where the validation videos can't do, before any of them is decoded."""
    noun = results.protocol.medium
    if len(records) < MIN_VIDEOS:
        raise DataError(
            f"there are {plural(len(records), f'validation {noun}')}, and a temperature takes {MIN_VIDEOS} "
            "at least; calibrate on a half of the test (--on half)"
        )
    left = len(_not_among(records, results, places))
    if left < MIN_VIDEOS:
        raise DataError(
            f"{len(places) - left} of {plural(len(places), f'test {noun}')} are validation {noun}s, which "
            f"leaves {left} to report on, and {MIN_VIDEOS} are needed; calibrate on a half of the "
            "test (--on half)"
        )


def _not_among(records: Sequence[VideoRecord], results: Results, places: np.ndarray) -> np.ndarray:
    """Which of the tested videos at `places`, by their number there, are none of the records."""
    seen = {record.segment for record in records}
    entries = [results.videos[int(place)] for place in places]
    own = [(each["path"], each.get("start", 0.0), each.get("end")) not in seen for each in entries]
    return np.flatnonzero(own)
