"""Classify videos with a checkpoint that carries everything: model, sampling, pixels, class names."""

from pathlib import Path

import torch

from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.records import VIDEO_SUFFIXES
from uniformer_video.data.loading.dataset import decode_test_clips
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import CheckpointError, DataError
from uniformer_video.tasks.registry import recorded_task
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.weights.checkpoint import fit_weights, read_weights
from uniformer_video.zoo.create import build_for_weights


class Predictor:
    """A model with its preprocessing: `predictor("my_video.mp4").top(5)`.

    Args:
        model: maps `[B, 3, T, H, W]` to logits `[B, K]`.
        sampling: a `ClipSampling`. views: a `EvalViews`. num_clips: clips of a video.
        score: what is averaged over the views, of the task's `view_scores`: "logits" (their mean, then
            probabilities), or for the mean probability "softmax" or "sigmoid".
        class_names: in index order.
        batch_size: views of a forward pass.
        task: the `Task` that the model was trained for; None = one label a video.
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
        task=None,
        decode_short_side=0,
    ):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.eval().to(self.device)
        self.sampling, self.views, self.num_clips = sampling, views, num_clips
        self.class_names, self.score, self.batch_size = tuple(class_names), score, batch_size
        self.task, self.decode_short_side = task or SingleLabel(), decode_short_side

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
            task=recorded_task(metadata, path),
            decode_short_side=pixels.get("decode_short_side", 0),
        )

    @torch.inference_mode()
    def __call__(self, path):
        """The task's prediction for a video file, such as `tasks.prediction.Prediction`.

        Raises `DecodeError` when it cannot be decoded.
        """
        short_side = self.decode_short_side
        clips = decode_test_clips(path, self.sampling, self.num_clips, short_side=short_side)
        views = self.views(clips)
        parts = [
            self.model(part.to(self.device)).float().cpu() for part in views.split(self.batch_size)
        ]
        return self.task.predict(str(path), torch.cat(parts).numpy(), self.score, self.class_names)


def find_videos(path):
    """The video files that `path` names: itself, or all below a folder, sorted."""
    if "://" in str(path) or not str(path):
        raise DataError(f"{str(path)!r} is not a file or a folder here; download the video first")
    path = Path(path)
    if not path.is_dir():
        return [path]
    videos = sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise DataError(f"{path} holds no videos ({', '.join(VIDEO_SUFFIXES[:4])}, ...)")
    return videos
