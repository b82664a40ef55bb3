"""The commands of the dataset guides make lists that the recipes read."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from uniformer_video import cli
from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.runs.build_data import build_data

ROOT = Path(__file__).parents[1]
HEADER = "label,youtube_id,time_start,time_end,split\n"
CAMERA = "Approaching something with your camera"


def guide(dataset):
    return (ROOT / "datasets" / dataset / "README.md").read_text()


def commands(dataset):
    """The calls of the preparation tool in a guide, in their order, as lists of arguments."""
    text = guide(dataset).replace("\\\n", " ")
    calls = re.findall(r"^ +python tools/prepare_dataset\.py (.*)$", text, re.MULTILINE)
    assert calls
    return [shlex.split(call) for call in calls]


@pytest.fixture
def follow(tmp_path, monkeypatch, make_video):
    """A function: follow a guide's commands in an empty folder that holds `datasets/NAME`.

    Takes texts of annotation files and names of videos, all below that folder; returns the lists that
    the dataset's recipes read then.
    """
    monkeypatch.chdir(tmp_path)
    film = make_video("film.mp4", frames=3, size=(24, 32)).read_bytes()

    def run(dataset, texts, videos=()):
        folder = tmp_path / "datasets" / dataset
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        for name in videos:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(film)
        for arguments in commands(dataset):
            assert cli.main(arguments, "prepare") == 0, arguments
        tables = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.csv")}
        named = set(re.findall(r"`(\S+/(?:bad|missing)\.csv)`", guide(dataset)))
        assert {name for name in tables if name.endswith(("bad.csv", "missing.csv"))} <= named
        assert {name for name in named if name.endswith("bad.csv")} <= tables
        path = min((ROOT / "configs" / dataset).glob("*.yaml"))
        data = build_data(load_config(path))
        assert data.class_names == class_names(dataset)
        assert data.test == data.val
        assert not any("do not exist" in note for note in data.notes)
        return [[(r.name, r.num_frames, r.label) for r in part] for part in (data.train, data.val)]

    return run


@pytest.mark.parametrize("dataset", ["k400", "k600"])
def test_kinetics(follow, dataset, capsys):
    tables = {
        "annotations/train.csv": HEADER + "zumba,-dash_id___,1,11,train\nyoga,ccc,3,13,train\n",
        "annotations/val.csv": HEADER + "yoga,ddd,100,110,val\n",
    }
    videos = ["original/train/-dash_id____000001_000011.mp4", "original/val/ddd_000100_000110.mp4"]
    names = class_names(dataset)
    assert follow(dataset, tables, videos) == [
        [("videos/train/-dash_id____000001_000011.mp4", 0, names.index("zumba"))],
        [("videos/val/ddd_000100_000110.mp4", 0, names.index("yoga"))],
    ]
    printed = capsys.readouterr().out
    assert "train.csv: 1 videos, 1 of the annotated missing" in printed
    assert "Missing: ccc_000003_000013; all are in" in printed
    assert "2 videos checked, 0 bad" in printed
    assert "ccc_000003_000013" in Path("datasets", dataset, "missing.csv").read_text()


def test_the_first_something_something(follow, make_video, tmp_path):
    from uniformer_video.prepare.frames import Pictures, extract_video

    frames = tmp_path / "datasets/ssv1/frames"
    frames.mkdir(parents=True)
    extract_video((make_video(frames=2), frames / "7"), Pictures("{:05d}.jpg"))
    shutil.copytree(frames / "7", frames / "9")
    table = "annotations/something-something-v1-{}.csv"
    texts = {
        table.format("train"): "7;Attaching something to something\n",
        table.format("validation"): "9;Attaching something to something\n",
    }
    assert follow("ssv1", texts) == [[("frames/7", 2, 1)], [("frames/9", 2, 1)]]


def test_the_second_something_something(follow):
    template = CAMERA.replace("something", "[something]")
    texts = {
        "annotations/train.json": json.dumps([{"id": "7", "template": template}]),
        "annotations/validation.json": json.dumps([{"id": "9", "template": template}]),
        "annotations/labels.json": json.dumps({CAMERA: "0"}),
    }
    videos = ["videos/7.webm", "videos/9.webm"]
    assert follow("ssv2", texts, videos) == [[("frames/7", 3, 0)], [("frames/9", 3, 0)]]


def test_ucf101(follow):
    train, test = "Archery/v_Archery_g08_c01.avi", "ApplyLipstick/v_ApplyLipstick_g01_c02.avi"
    names = class_names("ucf101")
    texts = {
        "annotations/classInd.txt": "".join(f"{i} {n}\n" for i, n in enumerate(names, start=1)),
        "annotations/trainlist01.txt": f"{train} 3\n",
        "annotations/testlist01.txt": f"{test}\n",
    }
    assert follow("ucf101", texts, [f"videos/{train}", f"videos/{test}"]) == [
        [(f"videos/{train}", 0, 2)],
        [(f"videos/{test}", 0, 1)],
    ]


def test_hmdb51(follow):
    texts = {f"annotations/{name}_test_split1.txt": "" for name in class_names("hmdb51")}
    texts["annotations/cartwheel_test_split1.txt"] = "a b.avi 1 \n#c.avi 2 \nd.avi 0 \n"
    videos = [f"videos/cartwheel/{name}.avi" for name in ("a b", "#c", "d")]
    read = follow("hmdb51", texts, videos)
    assert read == [[("frames/cartwheel/a b", 3, 1)], [("frames/cartwheel/#c", 3, 1)]]


def test_guides_and_configs_name_files_that_exist():
    """Configs and tools in the guides' and the configs' commands."""
    for text_file in [
        *(ROOT / "configs").rglob("*.yaml"),
        *(ROOT / "datasets").glob("**/README.md"),
    ]:
        text = text_file.read_text()
        for name in re.findall(r"(?:configs|tools)/[\w/]+\.(?:yaml|py)", text):
            assert (ROOT / name).is_file(), f"{text_file} names {name}"
