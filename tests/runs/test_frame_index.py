"""DATA.FRAME_INDEX: the run is the same with it, to the bit; where it is kept, and what is said of it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.decoding.index_store import IndexStore
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.distributed.ranks import join_ranks
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.frame_index import build_frame_index, say_frame_index
from uniformer_video.runs.run import run

FILES = Data(["a"], [VideoRecord("a.mp4", "a.mp4", (0,))])


@pytest.fixture
def go(tiny, tmp_path, caplog):
    """A function: train with these settings, in a folder of that name; the weights, what was said."""
    caplog.set_level("INFO")

    def train(name, *settings):
        caplog.clear()
        folder = tmp_path / name
        overrides = [*tiny(), "OUTPUT_DIR", str(folder), "TEST.ENABLE", "False", *settings]
        run(load_config(overrides=overrides), "tiny")
        return torch.load(folder / "last.pt", weights_only=True)["model"], caplog.text

    return train


def counts(said):
    (line,) = re.findall(r"Frame index .*", said)
    return [int(number) for number in re.findall(r" (\d+) (?:openings|found|listed)", line)]


def test_a_run_is_the_same_with_and_without(go, tmp_path):
    plain, said = go("plain", "DATA.FRAME_INDEX", "off")
    assert "rame index" not in said
    kept = ("DATA.FRAME_INDEX", str(tmp_path / "kept"))
    # one: of two, one may open a video again, for the next epoch, while the other still lists it
    indexed, said = go("indexed", *kept, "DATA_LOADER.NUM_WORKERS", "1")
    assert all(torch.equal(plain[name], indexed[name]) for name in plain)
    assert counts(said) == [48, 24, 24]  # 16 training and 8 validation videos in 2 epochs
    assert len([*(tmp_path / "kept").rglob("*.index")]) == 24


def test_broken_videos_are_among_the_openings(tmp_path, caplog):
    caplog.set_level("INFO")
    index = IndexStore(tmp_path)
    for what in ("broken", "found", "broken"):
        index.tally.add(what)
    with join_ranks(60, 60) as ranks:
        say_frame_index(Data(["a"], frame_index=index), ranks)
    broken = "2 of videos that cannot be opened."
    assert f"of 3 openings of a video 1 found in it, 0 listed for it, {broken}" in caplog.text


@pytest.fixture
def build(caplog, tmp_path, monkeypatch):
    """A function: the index of a data set in a folder, and what is said where it is chosen."""
    caplog.set_level("INFO")
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()

    def build(place="auto", data=FILES, root=tmp_path / "data"):
        settings = ["DATA.FRAME_INDEX", str(place), "DATA.PATH_TO_DATA_DIR", str(root)]
        with join_ranks(60, 60) as ranks:
            return build_frame_index(load_config(overrides=settings), data, ranks), caplog.text

    return build


def test_it_is_beside_the_data_else_in_the_cache(build, tmp_path):
    index, said = build()
    assert (index.folder, index.root) == (tmp_path / "data/.frame_index", tmp_path / "data")
    index, _ = build(root=f"[{tmp_path / 'data'}, {tmp_path / 'other'}]")
    assert index.folder == tmp_path / "data/.frame_index"
    (tmp_path / "data/.frame_index/CACHEDIR.TAG").unlink()
    (tmp_path / "data/.frame_index").rmdir()
    (tmp_path / "data/.frame_index").touch()  # as good as a folder that is only read
    index, said = build()
    assert (index.folder, index.root, said) == (tmp_path / "cache/frame_index", None, "")


def test_a_data_folder_is_the_same_by_a_detour(build, tmp_path):
    (tmp_path / "other").mkdir()
    index, _ = build(root=tmp_path / "other" / ".." / "data")
    (tmp_path / "data/a.mp4").write_bytes(b"video")
    known_by = index.identify(str(tmp_path / "data/a.mp4"))
    assert known_by.path == "a.mp4"  # it may move with the folder


def test_a_folder_that_cannot_be_written_is_said_and_no_error(build, tmp_path):
    (tmp_path / "file").touch()
    index, said = build(tmp_path / "file/index")
    assert not index.is_writable
    assert f"cannot be kept: {tmp_path}/file/index cannot be written: Not a directory" in said
    assert "is no folder" in build(tmp_path / "file")[1]


def test_it_says_how_counted_videos_are_decoded(caplog, tmp_path):
    caplog.set_level("INFO")
    index = IndexStore(tmp_path)
    data = replace(FILES, frame_index=index)
    for what in ("found", "found", "found", "placed", "placed", "unplaced"):
        index.tally.add(what)
    with join_ranks(60, 60) as ranks:
        say_frame_index(data, ranks)
        assert caplog.text.endswith(
            " 0 listed for it. 3 of them have frames that are counted: 2 with key frames to begin at or "
            "pictures to leave out, 1 decoded from the first frame.\n"
        )
        index.tally.add("doubted")
        say_frame_index(data, ranks)
        assert "frame; 1 clip came out otherwise than counted, and began anew there." in caplog.text


def test_there_is_none_where_nothing_is_gained(build):
    assert build("off")[0] is None
    assert build(data=Data(["a"], [VideoRecord("a", "a", (0,), num_frames=3)]))[0] is None
    assert build(root="https://example.org/shards")[0] is None


@pytest.mark.parametrize("slip", ["of", "Auto", "aut"])
def test_a_slip_is_no_folder(slip):
    with pytest.raises(
        ConfigError, match=r"it is auto, off or a folder; did you mean '(auto|off)'"
    ):
        load_config(overrides=["DATA.FRAME_INDEX", slip])
    assert not Path(slip).exists()
