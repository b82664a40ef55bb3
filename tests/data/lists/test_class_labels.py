"""Labels of lists: names in place of numbers, numbers that cannot be meant, and how lists are spelt."""

import codecs

import pytest

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_counts import (
    count_line,
    count_unnamed,
    note_absent_classes,
)
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.labels import number_classes
from uniformer_video.data.lists.records import (
    VideoRecord,
    check_labels,
    read_csv,
    read_frame_list,
)
from uniformer_video.data.lists.remap import remap_list
from uniformer_video.data.lists.sharded import read_shards
from uniformer_video.errors import DataError
from uniformer_video.prepare.shards import make_shards
from uniformer_video.runs.build_data import build_data


@pytest.fixture
def read(place):
    """A function: the records of a list with this text, or these bytes."""

    def from_text(text):
        root = place({"t.csv": None})
        (root / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_csv(root / "t.csv")

    return from_text


def record(*labels, name="a.mp4", line=1):
    return VideoRecord(f"/{name}", name, labels, f"t.csv:{line}")


def facts(records):
    return [(item.name, item.labels) for item in records]


# Names


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4,run\nb c.mp4,riding a bike\n",
        "a.mp4 run\nb c.mp4 riding a bike\n",
        'a.mp4;run\n"b c.mp4";"riding a bike"\n',
        "a.mp4\trun\r\nb c.mp4\triding a bike  \r\n",
        "path,label\na.mp4,run\nb c.mp4,riding a bike\n",
        'label;path\n"run";a.mp4\nriding a bike;b c.mp4',
    ],
)
def test_names_in_place_of_numbers(read, text):
    assert facts(read(text)) == [("a.mp4", ("run",)), ("b c.mp4", ("riding a bike",))]


def test_names_may_end_in_a_number(read):
    for text in (
        "a.mp4,take 2\n",
        'a.mp4,"take 2"\n',
        "a.mp4 take 2\n",
        "path,label\na.mp4,take 2\n",
    ):
        assert facts(read(text)) == [("a.mp4", ("take 2",))]


def test_names_that_begin_with_a_number(read, tmp_path):
    for text in ("path,label\na.mp4,100 m run\n", 'a.mp4,"100 m run"\n', 'a.mp4 "100 m run"\n'):
        assert facts(read(text)) == [("a.mp4", ("100 m run",))]
    for text in ("a.mp4,100 m run\n", "a.mp4 100 m run\n"):
        with pytest.raises(
            DataError, match=r'begins with a number; put it into .*"100 m run".*header'
        ):
            read(text)
    (tmp_path / "t.txt").write_text('f 40 "100 m run"\n')
    (frames,) = read_frame_list(tmp_path / "t.txt", "img_{:05d}.jpg")
    assert facts([frames]) == [("f", ("100 m run",))]


def test_names_with_separators_go_into_quotes(read):
    assert read('a.mp4,"up, and down"\n')[0].labels == ("up, and down",)
    for text in ("a.mp4,up, and down\n", "a.mp4,run;walk\n", "a.mp4,3,run\n", "a,b,run\n"):
        with pytest.raises(DataError, match=r"t\.csv:1: expected a path and a whole-number label"):
            read(text)


def test_names_count_in_the_order_given_or_sorted():
    records = [record("walk"), record("run")]
    found = number_classes(records)
    assert (found.class_names, [r.labels for r in found.records]) == (["run", "walk"], [(1,), (0,)])
    found = number_classes(records, ["walk", "fly", "run"])
    assert [r.labels for r in found.records] == [(0,), (2,)]
    with pytest.raises(DataError, match=r"t\.csv:1: a\.mp4 has the class 'walk'.*'walks'\?; mend"):
        number_classes(records, ["walks", "run"])


def test_numbers_and_names_do_not_mix():
    with pytest.raises(
        DataError, match=r"t\.csv:2: .* is the name 'run', and in t\.csv:1 the number 3"
    ):
        number_classes([record(3), record("run", line=2)])
    bare = [record(3), record()]
    assert number_classes(bare).records == bare and number_classes(bare).class_names is None


def test_several_names(read):
    cells = ("walk;run", "run | walk", "run", "")
    records = read("path,label\n" + "".join(f"a.mp4,{cell}\n" for cell in cells))
    found = number_classes(records)
    assert [r.labels for r in found.records] == [(0, 1), (0, 1), (0,), ()]
    blank = read('path,label\na.mp4,run walk\nb.mp4,run\nc.mp4,"walk, run"\nd.mp4,walk')
    assert [r.labels for r in number_classes(blank, ["walk", "run"]).records] == [
        (0, 1),
        (1,),
        (0, 1),
        (0,),
    ]
    with pytest.raises(
        DataError, match=r"t\.csv:2: 'run walk' could be one class or the classes run, walk"
    ):
        number_classes(blank)


def test_names_in_lists_of_frames(place):
    root = place({"t.txt": 'f 1 40 run\ng,12,riding a bike\nh 2 7 "take 2"\n'})
    found = read_frame_list(root / "t.txt", "img_{:05d}.jpg")
    assert [(r.name, r.num_frames, r.labels) for r in found] == [
        ("f 1", 40, ("run",)),
        ("g", 12, ("riding a bike",)),
        ("h 2", 7, ("take 2",)),
    ]
    (root / "t.txt").write_text("f 40 take 2 now\n")
    with pytest.raises(DataError, match=r"t\.txt:1: expected a folder"):
        read_frame_list(root / "t.txt", "img_{:05d}.jpg")


def test_names_are_kept_in_shards_and_not_remapped(place):
    root = place({"t.csv": "path,label\na.mp4,up;down\nb.mp4,a bike\n", "a.mp4": "a", "b.mp4": "b"})
    make_shards(root / "t.csv", root / "out", workers=1)
    assert facts(read_shards(root / "out")) == [("a.mp4", ("down", "up")), ("b.mp4", ("a bike",))]
    with pytest.raises(DataError, match=r"t\.csv:2: the label of a\.mp4 is the name 'down'"):
        remap_list(root / "t.csv", root / "new.csv", ["up", "down"], ["down", "up"])
    (root / "t.csv").write_text("a.mp4,1\nb.mp4,up\n")
    with pytest.raises(DataError, match=r"t\.csv:2: the label of b\.mp4 is the name 'up'"):
        make_shards(root / "t.csv", root / "other", workers=1)


@pytest.fixture
def lists(place):
    """A function: the `Data` of lists of six videos."""

    def data(train, val, *settings):
        root = place({f"{name}.mp4": None for name in "abcdef"})
        (root / "train.csv").write_text(train)
        (root / "val.csv").write_text(val)
        fixed = ["DATA.PATH_TO_DATA_DIR", str(root)]
        return build_data(load_config(overrides=[*fixed, *map(str, settings)]))

    return data


def test_all_lists_of_a_run_have_one_mapping(lists, tmp_path):
    train = "a.mp4,walk\nb.mp4,run\nc.mp4,jump\n"
    data = lists(train, "d.mp4,run\n")
    assert data.class_names == ["jump", "run", "walk"]
    assert [r.label for r in data.train] == [2, 1, 0]
    assert [r.label for r in data.val] == [r.label for r in data.test] == [1]
    with pytest.raises(
        DataError, match=r"split val are of the class 'fly', .*classes\.txt or DATA"
    ):
        lists(train, "d.mp4,fly\n")
    with pytest.raises(DataError, match="train videos have class names and the val list has bare"):
        lists(train, "d.mp4,1\n")
    with pytest.raises(DataError, match="val videos have class names and the train list has bare"):
        lists("a.mp4,0\nb.mp4,1\n", "d.mp4,run\n")
    (tmp_path / "classes.txt").write_text("walk\njump\nrun\n")
    assert [r.label for r in lists(train, "d.mp4,2\n").train] == [0, 2, 1]


# Numbers


def test_classes_that_never_occur_are_named():
    train = [record(0), record(3)]
    assert note_absent_classes({"train": train, "val": [record(3)]}, list("abcd")) == [
        "2 of the 4 classes never occur in the train list: b, c."
    ]
    lists = {"train": train, "val": [record(1)], "test": [record(1), record(2)]}
    assert note_absent_classes(lists, list("abcd"))[1:] == [
        "1 class with val videos and no train video: b.",
        "2 classes with test videos and no train video: b, c.",
    ]
    shifted = {"train": [record(1), record(2)]}
    assert note_absent_classes(shifted, stand_ins(3)) == [
        "1 of the 3 classes never occurs in the train list: class 0; labels count from 0, and these seem "
        "to count from 1."
    ]
    assert note_absent_classes({"test": shifted["train"]}, stand_ins(3)) != []
    assert note_absent_classes({"test": train}, list("abcd")) == []  # a test may show any
    with pytest.raises(
        DataError, match=r"label 2 of a\.mp4 is outside 0\.\.1; .* count from 1; mend"
    ):
        check_labels(shifted["train"], 2)


def test_a_label_far_beyond_the_videos_is_a_slip():
    assert count_unnamed({"train": [record(9_999)]}) == 10_000
    with pytest.raises(
        DataError, match=r"t\.csv:2: the label 10000 of a\.mp4 .*, of 2 videos; mend"
    ):
        count_unnamed({"train": [record(1)], "val": [record(10_000, line=2)]})
    assert count_unnamed({"train": [record(10_000)] * 10_001}) == 10_001


def test_a_name_of_two_lines_is_shown_on_one():
    names = ["go\nfar", "turn\r\nback"]
    assert count_line("val", [record(0)], names).endswith("classes: go far (1); none of turn back")
    notes = note_absent_classes({"train": [record(0)]}, names)
    assert notes == ["1 of the 2 classes never occurs in the train list: turn back."]


def test_the_line_of_counts():
    lines = [record(0), record(2), record(2)]
    assert (
        count_line("val", lines, list("abc"))
        == "val: 3 videos of 2 of 3 classes: a (1), c (2); none of b"
    )
    many = [record(label) for label in range(100) for _ in range(1 + (label == 7))]
    assert count_line("train", many, [f"n{i}" for i in range(100)]) == (
        "train: 101 videos of 100 classes: n0 (1), n1 (1), n2 (1), n3 (1), n4 (1) ... n96 (1), n97 (1), "
        "n98 (1), n99 (1), n7 (2); 90 more between"
    )


def test_other_labels_in_another_list_are_told_once(lists):
    data = lists("a.mp4,0\nb.mp4,1\n", "a.mp4,1\nb.mp4,1\nc.mp4,0\n")
    (note,) = [note for note in data.notes if "different labels" in note]
    assert note.startswith("1 video of train and val with different labels, such as a.mp4: 0 in ")
    assert "train.csv:1, 1 in " in note and note.endswith("val.csv:1.")


# How lists are spelt


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF16_LE + "a.mp4\t3\r\nb.mp4\t4\r\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "path\tlabel\r\na.mp4\t3\r\nb.mp4\t4".encode("utf-16-be"),
        codecs.BOM_UTF8 + b'"a.mp4";3 \r\n"b.mp4";"4"\r\n',
        b"a.mp4 ,3\t\rb.mp4,\t4\r",
    ],
)
def test_what_spreadsheets_write(read, data):
    assert facts(read(data)) == [("a.mp4", (3,)), ("b.mp4", (4,))]


def test_text_of_another_kind_is_refused(read):
    for data in ("a.mp4,3\n".encode("utf-16-le"), b"a.mp4\0,3\n"):
        with pytest.raises(DataError, match=r"t\.csv is not plain text; save it as UTF-8"):
            read(data)


def test_separators_of_windows(lists, tmp_path, place):
    place({"clips/x.mp4": None})
    data = lists("clips\\x.mp4,0\n.\\b.mp4,1\n", "c.mp4,0\n")
    assert [r.path for r in data.train] == [str(tmp_path / "clips/x.mp4"), str(tmp_path / "b.mp4")]
    assert [r.name for r in data.train] == ["clips\\x.mp4", ".\\b.mp4"]
    place({"odd\\name.mp4": None})  # here a name like any other
    assert lists("odd\\name.mp4,0\nb.mp4,1\n", "c.mp4,0\n").train[0].path.endswith("odd\\name.mp4")
    with pytest.raises(
        DataError, match=r"C:\\clips\\x\.mp4 \(a path as on Windows; with / in place"
    ):
        lists("C:\\clips\\x.mp4,0\nC:\\clips\\y.mp4,1\n", "c.mp4,0\n")
    (tmp_path / "t.txt").write_text("frames\\f 2 0\n")
    (tmp_path / "frames" / "f").mkdir(parents=True)
    (found,) = read_frame_list(tmp_path / "t.txt", "{}.jpg")
    assert found.path == str(tmp_path / "frames" / "f" / "{}.jpg")
