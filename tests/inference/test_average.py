"""The mean of checkpoints, through the command, and BatchNorm's statistics measured for it."""

import re

import pytest
import torch
from tiny_run import tiny_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.data.protocol import Protocol
from uniformer_video.inference import average
from uniformer_video.inference.predictor import Predictor
from uniformer_video.runs import build_clips, build_model
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.run import run
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint

STATISTICS = ("running_mean", "running_var")


@pytest.fixture(scope="module")
def trained(demo, tmp_path_factory):
    """(folder of a run with epoch_0001.pt and epoch_0002.pt, its settings)."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    changes = {"TRAIN__CHECKPOINT_KEEP": "all", "TEST__ENABLE": False, "EMA__ENABLE": True}
    cfg = load_config(overrides=tiny_overrides(demo, folder, **changes))
    run(cfg, "tiny")
    return folder, cfg


def files(folder):
    return [folder / f"epoch_{epoch:04d}.pt" for epoch in (1, 2)]


@pytest.mark.parametrize("ema", [False, True])
def test_it_is_the_mean_of_the_files(trained, call, tmp_path, ema):
    folder, _ = trained
    out = tmp_path / "mean.pt"
    flags = ["--ema"] if ema else []
    status, text, errors = call("average", *files(folder), "--out", out, *flags)
    assert status == 0, errors
    assert "mean of 2 files" in text and "--batch-norm LIST measures them anew" in text
    first, second = (read_weights(path, "ema" if ema else "model").state for path in files(folder))
    mean = read_weights(out)
    for key, value in mean.state.items():
        if value.is_floating_point():
            exact = (first[key].double() + second[key].double()) / 2
            torch.testing.assert_close(value, exact.float(), rtol=0, atol=0)
        else:
            assert torch.equal(value, second[key])
    assert [each["epoch"] for each in mean.metadata["averaged"]] == [1, 2]
    assert not mean.training and not mean.metadata.get("training")
    assert len(Predictor.from_checkpoint(out).class_names) == 8


def test_other_views_are_said(trained, call, tmp_path):
    first, second = files(trained[0])
    protocol = {**read_weights(second).metadata["protocol"], "num_clips": 9}
    other = changed(second, tmp_path / "b.pt", protocol=protocol)
    status, text, errors = call("average", first, other, "--out", tmp_path / "mean.pt")
    assert status == 0, errors
    assert f"is to be tested as {other} is; the views or pixels of {first} are others" in text


def test_statistics_are_measured_over_a_list_and_broken_videos_are_named(
    trained, call, demo, tmp_path
):
    folder, cfg = trained
    lines = [f"{demo}/train/{index:05d}.mp4,{index % 8}" for index in range(6)]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "list.csv").write_text("\n".join([*lines, "broken.mp4,0"]))
    words = ["--batch-norm", tmp_path / "list.csv", "--out", tmp_path / "mean.pt"]
    status, text, errors = call("average", *files(folder), *words)
    assert status == 0, errors
    assert "measured over 6 videos" in text
    assert "1 video left out, broken: " in text and "broken.mp4" in text
    plain = tmp_path / "plain.pt"
    assert call("average", *files(folder), "--out", plain)[0] == 0
    measured, mean = read_weights(tmp_path / "mean.pt").state, read_weights(plain).state
    for key, value in mean.items():
        assert torch.equal(measured[key], value) != key.endswith(STATISTICS), key
    model, _ = build_model.load_tested_model(cfg, plain)
    seen, name = [], "blocks1.0.norm1"  # the first one that clips come to
    model.get_submodule(name).register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0])
    )
    protocol = Protocol.from_cfg(cfg).with_views(1, 1)
    dataset = build_clips.build_test_dataset(cfg, build_data(cfg).train[:6], protocol)
    model(torch.cat([dataset[index].views for index in range(6)]))
    expected = torch.cat(seen).detach().flatten(0, -2)
    torch.testing.assert_close(
        measured[f"{name}.running_mean"], expected.mean(0), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        measured[f"{name}.running_var"], expected.var(0), rtol=1e-4, atol=1e-5
    )


def test_a_folder_of_videos_and_one_file(trained, call, demo, tmp_path):
    words = ["--batch-norm", demo / "test", "--out", tmp_path / "mean.safetensors"]
    status, text, errors = call("average", files(trained[0])[0], *words)
    assert status == 0, errors
    assert "measured over 8 videos" in text
    assert read_weights(tmp_path / "mean.safetensors").metadata["batch_norm"]["clips"] == 8


def changed(path, target, state=None, **metadata):
    weights = read_weights(path)
    write_checkpoint(target, state or weights.state, {**weights.metadata, **metadata})
    return target


def test_a_batch_of_one_position_is_an_error_in_one_line(
    trained, call, demo, tmp_path, monkeypatch
):
    def refuse(*_args):
        raise ValueError("Expected more than 1 value per channel when training")

    monkeypatch.setattr(average, "recompute_statistics", refuse)
    words = ["--batch-norm", demo / "test", "--out", tmp_path / "mean.pt"]
    status, _, errors = call("average", *files(trained[0]), *words)
    assert status == 2 and "more than 1 value per channel when training; give more videos" in errors


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("one", "one file has no mean"),
        ("twice", r"is the same file as .*give each file once"),
        ("shapes", "weights of different models: they differ in head.bias"),
        ("classes", "have other classes"),
        ("foreign", "is of another project; make a checkpoint of it first"),
        ("nan", "not finite"),
        ("ema", r"holds no averaged \(EMA\) weights.*without --ema"),
        ("absent", "there is no weights file"),
        ("exists", "exists already"),
        ("videos", "none of the videos"),
    ],
)
def test_what_cannot_be_averaged_is_said_in_one_line(trained, call, tmp_path, case, message):
    first, second = files(trained[0])
    out, flags = tmp_path / "mean.pt", []
    weights = read_weights(second)
    if case == "one":
        second = None
    elif case == "twice":
        second = first.parent / ".." / first.parent.name / first.name
    elif case == "shapes":
        second = changed(second, tmp_path / "b.pt", {**weights.state, "head.bias": torch.zeros(3)})
    elif case == "classes":
        second = changed(second, tmp_path / "b.pt", class_names=[*"abcdefgh"])
    elif case == "foreign":
        second = tmp_path / "b.pt"
        torch.save({"model_state": weights.state}, second)
    elif case == "nan":
        bad = {**weights.state, "head.bias": torch.full((8,), float("nan"))}
        second = changed(second, tmp_path / "b.pt", bad)
    elif case == "ema":
        second, flags = changed(second, tmp_path / "b.pt"), ["--ema"]
    elif case == "absent":
        second = tmp_path / "b.pt"
    elif case == "exists":
        out.write_bytes(b"")
    elif case == "videos":
        (tmp_path / "bad.mp4").write_bytes(b"no video")
        (tmp_path / "list.csv").write_text("bad.mp4,0\n")
        flags = ["--batch-norm", tmp_path / "list.csv"]
    given = [first] if second is None else [first, second]
    status, _, errors = call("average", *given, "--out", out, *flags)
    assert status == 2 and re.search(message, errors) and "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1
