"""Scripts end as commands do: a line and a status for what a user can act on, and for an interrupt."""

import json
import sys

import command_line
import frozen_parts
import inference_mode
import published_model
import pytest
import segments_of_a_file
import strips

from uniformer_video.errors import UserError


@pytest.mark.parametrize(
    ("script", "words", "told"),
    [
        (published_model.compare, ["--kernel", "5,x"], "such as 3,5,5"),
        (published_model.compare, ["--kernel", "5,5"], "such as 3,5,5"),
        (published_model.compare, ["--precisions", "fp31"], "did you mean 'fp32'"),
        (published_model.compare, ["--rounds", "0"], "from 1 on"),
        (published_model.compare, ["--json", "/nowhere/x.json"], "there is no folder"),
        (inference_mode.compare, ["--rounds", "-1"], "from 1 on"),
        (inference_mode.compare, ["--models", "nope"], "unknown model 'nope'"),
        (frozen_parts.compare, ["--clip", "16,0,3"], "such as 3,5,5"),
        (frozen_parts.compare, ["--steps", "1"], "2 or more"),
        (segments_of_a_file.compare, ["--minutes", "0"], "from 1 on"),
        (strips.compare, ["--repeats", "many"], "from 1 on"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(script, words, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x.py", *words])
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    try:
        status = command_line.run_script(script)
    except SystemExit as error:  # argparse
        status = error.code
    assert status == 2 and told in capsys.readouterr().err


def test_the_end_of_a_script(capsys):
    def fails(error):
        raise error

    assert command_line.run_script(lambda: None) == 0
    assert command_line.run_script(lambda: 3) == 3
    assert command_line.run_script(lambda: fails(UserError("no"))) == 2
    assert command_line.run_script(lambda: fails(KeyboardInterrupt)) == 130
    assert capsys.readouterr().err.splitlines() == [
        "error: no",
        "Interrupted; what stands above is all that is kept.",
    ]


def test_an_interrupt_leaves_what_was_complete(monkeypatch, capsys, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(published_model.limits, "matrix_rate", stop)
    words = ["--frames", "2", "--size", "32", "--rounds", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["x.py", *words, "--json", str(tmp_path / "a.json")])
    assert published_model.main() == 130
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["interrupted"]
    assert list(told["figures"]) == ["fp32, forward: published", "fp32, forward: ours"]
    assert "| fp32, forward |" in capsys.readouterr().out
