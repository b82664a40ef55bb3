"""Atomic writes: all or nothing, and nothing left lying about."""

import errno
import os
import re
import stat
from types import SimpleNamespace

import pytest

from uniformer_video import files
from uniformer_video.errors import ConfigError
from uniformer_video.files import atomic_write, check_new_file


def test_new_content_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["result.bin"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file_and_removes_the_temporary_one(tmp_path, error):
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"half of the new")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result.bin"]


def test_an_error_on_a_fresh_path_leaves_an_empty_folder(tmp_path):
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "result.bin"):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_a_rename_that_fails_removes_the_temporary_file(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "taken") as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == ["taken"]


def test_two_writers_of_one_path_do_not_meet(tmp_path):
    path = tmp_path / "result.bin"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"  # the outer block ends last


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "result.bin"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "result.bin").stat().st_mode) == 0o640


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "nowhere" / "result.bin"):
        pass


@pytest.mark.parametrize("free, told", [(1000 + 2**10, True), (1000 + 2**30, False)])
def test_a_full_disk_is_told_where_half_a_file_was_taken_away_again(
    tmp_path, monkeypatch, free, told
):
    """The weights would have had room, and the graph beside them had none."""
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    kind = OSError if told else RuntimeError
    with pytest.raises(kind) as error, files.full_disk_told(tmp_path / "model.bin", 1000):
        raise RuntimeError("iostream error")
    assert not told or (error.value.errno, error.value.filename) == (
        errno.ENOSPC,
        str(tmp_path / "model.bin"),
    )


def test_an_error_of_the_system_without_a_file_names_one(tmp_path):
    for own in (None, "other"):
        with pytest.raises(OSError) as error, files.full_disk_told(tmp_path / "model.onnx", 1):
            raise OSError(errno.ENOSPC, "No space left on device", own)
        assert error.value.filename == (own or str(tmp_path / "model.onnx"))


def test_a_place_that_takes_no_file_is_told_before_the_work(tmp_path, monkeypatch):
    check_new_file(tmp_path / "new.csv")
    assert not list(tmp_path.iterdir())
    (tmp_path / "old.csv").write_text("kept")
    check_new_file(tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_text() == "kept"
    for place, told in [
        (tmp_path, f"--out {tmp_path} is a folder"),
        (tmp_path / "old.csv" / "x.csv", "old.csv is a file"),
        (tmp_path / "none" / "x.csv", f"there is no folder {tmp_path / 'none'}"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(told)):
            check_new_file(place)

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "tmpabc")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(ConfigError) as error:
        check_new_file(tmp_path / "x.csv", "--json")
    assert str(error.value) == (
        f"--json {tmp_path / 'x.csv'}: no file can be written in the folder {tmp_path} "
        f"({os.strerror(errno.EROFS)}); give a file in another one"
    )
