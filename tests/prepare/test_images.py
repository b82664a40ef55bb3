"""What `prepare` does with images: lists of ImageNet's, shards, a look at every image, pairs of them."""

import csv

import numpy as np
import pytest
from PIL import Image
from shard_files import serve_folder
from videos import encode, numbered_frames

from uniformer_video.cli import main
from uniformer_video.config.settings import load_config
from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists.class_names import class_names, imagenet_synsets
from uniformer_video.runs.build_data import build_data

TENCH, BIRD, MACHINE = "n01440764", "n02012849", "n03126707"
OF_IMAGE = [TENCH, MACHINE, BIRD, TENCH]  # in the order of the validation


@pytest.fixture
def imagenet(tmp_path):
    """ImageNet as it comes: training images by class, those of the validation in one folder."""
    rng = np.random.default_rng(0)
    names = [
        f"train/{synset}/{synset}_{n}.JPEG" for synset in (TENCH, BIRD, MACHINE) for n in range(3)
    ]
    names += [f"val/ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, 5)]
    for name in names:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = Image.fromarray(rng.integers(0, 256, (8, 9, 3), dtype=np.uint8))
        blocks.resize((72, 64), Image.Resampling.NEAREST).save(path, quality=95)
    return tmp_path / "images"


def kaggle(folder):
    rows = [f"ILSVRC2012_val_{n:08d},{synset} 1 2 3 4 " for n, synset in enumerate(OF_IMAGE, 1)]
    (folder / "LOC_val_solution.csv").write_text(
        "\n".join(["ImageId,PredictionString", *rows[::-1]])
    )


def synsets(folder):
    text = "\n".join(OF_IMAGE)
    (folder / "imagenet_2012_validation_synset_labels.txt").write_text(text)


def kit(folder):
    """The development kit numbers classes in an order of its own."""
    (folder / "data").mkdir()
    order = {MACHINE: 1, TENCH: 2, BIRD: 3}
    text = "".join(f"{order[synset]}\n" for synset in OF_IMAGE)
    (folder / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text(text)
    savemat = pytest.importorskip("scipy.io").savemat
    kinds = [("ILSVRC2012_ID", float), ("WNID", object)]
    rows = np.array([(number, synset) for synset, number in order.items()], kinds)
    savemat(folder / "data" / "meta.mat", {"synsets": rows})


@pytest.mark.parametrize("write", [kaggle, synsets, kit])
def test_lists_of_imagenet(imagenet, tmp_path, write, capsys):
    (tmp_path / "labels").mkdir()
    write(tmp_path / "labels")
    words = ["--annotations", str(tmp_path / "labels"), "--images", str(imagenet)]
    assert main(["prepare", "lists", "imagenet", *words, "--out", str(tmp_path / "out")]) == 0
    assert "out/train.csv: 9 images\n" in capsys.readouterr().out
    rows = dict(csv.reader((tmp_path / "out" / "val.csv").read_text().splitlines()))
    place = imagenet_synsets().index
    assert {name[-6]: int(label) for name, label in rows.items()} == {
        str(n): place(synset) for n, synset in enumerate(OF_IMAGE, 1)
    }
    overrides = ["MODEL.MODEL_NAME", "image_uniformer_s", "TRAIN.DATASET", "image-csv"]
    data = build_data(
        load_config(overrides=[*overrides, "DATA.PATH_TO_DATA_DIR", str(tmp_path / "out")])
    )
    assert data.class_names == class_names("imagenet") and (len(data.train), len(data.val)) == (
        9,
        4,
    )


def refusal(capsys, *words):
    assert main([*map(str, words)]) == 2
    return capsys.readouterr().err


def test_labels_that_do_not_fit(imagenet, tmp_path, capsys):
    step = (
        "prepare",
        "lists",
        "imagenet",
        "--images",
        imagenet,
        "--out",
        tmp_path / "out",
        "--annotations",
    )
    assert "holds none of LOC_val_solution.csv, " in refusal(capsys, *step, tmp_path)
    (tmp_path / "a.txt").write_text(f"{TENCH}\nn00000000\n")
    assert "a.txt:2: expected a validation image and its synset" in refusal(
        capsys, *step, tmp_path / "a.txt"
    )
    (tmp_path / "a.txt").write_text(f"{TENCH}\n")
    assert "3 of the 4 images in" in refusal(capsys, *step, tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("1\n2\n")
    assert "meta.mat, which tells it, is not there" in refusal(capsys, *step, tmp_path / "a.txt")
    videos = (
        "prepare",
        "lists",
        "imagenet",
        "--videos",
        imagenet,
        "--out",
        tmp_path,
        "--annotations",
        tmp_path,
    )
    assert "made of a folder that --images names" in refusal(capsys, *videos)


def test_shards_of_a_folder_of_images(imagenet, tmp_path, capsys):
    """The bytes of the files, and the classes that the folder has."""
    shards = tmp_path / "shards"
    assert "holds the parts train, val" in refusal(
        capsys, "prepare", "shards", imagenet, "--out", shards
    )
    for part in ("train", "val"):
        words = [imagenet / "train", "--out", shards / part, "--workers", "1"]
        assert main(["prepare", "shards", *map(str, words)]) == 0
    data = {}
    for dataset, root in (("imagefolder", imagenet / "train"), ("image-shards", shards)):
        words = [
            "MODEL.MODEL_NAME",
            "image_uniformer_s",
            "DATA.VAL_RATIO",
            "0",
            "TRAIN.DATASET",
            dataset,
        ]
        words += [
            "TRAIN.EVAL_PERIOD",
            "0",
            "TEST.ENABLE",
            "False",
            "DATA.PATH_TO_DATA_DIR",
            str(root),
        ]
        data[dataset] = build_data(load_config(overrides=words))
    names = ["tench, Tinca tinca", "crane (bird)", "crane (machine)"]
    assert data["imagefolder"].class_names == data["image-shards"].class_names == names
    for file, member in zip(data["imagefolder"].train, data["image-shards"].train, strict=True):
        assert (file.name, file.labels, member.medium) == (member.name, member.labels, "image")
        with open_video(file.path, "pillow") as one, open_video(member.path, "pillow") as other:
            np.testing.assert_array_equal(one.frames([0]), other.frames([0]))


def test_every_image_is_looked_at(imagenet, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = imagenet / "val" / "ILSVRC2012_val_00000002.JPEG"
    bad.write_bytes(bad.read_bytes()[:700])
    (tmp_path / "val.csv").write_text(
        "".join(f"{p},0\n" for p in sorted((imagenet / "val").iterdir()))
    )
    for words in (["--images", str(imagenet / "val")], ["val.csv"]):
        assert main(["prepare", "check", *words, "--workers", "1"]) == 2
        assert "4 images checked, 1 bad: see bad.csv" in capsys.readouterr().out
        [row] = csv.DictReader((tmp_path / "bad.csv").read_text().splitlines())
        assert row["path"] == str(bad) and row["reason"].startswith("cannot be read as a picture")
    assert "--strict looks for damage that decoders of videos hide" in refusal(
        capsys, "prepare", "check", "val.csv", "--strict"
    )
    assert main(["prepare", "check", str(imagenet / "train"), "--workers", "1"]) == 0
    assert "9 images checked, 0 bad" in capsys.readouterr().out  # called otherwise in each folder
    main(["prepare", "check", str(imagenet / "val"), "--workers", "1"])
    said = "1 folder of pictures, taken for the frames of a video each; --images takes each picture"
    assert said in capsys.readouterr().out


def test_pictures_beside_videos_are_named(imagenet, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode(imagenet / "val" / "film.mp4", numbered_frames(2, (16, 24)))
    assert main(["prepare", "check", str(imagenet / "val"), "--workers", "1"]) == 0
    said = capsys.readouterr()
    assert "1 video checked, 0 bad" in said.out
    assert "holds videos and 4 pictures, which are not looked at; --images looks at" in said.err


def test_image_shards_on_a_web_server(imagenet, tmp_path):
    for part in ("train", "val"):
        words = [imagenet / "train", "--out", tmp_path / "shards" / part, "--workers", "1"]
        assert main(["prepare", "shards", *map(str, words)]) == 0
    with serve_folder(tmp_path) as served:
        words = ["MODEL.MODEL_NAME", "image_uniformer_s", "TRAIN.DATASET", "image-shards"]
        words += ["DATA.PATH_TO_DATA_DIR", f"{served.address}/shards"]
        first = build_data(load_config(overrides=words)).train[0]
        with open_video(first.path, "pillow") as image:
            assert image.frames([0]).shape == (1, 64, 72, 3)


@pytest.mark.slow
def test_one_image_in_two_lists_is_found_by_what_it_shows(imagenet, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Image.open(imagenet / "train" / TENCH / f"{TENCH}_1.JPEG") as image:
        image.resize((90, 80), Image.Resampling.NEAREST).save(imagenet / "val" / "again.png")
    assert main(["prepare", "check", "--images", "--overlap", str(imagenet), "--workers", "1"]) == 2
    said = capsys.readouterr().out
    assert (
        "1 pair of the same footage" in said and "14 images compared, 1 pair between lists" in said
    )
    assert f"{TENCH}_1.JPEG" in (tmp_path / "overlap.csv").read_text()
