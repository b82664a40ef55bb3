"""Files with the preparation inside in the place of checkpoints: whole frames in, the same predictions out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import tiny_overrides
from untrained import write_untrained
from videos import encode, numbered_frames

import uniformer_video as uv
from uniformer_video import cli
from uniformer_video.data.clips.frame_views import join_frames
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.export import runtime
from uniformer_video.export.metadata import read_info
from uniformer_video.inference.timeline import predict_timeline
from uniformer_video.runs.tested_model import open_tested_model
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.tasks.task import Task

pytest.importorskip("onnxruntime", reason="needs the extra `export`")
ATOL = 2e-4  # of probabilities: preparation inside makes pixels within 0.02 of 255 levels


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """weights.pt, of 2 clips and 3 crops, with a temperature and a threshold; model.onnx, which prepares its
    frames itself; videos of two sizes and a broken one.
    """
    folder = tmp_path_factory.mktemp("prepared")
    changes = {"TEST__NUM_SPATIAL_CROPS": 3, "TEST__PRECISION": "fp32"}
    overrides = tiny_overrides(folder, folder / "run", **changes)
    write_untrained(folder / "plain.pt", overrides)
    protocol = uv.Predictor.from_checkpoint(folder / "plain.pt", device="cpu").used_protocol
    record = {
        "temperature": 2.5,
        "protocol": protocol.to_dict(),
        "threshold": {"value": 0.6},
    }
    write_untrained(folder / "weights.pt", overrides, calibration=record)
    (folder / "videos").mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a", (48, 64)), ("b", (70, 40)), ("c", (48, 64))):
        noise = rng.integers(-40, 40, (20, *size, 3))
        frames = np.clip(numbered_frames(20, size).astype(int) + noise, 0, 255).astype(np.uint8)
        encode(folder / "videos" / f"{name}.mp4", frames)
    (folder / "videos" / "d.mp4").write_bytes(b"no video")
    words = ("export", folder / "weights.pt", "--out", folder / "model.onnx", "--preprocess")
    assert cli.main([*map(str, words), "--check", str(folder / "videos" / "a.mp4")]) == 0
    assert read_info(folder / "model.onnx").temperature == 2.5
    return folder


def both(room, **options):
    """The predictors of the checkpoint and of the file."""
    own = uv.Predictor.from_checkpoint(room / "weights.pt", device="cpu", **options)
    return own, uv.Predictor.from_export(room / "model.onnx", **options)


@pytest.mark.parametrize("clips", [None, 1])
def test_predictions_are_those_of_the_checkpoint(room, clips):
    """With other clips than the temperature is for it is applied by neither."""
    own, file = both(room, num_clips=clips)
    assert bool(own.applied) == bool(file.applied) == (clips is None)
    video = room / "videos" / "b.mp4"
    found, expected = file(video), own(video)
    assert type(found) is type(expected) and found.threshold == expected.threshold
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=ATOL)
    assert file.protocol.to_dict() == own.protocol.to_dict()


def test_videos_of_two_sizes_are_predicted_in_one_pass(room):
    own, file = both(room, batch_size=8)
    paths = [room / "videos" / f"{name}.mp4" for name in "abcd"]
    found = list(file.predict_many(paths, workers=2))
    assert [bool(each) for each in found] == [True] * 3 + [False]
    for each, path in zip(found, paths[:3], strict=False):
        np.testing.assert_allclose(each.probabilities, own(path).probabilities, atol=ATOL)


def test_predict_takes_it(room, call):
    words = ("predict", room / "videos", "--json", "--workers", 0, "--checkpoint")
    found, expected = (call(*words, room / name) for name in ("model.onnx", "weights.pt"))
    assert found[0] == expected[0] == 2 and "d.mp4" in found[2]
    rows = [[json.loads(line) for line in out.splitlines()] for _, out, _ in (found, expected)]
    assert len(rows[0]) == 4
    for own, other in zip(*rows, strict=True):
        assert own.keys() == other.keys() and own.get("temperature") == other.get("temperature")
        for first, second in zip(own.get("top", []), other.get("top", []), strict=True):
            assert first["class"] == second["class"]
            assert first["score"] == pytest.approx(second["score"], abs=ATOL)


def test_a_timeline_of_it(room):
    own, file = both(room)
    found, expected = (
        predict_timeline(each, room / "videos" / "a.mp4", 0.4, keep_logits=True)
        for each in (file, own)
    )
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=ATOL)
    assert found.temperature == expected.temperature == 2.5
    assert len(found.probabilities) > 3 and found.logits.shape[1] == 2  # clips


def test_watch_takes_it(room, call):
    words = ("watch", room / "videos" / "a.mp4", "--every", 0.3, "--checkpoint")
    found, expected = (call(*words, room / name) for name in ("model.onnx", "weights.pt"))
    assert found[0] == expected[0] == 0, found[2]
    rows = [[json.loads(line) for line in out.splitlines()] for _, out, _ in (found, expected)]
    for own, other in zip(*rows, strict=True):
        assert own["time"] == other["time"] and own["label"] == other["label"]
        assert own["score"] == pytest.approx(other["score"], abs=ATOL)
    assert len(rows[0]) == 2


def test_other_crops_than_its_own_are_refused(room, call):
    video = room / "videos" / "a.mp4"
    words = ("predict", video, "--checkpoint", room / "model.onnx", "--crops")
    status, _, errors = call(*words, 1)
    (line,) = errors.splitlines()
    assert status == 2 and "cuts 3 crops of each clip itself, and --crops is 1" in line
    assert call(*words, 3)[0] == 0


def test_what_needs_single_views_says_so(room, call, tmp_path):
    from uniformer_video.config.settings import load_config

    cfg = load_config(overrides=tiny_overrides(tmp_path, tmp_path / "run"))
    with pytest.raises(CheckpointError, match="tests need the logits of each view; export the"):
        open_tested_model(cfg, room / "model.onnx")
    words = ("--method", "occlusion", "--out", tmp_path / "heat")
    status, _, errors = call(
        "explain", room / "videos" / "a.mp4", "--checkpoint", room / "model.onnx", *words
    )
    assert status == 2 and "explanations need the logits of each view" in errors


def test_a_temperature_of_averaged_probabilities_stays_where_it_is(room, monkeypatch):
    """It cannot be taken out of a mean of several softmaxes."""
    told = read_info(room / "model.onnx")
    told = replace(told, protocol=replace(told.protocol, score="softmax"))
    monkeypatch.setattr(runtime, "read_info", lambda path: told)
    uv.Predictor.from_export(room / "model.onnx", num_clips=2)
    with pytest.raises(ConfigError, match="is for 2 clips of a video, and this asks for 1"):
        uv.Predictor.from_export(room / "model.onnx", num_clips=1)


def test_frames_of_two_sizes_in_a_clip_are_one_line():
    frames = [torch.zeros(1, 3, 1, *size, dtype=torch.uint8) for size in ((4, 6), (4, 8))]
    assert join_frames(frames[:1] * 2).shape == (1, 3, 2, 4, 6)
    with pytest.raises(DataError, match=r"changes within a clip \(6 x 4 and 8 x 4\)"):
        join_frames(frames)


@pytest.mark.parametrize("task", [SingleLabel(), MultiLabel()])
def test_logits_of_probabilities(task):
    logits = torch.tensor([[1.5, -2.0, 0.25], [200.0, -200.0, 0.0]])
    shares = task.soften(logits, 1.0)
    again = task.unsoften(shares)
    assert torch.isfinite(again).all()
    torch.testing.assert_close(task.soften(again, 1.0), shares)
    torch.testing.assert_close(task.soften(again[:1], 3.0), task.soften(logits[:1], 3.0))


def test_a_task_of_ones_own_that_cannot_tell_logits_says_so(room, monkeypatch):
    monkeypatch.setattr(SingleLabel, "unsoften", Task.unsoften)
    with pytest.raises(ConfigError, match="the task single-label has no `unsoften`"):
        uv.Predictor.from_export(room / "model.onnx")


