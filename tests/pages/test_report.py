"""The report page: what it says, what it must never do."""

import base64
import io
import itertools
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from charts import charts
from pages import MODEL, PROTOCOL, Page, assert_self_contained, in_views

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.loading.film_strip import film_strip
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DataError, MissingLibraryError
from uniformer_video.evaluation.parts import proportion
from uniformer_video.evaluation.results import build_results, save_results
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.plots import line_chart
from uniformer_video.pages.report import (
    TIMES,
    magnitude,
    protocol_line,
    read_metrics,
    write_report,
)
from uniformer_video.runs.multi_view_test import report
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.single_label import SingleLabel

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
image = pytest.importorskip("PIL.Image")


def make_folder(folder, num_classes=8, videos=40, metrics=False, skill=2.0, **changes):
    """The folder of a test; metrics: with the log of a training, whose curves take half of a page's time."""
    rng = np.random.default_rng(0)
    labels = np.arange(videos) % num_classes
    scores = rng.normal(size=(videos, num_classes))
    scores[np.arange(videos), labels] += skill
    arguments = {
        "task": SingleLabel(),
        "title": "my run",
        "names": [f"val/{i}.mp4" for i in range(videos)],
        "paths": [f"/data/val/{i}.mp4" for i in range(videos)],
        "labels": labels,
        "view_scores": in_views(scores),
        "class_names": [f"class {i}" for i in range(num_classes)],
        "protocol": PROTOCOL,
        "model": MODEL,
        "settings": "TRAIN:\n  EPOCHS: 14\n",
        "versions": {"torch": "2.13.0"},
    }
    results = build_results(**{**arguments, **changes})
    save_results(folder, results, in_views(scores), SingleLabel())
    if metrics:
        lines = [{"kind": "train", "epoch": 0.5, "loss": 2.0, "top1": None, "lr": 1e-3}]
        lines += [{"kind": "train", "epoch": 1.0, "loss": 1.5, "top1": 0.4, "lr": 5e-4}]
        lines += [{"kind": "val", "epoch": 1, "loss": 1.6, "top1": 0.35}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return folder


def write(folder):
    path = write_report(folder, *load_tested(folder))
    assert path == folder / "report.html"
    return Page(path.read_text("utf-8"))


CURVE = '<svg [^>]*over epochs".*?</svg>'


def curves(page):
    """The labels of the training's curves."""
    labels = [value for name, value in page.attributes if name == "aria-label"]
    return [label for label in labels if label.endswith(" over epochs")]


def keep_strips(folder, places):
    """Give the videos at these places a strip each, none like another."""
    clip = np.full((1, 4, 90, 320, 3), 128, np.uint8)
    found = {place: film_strip(clip + np.uint8(place % 100)) for place in places}
    strips = Strips.of(found, len(load_tested(folder)[0]["videos"]))
    strips.save(folder)
    return strips


def test_page_says_the_numbers(tmp_path):
    page = write(make_folder(tmp_path, metrics=True))
    summary = json.loads((tmp_path / "results.json").read_text("utf-8"))["summary"]
    top1 = summary["top1"]
    assert f"{100 * top1['value']:.1f}% {top1['correct']} of 40 videos" in page.text
    assert f"95% interval {100 * top1['low']:.1f}% to {100 * top1['high']:.1f}%" in page.text
    assert f"4 clips {TIMES} 1 crop of 8 frames, every 2nd frame, 64 px" in page.text
    assert "all could be read" in page.text
    assert "21.4 million" in page.text and "runs/best.pt" in page.text and "ab" * 32 in page.text
    assert "EPOCHS: 14" in page.text
    assert "motion that is learnt" not in page.text
    assert_self_contained(page)


def test_the_header_tells_what_was_tested_on_what(tmp_path):
    data = {"name": "demo", "format": "csv", "split": "val", "license": ""}
    page = write(make_folder(tmp_path, data=data, model={**MODEL, "weights": "ema"}))
    assert "uniformer_s , best.pt, ema weights of epoch 14, tested on demo (split val)" in page.text
    page = write(make_folder(tmp_path, model={**MODEL, "checkpoint": "C:\\runs\\last.pt"}))
    assert "uniformer_s , last.pt, weights of epoch 14 4 clips" in page.text
    page = write(make_folder(tmp_path, model={**MODEL, "checkpoint": None}))
    assert "uniformer_s , weights as initialised 4 clips" in page.text


def test_a_further_test_says_what_differs(tmp_path):
    page = write(make_folder(tmp_path, differs=["TEST.SPLIT is val, not test."]))
    assert "A further test of this run. What differs" in page.text
    assert "TEST.SPLIT is val, not test." in page.text
    assert "further test" not in write(make_folder(tmp_path)).text


def test_what_the_training_cost(tmp_path):
    core = {"hardware": "4 cores, A", "devices": 4, "unit": "core", "seconds": 1800.0}
    unknown = {"hardware": "not recorded", "devices": None, "unit": None, "seconds": 60.0}
    costs = {"epoch_seconds": 90.0, "validation_seconds": 4.5, "spent": [unknown, core]}
    page = write(make_folder(tmp_path, seconds=5.0, training={"seconds": 1860.0, "costs": costs}))
    assert "The training took 31 min 00 s, until these weights" in page.text
    assert "1 min 00 s, on hardware that is not recorded" in page.text
    assert "2 core-hours: 30 min 00 s on 4 cores, A" in page.text
    assert "An epoch took 1 min 30 s, and a validation 4.5 s" in page.text
    assert "The test took 5.0 s" in page.text and "Duration" not in page.text


@pytest.mark.parametrize("license", ["CC BY 4.0", ""])
def test_the_licence_stands_under_frames(tmp_path, license):
    data = {"name": "demo", "format": "csv", "split": "test", "license": license}
    folder = make_folder(tmp_path, skill=0.0, data=data)
    line = (
        f"their licence: {license}" if license else "their licence is not recorded (DATA.LICENSE)"
    )
    assert "Frames are from" not in write(folder).text  # no frames are shown
    keep_strips(folder, range(40))
    assert f"Frames are from the tested videos; {line}" in write(folder).text


def test_settings_that_were_changed_come_first(tmp_path):
    lr = {"key": "SOLVER.BASE_LR", "value": 0.001, "recipe": 0.0004}
    frames = {"key": "DATA.NUM_FRAMES", "value": 8, "default": 16}
    changed = {"command_line": [lr], "recipe": [frames]}
    text = write(make_folder(tmp_path, changed_settings=changed)).text
    order = ["Changed on the command line", "SOLVER.BASE_LR 0.001 0.0004", "Set by the recipe"]
    order += ["DATA.NUM_FRAMES 8 16", "All settings"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_headings_leave_out_no_level(tmp_path):
    for classes in (8, 40):
        folder = make_folder(tmp_path, classes, 80, metrics=True, skill=0.5, failures={3: "cut"})
        page = write(folder)
        levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels.count(1) == 1 and levels[0] == 1
        assert all(below <= above + 1 for above, below in itertools.pairwise(levels))


def test_a_long_table_says_that_it_scrolls(tmp_path):
    assert "400 classes in this table, which scrolls" in write(make_folder(tmp_path, 400, 400)).text
    assert "which scrolls" not in write(make_folder(tmp_path)).text


def test_failures_are_told_plainly(tmp_path):
    page = write(make_folder(tmp_path, failures={3: "the file is cut short"}))
    summary = json.loads((tmp_path / "results.json").read_text("utf-8"))["summary"]
    assert "1 of 40 videos could not be read." in page.text
    assert f"top-1 {100 * summary['top1_all']['value']:.1f}%" in page.text
    assert "val/3.mp4 the file is cut short class 3" in page.text


def test_all_videos_failed(tmp_path):
    page = write(make_folder(tmp_path, failures=dict.fromkeys(range(40), "gone")))
    assert "None of the 40 videos could be read" in page.text
    assert "n/a" in page.text
    assert "Accuracy by class" not in page.text and "What is taken" not in page.text
    assert_self_contained(page)


def test_one_class(tmp_path):
    page = write(make_folder(tmp_path, num_classes=1))
    assert "100.0%" in page.text and "1 class " in page.text
    assert "Top-5" not in page.text and "What is taken for what" not in page.text


def test_a_class_without_videos(tmp_path):
    page = write(make_folder(tmp_path, num_classes=8, videos=5))
    assert "class 7 no videos" in page.text


def test_many_classes_get_a_picture_and_a_list(tmp_path):
    page = write(make_folder(tmp_path, num_classes=400, videos=800))
    assert "Most frequent confusions" in page.text
    assert "heat" not in [value for name, value in page.attributes if name == "class"]
    pictures = [v for n, v in page.attributes if n == "src" and v.startswith("data:image/png")]
    (picture,) = pictures
    size = decode(picture).size
    assert size[0] == size[1] and size[0] % 400 == 0
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_worst_class_comes_first(tmp_path):
    scores = np.eye(3)[[0, 1, 2, 2, 1, 0]]
    labels = np.array([0, 1, 2, 0, 1, 1])  # class 0: 1/2, class 1: 2/3, class 2: 1/1
    names = list("abcdef")
    results = {"names": names, "paths": names, "labels": labels, "view_scores": in_views(scores)}
    text = write(make_folder(tmp_path, num_classes=3, videos=6, **results)).text
    text = text[text.index("Accuracy by class") :]
    assert text.index("class 0") < text.index("class 1 ") < text.index("class 2 100.0%")


def test_motion_section(tmp_path):
    motion = {
        "forward": proportion(39, 40),
        "reversed_opposite": proportion(37, 40),
        "reversed_original": proportion(1, 40),
        "still": proportion(6, 40),
        "opposites": {"class 0": "class 1", "class 1": "class 0"},
    }
    page = write(make_folder(tmp_path, motion=motion))
    for words in ("97.5% 39 / 40", "92.5% 37 / 40", "2.5% 1 / 40", "15.0% 6 / 40"):
        assert words in page.text
    assert "chance, 12.5%" in page.text
    assert page.text.count("class 0 ⇄ class 1") == 1


def test_motion_without_opposite_classes(tmp_path):
    shares = {"forward": 30, "reversed_original": 28, "still": 21}
    motion = {
        **{key: proportion(count, 40) for key, count in shares.items()},
        "videos": 40,
        "differences": {
            "reversed_original": {"value": -0.05, "low": -0.125, "high": 0.025},
            "still": {"value": -0.225, "low": -0.35, "high": -0.1},
        },
        "opposites": {},
    }
    page = write(make_folder(tmp_path, motion=motion))
    assert "How much of it is motion?" in page.text and "opposite" not in page.text
    text = page.text.replace("\N{MINUS SIGN}", "-")
    assert "-5.0 points (-12.5 to +2.5) against forward" in text
    assert "-22.5 points (-35.0 to -10.0) against forward" in text


def mistaken(folder):
    """The places of the wrong answers, the surest first."""
    videos = json.loads((folder / "results.json").read_text("utf-8"))["videos"]
    wrong = [place for place, v in enumerate(videos) if v["top5"][0]["class"] != v["label"]]
    return sorted(wrong, key=lambda place: -videos[place]["top5"][0]["score"])


def test_the_surest_mistakes_are_shown_with_the_strips_of_the_test(tmp_path):
    folder = make_folder(tmp_path, videos=60, skill=0.0)
    wrong = mistaken(folder)
    strips = keep_strips(folder, [place for place in range(60) if place != wrong[1]])
    page = write(folder)
    shown = [v for n, v in page.attributes if n == "src" and v.startswith("data:image/jpeg")]
    surest = [strips.uri(place) for place in wrong[:12] if place != wrong[1]]
    assert shown[-len(surest) :] == surest  # behind those of confused pairs
    assert [int(v) for n, v in page.attributes if n == "data-place"] == wrong[:12]
    others = {int(place): jpeg for place, jpeg in page.data("strips").items()}
    assert others.keys() == set(wrong[12:])
    assert all(strips.uri(place).endswith(f",{jpeg}") for place, jpeg in others.items())
    assert f"This page holds frames of {len(wrong) - 1} of {len(wrong)} wrong answers" in page.text
    assert "1 has none here." in page.text


def test_a_test_without_strips_says_so(tmp_path):
    page = write(make_folder(tmp_path, videos=60, skill=0.0))
    assert "There are no frames: the test kept none" in page.text
    assert page.data("strips") == {} and "img" not in page.tags


def test_strips_of_another_test_are_not_shown(tmp_path, caplog):
    folder = make_folder(tmp_path, videos=60, skill=0.0)
    Strips.of({0: b"jpeg"}, 59).save(folder)
    assert "There are no frames" in write(folder).text
    assert "it is of 59 videos, the test of 60; test again" in caplog.text


def test_everything_is_escaped(tmp_path):
    evil = ["<script>alert(1)</script>", "a & b", "\"><img src=x onerror='alert(2)'>", '日本語 "q"']
    names = [f"{evil[i % 4]}/'{i}\".mp4" for i in range(40)]
    motion = {
        key: proportion(1, 2)
        for key in ("forward", "reversed_opposite", "reversed_original", "still")
    }
    folder = make_folder(
        tmp_path,
        num_classes=4,
        metrics=True,
        skill=0.0,
        title=evil[0],
        class_names=evil,
        names=names,
        paths=names,
        failures={0: evil[2], 1: evil[0]},
        motion={**motion, "opposites": {evil[0]: evil[2]}},
        model={**MODEL, "name": evil[2], "checkpoint": evil[0]},
        training={evil[0]: evil[2]},
        notes=[evil[2]],
        settings=evil[0],
        versions={evil[2]: evil[0]},
    )
    keep_strips(folder, range(2, 40))
    page = write(folder)
    assert_self_contained(page)
    for words in (evil[0], evil[1], names[0], names[1]):
        assert " ".join(words.split()) in page.text
    source = (folder / "report.html").read_text("utf-8")
    assert source.count("<script") == 4 and "<script>alert" not in source
    assert "<img src=x" not in source and "a &amp; b" in source and "a & b" not in source
    rows = page.data("video-rows")
    assert rows["classes"] == evil and rows["truth"] == [i % 4 for i in range(40)]


@pytest.mark.parametrize("num_classes", [4, 40])
def test_class_names_are_escaped_in_table_and_picture(tmp_path, num_classes):
    names = [f"<b onclick='x'>{i}</b>" for i in range(num_classes)]
    page = write(make_folder(tmp_path, num_classes, videos=80, skill=0.0, class_names=names))
    assert "b" not in page.tags
    assert_self_contained(page)


@charts(drawn=True)
def test_curves(tmp_path):
    page = write(make_folder(tmp_path, metrics=True))
    labels = {value for name, value in page.attributes if name == "aria-label"}
    assert len(curves(page)) == 3
    assert {
        "Loss over epochs",
        "Top-1 accuracy over epochs",
        "Learning rate over epochs",
    } <= labels
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    drawing = re.search(CURVE, (tmp_path / "report.html").read_text(), re.DOTALL)[0]
    assert "rgb(var(--accent))" in drawing and "#0102" not in drawing
    assert "<style" not in drawing


@charts(drawn=True)
def test_curves_of_averaged_weights_are_dashed_and_named(tmp_path):
    folder = make_folder(tmp_path, metrics=True)
    plain = write(folder).tags.count("i")
    averages = {"ema_top1": 0.5, "ema_loss": 1.4}
    line = {"kind": "val", "epoch": 2, "loss": 1.6, "top1": 0.35, **averages}
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
        file.write(json.dumps({**line, "epoch": 3}) + "\n")
    page = write(folder)
    assert page.text.count("validation, ema weights") == 2  # of accuracy and loss
    assert page.text.count("validation, raw weights") == 2
    assert page.tags.count("i") == plain + 2
    drawing = re.search(CURVE, (folder / "report.html").read_text(), re.DOTALL)[0]
    assert "stroke-dasharray" in drawing
    assert_self_contained(page)


@charts(drawn=True)
def test_a_curve_of_one_epoch_has_no_fractions_of_it():
    ticks = re.findall(r">([\d.]+)</text>", line_chart("Loss over epochs", [(2, 0.5)], []))
    assert "2" in ticks and not [tick for tick in ticks if tick.startswith(("1.9", "2.0"))]


def test_no_curves_without_a_log(tmp_path):
    page = write(make_folder(tmp_path, metrics=False))
    assert not curves(page)


def test_log_with_unknown_kinds_resumed_epochs_and_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [
        b'{"kind": "train", "epoch": 1.0, "loss": 3.0}',
        b'{"kind": "train", "epoch": 2.0, "loss": 2.5}',
        b'{"kind": "speed", "epoch": 1.0}',
        b"[1, 2]",
        b'{"kind": "val"}',
        b'{"kind": "train", "epoch": 1.5, "loss": 2.8}',
        b'{"kind": "train", "epoch": 2.0, "loss": 2.4}',
        b'{"kind": "val", "epoch": 2, "loss": NaN}',
        b'{"kind": "train", "epoch": 3.0, "lo\xc3',
    ]
    path.write_bytes(b"\n".join(lines))
    records = read_metrics(path)
    assert [(r["epoch"], r["loss"]) for r in records["train"]] == [
        (1.0, 3.0),
        (1.5, 2.8),
        (2.0, 2.4),
    ]
    assert [r["epoch"] for r in records["val"]] == [2]
    folder = make_folder(tmp_path, metrics=False)
    assert len(curves(write(folder))) == 1
    assert read_metrics(tmp_path / "none.jsonl") == {"train": [], "val": []}


def test_the_page_is_a_function_of_the_folder(tmp_path):
    folder = make_folder(tmp_path, metrics=True)
    first = write_report(folder, *load_tested(folder)).read_bytes()
    assert write_report(folder, *load_tested(folder)).read_bytes() == first


def test_protocol_in_words():
    def sampled(**changes):
        return protocol_line(replace(PROTOCOL, sampling=replace(PROTOCOL.sampling, **changes)))

    kinetics = Protocol(ClipSampling(16, 4), EvalViews(256, 224, num_crops=3))
    assert protocol_line(kinetics) == (
        f"1 clip {TIMES} 3 crops of 16 frames, every 4th frame, 224 px of a short side of 256 px"
    )
    assert "every" not in sampled(frame_stride=1)
    assert "every 11th frame" in sampled(frame_stride=11)
    assert "every 23rd frame" in sampled(frame_stride=23)
    assert "every 2nd frame at 15 frames a second," in sampled(target_fps=15.0)
    assert "every frame at 12.5 frames a second," in sampled(target_fps=12.5, frame_stride=1)
    assert "segment sampling," in sampled(rule="segment")
    assert "segment sampling at 10 frames a second," in sampled(rule="segment", target_fps=10.0)
    assert protocol_line(PROTOCOL, "reverse").endswith("played backwards")


def test_magnitudes():
    assert [magnitude(n) for n in (5, 21_400, 21_400_400)] == ["5", "21.4 thousand", "21.4 million"]


@pytest.mark.parametrize("library", ["jinja2", "matplotlib", "PIL.Image"])
def test_a_missing_library_says_what_to_install(tmp_path, monkeypatch, library):
    folder = make_folder(tmp_path, num_classes=40, metrics=True, skill=0.0)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibraryError, match=r'pip install "uniformer-video\[report\]"'):
        write(folder)
    assert not (folder / "report.html").exists()


def test_a_folder_without_results(tmp_path):
    with pytest.raises(DataError, match=r"results\.json"):
        report(tmp_path)


def decode(uri):
    return image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def test_results_without_what_the_page_shows_are_an_error(tmp_path):
    """As where a later version shows one figure more."""
    folder = make_folder(tmp_path)
    record = json.loads((folder / "results.json").read_text())
    del record["summary"]["mean_class_accuracy"]
    (folder / "results.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"lack what the page shows \(.*mean_class_accuracy"):
        write_report(folder, *load_tested(folder))


def test_calibration_is_drawn_and_listed(tmp_path):
    folder = make_folder(tmp_path)
    page = write(folder)
    found = load_tested(folder)[0]["analyses"]["calibration"]
    labels = {value for name, value in page.attributes if name == "aria-label"}
    assert {
        "Share of right answers over confidence",
        "Share of wrong answers over the share of videos accepted",
    } <= labels
    assert f"in 15 equal bins {found['ece']['value']:.1%}" in page.text
    assert f"{found['ece']['low']:.1%} to {found['ece']['high']:.1%}" in page.text
    last = found["risk_coverage"]["points"][-1]
    assert f"{last['threshold']:.1%} 100.0% {last['risk']:.1%}" in page.text
