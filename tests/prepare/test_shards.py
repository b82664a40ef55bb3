"""Tar shards and their index."""

import json
import os
import tarfile

import pytest
from shard_files import pack, shards_of

from uniformer_video.data.lists.records import read_csv
from uniformer_video.data.lists.shard_index import read_index
from uniformer_video.data.lists.sharded import read_shards
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.prepare.check import check_videos, videos_to_check
from uniformer_video.prepare.shards import make_shards
from uniformer_video.storage.members import member_of, member_path, read_member


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
    entries = list(read_index(out))
    assert [(entry.name, entry.labels) for entry in entries] == [
        (name, (label,)) for label, name in enumerate(listed)
    ]
    assert [entry.key for entry in entries] == [f"{n:08d}" for n in range(12)]
    assert {entry.shard for entry in entries} == set(shards)
    for entry in entries:
        member = member_of(member_path(out / entry.shard, entry))
        kind = entry.name.rpartition(".")[2].lower()
        assert read_member(member) == (f"{entry.key}.{kind}", listed[entry.name])
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
                    assert json.loads(data) == {"label": entry.labels[0], "name": entry.name}
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
    assert next(read_index(tmp_path / "out")).labels == (5,)
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
    with pytest.raises(
        DataError, match=r"none of the 12 listed files can be packed; .*a/0\.mp4, does not exist"
    ):
        make_shards(tmp_path / "train.csv", tmp_path / "out2", 1)


def test_shards_of_another_list_are_not_mixed_in(tmp_path, listed):
    make(tmp_path)
    (tmp_path / "train.csv").write_text("a/0.mp4,0\n")
    with pytest.raises(DataError, match=r"shard-000001\.tar, which is none of the 1 shards"):
        make(tmp_path)


def test_segments_and_weights_are_kept_and_a_file_is_packed_once(tmp_path, listed):
    (tmp_path / "train.csv").write_text(
        "path,label,start,end,weight\n"
        "a/1.mp4,0,0.1,2,\na/2.mp4,1,,,\na/1.mp4,2,2,,0.5\na/1.mp4,0,0.1,2,\na/3.mp4,3,,,0\n"
    )
    assert make(tmp_path).done == {"packed": 1}
    files = read_csv(tmp_path / "train.csv", tmp_path / "videos")
    entries = list(read_index(tmp_path / "out"))
    for entry, record in zip(entries, files, strict=True):
        same = ("labels", "name", "start", "end", "weight")
        assert [getattr(entry, key) for key in same] == [getattr(record, key) for key in same]
    assert [entry.key for entry in entries] == [f"{n:08d}" for n in (0, 1, 0, 0, 4)]
    assert entries[0].offset == entries[2].offset == entries[3].offset
    lines = (tmp_path / "out" / "index.csv").read_text().splitlines()
    assert lines[0].endswith(",label,name,start,end,weight")
    assert lines[1].endswith(",0,a/1.mp4#0.1-2,0.1,2.0,1.0")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        notes = [json.loads(tar.extractfile(i).read()) for i in tar if i.name.endswith(".json")]
    first = {"label": 0, "name": "a/1.mp4#0.1-2", "start": 0.1, "end": 2.0}
    second = {"label": 2, "name": "a/1.mp4#2-", "start": 2.0, "weight": 0.5}
    assert notes == [
        {"label": 0, "name": "a/1.mp4#0.1-2", "segments": [first, second, first]},
        {"label": 1, "name": "a/2.mp4"},
        {
            "label": 3,
            "name": "a/3.mp4",
            "segments": [{"label": 3, "name": "a/3.mp4", "weight": 0.0}],
        },
    ]


def test_several_labels_are_kept(tmp_path, listed):
    (tmp_path / "train.csv").write_text("path,label\na/1.mp4,3 1\na/2.mp4,\na/3.mp4,2\n")
    make(tmp_path)
    out = tmp_path / "out"
    assert [record.labels for record in read_shards(out)] == [(1, 3), (), (2,)]
    with tarfile.open(out / "shard-000000.tar") as tar:
        notes = [json.loads(tar.extractfile(i).read()) for i in tar if i.name.endswith(".json")]
    assert [note["label"] for note in notes] == [[1, 3], [], 2]


def test_columns_that_say_nothing_are_left_out(tmp_path, listed):
    (tmp_path / "train.csv").write_text(
        "path,label,start,end,weight\na/1.mp4,0,,,2\na/2.mp4,1,,,\n"
    )
    make(tmp_path)
    text = (tmp_path / "out" / "index.csv").read_text()
    assert text.startswith("key,shard,offset,length,label,name,weight\n")
    (tmp_path / "train.csv").write_text("path,label,start,end,weight\na/1.mp4,0,,,\n")
    make(tmp_path, "out2")
    text = (tmp_path / "out2" / "index.csv").read_text()
    assert text.startswith("key,shard,offset,length,label,name\n")


def test_a_missing_file_of_several_segments_is_named_once(tmp_path, listed):
    (tmp_path / "train.csv").write_text(
        "path,label,start,end\nno.mp4,0,1,2\na/1.mp4,1,,\nno.mp4,0,2,3\n"
    )
    summary = make(tmp_path)
    ((path, reason),) = summary.failed
    assert path.endswith("no.mp4") and "train.csv:2" in reason
    assert [entry.name for entry in read_index(tmp_path / "out")] == ["a/1.mp4"]


def test_shards_of_other_tools_are_read(tmp_path):
    """Long names take further blocks of a tar; the data stand behind the last of them."""
    files = {"n" * 150 + ".mp4": b"first", "ü/a.b.webm": b"second", "empty.avi": b""}
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{form}.tar"
        for text, data in zip(pack(path, files, form), files.values(), strict=True):
            assert read_member(member_of(text))[1] == data


def test_a_shard_that_is_cut_off_or_another(tmp_path):
    text, other = pack(tmp_path / "s.tar", {"a.mp4": b"0123", "b.mp4": b"x" * 3000})
    assert read_member(member_of(text)) == ("a.mp4", b"0123")
    for wrong in (text.replace("+4", "+5"), text.replace("#512", "#100"), text.replace("#5", "#6")):
        with pytest.raises(DecodeError, match=r"s\.tar#\d+\+\d is no member of this shard"):
            read_member(member_of(wrong))
    os.truncate(tmp_path / "s.tar", 3000)
    with pytest.raises(DecodeError, match=r"s\.tar is cut off"):
        read_member(member_of(other))


def test_every_video_of_shards_is_checked(tmp_path, make_video, monkeypatch):
    """By their folder, their index, or an address."""
    data = make_video("videos/good.mp4", frames=6).read_bytes()
    (tmp_path / "videos" / "bad.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "videos" / "train.csv").write_text("good.mp4,0\nbad.mp4,1\n")
    shards = shards_of(tmp_path / "videos", tmp_path / "shards") / "train"
    good, bad = [record.path for record in read_shards(shards)]
    monkeypatch.chdir(shards)
    for place in (shards, f"{shards}/index.csv", "index.csv", "."):
        assert videos_to_check(place) == [(good, 0), (bad, 0)]
    assert videos_to_check(f"file://{shards}") == [(f"file://{p}", 0) for p in (good, bad)]
    checked, rows = check_videos([(good, 0), (bad, 0)], tmp_path / "bad.csv", workers=1)
    assert checked == 2
    ((path, reason, *_),) = rows
    assert path == bad and reason.startswith("cannot be opened")
    assert bad in (tmp_path / "bad.csv").read_text()

    (tmp_path / "videos" / "index.csv").write_text("good.mp4,0\n")  # a list like any other
    assert len(videos_to_check(tmp_path / "videos" / "index.csv")) == 1
    assert len(videos_to_check(tmp_path / "videos")) == 2
