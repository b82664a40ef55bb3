import json

import pytest
import torch

from uniformer_video.bench import depthwise as bench
from uniformer_video.models import depthwise_cpu as ours


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(bench, "LAYERS", ((8, (2, 4, 4), (3, 3, 3)),))
    monkeypatch.setattr(bench, "STEP", (2, 32))


def test_a_run_compares_all_sides(small, call, tmp_path):
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    written, words = tmp_path / "out.json", ("bench", "model", "--depthwise", "--repeat", 1)
    status, out, err = call(*words, "--precisions", "bf16", "--json", written)
    assert status == 0, err
    rows = [line for line in out.splitlines() if line.startswith("| ")]
    assert len(rows) == 3 and "| torch | mirrored | numba |" in rows[0]
    told = json.loads(written.read_text())
    assert list(told["figures"])[:2] == [
        "bf16, 2x4x4x8, 3x3x3: torch",
        "bf16, 2x4x4x8, 3x3x3: mirrored",
    ]
    status, _, err = call(*words, "--precisions", "fp32,bf61")
    assert status == 2 and "did you mean 'bf16'" in err


def test_without_numba_its_side_is_left_out(small, monkeypatch):
    monkeypatch.setattr(ours, "numba_works", lambda: False)
    found = bench.measure(["fp32"], 1)
    assert not [name for name in found.figures if name.endswith("numba")]
    assert any("numba is missing" in line for line in bench.lines(found))


def test_each_side_computes_its_own_way(monkeypatch):
    asked = []
    monkeypatch.setattr(
        ours, "_by_torch", lambda *args: asked.append(1) or torch.zeros(4, 1, 3, 3, 3)
    )
    run, counts = bench._layer(4, (2, 3, 3), (3, 3, 3), "fp32"), []
    for side in ("torch", "mirrored"):
        before = len(asked)
        bench._compare(run, (side,), 1)
        counts.append(len(asked) - before)
    assert counts == [0, 2]
