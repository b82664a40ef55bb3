import os

import pytest

from uniformer_video.data.lists import records as lists
from uniformer_video.data.lists.layouts import given_names
from uniformer_video.errors import DataError


def write(path, text, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, **options)
    return path


@pytest.mark.parametrize(
    ("line", "name", "label"),
    [
        ("a.mp4,3", "a.mp4", 3),
        ("a.mp4 3", "a.mp4", 3),
        ("a.mp4\t3", "a.mp4", 3),
        ("a.mp4, 3", "a.mp4", 3),
        ("my dir/a, b.mp4,3", "my dir/a, b.mp4", 3),
        ("my dir/a, b.mp4 3", "my dir/a, b.mp4", 3),
        ('"my, video.mp4",3', "my, video.mp4", 3),
        ('"a.mp4","3"', "a.mp4", 3),
        ("  ünï côde.mp4,0  ", "ünï côde.mp4", 0),
    ],
)
def test_the_last_separator_splits(tmp_path, line, name, label):
    (record,) = lists.read_csv(write(tmp_path / "train.csv", line + "\n", encoding="utf-8"))
    assert (record.name, record.label) == (name, label)
    assert record.path == str(tmp_path / name)


def test_bom_crlf_empty_lines_and_prefix(tmp_path):
    text = "\ufeffa.mp4,0\r\n\r\nsub/b.mp4,1\r\n"
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode())
    records = lists.read_csv(path, prefix=tmp_path / "videos")
    assert [r.path for r in records] == [
        str(tmp_path / "videos" / "a.mp4"),
        str(tmp_path / "videos" / "sub" / "b.mp4"),
    ]
    assert records[1].source == f"{path}:3"


def test_absolute_paths_stand_for_themselves(tmp_path):
    (record,) = lists.read_csv(write(tmp_path / "a" / "train.csv", "/data/x.mp4,0\n"))
    assert record.path == "/data/x.mp4"


def test_given_separator(tmp_path):
    (record,) = lists.read_csv(write(tmp_path / "t.csv", "a b.mp4;7\n"), separator=";")
    assert (record.name, record.label) == ("a b.mp4", 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4,0\nb.mp4\n", r"t\.csv:2.*expected a path and a whole-number label.*'b\.mp4'"),
        ("a.mp4,zero,1.5\n", r"t\.csv:1"),
        ("a.mp4,nan\n", r"t\.csv:1"),
        ("a.mp4,-1.0\n", r"t\.csv:1"),
        ("a.mp4,\n", r"t\.csv:1"),
        ("video,class\n", r"t\.csv:1.*or a header line"),
        (f"a.mp4,{'9' * 5000}\n", r"t\.csv:1"),
        ("a.mp4,1.5\n", r"t\.csv:1"),
        (",3\n", r"t\.csv:1"),
        ("7\n", r"t\.csv:1"),
        ("\n\n", "lists no videos"),
        ("", "lists no videos"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        lists.read_csv(write(tmp_path / "t.csv", text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="no file"):
        lists.read_csv(tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes("vidéo.mp4,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        lists.read_csv(tmp_path / "latin.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this platform")
def test_pipes_and_devices_are_no_lists(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    for read in (lists.read_csv, lists.read_class_names):
        with pytest.raises(DataError, match=r"t\.csv is a named pipe; it must be a text file"):
            read(tmp_path / "t.csv")
        with pytest.raises(DataError, match="/dev/zero is a device"):
            read("/dev/zero")
    os.rename(tmp_path / "t.csv", tmp_path / "classes.txt")
    with pytest.raises(DataError, match=r"classes\.txt is a named pipe"):
        given_names("", tmp_path)


def test_labels_outside_the_classes_are_named_with_their_line(tmp_path):
    records = lists.read_csv(write(tmp_path / "t.csv", "a.mp4,0\nb.mp4,5\n"))
    lists.check_labels(records, 6)
    with pytest.raises(DataError, match=r"t\.csv:2: label 5 .* outside 0\.\.4"):
        lists.check_labels(records, 5)
    with pytest.raises(DataError, match="label -1"):
        lists.check_labels(lists.read_csv(write(tmp_path / "n.csv", "a.mp4,-1\n")), 5)


def test_split_is_stratified_and_repeatable(tmp_path):
    counts = {"a": 10, "b": 5, "c": 2, "d": 1}
    records = [
        lists.VideoRecord(f"{name}/{i}.mp4", f"{name}/{i}.mp4", (label,))
        for label, (name, count) in enumerate(counts.items())
        for i in range(count)
    ]
    train, val = lists.split_records(records, 0.2, seed=3)
    assert sorted(r.path for r in train + val) == sorted(r.path for r in records)
    assert [sum(r.label == c for r in val) for c in range(4)] == [2, 1, 1, 0]
    assert (train, val) == lists.split_records(records, 0.2, seed=3)
    assert val != lists.split_records(records, 0.2, seed=4)[1]


def test_class_names(tmp_path):
    names = lists.read_class_names(write(tmp_path / "c.txt", "riding a bike\njump\n\n"))
    assert names == ["riding a bike", "jump"]
    for text, message in (("a\n\nb\n", "no empty line"), ("", "no empty"), ("a\na\n", "twice: a")):
        with pytest.raises(DataError, match=message):
            lists.read_class_names(write(tmp_path / "c.txt", text))


@pytest.mark.parametrize("name", ["rtsp://me:hunter2@camera/a.mp4", "https://h/a.mp4?key=hunter2"])
def test_a_list_opens_no_network(place, name):
    for text in (f"a.mp4,1\n{name},0\n", f"path,label\na.mp4,1\n{name},0\n"):
        path = place({"list.csv": text}) / "list.csv"
        number = len(text.splitlines())
        with pytest.raises(DataError, match=rf"list\.csv:{number}: .* is an address") as raised:
            lists.read_csv(path)
        assert "hunter2" not in str(raised.value)
    frames = place({"frames.txt": f"{name} 4 0\n"}) / "frames.txt"
    with pytest.raises(DataError, match="is an address"):
        lists.read_frame_list(frames, "{:05d}.jpg")
