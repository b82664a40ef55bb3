"""Classify videos with a checkpoint that carries everything: model, sampling, pixels, class names."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from uniformer_video.config.recorded import check_recorded_settings
from uniformer_video.data.decoding import names_frames
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.folders import list_videos
from uniformer_video.data.lists.media import MEDIA, VIDEO, Medium
from uniformer_video.data.lists.records import VideoRecord, read_csv
from uniformer_video.data.lists.text import read_lines
from uniformer_video.data.loading.dataset import decode_test_clips
from uniformer_video.data.protocol import Protocol, recorded_protocol
from uniformer_video.errors import CheckpointError, DataError, DecodeError
from uniformer_video.evaluation.selection import entries_of
from uniformer_video.inference.calibrated import Calibration
from uniformer_video.plugins import import_installed
from uniformer_video.program import command
from uniformer_video.tasks.prediction import Prediction
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

log = logging.getLogger(__name__)


class Predictor:
    """A model with its preprocessing: `predictor("my_video.mp4").top(5)`.

    Args:
        model: maps `[B, 3, T, H, W]`, or of images `[B, 3, H, W]`, to logits `[B, K]`.
        protocol: the `Protocol` by which videos or images become views, and views one score. Its precision is
            used as in a test; "fp16", which a CPU does not compute in, becomes "fp32" there.
        class_names: in index order.
        batch_size: views of a forward pass.
        task: the `Task` that the model was trained for; None = one label a video.
        calibration: the `Calibration` of the model. It counts where `protocol`, with the precision that is
            used here, is its own, and `applied` is then that; else `applied` is None, and the log says why.
    """

    def __init__(
        self,
        model: nn.Module,
        protocol: Protocol,
        class_names: Iterable[str],
        batch_size: int = 16,
        task: Task | None = None,
        calibration: Calibration | None = None,
    ):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.eval().to(self.device)
        self.protocol, self.class_names = protocol, tuple(class_names)
        self.batch_size, self.task = batch_size, task or SingleLabel()
        precision = _precision(protocol.precision, self.device)
        self.autocast = autocast_for(precision, self.device)
        self.calibration = calibration
        self.applied = _applied(calibration, replace(protocol, precision=precision))

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, num_clips: int | None = None, num_crops: int | None = None
    ) -> "Predictor":
        """A predictor from a checkpoint of this toolkit, with its own test views unless given.

        path: a file, or an address or the name of published weights, which need no conversion under their
        own name.
        """
        import_installed()
        weights = _with_metadata(read_weights(local_file(path)))
        metadata = weights.metadata
        check_recorded_settings(metadata.get("config"), str(path))
        protocol = recorded_protocol(metadata, str(path))
        if protocol is None:
            what = name_architecture(weights.state)
            if what == DENSE:
                raise CheckpointError(
                    f"{path} holds the weights of {what}; prediction by these is not there yet, it takes "
                    "classifiers of videos or images"
                )
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
        return cls(
            model,
            protocol.with_views(num_clips, num_crops),
            recorded_class_names(weights, model.num_classes) or stand_ins(model.num_classes),
            task=task,
            calibration=Calibration.from_metadata(metadata, str(path)),
        )

    def __repr__(self) -> str:
        views = f"{self.protocol.num_views} views of {self.protocol.sampling.num_frames} frames"
        seen = (
            views if self.medium is VIDEO else f"images of {self.protocol.views.crop_size} pixels"
        )
        return (
            f"<Predictor: {type(self.model).__name__}, {len(self.class_names)} classes, {seen}, "
            f"{self.device}>"
        )

    @property
    def medium(self) -> Medium:
        """What it takes: videos or images."""
        return MEDIA[self.protocol.medium]

    @torch.inference_mode()
    def __call__(self, path: str | Path) -> Prediction:
        """What the model says about a video file, or a picture where it is of images; a task from outside may
        give an object of its own kind.

        Raises `DecodeError` when it cannot be decoded, or is a picture where videos are taken, or the other
        way round.
        """
        _check_medium(path, self.medium)
        protocol = self.protocol
        clips, _ = decode_test_clips(
            str(path),
            protocol.sampling,
            protocol.num_clips,
            backend=protocol.decoder,
            decode_short_side=protocol.decode_short_side,
        )
        return self.answer(str(path), self.view_logits(protocol.views(clips)))

    @torch.inference_mode()
    def view_logits(self, views: torch.Tensor) -> np.ndarray:
        """What the model says of prepared views, float32 `[view, 3, T, H, W]`: logits float32 `[view, K]`."""
        logits = []
        for part in views.split(self.batch_size):
            with self.autocast():
                logits.append(self.model(part.to(self.device)).float().cpu())
        return torch.cat(logits).numpy()

    def answer(self, path: str, scores: np.ndarray) -> Prediction:
        """The prediction for one video from the logits of all its views, `[view, K]`."""
        if self.applied:
            scores = scores.astype(np.float64) / self.applied.temperature
        found = self.task.predict(path, scores, self.protocol.score, self.class_names)
        if self.applied and self.applied.threshold is not None and isinstance(found, Prediction):
            return replace(found, threshold=self.applied.threshold)
        return cast(Prediction, found)  # as all tasks here give; one from outside knows better


def _applied(calibration: Calibration | None, protocol: Protocol) -> Calibration | None:
    """The calibration where it is for this very protocol, else None; the log says which, and why."""
    if calibration is None:
        return None
    if differences := calibration.differences(protocol):
        what = (
            "temperature is" if calibration.threshold is None else "temperature and threshold are"
        )
        log.warning(
            "The checkpoint's %s not applied, these scores are not calibrated: it was calibrated for another "
            "protocol (%s).",
            what,
            differences,
        )
        return None
    reject = ""
    if calibration.threshold is not None:
        reject = (
            f', and below a confidence of {calibration.threshold:.1%} the answer is "none of these"'
        )
    log.info("Scores are calibrated: temperature %.4g%s.", calibration.temperature, reject)
    return calibration


def _precision(name: str, device: torch.device) -> str:
    """The precision of the test, or the nearest that the device computes in."""
    if name == "fp16" and device.type != "cuda":
        log.warning("The test used fp16, which needs a CUDA device; predicting in fp32.")
        return "fp32"
    return choose_precision(name, device)


def _with_metadata(weights: Weights) -> Weights:
    """Weights that were published under the name of their file with all that is known of them; else as is."""
    entry = None if weights.metadata else published_by_name(weights.path)
    if entry is None:
        return weights
    if doubt := entry.doubt(weights.path):
        log.warning("%s: %s.", weights.path, doubt)
    model, metadata, _ = complete(weights, entry)
    return replace(weights, state=model.state_dict(), metadata=metadata)


def _check_medium(path: str | Path, medium: Medium) -> None:
    """Raise `DecodeError` for a file whose name is that of the other medium, and not of this one."""
    (other,) = (each for each in MEDIA.values() if each is not medium)
    of_frames = medium.of_frames and names_frames(str(path))
    if other.fits(path) and not (medium.fits(path) or of_frames):
        raise DecodeError(
            f"{path} is {other.one} by its name, and this model takes {medium.name}s "
            f"({medium.usual_suffixes}); take a model of {other.name}s"
        )


def videos_at(path: str | Path, medium: Medium = VIDEO) -> list[Path]:
    """The video files, or files of another `medium`, that `path` names: itself, all of a folder and below,
    sorted, or those of a list, `.csv` or `.txt`, in its order: a path a line, perhaps with a label behind, or
    a csv with a column `path`. Raises `DataError` for none.
    """
    if "://" in str(path) or not str(path):
        raise DataError(
            f"{str(path)!r} is not a file or a folder here; download the {medium.name} first"
        )
    path = Path(path)
    if path.is_dir():
        return [path / video for video in list_videos(path, medium)]
    return _listed(path, medium) if path.suffix.lower() in (".csv", ".txt") else [path]


def _listed(path: Path, medium: Medium) -> list[Path]:
    """The files that a list names, from its own folder on."""
    lines = [line for line in read_lines(path) if line.strip()]
    header = lines[0].lower().replace(" ", "").strip().split(",") if lines else []
    if "path" in header and {"start", "end"} & set(header):
        raise DataError(
            f"{path} lists segments of videos, and predictions are of whole files; leave the columns start "
            "and end out, or cut the videos"
        )
    files = []
    for entries in entries_of(lines):
        places = [path.parent / entry for entry in entries]
        files.append(next((place for place in places if place.exists()), places[0]))
    if not files:
        raise DataError(f"{path} lists no {medium.name}s; each line holds a path")
    return files


def records_at(videos: str | Path, medium: Medium = VIDEO) -> list[VideoRecord]:
    """The videos of a folder, without labels, or of a list (csv), with the segments that count."""
    if Path(videos).is_dir():
        return [VideoRecord(str(path), str(path), ()) for path in videos_at(videos, medium)]
    return read_csv(videos)
