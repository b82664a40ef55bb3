"""Tests and predictions of images: words, pages, classes, robustness, teachers."""

import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.tiny_run import tiny_image_overrides
from uniformer_video.config.settings import load_config
from uniformer_video.errors import CheckpointError, ConfigError, DecodeError
from uniformer_video.evaluation.markdown import as_markdown
from uniformer_video.evaluation.record import Results
from uniformer_video.evaluation.results import load_results
from uniformer_video.evaluation.strips import Strips
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.records import records_at
from uniformer_video.runs.calibrate import calibrate
from uniformer_video.runs.multi_view_test import report
from uniformer_video.runs.rescore import Choice, rescore
from uniformer_video.runs.run import run

COLORS = {"blue": (90, 90, 160), "green": (90, 160, 90), "red": (160, 90, 90)}
OF_VIDEOS = re.compile(r"(?<!uniformer-)\b(videos?|clips?|frames?)\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Noise around a colour, the class; one wide picture of each, and one that is broken."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part in ("train", "val"):
        for name, color in COLORS.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(4):
                size = (40, 100 if number == 3 else 44, 3)
                noise = rng.normal(0, 60, size) + np.array(color)
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    (root / "val" / "red" / "broken.png").write_bytes(b"no picture")
    return root


def settings(pictures, output, **changes):
    short = {"SOLVER.MAX_EPOCH": 2, "SOLVER.BASE_LR": 3e-3, "MIXUP.ENABLE": False, **changes}
    return load_config(overrides=tiny_image_overrides(pictures, output, **short))


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """The folder of a run, tested for robustness too."""
    return run(
        settings(pictures, tmp_path_factory.mktemp("run"), **{"TEST.ROBUSTNESS": "[all]"}), "i"
    )


def results_by(trained, pictures, output, **changes):
    """The folder of a test of the trained weights by other settings."""
    only = {"TRAIN.ENABLE": False, "TEST.CHECKPOINT_FILE_PATH": trained / "best.pt", **changes}
    return run(settings(pictures, output, **only), "i")


def test_log_and_page_speak_of_images(trained, pictures, tmp_path, caplog):
    caplog.set_level("INFO", "uniformer_video")
    folder = results_by(trained, pictures, tmp_path, **{"TEST.ROBUSTNESS": "[jpeg]"})
    said = "\n".join(record.message for record in caplog.records)
    assert "13 images of 3 classes" in said and "1 of 13 images failed" in said
    assert not OF_VIDEOS.search(re.sub(r"cannot be read .*|\S*/\S*", "", said))
    page = report(trained).read_text()
    text = re.sub(r"<(script|style|pre|details)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    text = re.sub(r"cannot be read as a picture.*?again|a thicker frame", "", html.unescape(text))
    assert not OF_VIDEOS.search(text.partition("Changed on the command line")[0])
    assert "the centre of an image, 32 px of a short side of 36 px" in text
    assert 'data-noun="image"' in page and 'id="crops"' not in page
    assert {"views", "disagreement", "crops"}.isdisjoint(load_results(folder)["analyses"])


def test_a_row_in_markdown(trained):
    header, _, row = as_markdown([load_results(trained)]).splitlines()
    assert "| images |" in header and "videos" not in header
    assert row.startswith("| image_uniformer_s | image | 32 | 1x1 | 0.00018 x 1 |")


def test_the_small_picture_of_an_image_shows_it_once(trained):
    results = load_results(trained)
    strips = Strips.load(trained, len(results["videos"]))
    for place, video in enumerate(results["videos"]):
        if "broken" not in video["name"]:
            width, height = Image.open(io.BytesIO(strips[place])).size
            assert (width, height) == ((256, 102) if "3.png" in video["name"] else (141, 128))


def test_robustness_takes_the_kinds_that_images_have(trained, pictures, tmp_path):
    found = load_results(trained)["analyses"]["robustness"]
    assert [row["kind"] for row in found["kinds"]] == ["jpeg", "blur", "noise"]
    with pytest.raises(
        ConfigError, match=r"rate is about the frames of a video.* jpeg, blur, noise"
    ):
        results_by(trained, pictures, tmp_path, **{"TEST.ROBUSTNESS": "[jpeg, rate]"})


def part_of(pictures, root, names):
    for name, source in names.items():
        (root / "val").mkdir(parents=True, exist_ok=True)
        (root / "val" / name).symlink_to(pictures / "val" / source, target_is_directory=True)
    return root


@pytest.mark.parametrize("asked", ["present", "blue, red"])
def test_some_classes_are_told_apart_alone(trained, pictures, tmp_path, asked):
    data = part_of(pictures, tmp_path / "data", {"blue": "blue", "red": "red"})
    if asked != "present":
        data = pictures
    folder = results_by(trained, data, tmp_path / "out", **{"TEST.AMONG_CLASSES": asked})
    results, whole = Results.load(folder), Results.load(trained)
    assert results.class_names == ["blue", "red"]
    out = 0 if asked == "present" else 4
    told = {"asked": asked, "classes": 2, "of": 3, "left_out_videos": out}
    assert results.among_classes == told and whole.among_classes is None
    assert [video["label"] for video in results.videos] == [0] * 4 + [1] * 5
    assert any("among 2 of the model's 3 classes" in note for note in results.notes)
    rows = [place for place, video in enumerate(whole.videos) if video["label"] != 1]
    np.testing.assert_array_equal(results.scores, whole.scores[rows][:, :, [0, 2]])
    assert ", 2 of 3 classes (1 failed) |" in as_markdown([load_results(folder)])
    again = load_results(rescore(trained, tmp_path / "again", Choice(classes=["blue", "red"])))
    assert again["summary"]["top1"] == results.summary["top1"]
    with pytest.raises(Exception, match="still answer"):
        calibrate(folder, tmp_path / "calibrated.pt")


def test_classes_that_are_no_test_are_refused(trained, pictures, tmp_path):
    with pytest.raises(ConfigError, match=r"TEST\.AMONG_CLASSES blue leaves 1 class,"):
        results_by(trained, pictures, tmp_path, **{"TEST.AMONG_CLASSES": "blue"})
    with pytest.raises(ConfigError, match=r"TEST\.AMONG_CLASSES: 'pink' is none of the test's"):
        results_by(trained, pictures, tmp_path, **{"TEST.AMONG_CLASSES": "pink"})


def test_folders_may_be_called_by_the_numbers_of_classes(trained, pictures, tmp_path):
    numbered = {"0": "blue", "2": "red", "1": "green"}
    data = part_of(pictures, tmp_path / "data", numbered)
    results = Results.load(results_by(trained, data, tmp_path / "out"))
    assert results.class_names == list(COLORS)
    assert results.summary["top1"] == Results.load(trained).summary["top1"]
    assert any("called by numbers (0, 1, 2)" in note for note in results.notes)


def test_other_pixels_than_those_of_the_weights_are_told(trained, pictures, tmp_path):
    folder = results_by(trained, pictures, tmp_path, **{"DATA.MEAN": "[0.5, 0.5, 0.5]"})
    (note,) = (note for note in load_results(folder)["notes"] if "DATA.MEAN" in note)
    assert (
        "for images with DATA.MEAN [0.45, 0.45, 0.45]" in note and "takes [0.5, 0.5, 0.5]" in note
    )


def test_predictions_take_pictures_and_no_videos(trained, pictures, tmp_path):
    predictor = Predictor.from_checkpoint(trained / "best.pt")
    assert "images of 32 pixels" in repr(predictor)

    def paths_at(place):
        return [Path(record.path) for record in records_at([place], predictor.medium)[0]]

    found = paths_at(pictures / "val" / "blue")
    assert [path.name for path in found] == [f"{number}.png" for number in range(4)]
    with pytest.raises(DecodeError, match=r"a\.mp4 is a video by its name, .*takes images"):
        predictor(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_text(f"{found[1]} 3\n{found[0]} 3\n")
    assert paths_at(tmp_path / "a.txt") == [found[1], found[0]]
    record = json.loads(json.dumps(predictor(found[0]).to_dict(2)))
    assert len(record["top"]) == 2


def test_an_image_model_learns_from_one(trained, pictures, tmp_path):
    """Of another size and other pixels, so that the teacher's input is made over."""
    changes = {"TEACHER.CHECKPOINT": trained / "best.pt", "DATA.TRAIN_CROP_SIZE": 40}
    changes |= {"DATA.MEAN": "[0.5, 0.5, 0.5]", "TEST.ENABLE": False, "SOLVER.MAX_EPOCH": 2}
    run(settings(pictures, tmp_path / "out", **changes), "i")
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line).get("distillation_loss") for line in lines]
    assert all(loss is None or np.isfinite(loss) for loss in losses) and any(losses)
    torch.save({"model_state": {}}, tmp_path / "uniformer_small_k400_16x4.pth")
    with pytest.raises(CheckpointError):
        run(
            settings(
                pictures,
                tmp_path / "video",
                **{"TEACHER.CHECKPOINT": tmp_path / "uniformer_small_k400_16x4.pth"},
            ),
            "i",
        )
