"""A test of semantic segmentation, made from generated masks without a model."""

import numpy as np
from pages import MODEL

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.evaluation.class_colours import class_colours
from uniformer_video.evaluation.metrics import confusion_matrix
from uniformer_video.evaluation.pixel_scoring import PixelScores
from uniformer_video.evaluation.pixel_strips import pixel_strip
from uniformer_video.evaluation.strips import Strips
from uniformer_video.tasks.segmentation import Segmentation

IGNORED = 255
PROTOCOL = Protocol(
    ClipSampling(1, 1),
    PixelViews(512, 0, long_side=2048, align=32),
    medium="image",
    precision="fp32",
)


def scene(rng, num_classes, size, skill):
    """A picture of blobs of classes with their truth and a prediction: uint8 `[H, W, 3]`, `[H, W]`, `[H, W]`.

    skill: from 0 to 1; what is mistaken is mistaken in discs, for a neighbouring class.
    """
    height, width = np.mgrid[: size[0], : size[1]]
    truth = np.full(size, rng.integers(num_classes), np.uint8)
    for _ in range(6):
        y, x, radius = (
            rng.random() * size[0],
            rng.random() * size[1],
            (0.1 + 0.2 * rng.random()) * size[0],
        )
        truth[(height - y) ** 2 + (width - x) ** 2 < radius**2] = rng.integers(num_classes)
    predicted = np.roll(truth, (2, 3), axis=(0, 1))
    for _ in range(round(10 * (1 - skill))):
        y, x, radius = rng.random() * size[0], rng.random() * size[1], 0.15 * size[0]
        disc = (height - y) ** 2 + (width - x) ** 2 < radius**2
        predicted[disc] = (predicted[disc] + 1) % num_classes
    light = np.stack([truth * 37.0 % 200, truth * 91.0 % 200, truth * 53.0 % 200], -1)
    picture = (light + 40 * rng.random((*size, 1)) + 15).astype(np.uint8)
    truth[: size[0] // 12] = IGNORED
    return picture, truth, predicted


def segmented(count, names, seed=0, failed=()):
    """(`PixelScores` of a test, its masks of truth, and of predictions)."""
    rng, num_classes = np.random.default_rng(seed), len(names)
    scores = PixelScores(
        areas=np.zeros((count, 3, num_classes), np.int64),
        confusion=np.zeros((num_classes, num_classes), np.int64),
        losses=np.full(count, np.nan),
        predictions=[f"predictions/{place:04d}.png" for place in range(count)],
    )
    truths, predictions = [], []
    for place in range(count):
        size = (90, 130) if place % 3 else (120, 80)
        picture, truth, predicted = scene(rng, num_classes, size, rng.random())
        truths.append(truth)
        predictions.append(predicted)
        if place in failed:
            scores.failures[place] = f"/data/masks/{place:04d}.png is 90 x 80, its picture 80 x 120"
            continue
        judged = truth != IGNORED
        own = confusion_matrix(truth[judged], predicted[judged], num_classes)
        scores.areas[place] = own.diagonal(), own.sum(axis=0), own.sum(axis=1)
        scores.confusion += own
        scores.sizes[place] = size[::-1]
        scores.strips[place] = pixel_strip(picture, truth, predicted)
    return scores, truths, predictions


def segmentation_record(count, names, seed=0, failed=(), palette=None):
    """The record of such a test, and its small pictures."""
    scores, *_ = segmented(count, names, seed, failed)
    scores.colours = class_colours(names, palette)
    files = [f"val/picture number {place:04d}.jpg" for place in range(count)]
    record = scores.results(
        task=Segmentation(),
        names=files,
        paths=[f"/data/{name}" for name in files],
        labels=[f"/data/masks/{place:04d}.png" for place in range(count)],
        segments=[(0.0, None)] * count,
        sizes=scores.sizes,
        title="fpn_s",
        class_names=list(names),
        protocol=PROTOCOL,
        model=MODEL,
        failures=scores.failures,
        seconds=12.5,
        settings="TRAIN:\n  TASK: segmentation\n",
        versions={"torch": "2.13.0"},
        data={"name": "shapes", "format": "masks", "split": "test", "license": "CC BY 4.0"},
    )
    return record, Strips.of(scores.strips, count)
