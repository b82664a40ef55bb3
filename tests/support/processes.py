"""Processes of one run: started with torchrun or by hand, watched, and hit by signals."""

import atexit
import multiprocessing
import multiprocessing.forkserver
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What trainings import, by several processes also the compiler, in seconds of a core: processes by hand are
# forked from one that has done so.
_IMPORTED = ["torch._dynamo", "uniformer_video.cli", "uniformer_video.runs.run", "numpy.random"]


def torchrun(size, arguments, log, options=()):
    """Start `size` processes of `arguments` (a script and what it takes) as a `Launch`."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={size}"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", *options, *arguments]
    return Launch(command, log, {})


def by_hand(size, arguments, log):
    """The same without torchrun, one `Launch` a process; the first keeps the store.

    They are forked from a process that has only imported, so `torchrun`'s alone begin from nothing.
    """
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        port = taken.getsockname()[1]
    common = {"WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [
        Launch(arguments, f"{log}.{rank}", {**common, "RANK": rank}, start=_Forked)
        for rank in range(size)
    ]


def alone(arguments, log):
    """One process by hand, that is of no run of several."""
    return Launch(arguments, log, {}, start=_Forked)


class Forked:
    """What the package takes of `multiprocessing` to start a process, from `fork_server`."""

    Pipe = staticmethod(multiprocessing.Pipe)

    @staticmethod
    def Process(*arguments, **options):
        return fork_server().Process(*arguments, **options)


def fork_server():
    """The `multiprocessing` context of the process that has imported, which is started if need be.

    Its processes know of this one's settings what it had when it was started, and nothing that was patched.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)  # without effect once the server runs
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        multiprocessing.forkserver.ensure_running()
    return context


class Launch:
    """A command in a process group of its own, what it writes, and its processes by rank."""

    def __init__(self, command, log, environment, start=None):
        self.log = Path(log)
        environment = {key: str(value) for key, value in environment.items()}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
        self.process = (start or _started)([str(part) for part in command], self.log, environment)

    @property
    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern, seconds=90):
        """Until the output has a line that matches."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            over = self.process.poll() is not None or time.monotonic() > deadline
            assert not over or re.search(pattern, self.text), f"no {pattern!r} in:\n{self.text}"
            time.sleep(0.02)

    def ranks(self):
        """{rank: process id} of the processes that torchrun has started."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    environment = (folder / "environ").read_text(errors="replace")
                    found[int(re.search(r"\0RANK=(\d+)\0", f"\0{environment}")[1])] = int(
                        folder.name
                    )
            except (OSError, TypeError):
                continue
        return found

    def wait(self, seconds=120):
        """The exit status."""
        return self.process.wait(seconds)

    def kill(self):
        """End all of it, as a test must leave nothing behind."""
        for pid in [*self.ranks().values(), self.process.pid]:
            try:
                os.killpg(pid, 9) if pid == self.process.pid else os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self.process.wait()


def _started(command, log, environment):
    with open(log, "wb") as file:
        return subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


class _Forked:
    """A script, or `-m module`, with its arguments in a fork of the process that has imported.

    Of `subprocess.Popen` it has what tests use.
    """

    def __init__(self, arguments, log, environment):
        log.write_bytes(b"")
        self._process = fork_server().Process(
            target=_run_forked, args=(arguments, str(log), environment, os.getcwd())
        )
        self._process.start()
        self.pid = self._process.pid
        while self.poll() is None and not self._leads_its_group():
            time.sleep(0.01)

    def _leads_its_group(self):
        try:
            return os.getpgid(self.pid) == self.pid
        except ProcessLookupError:
            return True

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return self.poll()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def _run_forked(arguments, log, environment, folder):
    """As Python would: output into `log`, the words in `sys.argv`, what is registered for the end."""
    os.setsid()
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(environment)
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(sys.argv[0]).parent))
            runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
