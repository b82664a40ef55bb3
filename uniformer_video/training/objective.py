"""What a model is trained for: its loss, and how well it does while it trains.

`OneLabel`: a video has one class. `AnyLabels`: it has any number of them. Both have the same methods,
and `share` and `score` are the names of their figures in metrics.jsonl.
"""

import numpy as np
import torch
from torch.nn import functional as F

from uniformer_video.data.lists.records import label_table
from uniformer_video.evaluation.metrics import mean_average_precision, topk_correct


class OneLabel:
    """Soft-target cross entropy, the mean over the clips; top-1.

    weights: of the classes, float32 `[K]` on the device of the logits; None for all alike.
    """

    share = score = "top1"

    def __init__(self, weights=None):
        self.weights = weights

    def loss(self, logits, targets):
        """Logits and soft targets, both `[B, K]` -> a scalar."""
        return F.cross_entropy(logits, targets, weight=self.weights)

    def hits(self, logits, targets):
        """How many clips score highest in the class that their target has most of, int64 `[]`."""
        return (logits.argmax(1) == targets.argmax(1)).sum()

    def validate(self, logits, records):
        """Logits float32 `[videos, K]` on the CPU -> (top-1 in 0..1, unweighted loss)."""
        labels = np.array([record.label for record in records])
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
        return float(topk_correct(logits, labels, 1).mean()), float(loss)


class AnyLabels:
    """Binary cross entropy of each class by itself, the mean over clips and classes; mAP.

    weights: of the classes, as in `OneLabel`. smoothing: the label smoothing of the targets.
    """

    share, score = "hit1", "map"

    def __init__(self, weights=None, smoothing=0.0):
        self.weights, self.smoothing = weights, smoothing

    def loss(self, logits, targets):
        """Logits and soft targets, both `[B, K]` -> a scalar."""
        return F.binary_cross_entropy_with_logits(logits, targets, weight=self.weights)

    def hits(self, logits, targets):
        """How many clips score highest in one of their classes; of a mixed clip in one that has more
        than half of it. A clip without a class has no hit. int64 `[]`.
        """
        half = (1 - self.smoothing) / 2 + self.smoothing / targets.shape[1]
        best = targets.gather(1, logits.argmax(1, keepdim=True))
        return (best > half).sum()

    def validate(self, logits, records):
        """Logits float32 `[videos, K]` on the CPU -> (mAP in 0..1, unweighted loss).

        mAP is NaN where no video has a label.
        """
        table = label_table(records, logits.shape[1])
        truth = torch.from_numpy(table).float()
        loss = F.binary_cross_entropy_with_logits(torch.from_numpy(logits), truth)
        return mean_average_precision(logits, table), float(loss)
