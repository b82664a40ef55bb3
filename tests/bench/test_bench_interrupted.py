"""What an interrupt leaves of a benchmark, and what is told while one runs."""

import json

import numpy as np
import pytest
import torch

from uniformer_video.bench import decode, depthwise, limits, loader, overlap, predict, run
from uniformer_video.bench.figures import Figure, Measured, comparison
from uniformer_video.bench.progress import Progress
from uniformer_video.signals import Interrupted
from uniformer_video.training.turns import in_turn

LAST = "Interrupted; what was complete by then stands above.\n"


def after(count, work, error=KeyboardInterrupt):
    """`work` so many times, and then an interrupt."""
    calls = []

    def working(*given, **named):
        calls.append(given)
        if len(calls) > count:
            raise error
        return work(*given, **named)

    return working


@pytest.fixture
def interrupted(call, tmp_path):
    """A function: the output and the file of a benchmark that an interrupt ends."""

    def of(*words, written=True):
        path = tmp_path / "out.json"
        status, out, err = call("bench", *words, *(["--json", path] if written else []))
        assert status == 130 and err.endswith(LAST), err
        assert out.startswith("INTERRUPTED: ")
        return out, json.loads(path.read_text()) if written else {}

    return of


def test_of_a_model(interrupted, tiny, monkeypatch, call, tmp_path):
    monkeypatch.setattr(limits, "forward_operations", after(0, None))
    words = ("model", "--precisions", "fp32,fp32", "--batch", 2, "--repeat", 1, *tiny())
    out, told = interrupted(*words)
    assert list(told["figures"]) == ["fp32: forward", "fp32: training step"]
    assert told["interrupted"] and told["what"]["batch"] == 2 and "training step" in out
    # a file that is there may hold more than what an interrupt leaves
    (tmp_path / "out.json").write_text('{"all": 1}')
    out, kept = interrupted(*words)
    assert kept == {"all": 1} and "Not written: " in out


def test_of_the_layers(interrupted, monkeypatch):
    monkeypatch.setattr(depthwise, "LAYERS", ((8, (2, 4, 4), (3, 3, 3)),))
    monkeypatch.setattr(depthwise, "_training_step", after(0, None))
    _, told = interrupted("model", "--depthwise", "--repeat", 2)
    assert "fp32, 2x4x4x8, 3x3x3: torch" in told["figures"]


def test_of_decoding(interrupted, monkeypatch, make_video):
    monkeypatch.setattr(decode, "measure", after(1, decode.measure))
    videos = [make_video(name, frames=40) for name in ("a.mp4", "b.mp4")]
    out, told = interrupted("decode", *videos, "--repeat", 1)
    assert "a.mp4: 4 clips: ours" in told["figures"] and "a.mp4" in out and "b.mp4" not in out


@pytest.mark.parametrize("rounds", [1, 2])
def test_of_the_loader(interrupted, monkeypatch, tiny, rounds):
    monkeypatch.setattr(loader, "_loader_rate", after(0, None))
    batches = after(rounds, loader._make_batch)
    monkeypatch.setattr(loader, "_make_batch", batches)
    words = ("--clips", 2, "--repeat", 2, "--clips-per-second-needed", 9)
    out, told = interrupted("loader", *words, *tiny())
    assert told["figures"]["ours: collate"]["count"] == rounds
    assert "clips/s per core" in out and "NUM_WORKERS" not in out


def test_of_steps_and_of_a_test(interrupted, monkeypatch, tiny):
    monkeypatch.setattr(run, "_loader_alone", after(0, None, Interrupted))
    out, told = interrupted("run", "--steps", 2, *tiny())
    assert told["figures"]["train/forward"]["count"] == 2 and "whole step" in out
    assert "train/limit: forward" not in told["figures"]
    monkeypatch.undo()
    monkeypatch.setattr(limits, "matrix_rate", lambda *_: Figure.of([1.0], "GFLOP/s"))
    monkeypatch.setattr(run, "time_test", after(0, None))
    out, _ = interrupted("run", "--steps", 1, "--test", *tiny(), written=False)
    assert "The limit is what" in out and "The loader alone" in out


def test_of_what_writes_no_file(interrupted, monkeypatch, call):
    monkeypatch.setattr(overlap, "generate_videos", after(0, None))
    out, _ = interrupted("overlap", "--videos", 20, written=False)
    assert "pairs of the same footage found" in out


def test_of_predictions(monkeypatch):
    monkeypatch.setattr(predict, "_clips", lambda *_: None)
    monkeypatch.setattr(predict, "_one_by_one", after(1, lambda *_: [np.array([0.5])]))
    monkeypatch.setattr(predict, "_together", lambda *_: [np.array([0.25])])
    so_far = predict.Rounds()
    with pytest.raises(KeyboardInterrupt):
        predict.run(None, ["a.mp4"], 0, 3, so_far)
    assert len(so_far.alone) == len(so_far.batched) == 1 and so_far.differences == [0.25]


def test_a_comparison_says_that_the_earlier_one_was_interrupted(tmp_path):
    then = Measured("run", {}, interrupted=True)
    earlier = {"what": {}, "machine": then.machine, "versions": then.versions, "figures": {}}
    assert not any("INTERRUPTED" in line for line in comparison(then, earlier, "old.json"))
    told = comparison(then, {**earlier, "interrupted": True}, "old.json")
    assert any(line.startswith("INTERRUPTED THEN") for line in told)


def test_works_in_turn_tell_what_they_begin_and_each_round_that_counts():
    begun, ended = [], []
    works = {"a": lambda: None, "b": lambda: None}
    in_turn(
        works,
        torch.device("cpu"),
        2,
        begins=lambda *what: begun.append(what),
        ends=lambda so_far: ended.append([len(each) for each in so_far.values()]),
    )
    assert begun == [(name, number) for number in range(3) for name in "ab"]
    assert ended == [[1, 1], [2, 2]]


def test_what_a_benchmark_is_at_is_told_now_and_then(capsys, monkeypatch):
    now = iter([0.0, 0.0, 0.5, 61.0, 63.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    at = Progress()
    for what in ("a", "b", "c", "d"):
        at(what)
    assert capsys.readouterr().err == "[0 s] a\n[1 min 01 s] c\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--videos", "3"], "give --test too"),
        (["run", "--repeat", "3"], "give --test too"),
        (["loader", "--clips-per-second-needed", "nan"], "is nan"),
        (["loader", "--workers", "1,99999"], "whole numbers from 0 to 256"),
        (["predict", "x.mp4", "--checkpoint", "x.pt", "--workers", "99999"], "0 to 256"),
        (["model", "--repeat", "99999999"], "at most 1000000"),
        (["model", "--repeat", "-1"], "--repeat is -1; it is at least 1"),
        (["decode", "x.mp4", "--repeat", "-1"], "--repeat is -1"),
        (["overlap", "--threads", "-1"], "--threads is -1; it is at least 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_at_once(call, words, told):
    status, _, err = call("bench", *words)
    assert status == 2 and told in err and err.count("\n") == 1


def test_more_clips_than_memory_holds_are_refused(call, tiny):
    status, _, err = call("bench", "model", "--batch", 1_000_000, *tiny(DATA__NUM_FRAMES=10_000))
    assert status == 2 and "do not fit into memory" in err and "Traceback" not in err
