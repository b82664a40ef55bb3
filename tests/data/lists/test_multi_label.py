"""Videos with several labels or none: what a list may say, and what stands in a batch."""

from functools import partial

import numpy as np
import pytest
import torch
from clips import augmentation

from uniformer_video.data.lists import records as lists
from uniformer_video.data.lists.check import check_list
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.lists.remap import remap_list
from uniformer_video.data.loading.dataset import TrainDataset, TrainKey
from uniformer_video.data.loading.loader import collate_train
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DataError
from uniformer_video.tasks.multi_label import MultiLabel


def read(tmp_path, text, **options):
    (tmp_path / "t.csv").write_text(text)
    return lists.read_csv(tmp_path / "t.csv", **options)


def video(labels, name="a.mp4", source="t.csv:2"):
    return VideoRecord(f"/{name}", name, labels, source)


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("3", (3,)),
        ("3 17", (3, 17)),
        ("17;3", (3, 17)),
        ("17 | 3|5", (3, 5, 17)),
        ('"3,17"', (3, 17)),
        ('" 3, 17 "', (3, 17)),
        ("3 3;3", (3,)),
        ("", ()),
    ],
)
def test_a_cell_of_labels(tmp_path, cell, labels):
    (record,) = read(tmp_path, f"path,label\na.mp4,{cell}\n")
    assert record.labels == labels


def test_a_separator_of_columns_is_one_of_labels_in_quotes(tmp_path):
    text = 'label;path;start\n3|17;a.mp4;\n"3;17";b.mp4;2\n;c.mp4;\n'
    assert [record.labels for record in read(tmp_path, text)] == [(3, 17), (3, 17), ()]
    (record,) = read(tmp_path, "path|label\na.mp4|3 17\n", separator="|")
    assert record.labels == (3, 17)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.mp4,3;walk\n", r"t\.csv:2: the label is '3;walk'.*or several with blanks"),
        ("path,label\na.mp4,3-17\n", r"t\.csv:2: the label is '3-17'"),
        ("path,label\na.mp4,[3 17]\n", r"the label is '\[3 17\]'"),
        ("path,label\na.mp4,;\n", r"t\.csv:2: the label is ';'"),
        ("path,label\na.mp4,3,17\n", r"t\.csv:2: 3 cells below a header of 2.*quotes"),
        ("a.mp4,3 17\n", r"t\.csv:1: 'a\.mp4,3 17' ends in two numbers.*header line, `path,label`"),
    ],
)
def test_labels_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_lists_without_a_header_have_one_label(tmp_path):
    records = read(tmp_path, "a.mp4,3\nb c 1.mp4 17\n7 4\n")
    assert [(record.name, record.labels) for record in records] == [
        ("a.mp4", (3,)),
        ("b c 1.mp4", (17,)),
        ("7", (4,)),
    ]


def test_the_one_label_of_a_video(tmp_path):
    assert video((4,)).label == 4
    for labels, count in (((), "no"), ((1, 2), "2")):
        with pytest.raises(DataError, match=rf"t\.csv:2: a\.mp4 has {count} labels"):
            _ = video(labels).label


def test_every_label_lies_inside_the_classes():
    lists.check_labels([video((0, 4)), video(())], 5)
    with pytest.raises(DataError, match=r"t\.csv:2: label 5 of a\.mp4 is outside 0\.\.4"):
        lists.check_labels([video((0, 5))], 5)


def test_the_table_of_labels():
    table = lists.label_table([video((0, 2)), video(()), video((1,))], 4)
    assert table.dtype == bool
    assert table.astype(int).tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_all_labels_of_a_segment_stand_in_one_line(tmp_path):
    records = read(tmp_path, "path,label\na.mp4,3 4\na.mp4,4 3\n")
    assert lists.without_repeats(records) == records[:1]
    (tmp_path / "a.mp4").write_bytes(b"x")
    split = read(tmp_path, "path,label\na.mp4,3\na.mp4,\n")
    message = (
        r"t\.csv:3: a\.mp4 has label none, and in .*t\.csv:2 label 3; .* put all of them into one"
    )
    with pytest.raises(DataError, match=message):
        check_list("train", split)
    with pytest.raises(DataError, match="keep one of the lines"):
        check_list("train", [video((1,)), video((2,))])


def test_the_digest_of_one_label_is_as_ever_and_that_of_several_differs(tmp_path):
    one = read(tmp_path, "path,label,start,weight\na.mp4,3,1,2\nb.mp4,17,,\n")
    known = "4519819933c3b3c887cd5c437ca3d82020d2149a2b9929a0c5084027c6a9df8e"
    assert lists.list_digest(one) == known
    cells = ("3", "3 17", "17 3", "", "3 1 7")
    digests = [
        lists.list_digest(read(tmp_path, f"path,label\na.mp4,{cell}\nb.mp4,1\n")) for cell in cells
    ]
    assert digests[1] == digests[2] and len(set(digests)) == 4


def test_labels_in_another_order(tmp_path):
    assert lists.relabelled([video((0, 2))], [5, 1, 3])[0].labels == (3, 5)
    assert lists.relabelled([video(())], [1, 0])[0].labels == ()
    order = [4, 2, 0, 3, 1]
    labels = [(0, 1, 4), (), (2,), (1, 3), (0, 1, 2, 3, 4), ()]
    found = lists.relabelled([video(own) for own in labels], order)
    assert [r.labels for r in found] == [tuple(sorted(order[one] for one in own)) for own in labels]
    source = tmp_path / "a.csv"
    source.write_text('label,path\n0; 1 2,a.mp4\n,b.mp4\n"2,0","c,d.mp4"\n1|1,e.mp4\n')
    names = ["u", "v", "w"]
    assert remap_list(source, tmp_path / "b.csv", names, ["v", "u", "w"]) == (4, 4)
    assert (tmp_path / "b.csv").read_text() == (
        'label,path\n1; 0 2,a.mp4\n,b.mp4\n"2,1","c,d.mp4"\n0|0,e.mp4\n'
    )
    with pytest.raises(DataError, match=r"a\.csv:2: label 2 of a\.mp4 is outside 0\.\.1"):
        remap_list(source, tmp_path / "c.csv", names[:2], names[:2])


def test_batches_hold_multi_hot_rows(make_video):
    path = str(make_video("a.mp4", frames=12))
    items = [VideoRecord(path, "a", labels) for labels in ((0, 3), (), (2,))]
    augment = augmentation(32, flip=True, flip_labels=((0, 1), (1, 0)), area=None)
    rows = partial(MultiLabel().label_tensor, num_classes=5)
    dataset = TrainDataset(items, ClipSampling(2, 2), augment, 0, copies=4, label_tensor=rows)
    batch = collate_train([dataset[TrainKey(0, index, index)] for index in range(3)])
    assert batch.clips.shape == (12, 3, 2, 32, 32)
    assert batch.labels.dtype == torch.float32 and batch.labels.shape == (12, 5)
    rows = {tuple(np.flatnonzero(row)) for row in batch.labels[:4].numpy()}
    assert rows == {(0, 3), (1, 3)}  # as it is, and mirrored
    assert batch.labels[4:8].sum() == 0
    assert batch.labels[8:].tolist() == [[0, 0, 1, 0, 0]] * 4
