"""Classify videos with a checkpoint that carries everything: model, sampling, pixels, class names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.folders import list_videos
from uniformer_video.data.loading.dataset import decode_test_clips
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import CheckpointError, DataError
from uniformer_video.evaluation.metrics import as_probabilities, mean_over_views
from uniformer_video.weights.checkpoint import fit_weights, read_weights
from uniformer_video.zoo.create import build_for_weights


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
        sampling: a `ClipSampling`. views: a `EvalViews`. num_clips: clips of a video.
        score: "logits" (mean of the views' logits, then probabilities), or "softmax" or, with
            `multi_label`, "sigmoid" (mean probability).
        class_names: in index order.
        batch_size: views of a forward pass.
        multi_label: the model was trained for videos with several labels, or none.
        decode_short_side: larger videos are scaled down to it in decoding; 0 = as they are.
    """

    def __init__(
        self,
        model,
        sampling,
        views,
        num_clips,
        class_names,
        score="logits",
        batch_size=16,
        multi_label=False,
        decode_short_side=0,
    ):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.eval().to(self.device)
        self.sampling, self.views, self.num_clips = sampling, views, num_clips
        self.class_names, self.score, self.batch_size = tuple(class_names), score, batch_size
        self.multi_label, self.decode_short_side = multi_label, decode_short_side

    @classmethod
    def from_checkpoint(cls, path, num_clips=None, num_crops=None):
        """A predictor from a checkpoint of this toolkit, with its own test views unless given."""
        weights = read_weights(path)
        metadata = weights.metadata
        if "input" not in metadata:
            raise CheckpointError(
                f"{path} does not record how videos are prepared for it (frames, stride, size); convert "
                f"it: python tools/convert_checkpoint.py {path} --out NEW.pt, with --published NAME or "
                "--cfg CONFIG where the file does not tell"
            )
        model = build_for_weights(weights)
        fit_weights(model, weights)
        pixels, test = metadata["input"], metadata["test"]
        normalise = Normalisation(
            tuple(pixels["mean"]), tuple(pixels["std"]), pixels["channel_order"]
        )
        crops = num_crops or test["num_crops"]
        views = EvalViews(pixels["short_side"], pixels["crop_size"], crops, normalise)
        sampling = ClipSampling(
            pixels["num_frames"],
            pixels["frame_stride"],
            pixels["rule"],
            pixels["offset"],
            pixels.get("target_fps", 0.0),
        )
        clips = num_clips or test["num_clips"]
        names = metadata.get("class_names") or stand_ins(model.num_classes)
        return cls(
            model,
            sampling,
            views,
            clips,
            names,
            test["score"],
            multi_label=metadata.get("multi_label", False),
            decode_short_side=pixels.get("decode_short_side", 0),
        )

    @torch.inference_mode()
    def __call__(self, path):
        """The `Prediction` for a video file. Raises `DecodeError` when it cannot be decoded."""
        short_side = self.decode_short_side
        clips = decode_test_clips(path, self.sampling, self.num_clips, short_side=short_side)
        views = self.views(clips)
        parts = [
            self.model(part.to(self.device)).float().cpu() for part in views.split(self.batch_size)
        ]
        scores = mean_over_views(torch.cat(parts).numpy(), self.score)
        probabilities = as_probabilities(scores, self.score, self.multi_label)
        return Prediction(str(path), probabilities, self.class_names, self.multi_label)


def videos_at(path):
    """The video files that `path` names: itself, or all of a folder and below, sorted."""
    if "://" in str(path) or not str(path):
        raise DataError(f"{str(path)!r} is not a file or a folder here; download the video first")
    path = Path(path)
    return [path / video for video in list_videos(path)] if path.is_dir() else [path]
