"""What an analysis is handed: a test, with the logits of every view."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from uniformer_video.data.clips.variants import Variant
from uniformer_video.data.protocol import Protocol
from uniformer_video.evaluation.parts import RecordingTask
from uniformer_video.evaluation.variants import VariantScores


@dataclass(frozen=True)
class Tested:
    """A test of N videos, of which analyses use those that were decoded, `len(good)` of them.

    task: that of the test. view_scores: logits `[N, view, K]`, clip by clip and crop by crop; NaN where a
    video failed. labels: one a video, as the task's `label_of` gives it. decoded: bool `[N]`.
    model: the record's "model". seconds: how long the test took. variants: scores of the same videos played
    otherwise or with worse frames, where that was asked for.
    """

    task: RecordingTask
    protocol: Protocol
    view_scores: np.ndarray
    labels: Sequence[Any]
    decoded: np.ndarray
    class_names: Sequence[str]
    model: Mapping[str, Any]
    seconds: float
    variants: VariantScores | None = None

    @cached_property
    def good(self) -> np.ndarray:
        """The places of the decoded videos, int `[G]`."""
        return np.flatnonzero(self.decoded)

    @cached_property
    def good_labels(self) -> list[Any]:
        """The labels of the decoded videos, `[G]`."""
        return [self.labels[place] for place in self.good]

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
        chosen = self.logits if clips is None else self.logits[:, list(clips)]
        chosen = chosen if crops is None else chosen[:, :, list(crops)]
        views = chosen.reshape(len(chosen), -1, chosen.shape[-1])
        return self.task.video_scores(views, score or self.protocol.score)

    @cached_property
    def in_all_variants(self) -> np.ndarray:
        """The places of the videos that were decoded in the test and for its variants, int `[V]`."""
        assert self.variants is not None
        return np.flatnonzero(self.decoded & self.variants.decoded)

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
