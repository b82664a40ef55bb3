import argparse
import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import gpu_measure
import gpu_model
import gpu_report
import parity
import pytest
import torch
from gpu_measure import Case, Side, Work
from naive_uniformer import NaiveUniFormer

from uniformer_video.models.layers import DepthwiseConv

CPU = torch.device("cpu")
SCRIPT = Path(gpu_model.__file__)


def run_script(*arguments):
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=hidden, timeout=300)


@pytest.fixture(scope="module")
def networks():
    return gpu_model.build_networks(gpu_model.QUICK, (5, 5, 5))


@pytest.fixture
def report(tmp_path):
    return gpu_report.Report(tmp_path / "out", gpu_model.QUICK, CPU, minutes=8)


def compare(case, sides, networks, out_of_time=lambda: False):
    return gpu_measure.compare(case, sides, networks, CPU, "eager", 3, 1.0, out_of_time)


@pytest.fixture
def run_main(monkeypatch):
    """A function: the script's `main` with these arguments, in this process; its status."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # put back what it sets

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu_model.py", *map(str, arguments)])
        return gpu_model.main()

    return run


@pytest.mark.slow
def test_a_quick_run_fills_every_table(tmp_path, run_main):
    assert run_main("--quick", "--device", "cpu", "--out", tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] and results["seconds"] > 0
    assert results["machine"]["torch"] == torch.__version__
    assert results["scope"]["network"] == gpu_model.TINY

    rows = [row for section in gpu_report.OF_THE_MODEL for row in results[section]]
    assert not [row["note"] for row in rows if "note" in row]
    assert {row["precision"] for row in results["parity"]} == {"float32", "tf32"}
    assert all(row["error"] < 1e-5 and row["top1_agrees"] for row in results["parity"])
    assert [row["precision"] for row in results["matmul"]] == list(gpu_measure.PRECISIONS)
    assert len(results["depthwise"]) == len(gpu_model.PROFILED)
    assert len(results["times"]) == 2 * (len(gpu_model.EAGER) + len(gpu_model.COMPILED))
    for row in results["times"]:
        assert row["ms_min"] <= row["ms"] <= row["ms_max"]
        assert row["rounds"] == 3 and row["tflops"] > 0 and row["share_of_matmul"] > 0
        assert ("compile_s" in row) == row["compiled"]

    text = (tmp_path / "results.md").read_text()
    for section in gpu_report.OF_THE_MODEL:
        shown = text.split(f"## {section.capitalize()}\n")[1].split("\n## ")[0]
        lines = [line for line in shown.splitlines() if line.startswith("|")]
        assert len(lines) == 2 + len(results[section])


@pytest.mark.gpu
def test_a_quick_run_on_a_gpu_measures_memory_too(tmp_path):
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(tmp_path)]
    subprocess.run(command, check=True, timeout=300)
    results = json.loads((tmp_path / "results.json").read_text())
    rows = [row for section in gpu_report.OF_THE_MODEL for row in results[section]]
    assert not [row["note"] for row in rows if "note" in row]
    assert all(row["peak_gb"] > 0 for row in results["times"])
    assert all(part["launches"] for row in results["depthwise"] for part in row["parts"])


@pytest.mark.parametrize("name", ["cuda", "cuda:3", "tpu", "meta"])
def test_a_missing_device_is_one_line(name, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit) as exit_:
        gpu_model.choose_device(argparse.ArgumentParser(), name)
    assert exit_.value.code == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1 and name in shown


def test_without_a_gpu_the_script_ends_at_once(tmp_path):
    done = run_script("--device", "cuda", "--out", tmp_path / "out")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_parity_in_every_precision(networks, monkeypatch):
    network = copy.deepcopy(networks["ours"]).double().eval()
    keys = {key: list(value.shape) for key, value in network.state_dict().items()}
    network.load_state_dict(parity.state(keys))
    facts = {"input": [1, 3, 2, 64, 64], "keys": keys}
    with torch.no_grad():
        logits = network(parity.clip(facts["input"])).numpy()
    monkeypatch.setattr(parity, "case", lambda name: (facts, logits))
    fresh = copy.deepcopy(networks["ours"])
    monkeypatch.setattr(gpu_measure, "build_network", lambda *_, **__: fresh)
    rows = gpu_measure.parity_rows("tiny", CPU, gpu_measure.MODES)
    errors = {(row["precision"], row["mode"]): row["error"] for row in rows}
    assert list(errors) == list(gpu_measure.MODES)
    assert errors["float32", "cast"] < 1e-5
    half = [error for (precision, _), error in errors.items() if precision.endswith("16")]
    assert len(half) == 4 and all(1e-5 < error < 0.1 for error in half)

    monkeypatch.setattr(gpu_measure, "_logits", lambda *_: torch.full((1, 10), float("nan")))
    (row,) = gpu_measure.parity_rows("tiny", CPU, [("float16", "cast")])
    assert "not finite" in row["note"] and "error" not in row


@pytest.mark.parametrize("layout", ["ours", "plain"])
def test_the_profile_finds_every_depthwise_convolution(layout, networks):
    network = networks[layout]
    work = Work(Side(layout, "float32"), network, torch.randn(1, 3, 2, 64, 64), train=True)
    row = gpu_measure.depthwise_share(work, gpu_model.TINY["embed_dims"], repeats=2)
    found = {(part["pass"], part["stage"], part["kernel"]) for part in row["parts"]}
    convolutions = {(s, "3x3x3") for s in range(1, 5)} | {(s, "5x5x5") for s in (1, 2)}
    assert found == {(name, *part) for name in ("forward", "backward") for part in convolutions}
    shares = [row["forward_share"], row["backward_share"], row["share"]]
    assert all(0 < share < 1 for share in shares)
    assert sum(row[f"stage{stage}_of_depthwise"] for stage in range(1, 5)) == pytest.approx(1)


def test_a_profile_without_depthwise_convolutions_is_an_error(networks, monkeypatch):
    monkeypatch.setattr(DepthwiseConv, "forward", lambda self, tokens: tokens)
    work = Work(Side("ours", "float32"), networks["ours"], torch.randn(1, 3, 2, 64, 64), True)
    with pytest.raises(RuntimeError, match="no time in depthwise"):
        gpu_measure.depthwise_share(work, gpu_model.TINY["embed_dims"], repeats=1)


def test_every_side_computes_the_same(networks):
    clip = torch.randn(2, 3, 2, 64, 64)
    plain = Work(Side("plain", "float32"), networks["plain"], clip, train=False)
    ours = Work(Side("ours", "float32"), networks["ours"], clip, train=False)
    assert isinstance(plain.model, NaiveUniFormer)
    with torch.no_grad():
        torch.testing.assert_close(ours.model(clip), plain.model(clip), rtol=1e-4, atol=1e-5)


def test_a_training_step_trains_every_parameter_and_moves_none(networks):
    work = Work(Side("ours", "float16"), networks["ours"], torch.randn(2, 3, 2, 64, 64), True)
    work.backward(work.forward())
    assert all(parameter.grad is not None for parameter in work.model.parameters())
    work.update()
    assert len(work.optimizer.state) == len(list(work.model.parameters()))
    for name, parameter in work.model.named_parameters():
        assert torch.equal(parameter, networks["ours"].get_parameter(name))


def test_arithmetic_is_put_back(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with gpu_measure.arithmetic("float32"):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    with gpu_measure.arithmetic("tf32"):
        assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_a_failing_side_costs_only_itself(networks, monkeypatch):
    def fail(error):
        def forward(self, x):
            raise error

        return forward

    case = Case((5, 5, 5), 2, 64, 2, "forward")
    sides = [Side("plain", "float32"), Side("ours", "float32")]
    monkeypatch.setattr(NaiveUniFormer, "forward", fail(ValueError("two\nlines")))
    broken, fine = compare(case, sides, networks)
    assert broken["note"] == "failed: ValueError: two lines" and "ms" not in broken
    assert fine["ms"] > 0 and "note" not in fine
    monkeypatch.setattr(NaiveUniFormer, "forward", fail(torch.cuda.OutOfMemoryError("big")))
    broken, fine = compare(case, sides, networks)
    assert broken["note"] == "out of memory" and fine["ms"] > 0


def test_after_the_time_is_up_nothing_starts(networks, report):
    case = Case((5, 5, 5), 2, 64, 2, "forward")
    (row,) = compare(case, [Side("ours", "float32")], networks, out_of_time=lambda: True)
    assert row["note"] == gpu_measure.LATE
    report.add("times", [row])
    report.finish(interrupted=False)
    assert not json.loads((report.folder / "results.json").read_text())["complete"]


def test_an_interrupt_keeps_what_was_measured(tmp_path, monkeypatch, run_main):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu_model, "parity_rows", lambda *_: [{"model": "m", "error": 1e-6}])
    monkeypatch.setattr(gpu_model, "matmul_row", interrupt)
    assert run_main("--quick", "--device", "cpu", "--out", tmp_path) == 130
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["parity"] == [{"model": "m", "error": 1e-6}] and not results["complete"]
    assert "1.0e-06" in (tmp_path / "results.md").read_text()


def test_the_cases_cover_all_and_starts_with_what_matters():
    scope = gpu_model.Scope()
    cases = list(gpu_model.groups(scope))
    first = Case((5, 5, 5), 16, 224, 8, "forward")
    assert cases[0] == (first, gpu_model.EAGER)
    eager = {case for case, sides in cases if sides == gpu_model.EAGER}
    for frames in (16, 32):
        for batch in (1, 8, 32):
            assert Case((5, 5, 5), frames, 224, batch, "forward") in eager
        for batch in (4, 16, 32):
            assert Case((5, 5, 5), frames, 224, batch, "train") in eager
        assert Case((3, 5, 5), frames, 224, 16, "train") in eager
    compiled = [case for case, sides in cases if any(side.compiled for side in sides)]
    assert {case.frames for case in compiled} == {16, 32}
    assert len(cases) == len(set(map(str, cases)))


def test_rates_count_three_passes_a_training_step():
    row = {"work": "train", "batch": 4, "ms": 2.0, "precision": "tf32"}
    gpu_model.add_rate(row, 1e12, {"tf32": 12000.0})
    assert row["tflops"] == pytest.approx(6000) and row["share_of_matmul"] == pytest.approx(0.5)
    unknown = {"work": "train", "batch": 4, "ms": 2.0, "precision": "tf32"}
    gpu_model.add_rate(unknown, None, {})
    assert "tflops" not in unknown
