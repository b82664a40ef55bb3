import csv
import json
import sys

import gpu_report
import gpu_sweep
import pytest


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu_sweep.py", *map(str, arguments)])
    return gpu_sweep.main()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_quick_run_fills_every_table(tmp_path, monkeypatch, device):
    assert run(monkeypatch, "--quick", "--device", device, "--out", tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] and set(gpu_report.OF_THE_SWEEP) <= set(results)
    rows = results["models"] + results["longest"]
    assert not [row["note"] for row in rows if "note" in row]
    forms = {row["form"] for row in results["models"]}
    assert {"eager", "folded"} <= forms and ("folded, graph" in forms) == (device == "cuda")
    assert {row["model"] for row in results["models"]} == {"uniformer_s", "plain"}
    assert all(row["tflops"] > 0 and row["ms"] > 0 for row in results["models"])
    assert {row["work"] for row in results["longest"]} == {"forward", "train"}
    with (tmp_path / "models.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results["models"])
    assert {(row["form"], row["work"]) for row in rows} >= {
        ("eager", "forward"),
        ("eager", "train"),
    }
    text = (tmp_path / "results.md").read_text()
    assert "## Models" in text and "## Parity" not in text


def test_what_there_was_no_time_for_is_named(tmp_path, monkeypatch):
    arguments = ("--quick", "--device", "cpu", "--minutes", "0", "--out", tmp_path)
    assert run(monkeypatch, *arguments) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert not results["complete"]
    assert [row["note"] for row in results["models"]] == ["not run: the time was up"] * 2
    assert [row["note"] for row in results["longest"]] == ["not run: the time was up"] * 2
