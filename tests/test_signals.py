"""Requests to stop, and ends that are told."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from uniformer_video import cli, signals
from uniformer_video.commands import interrupted
from uniformer_video.signals import (
    delay_interrupts,
    raise_interrupts,
    restore_defaults,
    stop_requests,
)

NAMES = ["SIGINT", "SIGTERM", "SIGHUP"]


@pytest.fixture(autouse=True)
def heard():
    """SIGHUP is heard, also where the tests were started by `nohup`, which is respected otherwise."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def send(name):
    os.kill(os.getpid(), getattr(signal, name))


@pytest.fixture
def handlers(monkeypatch):
    """The handlers before, which must be there again afterwards; nobody has asked to stop yet."""
    monkeypatch.setattr(signals, "_last_request", [float("-inf")])
    numbers = [getattr(signal, name) for name in NAMES]
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_is_a_request_and_a_second_one_at_once_the_same(handlers, name):
    with stop_requests() as stop:
        assert not stop.is_set()
        send(name)
        assert stop.is_set()
        send("SIGTERM")  # as torchrun passes a Ctrl-C on


def test_one_that_comes_later_ends_at_once(handlers, monkeypatch):
    monkeypatch.setattr(signals, "SAME_REQUEST_SECONDS", 0.05)
    with pytest.raises(KeyboardInterrupt), stop_requests():
        send("SIGINT")
        time.sleep(0.1)
        send("SIGINT")


@pytest.mark.parametrize("name", NAMES)
def test_elsewhere_a_signal_ends_as_ctrl_c_does(handlers, name):
    with pytest.raises(KeyboardInterrupt), raise_interrupts():
        send(name)
        time.sleep(1)


def test_one_that_repeats_a_request_does_not_disturb_its_answer(handlers):
    with raise_interrupts():
        with stop_requests():
            send("SIGINT")
        send("SIGTERM")
        time.sleep(0.01)


def test_one_that_comes_during_imports_ends_after_them(handlers):
    """numpy and others catch everything that is raised while they look for optional parts."""
    imported = []
    with pytest.raises(KeyboardInterrupt), raise_interrupts(), delay_interrupts():
        try:
            send("SIGINT")
            time.sleep(0.01)
        except BaseException:
            raise AssertionError("swallowed in an import") from None
        imported.append("all")
    assert imported == ["all"]
    with raise_interrupts(), delay_interrupts():
        imported.append("again")


@pytest.mark.parametrize("context", [stop_requests, raise_interrupts])
def test_a_run_under_nohup_outlives_its_terminal(context):
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with context() as stop:
            send("SIGHUP")
            assert not (stop and stop.is_set())
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_command_in_the_background_does_not_hear_ctrl_c_but_a_training_saves(handlers):
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with raise_interrupts():
            send("SIGINT")
            with stop_requests() as stop:
                send("SIGINT")
                assert stop.is_set()
    finally:
        signal.signal(signal.SIGINT, previous)


def test_outside_the_main_thread_no_handler_is_installed(handlers):
    found = []

    def run():
        with stop_requests() as stop, raise_interrupts():
            found.append(stop.is_set())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_forked_worker_does_not_keep_them(handlers):
    with stop_requests():
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            restore_defaults()
            os.write(tell, b"x")
            time.sleep(10)
            os._exit(0)
        os.read(ready, 1)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_every_command_tells_its_end(name):
    code = (
        "import os, signal, time\n"
        "from uniformer_video import cli\n"
        f"handler = lambda args: os.kill(os.getpid(), signal.{name}) or time.sleep(5)\n"
        "handler.__doc__ = 'Wait.'\n"
        "cli._COMMANDS['models'] = (lambda parser: None, handler)\n"
        "raise SystemExit(cli.main([], 'models'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.startswith("Interrupted; nothing was written, and the same command begins")


def test_every_command_knows_what_is_kept_of_it():
    assert set(interrupted._KEPT) == set(cli._COMMANDS)


@pytest.mark.parametrize(
    ("words", "goes_on"),
    [
        ("predict a.mp4 --checkpoint a.pt --out a.csv", True),
        ("predict a.mp4 --checkpoint a.pt", False),
        ("predict a.png --checkpoint a.pt --overlay out", False),
        ("features a.mp4 --checkpoint a.pt --out a.npz", True),
        ("explain a.mp4 --checkpoint a.pt --out out", False),
        ("timeline a.mp4 --checkpoint a.pt --out out --render a_labelled.mp4", False),
        ("compare run_a run_b", False),
        ("calibrate run --out a.pt --on val", False),
        ("report run", False),
        ("find-lr --cfg demo/uniformer_demo", False),
        ("prepare resize videos --out out", True),
        ("prepare check videos --overlap", True),
        ("prepare check videos", False),
        ("prepare lists k400 --annotations a --videos b --out c", False),
        ("bench inflation --cfg demo/inflate", True),
        ("bench model", False),
    ],
)
def test_only_a_command_that_goes_on_says_so(words, goes_on):
    parsed = cli._parse(words.split(), None)
    said = interrupted.what_is_kept(parsed.command, parsed)
    assert ("same command goes on" in said) is goes_on, said
