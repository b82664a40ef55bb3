"""The scripts of the dataset guides make lists that the recipes read."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from uniformer_video.build_data import build_data
from uniformer_video.config import load_config
from uniformer_video.data.labels import class_names
from uniformer_video.data.records import read_class_names, read_csv

ROOT = Path(__file__).parents[1]


def code_block(dataset, language):
    """The first code block in `language` of a dataset's guide."""
    guide = (ROOT / "datasets" / dataset / "README.md").read_text()
    return re.search(rf"```{language}\n(.*?)```", guide, re.DOTALL)[1]


def make_lists(folder):
    """Run the script of the Kinetics guide on the dataset in `folder`."""
    script = folder / "make_lists.py"
    script.write_text(code_block("k400", "python"))
    command = [sys.executable, script, folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def kinetics(tmp_path):
    """A Kinetics folder of three classes; one validation video is missing."""
    header = "label,youtube_id,time_start,time_end,split\n"
    tables = {
        "train": 'zumba,-dash_id___,1,11,train\n"abseiling",b b,20,30,train\nyoga,ccc,3,13,train\n',
        "val": "yoga,ddd,100,110,val\nzumba,eee,0,10,val\n",
    }
    videos = ("train/-dash_id____000001_000011", "train/abseiling/b b_000020_000030")
    videos += ("train/ccc_000003_000013", "val/ddd_000100_000110")
    (tmp_path / "annotations").mkdir()
    for split, rows in tables.items():
        (tmp_path / "annotations" / f"{split}.csv").write_text(header + rows)
    for video in videos:
        (tmp_path / video).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{video}.mp4").touch()
    return tmp_path


def test_script_of_the_kinetics_guide(kinetics):
    done = make_lists(kinetics)
    assert done.returncode == 0, done.stderr
    assert "val.csv: 1 videos, 1 of the annotations lack theirs" in done.stdout
    assert read_class_names(kinetics / "classes.txt") == ["abseiling", "yoga", "zumba"]
    train = {record.name: record.label for record in read_csv(kinetics / "train.csv")}
    assert train == {
        "train/-dash_id____000001_000011.mp4": 2,
        "train/abseiling/b b_000020_000030.mp4": 0,
        "train/ccc_000003_000013.mp4": 1,
    }
    assert (kinetics / "test.csv").read_text() == "val/ddd_000100_000110.mp4,1\n"

    settings = ["DATA.PATH_TO_DATA_DIR", str(kinetics), "MODEL.NUM_CLASSES", "3"]
    data = build_data(load_config(ROOT / "configs/k400/uniformer_s_16x4.yaml", settings))
    assert (len(data.train), len(data.val), len(data.test)) == (3, 1, 1)
    assert not any("do not exist" in note for note in data.notes)


@pytest.fixture
def run_guide(tmp_path, monkeypatch):
    """A function: run a guide's script among the given files, and read its lists by the recipes."""

    def run(dataset, files, *arguments):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(sys, "argv", ["make_lists.py", str(tmp_path), *arguments])
        exec(code_block(dataset, "python"), {})
        path = min((ROOT / "configs" / dataset).glob("*.yaml"))
        data = build_data(load_config(path, ["DATA.PATH_TO_DATA_DIR", str(tmp_path)]))
        assert data.class_names == class_names(dataset)
        assert data.test == data.val
        return [[(r.name, r.num_frames, r.label) for r in part] for part in (data.train, data.val)]

    return run


def test_script_of_the_second_something_something_guide(run_guide):
    name = "Approaching something with your camera"
    files = dict.fromkeys((f"frames/{n}/img_0000{i}.jpg" for n in (7, 9) for i in (1, 2)), "")
    rows = [{"id": "7", "template": name.replace("something", "[something]")}]
    rows.append({"id": "8", "template": "[Something] falling like a rock"})
    files["annotations/train.json"] = json.dumps(rows)
    files["annotations/validation.json"] = json.dumps([{"id": "9", "template": name}])
    assert run_guide("ssv2", files) == [[("frames/7", 2, 0)], [("frames/9", 2, 0)]]


def test_script_of_the_first_something_something_guide(run_guide):
    files = dict.fromkeys(["frames/7/00001.jpg", "frames/9/00001.jpg"], "")
    table = "annotations/something-something-v1-{}.csv"
    files[table.format("train")] = "7;Attaching something to something\n"
    lines = ("8;Bending something until it breaks", "9;Attaching something to something")
    files[table.format("validation")] = "\n".join(lines)
    assert run_guide("ssv1", files) == [[("frames/7", 1, 1)], [("frames/9", 1, 1)]]


def test_script_of_the_ucf101_guide(run_guide):
    names = class_names("ucf101")
    train, test = "Archery/v_Archery_g08_c01.avi", "ApplyLipstick/v_ApplyLipstick_g01_c02.avi"
    files = {
        "annotations/classInd.txt": "".join(f"{i} {n}\n" for i, n in enumerate(names, start=1)),
        "annotations/trainlist02.txt": f"{train} 3\n",
        "annotations/testlist02.txt": f"{test}\n\n",
        f"videos/{train}": "",
        f"videos/{test}": "",
    }
    read = run_guide("ucf101", files, "02")
    assert read == [[(f"videos/{train}", 0, 2)], [(f"videos/{test}", 0, 1)]]


def test_script_of_the_hmdb51_guide(run_guide):
    files = {f"annotations/{name}_test_split1.txt": "" for name in class_names("hmdb51")}
    files["annotations/cartwheel_test_split1.txt"] = "a b.avi 1 \n#c.avi 2 \nd.avi 0 \ne.avi 1\n"
    for name in ("a b", "#c", "d"):
        files[f"frames/cartwheel/{name}/img_00001.jpg"] = ""
    read = run_guide("hmdb51", files, "1")
    assert read == [[("frames/cartwheel/a b", 1, 1)], [("frames/cartwheel/#c", 1, 1)]]


def test_guides_and_configs_name_files_that_exist():
    """Configs and tools in the guides' and the configs' commands."""
    for text_file in [
        *(ROOT / "configs").rglob("*.yaml"),
        *(ROOT / "datasets").glob("**/README.md"),
    ]:
        text = text_file.read_text()
        for name in re.findall(r"(?:configs|tools)/[\w/]+\.(?:yaml|py)", text):
            assert (ROOT / name).is_file(), f"{text_file} names {name}"
