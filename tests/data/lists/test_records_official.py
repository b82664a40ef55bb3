"""Official annotations read as they come: the right videos, in the right part, with the right class."""

import json

import pytest

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.lists.official import read_official
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.runs.build_data import build_data


def data_of(root, kind, *settings):
    fixed = ["DATA.PATH_TO_DATA_DIR", root, "TRAIN.DATASET", kind, *settings]
    return build_data(load_config(overrides=[str(part) for part in fixed]))


def facts(root, records):
    return [(r.name, r.label, r.path == str(root / "videos" / r.name)) for r in records]


def something(place, train=None, **changes):
    names = class_names("ssv2")
    template = names[5].replace("something", "[something]")
    train = train or [{"id": "12", "label": "bending a spoon", "template": template}]
    val = [{"id": 7, "template": names[0]}, {"id": "8", "template": names[173]}]
    files = {
        "labels/train.json": json.dumps(train),
        "labels/validation.json": json.dumps(val),
        "labels/labels.json": json.dumps({name: str(i) for i, name in enumerate(names)}),
        "videos/12.webm": None,
        "videos/7.mp4": None,
        "videos/7.webm": None,
        "videos/8.mp4": None,
        "videos/8.txt": None,
    }
    return place(files | changes)


def test_something_something(place):
    root = something(place)
    data = data_of(root, "ssv2-json")
    assert facts(root, data.train) == [("12.webm", 5, True)]
    assert facts(root, data.val) == [("7.webm", 0, True), ("8.mp4", 173, True)]
    assert data.test == data.val
    assert data.class_names == class_names("ssv2")
    overlap, absent, unseen, *missing = data.notes
    assert overlap == "2 of 2 test videos are val videos too."
    assert absent.startswith("173 of the 174 classes never occur in the train list: Approaching ")
    assert unseen.startswith("2 classes with val and test videos and no train video: Approaching ")
    assert all("published" in note and "of ssv2" in note for note in missing) and len(missing) == 3


def test_videos_that_are_not_there_are_counted_and_named(place):
    entries = [{"id": str(i), "template": class_names("ssv2")[3]} for i in (12, 99, 100)]
    root = something(place, entries)
    data = data_of(root, "ssv2-json", "DATA.MAX_BAD_RATIO", 0.7)
    assert [r.name for r in data.train] == ["12.webm", "99.webm", "100.webm"]
    assert data.notes[0].startswith("2 of 3 train videos do not exist: ")
    assert str(root / "videos" / "99.webm") in data.notes[0]
    with pytest.raises(DataError, match=r"none of the 3 train videos exist.*DATA\.PATH_PREFIX"):
        data_of(root, "ssv2-json", "DATA.PATH_PREFIX", root / "labels")


def test_videos_elsewhere(place, tmp_path):
    root = something(place, **{"disk/12.webm": None, "disk/7.webm": None, "disk/8.webm": None})
    data = data_of(root, "ssv2-json", "DATA.PATH_PREFIX", tmp_path / "disk")
    assert data.train[0].path == str(tmp_path / "disk" / "12.webm")


def test_other_orders_of_the_same_names_are_mapped_and_other_names_refused(place):
    names = class_names("ssv2")
    root = something(place, **{"classes.txt": "\n".join(reversed(names))})
    data = data_of(root, "ssv2-json")
    assert (data.train[0].label, data.class_names) == (173 - 5, names[::-1])
    with pytest.raises(DataError, match=r"not those of ssv2:\n  only in the names given"):
        data_of(root, "ssv2-json", "DATA.CLASS_NAMES", "ucf101")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels/train.json": "[{"}, r"train\.json is no json"),
        ({"labels/train.json": "{}"}, r"train\.json holds no list"),
        ({"labels/train.json": "[]"}, "names no videos"),
        ({"labels/train.json": '[{"id": "1"}]'}, r"train\.json, entry 0: there is no id or"),
        ({"labels/train.json": '["1"]'}, "entry 0: there is no id or no template"),
        (
            {
                "labels/train.json": '[{"id": "1", "template": "Bendin [something] so that it deforms"}]'
            },
            r"is no class of ssv2; did they mean 'Bending something so that it deforms'\?",
        ),
        (
            {"labels/labels.json": json.dumps({class_names("ssv2")[1]: "0"})},
            r"labels\.json numbers 'Attaching something to something' 0, .* it is 1",
        ),
    ],
)
def test_annotations_that_cannot_be_read(place, changes, message):
    root = something(place, **changes)
    with pytest.raises(DataError, match=message):
        data_of(root, "ssv2-json")


def test_annotations_that_are_not_there(place, tmp_path):
    place({"videos/1.webm": None})
    for kind, name in (("ssv2-json", "train.json"), ("ucf101", "classInd.txt")):
        with pytest.raises(DataError, match=rf"holds no {name}.*nor do annotations"):
            data_of(tmp_path, kind)
    with pytest.raises(DataError, match=r"brush_hair_test_split1\.txt"):
        data_of(tmp_path, "hmdb51")
    with pytest.raises(DataError, match="is not a folder"):
        data_of(tmp_path / "absent", "hmdb51")


def ucf(place):
    names = class_names("ucf101")
    files = {
        "ucfTrainTestlist/classInd.txt": "\r\n".join(f"{i} {n}" for i, n in enumerate(names, 1)),
        "videos/Archery/v_Archery_g01_c01.avi": None,
        "videos/Archery/v_Archery_g02_c01.mp4": None,
        "videos/v_Basketball_g01_c01.avi": None,
    }
    for split in (1, 2, 3):
        train = f"Archery/v_Archery_g0{split}_c01.avi {names.index('Archery') + 1}\r\n"
        files[f"ucfTrainTestlist/trainlist0{split}.txt"] = train
        files[f"ucfTrainTestlist/testlist0{split}.txt"] = "Basketball/v_Basketball_g01_c01.avi\n\n"
    return place(files)


def test_ucf101(place):
    root, label = ucf(place), class_names("ucf101").index
    data = data_of(root, "ucf101")
    assert facts(root, data.train) == [("Archery/v_Archery_g01_c01.avi", label("Archery"), True)]
    assert facts(root, data.test) == [("v_Basketball_g01_c01.avi", label("Basketball"), True)]
    assert data.class_names == class_names("ucf101")
    second = data_of(root, "ucf101", "DATA.SPLIT_NUMBER", 2)
    assert [r.name for r in second.train] == ["Archery/v_Archery_g02_c01.mp4"]
    with pytest.raises(DataError, match="none of the 1 train videos exist"):
        data_of(root, "ucf101", "DATA.SPLIT_NUMBER", 3)
    with pytest.raises(ConfigError, match=r"DATA\.SPLIT_NUMBER is 4; allowed: 1, 2, 3"):
        data_of(root, "ucf101", "DATA.SPLIT_NUMBER", 4)


def test_hmdb51(place):
    names = class_names("hmdb51")
    files = {f"annotations/{name}_test_split2.txt": "" for name in names}
    files["annotations/cartwheel_test_split2.txt"] = "a (x).avi 1 \r\nb.avi 2 \nc.avi 0 \n"
    files["annotations/chew_test_split2.txt"] = "b.avi 1\n"
    root = place(files | {f"videos/{name}.avi": None for name in ("chew/b", "cartwheel/a (x)")})
    place({"videos/cartwheel/b.avi": None})
    data = data_of(root, "hmdb51", "DATA.SPLIT_NUMBER", 2)
    cartwheel, chew = names.index("cartwheel"), names.index("chew")
    assert facts(root, data.train) == [
        ("cartwheel/a (x).avi", cartwheel, True),
        ("chew/b.avi", chew, True),
    ]
    assert facts(root, data.val) == [("cartwheel/b.avi", cartwheel, True)]
    with pytest.raises(DataError, match="names no videos"):
        place({f"annotations/{name}_test_split2.txt": "" for name in names})
        read_official("hmdb51", root, root / "videos", "train", 2)
