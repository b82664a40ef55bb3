"""Columns are the lists of records that they stand for, whatever the names, and so are checks of them."""

import os
import pickle
import random
from dataclasses import replace

import numpy as np
import pytest

from uniformer_video.data.lists import check, texts
from uniformer_video.data.lists.balance import class_totals, rarest_totals
from uniformer_video.data.lists.class_counts import class_counts
from uniformer_video.data.lists.columns import (
    VideoColumns,
    as_columns,
    concatenated,
    first_segments,
)
from uniformer_video.data.lists.folders import listed_files
from uniformer_video.data.lists.records import (
    VideoRecord,
    listed_path,
    read_csv,
    split_records,
    without_repeats,
)
from uniformer_video.data.lists.text import split_line
from uniformer_video.data.lists.texts import Texts, first_places
from uniformer_video.errors import DataError

PIECES = [
    "a",
    " ",
    "  ",
    "é",
    "\u3000",
    "\udcff",
    "'",
    "#",
    "B.mp4",
    "7",
    "-1",
    ".",
    "..",
    "~",
    ":",
    "%20",
]


def odd_name(rng, marks=("/", ",", ";")):
    return "".join(rng.choices([*PIECES, *marks], k=rng.randint(1, 7)))


def odd_records(count, seed=0):
    """Records of all kinds, of which some repeat."""
    rng = random.Random(seed)
    names = [odd_name(rng) for _ in range(count // 2)]
    return [
        VideoRecord(
            f"/videos/{(name := rng.choice(names))}",
            name,
            tuple(sorted(rng.sample(range(5), rng.choice([0, 1, 1, 2])))),
            f"list.csv:{line}",
            rng.choice([0, 0, 12]),
            start := rng.choice([0.0, 0.0, 1.5]),
            rng.choice([None, None, start + 2]),
            rng.choice([1.0, 0.0, 0.1]),
            rng.choice(["", "", "group é"]),
            mask=rng.choice(["", "m.png"]),
        )
        for line in range(count)
    ]


def test_columns_are_the_records_that_they_are_made_of():
    records = odd_records(300)
    columns = as_columns(records)
    assert columns == records and list(columns) == records and columns != records[1:]
    assert as_columns(columns) is columns and len(columns) == 300
    assert [columns[place] for place in (0, 7, -1)] == [records[place] for place in (0, 7, -1)]
    assert columns[9:3:-2] == records[9:3:-2] and columns + records[:2] == records + records[:2]
    places = np.array([5, 5, 0, 299])
    assert columns.take(places) == [records[place] for place in places]
    assert columns.take(columns.weight > 0) == [r for r in records if r.weight]
    assert concatenated([columns[:9], columns[:0], columns[4:6]]) == records[:9] + records[4:6]
    assert pickle.loads(pickle.dumps(columns)) == records
    assert not as_columns([]) and list(as_columns([])) == [] == list(
        concatenated([columns[:0]] * 2)
    )
    with pytest.raises(IndexError):
        columns[300]
    kinds = {field: type(value) for field, value in vars(records[0]).items()}
    assert {field: type(value) for field, value in vars(columns[0]).items()} == kinds


def test_what_is_the_same_for_all_is_kept_once():
    rows = [(f"/videos/{i}.mp4", f"{i}.mp4", (i % 7,), f"list.csv:{i}") for i in range(20_000)]
    columns = VideoColumns.of_rows(rows, medium="image")
    assert columns[12345] == VideoRecord(*rows[12345], medium="image")
    assert columns.medium.starts.strides == (0,) == columns.weight.strides
    sent = pickle.dumps(columns)  # to a worker process
    again = pickle.loads(sent)
    assert again[12345] == columns[12345] and len(sent) < 2_000_000
    assert again.medium.starts.strides == (0,) == again.weight.strides
    assert set(columns.medium.take(np.arange(3))) == {"image"}
    groups = Texts.of(f"group {i % 3}" for i in range(20_000))
    assert sorted(groups.data) == sorted(b"012") and groups[19_999] == "group 1"


def test_what_all_texts_begin_with_is_kept_once_and_a_name_in_its_path():
    rows = [(f"/videos/é/{i % 400}/{i}.mp4", f"é/{i % 400}/{i}.mp4", (0,)) for i in range(20_000)]
    columns = VideoColumns.of_rows(rows)
    assert columns.path.prefix == "/videos/é/".encode() and columns.name.data is columns.path.data
    assert columns[777].path == rows[777][0] and list(columns.name) == [row[1] for row in rows]
    other = VideoColumns.of_rows([("/videos/è.mp4", "è.mp4", ()), ("/videos/é/", "é/", ())])
    both = concatenated([columns, columns[:0], other])  # one byte of a letter is common
    assert list(both.path) == [*(row[0] for row in rows), "/videos/è.mp4", "/videos/é/"]
    assert both.name.data is both.path.data and list(both.name) == [*columns.name, *other.name]
    assert both[20_001] == other[1] and pickle.loads(pickle.dumps(both)) == both
    assert both.path.is_filled.all() and len(pickle.dumps(both)) < 1_000_000


@pytest.mark.parametrize("seed", range(3))
def test_texts_are_those_they_are_made_of_whatever_they_share(seed):
    rng = random.Random(seed)
    made = [[odd_name(rng)] + [odd_name(rng)] * 2 for _ in range(30)]
    lists = [[start + name for name in names] for names in made for start in ("", "ab", "abé")]
    for names in lists:
        own = Texts.of(names)
        assert list(own) == names and [own[place] for place in range(3)] == names
        assert list(own.take(np.array([2, 0]))) == [names[2], names[0]]
    for first, second in zip(lists, lists[5:], strict=False):
        both = texts.joined([Texts.of(first), Texts.of([]), Texts.of(second)])
        assert list(both) == first + second and both.is_filled.tolist() == [True] * 6


@pytest.mark.parametrize("hashed", [hash, lambda text: len(text)], ids=["hashes", "equal hashes"])
def test_the_first_of_equal_texts_is_found(monkeypatch, hashed):
    monkeypatch.setattr(texts, "hash", hashed, raising=False)
    names = ["a", "b", "a", "", "c", "b", "\udcff", "", "\udcff"]
    assert first_places(Texts.of(names)).tolist() == [names.index(name) for name in names]


def test_repeats_counts_and_weights_are_those_of_the_records():
    records = odd_records(400, seed=1)
    columns = as_columns(records)
    segments = [record.segment for record in records]
    assert first_segments(columns).tolist() == [segments.index(own) for own in segments]
    single = [replace(record, labels=(1,), mask="") for record in records]
    once = [r for i, r in enumerate(single) if segments.index(r.segment) == i]
    assert 100 < len(once) < 300 and without_repeats(single) == once
    counts, totals = {}, {}
    for record in records:
        for label in record.labels:
            counts[label] = counts.get(label, 0) + 1
            totals[label] = totals.get(label, 0.0) + record.weight
    assert list(class_counts(records).items()) == list(counts.items())
    assert list(class_totals(records).items()) == list(totals.items())  # bit by bit
    background = max(sum(r.weight for r in records if not r.labels), *totals.values())
    rarest = [min((totals[label] for label in r.labels), default=background) for r in records]
    assert rarest_totals(records).tolist() == rarest


def test_the_split_takes_the_records_that_it_took_as_a_list():
    """As recorded before there were columns."""
    records = [VideoRecord(f"{i}.mp4", f"{i}.mp4", (i % 3,)) for i in range(20)]
    train, val = split_records(records, 0.25, seed=4)
    assert [record.name for record in val] == [
        "0.mp4",
        "9.mp4",
        "10.mp4",
        "16.mp4",
        "2.mp4",
        "14.mp4",
    ]
    assert [r.label for r in train] == sorted(r.label for r in train)
    with pytest.raises(DataError, match="list:3: c has 2 labels; this takes videos with one label"):
        split_records([records[0], VideoRecord("c", "c", (1, 2), "list:3")], 0.5, 0)


def plainly_read(line, separator, folder, source):
    """A line by the functions that read any line, or the message that it is refused with."""
    try:
        name, label = split_line(line, separator, source)
        return VideoRecord(listed_path(folder, name, source), name, (label,), source)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("separator", ["auto", ",", " ", "\t", ";", "--"])
def test_plain_lines_are_read_as_any_line_is(tmp_path, separator):
    rng = random.Random(separator)
    marks = [" ", ",", ";", "\t", ", ", " ;"] if separator == "auto" else [separator]
    refused, plain = 0, 0
    for number in range(250):
        name = odd_name(rng, ("/", ",", "\\", "//", '"')).replace("\udcff", "ÿ")
        if rng.random() < 0.8:
            name += rng.choice([".mp4", ".MP4", ".jpg", ".mp4 "])
        label = rng.choice(["3", "0", "-1", "12 ", "run", "1" * 19, '"2"', "٣"])
        line = f"{rng.choice(['', '', ' '])}{name}{rng.choice(marks)}{label}"
        path = tmp_path / "list.csv"
        path.write_text(f"\n{line}\r\n", encoding="utf-8", newline="")
        expected = plainly_read(line, separator, tmp_path, f"{path}:2")
        try:
            found = read_csv(path, separator=separator)[0]
        except DataError as error:
            # what a whole list is refused for is no matter of its lines
            assert str(error) == expected or "ends in two numbers" in str(error), (number, line)
            refused += 1
            continue
        assert found == expected, (number, line)
        plain += 1
    assert refused > 20 and plain > 40


def test_files_are_found_by_the_listings_of_their_folders(tmp_path, monkeypatch):
    """Links count where they lead to a file; what no listing tells is asked for one by one."""
    many, few = tmp_path / "many", tmp_path / "few"
    names = [f"é {i}.mp4" for i in range(12)]
    for folder, own in ((many, names), (few, names[:2])):
        folder.mkdir()
        for name in own:
            (folder / name).touch()
    (many / "link.mp4").symlink_to(many / names[0])
    (many / "dead.mp4").symlink_to(many / "absent")
    (many / "folder.mp4").mkdir()
    listed = [many / name for name in (*names, "link.mp4", "dead.mp4", "folder.mp4", "gone.mp4")]
    paths = [str(path) for path in (*listed, few / names[0], few / "gone.mp4")]
    there = [True] * 13 + [False] * 3
    assert listed_files(paths).tolist() == [*there, False, False]  # nothing is said of few
    records = [VideoRecord(path, os.path.basename(path), (0,), "list") for path in paths]
    asked = []
    own = check._exists
    monkeypatch.setattr(check, "_exists", lambda one: asked.append(one.path) or own(one))
    missing = check.missing_files(records)
    assert [*missing.items()] == [
        (13, f"{paths[13]} (a broken link)"),
        (14, f"{paths[14]} (a folder without frames)"),
        (15, paths[15]),
        (17, paths[17]),
    ]
    assert sorted(asked) == sorted(paths[13:])
