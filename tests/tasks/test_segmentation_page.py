"""The report page of a test of semantic segmentation."""

import base64
import io
import json
import re

import numpy as np
import pytest
from pages import Page, assert_self_contained
from PIL import Image
from segmented import IGNORED, segmentation_record, segmented

from uniformer_video.data.lists.class_names import class_names
from uniformer_video.evaluation.class_colours import IGNORED_COLOUR, class_colours
from uniformer_video.evaluation.pixel_strips import pixel_strip
from uniformer_video.evaluation.results import load_results, write_record
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.plots import RIGHT_RGB, WRONG_RGB, heat_map
from uniformer_video.pages.report import write_report
from uniformer_video.pages.segmentation import chosen_pictures, error_map
from uniformer_video.tasks.segmentation import Segmentation

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

NAMES = ["sky", "road", "tree", "cat", "never"]


def write(folder, record, strips):
    """The page as it is made again from what lies in a folder."""
    write_record(folder, record)
    if strips is not None:
        strips.save(folder)
    page = Page(write_report(folder, load_results(folder), Segmentation()).read_text("utf-8"))
    assert_self_contained(page)
    return page


def write_test(folder, count=20, names=NAMES, **options):
    record, strips = segmentation_record(count, names, **options)
    return write(folder, record, strips), record


def percent(value):
    return f"{100 * value:.1f}%"


def images(page):
    """[(alternative text, pixels)] of the pictures on a page."""
    found = []
    for name, value in page.attributes:
        if name == "src" and value.startswith("data:image"):
            file = io.BytesIO(base64.b64decode(value.partition(",")[2]))
            found.append(np.asarray(Image.open(file).convert("RGB")))
    texts = [value for name, value in page.attributes if name == "alt"]
    return list(zip(texts, found, strict=True))


def test_page_says_the_numbers_of_the_masks(tmp_path):
    page, record = write_test(tmp_path)
    _, truths, predictions = segmented(20, NAMES)
    true = np.concatenate([mask.ravel() for mask in truths]).astype(int)
    said = np.concatenate([mask.ravel() for mask in predictions]).astype(int)
    true, said = true[true != IGNORED], said[true != IGNORED]
    ious = [((true == k) & (said == k)).sum() / ((true == k) | (said == k)).sum() for k in range(5)]
    recalls = [(said[true == k] == k).mean() for k in range(5)]
    figure = record["summary"]["miou"]
    interval = f"95% interval {percent(figure['low'])} to {percent(figure['high'])}"
    assert f"Mean IoU {percent(np.mean(ious))} mean over 5 of 5 classes {interval}" in page.text
    assert f"Mean accuracy {percent(np.mean(recalls))}" in page.text
    assert f"Pixel accuracy {percent((true == said).mean())}" in page.text
    for k in range(5):
        row = page.text[page.text.index("IoU by class") :]
        row = row[row.index(f"{NAMES[k]} {percent(ious[k])}") :]
        assert f"{percent(recalls[k])}" in row[:60] and f"{(true == k).sum():,}" in row[:90]
    assert "Top-1" not in page.text and "predictions/ beside it" in page.text


def test_classes_that_are_not_there_are_named(tmp_path):
    record, strips = segmentation_record(6, NAMES)
    page = write(tmp_path, record, strips)
    assert "in no mean" not in page.text
    more = [*NAMES, *(f"absent {k}" for k in range(12))]
    record, _ = segmentation_record(6, NAMES)
    record["class_names"], record["palette"] = more, class_colours(more).tolist()
    record["summary"]["absent_classes"] = more[5:]
    extra = {"iou": None, "low": None, "high": None, "accuracy": None, "precision": None}
    zero = {"pixels": 0, "predicted": 0, "correct": 0, "videos": 0}
    record["per_class"] += [{"class": k, "name": more[k], **extra, **zero} for k in range(5, 17)]
    page = write(tmp_path, record, strips)
    assert "mean over 5 of 17 classes" in page.text
    named = ", ".join(more[5:15])
    assert f"in no mean: {named} and 2 more, at the end of the table." in page.text
    assert "absent 11 not there n/a n/a 0 0" in page.text


def test_failures_are_told_with_their_masks(tmp_path):
    page, _ = write_test(tmp_path, failed=(4,))
    assert "1 of 20 images could not be read. The figures above are over the 19 that could." in (
        page.text
    )
    assert "/data/masks/0004.png is 90 x 80, its picture 80 x 120 /data/masks/0004.png" in page.text
    page, _ = write_test(tmp_path, count=3, failed=(0, 1, 2))
    assert "None of the 3 images could be read" in page.text and "by class" not in page.text


def test_the_worst_and_the_median_pictures(tmp_path):
    page, record = write_test(tmp_path, count=40)
    order = sorted(range(40), key=lambda place: record["videos"][place]["miou"])
    shown = [int(v) for n, v in page.attributes if n == "data-place"]
    assert shown == [*order[:6], *order[17:23]]
    assert "The worst 6 of 40 images" in page.text and "The 6 images about the median" in page.text
    worst = record["videos"][order[0]]
    told = f"{worst['name']} mIoU {percent(worst['miou'])}, {percent(worst['pixel_accuracy'])} of"
    assert told in page.text and "their licence: CC BY 4.0" in page.text


@pytest.mark.parametrize(
    ("count", "worst", "median"),
    [(0, [], []), (1, [0], []), (2, [0], [1]), (3, [0], [1]), (4, [0], [1]), (8, [0, 1], [3, 4])],
)
def test_few_pictures_are_shown_once(count, worst, median):
    videos = [{"miou": place / 10} for place in range(count)]
    assert chosen_pictures(videos) == (worst, median)


def test_pictures_without_pixels_are_in_neither():
    assert chosen_pictures([{"miou": None}, {"miou": 0.5}, {"miou": 0.5}]) == ([1], [2])


def test_panels_show_picture_truth_prediction_and_errors(tmp_path):
    truth = np.array([[0, 1, IGNORED, 2], [0, 1, 1, 2]], np.uint8).repeat(20, 0).repeat(20, 1)
    predicted = np.array([[0, 1, 1, 3], [0, 0, 1, 2]], np.uint8).repeat(20, 0).repeat(20, 1)
    picture = np.full((40, 80, 3), (30, 150, 90), np.uint8)
    record, _ = segmentation_record(1, NAMES, palette=[[k, 10 * k, 200] for k in range(5)])
    page = write(tmp_path, record, Strips.of({0: pixel_strip(picture, truth, predicted)}, 1))
    colours = class_colours(NAMES, record["palette"])
    name = record["videos"][0]["name"]
    shown = dict(images(page))
    assert list(shown) == [
        f"{what} of {name}" for what in ("Image", "Truth", "Prediction", "Errors")
    ]
    assert np.abs(shown[f"Image of {name}"].astype(int) - (30, 150, 90)).max() < 8
    wanted = colours[np.where(truth == IGNORED, 0, truth)]
    wanted[truth == IGNORED] = IGNORED_COLOUR
    assert np.array_equal(shown[f"Truth of {name}"], wanted)
    assert np.array_equal(shown[f"Prediction of {name}"], colours[predicted])
    errors = np.array([[0, 0, 2, 1], [0, 1, 0, 0]]).repeat(20, 0).repeat(20, 1)
    assert np.array_equal(error_map(truth, predicted), errors)
    of_errors = np.array((RIGHT_RGB, WRONG_RGB, IGNORED_COLOUR), np.uint8)
    assert np.array_equal(shown[f"Errors of {name}"], of_errors[errors])
    legend = page.text[page.text.index("Errors road") :]
    assert legend.startswith("Errors road sky tree cat (predicted only)")
    assert "border-color:#010ac8" in [v for n, v in page.attributes if n == "style"]


def test_many_classes_in_one_picture_are_counted(tmp_path):
    names = [f"class {k}" for k in range(40)]
    record, _ = segmentation_record(1, names)
    truth = np.arange(40, dtype=np.uint8).repeat(4)[None].repeat(9, 0)
    strip = pixel_strip(np.zeros((*truth.shape, 3), np.uint8), truth, truth)
    page = write(tmp_path, record, Strips.of({0: strip}, 1))
    assert "class 23 and 16 smaller ones" in page.text


def test_a_test_without_small_pictures_and_damaged_ones(tmp_path, caplog):
    record, strips = segmentation_record(4, NAMES)
    page = write(tmp_path, record, None)
    assert "the test kept none" in page.text and not images(page)
    assert "their licence" not in page.text
    damaged = Strips.of({place: strips[place][:99] for place in range(4)}, 4)
    assert not images(write(tmp_path, record, damaged))
    assert "cannot be read" in caplog.text


def test_confusion_is_in_shares_of_true_pixels(tmp_path):
    page, record = write_test(tmp_path)
    counts = {(i, j): count for i, j, count in record["confusion"]}
    pixels = [row["pixels"] for row in record["per_class"]]
    cells = [v for n, v in page.attributes if n == "title" and ", predicted as " in v]
    shown = [(i, j) for (i, j), count in counts.items() if count / pixels[i] >= 0.005]
    assert len(cells) == len(shown)
    for i, j in shown:
        share = percent(counts[i, j] / pixels[i])
        cell = f"{NAMES[i]}, predicted as {NAMES[j]}: {share}, {counts[i, j]:,} pixels"
        assert cell in cells


def test_the_matrix_of_many_classes_leaves_out_tiny_shares():
    rows = [[0, 0, 996], [0, 1, 4], [1, 0, 6], [1, 1, 994]]
    uri = heat_map(rows, 40, least_share=0.005)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    zoom = len(pixels) // 40
    opacity = pixels[::zoom, ::zoom, 3]
    assert opacity[0, 1] == 0 and opacity[1, 0] > 50 and opacity[0, 0] > 250
    assert heat_map(rows, 40) != uri


def test_many_classes(tmp_path):
    page, record = write_test(tmp_path, names=class_names("ade20k"), count=40)
    assert "Number of classes by IoU, in steps of ten points" in page.text
    assert "Number of images by their own mIoU, in steps of ten points" in page.text
    assert page.data("class-names") == class_names("ade20k")
    assert page.data("confusion-counts") == record["confusion"]
    i, j, count = max((row for row in record["confusion"] if row[0] != row[1]), key=lambda r: r[2])
    names = class_names("ade20k")
    assert f"{names[i]} {names[j]} {count:,}" in page.text


def test_curves(tmp_path):
    lines = [{"kind": "train", "epoch": e, "loss": 1.0, "pixel_accuracy": 0.1} for e in (1, 2)]
    lines += [{"kind": "val", "epoch": 2, "loss": 1.1, "miou": 0.2}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    page, _ = write_test(tmp_path)
    labels = [v for n, v in page.attributes if n == "aria-label" and v.endswith("over epochs")]
    assert labels == [
        f"{figure} over epochs"
        for figure in ("Loss", "Pixel accuracy", "Mean intersection over union")
    ]


def test_how_it_was_tested(tmp_path):
    page, _ = write_test(tmp_path, count=3)
    assert "scaled to fit into 2048 x 512 pixels, sides multiples of 32" in page.text


def test_everything_is_escaped(tmp_path):
    evil = ["<script>alert(1)</script>", "a & b", "\"><img src=x onerror='alert(2)'>"]
    page, _ = write_test(tmp_path, names=evil, failed=(1,))
    source = (tmp_path / "report.html").read_text("utf-8")
    assert evil[0] in page.text and "<script>alert" not in source and "<img src=x" not in source
    assert len(re.findall("<script", source)) == 1
