"""Clips, settings and windows for tests of augmentation."""

import numpy as np

from uniformer_video.data.clips.augment import OPS
from uniformer_video.data.clips.pixels import Window
from uniformer_video.data.clips.train_views import TrainAugmentation

POLICY = "rand-m7-n4-mstd0.5-inc1"


def rng(seed=0):
    return np.random.default_rng(seed)


def augmentation(*arguments, **options):
    """A `TrainAugmentation` with a resized crop, unless the options say otherwise."""
    crop = {"area": (0.08, 1.0), "ratio": (0.75, 1.3333), "scales": (256, 320)}
    return TrainAugmentation(*arguments, **{**crop, **options})


def textured(frames=2, height=48, width=64, seed=0):
    """Smooth shapes, hard edges and noise, another picture and range of levels in each frame."""
    generator = rng(seed)
    coarse = generator.uniform(0, 255, (frames, height // 8 + 1, width // 8 + 1, 3))
    picture = np.kron(coarse, np.ones((1, 8, 8, 1)))[:, :height, :width]
    picture[:, :, width // 2 :] = (picture + np.roll(picture, 4, 2))[:, :, width // 2 :] / 2
    picture += generator.normal(0, 8, picture.shape)
    contrast = np.linspace(1, 0.4, frames)[:, None, None, None]
    return np.clip(picture * contrast, 0, 255).astype(np.uint8)


def settings(name, count=12, seed=1):
    """Settings of random magnitudes and signs, with and without `inc1`, and of the ends."""
    generator = rng(seed)
    magnitudes = [0.0, 10.0, *generator.uniform(0, 10, count)]
    signs = generator.choice([-1, 1], len(magnitudes)).tolist()
    return [
        OPS[name].level(magnitude, sign, bool(index % 2))
        for index, (magnitude, sign) in enumerate(zip(magnitudes, signs, strict=True))
    ]


def window_of(size, generator):
    top, left = (int(generator.integers(side - 4)) for side in size)
    return Window.between(
        top,
        left,
        int(generator.integers(top, size[0])),
        int(generator.integers(left, size[1])),
        size,
    )
