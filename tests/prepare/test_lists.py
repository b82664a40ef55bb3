"""Lists of each dataset from annotations in their official form, and what they say of what is missing."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.lists.records import read_class_names, read_csv, read_frame_list
from uniformer_video.errors import DataError
from uniformer_video.prepare.lists import make_lists
from uniformer_video.runs.build_data import build_data

ROOT = Path(__file__).parents[2]
HEADER = "label,youtube_id,time_start,time_end,split\n"


def read(path):
    reader = read_csv if path.suffix == ".csv" else (lambda p: read_frame_list(p, "{:05d}.jpg"))
    return [(record.name, record.num_frames, record.label) for record in reader(path)]


def build(place, dataset, **options):
    source = {"videos": place({}) / "videos"} if "frames" not in options else {}
    return make_lists(dataset, place({}) / "annotations", place({}), **source, **options)


def kinetics(place, train, val="", kind="csv"):
    place({f"annotations/train.{kind}": train, f"annotations/val.{kind}": val})


VAL = HEADER + "yoga,ddd,100,110,val\n"
YOGA, ZUMBA = class_names("k400").index("yoga"), class_names("k400").index("zumba")


@pytest.mark.parametrize("dataset", ["k400", "k600"])
def test_kinetics_csv(place, dataset):
    label = class_names(dataset).index
    rows = "\ufeff" + HEADER + 'zumba,-dash_id___,1,11,train\r\n"abseiling","b b",20.0,30.0,train\n'
    rows += "yoga,gone,3,13,train\nyoga,plain,3,13,train\nzumba,-dash_id___,1,11,train\n"
    kinetics(place, rows, VAL)
    files = ("train/-dash_id____000001_000011.mp4", "train/abseiling/b b_000020_000030.mkv")
    files += ("train/plain.mp4", "val/ddd_000100_000110.webm", "val/unused.mp4")
    place(dict.fromkeys((f"videos/{file}" for file in files), ""))
    train, val = build(place, dataset)
    assert (train.file, train.videos, train.repeated) == ("train.csv", 3, 1)
    assert [name for name, _ in train.missing] == ["gone_000003_000013"]
    assert (val.file, val.videos, val.missing) == ("val.csv", 1, [])
    assert read(place({}) / "train.csv") == [
        ("videos/train/-dash_id____000001_000011.mp4", 0, label("zumba")),
        ("videos/train/abseiling/b b_000020_000030.mkv", 0, label("abseiling")),
        ("videos/train/plain.mp4", 0, label("yoga")),
    ]
    assert read_class_names(place({}) / "classes.txt") == class_names(dataset)
    with open(place({}) / "missing.csv", newline="") as file:
        header, row = csv.reader(file)
    assert header == ["list", "video", "reason"]
    assert row[:2] == ["train.csv", "gone_000003_000013"]
    assert row[2] == f"is not there ({place({}) / 'annotations/train.csv'}:4)"

    place({"videos/train/gone_000003_000013.mp4": ""})
    assert [summary.videos for summary in build(place, dataset)] == [4, 1]
    assert not (place({}) / "missing.csv").exists()


def test_kinetics_json_and_the_test_part(place):
    def entry(label, start):
        return {"annotations": {"label": label, "segment": [start, start + 10.0]}, "subset": "x"}

    place({f"videos/{name}_000005_000015.mp4": "" for name in "abc"})
    place(
        {
            "annotations/train.json": json.dumps({"a": entry("yoga", 5.0)}),
            "annotations/validate.json": json.dumps({"b": entry("zumba", 5.0)}),
            "annotations/test.csv": HEADER + "yoga,c,5,15,test\n",
        }
    )
    assert [summary.file for summary in build(place, "k400")] == ["train.csv", "val.csv"]
    files = [summary.file for summary in build(place, "k400", with_test=True)]
    assert files == ["train.csv", "val.csv", "test.csv"]
    assert read(place({}) / "val.csv") == [("videos/b_000005_000015.mp4", 0, ZUMBA)]
    assert read(place({}) / "test.csv") == [("videos/c_000005_000015.mp4", 0, YOGA)]


def test_videos_elsewhere_are_listed_by_their_whole_path(place, tmp_path):
    kinetics(place, HEADER + "yoga,a,0,10,train\n", VAL)
    names = ('a, "b", ü/a_000000_000010.mp4', " blank /ddd_000100_000110.mp4")
    place({f"videos/{name}": "" for name in names})
    out = tmp_path / "lists"
    make_lists("k400", tmp_path / "annotations", out, videos=tmp_path / "videos")
    for file, name in zip(("train.csv", "val.csv"), names, strict=True):
        assert [row[0] for row in read(out / file)] == [str(tmp_path / "videos" / name)]


def test_of_two_videos_of_a_name_the_one_of_the_part_is_meant(place):
    kinetics(place, HEADER + "yoga,a,0,10,train\n", VAL)
    name = "a_000000_000010.mp4"
    place({f"videos/{f}": "" for f in (f"train/{name}", f"other/{name}", "ddd_000100_000110.mp4")})
    build(place, "k400")
    assert read(place({}) / "train.csv") == [(f"videos/train/{name}", 0, YOGA)]
    place({f"videos/train/more/{name}": ""})
    with pytest.raises(DataError, match=r"have the same name, and .*train.csv:2 could mean each"):
        build(place, "k400")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            HEADER + "yogha,ddd,100,110,train\n",
            r"train\.csv:2: 'yogha' is no class of k400; .*'yoga'",
        ),
        (HEADER + "yoga,ddd,x,110,train\n", r"train\.csv:2: 'x' is no time in seconds"),
        (HEADER + "yoga,ddd\n", r"train\.csv:2: the line is too short"),
        ("label,id\nyoga,a\n", "has no column 'youtube_id'"),
        ("", "has no column 'youtube_id'"),
        (HEADER, "none of the 0 videos"),
        (
            HEADER + "yoga,x,1,2,train\n",
            r"none of the 1 videos that train\.csv would list, such as x_",
        ),
        (HEADER + "yoga,ddd,100,110,\nzumba,ddd,100,110,\n", "was given another class before"),
    ],
)
def test_annotations_that_cannot_be_right(place, train, message):
    kinetics(place, train, VAL)
    place({"videos/ddd_000100_000110.mp4": ""})
    with pytest.raises(DataError, match=message):
        build(place, "k400")
    assert not (place({}) / "train.csv").exists()


def test_annotations_and_videos_that_are_not_there(place):
    kinetics(place, HEADER, VAL)
    with pytest.raises(DataError, match=r"videos does not exist"):
        build(place, "k400")
    (place({}) / "videos").mkdir()
    with pytest.raises(DataError, match=r"videos holds no videos"):
        build(place, "k400")
    (place({}) / "annotations" / "val.csv").unlink()
    with pytest.raises(DataError, match=r"annotations holds no val\.csv or validate\.csv or"):
        build(place, "k400")
    with pytest.raises(DataError, match="is not a folder"):
        make_lists("k400", place({}) / "none", place({}), videos=place({}))
    place({"annotations/train.json": "[1", "annotations/labels.json": "{}"})
    (place({}) / "annotations" / "train.csv").unlink()
    place({"annotations/val.csv": VAL})
    with pytest.raises(DataError, match=r"train\.json is no json"):
        build(place, "k400")
    place({"annotations/train.json": "[]"})
    with pytest.raises(DataError, match="holds no table"):
        build(place, "k400")


@pytest.mark.parametrize("source", [{}, {"videos": ""}, {"frames": ""}])
def test_no_folder_to_list(place, source):
    kinetics(place, HEADER, VAL)
    with pytest.raises(DataError, match=r"--videos.*--frames"):
        make_lists("k400", place({}) / "annotations", place({}), **source)


NAME = "Approaching something with your camera"


def ssv2(place, labels=None):
    place(
        {
            "annotations/labels.json": json.dumps(labels or {NAME: "0"}),
            "annotations/train.json": json.dumps(
                [
                    {"id": "7", "template": NAME.replace("something", "[something]")},
                    {"id": "8", "template": "[Something] falling like a rock"},
                ]
            ),
            "annotations/validation.json": json.dumps([{"id": 9, "template": NAME}]),
        }
    )


def test_the_second_something_something_from_videos(place):
    ssv2(place)
    place({"videos/7.webm": "", "videos/9.webm": ""})
    train, val = build(place, "ssv2")
    assert ([name for name, _ in train.missing], val.missing) == (["8"], [])
    assert read(place({}) / "train.csv") == [("videos/7.webm", 0, 0)]
    assert read(place({}) / "val.csv") == [("videos/9.webm", 0, 0)]
    ssv2(place, labels={NAME: "3"})
    with pytest.raises(
        DataError, match=r"labels\.json numbers 'Approaching .*' 3, and in the usual"
    ):
        build(place, "ssv2")


def frames(folder, *numbers, template="img_{:05d}.jpg"):
    folder.mkdir(parents=True)
    for number in numbers:
        Image.new("RGB", (8, 8)).save(folder / template.format(number))


def test_the_second_something_something_from_frames(place, tmp_path):
    ssv2(place)
    frames(tmp_path / "frames/7", 1, 2, 3)
    frames(tmp_path / "frames/8", 1, 3)
    frames(tmp_path / "frames/deep/9", 0, 1)
    (tmp_path / "frames/7/notes.txt").touch()
    train, val = build(place, "ssv2", frames=tmp_path / "frames")
    assert train.file == "somesomev2_rgb_train_split.txt"
    assert [(name, reason.split(" (")[0]) for name, reason in train.missing] == [
        ("8", "lacks img_00002.jpg")
    ]
    assert read(tmp_path / train.file) == [("frames/7", 3, 0)]
    assert read(tmp_path / val.file) == [("frames/deep/9", 2, 0)]
    config = load_config(
        ROOT / "configs/ssv2/uniformer_s_16_k400.yaml", ["DATA.PATH_TO_DATA_DIR", str(tmp_path)]
    )
    data = build_data(config)
    assert (len(data.train), len(data.test)) == (1, 1)
    assert data.class_names == class_names("ssv2")
    with pytest.raises(DataError, match=r"no folder with pictures named \{:05d\}\.png"):
        build(place, "ssv2", frames=tmp_path / "frames", template="{:05d}.png")
    with pytest.raises(DataError, match="a name with one number"):
        build(place, "ssv2", frames=tmp_path / "frames", template="img.png")


def test_the_first_something_something(place, tmp_path):
    table = "annotations/something-something-v1-{}.csv"
    place(
        {
            table.format("train"): "7;Attaching something to something\n\n",
            table.format("validation"): "9;Attaching something to something\r\n",
        }
    )
    for name in ("7", "9"):
        frames(tmp_path / "frames" / name, 1, 2, template="{:05d}.jpg")
    train, val = build(place, "ssv1", frames=tmp_path / "frames")
    assert train.file == "somesomev1_rgb_train_split.txt"
    assert read(tmp_path / train.file) == [("frames/7", 2, 1)]
    assert read(tmp_path / val.file) == [("frames/9", 2, 1)]
    place({table.format("train"): "7,Attaching something to something\n"})
    with pytest.raises(DataError, match=r"train\.csv:1: expected `id;class`"):
        build(place, "ssv1", frames=tmp_path / "frames")


def test_ucf101(place):
    names = class_names("ucf101")
    train, test = "Archery/v_Archery_g08_c01.avi", "HandstandPushups/v_HandStandPushups_g01_c02.avi"
    place(
        {
            "annotations/classInd.txt": "".join(f"{i} {n}\r\n" for i, n in enumerate(names, 1)),
            "annotations/trainlist02.txt": f"{train} 3\r\n",
            "annotations/testlist02.txt": f"{test}\n\n",
            f"videos/UCF-101/{train}": "",
            f"videos/UCF-101/{test}": "",
        }
    )
    build(place, "ucf101", split=2)
    assert read(place({}) / "train.csv") == [(f"videos/UCF-101/{train}", 0, 2)]
    label = [name.lower() for name in names].index("handstandpushups")
    assert read(place({}) / "val.csv") == [(f"videos/UCF-101/{test}", 0, label)]
    place({"annotations/classInd.txt": "2 Archery\n"})
    with pytest.raises(DataError, match=r"classInd\.txt:1 numbers 'Archery' 2, and .* is 3"):
        build(place, "ucf101", split=2)


def test_hmdb51(place, tmp_path):
    place({f"annotations/{name}_test_split1.txt": "" for name in class_names("hmdb51")})
    rows = "a b.avi 1 \n#c.avi 2 \nd.avi 0 \ne.avi 1\n"
    place({"annotations/cartwheel_test_split1.txt": rows})
    for name in ("cartwheel/a b", "cartwheel/#c", "cartwheel/d", "chew/#c"):
        frames(tmp_path / "frames" / name, 1)
    train, val = build(place, "hmdb51", frames=tmp_path / "frames")
    assert (train.file, val.file) == ("train.txt", "val.txt")
    assert read(tmp_path / "train.txt") == [("frames/cartwheel/a b", 1, 1)]
    assert read(tmp_path / "val.txt") == [("frames/cartwheel/#c", 1, 1)]
    assert [name for name, _ in train.missing] == ["e"]
    place({"annotations/cartwheel_test_split1.txt": "a.avi 3\n"})
    with pytest.raises(DataError, match="expected a video and 0, 1 or 2"):
        build(place, "hmdb51", frames=tmp_path / "frames")
