"""A task from outside the package, with labels that are maps, through training, test, page and prediction."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uniformer_video.config.settings import load_config
from uniformer_video.errors import DataError
from uniformer_video.evaluation.parts import Figure, counts, number, proportion
from uniformer_video.inference.predictor import Predictor
from uniformer_video.runs.run import run
from uniformer_video.tasks import registry
from uniformer_video.tasks.registry import load_tested, register_task
from uniformer_video.tasks.task import Task
from uniformer_video.weights.checkpoint import read_weights

CELLS = 4  # of a label's map: two by two, each of the video's class

PAGE = """{% extends "report.html.j2" %}
{% block tiles %}<p>Cells right: {{ summary.cells.value | percent }}, the best {{ best }}</p>{% endblock %}
{% block failed %}With them: nothing.{% endblock %}
{% block failed_labels %}map of {{ failure.map }}{% endblock %}
"""


class Said:
    """A prediction of another kind than probabilities."""

    def __init__(self, name):
        self.name = name

    def lines(self, count):
        return [f"every cell is {self.name}"]

    def to_dict(self, count):
        return {"cells": [self.name] * CELLS}


@pytest.fixture
def cells(monkeypatch, tmp_path):
    """The task, registered for this test."""
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    (tmp_path / "cells.html.j2").write_text(PAGE)

    @register_task
    class Cells(Task):
        name = "cells"
        figures = (
            Figure("cell_share", "cells", "Cells right"),
            Figure("whole", "whole", "Whole maps right"),
        )
        hits_key, score_key, headline = "cell_share", "whole", "cells"
        result_keys = ("maps",)
        template = tmp_path / "cells.html.j2"
        prediction_note = "Cells are told, not videos."

        def check_records(self, records, num_classes):
            if any(len(record.labels) != 1 for record in records):
                raise DataError("a map has one class")

        def label_of(self, record):
            return record.label

        def label_tensor(self, labels, num_classes):
            return torch.tensor([own for (own,) in labels])[:, None, None].expand(-1, 2, 2)

        def targets(self, labels):
            return F.one_hot(labels, self.num_classes).permute(0, 3, 1, 2).float()

        def loss(self, logits, targets):
            assert targets.shape[1:] == (self.num_classes, 2, 2)
            return F.cross_entropy(logits[:, :, None, None].expand_as(targets), targets)

        def hits(self, logits, targets):
            right = (logits.argmax(1)[:, None, None] == targets.argmax(1)).sum()
            return right, torch.full_like(right, targets[:, 0].numel())

        def validate(self, scores, records):
            right = scores.argmax(1) == [record.label for record in records]
            return float(right.mean()), 0.25

        def predict(self, path, logits, score, class_names):
            return Said(class_names[int(self.video_scores(logits, score).argmax())])

        def label_entry(self, label):
            return {"map": int(label)}

        def results(self, entries, labels, scores, decoded, class_names, score):
            right = (scores.argmax(1) == labels)[decoded]
            summary = {
                **counts(decoded),
                "cells": proportion(CELLS * right.sum(), CELLS * len(right)),
            }
            videos = [
                {**entry, "best": number(row.max())}
                for entry, row in zip(entries, scores, strict=True)
            ]
            return {"summary": summary, "maps": [[2, 2]] * len(labels), "videos": videos}

        def saved_labels(self, videos, num_classes):
            return np.array([np.full((2, 2), video["map"]) for video in videos])

        def summary_lines(self, results):
            return [f"{results['summary']['cells']['correct']} cells are right"]

        def page(self, results, strips):
            return {"best": max(video["best"] or 0 for video in results["videos"])}

    return Cells


def test_a_run_of_a_task_from_outside(cells, tiny, tmp_path, demo, caplog, call):
    """Training with mixup and repeated augmentation, validation, test, page, prediction; no other word."""
    caplog.set_level("INFO")
    (tmp_path / "broken.mp4").write_bytes(b"x")
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        rows = [f"{demo}/{split}/{i:05d}.mp4,{i % 8}" for i in range(count)]
        rows += [f"{tmp_path}/broken.mp4,5"] if split == "test" else []
        (tmp_path / f"{split}.csv").write_text("\n".join(rows))
    settings = {"TRAIN__TASK": "cells", "DATA__PATH_TO_DATA_DIR": tmp_path, "AUG__NUM_SAMPLE": 2}
    folder = run(load_config(overrides=tiny(**settings, DATA_LOADER__NUM_WORKERS=1)), "tiny")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"cell_share"} == {key for line in lines for key in line} & {"cell_share", "top1", "map"}
    trained = [line["cell_share"] for line in lines if line["kind"] == "train"]
    assert len(trained) == 8 and all(0 <= share <= 1 for share in trained)
    assert all((8 * share).is_integer() for share in trained)  # eight clips a step, whole maps
    scores = [line["whole"] for line in lines if line["kind"] == "val"]
    best = read_weights(folder / "best.pt")
    assert best.metadata["task"] == "cells" and best.metadata["training"]["score"] == max(scores)

    results, task = load_tested(folder)
    assert type(task) is cells and results["task"] == "cells"
    assert results["maps"] == [[2, 2]] * 9 and results["failures"][0]["map"] == 5
    assert not {"per_class", "confusion", "top1"} & (results.keys() | results["summary"].keys())
    with np.load(folder / "scores.npz") as arrays:
        assert arrays["labels"].shape == (9, 2, 2)
    page = (folder / "report.html").read_text()
    assert f"the best {task.page(results, None)['best']}" in page and "map of 5" in page
    assert "Whole maps right over epochs" in page and "Top-1" not in page
    text = caplog.text
    assert f"{results['summary']['cells']['correct']} cells are right" in text
    assert "validation whole" in text and "cells" in text and "top-1" not in text

    video = demo / "test" / "00000.mp4"
    said = Predictor.from_checkpoint(folder / "best.pt")(video)
    assert said.name in best.metadata["class_names"]
    _, out, told = call("predict", video, "--checkpoint", folder / "best.pt")
    assert out.splitlines()[1] == f"  every cell is {said.name}" and "Cells are told" in told
    _, out, _ = call("predict", video, "--checkpoint", folder / "best.pt", "--json")
    assert json.loads(out) == {"video": str(video), "task": "cells", "cells": [said.name] * CELLS}

    registry._TASKS.pop("cells")
    with pytest.raises(DataError, match=r"results\.json is of the task 'cells'"):
        load_tested(folder)
