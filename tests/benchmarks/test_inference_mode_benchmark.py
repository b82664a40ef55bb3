import argparse

import inference_mode


def test_the_lines_of_a_model(monkeypatch):
    monkeypatch.setattr(inference_mode, "shape_of", lambda name, batch: (batch, 3, 4, 32, 32))
    options = argparse.Namespace(device="cpu", batch=1, rounds=1, precision="bf16")
    lines = [line.split("|") for line in inference_mode.measure("uniformer_xxs", options)]
    sides = ["as trained", "folded", "as trained, last", "folded, last", "folded, cast"]
    assert [line[2].strip() for line in lines] == sides
    differences = [float(line[6]) for line in lines]
    assert differences[0] == 0 and max(differences) < 0.2
    assert differences[1] == differences[4] > 0  # casting once changes nothing
