"""Tar shards and their index."""

import json
import os
import tarfile

import pytest

from uniformer_video.data.shards import ShardEntry, read_index, read_member
from uniformer_video.errors import DataError
from uniformer_video.prepare.shards import make_shards


@pytest.fixture
def listed(tmp_path):
    """A list of twelve files of odd sizes and names, and their bytes by name."""
    names = [f"a/{n}.mp4" for n in range(9)] + [
        "b, ü/x.y.webm",
        "c.AVI",
        "long/" + "n" * 150 + ".mp4",
    ]
    contents = {}
    for place, name in enumerate(names):
        contents[name] = os.urandom(100_000 + 777 * place)
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(contents[name])
    lines = "".join(f"{name},{place}\n" for place, name in enumerate(names))
    (tmp_path / "train.csv").write_text(lines)
    return contents


def make(tmp_path, out="out", **options):
    return make_shards(
        tmp_path / "train.csv", tmp_path / out, 1, tmp_path / "videos", workers=1, **options
    )


def test_every_video_is_read_back_by_its_offset(tmp_path, listed):
    summary = make(tmp_path)
    assert (summary.done, summary.failed) == ({"packed": 2}, [])
    out = tmp_path / "out"
    shards = ["shard-000000.tar", "shard-000001.tar"]
    assert sorted(os.listdir(out)) == ["index.csv", "prepared.json", *shards]
    entries = read_index(out)
    assert [(entry.name, entry.label) for entry in entries] == [
        (n, i) for i, n in enumerate(listed)
    ]
    assert [entry.key for entry in entries] == [f"{n:08d}" for n in range(12)]
    assert {entry.shard for entry in entries} == set(shards)
    for entry in entries:
        assert read_member(out, entry) == listed[entry.name]
    assert max((out / shard).stat().st_size for shard in shards) < 1_050_000


def test_python_and_the_layout_of_webdataset_agree(tmp_path, listed):
    make(tmp_path)
    entries = {entry.key: entry for entry in read_index(tmp_path / "out")}
    seen = []
    for shard in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for info in tar:
                key, _, kind = info.name.partition(".")
                data, entry = tar.extractfile(info).read(), entries[key]
                if kind == "json":
                    assert seen[-1] == key  # members of a key stand together
                    assert json.loads(data) == {"label": entry.label, "name": entry.name}
                else:
                    seen.append(key)
                    assert kind == entry.name.rpartition(".")[2].lower()
                    assert data == listed[entry.name]
                    assert (info.offset_data, info.size) == (entry.offset, entry.length)
    assert seen == list(entries)


def test_equal_input_gives_equal_files_and_finished_shards_stay(tmp_path, listed):
    make(tmp_path)
    first, second = tmp_path / "out" / "shard-000000.tar", tmp_path / "out" / "shard-000001.tar"
    index = (tmp_path / "out" / "index.csv").read_bytes()
    before, data = first.stat(), second.read_bytes()
    second.unlink()
    assert make(tmp_path).done == {"packed": 1, "kept": 1}
    assert first.stat() == before and second.read_bytes() == data
    assert (tmp_path / "out" / "index.csv").read_bytes() == index

    # What a shard should hold is compared with what it holds.
    lines = (tmp_path / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("\n".join(["a/0.mp4,5", *lines[1:]]))
    first_data = first.read_bytes()
    assert make(tmp_path).done == {"packed": 1, "kept": 1}
    assert first.read_bytes() != first_data
    assert read_index(tmp_path / "out")[0].label == 5
    second.write_bytes(data[:5000])
    assert make(tmp_path).done == {"packed": 1, "kept": 1}
    assert second.read_bytes() == data


def test_missing_videos_are_named_and_left_out(tmp_path, listed):
    (tmp_path / "videos" / "a" / "3.mp4").unlink()
    summary = make(tmp_path)
    gone = str(tmp_path / "videos" / "a" / "3.mp4")
    assert [(path, reason[:15]) for path, reason in summary.failed] == [(gone, "does not exist ")]
    assert gone in (tmp_path / "out" / "failed.csv").read_text()
    assert [e.key for e in read_index(tmp_path / "out")][2:5] == [
        "00000002",
        "00000004",
        "00000005",
    ]
    with pytest.raises(DataError, match="none of the 12 listed videos can be read"):
        make_shards(tmp_path / "train.csv", tmp_path / "out2", 1)


def test_shards_of_another_list_are_not_mixed_in(tmp_path, listed):
    make(tmp_path)
    (tmp_path / "train.csv").write_text("a/0.mp4,0\n")
    with pytest.raises(DataError, match=r"shard-000001\.tar, which is none of the 1 shards"):
        make(tmp_path)


def test_segments_are_not_dropped_in_silence(tmp_path, listed):
    (tmp_path / "train.csv").write_text("path,label,start,end\na/0.mp4,0,1,2\n")
    with pytest.raises(DataError, match=r"train\.csv:2: shards hold whole videos"):
        make(tmp_path)


def test_an_index_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"there is no .*index\.csv"):
        read_index(tmp_path)
    for text, message in (
        ("", "does not begin"),
        ("key,shard\n", "does not begin with the line key,shard,offset,length,label,name"),
        ("key,shard,offset,length,label,name\na,b,c,1,2,d\n", "no entry: invalid literal"),
        ("key,shard,offset,length,label,name\na,b\n", "no entry"),
    ):
        (tmp_path / "index.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            read_index(tmp_path)


def test_a_shard_that_is_cut_off(tmp_path):
    (tmp_path / "s.tar").write_bytes(b"0123456789")
    assert read_member(tmp_path, ShardEntry("k", "s.tar", 2, 3, 0, "n")) == b"234"
    with pytest.raises(DataError, match=r"s\.tar is cut off within n"):
        read_member(tmp_path, ShardEntry("k", "s.tar", 8, 3, 0, "n"))
