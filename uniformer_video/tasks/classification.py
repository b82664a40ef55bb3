"""What tasks have in common whose labels are classes of a whole video, one or several."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from uniformer_video.data.lists.records import VideoRecord, check_labels
from uniformer_video.evaluation.exact_order import mean_logits
from uniformer_video.tasks.prediction import Prediction
from uniformer_video.tasks.task import Task


class Classification(Task):
    """Labels are class indices, logits `[B, K]`, and targets are soft: float32 `[B, K]`."""

    # TEST.SCORE -> logits `[..., view, K]` to means that rank as the exact ones do.
    exact_means: ClassVar[dict[str, Callable[[np.ndarray], np.ndarray]]] = {"logits": mean_logits}

    def check_records(self, records: Sequence[VideoRecord], num_classes: int) -> None:
        """Raise `DataError`, with file and line, for a label outside the classes."""
        check_labels(records, num_classes)

    def targets(self, labels: Tensor) -> Tensor:
        """Smoothed targets float32 `[B, K]`: `soft_targets`."""
        return soft_targets(labels, self.num_classes, self.label_smoothing)

    def video_scores(self, logits: np.ndarray, score: str) -> np.ndarray:
        """As `Task` has it; where `exact_means` can, rounded so that no two tie or change places."""
        mean = self.exact_means.get(score)
        return mean(logits) if mean else super().video_scores(logits, score)

    def predict(
        self, path: str, logits: np.ndarray, score: str, class_names: tuple[str, ...]
    ) -> Prediction:
        """The `Prediction` for a video from the logits of its views `[view, K]`."""
        scores = self.video_scores(logits, score)
        return Prediction(path, self.probabilities(scores, score), class_names)


def soft_targets(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Smoothed targets float32 `[B, K]`: int64 `[B]`, or multi-hot float32 `[B, K]` with any labels.

    Off is eps / K and on is 1 - eps + eps / K (Szegedy et al., "Rethinking the Inception
    Architecture", section 7); rows of one label sum to 1.
    """
    off = smoothing / num_classes
    on = 1.0 - smoothing + off
    if labels.dim() == 2:
        return torch.where(labels > 0, on, off)
    targets = torch.full((len(labels), num_classes), off, device=labels.device)
    return targets.scatter_(1, labels[:, None], on)
