"""A class for each pixel of a picture: cross entropy of the pixels, and mean intersection over union."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uniformer_video.data.decoding.masks import IGNORED
from uniformer_video.data.lists.formats import MASK
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.evaluation.areas import mean_iou, segmentation_results
from uniformer_video.evaluation.parts import Figure, failure_lines, figure_text
from uniformer_video.evaluation.strips import Strips
from uniformer_video.models.dense.layers import bilinear
from uniformer_video.pages.segmentation import segmentation_page
from uniformer_video.tasks.prediction import PixelPrediction
from uniformer_video.tasks.task import Task
from uniformer_video.words import name_some, plural


class Segmentation(Task):
    """Semantic segmentation. Labels are masks, uint8 `[B, H, W]` with 255 where nothing is asked; logits are
    `[B, K, h, w]`, of any size, and are resized to the masks'.

    What a test keeps of a picture are its areas, int64 `[3, K]`: how many pixels of each class are both
    predicted and true, predicted, true.
    """

    name = "segmentation"
    label_kind = MASK
    scoring = "pixels"
    figures = (
        Figure("pixel_accuracy", "pixel accuracy", "Pixel accuracy"),
        Figure("miou", "mIoU", "Mean intersection over union"),
    )
    hits_key, score_key, headline = "pixel_accuracy", "miou", "miou"
    result_keys = ("per_class", "confusion")
    template = Path(__file__).with_name("segmentation.html.j2")
    prediction_note = "A class for each pixel; the shares are of the picture's pixels."

    def check_records(self, records: Sequence[VideoRecord], num_classes: int) -> None:
        """Raise `DataError`, with file and line, where no picture has a mask; one alone counts as broken."""
        if records and not any(record.mask for record in records):
            first = records[0]
            raise DataError(
                f"{first.source}: {first.name} has no mask, nor has another of the list"
            )

    def is_labelled(self, record: VideoRecord) -> bool:
        """Whether it has a mask."""
        return bool(record.mask)

    def label_of(self, record: VideoRecord) -> str:
        """The path of its mask."""
        return record.mask

    def label_tensor(self, labels: Sequence[Any], num_classes: int) -> Tensor:
        """Masks of crops, uint8 `[H, W]` each -> uint8 `[crops, H, W]`."""
        return torch.from_numpy(np.stack(labels))

    def targets(self, labels: Tensor) -> Tensor:
        """The masks as int64."""
        return labels.long()

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits `[B, K, h, w]` and masks `[B, H, W]` -> a scalar: the cross entropy of resized logits,
        summed over the pixels that count and divided by all of them, as published.
        """
        losses = F.cross_entropy(
            bilinear(logits, targets.shape[-2:]),
            targets,
            weight=self.class_weights,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return losses / targets.numel()

    def hits(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(how many positions are right, of how many), int64 `[]`: of the logits' own size, each with the
        class at its middle.
        """
        middles = F.interpolate(
            targets[:, None].float(), size=logits.shape[-2:], mode="nearest-exact"
        )
        truth = middles[:, 0].long()
        asked = truth != IGNORED
        return ((logits.argmax(1) == truth) & asked).sum(), asked.sum()

    def validate(self, scores: np.ndarray, records: Sequence[VideoRecord]) -> tuple[float, float]:
        """Areas `[N, 3, K]` -> (mean intersection over union, NaN: the loss is measured with the areas)."""
        return float(mean_iou(scores.sum(axis=0))), float("nan")

    def predict(
        self, path: str, logits: np.ndarray, score: str, class_names: tuple[str, ...]
    ) -> PixelPrediction:
        """Logits of a picture `[K, H, W]` -> the `PixelPrediction` of its best classes."""
        return PixelPrediction(path, logits.argmax(axis=0).astype(np.uint8), class_names)

    def label_entry(self, label: str) -> dict[str, Any]:
        """`{"mask": path}`."""
        return {"mask": label}

    def results(
        self,
        entries: Sequence[dict[str, Any]],
        labels: Sequence[Any],
        scores: Any,
        decoded: np.ndarray,
        class_names: Sequence[str],
        score: str,
    ) -> dict[str, Any]:
        """`summary`, `per_class`, `confusion` and `videos` of a record. scores: `PixelScores` of the test."""
        return segmentation_results(entries, scores.areas, scores.confusion, decoded, class_names)

    def saved_labels(self, videos: Sequence[Mapping[str, Any]], num_classes: int) -> np.ndarray:
        """The paths of the masks."""
        return np.array([video["mask"] for video in videos], np.str_)

    def summary_lines(self, results: Mapping[str, Any]) -> list[str]:
        """mIoU, mean accuracy and pixel accuracy, and what failed."""
        summary, known = results["summary"], len(results["class_names"])
        measured = summary["classes"]
        of = plural(known, "class", "classes")
        lines = [
            f"mIoU {figure_text(summary['miou'])} over "
            f"{of if measured == known else f'{measured} of {of}'}, mean accuracy "
            f"{figure_text(summary['mean_accuracy'])}, pixel accuracy "
            f"{figure_text(summary['pixel_accuracy'])}"
        ]
        if absent := summary["absent_classes"]:
            lines.append(f"neither there nor predicted, and in no mean: {name_some(absent)}")
        return [*lines, *failure_lines(results)]

    def page(self, results: Mapping[str, Any], strips: Strips) -> dict[str, Any]:
        """The worst and the median pictures beside their masks, the classes and their confusion."""
        return segmentation_page(results, strips)
