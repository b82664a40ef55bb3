"""The commands of the dataset guides make lists that the recipes read."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uniformer_video import cli
from uniformer_video.config.settings import load_config
from uniformer_video.config.shipped import list_configs
from uniformer_video.data.decoding.masks import MaskReader
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DecodeError
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.build_masks import build_mask_reader

ROOT = Path(__file__).parents[1]
GUIDES = list((ROOT / "datasets").glob("*/README.md"))
HEADER = "label,youtube_id,time_start,time_end,split\n"
CAMERA = "Approaching something with your camera"


def guide(dataset):
    """The text of a data set's guide; "" for the overview."""
    return (ROOT / "datasets" / dataset / "README.md").read_text()


def commands(dataset):
    """The calls of the preparation tool in a guide, in their order, as lists of arguments."""
    text = guide(dataset).replace("\\\n", " ")
    calls = re.findall(r"^ +uniformer-video prepare (.*)$", text, re.MULTILINE)
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


def test_imagenet(tmp_path, monkeypatch):
    """Lists and shards of its folders, of the flat one too, are read by the recipes."""
    monkeypatch.chdir(tmp_path)
    names = [f"val/ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 2)]
    names += [f"train/n01440764/n01440764_{number}.JPEG" for number in (7, 9)]
    for name in ("train/n01443537/n01443537_9.JPEG", *names):
        path = tmp_path / "datasets" / "imagenet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 40), "red").save(path)
    table = "ImageId,PredictionString\nILSVRC2012_val_00000001,n01443537 1 2 3 4\n"
    table += "ILSVRC2012_val_00000002,n01440764 1 2 3 4 n01440764 5 6 7 8\n"
    (tmp_path / "LOC_val_solution.csv").write_text(table)
    done = []
    for arguments in commands("imagenet"):
        if arguments[0] != "token-labels":  # by published weights; tests/inference makes maps
            arguments = [word.replace("/disk/", f"{tmp_path}/disk/") for word in arguments]
            assert cli.main(arguments, "prepare") == 0, arguments
            done.append(arguments[0])
    assert done == ["lists", "shards", "shards", "check"]
    shutil.copy("datasets/imagenet/classes.txt", "disk/imagenet_shards/")
    for words in (["image-csv"], ["image-shards", "DATA.PATH_TO_DATA_DIR", "disk/imagenet_shards"]):
        data = build_data(load_config("imagenet/uniformer_s", ["TRAIN.DATASET", *words]))
        assert data.class_names == class_names("imagenet")
        assert [record.label for record in data.train] == [0, 0, 1]
        assert [record.label for record in data.test] == [1, 0]


def test_what_is_wrong_with_masks_is_told_as_in_the_guide(tmp_path, monkeypatch):
    """Each message of its table, by a mask that has what it names."""
    monkeypatch.chdir(tmp_path)
    colours = [(128, 64, 128), *((10 * n, 0, 0) for n in range(1, 8))]
    plain, coloured = MaskReader(8), MaskReader(8, palette=colours)
    right = np.zeros((60, 80), np.uint8)
    high, strange = right.copy(), np.full((60, 80, 3), colours[0], np.uint8)
    high[3:7, 5:15], strange[3, 5:12] = 9, (1, 2, 3)
    wrong = {
        "of the value 9": (high, plain, (60, 80)),
        "of the value 1,2,3": (strange, coloured, (60, 80)),
        "is a mask of colours": (strange, plain, (60, 80)),
        "60x80 pixels and its picture": (right.T.copy(), plain, (60, 80)),
        "is a JPEG": (right, plain, (60, 80)),
        "is an empty mask": (right + 255, plain, (60, 80)),
        "a.jpg has no mask": (None, plain, (60, 80)),
    }
    rows = re.findall(r"^\| `(a\.(?:png|jpg) [^`]+)` \|", guide("ade20k"), re.MULTILINE)
    assert len(rows) == len(wrong)
    for row, (part, (pixels, reader, size)) in zip(rows, wrong.items(), strict=True):
        assert part in row
        record = VideoRecord("a.jpg", "a.jpg", (), medium="image", mask="a.png")
        if pixels is None:
            record = replace(record, mask="")
        else:
            Image.fromarray(pixels).save("a.png", "JPEG" if "JPEG" in part else "PNG")
        with pytest.raises(DecodeError, match=re.escape(row)):
            reader.read(record, size)


def test_ade20k(tmp_path, monkeypatch, capsys):
    """Its folders as they are unpacked, read by the recipes, and by the check that the guide names."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "datasets" / "ade20k"
    for part, name, value in (
        ("training", "ADE_train_00000001", 0),
        ("training", "ADE_train_00000002", 150),
        ("validation", "ADE_val_00000001", 1),
    ):
        mask = np.full((40, 48), 7, np.uint8)
        mask[:5] = value
        for kind, pixels, suffix in (("images", mask, "jpg"), ("annotations", mask, "png")):
            path = folder / kind / part / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels)
            (picture.convert("RGB") if kind == "images" else picture).save(path)
    for arguments in commands("ade20k"):
        assert cli.main(arguments, "prepare") == 0, arguments
    cfg = load_config("ade20k/semantic_fpn_uniformer_s_h14")
    data = build_data(cfg)
    assert data.class_names == class_names("ade20k") and len(data.class_names) == 150
    assert data.test == data.val and len(data.train) == 2
    masks = [build_mask_reader(cfg, 150).read(record) for record in (*data.train, *data.val)]
    assert [sorted({*mask.flatten().tolist()}) for mask in masks] == [[6, 255], [6, 149], [0, 6]]


def other_commands(text):
    """The commands of a guide beside those of the preparation tool, as lists of words."""
    programs = "python|torchrun|uniformer-video|make|mkdir|cp"
    lines = re.findall(rf"^ +((?:{programs}) .*)$", text.replace("\\\n", " "), re.MULTILINE)
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words[:2] != ["uniformer-video", "prepare"]]


@pytest.mark.parametrize("name", ["", *sorted(path.parent.name for path in GUIDES)])
def test_the_other_commands_of_a_guide(name, tmp_path, monkeypatch, capsys):
    """Settings of runs resolve, lists are renumbered, classes are printed; the README's test runs models."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "datasets" / (name or "k400")
    folder.mkdir(parents=True)
    (folder / "val.csv").write_text("a.mp4,0\n")
    for words in other_commands(guide(name)):
        program = " ".join(words[:2])
        if "--plugins" in words:
            assert "pairs.py" in words  # tests/data/lists/test_formats.py runs it
        elif program == "uniformer-video bench":
            assert cli.main(["config", *words[words.index("--cfg") :]]) == 0, words
        elif "run" in words:  # behind uniformer-video, or behind torchrun and the module
            settings = words[words.index("run") + 1 :]
            assert cli.main(["config", *settings]) == 0, words
        elif program == "uniformer-video remap-labels":
            assert cli.main(words[1:]) == 0, words
            assert Path(words[words.index("--out") + 1]).read_text().startswith("a.mp4,")
        elif program == "python -c":
            exec(words[2], {})
            assert len(capsys.readouterr().out.splitlines()) == len(class_names(name))
        elif words[0] == "mkdir":
            Path(words[-1]).mkdir()
        else:
            assert program in {
                "uniformer-video make-demo-data",
                "uniformer-video predict",
                "uniformer-video export-predictions",
                "cp datasets/k400/classes.txt",
                "cp datasets/imagenet/classes.txt",
            }, f"the guide has a new kind of command: {words}"


def test_the_guide_of_shards(tmp_path, monkeypatch, make_video):
    """Its commands make shards that the settings below them train from."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "datasets" / "k400"
    make_video("datasets/k400/a.mp4", frames=3, size=(24, 32))
    for part in ("train", "val"):
        (folder / f"{part}.csv").write_text("a.mp4,7\n")
    text = guide("").replace("/disk/", f"{tmp_path}/disk/").replace("\\\n", " ")
    for call in re.findall(r"^ +uniformer-video prepare (.*)$", text, re.MULTILINE):
        status = cli.main(shlex.split(call), "prepare")
        assert status == (2 if "--overlap" in call else 0), call
    assert (folder / "overlap.csv").is_file()  # both lists hold the same video
    (words,) = (words for words in other_commands(text) if "shards" in words)
    monkeypatch.chdir(ROOT)
    data = build_data(load_config(words[3], words[4:]))
    assert [len(data.train), len(data.val), data.train[0].label] == [1, 1, 7]


def shipped_texts():
    return [*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("datasets/**/README.md")]


@pytest.mark.parametrize("path", shipped_texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_shipped_names_what_an_installed_user_has(path):
    """Guides and configs are in the wheel, where there are no `tools/` and no folder `configs/`."""
    text = path.read_text()
    assert not re.findall(r"\b(?:tools|configs)/\S*|requirements\.txt|constraints\.txt", text)
    for name in re.findall(r"--cfg ([a-z][\w/]+)(?=[\s`])", text):
        assert name in list_configs(), name
    for called in re.findall(r"uniformer-video ([a-z-]+)", text):
        assert called in cli._COMMANDS, called
