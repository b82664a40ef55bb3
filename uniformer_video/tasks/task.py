"""The contract of a task: all that a run, the training loop, a test and a page ask of it.

A task says what a model is trained for and judged by. The loop, the test and the report get one handed
in and know none by name; `runs/` and `inference/` take it from `tasks/registry.py`. To add one, write a
subclass of `Task` and register it; the two built-in ones, `single_label.py` and `multi_label.py`, show how.

Shapes: B clips of a batch, K classes, N videos. Where a shape says `[B, K]` or `[N, K]`, that is what the
built-in tasks have; the callers pass such values on as they are. Each method also says, after "Dense:",
what it would be for a class at each pixel, with logits `[B, K, H/4, W/4]`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.evaluation.parts import Figure, Mistake
from uniformer_video.evaluation.predictions import Table
from uniformer_video.evaluation.strips import Strips


class AnyPrediction(Protocol):
    """What a task says of one video, such as `tasks.prediction.Prediction`."""

    def lines(self, count: int, /) -> list[str]:
        """For people, of the first `count`."""

    def to_dict(self, count: int, /) -> dict[str, Any]:
        """The same as plain data."""


class Task(ABC):
    """What a model is trained for and judged by.

    Args, which only training needs:
        num_classes: K.
        class_weights: of the classes in the loss, float32 `[K]` on the device of the logits; None for all
            alike.
        label_smoothing: the eps of smoothed targets.
    """

    # The value of TRAIN.TASK, and what checkpoints and results record.
    name: ClassVar[str]
    # What a format's lists must be able to hold, one of its `label_kinds`: "one" label a video, "any" number.
    # Dense: "mask", which such a format names.
    label_kind: ClassVar[str] = "one"
    # What is scored, see `runs/examination.py`: the "views" of a video, averaged, or "pixels".
    scoring: ClassVar[str] = "views"
    # With fewer classes there is nothing to learn.
    min_classes: ClassVar[int] = 2
    # TEST.SCORE -> what is averaged over the views, a function of logits `[..., K]`; "logits" must be there.
    view_scores: ClassVar[dict[str, Callable[[np.ndarray], np.ndarray]]] = {"logits": np.asarray}
    # Whether its videos have scores `[N, K]`, so that `evaluation/analyses`, the check of motion among them,
    # can be made, and tests compared.
    has_analyses: ClassVar[bool] = False
    # What `by_class` measures, as a page names it. Of tasks with `has_analyses`.
    class_figure: ClassVar[str] = ""
    # Whether one class at the most is true of a video, so that an answer may be "none of these".
    has_rejection: ClassVar[bool] = False
    # What metrics.jsonl, the log and the curves of the page show beside the loss, in the page's order.
    figures: ClassVar[tuple[Figure, ...]]
    # Whether `soften` and `divergence` are there, without which no model of the task learns from a teacher.
    has_distillation: ClassVar[bool] = False
    # Of these: the share of hits while training; the score of a validation, which chooses the best weights.
    hits_key: ClassVar[str]
    score_key: ClassVar[str]
    # What `results` gives beside "summary" and "videos", and the key of the summary that is always there.
    result_keys: ClassVar[tuple[str, ...]] = ()
    headline: ClassVar[str]
    # The template of the page, which extends "report.html.j2" and fills its blocks.
    template: ClassVar[Path]
    # One line about how predictions are to be read, if need be.
    prediction_note: ClassVar[str] = ""

    def __init__(
        self,
        num_classes: int = 0,
        class_weights: torch.Tensor | None = None,
        label_smoothing: float = 0.0,
    ):
        self.num_classes, self.class_weights = num_classes, class_weights
        self.label_smoothing = label_smoothing

    # What a list of videos says.

    @abstractmethod
    def check_records(self, records: Sequence[VideoRecord], num_classes: int) -> None:
        """Raise `DataError`, with file and line, for a `VideoRecord` whose labels are not such as these.

        Dense: that each names its file of masks.
        """
        raise NotImplementedError

    def is_labelled(self, record: VideoRecord) -> bool:
        """Whether the list says something of a `VideoRecord` that can be learnt. Dense: a mask."""
        return bool(record.labels)

    @abstractmethod
    def label_of(self, record: VideoRecord) -> Any:
        """What `results` wants to know of a `VideoRecord`'s labels. Dense: the path of its masks."""
        raise NotImplementedError

    @abstractmethod
    def label_tensor(self, labels: Sequence[tuple[int, ...]], num_classes: int) -> torch.Tensor:
        """The labels of clips, a tuple each as its augmentation left it, as a tensor `[clips, ...]`.

        Called in worker processes; batches join the tensors along the clips. Dense: int64 `[clips, H/4,
        W/4]`, from masks that are cropped and mirrored with the frames.
        """
        raise NotImplementedError

    # Training. Nothing here may wait for the device but `validate`.

    @abstractmethod
    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels of a batch, on the device -> float targets `[B, ...]`, of which mixup blends two clips'.

        Dense: one-hot `[B, K, H/4, W/4]`. A blend of the rows is what mixup asks for; the boxes of cutmix are
        not moved in them, so such a task sets MIXUP.CUTMIX_ALPHA 0.
        """
        raise NotImplementedError

    @abstractmethod
    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logits of a batch, float32 or float64, and its targets -> a scalar.

        Dense: cross entropy over the second axis, the mean over clips and pixels.
        """
        raise NotImplementedError

    @abstractmethod
    def hits(
        self, logits: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(what is right, of how much) in a batch, two numbers `[]` on the device.

        Their quotient, averaged over the steps that have any count, is the figure `hits_key`. Dense: pixels.
        """
        raise NotImplementedError

    def soften(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        """A teacher's logits of a batch, divided by the temperature, as probabilities: targets that mixup may
        blend as it does those of `targets`. Of tasks with `has_distillation`.

        Dense: the softmax over the second axis.
        """
        raise NotImplementedError

    def unsoften(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Logits of which `soften` makes these probabilities at a temperature of 1, `[B, K]` both, as far as
        these tell. Of tasks whose models are exported with the preparation inside, to predict with them.

        Dense: the logarithm.
        """
        raise ConfigError(
            f"the task {self.name} has no `unsoften`, which makes logits of a file's probabilities; export "
            "the checkpoint again without --preprocess"
        )

    def divergence(
        self, logits: torch.Tensor, softened: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        """How far the logits of a batch, float32 or float64, are at that temperature from what `soften` made
        of a teacher's, perhaps blended: the Kullback-Leibler divergence of each clip, `[B]`. Of tasks with
        `has_distillation`.

        Dense: the mean over the pixels of a clip.
        """
        raise NotImplementedError

    @abstractmethod
    def validate(self, scores: np.ndarray, records: Sequence[VideoRecord]) -> tuple[float, float]:
        """Mean logits of videos `[N, K]` and their records -> (score in 0..1, unweighted loss).

        The score is NaN where nothing can be measured. Dense: areas `[N, 3, K]` -> the mean intersection over
        union, and NaN, as the loss is measured where the pixels are.
        """
        raise NotImplementedError

    # From the logits of views to what people read.

    def video_scores(self, logits: np.ndarray, score: str) -> np.ndarray:
        """Logits `[..., view, K]` -> the mean over the views `[..., K]` of what `score`, of
        `view_scores`, names. The mean of logits ranks as their sum, the published rule.

        Dense: views that see the same pixels are averaged where they overlap, `[..., K, H, W]`.
        """
        return self.view_scores[score](logits).mean(axis=-2)

    def probabilities(self, scores: np.ndarray, score: str) -> np.ndarray:
        """What `video_scores` gave as probabilities of the same shape. Dense: softmax over the classes."""
        raise NotImplementedError

    @abstractmethod
    def predict(
        self, path: str, logits: np.ndarray, score: str, class_names: tuple[str, ...]
    ) -> AnyPrediction:
        """The prediction for a video from the logits of its views `[view, K]`.

        An object with `lines(count)`, text for people, and `to_dict(count)`, plain data, such as
        `tasks.prediction.Prediction`. Dense: one that holds a map of classes, and says each one's share.
        """
        raise NotImplementedError

    # The record of a test, results.json and scores.npz.

    @abstractmethod
    def label_entry(self, label: Any) -> dict[str, Any]:
        """A label, as `label_of` gives it, as the record lists it beside a video's name.

        Dense: `{"mask": path}`.
        """
        raise NotImplementedError

    def recorded_label(self, entry: Mapping[str, Any]) -> Any:
        """The label, as `label_of` gives it, in a record's entry of a video. Of tasks with `has_analyses`."""
        raise NotImplementedError

    @abstractmethod
    def results(
        self,
        entries: Sequence[dict[str, Any]],
        labels: Sequence[Any],
        scores: np.ndarray,
        decoded: np.ndarray,
        class_names: Sequence[str],
        score: str,
    ) -> dict[str, Any]:
        """The task's own part of a record: "summary", "videos" and the `result_keys`, ready for JSON.

        Args:
            entries: one dict a video, `label_entry` among it; "videos" adds to each what was found.
            labels: one a video, as `label_of` gives it.
            scores: `[N, K]` from `video_scores` with `score`; rows that are not decoded are not read.
            decoded: bool `[N]`. The summary begins with `evaluation.parts.counts` of it.

        Dense: scores are the `PixelScores`; "summary" with pixel accuracy and mean IoU, "per_class"
        with the IoU of each class.
        """
        raise NotImplementedError

    def label_among(self, label: Any, places: Mapping[int, int]) -> Any:
        """A label where only some of the classes count, `places` {class: its new number}; None for a video
        that is then no video of the test. Of tasks with `has_analyses`.
        """
        raise NotImplementedError

    def prediction_columns(
        self,
        labels: Sequence[Any],
        scores: np.ndarray,
        shares: np.ndarray,
        class_names: Sequence[str],
    ) -> Table:
        """Columns of a table of predictions, one row a video: its label and what is answered.

        scores, shares: what `video_scores` and `probabilities` give, `[N, K]`. Of tasks with `has_analyses`.
        """
        raise NotImplementedError

    def right(self, scores: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
        """Whether the best answer for each video is right: scores `[N, K]`, labels as `label_of` gives them
        -> bool `[N]`. Of tasks with `has_analyses`.
        """
        raise NotImplementedError

    def headline_of(self, scores: np.ndarray, labels: Sequence[Any]) -> float:
        """The value of the `headline` of videos: scores `[N, K]`, labels as `label_of` gives them. Of tasks
        with `has_analyses`.
        """
        raise NotImplementedError

    def headline_figure(self, scores: np.ndarray, labels: Sequence[Any]) -> dict[str, Any]:
        """The `headline` as the summary has it, "value", "low" and "high" among others. Arguments as of
        `headline_of`. Of tasks with `has_analyses`.
        """
        raise NotImplementedError

    def opposed(self, label: Any, opposite: Mapping[int, int]) -> Any:
        """A label, as `label_of` gives it, with each class replaced by its opposite where it has one. Of
        tasks with `has_analyses`.
        """
        raise NotImplementedError

    def judged(self, labels: Sequence[Any]) -> np.ndarray:
        """Of which videos `right` can be told, bool `[N]`. Of tasks with `has_analyses`."""
        return np.ones(len(labels), bool)

    def evidence(
        self, scores: np.ndarray, labels: Sequence[Any], groups: np.ndarray | None = None
    ) -> np.ndarray:
        """What `difference_interval` takes of scores `[N, K]`, small enough to be kept of many. Of tasks with
        `has_analyses`.

        groups: int `[N]`, from 0, of videos that are drawn together; None = each by itself.
        """
        raise NotImplementedError

    def difference_interval(
        self, first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[float, float] | None:
        """The 95 % paired bootstrap interval of the `headline` of one less that of another, from the
        `evidence` of both on the same videos; None where nothing can be told. Of tasks with `has_analyses`.
        """
        raise NotImplementedError

    def disagreement(self, logits: np.ndarray) -> np.ndarray:
        """How far the views of a video are from one answer: logits `[N, view, K]` -> float64 `[N]`, the
        Jensen-Shannon divergence of their probabilities in nats, 0 where all say the same. Of tasks with
        `has_analyses`.
        """
        raise NotImplementedError

    def class_differences(
        self,
        first: np.ndarray,
        second: np.ndarray,
        labels: Sequence[Any],
        least: int,
        groups: np.ndarray | None = None,
    ) -> list[dict[str, Any]]:
        """The figure of each class that has `least` videos, by scores `[N, K]` of two answers: `{"class",
        "videos", "first", "second", "low", "high"}`, the last two of the first less the second. Of tasks with
        `has_analyses`.
        """
        raise NotImplementedError

    def by_class(self, scores: np.ndarray, labels: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """(the `class_figure` of each class, float64 `[K]`, NaN without videos; how many videos it has, int
        `[K]`) of scores `[N, K]` and labels as `label_of` gives them. Of tasks with `has_analyses`.
        """
        raise NotImplementedError

    def log_likelihood(self, logits: np.ndarray, labels: Sequence[Any], score: str) -> np.ndarray:
        """The logarithm of the probability that is given to what is true of each video, float64 `[N]`; of
        several answers about a video their mean. Of tasks with `has_analyses`.

        logits: of the views, `[N, view, K]`. labels: as `label_of` gives them. score: of `view_scores`.
        """
        raise NotImplementedError

    def confidences(
        self, scores: np.ndarray, labels: Sequence[Any], score: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """(probability, whether it is so) of the m answers about each video: float and bool `[N, m]`. Of
        tasks with `has_analyses`.

        scores: `[N, K]` from `video_scores` with `score`. labels: as `label_of` gives them.
        """
        raise NotImplementedError

    def group_interval(
        self, labels: Sequence[Any], scores: np.ndarray, groups: np.ndarray
    ) -> tuple[float, float] | None:
        """The 95 % interval of the `headline` of decoded videos that come in groups; None where none is.

        Args:
            labels: one a video, as `label_of` gives it.
            scores: `[N, K]` from `video_scores`.
            groups: int `[N]`, from 0: videos of one group are drawn together.
        """
        return None

    def check_results(self, results: Mapping[str, Any], place: Path | str) -> None:
        """Raise `DataError`, naming the file `place`, where a record lacks what `results` puts there."""
        lacking = [key for key in self.result_keys if key not in results]
        if lacking or self.headline not in results["summary"]:
            key = (lacking or [self.headline])[0]
            raise DataError(f"{place} is damaged: it lacks {key}; delete it")

    @abstractmethod
    def saved_labels(self, videos: Sequence[Mapping[str, Any]], num_classes: int) -> np.ndarray:
        """The labels of a record's "videos" for scores.npz, `[N, ...]`. Dense: the paths of the masks."""
        raise NotImplementedError

    @abstractmethod
    def summary_lines(self, results: Mapping[str, Any]) -> list[str]:
        """The outcome of a record in a few lines for the terminal."""
        raise NotImplementedError

    # The page.

    def mistakes(self, results: Mapping[str, Any]) -> list[Mistake]:
        """The wrong answers of a record, the surest first: the videos whose frames the page embeds."""
        return []

    @abstractmethod
    def page(self, results: Mapping[str, Any], strips: Strips) -> dict[str, Any]:
        """The variables that `template` takes beside those of "report.html.j2".

        strips: a small picture of each video, by its place in the record; of some or all there may be none.
        Dense: pictures of masks beside frames.
        """
        raise NotImplementedError

    def pictures(self, results: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Pictures of a record for TensorBoard and its like: {name: uint8 `[H, W, 3]`}."""
        return {}

    # What files say.

    def mark(self) -> dict[str, Any]:
        """What checkpoints, results and predictions record of the task."""
        return {"task": self.name}
