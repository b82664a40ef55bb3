"""A whole run of segmentation: its figures against the saved predictions, stops, broken masks."""

import json

import numpy as np
import pytest
import torch
from masked_pictures import write_masked_pictures
from PIL import Image

from uniformer_video.config.settings import load_config
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import join_ranks
from uniformer_video.errors import ConfigError, UserError
from uniformer_video.evaluation.markdown import as_markdown
from uniformer_video.evaluation.record import Results
from uniformer_video.inference.segmenter import Segmenter
from uniformer_video.runs import build_model, crossval, fit, score_pixels
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.run import run
from uniformer_video.tasks.segmentation import Segmentation

SETTINGS = {
    "MODEL.MODEL_NAME": "semantic_fpn_uniformer_s",
    "UNIFORMER.EMBED_DIM": "[8,16,16,32]",
    "UNIFORMER.DEPTH": "[1,1,1,1]",
    "UNIFORMER.HEAD_DIM": "8",
    "UNIFORMER.NECK_CHANNELS": "16",
    "UNIFORMER.HEAD_CHANNELS": "8",
    "TRAIN.TASK": "segmentation",
    "TRAIN.DATASET": "masks",
    "TRAIN.BATCH_SIZE": "4",
    "DATA.TRAIN_CROP_SIZE": "32",
    "SEGMENTATION.SCALE": "[64,48]",
    "SOLVER.MAX_EPOCH": "2",
    "SOLVER.WARMUP_EPOCHS": "1",
    "SOLVER.BASE_LR": "3e-3",
    "DATA_LOADER.NUM_WORKERS": "0",
    "TENSORBOARD.ENABLE": "False",
    "LOG_PERIOD": "100",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_masked_pictures(tmp_path_factory.mktemp("pictures"), train=8, val=3, side=48)


def settings(data, output, **changes):
    values = {**SETTINGS, "DATA.PATH_TO_DATA_DIR": str(data), "OUTPUT_DIR": str(output)}
    values |= {key.replace("__", "."): str(value) for key, value in changes.items()}
    return load_config(overrides=[part for pair in values.items() for part in pair])


@pytest.fixture(scope="module")
def tested(pictures, tmp_path_factory):
    """The folder of a run that was trained and tested."""
    output = tmp_path_factory.mktemp("runs") / "run"
    assert run(settings(pictures, output), "tiny") == output
    return output


def record_of(folder):
    return {"among_classes": None, **json.loads((folder / "results.json").read_text())}


def counted(folder, data, num_classes):
    """Areas and confusion from the files alone, pixel by pixel."""
    results = Results.load(folder)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    areas = []
    for video in results.videos:
        predicted = np.asarray(Image.open(folder / video["prediction"]))
        truth = np.asarray(Image.open(video["mask"]))
        assert predicted.shape == truth.shape
        own = np.zeros_like(confusion)
        for true, said in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True):
            own[true, said] += true != 255
        confusion += own
        areas.append([own.diagonal(), own.sum(0), own.sum(1)])
    return np.array(areas), confusion


def test_the_figures_are_those_of_the_saved_predictions(tested, pictures):
    results = Results.load(tested)
    areas, confusion = counted(tested, pictures, 3)
    assert np.array_equal(results.areas, areas)
    cells = {(row, column): count for row, column, count in results.task_parts["confusion"]}
    assert cells == {tuple(at): confusion[tuple(at)] for at in np.argwhere(confusion)}
    total = areas.sum(0)
    iou = [i / (p + t - i) for i, p, t in total.T if p + t]
    assert results.summary["miou"]["value"] == pytest.approx(np.mean(iou), abs=1e-12)
    assert results.summary["pixel_accuracy"]["value"] == total[0].sum() / total[2].sum()
    assert results.task == "segmentation" and results.protocol.views.short_side == 48
    assert (tested / "report.html").is_file()
    with pytest.raises(UserError, match="holds the areas, labels, names of a test of the task"):
        Results.load(tested).scores  # noqa: B018


def test_the_validation_says_what_the_test_says(tested):
    """Both see the same pictures in one size here."""
    lines = [json.loads(line) for line in (tested / "metrics.jsonl").read_text().splitlines()]
    best = max(line["miou"] for line in lines if line["kind"] == "val")
    assert best == pytest.approx(Results.load(tested).summary["miou"]["value"], abs=1e-9)
    assert all(0 < line["loss"] < 10 for line in lines if line["kind"] == "val")


def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    pictures, tested, tmp_path, monkeypatch
):
    output = tmp_path / "run"
    validate = score_pixels.validate
    monkeypatch.setattr(score_pixels, "validate", lambda *args: pytest.exit("killed"))
    with pytest.raises(BaseException, match="killed"):
        run(settings(pictures, output, TRAIN__CHECKPOINT_MINUTES="0"), "tiny")
    assert (output / "last.pt").is_file()
    monkeypatch.setattr(score_pixels, "validate", validate)
    run(settings(pictures, output, TRAIN__CHECKPOINT_MINUTES="0"), "tiny")
    whole, resumed = (
        torch.load(folder / "last.pt", weights_only=True) for folder in (tested, output)
    )
    assert whole["model"].keys() == resumed["model"].keys()
    for key, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][key]), key


def test_patience_counts_the_validations_of_masks(pictures, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    scores = iter([0.5, 0.25])
    monkeypatch.setattr(fit, "_validate", lambda *args: {"raw": next(scores)})
    changes = {"TRAIN__PATIENCE": 1, "SOLVER__MAX_EPOCH": 5, "BN__USE_PRECISE_STATS": True}
    run(settings(pictures, tmp_path / "run", **changes, TEST__ENABLE=False), "tiny")
    assert "Training ended early, after epoch 2 of 5" in caplog.text
    assert caplog.text.count("BatchNorm's statistics measured on 8 images") == 2


def test_one_training_is_tested_with_any_attention(pictures, tested):
    """In folders of their own, which say how; no weight depends on it."""
    whole = Results.load(tested)
    assert whole.model["attention"] == "over the whole map"
    for changes, called, told in (
        ({"UNIFORMER__WINDOW": 2}, "test-window2-", "within windows of 2 tokens"),
        (
            {"UNIFORMER__WINDOW": 2, "UNIFORMER__HYBRID": True},
            "test-window2-hybrid-",
            "within windows of 2 tokens, over the whole map in every fourth block",
        ),
    ):
        folder = run(settings(pictures, tested, TRAIN__ENABLE="False", **changes), "tiny")
        assert folder.parent == tested and folder.name.startswith(called)
        results = Results.load(folder)
        assert results.model["attention"] == told
        assert results.model["checkpoint_sha256"] == whole.model["checkpoint_sha256"]
        assert results.model["gflops_view"] > whole.model["gflops_view"]  # windows are filled up
        assert f"(attention {told})" in (folder / "report.html").read_text()
    again = settings(pictures, tested, TRAIN__ENABLE="False", UNIFORMER__WINDOW=-1)
    assert Results.load(run(again, "tiny")).model["attention"] == whole.model["attention"]


def test_a_broken_mask_is_named_and_the_other_pictures_count(pictures, tmp_path, caplog):
    data = tmp_path / "data"
    write_masked_pictures(data, train=8, val=3, side=48)
    bad, *_ = sorted((data / "val" / "masks").iterdir())
    values = np.asarray(Image.open(bad)).copy()
    values[5, 7] = 9
    Image.fromarray(values).save(bad)
    caplog.set_level("INFO")
    run(settings(data, tmp_path / "run", SOLVER__MAX_EPOCH=2), "tiny")
    results = Results.load(tmp_path / "run")
    assert results.summary["failed"] == 1 and results.summary["decoded"] == 2
    (failure,) = results.failures
    assert str(bad) in failure["reason"] and "9" in failure["reason"]
    assert results.videos[0]["prediction"] is None
    assert "1 validation image cannot be read" in caplog.text
    values[5, 7] = 1
    Image.fromarray(values).save(bad)
    caplog.clear()
    again = settings(data, tmp_path / "run", SOLVER__MAX_EPOCH=2)
    run(again, "tiny")
    assert "1 image could not be read in that test, and nothing is read again now" in caplog.text
    (tmp_path / "run" / "results.json").unlink()
    caplog.clear()
    run(again, "tiny")
    assert Results.load(tmp_path / "run").summary["failed"] == 0
    assert "could not be read in that test" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"MODEL__MODEL_NAME": "image_uniformer_s"}, "needs a model that classifies pixels"),
        ({"TRAIN__TASK": "single-label"}, "cannot hold; take kinetics"),
        ({"DATA__FLIP": "by-names"}, "goes by the class of a whole picture"),
        ({"SOLVER__CLASS_BALANCE": "0.5"}, "give SOLVER.CLASS_WEIGHTS"),
        ({"TEST__MOTION_CHECK": "True"}, "TEST.MOTION_CHECK"),
    ],
)
def test_what_does_not_go_with_masks(pictures, tmp_path, changes, told):
    with pytest.raises(UserError, match=told):
        run(settings(pictures, tmp_path / "run", **changes), "tiny")
    assert not (tmp_path / "run").exists()


def test_no_cross_validation(pictures, tmp_path):
    with pytest.raises(ConfigError, match="`run` each fold by itself"):
        crossval.crossval(settings(pictures, tmp_path / "run", DATA__FOLDS=2), "tiny")


def test_classes_in_another_order_are_refused(tested, tmp_path):
    data = tmp_path / "data"
    write_masked_pictures(data, train=4, val=2, side=48)
    names = (data / "classes.txt").read_text().splitlines()
    (data / "classes.txt").write_text("\n".join(reversed(names)) + "\n")
    changes = {"TRAIN__ENABLE": False, "TEST__CHECKPOINT_FILE_PATH": tested / "best.pt"}
    with pytest.raises(UserError, match="in this order, and the masks number theirs in another"):
        run(settings(data, tmp_path / "run", **changes), "tiny")


def test_several_sizes_mirroring_and_windows(pictures, tested, tmp_path, caplog):
    caplog.set_level("INFO")
    changes = {
        "TRAIN__ENABLE": False,
        "TEST__CHECKPOINT_FILE_PATH": tested / "best.pt",
        "SEGMENTATION__RATIOS": "[0.75, 1.0]",
        "SEGMENTATION__FLIP": True,
        "SEGMENTATION__CROP_SIZE": 32,
        "SEGMENTATION__ALIGN": 32,
    }
    folder = run(settings(pictures, tmp_path / "run", **changes), "tiny")
    results = Results.load(folder)
    assert results.protocol.views.ratios == (0.75, 1.0) and results.protocol.views.align == 32
    areas, _ = counted(folder, pictures, 3)
    assert np.array_equal(results.areas, areas)
    assert "3 images, 4 views of each" in caplog.text  # two sizes, each mirrored too
    header, _, row = as_markdown([record_of(folder)], ["miou"]).splitlines()
    assert "| 1x4 |" in row and " a window |" in row
    assert header.endswith("| images | mIoU, % | mean accuracy, % | pixel accuracy, % |")


def test_costs_of_a_table_are_of_views_of_one_size(tested):
    record = record_of(tested)
    for changes, told in (
        ({"flip": True}, " x 2 |"),
        ({"ratios": [0.5, 1.0, 1.5], "flip": True}, " at ratio 1 |"),
    ):
        changed = {**record, "protocol": {**record["protocol"], **changes}}
        (row,) = as_markdown([changed], ["miou"]).splitlines()[2:]
        assert told in row


def test_a_prediction_is_made_as_the_test_was(tested):
    segmenter = Segmenter.from_checkpoint(tested / "best.pt", device="cpu")
    results = Results.load(tested)
    assert list(segmenter.class_names) == list(results.class_names)
    for video in results.videos:
        found = segmenter(video["path"])
        with Image.open(tested / video["prediction"]) as mask:
            assert np.array_equal(np.asarray(mask), found.classes)
            assert mask.getpalette()[:9] == segmenter.palette.ravel().tolist()


def test_a_checkpoint_tells_the_colours_of_its_classes(pictures, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).symlink_to(pictures / split)
    (tmp_path / "classes.txt").write_text("ground,1,2,3\ndisc,4,5,6\nsquare,7,8,9\n")
    names = ["ground", "disc", "square"]
    cfg = settings(tmp_path, tmp_path / "run")
    model, _ = build_model.build_model(cfg, 3)
    metadata = build_model.build_metadata(cfg, model, names)
    assert metadata["palette"] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    cfg = settings(pictures, tmp_path / "run")
    assert "palette" not in build_model.build_metadata(cfg, model, names)


def test_joined_folders_say_nothing_of_classes_that_stand_in_their_masks(pictures, tmp_path):
    other = write_masked_pictures(tmp_path / "other", train=4, val=2, side=48)
    cfg = settings(f"[{pictures}, {other}]", tmp_path / "run")
    notes = " ".join(build_data(cfg).notes)
    assert f"{pictures}: 3 images, 60.0%; {other}: 2 images, 40.0%." in notes


def test_the_loss_of_a_validation_counts_pixels_as_that_of_a_training_does(pictures, tested):
    """Ignored pixels have none and count in its mean, so that both curves of the page can be compared."""
    cfg = settings(pictures, tested)
    data = build_data(cfg)
    model, _ = build_model.load_tested_model(cfg, tested / "best.pt")
    with join_ranks(60, 60) as ranks:
        found = score_pixels.validate(cfg, Segmentation(), {"raw": model}, data, ranks)
    total, pixels = 0.0, 0
    for record in data.val:
        picture = np.array(Image.open(record.path).convert("RGB"))
        mask = np.asarray(Image.open(record.mask)).astype(np.int64)
        views = Protocol.from_cfg(cfg).views
        (view,) = views.inputs(picture)
        with torch.no_grad():
            logits = torch.nn.functional.interpolate(
                model(view), size=view.shape[-2:], mode="bilinear", align_corners=False
            )
        truth = torch.from_numpy(mask)[None]
        total += float(Segmentation().loss(logits, truth)) * mask.size
        pixels += mask.size
    assert found.measured["raw"][1] == pytest.approx(total / pixels, abs=1e-5)
