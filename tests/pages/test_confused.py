"""The section of the most confused pairs, and what single videos show beside it."""

import numpy as np
import pytest
from five_videos import SCORES, make
from pages import MODEL, PROTOCOL, Page, assert_self_contained, in_views

from uniformer_video.evaluation.results import build_results, save_results
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.confused import confused_classes, confused_labels
from uniformer_video.pages.report import write_report
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.single_label import SingleLabel

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("PIL.Image")


def page_of(folder, results, scores, task):
    save_results(folder, {**results, "model": MODEL}, in_views(scores), task)
    write_report(folder, *load_tested(folder))
    page = Page((folder / "report.html").read_text("utf-8"))
    assert_self_contained(page)
    return page


def test_a_pair_shows_the_surest_mistake_and_the_surest_right_video_of_the_other_class():
    scores = np.zeros((8, 3))
    scores[range(8), [1, 1, 1, 1, 1, 1, 0, 2]] = [2, 5, 3, 1, 4, 2, 9, 1]
    labels = [0, 0, 0, 2, 1, 1, 0, 2]
    results = make(scores=scores, **eight(labels))
    confused = confused_classes(results, Strips.of({}, len(results["videos"])))
    assert confused["total"] == 2
    first, second = confused["shown"]
    assert (first["first"], first["second"], first["count"], first["of"]) == (0, 1, 3, 4)
    assert (first["back"], first["back_of"]) == (0, 2)
    assert (first["taken"]["name"], first["own"]["name"], first["own_is_right"]) == ("1", "4", True)
    assert first["taken_score"] == pytest.approx(np.exp(5) / (np.exp(5) + 2), abs=1e-6)
    assert (second["first"], second["second"], second["count"]) == (2, 1, 1)


def eight(labels, classes="abc"):
    names = [str(i) for i in range(len(labels))]
    return {
        "labels": labels,
        "names": names,
        "paths": names,
        "class_names": list(classes),
        "failures": {},
    }


def test_a_pair_whose_other_class_is_never_right_or_has_no_video(tmp_path):
    scores = np.eye(4)[[1, 0, 2, 0]] * 3
    results = make(scores=scores, **eight([0, 1, 0, 0], "abcd"))
    shown = confused_classes(results, Strips.of({}, len(results["videos"])))["shown"]
    by_pair = {(pair["first"], pair["second"]): pair for pair in shown}
    assert by_pair[0, 1]["own"]["name"] == "1" and not by_pair[0, 1]["own_is_right"]
    assert by_pair[0, 1]["back"] == 1 and by_pair[0, 2]["own"] is None
    text = page_of(tmp_path, results, scores, SingleLabel()).text
    assert "a taken for b 1 of 3 videos; the other way round 1 of 1" in text
    assert (
        "b, not recognised 1" in text and "The test has no video of c that could be read." in text
    )
    assert "All 3 pairs, each with a video of either class" in text


def test_labels_that_are_missed_beside_others(tmp_path):
    truth = [(0,), (0,), (1,), (2,)]
    scores = np.array([[-2.0, 1, -3], [-1, 2, -2], [-1, 3, -1], [-1, -2, -0.5]])
    arguments = {**eight(truth), "task": MultiLabel(), "title": "run", "protocol": PROTOCOL}
    arguments |= {"model": {"name": "m", "parameters": 5}, "view_scores": in_views(scores)}
    results = build_results(**arguments)
    (pair,) = confused_labels(results, 0.5, Strips.of({}, 4))["shown"]
    assert (pair["first"], pair["second"], pair["count"], pair["of"]) == (0, 1, 2, 2)
    assert (pair["taken"]["name"], pair["own"]["name"]) == ("1", "2")
    assert pair["own_is_right"] and pair["taken_score"] == pytest.approx(0.880797)
    text = page_of(tmp_path, results, scores, MultiLabel()).text
    assert "a missed beside b 2 of 2 videos" in text
    # labels below the threshold are no mistakes: video 3 has none
    assert "In 2 videos a wrong label scores 50% or more, each with" in text
    assert "% true class" not in text and "macro F1" in text and "micro F1" in text


def test_more_pairs_than_a_record_lists_are_told(tmp_path):
    scores = np.array([[-1.0] * 7 + [1.0] * 8])  # 7 labels missed beside 8 that are wrong
    arguments = {**eight([tuple(range(7))], "abcdefghijklmno"), "task": MultiLabel()}
    results = make(scores=scores, **arguments)
    text = page_of(tmp_path, results, scores, MultiLabel()).text
    assert "The 6 most frequent of 50 or more pairs" in text


def test_no_wrong_label_at_the_threshold_is_said(tmp_path):
    scores = np.array([[2.0, -1], [-1, 2.0]])
    arguments = {**eight([(0,), (1,)], "ab"), "task": MultiLabel(), "view_scores": in_views(scores)}
    results = make(**arguments)
    text = page_of(tmp_path, results, scores, MultiLabel()).text
    assert "None: no wrong label scores 50% or more." in text


def test_the_best_wrong_label_may_be_the_sixth_best():
    scores = np.array([[5.0, 5, 5, 5, 5, 1, -3]])
    results = make(scores=scores, **{**eight([(0, 1, 2, 3, 4)], "abcdefg"), "task": MultiLabel()})
    assert results["videos"][0]["best_wrong"] == {"class": 5, "score": 0.731059}


def test_the_true_classs_score_is_shown_from_beyond_the_best_five(tmp_path):
    scores = np.arange(8.0)[None]
    results = make(scores=scores, **eight([0], "abcdefgh"))
    share = np.exp(0) / np.exp(scores).sum()
    assert results["videos"][0]["true_score"] == pytest.approx(share, abs=1e-6)
    text = page_of(tmp_path, results, scores, SingleLabel()).text
    assert f"true a {100 * share:.1f}%" in text


def test_records_from_before_still_have_a_page(tmp_path):
    results = make()
    for key in ("mean_class_accuracy_interval", "macro_f1"):
        del results["summary"][key]
    for row in results["per_class"]:
        del row["precision"], row["f1"], row["predicted"]
    for video in results["videos"]:
        del video["true_score"]
    text = page_of(tmp_path, results, SCORES, SingleLabel()).text
    assert "Mean class accuracy 83.3%" in text and "Accuracy Videos right" in text


def test_records_of_labels_from_before_still_have_a_page(tmp_path):
    scores = np.array([[2.0, -1], [1, 2.0]])
    results = make(scores=scores, **{**eight([(0,), (1,)], "ab"), "task": MultiLabel()})
    del results["confused_labels"], results["summary"]["macro_f1"], results["summary"]["micro_f1"]
    for row in results["per_class"]:
        del row["f1"]
    for video in results["videos"]:
        del video["best_wrong"]
    text = page_of(tmp_path, results, scores, MultiLabel()).text
    assert "wrong a 73.1% true b 88.1%" in text and "F1" not in text


def test_the_page_has_precision_f1_and_the_interval_of_the_mean(tmp_path):
    results = make()
    text = page_of(tmp_path, results, SCORES, SingleLabel()).text
    interval = results["summary"]["mean_class_accuracy_interval"]
    assert f"95% interval {100 * interval['low']:.1f}% to {100 * interval['high']:.1f}%" in text
    assert f"{100 * results['summary']['macro_f1']:.1f}% on average (macro F1)" in text
    # class b: right 1 of 1, of 2 predicted
    assert "b 100.0% 50.0% 1 / 2 66.7% 1 / 1" in text
