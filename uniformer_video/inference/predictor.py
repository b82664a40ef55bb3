"""Classify videos with a checkpoint that carries everything: model, sampling, pixels, class names."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from uniformer_video.config.recorded import check_recorded_settings
from uniformer_video.config.rows import SETTINGS
from uniformer_video.data.clips.frame_views import FrameViews
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.media import MEDIA, VIDEO, Medium
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.data.loading.view_reader import PartDataset, PartSample, ViewReader
from uniformer_video.data.loading.workers import HANGING_SECONDS, WatchedLoader
from uniformer_video.data.protocol import Protocol, recorded_protocol
from uniformer_video.errors import CheckpointError, ConfigError, DecodeError
from uniformer_video.export.formats import is_export
from uniformer_video.export.runtime import metadata_of, open_exported
from uniformer_video.inference.batches import BatchedLogits
from uniformer_video.inference.calibrated import Calibration, applicable
from uniformer_video.inference.cuda_graph import GraphedForward
from uniformer_video.inference.devices import find_device, nearest_precision
from uniformer_video.inference.inputs import Video, check_medium, find_source
from uniformer_video.inference.read_ahead import ReadAhead
from uniformer_video.memory import give_back_freed
from uniformer_video.models.contract import name_of
from uniformer_video.models.inference_mode import lay_out, prepare_for_inference
from uniformer_video.plugins import import_installed
from uniformer_video.program import command
from uniformer_video.tasks.prediction import FailedPrediction, Prediction
from uniformer_video.tasks.registry import recorded_task
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.tasks.task import Task
from uniformer_video.training.precision import autocast_for, choose_precision
from uniformer_video.weights.architectures import DENSE, is_known_here, name_architecture
from uniformer_video.weights.checkpoint import Weights, fit_weights, read_weights
from uniformer_video.zoo.convert import complete
from uniformer_video.zoo.create import build_for_weights
from uniformer_video.zoo.published import local_file, published_by_name
from uniformer_video.zoo.registry import recorded_class_names

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

_BATCH_BYTES = 16 * 2**20  # of a batch on a processor, where larger ones are no faster
_MOST_VIEWS = 16


class Predictor:
    """A model with its preprocessing: `predictor("my_video.mp4").top(5)`.

    Several threads may call it at once: a video is decoded by the thread that asks, and the model has no
    state. `to` is for when none of them does.

    Args:
        model: maps `[B, 3, T, H, W]`, or of images `[B, 3, H, W]`, to logits `[B, K]`; used as it is, so
            that it may be trained on. With its `for_inference()` called before, it is faster.
        protocol: the `Protocol` by which videos or images become views, and views one score. Its precision is
            used as in a test; "fp16", which a CPU does not compute in, becomes "fp32" there.
        class_names: in index order.
        batch_size: views of a forward pass; None = 16, on a processor as many of them as 16 MB hold, and of
            whole frames one.
        task: the `Task` that the model was trained for; None = one label a video.
        calibration: the `Calibration` of the model. It counts where `protocol`, with the precision that is
            used here, is its own, and `applied` is then that; else `applied` is None, and the log says why.
        device: "cpu", "cuda", "cuda:1" or "mps"; None = a GPU where there is one, else the CPU.
        precision: in place of the protocol's; None = that. Raises `ConfigError` for one that the device does
            not compute in, and for a device that is not there.
    """

    def __init__(
        self,
        model: nn.Module,
        protocol: Protocol,
        class_names: Iterable[str],
        batch_size: int | None = None,
        task: Task | None = None,
        calibration: Calibration | None = None,
        device: str | torch.device | None = None,
        precision: str | None = None,
    ):
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"the batch size is {batch_size}; it must be 1 or more views")
        self.model, self.class_names = model.eval(), tuple(class_names)
        if precision is not None:
            protocol = replace(protocol, precision=SETTINGS["TRAIN.PRECISION"].accept(precision))
        self.protocol = protocol
        self._asked_precision = precision
        self._asked_batch_size, self.task = batch_size, task or SingleLabel()
        self.calibration = calibration
        self.reader = ViewReader(
            protocol.sampling, protocol.views, protocol.num_clips, protocol.decode_short_side
        )
        self.to(device)

    def to(self, device: str | torch.device | None) -> "Self":
        """Move the model to another device, named as in `Predictor`, and leave CUDA graphs; returns this
        predictor.
        """
        self.device = find_device(device)
        self._graphed: GraphedForward | None = None
        self.model.to(self.device)
        precision = self.protocol.precision
        if self._asked_precision is None:
            precision = nearest_precision(precision, self.device)
        self.precision = choose_precision(precision, self.device)
        self.autocast = autocast_for(self.precision, self.device)
        if getattr(self.model, "only_predicts", False):  # one that is trained on is left as it is
            lay_out(self.model, self.device, self.precision)
        self.applied = applicable(self.calibration, self.used_protocol)
        return self

    def use_cuda_graphs(self) -> "Self":
        """From now on, until `to` is called, replay passes of a shape that comes often as CUDA graphs.

        The answers are the same. Small batches, a stream's above all, wait for the host less: see
        `GraphedForward`, also for what does not run then, such as hooks. Raises `ConfigError` on another
        device than a CUDA one, and for a model that may be trained on; returns this predictor.
        """
        if self.device.type != "cuda":
            raise ConfigError(
                f"CUDA graphs (--cuda-graph) are of CUDA devices, and this model computes on {self.device}; "
                "leave them out, or choose a CUDA device"
            )
        if not getattr(self.model, "only_predicts", False):
            raise ConfigError(
                "CUDA graphs (--cuda-graph) are of models that only predict, and this one may be trained on; "
                "call its for_inference() before"
            )
        self._graphed, self._graphed_model = GraphedForward(self._forward, self.device), self.model
        return self

    @property
    def used_protocol(self) -> Protocol:
        """The protocol with the precision that is used on this device."""
        return replace(self.protocol, precision=self.precision)

    @property
    def batch_size(self) -> int:
        """Views of a forward pass."""
        if self._asked_batch_size is not None:
            return self._asked_batch_size
        if isinstance(self.protocol.views, FrameViews):
            return 1  # whole frames are large, and a runtime is as fast with one clip
        if self.device.type != "cpu":
            return _MOST_VIEWS
        return min(max(1, _BATCH_BYTES // self.reader.view_bytes), _MOST_VIEWS)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        num_clips: int | None = None,
        num_crops: int | None = None,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        precision: str | None = None,
        fold: bool = True,
    ) -> "Self":
        """A predictor from a checkpoint of this toolkit, with its own test views unless given.

        path: a file, or an address or the name of published weights, which need no conversion under their
        own name; an exported file too, see `from_export`. batch_size, device, precision: as in `Predictor`.
        fold: predict by the model's `for_inference()`, as tests do; False keeps each layer as it was trained,
        for those who look at them.
        """
        import_installed()
        if is_export(path):
            return cls.from_export(path, num_clips, num_crops, batch_size, device, precision)
        device = find_device(device)
        weights = read_weights(local_file(path))
        views = num_clips, num_crops, batch_size
        return cls.from_weights(weights, *views, device, precision, fold)

    @classmethod
    def from_export(
        cls,
        path: str | Path,
        num_clips: int | None = None,
        num_crops: int | None = None,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        precision: str | None = None,
    ) -> "Self":
        """A predictor from a file that `export` wrote: its runtime takes the place of the model.

        The arguments are those of `from_checkpoint`. It runs on the CPU in float32; `ConfigError` for another
        device or precision, and for other crops than a file with the preparation inside cuts itself; such a
        file is given whole frames, a clip at a time unless `batch_size` says more. Raises `CheckpointError`
        for what `open_exported` refuses.
        """
        if device is not None and find_device(device).type != "cpu":
            raise ConfigError(
                f"{path} is an exported model, which runs on the CPU here; device is {device}"
            )
        if precision not in (None, "auto", "fp32"):
            raise ConfigError(
                f"{path} is an exported model, which computes in fp32; precision is {precision}"
            )
        import_installed()
        model = open_exported(path)
        metadata = metadata_of(model.info)
        return cls(
            model,
            model.protocol_for(num_clips, num_crops),
            model.info.class_names,
            batch_size=batch_size,
            task=recorded_task(metadata, path),
            calibration=Calibration.from_metadata(metadata, str(path)),
            device="cpu",
            precision="fp32",
        )

    @classmethod
    def from_weights(
        cls,
        weights: Weights,
        num_clips: int | None = None,
        num_crops: int | None = None,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        precision: str | None = None,
        fold: bool = True,
    ) -> "Self":
        """As `from_checkpoint`, from what is read already."""
        path = weights.path
        weights = _with_metadata(weights)
        metadata = weights.metadata
        check_recorded_settings(metadata.get("config"), path)
        what = name_architecture(weights.state)
        if what == DENSE:
            raise CheckpointError(
                f"{path} holds the weights of {what}; Segmenter and `{command('predict')}` take those of "
                "segmentation, and Predictor takes classifiers of videos or images"
            )
        protocol = recorded_protocol(metadata, path)
        if protocol is None:
            if what and not is_known_here(what):
                raise CheckpointError(
                    f"{path} holds the weights of {what}, not of a UniFormer or another model that is known "
                    f"here; see `{command('models')}`"
                )
            raise CheckpointError(
                f"{path} does not record how its input is prepared (frames, stride, size, pixels); convert "
                f"it: {command(f'convert {path} --out NEW.pt')}, with --published NAME or "
                "--cfg CONFIG where the file does not tell"
            )
        task = recorded_task(metadata, path)
        if protocol.score not in task.view_scores:
            raise CheckpointError(
                f"{path} is damaged: it records the score {protocol.score!r}, and the task {task.name} has "
                f"{', '.join(task.view_scores)}"
            )
        model = build_for_weights(weights)
        fit_weights(model, weights)
        if weights.choice:
            log.info("%s: %s", path, weights.choice)
        class_names = recorded_class_names(weights, model.num_classes)
        del weights  # as large as the model
        ready = prepare_for_inference(model) if fold else model
        give_back_freed()
        return cls(
            ready,
            protocol.with_views(num_clips, num_crops),
            class_names or stand_ins(model.num_classes),
            batch_size=batch_size,
            task=task,
            calibration=Calibration.from_metadata(metadata, path),
            device=device,
            precision=precision,
        )

    def __repr__(self) -> str:
        views = f"{self.protocol.num_views} views of {self.protocol.sampling.num_frames} frames"
        seen = (
            views if self.medium is VIDEO else f"images of {self.protocol.views.crop_size} pixels"
        )
        return (
            f"<Predictor: {name_of(self.model)}, {len(self.class_names)} classes, {seen}, "
            f"{self.device}>"
        )

    @property
    def medium(self) -> Medium:
        """What it takes: videos or images."""
        return MEDIA[self.protocol.medium]

    def __call__(
        self,
        video: Video,
        fps: float | None = None,
        start: float = 0.0,
        end: float | None = None,
    ) -> Prediction:
        """What the model says about a video, or a picture where it is of images; a task from outside may give
        an object of its own kind.

        Args:
            video: the path of a file or a folder of frames, bytes of a file, an open binary file, or frames,
                uint8 `[T, H, W, 3]` RGB; of an image a path, bytes, an open file or uint8 `[H, W, 3]`.
            fps: how many frames of an array are shown in a second, for protocols and segments that ask.
            start, end: the segment that counts, in seconds; None = to the end.

        Raises `DecodeError` when it cannot be decoded, or is a picture where videos are taken, or the other
        way round.
        """
        source = find_source(video, self.medium, self.protocol.decoder, fps)
        parts = range(self.reader.num_parts)
        with source.open() as opened:
            logits = [
                self.view_logits(self.reader.part(opened, source.name, part, start, end))
                for part in parts
            ]
        give_back_freed()
        return self.answer(source.name, np.concatenate(logits))

    def predict_many(
        self, videos: Iterable[Video], workers: int = 0
    ) -> Iterator[Prediction | FailedPrediction]:
        """The predictions for many videos, in their order, as they come; batches go over several videos.

        Args:
            videos: each as a call takes it; frames with their rate as `(frames, fps)`. Taken one by one, a
                few ahead of what is returned.
            workers: threads that decode ahead; 0 = videos are decoded between the passes of the model.

        One that cannot be decoded gives a `FailedPrediction`, which is false, and the others go on.
        """
        if workers < 0:
            raise ConfigError(f"workers is {workers}; it must be 0 or more threads")
        parts = ReadAhead(videos, self.reader, self.medium, self.protocol.decoder, workers)
        batched = BatchedLogits(self.view_logits, self.batch_size, self.reader.num_parts)
        for index, found in batched(parts):
            yield self._outcome(parts.names.pop(index), found)

    def predict_records(
        self,
        records: Sequence[VideoRecord],
        workers: int = -1,
        faults: Mapping[str, str] | None = None,
        timeout: float = HANGING_SECONDS,
    ) -> Iterator[Prediction | FailedPrediction]:
        """The predictions for the videos of lists, in their order, decoded by worker processes.

        Args:
            records: whose segments count, and whose labels do not.
            workers: processes; -1 = one a core, 0 = none.
            faults: {path: reason} of videos that are not tried.
            timeout: seconds after which a video that hangs is a failure, as one that crashes its worker.
        """
        known = dict(faults or {})
        for record in records:
            try:
                check_medium(record.path, self.medium)
            except DecodeError as error:
                known[record.path] = str(error)
        dataset = PartDataset(records, self.reader, self.protocol.decoder, known)
        count = min(resolve_workers(workers), len(records) if len(records) > 1 else 0)
        loader = WatchedLoader(
            dataset, [[key] for key in dataset.parts()], _only, count, timeout, persistent=False
        )
        batched = BatchedLogits(self.view_logits, self.batch_size, self.reader.num_parts)
        for index, found in batched(loader):
            yield self._outcome(records[index].path, found)

    @torch.inference_mode()
    def view_logits(self, views: torch.Tensor) -> np.ndarray:
        """What the model says of prepared views, float32 `[view, 3, T, H, W]`, or whole frames uint8: logits
        float32 `[view, K]`.
        """
        logits = []
        for part in views.split(self.batch_size):
            logits.append(self._compute(part))
        give_back_freed()
        return torch.cat(logits).numpy()

    def _compute(self, views: torch.Tensor) -> torch.Tensor:
        # graphs are of the model that they were asked for: a copy of this predictor may have another
        if self._graphed is not None and self._graphed_model is self.model:
            return self._graphed(views)
        return self._forward(views.to(self.device)).float().cpu()

    def _forward(self, views: torch.Tensor) -> torch.Tensor:
        with self.autocast():
            return self.model(views)

    def answer(self, path: str, scores: np.ndarray) -> Prediction:
        """The prediction for one video from the logits of all its views, `[view, K]`."""
        if self.applied:
            scores = scores.astype(np.float64) / self.applied.temperature
        found = self.task.predict(path, scores, self.protocol.score, self.class_names)
        if self.applied and self.applied.threshold is not None and isinstance(found, Prediction):
            return replace(found, threshold=self.applied.threshold)
        return cast(Prediction, found)  # as all tasks here give; one from outside knows better

    def _outcome(self, name: str, found: np.ndarray | str) -> Prediction | FailedPrediction:
        return FailedPrediction(name, found) if isinstance(found, str) else self.answer(name, found)


def _only(samples: list[PartSample]) -> PartSample:
    (sample,) = samples
    return sample


def _with_metadata(weights: Weights) -> Weights:
    """Weights that were published under the name of their file with all that is known of them; else as is."""
    entry = None if weights.metadata else published_by_name(weights.path)
    if entry is None:
        return weights
    if doubt := entry.doubt(weights.path):
        log.warning("%s: %s.", weights.path, doubt)
    model, metadata, _ = complete(weights, entry)
    return replace(weights, state=model.state_dict(), metadata=metadata)
