"""Shared fixtures: small videos, small configs, and the rule for GPU tests."""

import gc
import logging
import os
import signal
from contextlib import contextmanager
from pathlib import Path

# For tiny tensors, threads only wait for each other; what tests start inherits it.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # threads that wait must not spin on shared cores

import pytest
import torch
from charts import charts
from own_shared_memory import mark_semaphores
from processes import Forked
from registries import fresh_process
from tiny_run import tiny_overrides
from videos import numbered_frames

from uniformer_video import cli
from uniformer_video.prepare import jobs
from uniformer_video.prepare.demo import generate_demo, write_video
from uniformer_video.runs import multi_view_test
from uniformer_video.training.trainer import Trainer

torch.set_num_threads(1)
mark_semaphores()
# Ten thousand tests and what they import stay to the end: while they are collected there is no garbage worth
# looking for, and later (`pytest_collection_finish`) they need not be looked through again and again.
gc.disable()
# A shell starts what runs in its background deaf to Ctrl-C, and the commands under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--slow-group", metavar="I/N", help="of the slow tests, those of group I, from 0, among N"
    )


def pytest_collection_modifyitems(config, items):
    """`--slow-group I/N` leaves every N-th slow test, so that N runs see each of them once."""
    if group := config.getoption("--slow-group"):
        number, of = map(int, group.split("/"))
        slow = [item for item in items if item.get_closest_marker("slow")]
        left_out = {item for index, item in enumerate(slow) if index % of != number}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish():
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000)  # what is left is soon looked through, but not worth it after every 700
    gc.enable()


def pytest_runtest_setup(item):
    """A test marked `gpu` is skipped without a GPU; REQUIRE_GPU=1 makes that a failure."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        reason = "needs a CUDA device"
        if os.environ.get("REQUIRE_GPU") == "1":
            pytest.fail(f"{reason}, and REQUIRE_GPU=1 forbids to skip")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A small demo dataset: 16 training, 8 validation and 8 test videos."""
    root = tmp_path_factory.mktemp("demo")
    generate_demo(root, train=16, val=8, test=8, processes=2)
    return root


@pytest.fixture
def tiny(demo, tmp_path):
    """A function: overrides for a tiny run on the demo videos into `tmp_path / "run"`."""

    def overrides(**changes):
        return tiny_overrides(demo, tmp_path / "run", **changes)

    return overrides


@pytest.fixture
def no_page(monkeypatch):
    """Tests of a run write no page, for a test of their figures alone: a page takes longer than they do."""
    monkeypatch.setattr(multi_view_test, "report", lambda folder: folder)


@pytest.fixture(scope="session", autouse=True)
def _undrawn_charts():
    with charts(drawn=False):
        yield


@pytest.fixture(scope="session", autouse=True)
def spawned():
    """The workers of jobs are forked from a process that has imported; what starts them in earnest."""
    with pytest.MonkeyPatch.context() as patch:
        spawn = jobs._SPAWN
        patch.setattr(jobs, "_SPAWN", Forked)
        yield spawn


@pytest.fixture
def make_video(tmp_path):
    """A function that writes a video whose frame i is told by its brightness, and returns its path."""

    def make(name="video.mp4", frames=50, size=(48, 64), fps=25, **encoding):
        path = Path(tmp_path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, numbered_frames(frames, size), fps, **encoding)
        return path

    return make


@pytest.fixture(scope="session")
def interrupt_after():
    """A context manager: Ctrl-C comes at the end of the training step of this number."""

    @contextmanager
    def interrupted(count):
        steps, original = [], Trainer._train_step

        def step(self, progress, batches):
            original(self, progress, batches)
            steps.append(progress.step)
            if len(steps) == count:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "_train_step", step)
            yield

    return interrupted


@pytest.fixture
def two_threads():
    """Two threads for torch, for models of full size."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def call(capsys, monkeypatch):
    """A function: run a command in this process; (status, standard output, errors)."""
    monkeypatch.delenv("UNIFORMER_TRACEBACK", raising=False)

    def run(*arguments, command=None):
        capsys.readouterr()  # what was printed before is not this command's
        try:
            status = cli.main([str(a) for a in arguments], command)
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    yield run
    root = logging.getLogger()  # the handler writes into a stream that ends with the test
    root.handlers = [h for h in root.handlers if type(h) is not logging.StreamHandler]


@pytest.fixture
def own_registries():
    """What the test registers is gone after it."""
    with fresh_process():
        yield


@pytest.fixture
def place(tmp_path):
    """A function that writes files below `tmp_path`, name -> text or None; returns that folder."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((text or "").encode())
        return tmp_path

    return write
