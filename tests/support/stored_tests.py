"""Folders of finished tests, made from answers without a model."""

import numpy as np
from pages import MODEL, PROTOCOL

from uniformer_video.config.recorded import config_text
from uniformer_video.config.settings import load_config
from uniformer_video.evaluation.results import build_results, save_results
from uniformer_video.tasks.single_label import SingleLabel

CLASSES = ("jump", "run", "walk", "wave")


def settings(**changes):
    """The settings of a run as its record holds them; `SOLVER__BASE_LR=1e-3` stands for SOLVER.BASE_LR."""
    values = {key.replace("__", "."): str(value) for key, value in changes.items()}
    return config_text(load_config(overrides=[part for pair in values.items() for part in pair]))


def answers(labels, num_classes, seed, skill=1.5, num_views=4):
    """Logits float32 `[video, view, class]`, which mean the true class the more often the greater the skill.

    labels: class indices, or tuples of them.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), num_views, num_classes))
    for place, label in enumerate(labels):
        logits[place, :, list(np.atleast_1d(label))] += skill + rng.normal()
    return logits.astype(np.float32)


def store_test(folder, logits, labels, task=None, protocol=PROTOCOL, **changes):
    """Write a test's results.json and scores.npz; `changes` are arguments of `build_results`. The folder."""
    task = task or SingleLabel()
    names = changes.pop("names", [f"test/{place}.mp4" for place in range(len(labels))])
    results = build_results(
        task=task,
        title=changes.pop("title", "my recipe"),
        names=names,
        paths=changes.pop("paths", [f"/data/{name}" for name in names]),
        labels=labels,
        view_scores=logits,
        class_names=changes.pop("class_names", CLASSES[: logits.shape[2]]),
        protocol=protocol,
        model=changes.pop("model", {**MODEL, "gflops_view": 2.0}),
        **changes,
    )
    logits = logits.copy()
    logits[list(changes.get("failures") or {})] = np.nan
    save_results(folder, results, logits, task)
    return folder
