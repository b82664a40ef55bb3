"""Exported files in the place of checkpoints: predictions, timelines and tests by another runtime."""

import importlib.util
import json
import shutil
import zipfile
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
from tiny_run import tiny_overrides
from untrained import write_untrained

import uniformer_video as uv
from uniformer_video import cli
from uniformer_video.config.settings import load_config
from uniformer_video.errors import CheckpointError, ConfigError, UserError
from uniformer_video.explain.explainer import Explainer
from uniformer_video.export.formats import FORMATS
from uniformer_video.export.metadata import json_beside
from uniformer_video.export.runtime import check_shape, open_exported
from uniformer_video.runs.run import run
from uniformer_video.weights.file_kinds import EXPORTED

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs OpenVINO (the extra `openvino`)"
)
SUFFIXES = [".onnx", ".pt2", pytest.param(".xml", marks=[needs_openvino, pytest.mark.slow])]


@pytest.fixture(scope="module")
def weights(demo, tmp_path_factory):
    """An untrained checkpoint of the demo's classes."""
    folder = tmp_path_factory.mktemp("weights")
    names = (demo / "classes.txt").read_text().splitlines()
    return write_untrained(folder / "weights.pt", tiny_overrides(demo, folder / "run"), names=names)


@pytest.fixture(scope="module")
def exported(demo, weights):
    """A function: the checkpoint as a file of this suffix."""
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")

    def write(suffix):
        path = weights.with_name(f"model{suffix}")
        if not path.exists():
            words = ["export", weights, "--out", path, "--check", demo / "test"]
            assert cli.main([str(word) for word in words]) == 0
        return path

    return write


def test_what_exported_files_are_called_is_known_where_weights_are_read():
    assert {each.suffix for each in FORMATS.values()} == set(EXPORTED)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_predictions_are_those_of_the_checkpoint(demo, weights, exported, suffix):
    videos = sorted((demo / "test").glob("*.mp4"))[:3]
    own = uv.Predictor.from_checkpoint(weights, num_clips=2, num_crops=3, device="cpu")
    file = uv.Predictor.from_checkpoint(exported(suffix), num_clips=2, num_crops=3)
    assert file.class_names == own.class_names and file.precision == "fp32"
    for video in videos:
        found, expected = file(video), own(video)
        assert type(found) is type(expected)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_several_threads_may_ask_one_file(demo, exported, suffix):
    file = uv.Predictor.from_export(exported(suffix))
    videos = sorted((demo / "test").glob("*.mp4"))[:4]
    alone, together = [file(video).probabilities for video in videos], {}
    threads = [Thread(target=lambda v=v: together.update({v: file(v)})) for v in videos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for video, expected in zip(videos, alone, strict=True):
        np.testing.assert_allclose(together[video].probabilities, expected, atol=1e-6)


def run_test(demo, folder, path, *settings):
    """Test `path` on the demo's test videos; the folder."""
    words = [*tiny_overrides(demo, folder), "TRAIN.ENABLE", "False"]
    run(load_config(overrides=[*words, "TEST.CHECKPOINT_FILE_PATH", str(path), *settings]), "tiny")
    return folder


def test_a_test_of_the_file_has_results_of_its_own_that_compare(
    demo, weights, exported, tmp_path, call, no_page
):
    own = run_test(demo, tmp_path / "own", weights)
    file = run_test(demo, tmp_path / "file", exported(".onnx"))
    scores = [load_scores(folder) for folder in (own, file)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)
    record = json.loads((file / "results.json").read_text())
    assert record["model"]["runtime"] == "ONNX Runtime" and record["model"]["parameters"] > 0
    assert "gflops_view" not in record["model"] and "onnxruntime" in record["versions"]
    assert any("Tested by ONNX Runtime" in note for note in record["notes"])
    own_record = json.loads((own / "results.json").read_text())
    assert record["model"]["parameters"] == own_record["model"]["parameters"]
    status, _, errors = call("compare", own, file, "--out", tmp_path / "compare")
    assert status == 0, errors


def load_scores(folder):
    with np.load(folder / "scores.npz") as stored:
        return stored["scores"]


def test_the_commands_take_the_file(demo, exported, tmp_path, call):
    video = min((demo / "test").glob("*.mp4"))
    status, out, errors = call("predict", video, "--checkpoint", exported(".onnx"), "--json")
    assert status == 0 and json.loads(out), errors
    status, _, errors = call(
        "timeline", video, "--checkpoint", exported(".pt2"), "--out", tmp_path / "timeline"
    )
    assert status == 0, errors
    record = json.loads((tmp_path / "timeline/timeline.json").read_text())
    assert record["model"] == "uniformer_s by torch.export"
    status, out, errors = call("watch", video, "--checkpoint", exported(".onnx"), "--every", 0.2)
    assert status == 0 and json.loads(out.splitlines()[0])["label"], errors
    status, _, errors = call(
        "explain", video, "--checkpoint", exported(".onnx"), "--out", tmp_path / "heat",
        "--method", "occlusion",
    )  # fmt: skip
    assert status == 0, errors


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["DATA.NUM_FRAMES", "8"], "takes clips of 4 frames, and this asks for 8"),
        (["DATA.TEST_CROP_SIZE", "64"], "takes clips of 32 pixels a side, and this asks for 64"),
    ],
)
def test_a_test_of_other_clips_is_refused(demo, exported, tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        run_test(demo, tmp_path / "run", exported(".onnx"), *settings)


def test_what_a_file_cannot_do_is_said(demo, exported, tmp_path, call):
    file, video = exported(".onnx"), min((demo / "test").glob("*.mp4"))
    assert "no layers to look into" in str(
        refusal(Explainer(uv.Predictor.from_export(file)), video)
    )
    for words in (
        ("features", video, "--checkpoint", file, "--out", tmp_path / "f.npz"),
        ("convert", file, "--out", tmp_path / "new.pt"),
        ("average", file, exported(".pt2"), "--out", tmp_path / "new.pt"),
        ("inflate", file, "--out", tmp_path / "new.pt"),
        ("export", file, "--out", tmp_path / "again.onnx"),
        ("predict", video, "--checkpoint", file, "--precision", "bf16"),
    ):
        status, _, errors = call(*words)
        assert status == 2 and "is an exported model" in errors, (words, errors)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".pt", ".npz", ".onnx")]


def refusal(explainer, video):
    with pytest.raises(ConfigError) as error:
        explainer(video)
    return error.value


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_truncated_file_is_one_line(exported, tmp_path, suffix):
    path = tmp_path / f"half{suffix}"
    data = exported(suffix).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="half") as error:
        uv.Predictor.from_export(path)
    assert "\n" not in str(error.value)


def test_a_file_that_its_runtime_refuses_is_one_line(exported, tmp_path, capfd):
    path = tmp_path / "damaged.pt2"
    with zipfile.ZipFile(exported(".pt2")) as whole, zipfile.ZipFile(path, "w") as damaged:
        for name in whole.namelist():
            is_graph = name.endswith("models/model.json")
            damaged.writestr(name, b"{}" if is_graph else whole.read(name))
    with pytest.raises(CheckpointError, match=r"torch .* refuses .*damaged\.pt2") as error:
        uv.Predictor.from_export(path)
    assert "\n" not in str(error.value) and "Traceback" not in capfd.readouterr().err


def test_a_file_of_videos_is_no_model_of_images(exported):
    model = open_exported(exported(".onnx"))
    with pytest.raises(ConfigError, match="takes videos, and this is of images"):
        check_shape(model, replace(model.info.protocol, medium="image"))


def test_a_json_of_another_file_beside_it_is_refused(exported, tmp_path):
    path = tmp_path / "model.onnx"
    shutil.copy(exported(".onnx"), path)
    assert open_exported(path).num_classes == 8  # none beside it is fine
    told = json.loads(json_beside(exported(".onnx")).read_text())
    json_beside(path).write_text(json.dumps({**told, "fingerprint": "another"}))
    with pytest.raises(CheckpointError, match=r"model\.onnx\.json is not of model\.onnx"):
        open_exported(path)
