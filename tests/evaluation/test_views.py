"""Accuracy by fewer views, against sums written out by hand, and the choice of views."""

import numpy as np
import pytest
from pages import MODEL
from tests_by_views import noisy, record

from uniformer_video.evaluation.analyses.registry import lines_of, notes_of
from uniformer_video.evaluation.metrics import mean_average_precision, resampled_map
from uniformer_video.evaluation.results import save_results
from uniformer_video.evaluation.view_choice import central_crops, numbers_of_clips, spread_clips
from uniformer_video.pages.report import write_report
from uniformer_video.randomness import generator
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [
        (1, 1, [0]),
        (1, 3, [1]),
        (1, 10, [5]),
        (2, 4, [1, 3]),
        (2, 10, [2, 7]),
        (3, 10, [1, 5, 8]),
        (4, 4, [0, 1, 2, 3]),
    ],
)
def test_fewer_clips_lie_at_the_middles_of_equal_parts(count, total, expected):
    assert spread_clips(count, total) == expected


def test_choices_are_distinct_and_few():
    for total in range(1, 40):
        for count in range(1, total + 1):
            chosen = spread_clips(count, total)
            assert len(set(chosen)) == count and 0 <= min(chosen) <= max(chosen) < total
    assert central_crops(1, 3) == [1] and central_crops(3, 3) == [0, 1, 2]
    assert central_crops(1, 1) == [0]
    assert numbers_of_clips(10) == list(range(1, 11))
    many = numbers_of_clips(1000)
    assert many[0] == 1 and many[-1] == 1000 and len(many) <= 10


def top1(logits, labels):
    """Of `[N, view, K]`, by sums."""
    return logits.astype(np.float64).sum(1).argmax(1) == labels


def test_every_row_is_a_test_of_its_views():
    logits, labels = noisy()
    found = record(logits, labels)["analyses"]["views"]
    assert (found["figure"], found["short"], found["videos"]) == ("top1", "top-1", 60)
    shapes = [(row["clips"], row["crops"]) for row in found["rows"]]
    assert shapes == [(1, 1), (2, 1), (1, 3), (3, 1), (4, 1), (2, 3), (3, 3), (4, 3)]
    clips = {1: [2], 2: [1, 3], 3: [0, 2, 3], 4: [0, 1, 2, 3]}
    crops = {1: [1], 3: [0, 1, 2]}
    right = []
    for row in found["rows"]:
        assert row["which_clips"] == clips[row["clips"]]
        assert row["which_crops"] == crops[row["crops"]]
        views = logits[:, row["which_clips"]][:, :, row["which_crops"]].reshape(60, -1, 5)
        right.append(top1(views, labels))
        assert row["value"] == pytest.approx(right[-1].mean())
        assert row["views"] == views.shape[1] and row["gflops"] == 2 * row["views"]
        assert row["seconds"] == pytest.approx(0.5 + 0.02 * row["views"] + 0.01 * row["views"])
    shares = [own.mean() for own in right]
    best = found["best"]
    assert best == shares.index(max(shares))
    enough = []
    for own, row in zip(right, found["rows"], strict=True):
        differences = own.astype(int) - right[best]
        values, counts = np.unique(differences, return_counts=True)
        drawn = generator("paired", 60).multinomial(60, counts / 60, 10_000)
        low, high = np.quantile(drawn @ values / 60, (0.025, 0.975))
        assert (row["difference"], row["low"], row["high"]) == pytest.approx(
            (differences.mean(), low, high)
        )
        enough.append(low <= 0 <= high)
    assert found["enough"] == enough.index(True) > 0


def test_single_clips_and_score_rules():
    logits, labels = noisy(clips=5)
    found = record(logits, labels, "softmax")["analyses"]["views"]
    assert [(row["place"], row["clip"]) for row in found["single_clips"]] == [
        ("first", 0),
        ("middle", 2),
        ("last", 4),
    ]
    powers = np.exp(logits.astype(np.float64))
    probabilities = powers / powers.sum(-1, keepdims=True)
    shares = [top1(probabilities[:, clip], labels).mean() for clip in (0, 2, 4)]
    assert [row["value"] for row in found["single_clips"]] == pytest.approx(shares)
    assert found["single_clips"][0]["difference"] == pytest.approx(shares[0] - shares[1])
    by_score = {row["score"]: row for row in found["scores"]}
    for score, views in (("softmax", probabilities), ("logits", logits)):
        share = top1(views.reshape(60, 15, 5), labels).mean()
        assert by_score[score]["value"] == share
    assert by_score["softmax"]["difference"] == 0


def test_where_all_is_right_one_view_is_enough():
    logits, labels = noisy(videos=150, skill=100.0)
    result = record(logits, labels)
    found = result["analyses"]["views"]
    assert (found["best"], found["enough"]) == (0, 0)
    assert lines_of(result["analyses"]) == [
        "fewer views may do: top-1 100.0% by 1 clip x 1 crop, and no more by 4 clips x 3 crops"
    ]


@pytest.mark.parametrize(("videos", "skill"), [(8, 100.0), (149, 100.0), (300, -100.0), (300, 0)])
def test_the_terminal_says_nothing_of_few_videos_or_of_chance(videos, skill):
    result = record(*noisy(videos=videos, skill=skill))
    assert result["analyses"]["views"]["chance"] == 0.2
    assert not lines_of(result["analyses"])


@pytest.mark.parametrize(("low", "is_said"), [(-0.019, True), (-0.021, False)])
def test_the_terminal_says_nothing_where_the_interval_is_wide(low, is_said):
    found = record(*noisy(videos=200, clips=2, crops=1, skill=1.5))["analyses"]["views"]
    found |= {"best": 1, "enough": 0}
    found["rows"][0] |= {"difference": -0.005, "low": low, "high": 0.009}
    lines = lines_of({"views": found})
    assert bool(lines) is is_said
    if is_said:
        assert "cannot be told from the best" in lines[0] and "-1.9 to +0.9)" in lines[0]


def test_where_each_view_counts_nothing_is_said_on_the_terminal():
    """Each view alone is wrong more often than all of them, by far."""
    logits, labels = noisy(videos=600, clips=2, crops=1, skill=1.5)
    result = record(logits, labels)
    assert result["analyses"]["views"]["enough"] == result["analyses"]["views"]["best"] == 1
    assert not lines_of(result["analyses"]) and not notes_of(result["analyses"])


def test_failed_videos_do_not_count_and_one_view_says_nothing():
    logits, labels = noisy()
    expected = record(logits[1:], labels[1:])["analyses"]
    broken = logits.copy()
    broken[0] = np.nan
    assert record(broken, labels, failures={0: "broken"})["analyses"] == expected
    assert record(logits[:, :1, :1], labels)["analyses"].keys() == {"calibration"}


def test_what_was_not_measured_is_none():
    logits, labels = noisy(clips=2, crops=1)
    found = record(logits, labels, model=MODEL, cost=None)["analyses"]["views"]
    assert {row["gflops"] for row in found["rows"]} == {None}
    assert {row["seconds"] for row in found["rows"]} == {None}


def test_several_labels():
    rng = np.random.default_rng(1)
    truth = rng.random((50, 4)) < 0.4
    labels = [tuple(np.flatnonzero(row).tolist()) for row in truth]
    logits = (rng.normal(size=(50, 3, 1, 4)) + truth[:, None, None]).astype(np.float32)
    found = record(logits, labels, task=MultiLabel())["analyses"]["views"]
    assert (found["figure"], found["short"]) == ("map", "mAP")
    scores = [logits[:, clips, 0].mean(1) for clips in ([1], [0, 2], [0, 1, 2])]
    values = [mean_average_precision(own, truth) for own in scores]
    assert [row["value"] for row in found["rows"]] == pytest.approx(values)
    drawn = [resampled_map(own, truth, 1000, generator("paired", 50)) for own in scores]
    best = found["best"]
    for row, own in zip(found["rows"], drawn, strict=True):
        expected = np.quantile(own - drawn[best], (0.025, 0.975))
        assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert [row["score"] for row in found["scores"]] == ["logits", "sigmoid"]
    unlabelled = record(logits, [()] * 50, task=MultiLabel())["analyses"]
    assert not {"views", "disagreement"} & unlabelled.keys()


def test_groups_widen_the_intervals():
    logits, labels = noisy(videos=200, clips=2, crops=1, classes=2, skill=0.3)
    logits, labels = np.repeat(logits, 5, 0), np.repeat(labels, 5)
    groups = np.repeat(np.arange(200), 5)
    widths = []
    for own in (None, groups):
        found = record(logits, labels, groups=own)["analyses"]["views"]
        other = found["rows"][1 - found["best"]]
        widths.append(other["high"] - other["low"])
    assert widths[1] > 1.8 * widths[0] > 0


def page_of(folder, record, logits):
    videos, *_, classes = logits.shape
    save_results(folder, record, logits.reshape(videos, -1, classes), SingleLabel())
    return " ".join(write_report(folder, record, SingleLabel()).read_text().split())


def test_the_page_names_no_best_views_of_a_test_at_chance(tmp_path):
    logits, labels = noisy(skill=-100.0)
    text = page_of(tmp_path, record(logits, labels), logits)
    assert "No number of views does better than chance, top-1 20.0%" in text
    assert "give the highest" not in text and '<span class="mark">' not in text


def test_the_page_of_one_video_and_of_sizes_that_are_not_known(tmp_path):
    logits, labels = noisy(videos=1)
    text = page_of(tmp_path / "one", record(logits, labels, sizes={0: (398, 224)}), logits)
    assert "The video, by how far" in text and "1 of 1 videos is wide" in text
    logits, labels = noisy(videos=8)
    sizes = {0: (398, 224), 1: (398, 224), 2: (224, 224)}
    text = page_of(tmp_path / "some", record(logits, labels, sizes=sizes), logits)
    assert "The videos in 5 equal parts, by how far" in text
    assert "2 of 3 videos whose size is known are wide" in text
