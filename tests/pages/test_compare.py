"""The page of a comparison: it says what compare.json holds, and is safe to open anywhere."""

import json

import numpy as np
import pytest
from pages import Page, assert_self_contained
from stored_tests import answers, settings, store_test

from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages import plots
from uniformer_video.pages.compare import p_value, write_comparison
from uniformer_video.pages.report import MINUS
from uniformer_video.runs import compare as comparing
from uniformer_video.tasks.multi_label import MultiLabel

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("PIL.Image")
LABELS = [place % 4 for place in range(80)]
FRAME = "data:image/jpeg;base64,AAAA"


def written(folders, out, strip_of=lambda video: FRAME):
    """The record of a comparison, and its page."""
    record = json.loads(json.dumps(comparing.compare(folders)))
    out.mkdir(exist_ok=True)
    page = Page(write_comparison(out, record, strip_of).read_text("utf-8"))
    assert_self_contained(page, scripted=False)
    return record, page


def two(tmp_path, **changes):
    return [
        store_test(tmp_path / name, answers(LABELS, 4, seed, 1 + seed), LABELS, **changes)
        for seed, name in enumerate("ab")
    ]


def signed(value):
    return f"{100 * value:+.1f}".replace("-", MINUS)


def test_page_says_the_numbers(tmp_path):
    record, page = written(two(tmp_path), tmp_path / "out")
    (pair,), runs = record["pairs"], record["runs"]
    assert "b against a" in page.text and "the same 80 videos of 4 classes" in page.text
    for run in runs:
        share = run["figures"]["top1"]
        assert f"{100 * share['value']:.1f}% {share['correct']} of 80 videos" in page.text
    interval = f"{signed(pair['low'])} to {signed(pair['high'])}"
    assert (
        f"{100 * pair['difference']:.1f} points more top-1 than a (95% interval {interval})"
        in page.text
    )
    assert f"{signed(pair['difference'])} {interval} {pair['gained']} {pair['lost']}" in page.text
    assert p_value(pair["p"]) in page.text and "corrected" not in page.text
    (joint,) = record["ensembles"]
    share, logits = joint["figures"]["top1"], joint["figures_of_logits"]["top1"]
    assert f"to {share['high']:.1%} {logits['value']:.1%} " in page.text and "16" in page.text
    assert page.tags.count("svg") == 1
    for row in record["per_class"]:
        first, second = row["figures"]
        assert f"{row['name']} {first:.1%} {second:.1%} " in page.text


def test_videos_that_one_gets_are_shown_the_surest_first_and_counted(tmp_path):
    asked = []
    record, page = written(
        two(tmp_path), tmp_path / "out", lambda video: asked.append(video["path"]) or FRAME
    )
    pair = record["pairs"][0]
    assert pair["gained"] > 8 > pair["lost"] > 0
    assert f"b gets and a does not: {pair['gained']}, 8 shown" in page.text
    assert f"a gets and b does not: {pair['lost']} " in page.text
    gained = [video for video in record["disagreements"] if video["right"] == [False, True]]
    gained.sort(key=lambda video: -sum(answer["score"] for answer in video["answers"]))
    assert asked[:8] == [video["path"] for video in gained[:8]]
    assert len(asked) == 8 + pair["lost"]
    scores = np.load(tmp_path / "b" / "scores.npz")["scores"].mean(axis=1)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    place = int(gained[0]["name"].removeprefix("test/").removesuffix(".mp4"))
    assert gained[0]["answers"][1]["class"] == scores[place].argmax() == LABELS[place]
    assert gained[0]["answers"][1]["score"] == pytest.approx(chances[place].max(), abs=1e-6)


def test_frames_are_those_that_either_test_has_kept(tmp_path):
    folders = two(tmp_path)
    record = comparing.compare(folders)
    shown = min(8, record["pairs"][0]["gained"]) + min(8, record["pairs"][0]["lost"])
    page = comparing.write(record, tmp_path / "out").read_text("utf-8")
    assert page.count("The tests kept no frames of this video") == shown
    places = {place: b"jpeg %d" % place for place in range(80)}
    del places[int(record["disagreements"][0]["name"].removeprefix("test/").removesuffix(".mp4"))]
    Strips.of(places, 80).save(folders[1])
    page = comparing.write(record, tmp_path / "out").read_text("utf-8")
    assert page.count('src="data:image/jpeg') >= shown - 1
    assert page.count("The tests kept no frames of this video") <= 1


def test_seeds_are_shown_as_mean_and_spread(tmp_path):
    folders = [
        store_test(
            tmp_path / f"{name}{seed}",
            answers(LABELS, 4, 10 * place + seed),
            LABELS,
            settings=settings(SOLVER__BASE_LR=rate, RNG_SEED=seed),
            training={"seed": seed},
        )
        for place, (name, rate) in enumerate([("slow", 1e-4), ("fast", 1e-3)])
        for seed in range(2)
    ]
    record, page = written(folders, tmp_path / "out")
    assert "4 runs compared" in page.text and "mean of 2 seeds" in page.text
    for recipe in record["recipes"]:
        assert f"{recipe['mean']:.1%} ±{100 * recipe['deviation']:.1f}" in page.text
    assert "p is corrected for 3 comparisons (Holm)" in page.text
    assert "SOLVER.BASE_LR 0.0001 0.001" in page.text
    (pair,) = record["recipe_pairs"]
    interval = f"{signed(pair['low'])} to {signed(pair['high'])}"
    assert f"{signed(pair['difference'])} {interval}" in page.text


def test_several_labels(tmp_path):
    labels = [tuple({place % 4, place // 3 % 4}) if place % 10 else () for place in range(80)]
    folders = [
        store_test(tmp_path / name, answers(labels, 4, seed), labels, task=MultiLabel())
        for seed, name in enumerate("ab")
    ]
    record, page = written(folders, tmp_path / "out")
    pair = record["pairs"][0]
    assert "Mean average precision on the same" in page.text and "Top-1" not in page.text
    assert (
        signed(pair["difference"]) in page.text and signed(pair["hit1"]["difference"]) in page.text
    )
    assert "of hit@1," in page.text


def test_equal_runs_and_unknown_costs(tmp_path):
    logits = answers(LABELS, 4, 0)
    folders = [
        store_test(tmp_path / name, logits, LABELS, model={"name": None}) for name in ("a", "b")
    ]
    _, page = written(folders, tmp_path / "out")
    assert "b is as good as a" in page.text and "to the bit" in page.text
    assert "svg" not in page.tags and "What a, b costs is not known" in page.text
    assert "b gets and a does not: 0 " in page.text


def test_everything_is_escaped(tmp_path):
    evil = ["<script>alert(1)</script>", "a & b", "\"><img src=x onerror='alert(2)'>", "日本語"]
    names = [f"{evil[place % 4]}{place}.mp4" for place in range(80)]
    folders = two(
        tmp_path,
        names=names,
        class_names=evil,
        title=evil[0],
        model={"name": evil[2], "checkpoint": evil[0], "gflops_view": 1.0},
        failures={3: evil[0]},
    )
    _, page = written(folders, tmp_path / "out")
    source = (tmp_path / "out" / "compare.html").read_text("utf-8")
    assert "<script" not in source and "<img src=x" not in source and "a &amp; b" in source
    assert evil[3] in page.text


def test_p_values_in_words():
    assert [p_value(p) for p in (1.0, 0.1234, 0.04321, 0.00123, 0.00009)] == [
        "1",
        "0.12",
        "0.043",
        "0.0012",
        "< 0.0001",
    ]


def test_licence_of_the_frames_stands_below_them(tmp_path):
    data = {"name": "ssv2", "format": "csv", "split": "test", "license": "CC BY 4.0"}
    folders = two(tmp_path, data=data)
    assert "their licence: CC BY 4.0" in written(folders, tmp_path / "out")[1].text
    without_frames = written(folders, tmp_path / "out", lambda video: "")[1]
    assert "their licence" not in without_frames.text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("gflops", "scale"), [((0.0703, 0.00018), "log"), ((1.0, 1.3), "linear")])
def test_small_models_are_drawn_over_their_own_costs(monkeypatch, gflops, scale):
    """A curve over one epoch gets half an epoch on each side; costs that lie close together do not."""
    drawn = []
    monkeypatch.setattr(plots, "_drawn", lambda figure, _label: drawn.append(figure) or "")
    plots.cost_chart(
        [plots.CostPoint(each, 0.5, None, None, "a run", False) for each in gflops], "t"
    )
    axes = drawn[0].axes[0]
    assert axes.get_xscale() == scale
    low, high = axes.get_xlim()
    assert min(gflops) * 0.3 < low < min(gflops) < max(gflops) < high < max(gflops) * 3
