"""The lock on a folder: one process at a time, whatever becomes of that process."""

import errno
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from uniformer_video import locks
from uniformer_video.errors import ConfigError
from uniformer_video.locks import folder_lock, remove_abandoned, temporary_folder

ROOT = Path(__file__).parents[1]
posix = pytest.mark.skipif(os.name == "nt", reason="locks and signals of POSIX")

HOLD = """
import sys
from uniformer_video.locks import folder_lock
with folder_lock(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""
HOLD_AND_FORK = """
import os, sys, time
from uniformer_video.locks import folder_lock
with folder_lock(sys.argv[1]):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(script, path):
    """A process that runs `script` and has said a line, which is its `.said`."""
    command = [sys.executable, "-c", script, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as process:
        try:
            process.said = process.stdout.readline().strip()
            yield process
        finally:
            process.kill()


def lock_here(path):
    with folder_lock(path):
        pass


def lock_elsewhere(path):
    """Whether another process gets the lock."""
    with another_process(HOLD, path) as process:
        return process.said == "locked"


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


def test_another_process_is_refused_until_the_holder_is_done(path):
    with another_process(HOLD, path) as holder:
        with pytest.raises(ConfigError) as caught:
            lock_here(path)
        message = str(caught.value)
        about = f"process {holder.pid} on {re.escape(socket.gethostname())} since (\\S+);"
        found = re.match(f"{re.escape(str(path.parent))} is in use by {about}", message)
        assert abs(datetime.fromisoformat(found[1]).timestamp() - path.stat().st_mtime) < 2
        assert "choose another OUTPUT_DIR" in message and "\n" not in message
        holder.communicate()  # it ends
        lock_here(path)
    assert path.exists()


@pytest.mark.parametrize("text", [b"", b'{"host": "a", "proc', b"\xff\xfe", b"[1]", b"{}"])
def test_a_holder_that_cannot_be_read_is_another_process(path, text):
    with another_process(HOLD, path):
        path.write_bytes(text)
        with pytest.raises(ConfigError, match="is in use by another process; wait for it"):
            lock_here(path)


@posix
def test_a_killed_holder_keeps_nothing(path):
    with another_process(HOLD, path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        lock_here(path)


@posix
def test_a_forked_process_that_outlives_the_holder_keeps_nothing(path):
    with another_process(HOLD_AND_FORK, path) as holder:
        worker = int(holder.said)
        try:
            with pytest.raises(ConfigError, match=f"process {holder.pid} "):
                lock_here(path)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            os.kill(worker, 0)  # it lives
            lock_here(path)
        finally:
            os.kill(worker, signal.SIGKILL)


def test_the_same_process_is_refused_and_keeps_its_lock(path, tmp_path):
    (tmp_path / "other").symlink_to(tmp_path, target_is_directory=True)
    with folder_lock(path):
        for name in (path, tmp_path / "other" / ".lock"):
            with pytest.raises(ConfigError, match="in use by this process itself"):
                lock_here(name)
        with ThreadPoolExecutor(1) as pool:
            assert isinstance(pool.submit(lock_here, path).exception(), ConfigError)
        assert not lock_elsewhere(path)  # no second handle was closed
    lock_here(path)
    assert lock_elsewhere(path)


def test_an_error_in_the_block_ends_the_lock(path):
    with pytest.raises(KeyboardInterrupt), folder_lock(path):
        raise KeyboardInterrupt
    assert lock_elsewhere(path)


@posix
def test_a_folder_that_is_deleted_meanwhile_disturbs_nobody(path):
    with folder_lock(path):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        with pytest.raises(ConfigError, match="this process itself"):
            lock_here(path)
        assert lock_elsewhere(path)  # a new folder
    lock_here(path)


@posix
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_there_is_one_warning(path, monkeypatch, caplog, number):
    def lockf(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", lockf)
    with folder_lock(path), pytest.raises(ConfigError, match="this process itself"):
        lock_here(path)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{path.parent} cannot be locked ({os.strerror(number)})" in record.getMessage()


@posix
@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN])
def test_both_numbers_of_a_lock_that_is_held(path, monkeypatch, number):
    def lockf(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", lockf)
    with pytest.raises(ConfigError, match="in use by another process"):
        lock_here(path)


def test_a_folder_that_takes_no_file_is_a_user_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for place in ("absent", "file"):
        with pytest.raises(
            ConfigError, match=r"cannot write .*\.lock: .*choose another OUTPUT_DIR"
        ):
            lock_here(tmp_path / place / ".lock")

    def refuse(*_, **__):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ConfigError, match=r"\.lock: Read-only file system; choose another"):
        lock_here(tmp_path / ".lock")


@posix
def test_a_text_that_cannot_be_written_does_not_matter(path, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locks, "_holder", full)
    with folder_lock(path):
        assert not lock_elsewhere(path)


def test_windows_locks_one_byte_far_behind_the_text(path, monkeypatch):
    calls = []

    def locking(handle, mode, size):
        calls.append((mode, os.lseek(handle, 0, os.SEEK_CUR), size))

    windows = SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=locking)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    with folder_lock(path):
        assert json.loads(path.read_text())["process"] == os.getpid()
    assert calls == [(2, 1 << 30, 1), (0, 1 << 30, 1)]
    assert path.read_bytes() == b""


def test_a_lock_that_is_held_on_windows(path, monkeypatch):
    def locking(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    path.write_text('{"host": "a", "process": 7, "start": "2026-01-02T03:04:05+00:00"}')
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    with pytest.raises(ConfigError, match=r"by process 7 on a since 2026-01-02T03:04:05\+00:00;"):
        lock_here(path)
    assert "2026" in path.read_text()


TAKE_TURNS = """
import os, sys, time
from pathlib import Path
from uniformer_video.errors import ConfigError
from uniformer_video.locks import temporary_folder
lock = Path(sys.argv[1])
sys.stdin.readline()
end = time.monotonic() + 1
while time.monotonic() < end:
    try:
        with temporary_folder(lock, "another"):
            assert os.listdir(lock.parent) == [lock.name], os.listdir(lock.parent)
            mine = lock.with_name("mine")
            mine.write_text(str(os.getpid()))
            time.sleep(0.001)
            assert mine.read_text() == str(os.getpid())
    except ConfigError as error:
        assert "is in use by" in str(error), error
print("in turn", flush=True)
"""


def test_a_temporary_folder_is_one_processs_whenever_others_begin_and_end(tmp_path):
    lock = tmp_path / "folder" / "lock"
    lock.parent.mkdir()
    (lock.parent / "left").mkdir()
    command = [sys.executable, "-c", TAKE_TURNS, str(lock)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, cwd=ROOT, **pipes) for _ in range(3)]
    for process in processes:
        process.stdin.write("begin\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60) for process in processes] == [("in turn\n", "")] * 3
    assert not list(tmp_path.iterdir())


def test_a_temporary_folder_that_was_removed_before_its_lock_was_had_is_made_anew(
    tmp_path, monkeypatch
):
    lock, locked = tmp_path / "folder" / "lock", locks._lock

    def late(file, hold=True):
        if hold and not removed:
            removed.append(shutil.rmtree(lock.parent))
        locked(file, hold)

    removed = []
    monkeypatch.setattr(locks, "_lock", late)
    with temporary_folder(lock, "another"):
        assert removed and lock.exists()
        with (
            pytest.raises(ConfigError, match="in use by this process itself"),
            temporary_folder(lock, "another"),
        ):
            pass
    assert not list(tmp_path.iterdir())


def test_a_temporary_folder_that_cannot_be_had_is_not_left_behind(tmp_path, monkeypatch):
    lock = tmp_path / "folder" / "lock"

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", full)
        with pytest.raises(OSError, match="No space left"), temporary_folder(lock, "another"):
            pass
    assert not list(tmp_path.iterdir())
    # a file system on which an open file is never known again
    monkeypatch.setattr("os.path.samestat", lambda *_: False)
    with (
        pytest.raises(ConfigError, match="in use by others, one after another; wait"),
        temporary_folder(lock, "another"),
    ):
        pass


def test_a_file_in_the_place_of_a_temporary_folder_stays(tmp_path):
    (tmp_path / "folder").write_text("somebody's")
    with pytest.raises(FileExistsError), temporary_folder(tmp_path / "folder" / "lock", "another"):
        pass
    assert (tmp_path / "folder").read_text() == "somebody's"


@posix
def test_an_abandoned_folder_that_another_process_makes_anew_meanwhile_stays(tmp_path, monkeypatch):
    lock, locked, begun = tmp_path / "folder" / "lock", locks._lock, []

    def late(file, hold=True):
        if not begun:
            shutil.rmtree(lock.parent)
            lock.parent.mkdir()
            begun.append(stack.enter_context(another_process(HOLD, lock)))
        locked(file, hold)

    monkeypatch.setattr(locks, "_lock", late)
    lock.parent.mkdir()
    with ExitStack() as stack:
        remove_abandoned(lock)
        assert begun and lock.exists()
        begun[0].communicate()
    remove_abandoned(lock)
    assert not lock.parent.exists()
