"""Every view of every video through the model, once each, and views to video scores."""

from dataclasses import dataclass, field

import numpy as np
import torch

from uniformer_video.data.loader import eval_loader
from uniformer_video.data.workers import HANGING_SECONDS
from uniformer_video.evaluation.metrics import mean_over_views


@dataclass
class ViewScores:
    """Logits of all views, float32 `[video, view, class]`; NaN where a video failed.

    failures: {index of a video: why it could not be decoded}.
    """

    scores: np.ndarray
    failures: dict = field(default_factory=dict)

    @property
    def decoded(self):
        """bool `[video]`."""
        return np.array([index not in self.failures for index in range(len(self.scores))], bool)

    def videos(self, score="logits"):
        """Video scores `[video, class]`: the `mean_over_views` of logits, or of probabilities."""
        return mean_over_views(self.scores, score)


@torch.inference_mode()
def score_videos(
    model,
    dataset,
    num_classes,
    ranks,
    batch_size,
    num_workers,
    autocast,
    progress=None,
    timeout=HANGING_SECONDS,
):
    """The `ViewScores` of a `EvalDataset`.

    Each process takes every size-th video; every (video, view) is counted once, whatever the number
    of processes, workers, or `batch_size` (views of a forward pass). `progress(videos)` is called
    with the number of videos just finished. A video that hangs, for `timeout` seconds, is a failure.
    """
    model.eval()
    own = range(ranks.rank, len(dataset), ranks.size)
    num_views = dataset.num_clips * dataset.views.num_crops
    per_batch = max(1, batch_size // num_views)
    results = []
    for samples in eval_loader(dataset, own, per_batch, num_workers, timeout):
        good = [sample for sample in samples if sample.views is not None]
        results += [(s.index, s.reason) for s in samples if s.views is None]
        if good:
            views = torch.cat([sample.views for sample in good])
            logits = _forward(model, views, batch_size, ranks.device, autocast)
            per_video = logits.reshape(len(good), num_views, -1).numpy()
            results += [(s.index, scores) for s, scores in zip(good, per_video, strict=True)]
        if progress:
            progress(len(samples))
    return _collect(ranks.gather(results), len(dataset), num_views, num_classes)


def _forward(model, views, batch_size, device, autocast):
    """Float32 logits `[views, class]` on the CPU, in passes of at most `batch_size` views."""
    parts = []
    for part in views.split(batch_size):
        with autocast():
            parts.append(model(part.to(device, non_blocking=True)).float().cpu())
    return torch.cat(parts)


def _collect(results, num_videos, num_views, num_classes):
    scores = np.full((num_videos, num_views, num_classes), np.nan, np.float32)
    failures = {}
    for index, outcome in results:
        if isinstance(outcome, str):
            failures[index] = outcome
        else:
            scores[index] = outcome
    return ViewScores(scores, failures)
