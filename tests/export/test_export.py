"""The command `export`: what it writes runs elsewhere as the model does here, or is not written."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from untrained import NAMES, write_untrained

from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.errors import CheckpointError, ConfigError, DamagedError
from uniformer_video.export import drafts
from uniformer_video.export.drafts import draft_folder, place_files
from uniformer_video.export.files import files_of, write_program
from uniformer_video.export.formats import choose_format
from uniformer_video.export.metadata import ExportInfo, json_beside, read_info
from uniformer_video.export.parity import compare
from uniformer_video.export.preparation import PreparedModel, prepare_crops
from uniformer_video.export.sessions import open_session
from uniformer_video.inference.calibrated import Calibration
from uniformer_video.inference.predictor import Predictor
from uniformer_video.runs import export_model

GUIDE = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def program(export):
    """model.pt2, of clips."""
    return export("model.pt2")


@pytest.mark.parametrize("size", [(48, 64), (99, 41), (64, 64), (33, 500), (641, 634), (20, 24)])
def test_preparation_inside_makes_the_pixels_of_the_toolkit(size):
    frames = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    for crops, order in ((1, "RGB"), (3, "BGR")):
        std = (0.2, 0.25, 0.3)
        views = EvalViews(36, 32, crops, Normalisation((0.5, 0.4, 0.3), std, order))
        ours = prepare_crops(torch.from_numpy(frames)[None], views)[0]
        levels = (ours - views([frames])) * 255 * torch.tensor(std).view(3, 1, 1, 1)
        assert levels.abs().max() < 0.05


@pytest.mark.parametrize("score", ["logits", "softmax"])
def test_crops_are_averaged_and_calibrated_inside_as_predict_does(room, score):
    own = Predictor.from_checkpoint(room / "weights.pt", num_clips=1, device="cpu")
    protocol = replace(own.used_protocol, score=score)
    calibration = Calibration(2.5, protocol)
    own = Predictor(own.model, protocol, NAMES, calibration=calibration, device="cpu")
    frames = np.random.default_rng(3).integers(0, 256, (1, 4, 50, 60, 3), dtype=np.uint8)
    inside = PreparedModel(own.model, protocol.views, score, own.task, 2.5)
    with torch.inference_mode():
        found = inside(torch.from_numpy(frames))[0].numpy()
    answer = own.answer("", own.view_logits(protocol.views([frames[0]])))
    assert own.applied and found == pytest.approx(answer.probabilities, abs=1e-3)


def test_a_prepared_file_answers_in_a_process_without_torch_as_predict_does(room, prepared):
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    frames = np.random.default_rng(2).integers(0, 256, (30, 50, 60, 3), dtype=np.uint8)
    np.save(room / "frames.npy", frames)
    blocked = "import sys; sys.modules['torch'] = sys.modules['uniformer_video'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + example], cwd=room, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = {line.split()[1]: float(line.split()[0]) for line in done.stdout.splitlines()}
    own = Predictor.from_checkpoint(room / "weights.pt", num_clips=1, device="cpu")(frames)
    assert list(found) == [name for name, _ in own.top(5)]
    assert found == pytest.approx(dict(own.top(5)), abs=2e-4)


def test_what_the_file_says_stands_inside_and_beside_it(room, prepared, program):
    for path, preprocess in ((prepared, True), (program, False)):
        info = read_info(path)
        beside = json.loads(json_beside(path).read_text())
        assert ExportInfo.from_dict(beside, "x") == info
        assert beside["parity"]["passed"] and beside["parity"]["views"] > 1
        assert info.class_names == tuple(NAMES) and info.license == "made for a test"
        assert info.preprocess is preprocess and info.model == "uniformer_s"
        own = Predictor.from_checkpoint(room / "weights.pt", device="cpu", precision="fp32")
        assert info.protocol == own.used_protocol
    assert read_info(prepared).opset == 18 and read_info(prepared).temperature is None
    assert read_info(prepared).fingerprint == read_info(program).fingerprint != ""


def test_a_program_of_torch_takes_batches_of_any_size(room, program):
    model = Predictor.from_checkpoint(room / "weights.pt", device="cpu", precision="fp32").model
    run = torch.export.load(program).module()
    for count in (1, 5):
        clips = torch.randn(count, 3, 4, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(run(clips), model(clips), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--preprocess",), ("--dynamic-size",)])
def test_openvino(export, options):
    pytest.importorskip("openvino")
    path = export(f"ov{len(options)}{''.join(options)}.xml", *options)
    assert read_info(path).format == "openvino"
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(DamagedError, match="incomplete"):
        read_info(path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=re.escape(f"{weights} does not exist")):
        read_info(path)


@pytest.mark.slow
def test_images_are_exported_without_preparation_alone(tmp_path, call):
    pytest.importorskip("onnxruntime")
    from tiny_run import tiny_image_overrides

    write_untrained(tmp_path / "w.pt", tiny_image_overrides(tmp_path, tmp_path / "run"))
    words = ("export", tmp_path / "w.pt", "--out", tmp_path / "m.onnx")
    status, _, errors = call(*words, "--preprocess")
    assert status == 2 and "leave --preprocess out" in errors
    status, out, _ = call(*words)
    assert status == 0 and "generated images" in out
    assert read_info(tmp_path / "m.onnx").input["shape"] == ["batch", 3, 32, 32]


def test_a_file_that_answers_otherwise_is_not_written(room, call, monkeypatch):
    original = export_model.open_session

    def other(*asked):
        run = original(*asked)
        return lambda batch: run(batch)[:, ::-1]

    monkeypatch.setattr(export_model, "open_session", other)
    before = sorted(room.iterdir())
    status, out, errors = call(
        "export", room / "weights.pt", "--out", room / "other.pt2", "--check", room / "videos"
    )
    assert status == 1 and "other.pt2 is not written: its outputs differ by" in errors
    assert "largest difference" in out and "c.mp4" in out and "1 video" in out
    assert sorted(room.iterdir()) == before


@pytest.mark.parametrize(
    "reason",
    [
        "ONNX Runtime only *guarantees* support for models stamped with official released onnx opset "
        "versions.\nCurrent official support for domain ai.onnx is till opset 17.",
        "Unsupported model IR version: 10, max supported IR version: 8",
    ],
)
def test_a_runtime_too_old_for_the_operators_is_one_line(prepared, monkeypatch, reason):
    import onnxruntime

    def refuse(*_, **__):
        raise RuntimeError(f"[ONNXRuntimeError] : 1 : FAIL : Load model failed: {reason}")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(CheckpointError, match="export with a lower --opset") as error:
        open_session(prepared, "onnx", Path("m.onnx"))
    assert "\n" not in str(error.value) and "refuses m.onnx: [ONNX" in str(error.value)
    assert f"onnxruntime {onnxruntime.__version__}" in str(error.value)


def test_a_segmentation_model_is_refused(call, tmp_path, monkeypatch):
    monkeypatch.setattr(export_model, "read_weights", lambda path: None)
    monkeypatch.setattr(export_model, "labels_pixels", lambda weights: True)
    status, _, told = call("export", "pixels.pt", "--out", tmp_path / "m.pt2")
    assert status == 2 and "pixels.pt is a segmentation model, and export takes" in told


def test_what_parity_decides():
    inputs = [np.full(3, float(value)) for value in range(40)]

    def model(batch):
        return np.stack([batch.sum(1), 60 - batch.sum(1)], 1)

    def verdict(file):
        return compare(inputs, model, file).fault()

    assert verdict(lambda batch: model(batch) + 1e-3) == ""
    assert "differ by" in verdict(lambda batch: model(batch) * 1.01)
    assert "no numbers" in verdict(lambda batch: model(batch) * np.nan)
    assert "several clips at once" in verdict(lambda batch: model(batch[:1].repeat(len(batch), 0)))
    swapped = compare(inputs, model, lambda batch: model(batch)[:, ::-1], tolerance=10)
    assert "the same class" in swapped.fault()


def test_torch_does_not_write_to_the_disk_itself(tmp_path, program, monkeypatch):
    """Where that is full, it ends the process."""
    path, info, save = tmp_path / "m.pt2", read_info(program), torch.export.save
    loaded = torch.export.load(program)

    def into_memory(network, file, **options):
        assert isinstance(file, io.BytesIO)
        save(network, file, **options)

    monkeypatch.setattr(torch.export, "save", into_memory)
    assert write_program(loaded, info, path) == info == read_info(path)


def test_a_damaged_or_foreign_file_is_named(tmp_path, prepared, program):
    for path, damaged in ((prepared, tmp_path / "a.onnx"), (program, tmp_path / "a.pt2")):
        whole = path.read_bytes()
        damaged.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DamagedError, match="incomplete or damaged"):
            read_info(damaged)
        damaged.write_bytes(b"")
        with pytest.raises(CheckpointError):
            read_info(damaged)
    torch.export.save(
        torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "own.pt2"
    )
    with pytest.raises(CheckpointError, match="says nothing of classes"):
        read_info(tmp_path / "own.pt2")
    (tmp_path / "a.xml").write_text("<page/>")
    with pytest.raises(CheckpointError, match="not a model of OpenVINO"):
        read_info(tmp_path / "a.xml")
    with pytest.raises(CheckpointError, match="does not exist"):
        read_info(tmp_path / "none.onnx")
    with pytest.raises(CheckpointError, match="no exported model"):
        read_info(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format 2"),
        ({"kind": "other"}, "says nothing"),
        ({"class_names": [1]}, "no texts"),
        ({"protocol": {}}, "lacks"),
        ({"task": None}, "its task"),
    ],
)
def test_a_record_that_cannot_be_is_refused(program, change, message):
    record = json.loads(json_beside(program).read_text()) | change
    with pytest.raises(CheckpointError, match=message):
        ExportInfo.from_dict(record, "x.pt2")


def test_words_that_do_not_fit(room, call, tmp_path, program):
    checkpoint = room / "weights.pt"

    def errors(*words):
        status, _, told = call("export", checkpoint, *words)
        assert status == 2 and "Traceback" not in told
        return told

    assert "did you mean 'onnx'" in errors("--out", tmp_path / "m.onnx", "--format", "onx")
    assert "ends in .pt2" in errors("--out", tmp_path / "m.onnx", "--format", "torch-export")
    assert "it is one of" in errors("--out", tmp_path / "m.bin")
    assert "exists already" in errors("--out", program)
    assert f"{tmp_path / 'm.XML'}: a file of the format openvino ends in .xml" in errors(
        "--out", tmp_path / "m.XML"
    )
    missing = tmp_path / "none" / "m.pt2"
    assert f"--out {missing}: there is no folder {missing.parent}" in errors("--out", missing)
    assert "--out is empty" in errors("--out", "")
    assert "--opset is for" in errors("--out", tmp_path / "m.pt2", "--opset", "20")
    assert "--opset is for" in errors("--out", tmp_path / "m.pt2", "--opset", "18")
    both = ("--preprocess", "--dynamic-size")
    assert "leave --dynamic-size out" in errors("--out", tmp_path / "m.onnx", *both)
    assert "from 18 to 25" in errors("--out", tmp_path / "m.onnx", "--opset", "9")
    assert "none.mp4" in errors("--out", tmp_path / "m.pt2", "--check", tmp_path / "none.mp4")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="did you mean"):
        choose_format("m.xml", "openvin")
    status, _, told = call("export", program, "--out", tmp_path / "m.pt2")
    assert status == 2 and f"{program} is an exported model by its name" in told


def test_a_folder_that_takes_no_file_is_told_by_the_name_of_the_file(tmp_path, monkeypatch):
    def refuse(folder, **_):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError) as error, draft_folder(tmp_path / "m.pt2"):
        pass
    assert error.value.filename == str(tmp_path / "m.pt2")


def test_what_a_killed_export_left_goes_and_a_living_one_stays(tmp_path):
    target = tmp_path / "m.pt2"
    with draft_folder(target) as folder:
        pass
    folder.mkdir()
    (folder / "m.pt2").write_bytes(b"half")
    script = (
        "import sys; from uniformer_video.locks import folder_lock\n"
        "with folder_lock(sys.argv[1]): print('here', flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(folder / "lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == b"here\n"
        taken = pytest.raises(ConfigError, match=r"in use by process .* choose another --out")
        with taken, draft_folder(target):
            pass
        assert (folder / "m.pt2").read_bytes() == b"half"
        process.kill()
    with draft_folder(target) as again:
        assert again == folder and not (folder / "m.pt2").exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("there", ["m.xml", "m.bin", "m.xml.json"])
def test_a_file_that_appears_meanwhile_is_not_written_over(tmp_path, monkeypatch, has_links, there):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(drafts.os, "link", refuse)
    target = tmp_path / "m.xml"
    with draft_folder(target) as folder:
        for file in files_of(folder / "m.xml"):
            file.write_bytes(b"exported")
        (tmp_path / there).write_bytes(b"somebody's")
        (tmp_path / "m-2.xml").write_bytes(b"somebody's")
        with pytest.raises(CheckpointError, match=r"the exported model is .*m-3\.xml"):
            place_files(folder / "m.xml", target)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    exported = {"m-3.xml", "m-3.bin", "m-3.xml.json"}
    assert found == {there: b"somebody's", "m-2.xml": b"somebody's"} | dict.fromkeys(
        exported, b"exported"
    )


def test_an_interrupted_export_does_not_promise_to_go_on(room, call, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(export_model, "find_clips", interrupt)
    status, _, told = call("export", room / "weights.pt", "--out", tmp_path / "m.pt2")
    assert status == 130 and "nothing was written, and the same command begins anew" in told
    assert not list(tmp_path.iterdir())
