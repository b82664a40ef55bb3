"""The report page of a multi-label test."""

import json

import numpy as np
import pytest
from pages import MODEL, PROTOCOL, Page, assert_self_contained, in_views

from uniformer_video.evaluation.results import build_results, load_results, save_results
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.report import write_report
from uniformer_video.tasks.multi_label import MultiLabel

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("PIL.Image")


def make_folder(folder, num_classes=4, videos=20, labels=None, scores=None, **changes):
    rng = np.random.default_rng(0)
    if labels is None:
        labels = [tuple({i % num_classes, i // 3 % num_classes}) for i in range(videos)]
    if scores is None:
        scores = rng.normal(size=(videos, num_classes))
    arguments = {
        "title": "my run",
        "names": [f"val/{i}.mp4" for i in range(videos)],
        "paths": [f"/data/val/{i}.mp4" for i in range(videos)],
        "class_names": [f"class {i}" for i in range(num_classes)],
        "protocol": PROTOCOL,
        "model": MODEL,
        "task": MultiLabel(),
    }
    results = build_results(labels=labels, view_scores=in_views(scores), **{**arguments, **changes})
    save_results(folder, results, in_views(scores), MultiLabel())
    return folder


def write(folder):
    path = write_report(folder, load_results(folder), MultiLabel())
    page = Page(path.read_text("utf-8"))
    assert_self_contained(page)
    return page


def percent(value):
    return f"{100 * value:.1f}%"


def test_page_says_the_numbers(tmp_path):
    page = write(make_folder(tmp_path))
    summary = load_results(tmp_path)["summary"]
    found, hit = summary["map"], summary["hit1"]
    assert f"Mean average precision {percent(found['value'])} 4 of 4 classes occur" in page.text
    assert f"interval {percent(found['low'])} to {percent(found['high'])}" in page.text
    assert f"Hit@1 {percent(hit['value'])} {hit['correct']} of 20 videos 95%" in page.text
    assert f"mAP by frequency {percent(summary['weighted_map'])}" in page.text
    assert f"in one list: {percent(summary['micro_ap'])}" in page.text
    assert "Top-1" not in page.text and "What is taken for what" not in page.text
    assert "score 50% or more" in page.text


def test_worst_class_first_and_one_that_never_occurs_last(tmp_path):
    labels = [(0,), (1,), (0,), (1,)]
    scores = np.array([[1.0, 2, 0], [2.0, 1, 0], [3.0, 0, 0], [0.0, 3, 0]])
    scores[:, 0] *= -1  # class 0 is ranked worse than class 1
    page = write(make_folder(tmp_path, 3, 4, labels, scores))
    rows = page.text[page.text.index("Average precision by class") :]
    assert rows.index("class 0") < rows.index("class 1") < rows.index("class 2 no videos")
    row = load_results(tmp_path)["per_class"][1]
    shown = f"class 1 {percent(row['average_precision'])} {percent(row['precision'])} "
    assert shown + f"{row['correct']} / {row['chosen']} {percent(row['recall'])}" in rows
    assert "2 of 3 classes occur" in page.text


def test_spread_of_many_classes(tmp_path):
    assert "steps of ten points" not in write(make_folder(tmp_path, 30, 60)).text
    page = write(make_folder(tmp_path, 40, 80))
    assert "Number of classes by average precision, in steps of ten points" in page.text


def test_failures_are_told_plainly(tmp_path):
    labels = [(0, 1), (), *[(i % 4,) for i in range(18)]]
    failures = {0: "the file is cut short", 1: "gone"}
    page = write(make_folder(tmp_path, labels=labels, failures=failures))
    summary = load_results(tmp_path)["summary"]
    assert "2 of 20 videos could not be read." in page.text
    assert f"mAP {percent(summary['map_all']['value'])}" in page.text
    assert f"hit@1 {percent(summary['hit1_all']['value'])}" in page.text
    assert "val/0.mp4 the file is cut short class 0, class 1" in page.text
    assert "val/1.mp4 gone none" in page.text


def test_all_videos_failed(tmp_path):
    page = write(make_folder(tmp_path, failures=dict.fromkeys(range(20), "gone")))
    assert "None of the 20 videos could be read" in page.text
    assert "by class" not in page.text and "Missed labels" not in page.text


@pytest.mark.parametrize("labels", [(), (0,)])
def test_one_class_and_no_label_at_all(tmp_path, labels):
    page = write(make_folder(tmp_path, 1, 3, [labels] * 3))
    assert ("1 of 1 class occurs" if labels else "0 of 1 class occurs") in page.text
    assert ("no interval" in page.text) == bool(labels)
    assert ("videos with a label" in page.text) == (not labels)
    assert ("true no label" in page.text) == (not labels)


def test_mistakes_are_the_surest_wrong_labels(tmp_path):
    segments = [(0.0, None)] * 20
    segments[5] = (1.5, 4.0)
    scores = np.random.default_rng(0).normal(size=(20, 4))
    labels = [tuple({i % 4, i // 3 % 4}) for i in range(20)]
    wrong = [max(scores[i][k] for k in range(4) if k not in labels[i]) for i in range(20)]
    scores[5] += 9 - wrong[5]  # the surest mistake
    wrong[5] = 9
    folder = make_folder(tmp_path, labels=labels, scores=scores, segments=segments)
    strips = Strips.of({i: b"jpeg of %d" % i for i in range(20)}, 20)
    strips.save(folder)
    page = write(folder)
    order = sorted(range(20), key=lambda i: -wrong[i])
    shown = [v for n, v in page.attributes if n == "src" and v.startswith("data:image/jpeg")]
    assert shown[-12:] == [strips.uri(i) for i in order[:12]]  # behind those of confused pairs
    others = {str(i) for i in order[12:] if wrong[i] >= 0}  # from the threshold on, of 50 %
    assert page.data("strips").keys() == others != set()
    rows = page.data("video-rows")
    assert rows["several"] and rows["truth"] == [list(own) for own in labels]
    first = next(k for k in range(4) if k not in labels[5] and scores[5][k] == 9)
    true = sorted(labels[5], key=lambda k: -scores[5][k])
    share = [percent(1 / (1 + np.exp(-scores[5][k]))) for k in true]
    shown = " ".join(f"true class {k} {s}" for k, s in zip(true, share, strict=True))
    assert f"wrong class {first} 100.0% {shown} val/5.mp4" in page.text


def test_missed_labels_the_lowest_first(tmp_path):
    labels = [(0,), (0, 1), (1,)]
    scores = np.array([[1.0, 0], [-3.0, -1.0], [0.0, 2.0]])
    page = write(make_folder(tmp_path, 2, 3, labels, scores))
    assert "2 of 4 true labels score below 50%." in page.text
    assert "class 0 val/1.mp4 4.7% class 1 val/1.mp4 26.9%" in page.text
    page = write(make_folder(tmp_path, 2, 3, labels, np.full((3, 2), 2.0)))
    assert "None: every true label scores 50% or more." in page.text


def test_curves(tmp_path):
    make_folder(tmp_path)
    lines = [{"kind": "train", "epoch": e, "loss": 1.0, "hit1": 0.1, "lr": 1e-3} for e in (1, 2)]
    lines += [{"kind": "val", "epoch": 2, "loss": 1.1, "map": 0.2}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    page = write(tmp_path)
    labels = [v for n, v in page.attributes if n == "aria-label" and v.endswith("over epochs")]
    assert labels == [
        f"{title} over epochs"
        for title in ("Loss", "Mean average precision", "Hit@1", "Learning rate")
    ]


def test_everything_is_escaped(tmp_path):
    evil = ["<script>alert(1)</script>", "a & b", "\"><img src=x onerror='alert(2)'>", '"q"']
    names = [f"{evil[i % 4]}/{i}.mp4" for i in range(20)]
    folder = make_folder(
        tmp_path, class_names=evil, names=names, paths=names, failures={0: evil[2]}
    )
    page = write(folder)
    assert evil[0] in page.text and evil[2] in page.text
    source = (folder / "report.html").read_text("utf-8")
    assert (
        source.count("<script") == 4
        and "<script>alert" not in source
        and "<img src=x" not in source
    )
