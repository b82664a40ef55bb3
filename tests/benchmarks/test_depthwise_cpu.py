import sys

import depthwise_cpu as script
import pytest
import torch

from uniformer_video.models import depthwise
from uniformer_video.models import depthwise_cpu as ours


def test_a_quick_run_compares_all_sides(monkeypatch, capsys):
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    monkeypatch.setattr(sys, "argv", ["depthwise_cpu.py", "--quick", "--threads", "1"])
    before = torch.get_num_threads()
    try:
        script.main()
    finally:
        torch.set_num_threads(before)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 3 and "| torch | mirrored | numba |" in rows[0]
    assert depthwise.DepthwiseOnCpu is ours.DepthwiseOnCpu  # all is as it was


def test_each_side_computes_its_own_way(monkeypatch):
    asked = []
    monkeypatch.setattr(
        ours, "_by_torch", lambda *args: asked.append(1) or torch.zeros(4, 1, 3, 3, 3)
    )
    tokens, weight = torch.randn(1, 2, 3, 3, 4), torch.randn(4, 1, 3, 3, 3, requires_grad=True)
    counts = []
    for side in ("torch", "mirrored"):
        with script.computed_by(side):
            depthwise.depthwise_conv(tokens, weight, None, (3, 3, 3)).sum().backward()
        counts.append(len(asked))
    assert counts == [0, 1]
