import json
import sys

import published_model as script
import torch


def test_a_quick_run_compares_both_sides(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(script.limits, "_SIDE", 64)
    words = ["--frames", "2", "--size", "32", "--batch", "2", "--rounds", "1", "--threads", "1"]
    monkeypatch.setattr(
        sys, "argv", ["x.py", *words, "--precisions", "fp32", "--json", str(tmp_path / "a.json")]
    )
    script.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| fp32")]
    assert len(rows) == 2
    figures = json.loads((tmp_path / "a.json").read_text())["figures"]
    assert {"fp32, forward: published", "fp32, training step: ours"} <= set(figures)


def test_both_sides_compute_the_same():
    clips = torch.randn(1, 3, 2, 32, 32)
    with torch.inference_mode():
        theirs, ours = (each.eval()(clips) for each in script.networks((3, 3, 3)).values())
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
