"""Classify videos with a checkpoint that carries everything: model, sampling, pixels, class names."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.folders import list_videos
from uniformer_video.data.loading.dataset import decode_test_clips
from uniformer_video.data.protocol import recorded_protocol
from uniformer_video.errors import CheckpointError, DataError
from uniformer_video.evaluation.metrics import as_probabilities, mean_over_views
from uniformer_video.training.precision import autocast_for, choose_precision
from uniformer_video.weights.checkpoint import fit_weights, read_weights
from uniformer_video.zoo.create import build_for_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """Probabilities of all classes for one video, float `[K]`, in the order of `class_names`.

    They add up to 1; with `multi_label` each stands by itself, and several classes, or none, may be
    true of the video.
    """

    path: str
    probabilities: np.ndarray
    class_names: tuple
    multi_label: bool = False

    def top(self, count=5):
        """The `count` most probable classes: [(name, probability), ...], best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[i], float(self.probabilities[i])) for i in order]

    def above(self, threshold=0.5):
        """The classes of at least this probability: [(name, probability), ...], best first."""
        return self.top(int((self.probabilities >= threshold).sum()))


class Predictor:
    """A model with its preprocessing: `predictor("my_video.mp4").top(5)`.

    Args:
        model: maps `[B, 3, T, H, W]` to logits `[B, K]`.
        protocol: the `Protocol` by which videos become views, and views one score. Its precision is
            used as in a test; "fp16", which a CPU does not compute in, becomes "fp32" there.
        class_names: in index order.
        batch_size: views of a forward pass.
        multi_label: the model was trained for videos with several labels, or none.
    """

    def __init__(
        self,
        model,
        protocol,
        class_names,
        batch_size=16,
        multi_label=False,
    ):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.eval().to(self.device)
        self.protocol, self.class_names = protocol, tuple(class_names)
        self.batch_size, self.multi_label = batch_size, multi_label
        self._autocast = autocast_for(_precision(protocol.precision, self.device), self.device)

    @classmethod
    def from_checkpoint(cls, path, num_clips=None, num_crops=None):
        """A predictor from a checkpoint of this toolkit, with its own test views unless given."""
        weights = read_weights(path)
        metadata = weights.metadata
        protocol = recorded_protocol(metadata, str(path))
        if protocol is None:
            raise CheckpointError(
                f"{path} does not record how videos are prepared for it (frames, stride, size); convert "
                f"it: python tools/convert_checkpoint.py {path} --out NEW.pt, with --published NAME or "
                "--cfg CONFIG where the file does not tell"
            )
        model = build_for_weights(weights)
        fit_weights(model, weights)
        return cls(
            model,
            protocol.with_views(num_clips, num_crops),
            metadata.get("class_names") or stand_ins(model.num_classes),
            multi_label=metadata.get("multi_label", False),
        )

    @torch.inference_mode()
    def __call__(self, path):
        """The `Prediction` for a video file. Raises `DecodeError` when it cannot be decoded."""
        protocol = self.protocol
        clips = decode_test_clips(
            path,
            protocol.sampling,
            protocol.num_clips,
            decode_short_side=protocol.decode_short_side,
        )
        logits = []
        for views in protocol.views(clips).split(self.batch_size):
            with self._autocast():
                logits.append(self.model(views.to(self.device)).float().cpu())
        scores = mean_over_views(torch.cat(logits).numpy(), protocol.score)
        probabilities = as_probabilities(scores, protocol.score, self.multi_label)
        return Prediction(str(path), probabilities, self.class_names, self.multi_label)


def _precision(name, device):
    """The precision of the test, or the nearest that the device computes in."""
    if name == "fp16" and device.type != "cuda":
        log.warning("The test used fp16, which needs a CUDA device; predicting in fp32.")
        return "fp32"
    return choose_precision(name, device)


def videos_at(path):
    """The video files that `path` names: itself, or all of a folder and below, sorted."""
    if "://" in str(path) or not str(path):
        raise DataError(f"{str(path)!r} is not a file or a folder here; download the video first")
    path = Path(path)
    return [path / video for video in list_videos(path)] if path.is_dir() else [path]
