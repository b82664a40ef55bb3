"""Kept frames: the same numbers as decoding gives, never those of another video, and within the limit."""

import os
from dataclasses import replace

import numpy as np
import pytest

from uniformer_video.data.decoding import cache as cache_module
from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.cache import FrameCache
from uniformer_video.data.decoding.guard import WrongIndices
from uniformer_video.errors import DecodeError


@pytest.fixture
def cache(tmp_path):
    made = FrameCache(tmp_path / "frames", 10**9)
    made.make()
    return made


@pytest.mark.parametrize("short_side", [0, 40])
@pytest.mark.parametrize("round_bytes", [2**28, 1])
def test_kept_frames_are_those_of_the_decoder(
    make_video, cache, short_side, round_bytes, monkeypatch
):
    monkeypatch.setattr(cache_module, "_ROUND_BYTES", round_bytes)
    path, cache = str(make_video(frames=23, size=(96, 128))), replace(cache, short_side=short_side)
    assert cache.read(path) is None
    assert cache.keep(path) == ""
    indices = [22, 0, 7, 7, 13]
    with open_video(path) as video, cache.read(path) as kept:
        assert (kept.num_frames, kept.fps) == (video.num_frames, video.fps)
        np.testing.assert_array_equal(kept.times, video.times)
        found = kept.frames(indices, short_side)
        np.testing.assert_array_equal(found, video.frames(indices, short_side))
        assert kept.size == found.shape[1:3]
        found[:] = 0  # a copy: what is kept stays
        assert kept.frames([22]).any()
        with pytest.raises(WrongIndices):
            kept.frames([23])


def test_a_changed_video_and_another_size_are_not_taken_for_what_is_kept(make_video, cache):
    path = str(make_video(frames=6))
    cache.keep(path)
    assert cache.read(path)
    assert replace(cache, short_side=32).read(path) is None
    assert replace(cache, backend="decord").read(path) is None
    later = os.stat(path).st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert cache.read(path) is None


def test_the_limit_holds(make_video, cache):
    first, second = (str(make_video(f"{name}.mp4", frames=6, size=(48, 64))) for name in "ab")
    limited = replace(cache, limit_bytes=6 * 48 * 64 * 3 + 1000)
    assert limited.keep(first) == ""
    assert limited.keep(first) == ""
    assert limited.keep(second) == "the limit is reached"
    assert limited.read(first) and limited.read(second) is None
    assert limited.used_bytes() <= limited.limit_bytes


def test_room_is_left_on_the_disk(make_video, cache, monkeypatch):
    monkeypatch.setattr(cache_module, "_LEFT_FREE", 2**60)
    path = str(make_video(frames=6))
    assert "would be left on the disk" in cache.keep(path)
    assert cache.read(path) is None


def test_what_is_no_whole_video_file_is_not_kept(cache, tmp_path):
    for path in (tmp_path, tmp_path / "absent.mp4", tmp_path / "img_{:05d}.jpg"):
        assert cache.keep(str(path)) == "it is no video file"
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"broken")
    with pytest.raises(DecodeError):
        cache.keep(str(broken))
    assert not list(cache.folder.iterdir())


def test_half_a_file_is_never_read_and_goes_after_a_while(make_video, cache):
    path = str(make_video(frames=6))
    cache.keep(path)
    (file,) = cache.folder.iterdir()
    whole = file.read_bytes()
    for part in (b"", whole[:40], whole[:200], whole[:-1]):
        file.write_bytes(part)
        assert cache.read(path) is None
    old, new = cache.folder / ".a.frames.1.tmp", cache.folder / ".b.frames.2.tmp"
    for left in (old, new):
        left.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.make()
    assert new.exists() and not old.exists()


def test_only_what_is_kept_is_removed(make_video, cache):
    cache.keep(str(make_video(frames=6)))
    own = cache.folder / "mine.jpg"
    own.touch()
    cache.remove()
    assert [*cache.folder.iterdir()] == [own]
    own.unlink()
    cache.remove()
    assert not cache.folder.exists()
