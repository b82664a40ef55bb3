"""A test of semantic segmentation, made from generated masks without a model."""

from pathlib import Path

import numpy as np
from pages import MODEL, PROTOCOL

import uniformer_video.tasks
from uniformer_video.evaluation.areas import segmentation_results
from uniformer_video.evaluation.metrics import confusion_matrix
from uniformer_video.evaluation.parts import Figure
from uniformer_video.evaluation.pixel_strips import pixel_strip
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.segmentation import segmentation_page

IGNORED = 255


class PageOnly:
    """What `write_report` asks of a task."""

    figures = (
        Figure("pixel_accuracy", "pixel accuracy", "Pixel accuracy"),
        Figure("miou", "mIoU", "Mean IoU"),
    )
    template = Path(uniformer_video.tasks.__file__).with_name("segmentation.html.j2")

    def mistakes(self, results):
        return []

    def page(self, results, strips):
        return segmentation_page(results, strips)


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
    """(entries, areas `[N, 3, K]`, confusion `[K, K]`, decoded `[N]`, strips, masks of truth, predictions)."""
    rng, num_classes = np.random.default_rng(seed), len(names)
    areas = np.zeros((count, 3, num_classes), np.int64)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    entries, strips, truths, predictions = [], {}, [], []
    for place in range(count):
        size = (90, 130) if place % 3 else (120, 80)
        picture, truth, predicted = scene(rng, num_classes, size, rng.random())
        truths.append(truth)
        predictions.append(predicted)
        name = f"val/picture number {place:04d}.jpg"
        entries.append({"name": name, "path": f"/data/{name}", "mask": f"/data/masks/{place:04d}.png",
                        "prediction": f"predictions/{place:04d}.png"})  # fmt: skip
        if place in failed:
            continue
        judged = truth != IGNORED
        own = confusion_matrix(truth[judged], predicted[judged], num_classes)
        areas[place] = own.diagonal(), own.sum(axis=0), own.sum(axis=1)
        confusion += own
        strips[place] = pixel_strip(picture, truth, predicted)
    decoded = np.isin(np.arange(count), failed, invert=True)
    return entries, areas, confusion, decoded, Strips.of(strips, count), truths, predictions


def segmentation_record(count, names, seed=0, failed=(), **changes):
    """A whole record as a test of segmentation writes it, and the strips beside it."""
    entries, areas, confusion, decoded, strips, *_ = segmented(count, names, seed, failed)
    found = segmentation_results(entries, areas, confusion, decoded, names)
    failures = [
        {**entries[i], "reason": f"{entries[i]['mask']} is 90 x 80, its picture 80 x 120"}
        for i in failed
    ]
    return {
        "schema_version": 2,
        "task": "segmentation",
        "created": "2026-11-27T06:00:00+00:00",
        "title": "fpn_s",
        "protocol": {**PROTOCOL.to_dict(), "medium": "image"},
        "playback": "forward",
        "videos_sha256": "",
        "class_names": list(names),
        **found,
        "failures": failures,
        "motion": None,
        "analyses": {},
        "model": MODEL,
        "cost": None,
        "training": None,
        "notes": [],
        "seconds": 12.5,
        "settings": "TRAIN:\n  TASK: segmentation\n",
        "versions": {"torch": "2.13.0"},
        "data": {"name": "shapes", "format": "masks", "split": "test", "license": "CC BY 4.0"},
        "changed_settings": None,
        "differs": [],
        "among_classes": None,
        **changes,
    }, strips
