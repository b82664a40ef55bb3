import sys

import attention_cpu as script
import torch


def test_a_quick_run_compares_both_sides(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["attention_cpu.py", "--quick", "--threads", "1"])
    script.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 2, 2, 32")]
    assert [row.split(" | ")[1] for row in rows] == ["fused", "ours", "plain"]


def test_a_side_that_computes_something_else_has_large_errors():
    qkv = torch.randn(1, 8, 3, 2, script.WIDTH)
    assert max(script.errors(script.fused, qkv)) < 1e-5
    assert max(script.errors(lambda query, key, value: value, qkv)) > 0.1
