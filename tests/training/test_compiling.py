"""MODEL.COMPILE: the same training with and without, and without where compiling fails."""

import logging

import pytest
import torch
from same import assert_same
from tiny_run import tiny_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.runs.run import run
from uniformer_video.training import compiling
from uniformer_video.weights.checkpoint import read_weights

# Parts that rest; passes without gradients, which measure statistics; more than one pass a step.
FROZEN = {"MODEL__FREEZE": "[stem,stage1]", "BN__USE_PRECISE_STATS": True}
AVERAGED = {"EMA__ENABLE": True, "SOLVER__ACCUMULATION_STEPS": 2}
# AdamW makes steps of a whole learning rate from gradients that are zero but for rounding, as that of a bias
# before a BatchNorm; with SGD rounding stays rounding.
SGD = {"SOLVER__OPTIMIZING_METHOD": "sgd", "SOLVER__BASE_LR": 0.1}
RECOMPUTED = {"MODEL__USE_CHECKPOINT": True, "MODEL__CHECKPOINT_NUM": "[1,0,1,0]"}


def train(demo, folder, **changes):
    """The weights of last.pt, which holds all that a training consists of, after a tiny run."""
    settings = {
        "TEST__ENABLE": False,
        "SOLVER__MAX_EPOCH": 1,
        "SOLVER__WARMUP_EPOCHS": 0,
        **changes,
    }
    run(load_config(overrides=tiny_overrides(demo, folder, **settings)), "tiny")
    return read_weights(folder / "last.pt").state


def assert_close(compiled, plain):
    """All weights and buffers are the same up to the rounding of float32."""
    assert compiled.keys() == plain.keys()
    for key, tensor in plain.items():
        torch.testing.assert_close(compiled[key], tensor, rtol=1e-5, atol=1e-5, msg=key)


@pytest.fixture
def traced_only(monkeypatch):
    """torch.compile without a compiler of C++: the graph is captured, and run as it is."""
    original = torch.compile

    def compile_without(function, dynamic, options):
        assert options == {"fallback_random": True}
        return original(function, dynamic=dynamic, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", compile_without)
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(
    "others",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param(RECOMPUTED, marks=pytest.mark.slow),
        {**FROZEN, **AVERAGED},
    ],
)
def test_a_compiled_training_is_the_same_up_to_rounding(
    demo, tmp_path, caplog, traced_only, others
):
    caplog.set_level(logging.INFO)
    torch._dynamo.utils.counters.clear()
    compiled = train(demo, tmp_path / "compiled", MODEL__COMPILE=True, **SGD, **others)
    assert caplog.text.count("times as fast") == 1 and "cannot be compiled" not in caplog.text
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert_close(compiled, train(demo, tmp_path / "plain", **SGD, **others))


def test_where_compiling_fails_nothing_else_changes(demo, tmp_path, caplog, monkeypatch):
    plain = train(demo, tmp_path / "plain")

    def refuse(*arguments, **options):
        raise RuntimeError("No working C++ compiler\nfound " + "x" * 999)

    monkeypatch.setattr(torch, "compile", refuse)
    assert_same(train(demo, tmp_path / "compiled", MODEL__COMPILE=True), plain)
    assert caplog.text.count("cannot be compiled here, and trains without") == 1
    assert "RuntimeError: No working C++ compiler found xxx" in caplog.text


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_failure_while_a_pass_is_made_counts_too(demo, tmp_path, caplog, monkeypatch, where):
    plain = train(demo, tmp_path / "plain")

    class Fail(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            if where == "forward":
                raise ValueError("no code for this")
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise ValueError("no code for this")

    def compile_badly(outputs):
        return lambda clips: tuple(map(Fail.apply, outputs.model.training_outputs(clips)))

    monkeypatch.setattr(compiling, "_compile", compile_badly)
    assert_same(train(demo, tmp_path / "compiled", MODEL__COMPILE=True), plain)
    assert caplog.text.count("cannot be compiled here") == 1 and "no code for this" in caplog.text


@pytest.mark.slow
def test_the_code_that_torch_writes_trains_the_same(demo, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    compiled = train(demo, tmp_path / "compiled", MODEL__COMPILE=True, **SGD)
    if "cannot be compiled here" in caplog.text:
        pytest.skip("torch.compile does not work here; there may be no compiler of C++")
    assert_close(compiled, train(demo, tmp_path / "plain", **SGD))
