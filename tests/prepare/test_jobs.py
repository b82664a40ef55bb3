"""Worker processes: what a bad task costs, and what ends a run. Tasks are calls of plain functions."""

import errno
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from uniformer_video.errors import UserError
from uniformer_video.prepare import jobs
from uniformer_video.prepare.jobs import run_jobs


@pytest.fixture(autouse=True)
def as_they_are_started(spawned, monkeypatch):
    monkeypatch.setattr(jobs, "_SPAWN", spawned)


def outcomes(function, tasks, **options):
    """Task -> (result, reason)."""
    found = {}

    def report(outcome):
        assert outcome.task not in found
        found[outcome.task] = (outcome.result, outcome.reason)

    run_jobs(function, tasks, report, **options)
    assert not multiprocessing.active_children()
    return found


def test_every_task_is_answered_once():
    assert outcomes(abs, range(-20, 0), workers=2) == {n: (-n, "") for n in range(-20, 0)}
    assert outcomes(abs, []) == {}


def test_a_task_that_raises_costs_only_itself():
    found = outcomes(int, ["1", "x", "2"], workers=1)
    assert found["1"] == (1, "") and found["2"] == (2, "")
    assert found["x"][1].startswith("ValueError: invalid literal")


def test_a_task_that_takes_its_process_down_costs_only_itself():
    found = outcomes(partial(pow, 2), [3, 4], workers=1)
    assert found == {3: (8, ""), 4: (16, "")}
    found = outcomes(os._exit, [3, 4], workers=1)
    assert found == {n: (None, f"its process ended with status {n}") for n in (3, 4)}
    killed = outcomes(signal.raise_signal, [signal.SIGKILL, signal.SIGSEGV, 0], workers=2)
    assert killed[signal.SIGKILL][1] == "its process was killed, perhaps for want of memory"
    assert killed[signal.SIGSEGV][1] == "its process crashed (SIGSEGV)"


def test_a_task_that_hangs_is_given_up():
    found = outcomes(time.sleep, [0, 1000, 0.01], workers=1, timeout=1)
    assert found == {0: (None, ""), 1000: (None, "no end after 1 seconds"), 0.01: (None, "")}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_run():
    write = partial(Path.write_text, data="x")
    with pytest.raises(OSError) as caught:
        outcomes(write, [Path("/dev/full")] * 3, workers=1)
    assert caught.value.errno == errno.ENOSPC
    assert not multiprocessing.active_children()


def test_an_error_of_the_caller_ends_the_workers():
    def report(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(time.sleep, [0, 1000], report, workers=2)
    assert not multiprocessing.active_children()


def test_workers_that_cannot_start_are_an_error(monkeypatch):
    monkeypatch.setattr("uniformer_video.prepare.jobs._work", os.abort)
    with pytest.raises(UserError, match="no worker process can start"):
        outcomes(abs, [1], workers=1)
