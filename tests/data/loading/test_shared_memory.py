"""Batches that do not fit into shared memory: the message names the cause, and no file stays behind."""

import gc
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from own_shared_memory import SHM, files_that_stay, own_files

from uniformer_video.data.loading.shared_memory import share
from uniformer_video.data.loading.workers import WatchedLoader
from uniformer_video.errors import WorkerError

ROOT = Path(__file__).parents[3]
resource = pytest.importorskip("resource", reason="limits of POSIX")
pytestmark = pytest.mark.skipif(not SHM.is_dir(), reason="shared memory is files on Linux alone")
STRATEGIES = ["file_descriptor", "file_system"]
FULL = "unable to allocate shared memory(shm) for file </{}>: No space left on device (28)"


class Numbers:
    """A dataset whose samples are their own keys."""

    records = ()
    faults = MappingProxyType({})

    def __getitem__(self, key):
        return key


def loader(collate, batches, workers=1):
    return WatchedLoader(Numbers(), [[key] for key in range(batches)], collate, workers, 0)


def small_then_large(keys, last=0):
    """Three tensors; the third of batch `last` has 4 MB."""
    size = 1_000_000 if keys[0] == last else 10
    return [torch.full((10,), keys[0]), torch.ones(10), torch.ones(size)]


@contextmanager
def limit(kind, value):
    """A limit of this process and of those that it starts."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def limit_with_free_handles(number):
    """The limit that lets this process open so many files more."""
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    free = (handle for handle in count() if handle not in used)
    return next(islice(free, number, None))


@pytest.fixture
def strategy(request):
    before = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy(request.param)
    yield request.param
    torch.multiprocessing.set_sharing_strategy(before)


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = own_files()
    yield
    gc.collect()  # an error that was raised holds its loader
    assert not files_that_stay(before)


@pytest.mark.parametrize("strategy", STRATEGIES, indirect=True)
def test_a_limit_on_the_size_of_files_is_named(strategy):
    before = own_files()
    with limit(resource.RLIMIT_FSIZE, 1_000_000), pytest.raises(WorkerError) as caught:
        list(loader(small_then_large, 1))
    # already now, not when this process ends and torch tidies
    assert not files_that_stay(before, seconds=1)
    assert "a batch of 4.0 MB" in str(caught.value) and "`ulimit -f`" in str(caught.value)
    assert "/dev/shm" not in str(caught.value)


@pytest.mark.parametrize("strategy", STRATEGIES, indirect=True)
def test_batches_of_the_same_worker_that_nobody_has_opened_yet_stay(strategy):
    def collate(keys):
        return small_then_large(keys, last=2)

    with limit(resource.RLIMIT_FSIZE, 1_000_000):
        batches = iter(loader(collate, 3))
        next(batches)
        time.sleep(0.3)  # the next one lies ready, and the last has failed
        assert [int(part[0]) for part in next(batches)] == [1, 1, 1]
        with pytest.raises(WorkerError, match="ulimit -f"):
            next(batches)
        del batches


def test_the_file_that_could_not_get_its_memory_is_removed_and_no_other(monkeypatch):
    own = f"torch_{os.getpid()}_1_2"
    (SHM / f"{own}3").touch()

    def no_room(tensor):
        (SHM / own).touch()
        raise RuntimeError(FULL.format(own))

    monkeypatch.setattr(torch.Tensor, "share_memory_", no_room)
    try:
        assert "enlarge /dev/shm" in str(share([torch.ones(2)]))
        assert not (SHM / own).exists()
        assert (SHM / f"{own}3").exists()
    finally:
        (SHM / f"{own}3").unlink()


def test_a_file_of_somebody_else_is_not_removed(monkeypatch):
    taken = SHM / f"torch_{os.getpid()}_1_2"
    taken.touch()

    def exists(tensor):
        name = f"shared memory object </{taken.name}>"
        raise RuntimeError(f"unable to open {name} in read-write mode: File exists (17)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", exists)
    try:
        assert isinstance(share(torch.ones(2)), WorkerError)
        assert taken.exists()
    finally:
        taken.unlink()


def test_a_file_that_another_worker_is_making_goes_with_it(monkeypatch, tmp_path):
    def acting(tensor):
        making = tmp_path / "making"
        if tensor[0] == 1:
            with open(SHM / f"torch_{os.getpid()}_1_2", "xb"):
                making.touch()
                time.sleep(100)
        while not making.exists():
            time.sleep(0.01)
        raise RuntimeError(FULL.format("torch_1_1_1"))

    monkeypatch.setattr(torch.Tensor, "share_memory_", acting)
    with pytest.raises(WorkerError, match="No space left"):
        list(loader(torch.tensor, 2, workers=2))


@pytest.mark.parametrize(
    "free", [10, 30]
)  # too few to make the files; enough, but not to send them
def test_too_many_open_files_are_named(free):
    tensors = [torch.ones(2) for _ in range(20)]
    with limit(resource.RLIMIT_NOFILE, limit_with_free_handles(free)):
        failure = share(tensors)
    assert "`ulimit -n`" in str(failure)


def test_too_many_open_files_of_the_main_process_are_named():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def collate(keys):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return [torch.ones(2) for _ in range(20)]

    few = limit_with_free_handles(60)
    with limit(resource.RLIMIT_NOFILE, few), pytest.raises(WorkerError, match="`ulimit -n`"):
        list(loader(collate, 6))  # all batches stay


_IN_A_SMALL_SHM = """
import os, torch
from uniformer_video.data.loading.workers import WatchedLoader
from uniformer_video.errors import WorkerError

class Numbers:
    records, faults = (), {}
    __getitem__ = int

def collate(keys):
    return [torch.ones(10), torch.ones(1_000_000)]

try:
    list(WatchedLoader(Numbers(), [[key] for key in range(6)], collate, 2, 0))
except WorkerError as error:
    print(error)
print(os.listdir("/dev/shm"))
"""


def test_a_full_dev_shm_is_named_and_nothing_stays_in_it():
    mount = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec $0 "$@"',
    ]
    if os.getuid():
        mount.insert(1, "--map-root-user")
    try:
        subprocess.run([*mount, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no other /dev/shm can be mounted here")
    command = [*mount, sys.executable, "-c", _IN_A_SMALL_SHM]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    told, left = done.stdout.splitlines()
    assert "No space left" in told and "enlarge /dev/shm" in told
    assert left == "[]"
