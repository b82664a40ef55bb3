"""Files with the preparation inside in the place of checkpoints: whole frames in, the same answers out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import tiny_overrides
from untrained import write_untrained

import uniformer_video as uv
from uniformer_video.config.settings import load_config
from uniformer_video.data.clips.frame_views import join_frames
from uniformer_video.errors import CheckpointError, ConfigError, DataError, UserError
from uniformer_video.export import runtime
from uniformer_video.export.metadata import ExportInfo, read_info
from uniformer_video.export.preparation import PreparedModel
from uniformer_video.inference.calibrated import Calibration
from uniformer_video.inference.timeline import predict_timeline
from uniformer_video.runs.run import run
from uniformer_video.runs.tested_model import open_tested_model
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.tasks.task import Task

ATOL = 2e-4  # of probabilities: preparation inside makes pixels within 0.02 of 255 levels
TEMPERATURE = 2.5


@pytest.fixture
def calibrated(room, prepared, monkeypatch):
    """The checkpoint and its file, both with a temperature and a threshold; torch is the file's runtime."""

    def make(score="logits"):
        own = uv.Predictor.from_checkpoint(room / "weights.pt", device="cpu")
        protocol = replace(own.used_protocol, score=score)
        calibration = Calibration(TEMPERATURE, protocol, 0.6)
        model = PreparedModel(own.model, protocol.views, score, own.task, TEMPERATURE).eval()
        record = {
            "temperature": TEMPERATURE,
            "threshold": {"value": 0.6},
            "protocol": protocol.to_dict(),
        }
        told = replace(
            read_info(prepared), protocol=protocol, temperature=TEMPERATURE, calibration=record
        )

        def run(frames):
            with torch.inference_mode():
                return model(torch.from_numpy(frames)).numpy()

        monkeypatch.setattr(runtime, "read_info", lambda path: told)
        monkeypatch.setattr(runtime, "open_session", lambda *_: run)
        return lambda clips: (
            uv.Predictor(
                own.model,
                protocol.with_views(clips),
                own.class_names,
                calibration=calibration,
                device="cpu",
            ),
            uv.Predictor.from_export(prepared, num_clips=clips),
        )

    return make


def both(room, prepared, **options):
    """The predictors of the checkpoint and of the file."""
    own = uv.Predictor.from_checkpoint(room / "weights.pt", device="cpu", **options)
    return own, uv.Predictor.from_export(prepared, **options)


@pytest.mark.parametrize("score", ["logits", "softmax"])
def test_a_temperature_is_applied_once(room, calibrated, score):
    predictors = calibrated(score)
    own, file = predictors(2)
    found, expected = (each(room / "videos" / "a.mp4") for each in (file, own))
    assert file.applied.temperature == TEMPERATURE and found.threshold == expected.threshold == 0.6
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=ATOL)


def test_by_other_clips_than_it_is_for_a_temperature_is_not_applied(room, calibrated):
    own, file = calibrated()(1)
    found, expected = (each(room / "videos" / "a.mp4") for each in (file, own))
    assert file.applied is None and found.threshold is None
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=ATOL)
    # out of a mean of several softmaxes it cannot be taken
    with pytest.raises(ConfigError, match="is for 2 clips of a video, and this asks for 1"):
        calibrated("softmax")(1)


def test_predictions_of_videos_of_two_sizes_are_those_of_the_checkpoint(room, prepared):
    own, file = both(room, prepared, batch_size=8)
    assert file.protocol.to_dict() == own.used_protocol.to_dict()
    paths = [room / "videos" / f"{name}.mp4" for name in "aabc"]
    found = list(file.predict_many(paths, workers=2))
    assert [bool(each) for each in found] == [True] * 3 + [False]
    for each, path in zip(found, paths[:3], strict=False):
        np.testing.assert_allclose(each.probabilities, own(path).probabilities, atol=ATOL)


def test_predict_takes_it(room, prepared, call):
    words = ("predict", room / "videos", "--json", "--workers", 0, "--checkpoint")
    found, expected = (call(*words, path) for path in (prepared, room / "weights.pt"))
    assert found[0] == expected[0] == 2 and "c.mp4" in found[2]
    rows = [[json.loads(line) for line in out.splitlines()] for _, out, _ in (found, expected)]
    assert len(rows[0]) == 3
    for own, other in zip(*rows, strict=True):
        assert own.keys() == other.keys() and own.get("temperature") == other.get("temperature")
        for first, second in zip(own.get("top", []), other.get("top", []), strict=True):
            assert first["class"] == second["class"]
            assert first["score"] == pytest.approx(second["score"], abs=ATOL)


def test_a_timeline_of_it(room, prepared):
    own, file = both(room, prepared)
    found, expected = (
        predict_timeline(each, room / "videos" / "a.mp4", 0.4, keep_logits=True)
        for each in (file, own)
    )
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=ATOL)
    assert len(found.probabilities) > 3 and found.logits.shape[1] == 2  # clips


def test_watch_takes_it(room, prepared, call):
    words = ("watch", room / "videos" / "a.mp4", "--every", 0.3, "--checkpoint")
    found = call(*words, prepared)
    expected = call(*words, room / "weights.pt", "--crops", 3)
    assert found[0] == expected[0] == 0, found[2]
    rows = [[json.loads(line) for line in out.splitlines()] for _, out, _ in (found, expected)]
    for own, other in zip(*rows, strict=True):
        assert own["time"] == other["time"] and own["label"] == other["label"]
        assert own["score"] == pytest.approx(other["score"], abs=ATOL)
    assert len(rows[0]) == 2


def test_other_crops_than_its_own_are_refused(room, prepared, call):
    video = room / "videos" / "a.mp4"
    words = ("predict", video, "--checkpoint", prepared, "--crops")
    status, _, errors = call(*words, 1)
    (line,) = errors.splitlines()
    assert status == 2 and "cuts 3 crops of each clip itself, and --crops is 1" in line
    assert call(*words, 3)[0] == 0


def test_what_needs_single_views_says_so(room, prepared, call, tmp_path):
    words = tiny_overrides(tmp_path, tmp_path / "run", TEST__NUM_SPATIAL_CROPS=3)
    cfg = load_config(overrides=words)
    with pytest.raises(CheckpointError, match="tests need the logits of each view; export the"):
        open_tested_model(cfg, prepared)
    words = (
        "explain",
        room / "videos" / "a.mp4",
        "--checkpoint",
        prepared,
        "--out",
        tmp_path / "heat",
    )
    status, _, errors = call(*words, "--method", "occlusion")
    assert status == 2 and "explanations need the logits of each view" in errors
    status, _, errors = call(*words)  # names only what would work
    assert status == 2 and "take the checkpoint that it was made of" in errors


def test_a_test_of_one_that_cuts_one_crop_is_that_of_the_checkpoint(
    demo, tmp_path, no_page, monkeypatch
):
    """The file's runtime is torch here; what the file says of itself decides how it is tested."""
    names = (demo / "classes.txt").read_text().splitlines()
    words = [*tiny_overrides(demo, tmp_path / "own"), "TRAIN.ENABLE", "False"]
    weights = write_untrained(tmp_path / "weights.pt", words, names=names)
    own = uv.Predictor.from_checkpoint(weights, device="cpu")
    model = PreparedModel(own.model, own.protocol.views, "logits", own.task).eval()
    taken = {"name": "frames", "shape": ["batch", 4, "height", "width", 3], "type": "uint8"}
    told = ExportInfo(
        "onnx", "uniformer_s", "single-label", own.class_names, own.used_protocol, True, input=taken
    )

    def run_file(frames):
        with torch.inference_mode():
            return model(torch.from_numpy(frames)).numpy()

    def scores_of(name, path, *settings):
        changes = ["OUTPUT_DIR", str(tmp_path / name), "TEST.CHECKPOINT_FILE_PATH", str(path)]
        run(load_config(overrides=[*words, *changes, *settings]), "tiny")
        with np.load(tmp_path / name / "scores.npz") as stored:
            return torch.from_numpy(stored["scores"])

    expected = scores_of("own", weights)
    file = tmp_path / "m.onnx"
    file.write_bytes(b"in place of a file")
    monkeypatch.setattr(runtime, "read_info", lambda path: told)
    monkeypatch.setattr(runtime, "open_session", lambda *_: run_file)
    found = scores_of("file", file)
    assert found.shape == expected.shape == (8, 2, 8)
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1), atol=ATOL, rtol=0)
    records = [json.loads((tmp_path / n / "results.json").read_text()) for n in ("own", "file")]
    assert records[0]["protocol"] == records[1]["protocol"]
    assert any("It prepares frames itself" in note for note in records[1]["notes"])
    for change, message in (
        (
            ("DATA.MEAN", "[0.5,0.5,0.5]"),
            r"itself: mean .*, not \[0.5, .* take the settings",
        ),
        (("TEST.NUM_SPATIAL_CROPS", "3"), r"num_crops 1, not 3"),
        (("TEST.MOTION_CHECK", "True"), r"leave these out \(TEST.MOTION_CHECK False"),
    ):
        with pytest.raises(UserError, match=message):
            scores_of("other", file, *change)


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


def test_a_task_of_ones_own_that_cannot_tell_logits_says_so(prepared, monkeypatch):
    monkeypatch.setattr(SingleLabel, "unsoften", Task.unsoften)
    with pytest.raises(ConfigError, match="the task single-label has no `unsoften`"):
        uv.Predictor.from_export(prepared)
