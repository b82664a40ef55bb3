import argparse
import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gpu_measure
import gpu_model
import gpu_parts
import gpu_profile
import gpu_report
import gpu_sweep
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


def compare(case, sides, networks, out_of_time=lambda needed: False):
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
    assert results["scope"]["network"] == gpu_measure.TINY

    rows = [row for section in gpu_report.OF_THE_MODEL for row in results[section]]
    assert not [row["note"] for row in rows if "note" in row]
    assert {row["precision"] for row in results["parity"]} == {"float32", "tf32"}
    assert all(row["error"] < 1e-5 and row["top1_agrees"] for row in results["parity"])
    *products, copied = results["matmul"]
    assert {row["precision"] for row in products} == set(gpu_measure.PRECISIONS)
    assert copied["gb_per_s"] > 0 and products[0]["precision"] == "bfloat16"
    assert {row["model"] for row in results["models"]} == {"uniformer_s", "plain"}
    assert {row["work"] for row in results["longest"]} == {"train", "forward"}
    (loader,) = results["loader"]
    assert loader["on_device"] == "all" and loader["clips_per_s"] > 0 and loader["model_ms"] > 0
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
    subprocess.run(command, check=True, timeout=500)  # Triton compiles for minutes
    results = json.loads((tmp_path / "results.json").read_text())
    rows = [row for section in gpu_report.OF_THE_MODEL for row in results[section]]
    assert not [row["note"] for row in rows if "note" in row]
    assert all(row["peak_gb"] > 0 for row in results["times"])
    kinds = {row["kind"]: row for row in results["kinds"] if row["layout"] == "ours"}
    assert kinds[gpu_profile.DEPTHWISE]["launches"] and kinds["matrix products"]["launches"]
    assert {"folded, graph", "eager, graph"} <= {row["form"] for row in results["models"]}
    assert all(part["launches"] for row in results["depthwise"] for part in row["parts"])


@pytest.mark.parametrize("name", ["cuda", "cuda:3", "tpu", "meta"])
def test_a_missing_device_is_one_line(name, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit) as exit_:
        gpu_measure.choose_device(argparse.ArgumentParser(), name)
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
    row = gpu_profile.depthwise_share(work, gpu_measure.TINY["embed_dims"], repeats=2)
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
        gpu_profile.depthwise_share(work, gpu_measure.TINY["embed_dims"], repeats=1)


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
    (row,) = compare(case, [Side("ours", "float32")], networks, out_of_time=lambda needed: True)
    assert row["note"] == gpu_measure.LATE
    report.add("times", [row])
    report.finish(interrupted=False)
    assert not json.loads((report.folder / "results.json").read_text())["complete"]


def test_an_interrupt_keeps_what_was_measured(tmp_path, monkeypatch, run_main):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu_model, "parity_rows", lambda *_: [{"model": "m", "error": 1e-6}])
    monkeypatch.setattr(gpu_model, "depthwise_rows", interrupt)
    words = ("--quick", "--device", "cpu", "--sections", "depthwise", "parity", "--out", tmp_path)
    assert run_main(*words) == 130
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["parity"] == [{"model": "m", "error": 1e-6}] and not results["complete"]
    text = (tmp_path / "results.md").read_text()
    assert "1.0e-06" in text and "Ended early: interrupted" in text


def test_a_device_that_is_lost_ends_the_run_and_what_was_measured_stays(
    networks, tmp_path, monkeypatch, run_main, capsys
):
    """As after an illegal access: torch raises from then on, also where memory is to be freed."""

    def lost():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def fail(self, x):
        lost()

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    monkeypatch.setattr(NaiveUniFormer, "forward", fail)
    words = ("--quick", "--device", "cpu", "--sections", "headline", "parity", "--out", tmp_path)
    assert run_main(*words) == 1
    assert "the device is lost: failed: RuntimeError: CUDA error: an ill" in capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert {row["model"] for row in results["models"]} == {"uniformer_s"}
    assert not results["parity"] and not results["complete"]


def test_kinds_of_operations_add_up_and_depthwise_convolutions_are_told(networks):
    for layout in ("ours", "plain"):
        work = Work(
            Side(layout, "bfloat16"), networks[layout], torch.randn(1, 3, 2, 64, 64), train=True
        )
        rows = gpu_profile.by_kind(work, repeats=1)
        for name in gpu_profile.PASSES:
            own = [row for row in rows if row["pass"] == name]
            assert own[-1]["kind"] == gpu_profile.IDLE and own[-1]["ms"] >= 0
            assert sum(row["share"] for row in own[:-1]) == pytest.approx(1)
            assert all(row["operators"] for row in own[:-1])
        found = {(row["pass"], row["kind"]) for row in rows}
        expected = {gpu_profile.DEPTHWISE, "norms", "GELU", "matrix products", "copies and casts"}
        for kind in expected:
            assert {("forward", kind), ("backward", kind)} <= found, kind
        assert ("optimiser", "optimiser") in found


@pytest.mark.parametrize(
    ("name", "outer", "kind"),
    [
        ("aten::copy_", "Depthwise", "copies and casts"),
        ("Depthwise", None, gpu_profile.DEPTHWISE),
        ("aten::sum", "DepthwiseBackward", gpu_profile.DEPTHWISE),
        ("aten::cudnn_convolution", None, "other convolutions"),
        ("aten::addmm", None, "matrix products"),
        ("aten::add", None, "sums and factors"),
        ("aten::native_layer_norm_backward", None, "norms"),
        ("aten::_flash_attention_backward", None, "attention"),
        ("aten::_fused_adamw_", None, "optimiser"),
        ("aten::index_select", None, gpu_profile.OTHER),
    ],
)
def test_operators_of_a_gpu_have_their_kind(name, outer, kind):
    def event(own, above=None):
        shapes = [[1, 2, 3, 3, 16], [16, 1, 3, 3, 3]]
        return SimpleNamespace(name=own, cpu_parent=above, input_shapes=shapes)

    assert gpu_profile.kind_of(event(name, outer and event(outer))) == kind


def test_layers_are_timed_in_every_way_and_a_way_that_fails_is_named(monkeypatch):
    def fails(*_):
        raise RuntimeError("no engine")

    monkeypatch.setitem(gpu_parts.WAYS, "torch channels-last", fails)
    layer = (8, (2, 6, 6), (3, 3, 3))
    rows = {row["by"]: row for row in gpu_parts.layer_rows(layer, 2, "bfloat16", CPU, 1e9, 3)}
    assert list(rows) == list(gpu_parts.WAYS)
    assert rows.pop("torch channels-last")["note"] == "failed: RuntimeError: no engine"
    for row in rows.values():
        assert row["forward_ms"] > 0 and row["both_ms"] > 0 and "note" not in row
        assert row["share_of_copy"] == pytest.approx(2e-6 * 2 * 1152 / row["forward_ms"])


def test_what_has_no_time_left_is_named_in_every_section(tmp_path, run_main):
    assert run_main("--quick", "--device", "cpu", "--minutes", 0, "--out", tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    late = ("models", "parity", "kinds", "layers", "loader", "longest", "depthwise", "times")
    for section in late:
        assert results[section], section
        assert {row["note"] for row in results[section]} == {gpu_measure.LATE}, section
    assert not results["complete"]


def test_a_section_that_does_not_exist_is_refused(run_main, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_main("--sections", "headlines")
    assert "invalid choice: 'headlines'" in capsys.readouterr().err


def test_the_headline_is_ours_and_the_published_way_and_every_size_follows():
    inputs = [(each.name, each.frames) for each in gpu_sweep.Scope().inputs]
    assert inputs[:2] == [("uniformer_s", 16), ("plain", 16)]
    assert {("uniformer_b", 32), ("uniformer_xxs", 16), ("x3d_m", 16), ("slowfast_r50", 32)} <= {
        *inputs
    }


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
    gpu_model.add_rate(row, 1e12, 12000.0)
    assert row["tflops"] == pytest.approx(6000) and row["share_of_matmul"] == pytest.approx(0.5)
    unknown = {"work": "train", "batch": 4, "ms": 2.0, "precision": "tf32"}
    gpu_model.add_rate(unknown, None, None)
    assert "tflops" not in unknown
