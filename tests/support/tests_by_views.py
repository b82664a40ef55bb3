"""Records of tests whose views differ."""

import numpy as np
from pages import MODEL

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.evaluation.results import build_results
from uniformer_video.tasks.single_label import SingleLabel

COST = {
    "device": "a device",
    "threads": 1,
    "processes": 1,
    "workers": 2,
    "batch_size": 8,
    "videos": 60,
    "decode_seconds": 0.5,
    "crop_seconds": 0.24,
    "views": 720,
    "model_seconds": 0.01,
}


def protocol_of(clips, crops, score="logits", short_side=256):
    return Protocol(
        ClipSampling(8, 2), EvalViews(short_side, 224, crops), clips, score, precision="fp32"
    )


def record(logits, labels, score="logits", task=None, **changes):
    """The record of a test by logits `[N, clip, crop, K]`."""
    videos, clips, crops, classes = logits.shape
    arguments = {
        "task": task or SingleLabel(),
        "title": "run",
        "names": [f"{i}.mp4" for i in range(videos)],
        "paths": [f"/data/{i}.mp4" for i in range(videos)],
        "labels": labels,
        "view_scores": logits.reshape(videos, clips * crops, classes),
        "class_names": [f"class {i}" for i in range(classes)],
        "protocol": protocol_of(clips, crops, score),
        "model": {**MODEL, "gflops_view": 2.0},
        "cost": COST,
    }
    return build_results(**{**arguments, **changes})


def noisy(videos=60, clips=4, crops=3, classes=5, skill=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, videos)
    logits = rng.normal(size=(videos, clips, crops, classes))
    logits[np.arange(videos), :, :, labels] += skill
    return logits.astype(np.float32), labels
