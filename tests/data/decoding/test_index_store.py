"""The frame index that is kept: of which videos it speaks, and what becomes of damaged and absent files."""

import os
import shutil
import zlib
from multiprocessing import get_context

import numpy as np
import pytest
from av import library_versions
from shard_files import pack as write_tar

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.frame_times import CountedFrames
from uniformer_video.data.decoding.index_store import IndexStore
from uniformer_video.data.decoding.listing import Listing, pack, unpack
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.errors import DecodeError


@pytest.fixture
def store(tmp_path):
    return IndexStore(tmp_path / "index")


def look(path, store):
    """What becomes of a video that is opened: the one count that has risen, and its frames."""
    before = store.tally.total()
    with open_video(path, kept=store) as video:
        frames = video.frames(range(video.num_frames))
    (what,) = store.tally.total() - before
    return what, frames


def files(store):
    return [path for path in store.folder.rglob("*") if path.is_file()]


def test_the_second_opening_lists_nothing(make_video, store, monkeypatch):
    path = make_video(frames=20)
    what, expected = look(path, store)
    assert what == "written"
    monkeypatch.setattr(VideoPackets, "_list", lambda self: pytest.fail("listed"))
    what, frames = look(path, store)
    assert what == "found"
    np.testing.assert_array_equal(frames, expected)


def test_counted_frames_are_not_counted_again(make_video, store):
    path = make_video("a.avi", frames=20, codec="mpeg4", options={"bf": "2"})
    look(path, store)
    fed, original = [], VideoPackets._decode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoPackets, "_decode", lambda *a: fed.append(a) or original(*a))
        with open_video(path, kept=store) as video:
            assert (video.num_frames, fed) == (20, [])
            first = video.frames([2])
            assert len(fed) < 10
            for _ in range(
                2
            ):  # from the second request on the frames are in memory, as without an index
                np.testing.assert_array_equal(video.frames([2]), first)
            count = len(fed)
            video.frames([19])
            assert len(fed) == count


def test_a_changed_video_is_listed_anew(make_video, store):
    path = make_video(frames=20)
    look(path, store)
    later = os.stat(path).st_mtime_ns + 1
    os.utime(path, ns=(later, later))
    assert look(path, store)[0] == "written"
    other = make_video("other.mp4", frames=33)
    shutil.copy(other, path)
    os.utime(path, ns=(later, later))
    what, frames = look(path, store)
    assert (what, len(frames)) == ("written", 33)
    assert len(files(store)) == 1


def test_another_video_of_the_same_size_and_date_is_listed_anew(make_video, store, tmp_path):
    """As of archives that give all files one date."""
    videos = [make_video(f"{count}.mkv", frames=count) for count in (20, 33)]
    size = max(video.stat().st_size for video in videos)
    for video in videos:
        video.write_bytes(video.read_bytes().ljust(size, b"\0"))
    path, shard = tmp_path / "a.mkv", tmp_path / "a.tar"
    for video, count in zip(videos, (20, 33), strict=True):
        shutil.copy(video, path)
        (member,) = write_tar(shard, {"a.mkv": video.read_bytes()})
        for place in (path, shard):
            os.utime(place, ns=(1, 1))
        for opened in (path, member):
            what, frames = look(opened, store)
            assert (what, len(frames)) == ("written", count)
    os.mkfifo(tmp_path / "pipe")
    assert store.identify(str(tmp_path / "pipe")) is None


def test_another_ffmpeg_lists_anew(make_video, store, monkeypatch):
    path = make_video(frames=5)
    look(path, store)
    monkeypatch.setitem(library_versions, "libavcodec", (1, 2, 3))
    assert look(path, store)[0] == "written"


def test_damaged_files_are_as_if_they_were_not_there(make_video, store):
    path = make_video(frames=20)
    _, expected = look(path, store)
    (file,) = files(store)
    whole = file.read_bytes()
    for damaged in (b"", whole[:3], whole[:-1], whole[:40] + b"x" + whole[41:], whole[::-1]):
        file.write_bytes(damaged)
        what, frames = look(path, store)
        assert what == "written"
        np.testing.assert_array_equal(frames, expected)
        assert file.read_bytes() == whole


def test_what_is_no_listing_is_none():
    listing, of = Listing([0, None, -3, 5], [0], [1], True, "counted", [7, None], [None]), {"a": 1}
    assert unpack(pack(listing, of), of) == listing
    assert unpack(pack(listing, of), {"a": 2}) is None
    for content in (b"[1]", b"{}", b"\xff", b'{"of":{"a":1},"times":3}'):
        packed = zlib.compress(content)
        assert unpack(zlib.crc32(packed).to_bytes(4, "big") + packed, of) is None


def test_a_folder_of_videos_may_move_with_its_index(make_video, tmp_path):
    path = make_video("set/a/video.mp4", frames=5)
    beside = IndexStore(tmp_path / "set" / ".index", tmp_path / "set")
    elsewhere = make_video("other.mp4", frames=6)
    assert [look(video, beside)[0] for video in (path, elsewhere)] == ["written"] * 2
    moved = (tmp_path / "set").rename(tmp_path / "moved")
    beside = IndexStore(moved / ".index", moved)
    assert [look(video, beside)[0] for video in (moved / "a/video.mp4", elsewhere)] == ["found"] * 2


def test_a_video_in_a_shard(make_video, store, tmp_path):
    video = make_video(frames=7)
    shard = tmp_path / "a.tar"
    (member,) = write_tar(shard, {"video.mp4": video.read_bytes()})
    assert [look(member, store)[0] for _ in range(2)] == ["written", "found"]


def test_a_folder_that_cannot_be_written_is_no_error(make_video, tmp_path):
    (tmp_path / "file").touch()
    path = make_video(frames=5)
    assert look(path, IndexStore(tmp_path / "file"))[0] == "unwritten"
    assert look(path, IndexStore(tmp_path / "new", is_writable=False))[0] == "unwritten"
    assert not (tmp_path / "new").exists()


def test_a_video_that_changes_while_it_is_listed_is_left_out(make_video, store, monkeypatch):
    path, original = make_video(frames=5), VideoPackets._list

    def list_and_touch(self):
        os.utime(path, ns=(1, 1))
        return original(self)

    monkeypatch.setattr(VideoPackets, "_list", list_and_touch)
    assert look(path, store)[0] == "left out"


def test_broken_videos_are_counted_and_not_kept(tmp_path, store, make_video):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (tmp_path / "frames").mkdir()
    for name in ("a.mp4", "a.mp4", "lost.mp4", "frames"):
        with pytest.raises(DecodeError):
            open_video(tmp_path / name, kept=store)
    assert not store.folder.exists()
    assert +store.tally.total() == {"broken": 3}  # frames have no index


def test_a_video_without_frames_counts_once(make_video, store, monkeypatch):
    monkeypatch.setattr("uniformer_video.data.decoding.pyav.trusted_index", lambda _: (None, "it"))
    monkeypatch.setattr(CountedFrames, "count", lambda self, *_: ([], []))
    path = make_video("a.mp4", frames=3)
    with pytest.raises(DecodeError, match="holds no frames"):
        open_video(path, kept=store)
    assert +store.tally.total() == {"broken": 1}


def open_some(paths, store):
    for path in paths:
        open_video(path, kept=store).close()


def test_processes_share_it_and_count_together(make_video, store):
    paths = [make_video(f"{name}.mp4", frames=3) for name in "abc"]
    context = get_context("fork")
    workers = [context.Process(target=open_some, args=(paths, store)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    counts = store.tally.total()
    assert (counts.total(), counts["unwritten"], len(files(store))) == (9, 0, 3)
    open_some(paths, store)
    assert store.tally.total() - counts == {"found": 3}


def test_a_seek_that_lands_behind_reads_from_the_start(make_video, store, monkeypatch):
    path = make_video("a.mkv", frames=40, options={"g": "10", "bf": "0", "sc_threshold": "0"})
    _, expected = look(path, store)
    with open_video(path, kept=store) as video:
        container = video._packets._container

        class Beside:
            def __getattr__(self, name):
                return getattr(container, name)

            def seek(self, offset, stream):
                container.seek(video._packets.times[30], stream=stream)

        monkeypatch.setattr(VideoPackets, "_container", Beside())
        monkeypatch.setattr(VideoPackets, "_open_container", lambda self: container.seek(0))
        np.testing.assert_array_equal(video.frames([15]), expected[[15]])
