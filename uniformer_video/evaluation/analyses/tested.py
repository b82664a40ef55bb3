"""What an analysis is handed: a test, with the logits of every view."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from uniformer_video.data.clips.variants import Variant
from uniformer_video.data.protocol import Protocol
from uniformer_video.evaluation.parts import RecordingTask, number
from uniformer_video.evaluation.variants import VariantScores


def renumbered(groups: Iterable[Hashable]) -> np.ndarray:
    """The numbers of groups by their first video, int `[N]` from 0 without a gap: names, or some of more."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], int)


@dataclass(frozen=True)
class Tested:
    """A test of N videos, of which analyses use those that were decoded, `len(good)` of them.

    task: that of the test. view_scores: logits `[N, view, K]`, clip by clip and crop by crop; NaN where a
    video failed. labels: one a video, as the task's `label_of` gives it. decoded: bool `[N]`.
    model: the record's "model". seconds: how long the test took. sizes: {place: (width, height)} of decoded
    frames, where they are known. groups: int `[N]`, from 0, of videos that belong together, or None.
    cost: the record's "cost". variants: scores of the same videos played otherwise or
    with worse frames, where that was asked for.
    """

    task: RecordingTask
    protocol: Protocol
    view_scores: np.ndarray
    labels: Sequence[Any]
    decoded: np.ndarray
    class_names: Sequence[str]
    model: Mapping[str, Any]
    seconds: float
    sizes: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    groups: np.ndarray | None = None
    cost: Mapping[str, Any] | None = None
    variants: VariantScores | None = None

    @property
    def headline_name(self) -> str:
        """What people call the task's headline: "top-1"."""
        names = {figure.key: figure.short for figure in self.task.figures}
        return names.get(self.task.headline, self.task.headline)

    @cached_property
    def good(self) -> np.ndarray:
        """The places of the decoded videos, int `[G]`."""
        return np.flatnonzero(self.decoded)

    @cached_property
    def good_labels(self) -> list[Any]:
        """The labels of the decoded videos, `[G]`."""
        return [self.labels[place] for place in self.good]

    @cached_property
    def good_groups(self) -> np.ndarray | None:
        """The groups of the decoded videos, int `[G]`; None where each stands by itself."""
        return None if self.groups is None else renumbered(self.groups[self.good])

    @cached_property
    def logits(self) -> np.ndarray:
        """Logits of the decoded videos, `[G, clip, crop, K]`."""
        views = self.view_scores[self.good]
        clips, crops = self.protocol.num_clips, self.protocol.views.num_crops
        return views.reshape(len(views), clips, crops, views.shape[-1])

    def scores(
        self,
        clips: Sequence[int] | None = None,
        crops: Sequence[int] | None = None,
        score: str = "",
    ) -> np.ndarray:
        """Scores of the decoded videos from some of their views, `[G, K]`.

        clips, crops: which of them; all by default. score: one of the task's score rules; that of the
        protocol by default.
        """
        num_clips, num_crops = self.logits.shape[1:3]
        clips = range(num_clips) if clips is None else clips
        crops = range(num_crops) if crops is None else crops
        score = score or self.protocol.score
        if len(clips) * len(crops) == num_clips * num_crops and score == self.protocol.score:
            return self._all_scores  # which several analyses ask for
        if len(clips) * len(crops) == num_clips * num_crops:
            return self._scores_of(self.logits, score)
        chosen = self.logits[:, np.array(clips)[:, None], np.array(crops)]
        return self._scores_of(chosen, score)

    @cached_property
    def _all_scores(self) -> np.ndarray:
        """Those of all views, by the rule of the protocol."""
        return self._scores_of(self.logits, self.protocol.score)

    def _scores_of(self, logits: np.ndarray, score: str) -> np.ndarray:
        views = logits.reshape(len(logits), -1, logits.shape[-1])
        return self.task.video_scores(views, score)

    @cached_property
    def in_all_variants(self) -> np.ndarray:
        """The places of the videos that were decoded in the test and for its variants, int `[V]`."""
        assert self.variants is not None
        return np.flatnonzero(self.decoded & self.variants.decoded)

    def figure(self, scores: np.ndarray, labels: Sequence[Any]) -> dict[str, Any]:
        """The headline of scores `[V, K]` of the videos `in_all_variants` as the summary has it; of videos in
        groups with the interval of resampled groups.

        labels: what counts as right, one a video, as the task's `label_of` gives it.
        """
        figure = self.task.headline_figure(scores, labels)
        if self.variant_groups is not None:
            interval = self.task.group_interval(labels, scores, self.variant_groups)
            if interval is not None:
                figure["low"], figure["high"] = interval
        return figure

    @cached_property
    def variant_groups(self) -> np.ndarray | None:
        """The groups of the videos `in_all_variants`, int `[V]`; None where each stands by itself."""
        if self.groups is None:
            return None
        return renumbered(self.groups[self.in_all_variants].tolist())

    def difference(self, scores: np.ndarray, other: np.ndarray) -> dict[str, Any]:
        """The headline of some scores `[V, K]` of the videos `in_all_variants` less that of `other` scores of
        them: "value", and its paired 95 % interval, "low" and "high"; None where nothing can be told.
        """
        labels = [self.labels[place] for place in self.in_all_variants]
        groups = self.variant_groups
        values = [self.task.headline_of(own, labels) for own in (scores, other)]
        first, second = (self.task.evidence(own, labels, groups) for own in (scores, other))
        low, high = self.task.difference_interval(first, second, groups) or (None, None)
        return {"value": number(values[0] - values[1]), "low": low, "high": high}

    def variant_scores(self, variant: Variant) -> np.ndarray:
        """Scores of the videos `in_all_variants` in one of the `variants`, `[V, K]`."""
        assert self.variants is not None
        views = self.variants.of(variant)[self.in_all_variants]
        if self.variants.per_view:
            return self.task.video_scores(views, self.protocol.score)
        return views[:, 0]

    @cached_property
    def unchanged_scores(self) -> np.ndarray:
        """Scores of the same videos in the test itself, `[V, K]`."""
        views = self.view_scores[self.in_all_variants]
        return self.task.video_scores(views, self.protocol.score)
