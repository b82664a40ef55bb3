"""`bench run`: the parts of a training and of a test, and figures that are compared later."""

import json
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from tiny_run import tiny_image_overrides

from uniformer_video.bench import figures, limits, model, run
from uniformer_video.bench.figures import Figure, Measured, comparison
from uniformer_video.config.settings import load_config
from uniformer_video.signals import Interrupted

PARTS = [
    "waiting for data",
    "transfer",
    "augment and mix",
    "forward",
    "backward",
    "optimiser",
    "logging",
]
PROCESSES = ["processes: open and decode", "processes: augment"]
OF_A_TEST = ["waiting for data", "join views", "transfer", "forward", "logging"]


@pytest.fixture(autouse=True)
def one_rate(monkeypatch):
    rates = count(1.0)  # another one whenever it is measured
    monkeypatch.setattr(limits, "matrix_rate", lambda *_: Figure.of([next(rates)], "GFLOP/s"))


def own(found, phase):
    return {
        name.partition("/")[2]: figure
        for name, figure in found.figures.items()
        if name.startswith(f"{phase}/")
    }


def test_the_parts_of_a_step_and_of_a_test_are_the_whole(tiny, call, tmp_path):
    written = tmp_path / "now.json"
    status, out, err = call(
        *("bench", "run", "--steps", 2, "--test", "--videos", 3, "--repeat", 1, "--json", written),
        *tiny(DATA_LOADER__NUM_WORKERS=1, OUTPUT_DIR=tmp_path / "no run", DATA__CACHE_GB=1),
    )
    assert status == 0, err
    assert not (tmp_path / "no run").exists()
    assert "DATA.CACHE_GB is left out" in out
    told = json.loads(written.read_text())
    found = Measured("run", {}, {name: Figure(**each) for name, each in told["figures"].items()})
    train, test = own(found, "train"), own(found, "test")
    assert [name for name in train if name in PARTS] == PARTS
    assert sum(train[name].high for name in PARTS) >= train["whole step"].median > 0
    assert all(train[name].median > 0 and train[name].count == 2 for name in PROCESSES)
    assert train["loader alone"].median > 0 and train["loader alone"].unit == "clips/s"
    assert [name for name in test if name in OF_A_TEST] == OF_A_TEST
    assert sum(test[name].median for name in OF_A_TEST) <= test["whole video"].median
    forward = train["limit: forward"].median  # of four clips
    assert train["limit: backward"].median == pytest.approx(2 * forward)
    assert test["limit: forward"].median == pytest.approx(forward / 2)  # of two views
    assert " bench run --steps 2 --test --videos 3 --repeat 1 " in told["command"]
    assert told["what"]["TRAIN.BATCH_SIZE"] == 4 and told["machine"]["threads"] == 1
    assert "whole step" in out and "Test: 3 videos, 2 views of each, fp32, 1 worker" in out
    status, out, _ = call(
        "bench", "run", "--steps", 2, "--compare", written, *tiny(TRAIN__BATCH_SIZE=2)
    )
    assert status == 0
    assert "NOT THE SAME SETTINGS: " in out and "TRAIN.BATCH_SIZE 4 then, 2 now" in out
    assert "only then: test/" in out


def test_the_loader_alone_takes_as_many_batches_as_count():
    taken = []

    def epoch(number, ahead):
        assert number < ahead
        for slot in range(4):
            taken.append((number, slot))
            yield None

    trainer = SimpleNamespace(
        own_slots=range(4),
        plan=SimpleNamespace(steps_per_epoch=1, slot_size=2),
        state=SimpleNamespace(progress=SimpleNamespace(epoch=0)),
        loader=SimpleNamespace(epoch=epoch),
    )
    cfg = load_config(overrides=["DATA_LOADER.NUM_WORKERS", "8"])
    run._loader_alone(cfg, trainer, 2)
    assert len(taken) == 2 * 8 + 3 * 8 + 1 and taken[-1] == (11, 0)


def test_an_interrupted_one_says_that_nothing_is_kept(call, monkeypatch, tiny):
    def stop(*_):
        raise Interrupted("the run was asked to stop; all is saved")

    monkeypatch.setattr(run, "measure", stop)
    status, _, err = call("bench", "run", *tiny())
    assert status == 130 and err == "Interrupted; nothing is kept of what was measured.\n"


def test_a_broken_video_is_named(tiny, tmp_path, demo):
    cfg = load_config(overrides=tiny(DATA__MAX_BAD_RATIO=0.5))
    broken = tmp_path / "videos"
    broken.mkdir()
    lines = (demo / "train.csv").read_text().splitlines()
    (broken / "bad.mp4").write_bytes(b"broken")
    lines = [f"{demo}/{line}" for line in lines[:7]] + ["bad.mp4,0"]
    (broken / "train.csv").write_text("\n".join(lines) + "\n")
    (broken / "classes.txt").write_text((demo / "classes.txt").read_text())
    cfg = load_config(overrides=tiny(DATA__MAX_BAD_RATIO=0.5, DATA__PATH_TO_DATA_DIR=broken))
    found = run.measure(cfg, 3)
    assert any("1 video replaced as broken" in note and "bad.mp4" in note for note in found.notes)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--steps", "0"], "at least 1"),
        (["TRAIN.ENABLE", "False"], "set it to True"),
        (["--json", "{}/none/out.json"], "there is no folder"),
        (["--compare", "{}/none.json"], "cannot be read"),
        (["--compare", "{}/other.json"], "`bench loader`"),
        (["--compare", "{}/broken.json"], "no file that --json"),
        (["--compare", "{}/no_number.json"], "no file that --json"),
        (["--json", "/dev/null"], "is a device"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(call, tmp_path, words, told):
    Measured("loader", {}).write(tmp_path / "other.json", "bench loader")
    (tmp_path / "broken.json").write_text("[1, 2]")
    wrong = Measured("run", {}, {"train/forward": Figure("fast", 1.0, 2.0, 3)})
    wrong.write(tmp_path / "no_number.json", "bench run")
    status, _, err = call("bench", "run", *(word.format(tmp_path) for word in words))
    assert status == 2 and told in err and err.count("\n") == 1


def test_a_comparison_tells_ratios_and_what_is_another_one(monkeypatch):
    machine = figures.machine_facts()
    then = Measured("run", {"TRAIN.BATCH_SIZE": 4}, machine={**machine, "processor": "other"})
    then.figures = {"a": Figure.of([10.0, 12.0, 11.0]), "b": Figure.of([5.0], "clips/s")}
    now = Measured("run", {"TRAIN.BATCH_SIZE": 4}, machine=machine)
    now.figures = {"a": Figure.of([5.0, 5.5, 11.5]), "b": Figure.of([10.0], "clips/s")}
    then.versions = {**now.versions, "torch": "1.0"}
    earlier = {name: getattr(then, name) for name in ("what", "machine", "versions", "figures")}
    lines = comparison(now, earlier, "old.json")
    assert any(line.startswith("NOT THE SAME MACHINE: processor other then") for line in lines)
    assert any(line.startswith("NOT THE SAME VERSIONS: torch 1.0 then") for line in lines)
    assert not any("SETTINGS" in line for line in lines)
    (a,), (b,) = ([line for line in lines if line.split()[:1] == [name]] for name in "ab")
    assert a.split()[1:4] == ["11", "5.5", "2.00x"] and a.endswith("within the spread")
    assert b.split()[1:] == ["5", "10", "2.00x"]


def test_an_image_training_is_timed_too(tmp_path, call):
    pytest.importorskip("PIL")
    from PIL import Image

    for split in ("train", "val"):
        for name in ("a", "b"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(4):
                Image.new("RGB", (40, 40), (index * 20, 0, 0)).save(folder / f"{index}.png")
    overrides = tiny_image_overrides(tmp_path / "images", tmp_path / "run")
    found = run.measure(load_config(overrides=overrides), 1)
    assert "train/limit: forward" in found.figures


def test_a_model_in_each_precision(call, tmp_path, tiny):
    written, words = tmp_path / "model.json", ("bench", "model", "--repeat", 1, "--batch", 2)
    status, out, err = call(*words, "--json", written, *tiny())
    assert status == 0, err
    told = json.loads(written.read_text())["figures"]
    for name in ("fp32", "bf16"):
        forward, step = (told[f"{name}: {work}"]["median"] for work in ("forward", "training step"))
        assert forward > 0 and step > 0 and f"{name}: forward " in out
        limit = told[f"{name}: forward, limit"]["median"]
        assert told[f"{name}: training step, limit"]["median"] == pytest.approx(3 * limit)
    status, out, _ = call(*words, "--compare", written, "--precisions", "fp32", *tiny())
    assert status == 0 and "only then: bf16" in out and "NOT THE SAME" not in out
    status, _, err = call(*words, "--precisions", "fp32,b16", *tiny())
    assert status == 2 and "'b16'" in err


def test_no_limit_of_a_backward_pass_that_frozen_parts_lack(tiny):
    given = tiny(MODEL__FREEZE="[all-but-head]", MODEL__DEPTHWISE="measure")
    cfg = load_config(overrides=given)
    found = model.measure(cfg, 1, 1, ["fp32"])
    assert "fp32: forward, limit" in found.figures
    assert "fp32: training step" in found.figures
    assert "fp32: training step, limit" not in found.figures
    assert any("Parts of the model are frozen" in note for note in found.notes)
    assert "all depthwise convolutions are frozen" in " ".join(found.notes)
    assert any(line.startswith("fp32: training step") for line in model.lines(found))


def test_times_of_the_loader_and_of_decoding_are_compared_too(call, tmp_path, tiny, make_video):
    loader = ("bench", "loader", "--clips", 4, "--repeat", 2, "--workers", 1)
    loader += tuple(tiny(DATA__CACHE_GB=1))
    video = ("bench", "decode", make_video(frames=90), "--repeat", 2)
    for words, name in ((loader, "ours: open and decode"), (video, ": 4 clips: ours")):
        written = tmp_path / f"{words[1]}.json"
        assert call(*words, "--json", written)[0] == 0
        told = json.loads(written.read_text())
        (figure,) = (each for key, each in told["figures"].items() if key.endswith(name))
        assert figure["count"] == 2 and figure["low"] <= figure["median"] <= figure["high"]
        status, out, _ = call(*words, "--compare", written)
        assert status == 0 and "NOT THE SAME" not in out and "x" in out.rpartition(name)[2]
        assert ("DATA.CACHE_GB is left out" in out) == (words is loader)


def test_the_rate_of_matrix_products(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(limits, "_SIDE", 64)
    monkeypatch.setattr(limits, "product_seconds", lambda dtype, side, *_: [side / 2**12, 1.0])
    rate = limits.matrix_rate("bf16", torch.device("cpu"))
    assert (rate.high, rate.low) == (2 * 64**3 * 64 / 1e9, 2 * 64**3 / 1e9)
    assert rate.unit == "GFLOP/s" and rate.count == 2
