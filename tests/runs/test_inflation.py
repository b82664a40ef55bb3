"""A video model from scratch and from an image model inflated: four runs a seed, and a table of all seeds."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.support.tiny_run import tiny_image_overrides, tiny_overrides
from uniformer_video.config.settings import load_config
from uniformer_video.data.loading import dataset
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.runs import inflation, inflation_table
from uniformer_video.runs.build_model import build_model, load_tested_model
from uniformer_video.runs.inflation import study_inflation
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.zoo.inflate import inflate_file

STARTS = ["scratch", "average", "center"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("dark", "light"):
            (root / part / name).mkdir(parents=True)
            for number in range(4):
                noise = rng.integers(0, 128, (40, 40, 3)) + 127 * (name == "light")
                path = root / part / name / f"{number}.jpg"
                Image.fromarray(noise.astype(np.uint8)).save(path)
    return root


@pytest.fixture
def configs(demo, pictures, tmp_path):
    """A function: (video config, image config) of tiny runs with these changes, into tmp_path / "out"."""

    def load(**changes):
        changes = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0.5, **changes}
        video = tiny_overrides(demo, tmp_path / "out", **changes)
        return load_config(overrides=video), load_config(
            overrides=tiny_image_overrides(pictures, tmp_path / "out", **changes)
        )

    return load


def test_four_runs_a_seed_and_one_table(configs, tmp_path, monkeypatch, caplog, no_page):
    caplog.set_level("INFO")
    decoded = {}
    sample = dataset.TrainDataset.__getitem__

    def record(self, key):
        decoded.setdefault(len(runs), []).append(repr(key))
        return sample(self, key)

    runs, run = [], inflation.run

    def count(cfg, *rest, **more):
        runs.append(cfg)
        return run(cfg, *rest, **more)

    monkeypatch.setattr(dataset.TrainDataset, "__getitem__", record)
    monkeypatch.setattr(inflation, "run", count)
    video, images = configs()
    out = study_inflation(video, images, ("videos", "images"), target=0.01)
    assert len(runs) == 4
    assert (
        decoded[2] == decoded[3] == decoded[4] != []
    )  # the same videos, augmented alike, in this order
    starts = [(cfg.UNIFORMER.PRETRAIN_NAME, cfg.UNIFORMER.INFLATE_MODE) for cfg in runs[1:]]
    image = str(out / "seed0/images/best.pt")
    assert starts == [("", "average"), (image, "average"), (image, "center")]
    assert "inflated from 2D to 3D (center)" in caplog.text

    record = json.loads((out / "inflation.json").read_text())
    assert [each["start"] for each in record["seeds"][0]["runs"]] == STARTS
    for each in record["seeds"][0]["runs"]:
        folder = out / "seed0" / each["folder"]
        tested = json.loads((folder / "results.json").read_text())["summary"]["top1"]
        assert each["test"] == tested and each["curve"] and each["steps"] == 4
    table = (out / "inflation.md").read_text().splitlines()
    assert table[0].startswith("| seed | start | steps to 1 % | top-1, tested |")
    assert [row.split(" | ")[1] for row in table[2:5]] == STARTS

    caplog.clear()
    (out / "seed1").mkdir()
    study_inflation(video, images, ("videos", "images"), target=0.99)
    assert caplog.text.count("Training is finished") == 4 and "step 1/" not in caplog.text
    assert "0     scratch  > 4 " in caplog.text and "seed1 is not finished" in caplog.text

    caplog.clear()
    shutil.copytree(out / "seed0", out / "seed2")
    other = json.loads((out / "seed2/seed.json").read_text())
    other["seed"], other["settings"]["videos"]["SOLVER.BASE_LR"] = 2, "0.5"
    (out / "seed2/seed.json").write_text(json.dumps(other))
    study_inflation(video, images, ("videos", "images"))
    assert "seed 2 was trained with other settings than seed 0 (SOLVER.BASE_LR)" in caplog.text

    (out / "seed2/seed.json").write_text("{}")
    with pytest.raises(DataError, match=r"seed2/seed.json cannot be read \(parts of it"):
        study_inflation(video, images, ("videos", "images"))


@pytest.mark.parametrize(
    ("changes", "swap", "message"),
    [
        ({}, True, "--cfg takes the config of the video model"),
        ({"TEST__ENABLE": False}, False, "leave TEST.ENABLE False out"),
        ({"UNIFORMER__INFLATE_MODE": "center"}, False, "differ in UNIFORMER.INFLATE_MODE"),
        ({"UNIFORMER__PRETRAIN_NAME": "a.pt"}, False, "differ in UNIFORMER.PRETRAIN_NAME"),
    ],
)
def test_settings_that_make_no_comparison(configs, changes, swap, message):
    video, images = configs(**changes)
    with pytest.raises(ConfigError, match=message):
        study_inflation(*((images, video) if swap else (video, images)), ("a", "b"))


def test_a_folder_with_a_run_of_its_own_is_refused(configs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.yaml").write_text("")
    with pytest.raises(ConfigError, match="holds a run of its own"):
        study_inflation(*configs(), ("a", "b"))


def test_absent_sets_are_named_with_what_makes_them(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (
        ["bench", "inflation", "--cfg", "demo/inflate"],
        ["run", "--cfg", "demo/inflate"],
        ["run", "--cfg", "demo/inflate_images"],
    ):
        status, _, errors = call(*words)
        assert status == 2
        assert "make-demo-data --inflation`" in errors


def test_absent_videos_are_named_before_the_images_are_learnt(pictures, tmp_path):
    video = load_config(overrides=tiny_overrides(tmp_path / "absent", tmp_path / "out"))
    images = load_config(overrides=tiny_image_overrides(pictures, tmp_path / "out"))
    with pytest.raises(DataError, match=r"absent, of the videos; set DATA\.PATH_TO_DATA_DIR"):
        study_inflation(video, images, ("a", "b"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("DATA.PATH_TO_DATA_DIR", "other"), ("MODEL.MODEL_NAME", "uniformer_b")],
)
def test_what_images_and_videos_differ_in_is_no_setting_of_both(call, key, value):
    status, _, errors = call("bench", "inflation", "--cfg", "demo/inflate", key, value)
    assert status == 2
    assert f"{key} is another one for the images and for the videos" in errors


def seed(number, curves):
    """A made-up record of a seed."""
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    runs = [
        {"start": start, "curve": curve, "steps": 30, "figure": "top-1", "test": figure}
        | {"difference": None if start == "scratch" else {"value": 0.1, "low": 0.02, "high": 0.2}}
        for start, curve in zip(STARTS, curves, strict=True)
    ]
    return {"seed": number, "settings": {}, "images": {"test": {"value": 0.9}}, "runs": runs}


def test_a_run_that_never_gets_there_stands_in_the_table(tmp_path):
    never, late, early = [[10, 0.2], [30, 0.8]], [[10, 0.1], [30, 0.9]], [[10, 0.95], [30, 0.7]]
    seeds = [seed(0, [never, late, early]), seed(1, [late, never, late])]
    lines = inflation_table.write_table(tmp_path, seeds, 0.9, ["a note"])
    assert [line.split()[2:4] for line in lines[1:7]] == [
        [">", "30"], ["30", "50.0"], ["10", "50.0"], ["30", "50.0"], [">", "30"], ["30", "50.0"]
    ]  # fmt: skip
    assert "+10.0 (+2.0 to +20.0)" in lines[2] and "50.0 % (40.0-60.0)" in lines[1]
    assert "average against scratch, 2 seeds: 90 % sooner in 1, later in 1;" in lines[7]
    assert "center against scratch, 2 seeds: 90 % sooner in 1, later in 0;" in lines[8]
    assert lines[9] == "a note"


@pytest.fixture
def image_run(pictures, tmp_path, no_page):
    """The folder of a finished image run, with averaged weights and pixels of its own scale."""
    changes = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0.5, "EMA__ENABLE": True}
    changes |= {"DATA__MEAN": "[0.5,0.5,0.5]", "DATA__STD": "[0.5,0.5,0.5]", "TEST__ENABLE": False}
    cfg = load_config(overrides=tiny_image_overrides(pictures, tmp_path / "images", **changes))
    inflation.run(cfg, "images")
    return tmp_path / "images"


def test_an_image_checkpoint_of_ours_starts_a_video_run(image_run, demo, tmp_path, caplog):
    best = image_run / "best.pt"
    config = tiny_overrides(
        demo, tmp_path / "out", UNIFORMER__PRETRAIN_NAME=best, UNIFORMER__INFLATE_MODE="center"
    )
    sizes = ("UNIFORMER.EMBED_DIM", "UNIFORMER.DEPTH", "UNIFORMER.HEAD_DIM")
    pairs = zip(config[::2], config[1::2], strict=True)
    named = [word for pair in pairs if pair[0] not in sizes for word in pair]
    cfg = load_config(overrides=named)  # the sizes are those that the checkpoint records
    model, report = build_model(cfg, 8, [f"class {number}" for number in range(8)])
    weights, lines = read_weights(best), "\n".join(report.lines())
    assert model.arguments["embed_dims"] == [8, 16, 16, 32] and model.arguments["ndim"] == 3
    assert f"taken: the {weights.chosen} weights" in lines
    assert "inflated from 2D to 3D (center): " in lines
    assert "trained on pixels of mean [0.5, 0.5, 0.5]" in lines and "DATA.MEAN, DATA.STD" in lines
    assert "head.weight" in report.replaced[0]
    middle = model.blocks1[0].attn.weight[:, :, 1]
    assert middle.equal(weights.state["blocks1.0.attn.weight"])

    _, report = build_model(load_config(overrides=[*named, "UNIFORMER.PRETRAIN_NAME",
                                                   str(image_run / "last.pt")]), 8)  # fmt: skip
    assert "its training stood at epoch 1; this one begins at 0" in "\n".join(report.lines())

    with pytest.raises(CheckpointError, match=r"holds image \(2D\) weights, and uniformer_s takes"):
        load_tested_model(cfg, best)


def test_video_weights_start_no_image_run(demo, pictures, tmp_path, image_run):
    inflate_file(image_run / "best.pt", tmp_path / "video.pt", "average", (3, 5, 5))
    images = tiny_image_overrides(
        pictures, tmp_path / "out", UNIFORMER__PRETRAIN_NAME=tmp_path / "video.pt"
    )
    with pytest.raises(
        CheckpointError, match=r"holds video \(3D\) weights, and image_uniformer_s takes"
    ):
        build_model(load_config(overrides=images), 2)
