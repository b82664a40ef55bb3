"""A video that hangs or crashes its worker costs itself alone: every other sample stays as it was."""

import ctypes
import gc
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from clips import augmentation
from own_shared_memory import files_that_stay, own_files

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading import dataset as dataset_module
from uniformer_video.data.loading.dataset import (
    EvalDataset,
    TrainDataset,
    decode_test_clips,
)
from uniformer_video.data.loading.loader import TrainLoader, TrainPlan, eval_loader
from uniformer_video.data.loading.workers import StopAsked
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DecodeError, WorkerError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
TIMEOUT = 1.5


def hang(path):
    """Sleep in C, deaf to polite signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    ctypes.CDLL(None).sleep(1000)


def hang_at_the_second(path):
    if Path(f"{path}.tries").stat().st_size == 2:
        hang(path)


def let_go_and_end(path):
    """As a process ends: its connections first, and a while later the system tells how it ended."""
    os.closerange(3, 256)
    time.sleep(0.4)
    os._exit(3)


def hang_slowly(path):
    """Sleep in C with Python's lock held, so that no thread of the worker goes on."""
    ctypes.PyDLL(None).sleep(1000)


def refuse(path):
    raise DecodeError(f"{path} is broken")


def be_slow(path):
    time.sleep(0.7)


def act(deeds, path):
    """Leave a mark, then do what is laid down for a path: a function's name or a signal's."""
    with open(f"{path}.tries", "a") as file:
        file.write(".")
    deed = deeds.get(path)
    if deed and deed.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, deed))
    elif deed:
        globals()[deed](path)


class ActingDataset(TrainDataset):
    deeds: ClassVar = {}

    def decode(self, record, rng):
        act(self.deeds, record.path)
        return super().decode(record, rng)


@pytest.fixture
def videos(make_video):
    paths = [make_video(f"{i}.mp4", frames=12) for i in range(8)]
    return [VideoRecord(str(path), path.name, (i,)) for i, path in enumerate(paths)]


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """No process, and no file in shared memory, outlives a test."""
    before = own_files()
    yield
    gc.collect()  # an error that was raised holds its loader
    with suppress(ChildProcessError):  # none at all
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)
    assert not multiprocessing.active_children()
    assert not files_that_stay(before)


def tries(record):
    return Path(f"{record.path}.tries").stat().st_size


def train_loader(videos, deeds, workers=2, timeout=TIMEOUT):
    augment = augmentation(32, color_jitter=0.4, erasing=0.5)
    dataset = ActingDataset(videos, ClipSampling(4, 2), augment, seed=7, copies=2)
    dataset.deeds = {videos[index].path: deed for index, deed in deeds.items()}
    plan = TrainPlan(len(videos), 2, 1, seed=7)
    return TrainLoader(dataset, plan, (0, 1), workers, timeout)


def same(found, expected):
    return all(
        torch.equal(a.clips, b.clips) and torch.equal(a.labels, b.labels) and a.paths == b.paths
        for a, b in zip(found, expected, strict=True)
    ) and [[path for path, _ in batch.broken] for batch in found] == [
        [path for path, _ in batch.broken] for batch in expected
    ]


def reasons(batches):
    return {path: reason for batch in batches for path, reason in batch.broken}


def expected_batches(videos, *broken, epoch=0, first_step=0):
    loader = train_loader(videos, dict.fromkeys(broken, "refuse"), workers=0)
    return list(loader.epoch(epoch, first_step))


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_hanging_video_counts_as_broken_and_changes_nothing_else(videos, start, caplog):
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(start, force=True)
    try:
        loader = train_loader(videos, {3: "hang"}, workers=2 if start == "fork" else 1)
        found = list(loader.epoch(0, 1)), list(loader.epoch(1))
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert tries(videos[3]) == 1  # never again
    path = videos[3].path
    assert same(found[0], expected_batches(videos, 3, first_step=1))
    assert same(found[1], expected_batches(videos, 3, epoch=1))
    reason = f"{path} takes more than 1.5 s to decode (DATA_LOADER.TIMEOUT)"
    assert reasons(found[0] + found[1]) == {path: reason}
    assert caplog.text.count(reason) == 1


def test_two_that_hang_at_once(videos, caplog):
    order = TrainPlan(len(videos), 2, 1, seed=7).order(0)
    first, second = int(order[2]), int(order[3])  # batches of two workers
    found = list(train_loader(videos, {first: "hang", second: "hang"}).epoch(0))
    assert same(found, expected_batches(videos, first, second))
    assert len(reasons(found)) == 2


def test_one_that_hangs_with_pythons_lock(videos):
    """Batches that its worker has sent before cannot be fetched from it any more."""
    order = TrainPlan(len(videos), 2, 1, seed=7).order(0)
    batches = train_loader(videos, {int(order[4]): "hang_slowly"}).epoch(0)
    found = [next(batches)]
    time.sleep(0.5)  # the main process is busy, and batches lie ready
    found += batches
    assert same(found, expected_batches(videos, int(order[4])))


def test_the_next_epoch_is_begun_before_it_is_asked_for(videos):
    """By one pass over two epochs, in stages."""
    loader = train_loader(videos, {})
    found = [list(loader.epoch(0, end_step=3, ahead=8))]
    found.append(list(loader.epoch(0, 3, ahead=8)))
    until = time.monotonic() + 20  # of 4 batches of the next epoch
    while sum(map(tries, videos)) < 12 and time.monotonic() < until:
        time.sleep(0.02)
    assert [tries(record) for record in videos].count(2) == 4
    found.append(list(loader.epoch(1, ahead=8)))
    assert same(found[0] + found[1], expected_batches(videos, epoch=0))
    assert same(found[2], expected_batches(videos, epoch=1))


def test_a_pass_over_epochs_goes_on_where_a_video_hangs(videos, monkeypatch):
    """The epochs before it are not gone through again."""
    asked, order = [], TrainPlan.order
    monkeypatch.setattr(TrainPlan, "order", lambda self, e: asked.append(e) or order(self, e))
    loader = train_loader(videos, {3: "hang_at_the_second"})
    found = [list(loader.epoch(epoch, ahead=8)) for epoch in (0, 1)]
    assert asked == [0, 1, 1] and tries(videos[3]) == 2
    assert same(found[0], expected_batches(videos))
    assert same(found[1], expected_batches(videos, 3, epoch=1))


def test_slow_videos_are_not_blamed(videos):
    deeds = dict.fromkeys(range(3), "be_slow")
    dataset = train_loader(videos[:3], deeds)._loader.dataset
    loader = TrainLoader(dataset, TrainPlan(3, 1, 3, seed=7), (0,), 1, TIMEOUT)  # 2.1 s a batch
    found = list(loader.epoch(0))
    assert len(found) == 1 and not reasons(found)
    assert all(tries(record) == 1 for record in videos[:3])


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT"])
def test_a_video_that_crashes_its_worker_counts_as_broken(videos, name):
    loader = train_loader(videos, {3: name, 6: name}, timeout=0)
    found = list(loader.epoch(0))
    assert tries(videos[3]) == 1
    assert same(found, expected_batches(videos, 3, 6))
    assert reasons(found)[videos[3].path] == f"{videos[3].path} crashes the decoder ({name})"


def test_a_worker_that_is_killed_is_an_error_that_names_its_video(videos):
    with pytest.raises(WorkerError, match=r"killed.*memory.*5\.mp4.*DATA_LOADER\.NUM_WORKERS"):
        list(train_loader(videos, {5: "SIGKILL"}).epoch(0))


def test_one_that_dies_while_others_are_still_being_started_is_named_too(videos, monkeypatch):
    iterator = torch.utils.data.dataloader._MultiProcessingDataLoaderIter
    hand_out = iterator._try_put_index

    def slowly(self):
        hand_out(self)
        time.sleep(0.3)

    monkeypatch.setattr(iterator, "_try_put_index", slowly)
    with pytest.raises(WorkerError, match=r"killed.*memory.*\d\.mp4"):
        list(train_loader(videos, dict.fromkeys(range(8), "SIGKILL")).epoch(0))


def test_a_worker_that_ends_for_no_video_is_an_error(videos):
    class Leaving(ActingDataset):
        def _sample(self, *args):
            os._exit(3)

    loader = train_loader(videos, {})
    loader._loader.dataset.__class__ = Leaving
    with pytest.raises(WorkerError, match="ended with status 3; it was between two files"):
        list(loader.epoch(0))


def test_a_worker_that_stands_still_between_two_videos_is_an_error(videos):
    class Still(ActingDataset):
        def _sample(self, *args):
            os.kill(os.getpid(), signal.SIGSTOP)

    loader = train_loader(videos, {})
    loader._loader.dataset.__class__ = Still
    with pytest.raises(WorkerError, match=r"have done nothing for 1\.5 s"):
        list(loader.epoch(0))


def test_errors_of_the_dataset_pass_through(videos):
    class Wrong(ActingDataset):
        def _sample(self, *args):
            raise RuntimeError("a mistake of ours")

    loader = train_loader(videos, {})
    loader._loader.dataset.__class__ = Wrong
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        list(loader.epoch(0))


def test_a_batch_that_breaks_off_once_the_run_is_to_stop_is_no_error(videos, monkeypatch):
    """A signal to all processes of a run, as `timeout` and systemd send it, ends a worker half-way in one."""
    loader = train_loader(videos, {})
    stop = threading.Event()
    loader.give_up_on(stop)
    batches = loader.epoch(0)
    next(batches)

    def break_off():
        stop.set()
        raise EOFError

    monkeypatch.setattr(loader._loader, "_wait", break_off)
    with pytest.raises(StopAsked):
        next(batches)


def break_off_once(loader, monkeypatch, is_time=lambda: True):
    """Have the connection to the workers break while the next batch is waited for, once `is_time`."""
    wait, broken = loader._loader._wait, []

    def break_off():
        if broken:
            return wait()
        while not is_time():
            time.sleep(0.01)
        broken.append(True)
        raise EOFError

    monkeypatch.setattr(loader._loader, "_wait", break_off)


def test_a_connection_breaks_before_it_is_known_how_the_worker_ended(videos, monkeypatch):
    (path, *_), *_ = (batch.paths for batch in expected_batches(videos))
    first = [video.path for video in videos].index(path)
    Path(f"{path}.tries").unlink()
    loader = train_loader(videos, {first: "let_go_and_end"}, timeout=0)
    break_off_once(loader, monkeypatch, Path(f"{path}.tries").exists)
    with pytest.raises(WorkerError, match="ended with status 3"):
        next(loader.epoch(0))


def test_a_connection_that_breaks_though_all_workers_live_is_told_in_a_line(videos, monkeypatch):
    loader = train_loader(videos, {})
    break_off_once(loader, monkeypatch)
    with pytest.raises(WorkerError, match="has broken off; run the same command again"):
        next(loader.epoch(0))


def test_a_pass_that_is_left_early_does_not_disturb_the_next(videos):
    loader = train_loader(videos, {3: "be_slow", 4: "hang"})
    next(loader.epoch(0))
    assert same(list(loader.epoch(1)), expected_batches(videos, 4, epoch=1))


def test_without_workers_nothing_is_watched(videos):
    found = list(train_loader(videos, {3: "be_slow"}, workers=0, timeout=0.1).epoch(0))
    assert same(found, expected_batches(videos))


def test_evaluation_lists_it_as_failed(videos, monkeypatch):
    deeds = {videos[2].path: "hang", videos[5].path: "SIGSEGV"}

    def acting(path, *args):
        act(deeds, path)
        return decode_test_clips(path, *args)

    monkeypatch.setattr(dataset_module, "decode_test_clips", acting)
    views = EvalViews(48, 48, 1)
    faults = {}
    dataset = EvalDataset(videos, ClipSampling(4, 2), views, 2, faults=faults)
    samples = [s for batch in eval_loader(dataset, range(8), 3, 2, TIMEOUT) for s in batch]
    assert [sample.index for sample in samples] == list(range(8))
    assert [i for i, sample in enumerate(samples) if sample.views is None] == [2, 5]
    assert "takes more than 1.5 s" in samples[2].reason and "SIGSEGV" in samples[5].reason
    monkeypatch.undo()
    for sample in samples:
        if sample.views is not None:
            assert torch.equal(sample.views, dataset[sample.index].views)
    again = EvalDataset(videos, ClipSampling(4, 2), views, 2, faults=faults)
    assert again[2].reason == samples[2].reason  # another test of these videos knows


def test_a_batch_without_room_in_shared_memory_is_an_error(videos, monkeypatch):
    def no_room(tensor):
        raise RuntimeError("No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", no_room)
    with pytest.raises(WorkerError, match=r"No space left.*/dev/shm.*DATA_LOADER\.NUM_WORKERS"):
        list(train_loader(videos, {}).epoch(0))
