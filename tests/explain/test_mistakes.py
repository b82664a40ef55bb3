"""`report --explain`: the heat of the mistakes that are surest, and what has none."""

import re

import numpy as np
import pytest
import torch
from pages import MODEL
from stored_tests import store_test

from uniformer_video.cli import main
from uniformer_video.inference.predictor import Predictor
from uniformer_video.weights.checkpoint import file_sha256

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


@pytest.fixture
def tested(checkpoint, make_video, tmp_path):
    """A function: a test of four videos, of which the first three got wrong answers, 0 the surest."""

    def store(labels=(0, 0, 0, 0), **model):
        video = make_video()
        logits = np.zeros((4, 2, 3), np.float32)
        logits[:3, :, 1] = np.array([3, 2, 1])[:, None]
        logits[3, :, 0] = 5
        facts = {"checkpoint": str(checkpoint), "checkpoint_sha256": file_sha256(checkpoint)}
        return store_test(
            tmp_path / "run",
            logits,
            labels,
            class_names=("sit", "run", "eat"),
            paths=[str(video), str(tmp_path / "gone.mp4"), str(video), str(video)],
            protocol=Predictor.from_checkpoint(checkpoint).protocol.with_views(2, 1),
            model={**MODEL, "gflops_view": 2.0, **facts, **model},
        )

    return store


def test_the_surest_mistakes_are_shown_with_their_heat(tested, capsys):
    folder = tested()
    assert main(["report", str(folder), "--explain", "2"]) == 0
    page = (folder / "report.html").read_text("utf-8")
    section = page.partition('<section id="heat">')[2].partition("</section>")[0]
    assert re.findall(r"title=\"[^\"]*\">(.+?)</p>", section) == ["test/0.mp4"]
    assert section.count("data:image/jpeg;base64,") == 1
    assert "test/1.mp4" in section and "does not exist" in section
    told = capsys.readouterr().err
    assert "No heat of test/1.mp4: " in told and "Of 2 mistakes 1 are shown." in told
    assert main(["report", str(folder)]) == 0  # it is shown on request
    assert 'id="heat"' not in (folder / "report.html").read_text("utf-8")


def test_a_mistake_that_nothing_speaks_for_says_so(tested, monkeypatch):
    folder = tested()
    monkeypatch.setattr(
        "uniformer_video.explain.explainer.gradcam", lambda *_: torch.zeros(2, 4, 4)
    )
    assert main(["report", str(folder), "--explain", "1"]) == 0
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("No part of the centre clip speaks for it.") == 1


def test_a_section_without_a_picture_counts_no_more_of_them(tested, tmp_path):
    folder = tested()
    (tmp_path / "run" / "results.json").write_text(
        re.sub(r'"path": "[^"]*"', '"path": "/gone.mp4"', (folder / "results.json").read_text())
    )
    assert main(["report", str(folder), "--explain", "2"]) == 0
    page = (folder / "report.html").read_text("utf-8")
    assert "<li>2 have no heat" in page


@pytest.mark.parametrize(
    "model, words, told",
    [
        ({"checkpoint_sha256": "0" * 64}, [], "holds other weights by now"),
        ({"checkpoint": "/nowhere/last.pt"}, [], "there is no /nowhere/last.pt any more"),
        ({"checkpoint": ""}, [], "it names no checkpoint"),
        ({}, ["--explain", "0"], "--explain is 0; it is 1 to 48 mistakes"),
        ({}, ["--markdown"], "--markdown writes no page"),
    ],
)
def test_what_cannot_be_explained_is_said(tested, capsys, model, words, told):
    folder = tested(**model)
    assert main(["report", str(folder), "--explain", "2", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_test_without_mistakes_has_nothing_to_explain(tested, capsys):
    folder = tested(labels=(1, 1, 1, 0))
    assert main(["report", str(folder), "--explain", "2"]) == 0
    assert "has no wrong answers" in capsys.readouterr().err
    assert 'id="heat"' not in (folder / "report.html").read_text("utf-8")
