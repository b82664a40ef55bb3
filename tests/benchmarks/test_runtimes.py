import csv
import json

import numpy as np
import pytest
import runtimes

from uniformer_video.errors import MissingLibraryError


def measure(folder, *words):
    """The rows of a quick run of UniFormer-S, by runtime and precision."""
    shared = ("--quick", "--models", "uniformer_s", "--threads", "1", "--rounds", "3")
    assert runtimes.main([*shared, "--out", str(folder), *map(str, words)]) == 0
    results = json.loads((folder / "runtimes.json").read_text())
    return {(row["runtime"], row["precision"]): row for row in results["runtimes"]}, results


@pytest.mark.slow
def test_a_quick_run_compares_files_with_the_model(tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    rows, results = measure(tmp_path, "--runtimes", "folded", "onnxruntime")
    assert results["complete"] and results["machine"]["threads"] == 1
    notes = {way: row["note"] for way, row in rows.items() if "note" in row}
    assert set(notes) == {("folded", "int8"), ("onnxruntime", "bf16")}
    measured = {way: row for way, row in rows.items() if way not in notes}
    assert next(iter(measured)) == ("eager", "fp32")  # asked for or not
    assert all(
        row["ms"] > 0 and row["cpu_ms"] > 0 and row["rounds"] == 3 for row in measured.values()
    )
    assert all(row["limit_ms"] > 0 for row in measured.values())
    differences = {way: row["difference"] for way, row in measured.items()}
    assert differences.pop(("eager", "fp32")) == 0
    assert 0 < differences.pop(("onnxruntime", "fp32")) < 1e-5
    assert 0 < differences.pop(("folded", "fp32")) < 1e-5
    assert all(1e-4 < found < 0.2 for found in differences.values())
    table = list(csv.DictReader((tmp_path / "runtimes.csv").open()))
    assert [row["ms"] != "" for row in table] == ["note" not in row for row in rows.values()]
    text = (tmp_path / "runtimes.md").read_text()
    assert results["command"] in text and text.count("| uniformer_s |") == len(rows)


def test_what_is_wrong_or_missing_is_a_row_that_says_so(tmp_path, monkeypatch):
    opened = runtimes.open_side

    def open_side(subject, runtime, precision):
        if runtime == "openvino":
            raise MissingLibraryError("OpenVINO files need openvino")
        if runtime == "compiled":
            raise RuntimeError("no compiler")
        run = opened(subject, runtime, precision)
        return run if runtime == "eager" else lambda clips: np.zeros_like(run(clips))

    monkeypatch.setattr(runtimes, "open_side", open_side)
    words = ("--runtimes", "folded", "compiled", "openvino", "--precisions", "fp32")
    rows, _ = measure(tmp_path, *words)
    assert rows["folded", "fp32"]["difference"] == 1  # as fast, and wrong
    assert rows["compiled", "fp32"]["note"] == "failed: RuntimeError: no compiler"
    assert rows["openvino", "fp32"]["note"] == "OpenVINO files need openvino"


def test_what_there_was_no_time_for_is_named(tmp_path):
    rows, results = measure(tmp_path, "--runtimes", "eager", "--minutes", 0)
    assert not results["complete"]
    assert {row["note"] for row in rows.values()} == {"not run: the time was up"}


@pytest.mark.parametrize(
    "words, told",
    [
        (["--runtimes", "onnx"], "onnxruntime"),
        (["--models", "uniformer_ss"], "uniformer_s"),
        (["--models", "image_uniformer_s"], "takes images"),
        (["--rounds", "2"], "--rounds 3 or more"),
    ],
)
def test_words_that_do_not_fit(words, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        runtimes.main(words)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1
