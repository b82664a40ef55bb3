"""Whatever holds videos is found out: every format of lists, and videos without labels."""

import json
import shutil

import pytest
from PIL import Image
from shard_files import shards_of

import uniformer_video as uv
from uniformer_video.advice.source import find_source
from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.lists.formats import list_formats
from uniformer_video.errors import DataError
from uniformer_video.prepare.frames import Pictures, extract_video
from uniformer_video.runs.build_data import build_data


@pytest.fixture
def write(tmp_path, film):
    """A function that writes texts and copies of a video below `data`; its path."""

    def make(texts, videos=()):
        root = tmp_path / "data"
        for name, text in texts.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        for name in videos:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(film, root / name)
        return root

    return make


def kinetics(write):
    return write({"train.csv": "a.mp4,0\nb.mp4,1\n", "val.csv": "a.mp4,0\n"}, ["a.mp4", "b.mp4"])


def folder(write):
    return write({}, [f"{name}/{n}.mp4" for name in ("run", "walk") for n in range(2)])


def frames(write):
    root = write({}, ["film.mp4"])
    extract_video((root / "film.mp4", root / "a"), Pictures("img_{:05d}.jpg"))
    shutil.copytree(root / "a", root / "b")
    (root / "film.mp4").unlink()
    write({"my_train.txt": "a 30 0\nb 30 1\n", "my_val.txt": "a 30 0\n"})
    return root


def shards(write):
    root = kinetics(write)
    shards_of(root, root / "shards")
    return root / "shards"


def ssv2(write):
    camera = "Approaching [something] with your camera"
    train = [{"id": name, "template": camera} for name in ("7", "8")]
    train[1]["template"] = "Attaching [something] to [something]"
    texts = {"train.json": json.dumps(train), "validation.json": json.dumps(train[:1])}
    return write(texts, ["videos/7.webm", "videos/8.webm"])


def ucf101(write):
    names = class_names("ucf101")
    one, other = "Archery/v_Archery_g08_c01.avi", "ApplyLipstick/v_ApplyLipstick_g01_c02.avi"
    texts = {
        "classInd.txt": "".join(f"{i} {n}\n" for i, n in enumerate(names, start=1)),
        "trainlist01.txt": f"{one} 3\n{other} 2\n",
        "testlist01.txt": f"{other}\n",
    }
    return write(texts, [f"videos/{one}", f"videos/{other}"])


def hmdb51(write):
    texts = {f"{name}_test_split1.txt": "" for name in class_names("hmdb51")}
    texts["cartwheel_test_split1.txt"] = "a.avi 1 \nb.avi 2 \n"
    texts["clap_test_split1.txt"] = "c.avi 1 \n"
    return write(texts, ["videos/cartwheel/a.avi", "videos/cartwheel/b.avi", "videos/clap/c.avi"])


FORMATS = {
    "kinetics": kinetics,
    "folder": folder,
    "frames": frames,
    "shards": shards,
    "ssv2-json": ssv2,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
}


def test_all_formats_are_tried():
    assert {known.name for known in list_formats() if known.medium == "video"} == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_found_out(name, write):
    """And what it says names the data to a run."""
    source = find_source(str(FORMATS[name](write)), {})
    assert source.format == name
    assert len(source.class_names) >= 2 and source.splits["train"] and source.splits["val"]
    words = [word for pair in source.settings.items() for word in map(str, pair)]
    data = build_data(load_config("finetune/tiny", words))
    assert [record.path for record in data.train] == [r.path for r in source.splits["train"]]


def test_somebodys_own_format_is_found_out(write, own_registries):
    def read(root, split):
        records = [
            uv.VideoRecord(str(root / name), name, (label,), "mine")
            for label, name in enumerate("ab")
        ]
        if not (root / "mine.lst").is_file():
            raise DataError("no list")
        return uv.VideoList(records, ["run", "walk"])

    uv.register_format(uv.ListFormat("mine", read, "mine.lst"))
    assert find_source(str(write({"mine.lst": ""}, ["a", "b"])), {}).format == "mine"


def test_a_list_is_its_folder(write):
    root = kinetics(write)
    source = find_source(str(root / "train.csv"), {})
    assert source.settings == {"TRAIN.DATASET": "kinetics", "DATA.PATH_TO_DATA_DIR": str(root)}
    index = shards(write) / "train" / "index.csv"
    assert find_source(str(index), {}).format == "shards"


def test_a_list_of_another_name_is_to_be_copied(write):
    root = write({"all.csv": "a.mp4,run\nb.mp4,walk\n"}, ["a.mp4", "b.mp4"])
    source = find_source(str(root / "all.csv"), {})
    assert source.copy_list == (str(root / "all.csv"), str(root / "train.csv"))
    assert source.class_names == ["run", "walk"]
    write({"train.csv": "a.mp4,run\n"})
    with pytest.raises(DataError, match=r"all\.csv is a list beside .*train\.csv"):
        find_source(str(root / "all.csv"), {})


def test_several_labels_make_another_task(write):
    root = write({"train.csv": "path,label\na.mp4,0 2\nb.mp4,\n"}, ["a.mp4", "b.mp4"])
    settings = find_source(str(root), {}).settings
    assert settings["TRAIN.TASK"] == "multi-label"
    # there is no val.csv
    assert (settings["TRAIN.EVAL_PERIOD"], settings["TEST.ENABLE"]) == (0, False)


def test_a_video_of_two_lists_counts_once(write):
    source = find_source(str(kinetics(write)), {})
    assert [record.name for record in source.records] == ["a.mp4", "b.mp4"]
    assert all("train.csv" in record.source for record in source.records)


def test_videos_without_labels(write):
    root = write({"names.txt": "sub/b.mp4\na.mp4\n"}, ["a.mp4", "b.mp4"])
    for given, names in (("", ["a.mp4", "b.mp4"]), ("a.mp4", [str(root / "a.mp4")])):
        source = find_source(str(root / given), {})
        assert not source.class_names and not source.settings
        assert [record.name for record in source.records] == names
    listed = find_source(str(root / "names.txt"), {})
    assert [record.path for record in listed.records] == [
        str(root / "sub/b.mp4"),
        str(root / "a.mp4"),
    ]


def test_a_folder_of_pictures_is_one_video(write):
    root = frames(write)
    (record,) = find_source(str(root / "a"), {}).records
    assert not record.labels and record.path == str(root / "a")


@pytest.mark.parametrize(
    ("texts", "given", "message"),
    [
        ({}, "nowhere", "there is no folder or list"),
        ({"notes.md": ""}, "", "holds no videos"),
        ({"train.csv": "a.mp4;x,y,z\n"}, "", "train.csv:1: expected"),
        ({"train.csv": "a.mp4,0\nb.mp4,0\n", "val.csv": ""}, "", "val.csv lists no videos"),
        ({"val.csv": "a.mp4,0\n"}, "", "there is no train.csv"),
        ({"run/notes.txt": "", "walk/a.mp4": ""}, "", "1 of 2 class folders without a video: run"),
        ({"run/a.mp4": "", "run/b.mp4": ""}, "", "there is only one class"),
        ({"train.csv": "c.mp4,0\nd.mp4,1\n"}, "", "none of the 2 train videos exist"),
        ({"index.csv": "key,shard,offset,length,label,name\n"}, "", "give the folder above"),
    ],
)
def test_what_would_stop_a_run_stops_here(write, texts, given, message):
    root = write(texts)
    with pytest.raises(DataError) as error:
        find_source(str(root / given), {})
    assert message in str(error.value)


def images(root, names, sizes=((24, 16),)):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", sizes[number % len(sizes)], (number, 20, 20)).save(root / name)
    return root


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        ([f"train/{n}/{n}_{i}.jpg" for n in ("cat", "dog") for i in range(3)], ((24, 16),)),
        ([f"{n}/{i}.jpg" for n in ("cat", "dog") for i in range(3)], ((24, 16), (30, 16))),
        ([f"{n}/{i}.jpg" for n in ("cat", "dog") for i in (1, 5, 7)], ((24, 16),)),
        (["cat/tom.png", "dog/rex.png"], ((24, 16),)),
    ],
)
def test_a_folder_of_images_is_told_from_frames(tmp_path, names, sizes):
    root = images(tmp_path / "data", names, sizes)
    said = "holds images, and this looks at videos alone; .*run --cfg images/small .*imagefolder"
    for given, pinned in (
        (root, {}),
        (root / names[0], {}),
        (root, {"TRAIN.DATASET": "imagefolder"}),
    ):
        with pytest.raises(DataError, match=said):
            find_source(str(given), pinned)


def test_folders_of_frames_are_still_videos(tmp_path):
    root = images(tmp_path / "data", [f"{n}/img_{i:05d}.jpg" for n in "ab" for i in range(3)])
    assert [record.name for record in find_source(str(root), {}).records] == ["a", "b"]
