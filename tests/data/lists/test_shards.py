"""Training and testing from shards: the same samples as from files, wherever the shards lie."""

import json
import os
import shutil
from dataclasses import replace
from unittest.mock import ANY

import fsspec
import numpy as np
import pytest
import torch
from clips import augmentation
from shard_files import first_member, pack, serve_folder, shards_of
from videos import all_frames, encode, numbered_frames

from uniformer_video.config.settings import load_config
from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists.check import missing_files
from uniformer_video.data.lists.records import list_digest, read_csv, without_repeats
from uniformer_video.data.lists.shard_index import INDEX_FILE, read_index
from uniformer_video.data.lists.sharded import read_shards
from uniformer_video.data.loading.dataset import EvalDataset, TrainDataset
from uniformer_video.data.loading.loader import (
    TrainLoader,
    TrainPlan,
    eval_loader,
    sampling_weights,
)
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import ConfigError, DataError, DecodeError
from uniformer_video.prepare.check import videos_to_check
from uniformer_video.runs.build_data import build_data
from uniformer_video.storage import http
from uniformer_video.weights.checkpoint import read_weights

RAW = Normalisation((0, 0, 0), (1 / 255,) * 3)  # values stay bytes
LIST = """path,label,start,end,weight
0.mp4,0,,,
1.webm,1,0.2,0.9,
2.avi,2,,,3
broken.mp4,3,,,
1.webm,4,1,,0.5
4.ts,5,,,
"""


@pytest.fixture
def lists(tmp_path, make_video):
    """A folder with `train.csv` over five videos of several kinds, one of them broken."""
    folder = tmp_path / "videos"
    make_video("videos/0.mp4", frames=30)
    make_video("videos/1.webm", frames=50, codec="libvpx-vp9", options={"deadline": "realtime"})
    make_video("videos/2.avi", frames=20, codec="mpeg4")
    make_video("videos/4.ts", frames=25)
    (folder / "broken.mp4").write_bytes(b"broken")
    (folder / "train.csv").write_text(LIST)
    return folder


@pytest.fixture
def sharded(lists, tmp_path):
    """The same videos in `train`, as shards of the smallest size."""
    return shards_of(lists, tmp_path / "shards")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The folder of the test by http; it is asked three times at most, and at once."""
    monkeypatch.setattr(http, "_REPEATS", 2)
    monkeypatch.setattr(http, "_BACKOFF_SECONDS", 0)
    with serve_folder(tmp_path) as served:
        yield served


@pytest.fixture(params=["disk", "http", "memory"])
def address(request, sharded):
    """Where the shards of `sharded` are, by each kind of place."""
    if request.param == "disk":
        return str(sharded)
    if request.param == "http":
        return request.getfixturevalue("server").address + "/shards"
    memory = fsspec.filesystem("memory")
    memory.put(str(sharded), "/shards", recursive=True)
    request.addfinalizer(lambda: memory.rm("/shards", recursive=True))
    return "memory://shards"


def batches(records, workers=0, first_step=0):
    augment = augmentation(32, policy="rand-m7-n4-mstd0.5-inc1", erasing=0.5, normalise=RAW)
    dataset = TrainDataset(records, ClipSampling(4, 2), augment, seed=7, copies=2)
    plan = TrainPlan(len(records), 2, 1, 7, sampling_weights(records, 0.5))
    loader = TrainLoader(dataset, plan, (0, 1), workers)
    return [batch for epoch in (3, 4) for batch in loader.epoch(epoch, first_step)]


def assert_same(ours, theirs, names):
    """Equal batches, but for the paths, which `names` maps to names in the list."""
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.clips, b.clips) and torch.equal(a.labels, b.labels)
        assert [names[path] for path in a.paths] == [names[path] for path in b.paths]
        assert [names[path] for path, _ in a.broken] == [names[path] for path, _ in b.broken]


def test_an_epoch_from_shards_is_that_from_files_to_the_bit(lists, address):
    files, ours = read_csv(lists / "train.csv"), read_shards(f"{address}/train")
    assert list_digest(files) == list_digest(ours)
    assert [replace(r, path="", source="") for r in ours] == [
        replace(r, path="", source="") for r in files
    ]
    names = {r.path: r.path.rpartition("/")[2] for r in files}
    names |= {a.path: names[b.path] for a, b in zip(ours, files, strict=True)}
    expected = batches(files)
    assert any(batch.broken for batch in expected)
    assert_same(batches(ours), expected, names)
    assert_same(batches(ours, workers=2), expected, names)
    assert_same(batches(ours, workers=1, first_step=2), batches(files, first_step=2), names)


def test_a_test_from_shards_is_that_from_files_to_the_bit(lists, address):
    def samples(records, workers=0):
        dataset = EvalDataset(records, ClipSampling(4, 2), EvalViews(32, 32, 1, RAW), 2)
        loader = eval_loader(dataset, range(len(records)), 2, workers)
        return [sample for batch in loader for sample in batch]

    ours = read_shards(f"{address}/train")
    for workers in (0, 2):
        for a, b in zip(
            samples(ours, workers), samples(read_csv(lists / "train.csv")), strict=True
        ):
            assert (a.views is None) == (b.views is None)
            assert a.views is None or torch.equal(a.views, b.views)
            assert "broken.mp4 cannot be opened" not in a.reason


def test_repeats_and_segments_are_known_by_their_place_in_a_shard(sharded, lists):
    with open(lists / "train.csv", "a") as file:
        file.write("1.webm,1,0.2,0.9,\n")
    shutil.rmtree(sharded)
    records = read_shards(shards_of(lists, sharded) / "train")
    assert len(records) == 7 and len(without_repeats(records)) == 6
    assert records[1].path == records[4].path


@pytest.mark.parametrize("kind", ["h264", "mjpeg", "m4v", "ts", "mkv", "mpg", "flv", "y4m"])
def test_formats_are_told_as_those_of_files(tmp_path, kind):
    codecs = {"mjpeg": "mjpeg", "m4v": "mpeg4", "mpg": "mpeg2video", "y4m": "rawvideo"}
    pix_fmt = "yuvj420p" if kind == "mjpeg" else "yuv420p"
    path = encode(
        tmp_path / f"a.{kind}", numbered_frames(12, (48, 64)), codecs.get(kind, "libx264"), pix_fmt
    )
    (member,) = pack(tmp_path / "s.tar", {f"00.{kind}": path.read_bytes()})
    with open_video(member) as video, open_video(path) as file:
        assert video.num_frames == file.num_frames == len(all_frames(path))
        wanted = [3, 0, video.num_frames - 1, 3]
        np.testing.assert_array_equal(video.frames(wanted), file.frames(wanted))
        assert (video.fps, video.size) == (file.fps, file.size)


def test_a_file_with_such_a_name_opens_as_a_file(make_video):
    path = make_video(frames=3)
    path = path.rename(path.with_name("a.tar#512+9"))
    with open_video(path) as video:
        assert video.num_frames == 3
    path.unlink()
    with pytest.raises(DecodeError, match=r"a\.tar does not exist"):
        open_video(path)


def test_other_decoders_are_refused(sharded):
    member = first_member(sharded / "train")
    for backend in ("decord", "torchcodec"):
        with pytest.raises(DecodeError, match=rf"lies in a shard, which .* {backend} cannot read"):
            open_video(member, backend)


def test_shards_that_change_make_broken_videos_and_no_other_pictures(sharded, address):
    records = read_shards(f"{address}/train")
    (index,) = (i for i, record in enumerate(records) if record.name == "2.avi")
    path = records[index].path
    moved = replace(records[index], path=path.replace("#", "#1"))
    longer = replace(records[index], path=f"{path}00000")
    shifted = replace(records[index], path=path.rpartition("#")[0] + "#1024+99")
    dataset = EvalDataset(
        [moved, longer, shifted], ClipSampling(4, 2), EvalViews(32, 32, 1, RAW), 1
    )
    reasons = [dataset[i].reason for i in range(3)]
    assert "shard-000000.tar is cut off" in reasons[0] and "cut off" in reasons[1]
    assert "shard-000000.tar#1024+99 is no member of this shard" in reasons[2]


def test_a_server_that_fails_makes_a_broken_video_after_its_attempts(sharded, server):
    records = read_shards(f"{server.address}/shards/train")
    path = "/shards/train/shard-000000.tar"
    dataset = TrainDataset(records[:1], ClipSampling(4, 2), augmentation(32, normalise=RAW), seed=7)
    server.faults[path] = [503, "cut"]
    (batch,) = TrainLoader(dataset, TrainPlan(1, 1, 1, 7), (0,), 0).epoch(0)
    assert batch.clips is not None and not batch.broken
    server.faults[path] = [503, 503, 503]
    (batch,) = TrainLoader(dataset, TrainPlan(1, 1, 1, 7), (0,), 0).epoch(0)
    assert batch.clips is not None
    ((broken, reason),) = batch.broken
    assert broken == records[0].path and "3 times: the server answered with status 503" in reason


def test_missing_and_cut_off_shards_are_counted_and_named(tmp_path, make_video, tiny, server):
    for number in range(5):
        data = make_video(f"videos/{number}.mp4", frames=20).read_bytes()
        (tmp_path / "videos" / f"{number}.mp4").write_bytes(data + bytes(400_000))
    lines = "".join(f"{n},{n.partition('.')[0]}\n" for n in sorted(os.listdir(tmp_path / "videos")))
    for part in ("train", "val"):
        (tmp_path / "videos" / f"{part}.csv").write_text(lines)
    train = shards_of(tmp_path / "videos", tmp_path / "shards") / "train"
    shards = sorted(train.glob("*.tar"))
    assert len(shards) == 3
    assert missing_files(read_shards(train)) == {}

    shards[0].unlink()
    entries = list(read_index(train))
    os.truncate(shards[1], entries[3].offset + 10)
    for root in (str(tmp_path / "shards"), f"{server.address}/shards"):
        server.asked.clear()
        records = read_shards(f"{root}/train")
        assert [records[place].name for place in missing_files(records)] == [
            "0.mp4",
            "1.mp4",
            "3.mp4",
        ]
        assert len(server.asked) in (0, 4)  # the index, and each shard once
        data = build_data(settings(tiny, root, DATA__MAX_BAD_RATIO=0.6))
        assert data.notes[0].startswith(
            f"3 of 5 train videos do not exist: {root}/train/shard-000000.tar (does not exist"
        )
        assert f"{root}/train/shard-000001.tar (cut off: " in data.notes[0]

    for shard in train.glob("*.tar"):
        shard.unlink()
    with pytest.raises(
        DataError, match=r"none of the 5 train .*shard-000000\.tar \(does not .*:2; the"
    ):
        build_data(settings(tiny, tmp_path / "shards"))


def settings(tiny, root, **changes):
    changes = {"TRAIN__DATASET": "shards", "DATA__PATH_TO_DATA_DIR": root, **changes}
    return load_config(overrides=tiny(**changes))


def test_lists_and_classes_are_found_beside_each_other(sharded, address, tiny, tmp_path):
    shutil.copytree(sharded / "train", sharded / "val")
    if address.startswith("memory"):
        fsspec.filesystem("memory").put(str(sharded / "val"), "/shards/val", recursive=True)
    data = build_data(settings(tiny, address))
    assert len(data.train) == len(data.val) == len(data.test) == 6  # the test list is that of val
    assert data.test == data.val and data.class_names == [f"class {i}" for i in range(6)]
    names = "\n".join("abcdef")
    (sharded / "classes.txt").write_text(names)
    if address.startswith("memory"):
        fsspec.filesystem("memory").pipe_file("/shards/classes.txt", names.encode())
    assert build_data(settings(tiny, f"{address}/")).class_names == list("abcdef")


def test_what_is_no_folder_of_shards(tmp_path, sharded, server, tiny):
    for root in (tmp_path, "memory://nothing", f"{server.address}/nothing"):
        with pytest.raises(
            DataError, match=r"there is no train/index\.csv in .*\n.*`key,shard,"
        ) as e:
            build_data(settings(tiny, root))
        assert ("status 404" in str(e.value)) == (str(root).startswith("http"))
    server.faults["/shards/train/index.csv"] = [403] * 9
    with pytest.raises(DataError, match=r"refused by its server \(status 403\)"):
        build_data(settings(tiny, f"{server.address}/shards"))
    server.faults["/shards/train/index.csv"] = ["no range"]
    with pytest.raises(DataError, match="knows no range requests"):
        build_data(settings(tiny, f"{server.address}/shards"))
    with pytest.raises(ConfigError, match=r"https://h/x is an address.*kinetics takes a folder"):
        build_data(settings(tiny, "https://h/x", TRAIN__DATASET="kinetics"))
    with pytest.raises(ConfigError, match=r"PATH_TO_DATA_DIR https://h/x carries a password") as e:
        build_data(settings(tiny, "https://me:hidden@h/x"))
    assert "hidden" not in str(e.value)


def test_a_cut_off_index_is_refused_wherever_it_lies(sharded, server, tiny):
    index = sharded / "train" / INDEX_FILE
    index.write_bytes(index.read_bytes()[:-3])
    for root in (sharded, f"{server.address}/shards"):
        with pytest.raises(DataError, match=r"train/index\.csv is cut off.*; get it again"):
            build_data(settings(tiny, root))
    with pytest.raises(DataError, match="is cut off"):
        videos_to_check(index.parent)


def test_the_folder_above_is_the_one_to_give(address, tiny):
    with pytest.raises(DataError, match=r"shards/train is a folder of shards itself.* above, with"):
        build_data(settings(tiny, f"{address}/train"))


HEADER = "key,shard,offset,length,label,name"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with the line key,shard,offset,length,label,name"),
        ("<html>", "does not begin"),
        ("path,label\na.mp4,3\n", "does not begin"),
        (f"{HEADER},start,start\n", "does not begin"),
        (f"{HEADER},color\n", "does not begin"),
        (f"{HEADER}\n", r"index\.csv lists no videos"),
        (f"{HEADER}\na,s.tar,512,2,0,n\na,b\n", r"index\.csv:3: 2 cells below a header of 6"),
        (f"{HEADER}\na,s.tar,-512,2,0,n\n", r"index\.csv:2: offset '-512'"),
        (f"{HEADER}\na,s.tar,511,2,0,n\n", r"index\.csv:2: offset '511'.* 512 or more"),
        (f"{HEADER}\na,s.tar,x,2,0,n\n", r"index\.csv:2: offset 'x'"),
        (f"{HEADER}\na,s.tar,512,-1,0,n\n", r"index\.csv:2: .*length '-1'"),
        (f"{HEADER}\n\na,s.tar,512,2,1.5,n\n", r"index\.csv:3: the label is '1\.5'"),
        (f"{HEADER}\na,../s.tar,512,2,0,n\n", r"index\.csv:2: the shard is '\.\./s\.tar'"),
        (f"{HEADER}\na,/s.tar,512,2,0,n\n", r"index\.csv:2: the shard is"),
        (f"{HEADER}\na,http://h/s,512,2,0,n\n", r"index\.csv:2: the shard is"),
        (f"{HEADER},start,end\na,s.tar,512,2,0,n,3,2\n", r"index\.csv:2: the segment ends"),
        (f"{HEADER},weight\na,s.tar,512,2,0,n,-1\n", r"index\.csv:2: weight is '-1'"),
        (f'{HEADER}\na,s.tar,512,2,0,"n\n', r"index\.csv:2: cannot be read as csv"),
        (f"{HEADER}\na,s.tar,512,2,0,\udcff\n", "is not UTF-8 text"),
        (HEADER, r"index\.csv is cut off"),
        (f"{HEADER}\na,s.tar,512,2,0,n\nb,s.tar,1536,2,1", r"index\.csv is cut off: .*again"),
        (f"{HEADER}\na,s.tar,512,2,0,n\nb,s.tar,1536,2,1,n", r"index\.csv is cut off"),
    ],
)
def test_an_index_that_is_none(tmp_path, text, message):
    (tmp_path / INDEX_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        read_shards(tmp_path)


def test_an_index_of_another_hand_may_have_a_bom_and_crlf(tmp_path):
    text = f'{HEADER},weight\na,s.tar,512,2,0,n,\nb,s t.tar,1024,0,7,"n, 2",2.5\n'
    (tmp_path / INDEX_FILE).write_text("\ufeff" + text, newline="\r\n")
    first, second = read_shards(tmp_path)
    assert first.path == f"{tmp_path}/s.tar#512+2"
    assert (second.path, second.name, second.label, second.weight) == (
        f"{tmp_path}/s t.tar#1024+0",
        "n, 2",
        7,
        2.5,
    )
    assert second.source == f"{tmp_path}/index.csv:3"


def test_a_run_from_shards_is_that_from_files(tmp_path, demo, tiny, call, server, interrupt_after):
    """Through the command line: from files; from shards, stopped in mid-epoch; resumed by http."""
    root = shards_of(demo, tmp_path / "shards")
    shutil.copy(demo / "classes.txt", root)
    (tmp_path / "tiny.yaml").write_text("RNG_SEED: 3\n")

    def run(output, *changes):
        settings = [*tiny(), "OUTPUT_DIR", tmp_path / output, *changes]
        status, _, errors = call("run", "--cfg", tmp_path / "tiny.yaml", *settings)
        return status, errors

    shards = ["TRAIN.DATASET", "shards", "DATA.PATH_TO_DATA_DIR"]
    assert run("files") == (0, ANY)
    with interrupt_after(6):
        assert run("shards", *shards, root)[0] == 130
    assert run("shards", *shards, f"{server.address}/shards") == (0, ANY)

    files, ours = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("files", "shards")
    )
    assert ours["summary"] == files["summary"]
    assert ours["videos_sha256"] == files["videos_sha256"]
    for a, b in zip(ours["videos"], files["videos"], strict=True):
        assert a["name"] == b["name"] and a["top5"] == b["top5"]
        assert a["path"].startswith(f"{server.address}/shards/test/shard-000000.tar#")
    first, second = (
        read_weights(tmp_path / name / "last.pt").state for name in ("files", "shards")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    pages = [(tmp_path / name / "report.html").read_text() for name in ("files", "shards")]
    assert pages[0].count("data:image") == pages[1].count("data:image") > 0
