import json

import pytest

from uniformer_video.bench import depthwise as bench
from uniformer_video.models import depthwise


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
    status, *_ = call(*words, "--precisions", "fp32", "--batch", 3, "--json", written)
    told = json.loads(written.read_text())
    assert status == 0 and 3 in told["what"].values() and "--batch 3" in told["command"]
    status, _, err = call(*words, "--precisions", "fp32,bf61")
    assert status == 2 and "did you mean 'bf16'" in err


def test_without_numba_its_side_is_left_out(small, monkeypatch):
    monkeypatch.setattr(depthwise, "numba_works", lambda: False)
    found = bench.measure(["fp32"], 1)
    assert not [name for name in found.figures if name.endswith("numba")]
    assert any("numba is missing" in line for line in bench.lines(found))
