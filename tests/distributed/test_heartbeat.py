"""Who is dead and who is only slow, and that all who are left make the same of it. Short times, one store."""

import contextlib
import threading
import time

import pytest
from torch import distributed as dist

from uniformer_video.distributed import environment, heartbeat
from uniformer_video.distributed.heartbeat import Heartbeat
from uniformer_video.distributed.ranks import device_timeout
from uniformer_video.errors import DecodeError, RankError

TIMEOUT = 0.3


@pytest.fixture
def crew():
    """A function: `size` heartbeats on one store, of which `silent` ranks never beat."""
    made = []

    def make(size, silent=(), timeout=TIMEOUT):
        store = dist.HashStore()
        beats = [Heartbeat(store, rank, size, timeout) for rank in range(size)]
        for beat in beats:
            if beat.rank not in silent:
                beat.start()
        made.extend(beats)
        return beats

    yield make
    for beat in made:
        beat.stop()


@pytest.fixture
def ends(monkeypatch):
    """[(status, what was logged last)] of the ends in place of the main thread."""
    found = []
    monkeypatch.setattr(heartbeat.os, "_exit", found.append)
    return found


@pytest.fixture
def guard():
    """A function: let a process train, with `step` finished; the list of what it was asked to save."""
    with contextlib.ExitStack() as trainings:

        def enter(beat, step):
            asked = []

            def rescue(save):
                asked.append(save)
                return f"step {step} is saved" if save else "go on from the checkpoint"

            trainings.enter_context(beat.guard_training(lambda: step, rescue))
            return asked

        yield enter


def losses(beats):
    """What `loss()` gives on each, at the same time as processes would ask."""
    found = {}

    def ask(beat):
        found[beat.rank] = beat.loss()

    threads = [threading.Thread(target=ask, args=(beat,)) for beat in beats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [found[beat.rank] for beat in beats]


def test_whoever_beats_or_has_left_is_not_dead_however_long_it_takes(crew, ends):
    beats, others = crew(3, timeout=1.0), crew(2, timeout=1.0)
    others[1].stop()
    time.sleep(2.0)
    assert not ends
    assert all(not beat._silent(time.monotonic()) for beat in beats)


def test_one_whose_heart_stands_still_is_given_up_though_the_others_are_stuck(
    crew, guard, ends, caplog
):
    beats = crew(3, silent=[1])
    asked = {rank: guard(beats[rank], 7) for rank in (0, 2)}
    deadline = time.monotonic() + 10
    while len(ends) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ends == [2, 2]
    assert asked[0] == [True]
    assert asked[2] == [False]
    lost = "error: process 1 of 3 no longer answers (killed, or stopped; last heard of at step 0)"
    assert f"{lost}; step 7 is saved" in caplog.text


def test_a_broken_connection_names_who_does_not_report(crew, guard):
    beats = crew(3, silent=[0])
    asked = {rank: guard(beats[rank], 7) for rank in (1, 2)}
    first, second = losses(beats[1:])
    assert isinstance(first, RankError)
    assert str(first).startswith("process 0 of 3 no longer answers")
    assert "step 7 is saved" in str(first)
    assert "go on from the checkpoint" in str(second)
    assert (asked[1], asked[2]) == ([True], [False])


@pytest.mark.parametrize("other", [8, None])
def test_nobody_saves_where_the_survivors_do_not_stand_at_one_step(crew, guard, other):
    beats = crew(3, silent=[0])
    asked = guard(beats[1], 7), guard(beats[2], other)
    for error in losses(beats[1:]):
        assert str(error).endswith("go on from the checkpoint")
    assert asked == ([False], [False])


def test_an_error_of_one_is_raised_by_all(crew, guard):
    beats = crew(3)
    guard(beats[0], 3), guard(beats[1], 3)
    beats[2].stop(DecodeError("a.mp4 is broken"))
    for error in losses(beats[:2]):
        assert type(error) is DecodeError
        assert str(error) == "a.mp4 is broken"


def test_an_error_of_our_own_is_named_with_its_process(crew, guard):
    beats = crew(2)
    asked = guard(beats[0], 3)
    beats[1].stop(MemoryError("no room\nfor it"))
    (error,) = losses(beats[:1])
    assert str(error) == "process 1 of 2 failed: MemoryError: no room for it; step 3 is saved"
    assert asked == [True]


def test_outside_a_training_the_same_command_is_the_remedy(crew):
    beats = crew(2, silent=[1])
    (error,) = losses(beats[:1])
    assert str(error).endswith("run the same command again")


def test_one_that_wakes_up_after_the_others_gave_it_up_saves_nothing(crew, guard):
    beats = crew(2, silent=[0])
    asked = [guard(beat, 5) for beat in beats]
    losses(beats[1:])
    (error,) = losses(beats[:1])
    assert "did not answer for so long that the others ended the run" in str(error)
    assert asked == [[], [True]]


def test_a_process_that_itself_stood_still_does_not_blame_the_others(crew, ends, monkeypatch):
    """As when a machine sleeps: its clock has jumped, and everybody looks late."""
    beats = crew(2, timeout=1.0)
    time.sleep(0.5)
    real = time.monotonic
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: real() + 1000)
    time.sleep(0.5)
    assert not ends
    assert not beats[0].in_trouble


def test_the_lowest_that_is_left_speaks(crew, monkeypatch):
    spoken = []
    monkeypatch.setattr(environment, "speak", lambda: spoken.append(threading.current_thread()))
    beats = crew(3, silent=[0])
    losses(beats[1:])
    assert len(spoken) == 1


class Silent:
    """A store whose machine is gone: calls neither return nor fail."""

    def __getattr__(self, name):
        return lambda *_args: threading.Event().wait()


class Gone:
    """A store whose process is gone."""

    def __getattr__(self, name):
        raise RuntimeError("Connection reset by peer")


@pytest.mark.parametrize("store", [Silent(), Gone()], ids=["silent", "gone"])
def test_a_store_that_does_not_answer_ends_the_run_and_the_main_process_alone_saves(
    crew, guard, ends, monkeypatch, caplog, store
):
    monkeypatch.setattr(heartbeat, "STORE_SECONDS", 0.5)
    beats = crew(3, silent=[0, 1, 2])
    asked = [guard(beat, 5) for beat in beats]
    for beat in beats:
        beat._store = store
        beat.start()
    deadline = time.monotonic() + 15
    while len(ends) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ends == [2, 2, 2]
    assert asked == [[True], [False], [False]]
    lost = "what connects the 3 processes (torchrun, or process 0) no longer answers"
    assert f"{lost}; step 5 is saved" in caplog.text
    for beat in beats:
        beat._store = dist.HashStore()  # so that the farewells need not wait


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), MemoryError()])
def test_a_rescue_that_fails_is_told_and_the_dead_named_all_the_same(crew, failure):
    beats = crew(2, silent=[1])

    def rescue(save):
        if save:
            raise failure
        return "go on from the checkpoint"

    with beats[0].guard_training(lambda: 5, rescue):
        (error,) = losses(beats[:1])
    assert str(error).startswith("process 1 of 2 no longer answers")
    assert "its finished steps cannot be saved" in str(error)
    assert str(error).endswith("go on from the checkpoint")


def test_others_wait_until_the_main_process_has_left(crew):
    """torchrun ends the main process, which has yet to speak, as soon as one of the others is gone."""
    beats = crew(2, timeout=1.0)
    timer = threading.Timer(0.5, beats[0].stop)
    timer.start()
    began = time.monotonic()
    beats[1].wait_for_main()
    assert 0.4 < time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("longest_wait", "seconds"),
    [(0, 1800), (300, 1800), (1000, 2060), (float("inf"), 24 * 3600)],
)
def test_operations_take_longer_than_any_wait_for_data(longest_wait, seconds):
    assert device_timeout(longest_wait).total_seconds() == seconds
