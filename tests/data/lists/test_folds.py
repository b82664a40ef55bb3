"""Groups of videos, and parts of them that are alike: folds, and what is held out."""

from collections import Counter

import pytest

from uniformer_video.data.lists.columns import VideoColumns, as_columns
from uniformer_video.data.lists.folds import assign_parts, hold_out, make_folds
from uniformer_video.data.lists.groups import (
    group_places,
    note_groups,
    note_shared_groups,
    with_groups,
)
from uniformer_video.data.lists.records import VideoRecord, read_csv, split_records
from uniformer_video.data.lists.sharded import read_shards
from uniformer_video.errors import DataError
from uniformer_video.prepare.shards import make_shards
from uniformer_video.randomness import generator

NAMES = ["jump", "run", "walk"]


def record(name, *labels, group="", start=0.0, end=None):
    return VideoRecord(
        f"/data/{name}", name, labels, "list.csv:1", start=start, end=end, group=group
    )


def videos(*counts, groups=0):
    """So many videos of each class; in `groups` groups in turn, where there are any."""
    found = []
    for label, count in enumerate(counts):
        for number in range(count):
            group = f"g{(number + label) % groups}" if groups else ""
            found.append(record(f"{NAMES[label]}/{number:03d}.mp4", label, group=group))
    return found


def counts_of(records, fold_of, folds):
    """Of each fold: how many of its videos have which label."""
    return [
        Counter(
            label
            for r, own in zip(records, fold_of, strict=True)
            if own == fold
            for label in r.labels
        )
        for fold in range(folds)
    ]


# Groups


def test_the_pattern_finds_the_group_in_the_path_of_the_list():
    given = [record("day1/p07_a.mp4", 0), record("day2/p07_b.mp4", 0), record("day2/other.mp4", 1)]
    assert [r.group for r in with_groups(given, r"(p\d+)_")] == ["p07", "p07", ""]
    assert [r.group for r in with_groups(given, r"day\d")] == ["day1", "day2", "day2"]
    assert with_groups(given, r"(day\d)/(p\d+)")[0].group == "day1/p07"
    assert [r.group for r in with_groups(given, r"p07_(x?)")] == ["", "", ""]
    assert with_groups([record(r"day1\p07_a.mp4", 0)], "day1/(p..)")[0].group == "p07"
    segment = record("take_12.mp4#2-4", 0, start=2.0, end=4.0)
    assert with_groups([segment], r"_(\d+)\.mp4$")[0].group == "12"
    assert with_groups([record("p1.mp4", 0, group="listed")], r"(p\d)")[0].group == "listed"
    assert with_groups(given, "") == given


def test_videos_without_a_group_are_counted_and_named():
    given = with_groups([record("p1_a", 0), record("p1_b", 0), record("c", 0)], r"(p\d)_")
    (note,) = note_groups(given, r"(p\d)_")
    assert note == (
        r"Groups by DATA.GROUP_PATTERN (p\d)_: 1 group of 2 videos (p1); 1 video without one, each by "
        "itself: c."
    )
    assert note_groups([record("a", 0)], "") == []
    every = with_groups([record("a", 0), record("b", 1)], ".*")
    assert "no two videos share a group" in note_groups(every, ".*")[0]
    with pytest.raises(DataError, match=r"'q\(.\)' is found in none of the 2 paths, such as 'a'"):
        note_groups([record("a", 0), record("b", 0)], "q(.)")


def test_segments_of_one_file_in_several_groups_and_groups_in_two_lists_are_told():
    parts = [record("a#0-1", 0, group="x", end=1.0), record("a#1-", 0, group="y", start=1.0)]
    parts = [
        VideoRecord("/data/a", r.name, r.labels, start=r.start, end=r.end, group=r.group)
        for r in parts
    ]
    assert "1 video with segments in several groups" in note_groups(parts, "")[1]
    shared = note_shared_groups(
        {"train": parts, "val": parts[:1], "test": [record("b", 0, group="z")]}
    )
    assert shared == ["1 group has videos in train and in val: x."]


def test_the_column_group_is_read_and_kept_by_shards(place, make_video):
    folder = place({"train.csv": "path,group,label\na.mp4,p 1,0\nb.mp4,,1\n"})
    for name in ("a.mp4", "b.mp4"):
        make_video(name, frames=2)
    assert [r.group for r in read_csv(folder / "train.csv")] == ["p 1", ""]
    make_shards(folder / "train.csv", folder / "shards", workers=1)
    assert [r.group for r in read_shards(folder / "shards")] == ["p 1", ""]
    assert (folder / "shards" / "index.csv").read_text().splitlines()[0].endswith(",name,group")


# Parts


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_of_single_videos_are_even_in_every_class(folds):
    given = videos(17, 16, 23)
    fold_of, notes = make_folds(given, folds, NAMES)
    found = counts_of(given, fold_of, folds)
    for label in range(3):
        sizes = [one[label] for one in found]
        assert max(sizes) - min(sizes) <= 1
    totals = [one.total() for one in found]
    assert max(totals) - min(totals) <= 1 and not notes


def test_folds_follow_from_the_videos_and_not_from_their_order_or_place():
    given = videos(9, 12, 7, groups=6)
    fold_of = dict(zip((r.name for r in given), make_folds(given, 3, NAMES)[0], strict=True))
    for seed in range(3):
        order = generator("test", seed).permutation(len(given))
        moved = [given[i] for i in order]
        moved = [VideoRecord(f"/else{r.path}", r.name, r.labels, group=r.group) for r in moved]
        again = make_folds(moved, 3, NAMES)[0]
        assert dict(zip((r.name for r in moved), again, strict=True)) == fold_of


def test_no_group_is_parted_and_segments_of_a_file_are_none():
    given = videos(20, 20, 20, groups=10)
    given += [record("long.mp4#0-1", 0, end=1.0), record("long.mp4#1-", 1, start=1.0)]
    given[-2:] = [
        VideoRecord("/data/long.mp4", r.name, r.labels, start=r.start, end=r.end)
        for r in given[-2:]
    ]
    fold_of, _ = make_folds(given, 5, NAMES)
    own = {}
    for one, fold in zip(given, fold_of, strict=True):
        own.setdefault(one.group or one.path, set()).add(fold)
    assert all(len(folds) == 1 for folds in own.values())
    totals = [one.total() for one in counts_of(given, fold_of, 5)]
    assert min(totals) >= 12 and max(totals) <= 14


def test_videos_of_one_name_in_two_places_are_told_apart_by_their_paths():
    names = [f"{i:02d}.mp4" for i in range(12)]
    given = [VideoRecord(f"/{place}/{name}", name, (0,)) for place in "AB" for name in names]
    folds_of = []
    for seed in range(3):
        moved = [given[i] for i in generator("test", seed).permutation(len(given))]
        found = make_folds(moved, 5, NAMES)[0]
        folds_of.append(dict(zip((r.path for r in moved), found, strict=True)))
    assert folds_of[0] == folds_of[1] == folds_of[2]


@pytest.mark.parametrize("groups", [0, 9])
def test_long_lists_are_cut_without_an_object_for_each_video(groups, monkeypatch):
    given = [*videos(30, 20, 25, groups=groups), record("two.mp4", 0, 2), record("none.mp4")]
    columns = as_columns(given)
    folds, parts = make_folds(given, 4, NAMES), hold_out(given, 0.3, 1)
    monkeypatch.setattr(VideoColumns, "__iter__", None)
    monkeypatch.setattr("uniformer_video.data.lists.folds.noun_of", lambda _: "video")
    assert make_folds(columns, 4, NAMES) == folds
    found = hold_out(columns, 0.3, 1)
    monkeypatch.undo()
    assert found == parts and all(type(fold) is int for fold in folds[0])


def test_rare_labels_of_videos_with_several_are_spread():
    rng = generator("labels", 0)
    given = [
        record(f"{i:03d}", *sorted({*rng.choice(20, 3), *([20] if i % 20 == 0 else [])}))
        for i in range(100)
    ]
    found = counts_of(given, make_folds(given, 5, [str(i) for i in range(21)])[0], 5)
    assert [one[20] for one in found] == [1] * 5
    for label in range(20):
        sizes = [one[label] for one in found]
        assert max(sizes) - min(sizes) <= 2


def test_a_part_may_be_smaller_than_another_and_none_is_empty():
    given = videos(10, 10)
    parts = assign_parts(given, (0.8, 0.2))
    assert counts_of(given, parts, 2) == [{0: 8, 1: 8}, {0: 2, 1: 2}]
    two = [record(name, 0, group=name[0]) for name in ("a1", "a2", "b1", "b2")]
    assert set(assign_parts(two, (0.9, 0.1))) == {0, 1}


def test_what_makes_no_folds_is_refused():
    with pytest.raises(
        DataError, match="FOLDS 5 takes at least as many videos as folds, and there are 4"
    ):
        make_folds(videos(2, 2), 5, NAMES)
    with pytest.raises(DataError, match="as many groups as folds, and there are 2"):
        make_folds(videos(6, 6, groups=2), 5, NAMES)
    one_large = [record(f"{i}", i % 2, group="cam1" if i < 18 else "") for i in range(20)]
    with pytest.raises(
        DataError, match=r"'cam1' holds 18 of 20 videos, so its fold .* the 2 others alone"
    ):
        make_folds(one_large, 3, NAMES)
    single = [*videos(9, 9), record("walk/1.mp4", 2)]
    with pytest.raises(
        DataError, match=r"too few videos for DATA.FOLDS 3: walk \(1 video\); fold \d would"
    ):
        make_folds(single, 3, NAMES)
    of_one_group = [*videos(9, 9), *(record(f"walk/{i}", 2, group="cam") for i in range(3))]
    with pytest.raises(DataError, match=r"walk \(3 videos, all of the group 'cam'\)"):
        make_folds(of_one_group, 3, NAMES)


def test_what_folds_cannot_even_out_is_told():
    notes = make_folds(videos(9, 3), 5, NAMES)[1]
    assert notes == [
        "1 class with fewer videos or groups than folds, which not every fold tests: run (3 videos)."
    ]
    large = [record(f"{i:02d}", i % 2, group="cam1" if i < 12 else "") for i in range(20)]
    notes = make_folds(large, 4, NAMES)[1]
    assert "The folds differ in size, 12, " in notes[-1] and "'cam1', holds 12 of 20" in notes[-1]
    several = [record("a", 0, 1), record("b", 0), record("c", 0), record("d")]
    assert "run (1 video)" in make_folds(several, 2, NAMES)[1][0]  # with several labels no error


# What is held out


def test_without_groups_the_same_videos_are_held_out_as_ever():
    given = videos(7, 5, 9)
    for seed in range(3):
        assert hold_out(given, 0.3, seed) == split_records(given, 0.3, seed)


def test_the_groups_of_a_list_are_looked_for_once(monkeypatch):
    looks = []

    def look(columns):
        looks.append(len(columns))
        return group_places(columns)

    monkeypatch.setattr("uniformer_video.data.lists.folds.group_places", look)
    monkeypatch.setattr("uniformer_video.data.lists.groups.group_places", look)
    given = videos(20, 20, groups=5)
    train, val = hold_out(given, 0.2, 0)
    assert looks == [40] and train and val


def test_whole_groups_are_held_out_by_the_seed():
    given = videos(20, 20, 20, groups=10)
    chosen = set()
    for seed in range(4):
        train, val = hold_out(given, 0.2, seed)
        assert not {r.group for r in train} & {r.group for r in val}
        assert [r for r in given if r in val] == val and len(train) + len(val) == 60
        assert Counter(r.label for r in val) == {0: 4, 1: 4, 2: 4}
        chosen.add(tuple(sorted({r.group for r in val})))
    assert len(chosen) > 1
    assert hold_out(given, 0.2, 3) == hold_out(given, 0.2, 3)
    assert hold_out(given, 0, 0) == (given, []) and hold_out(given, 1, 0) == ([], given)
    assert hold_out([record("a", 0, group="x"), record("b", 0, group="x")], 0.5, 0)[1] == []
