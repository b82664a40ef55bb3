"""The same footage in several lists: what is found, what is not, and what the command says."""

import csv
import os
import shutil
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from shard_files import shards_of
from videos import all_frames

from uniformer_video.bench.overlap import comparing, made_up
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DecodeError
from uniformer_video.prepare import fingerprints as prints
from uniformer_video.prepare import matching
from uniformer_video.prepare.demo import write_video
from uniformer_video.prepare.fingerprints import fingerprint, is_comparable
from uniformer_video.prepare.matching import LIMIT, close_pairs, distances


def fingerprint_of(path, start=0.0, end=None):
    return fingerprint(VideoRecord(str(path), "", (), start=start, end=end))


def changed_copies(frames, folder, name):
    """A video of `frames` at CRF 35, at half size, and of the middle 90 %, each alone."""
    _, height, width, _ = frames.shape
    quarters = frames.reshape(-1, height // 2, 2, width // 2, 2, 3).mean((2, 4)).astype(np.uint8)
    cut = round(len(frames) * 0.05)
    for kind, shown, crf in (
        ("coarse", frames, 35),
        ("half", quarters, 23),
        ("middle", frames[cut : len(frames) - cut], 23),
    ):
        path = folder / f"{name}_{kind}.mp4"
        write_video(path, shown, 25, crf)
        yield path


def takes_of_one_scene(count):
    """Videos of the same place, `[48, 96, 128, 3]`: something large goes its own way before it in each."""
    rng = np.random.default_rng(0)
    background = np.kron(rng.uniform(30, 220, (6, 8)), np.ones((16, 16)))
    thing = np.kron(rng.uniform(-25, 25, (4, 4)), np.ones((15, 18)))
    for _ in range(count):
        frames = np.repeat(background[None], 48, axis=0)
        height, width = thing.shape
        ways = rng.uniform(0, [96 - height, 128 - width], (4, 2)).T
        for number, frame in enumerate(frames):
            y, x = (round(np.interp(number, np.arange(4) * 16, way)) for way in ways)
            frame[y : y + height, x : x + width] += thing
        noise = rng.normal(0, 2, frames.shape)
        yield np.repeat((frames + noise).clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def check_gap(footage, named):
    """All pairs of the same `footage` (an equal number), and no others, are pairs; the distances between."""
    videos = np.stack(footage)
    assert is_comparable(videos).all()
    pairs = np.array(list(combinations(range(len(videos)), 2)))
    same = np.array([named[i] == named[j] for i, j in pairs])
    measured = distances(videos, *pairs.T)
    found, _ = close_pairs(videos, 1)
    print(
        f"distance in bits: true pairs up to {measured[same].max():.2f}, false ones from "
        f"{measured[~same].min():.2f}; a pair has {LIMIT:g} or less"
    )
    assert measured[same].max() <= LIMIT < measured[~same].min()
    assert set(map(tuple, found)) == set(map(tuple, pairs[same]))


def test_changed_copies_of_the_demo_are_found_and_nothing_else(demo, tmp_path):
    videos = sorted(demo.glob("*/*.mp4"))
    footage, named = [fingerprint_of(path) for path in videos], list(range(len(videos)))
    for number in range(0, len(videos), 5):
        for copy in changed_copies(all_frames(videos[number]), tmp_path, str(number)):
            footage.append(fingerprint_of(copy))
            named.append(number)
    check_gap(footage, named)


def test_other_takes_of_one_scene_are_other_footage(tmp_path):
    footage, named = [], []
    for number, frames in enumerate(takes_of_one_scene(4)):
        original = tmp_path / f"{number}.mp4"
        write_video(original, frames, 30)
        for path in (original, *changed_copies(frames, tmp_path, str(number))):
            footage.append(fingerprint_of(path))
            named.append(number)
    takes = matching._Hashes(np.stack(footage[::4]))
    signs = takes._contradictions(np.array([0, 1, 2]), np.array([1, 2, 3]))
    assert (signs <= LIMIT).all()  # which is all that the signs of the hashes tell
    check_gap(footage, named)


def test_frames_of_one_colour_do_not_count(demo, tmp_path):
    first, second = (all_frames(demo / "train" / f"0000{number}.mp4") for number in (0, 1))
    black = np.zeros((len(first), 72, 72, 3), np.uint8)
    paths = [tmp_path / f"{number}.mp4" for number in range(5)]
    shown = (black, black + 90, *(np.concatenate([black[:12], v]) for v in (first, second)))
    for path, frames in zip(paths, (*shown, np.concatenate([black, first[:12]])), strict=True):
        write_video(path, frames, 25)
    footage = np.stack([fingerprint_of(path) for path in paths])
    assert is_comparable(footage).tolist() == [False, False, True, True, False]
    assert distances(footage, [2], [3])[0] > LIMIT  # by the black frames, it were 2/3 of that
    faint = np.zeros((32, 64), np.int8)
    faint[:, :20] = prints.PLAIN  # what coding makes of nothing
    assert not is_comparable(faint) and is_comparable(faint + np.int8(1))


def test_matched_times_never_go_back():
    rng = np.random.default_rng(0)
    costs = rng.integers(0, 64, (3, 1, 32), np.uint16)[::-1]
    counted = np.array([[True, False, True]])
    mean = matching._monotone_mean(costs.__getitem__, counted, range(3))
    least = min(costs[0, 0, i] + costs[2, 0, j] for i in range(32) for j in range(i, 32))
    assert costs[0, 0].argmin() > costs[2, 0].argmin() and mean.tolist() == [least / 2]

    forward = np.repeat(rng.integers(-90, 90, (4, 64)), 8, axis=0).astype(np.int8)
    there, back, late = forward, forward[::-1], forward.repeat(2, axis=0)[:32]
    measured = distances(np.stack([there, back, late]), [0, 0], [1, 2])
    assert (measured > LIMIT).all()
    assert matching._Hashes(np.stack([there, late]))._apart(np.array([1]), np.array([0])) == 0


def test_every_pair_is_found_without_looking_at_all():
    videos, same = made_up(300)
    pairs, measured = close_pairs(videos, 2)
    assert set(map(tuple, pairs.tolist())) == same and (measured <= LIMIT).all()
    looked_at = matching._Buckets(videos).candidates(0, 300)
    assert len(same) <= len(looked_at[0]) < 0.2 * 300 * 299 / 2
    assert comparing(20, 1)[-1] == "3 of 3 pairs of the same footage found, 0 others"


def test_bits_are_counted_alike_with_older_numpy(monkeypatch):
    words = np.random.default_rng(0).integers(0, 2**64, (3, 4), np.uint64)
    expected = [[int(word).bit_count() for word in row] for row in words]
    assert matching._bit_counts(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert matching._bit_counts(words).tolist() == expected


def test_frames_are_spread_over_time_and_not_over_their_numbers():
    times = np.array([0, 1, 2, 3, 11, 19, 27])  # seconds; the last is shown 4.5 s
    chosen = prints._evenly_spaced(times)
    assert len(chosen) == 32 and chosen.tolist() == sorted(chosen)
    assert np.bincount(chosen).tolist() == [1, 1, 1, 8, 8, 8, 5]
    assert prints._evenly_spaced(np.array([3.0])).tolist() == [0] * 32


def test_a_segment_is_footage_of_its_own(demo, tmp_path):
    first, second = (all_frames(demo / "train" / f"0000{number}.mp4") for number in (0, 1))
    write_video(tmp_path / "both.mp4", np.concatenate([first, second]), 25)
    cut = len(first) / 25
    footage = [
        fingerprint_of(demo / "train" / "00000.mp4"),
        fingerprint_of(tmp_path / "both.mp4", 0, cut),
        fingerprint_of(tmp_path / "both.mp4", cut),
    ]
    assert (distances(np.stack(footage), [0, 0, 1], [1, 2, 2]) <= LIMIT).tolist() == [1, 0, 0]
    with pytest.raises(DecodeError, match=r"both\.mp4: no frame begins from 99 s"):
        fingerprint_of(tmp_path / "both.mp4", 99)


@pytest.fixture
def check(call, monkeypatch, tmp_path):
    """A function: `check --overlap` in `tmp_path`; (status, lines that are printed, errors)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        command = partial(call, command="prepare")
        status, out, errors = command("check", "--overlap", *arguments, "--workers", "1")
        return status, out.splitlines(), errors

    return run


def rows(name):
    with open(name, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


@pytest.fixture
def lists(demo, tmp_path):
    """train.csv and test.csv: one video in both under two names, another one twice in train.csv alone."""
    for name, number in (("a", 0), ("b", 1), ("b2", 1), ("c", 2), ("a2", 0), ("d", 3)):
        shutil.copy(demo / "train" / f"0000{number}.mp4", tmp_path / f"{name}.mp4")
    (tmp_path / "train.csv").write_text("a.mp4,0\nb.mp4,1\nb2.mp4,1\nc.mp4,2\n")
    (tmp_path / "test.csv").write_text("a2.mp4,0\nd.mp4,3\n")
    return tmp_path


def test_the_command_names_pairs_between_lists_and_goes_on_from_its_cache(check, lists):
    status, out, _ = check("train.csv", "test.csv", "--out", "bad.csv")
    assert status == 2
    a, a2, b, b2 = (str(lists / f"{name}.mp4") for name in ("a", "a2", "b", "b2"))
    assert rows("overlap.csv") == [
        [a, "train.csv", a2, "test.csv", "0.00"],
        [b, "train.csv", b2, "train.csv", "0.00"],
    ]
    assert out[0].startswith("6 videos hashed in") and "a second; 0 known from before" in out[0]
    assert "train.csv and test.csv: 1 pair of the same footage" in out
    assert "train.csv: 1 video of the footage of another in it" in out
    assert out[-1] == (
        "6 videos compared, 1 pair between lists, 1 repeat inside a list: see overlap.csv"
    )

    # Inside one of several lists it is counted; a list alone may be split.
    (lists / "test.csv").write_text("d.mp4,3\n")
    os.utime(b2, (1, 1))  # another file in its place
    with open("fingerprints.tsv", "rb+") as file:  # killed while it wrote the last line
        file.truncate(os.path.getsize("fingerprints.tsv") - 9)
    status, out, _ = check("train.csv", "test.csv")
    assert (status, len(rows("overlap.csv"))) == (0, 1)
    assert out[0].startswith("2 videos hashed in") and "; 3 known from before" in out[0]
    status, out, _ = check("train.csv")
    assert status == 2 and out[0].startswith("0 videos hashed") and "4 known" in out[0]


def test_what_is_not_compared_is_counted_and_named(check, lists):
    write_video(lists / "black.mp4", np.zeros((9, 72, 72, 3), np.uint8), 25)
    (lists / "test.csv").write_text("black.mp4,1\nd.mp4,3\n")
    assert check("train.csv", "test.csv")[0] == 0
    ((path, where, reason),) = rows("not_compared.csv")
    assert (path, where) == (str(lists / "black.mp4"), "test.csv") and "one colour" in reason

    # What stands in both lists under one path needs no look.
    (lists / "c.mp4").write_bytes(b"")
    (lists / "test.csv").write_text("black.mp4,1\nc.mp4,2\ngone.mp4,2\n")
    status, out, _ = check("train.csv", "test.csv")
    assert status == 2
    broken, gone, _ = rows("not_compared.csv")
    assert broken[1] == "train.csv and test.csv" and "cannot be opened" in broken[2]
    assert gone == [str(lists / "gone.mp4"), "test.csv", "does not exist"]
    assert rows("overlap.csv")[0] == [broken[0], "train.csv", broken[0], "test.csv", "0.00"]
    assert out[-1] == (
        "3 videos not compared, 2 that cannot be read and 1 that show too little: see not_compared.csv"
    )


@pytest.mark.slow
def test_folders_of_parts_may_hold_shards(check, lists):
    (lists / "lists").mkdir()
    (lists / "lists" / "train.csv").write_text(f"{lists / 'a.mp4'},0\n{lists / 'c.mp4'},1\n")
    (lists / "lists" / "val.csv").write_text(f"{lists / 'a2.mp4'},0\n")
    shards_of(lists / "lists", lists / "both")
    status, out, _ = check("both")
    assert status == 2 and "both/train and both/val: 1 pair of the same footage" in out
    shutil.rmtree(lists / "both" / "val")
    (lists / "both" / "val").mkdir()
    shutil.copy(lists / "a2.mp4", lists / "both" / "val" / "a2.mp4")
    status, out, _ = check("both")  # shards beside videos
    assert status == 2 and "both/train and both/val: 1 pair of the same footage" in out
    (lists / "both" / "train" / "index.csv").unlink()
    assert "holds shards without index.csv" in check("both")[2]


def test_shards_tables_of_segments_and_folders_of_parts(check, lists):
    (lists / "lists").mkdir()
    (lists / "lists" / "val.csv").write_text(f"{lists / 'a2.mp4'},0\n")
    shards = shards_of(lists / "lists", lists / "shards")
    (lists / "table.csv").write_text("path,label,start,end\na.mp4,0,0,0.9\nd.mp4,3,0.5,\n")
    (lists / "parts" / "train" / "x").mkdir(parents=True)
    shutil.move(lists / "d.mp4", lists / "parts" / "train" / "x" / "d.mp4")
    (lists / "parts" / "val").mkdir()
    shutil.move(lists / "b.mp4", lists / "parts" / "val" / "b.mp4")
    shutil.copy(lists / "b2.mp4", lists / "parts" / "train" / "x" / "b.mp4")
    (lists / "table.csv").write_text("path,label,start,end\na.mp4,0,0,9\nc.mp4,3,0.5,\n")
    status, out, _ = check("table.csv", shards / "val", "parts")
    assert status == 2
    (first, second) = rows("overlap.csv")
    assert {first[1], second[1]} == {"table.csv", "parts/train"}
    by_list = {row[1]: row for row in (first, second)}
    segment, _, member, where, _ = by_list["table.csv"]
    assert segment == f"{lists / 'a.mp4'}#0-9" and where == str(shards / "val")
    assert member.startswith(f"{shards}/val/shard-000000.tar#")
    assert by_list["parts/train"][2:4] == ["parts/val/b.mp4", "parts/val"]
    assert "parts/train and parts/val: 1 pair of the same footage" in out


def test_mistakes(check, lists):
    assert "--strict looks at every frame" in check("train.csv", "--strict")[2]
    assert "cannot write into no: No such file" in check("train.csv", "--out", "no/bad.csv")[2]
