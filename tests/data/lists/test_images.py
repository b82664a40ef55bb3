"""Lists of images: ImageNet's folders by their words, numbers and synsets, and what is no image."""

import os

import pytest
from PIL import Image
from videos import encode, numbered_frames

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_names import class_names, imagenet_synsets
from uniformer_video.data.lists.synsets import classes_of_folders
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.run import _introduction

TENCH, BIRD, MACHINE = "n01440764", "n02012849", "n03126707"
WORDS = {TENCH: "tench, Tinca tinca", BIRD: "crane (bird)", MACHINE: "crane (machine)"}


def fill(root, *names):
    """Images of these names below `root`; what is in them matters to no list."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        color = tuple(sum(map(ord, str(root / name))) * step % 256 for step in (1, 3, 7))
        Image.new("RGB", (8, 8), color).save(root / name, "JPEG")
    return root


def folders(root, part, names, count=2):
    return fill(root, *(f"{part}/{name}/{name}_{n}.JPEG" for name in names for n in range(count)))


def data_of(root, dataset="imagefolder", **settings):
    model = "image_uniformer_s" if dataset.startswith("image") else "uniformer_s"
    values = {"MODEL.MODEL_NAME": model, "TRAIN.DATASET": dataset, "DATA.PATH_TO_DATA_DIR": root}
    words = [str(w) for pair in {**values, **settings}.items() for w in pair]
    return build_data(load_config(overrides=words))


def test_the_words_of_imagenet_are_those_of_its_1000_synsets():
    names, synsets = class_names("imagenet"), imagenet_synsets()
    assert len(set(names)) == len(set(synsets)) == 1000 and list(synsets) == sorted(synsets)
    found = dict(zip(synsets, names, strict=True))
    assert {synset: found[synset] for synset in WORDS} == WORDS
    assert (synsets.index(BIRD), synsets.index(MACHINE)) == (134, 517)
    assert names[999] == "toilet tissue, toilet paper, bathroom tissue"


def test_folders_of_synsets_are_called_by_their_words_in_imagenets_order(tmp_path):
    root = folders(folders(tmp_path, "train", WORDS), "val", [MACHINE, TENCH])
    data = data_of(root)
    assert data.class_names == list(WORDS.values())
    assert sorted({(r.name.split("/")[0], r.label) for r in data.train + data.val}) == [
        (TENCH, 0),
        (BIRD, 1),
        (MACHINE, 2),
    ]
    assert {record.medium for record in data.train} == {"image"}
    assert (
        "The names of the 3 folders are ImageNet's synsets: classes are called by its words, such as "
        f"'tench, Tinca tinca' for {TENCH}, and come in its order."
    ) in data.notes
    every = data_of(root, **{"DATA.CLASS_NAMES": "imagenet"})
    assert every.class_names == class_names("imagenet")
    assert {record.label for record in every.train} == {0, 134, 517}


def test_numbers_are_imagenets_where_they_are_its_thousand(tmp_path):
    """Sorted as texts, 10 comes before 2."""
    numbers = [str(number) for number in range(1000)]
    assert classes_of_folders(sorted(numbers)).names() == class_names("imagenet")
    root = folders(tmp_path, "val", ["0", "2", "10"])
    given = data_of(root, **{"DATA.CLASS_NAMES": "imagenet", "TRAIN.ENABLE": False})
    assert sorted({(r.name.split("/")[0], r.label) for r in given.test}) == [
        ("0", 0),
        ("10", 10),
        ("2", 2),
    ]
    alone = data_of(root, **{"TRAIN.ENABLE": False})  # digits of somebody's own, as of MNIST
    assert alone.class_names == ["0", "10", "2"] and len(alone.notes) == 0


@pytest.mark.parametrize("spell", [lambda index: imagenet_synsets()[index], str])
def test_999_of_1000_classes_are_told_with_the_one_that_lacks(spell):
    found = classes_of_folders(sorted(spell(index) for index in range(1000) if index != 517))
    assert found.names() == [name for name in class_names("imagenet") if name != "crane (machine)"]
    assert found.notes[1] == (
        f"999 of ImageNet's 1000 classes have a folder: {MACHINE} (crane (machine)) lacks; DATA.CLASS_NAMES "
        "imagenet keeps an output for each of the 1000."
    )


def test_a_validation_with_a_class_less_and_one_with_a_class_more(tmp_path):
    root = folders(folders(tmp_path, "train", WORDS), "val", [TENCH, BIRD])
    data = data_of(root)
    assert len(data.class_names) == 3 and {r.label for r in data.val} == {0, 1}
    cfg = load_config(
        overrides=["MODEL.MODEL_NAME", "image_uniformer_s", "TRAIN.DATASET", "imagefolder"]
    )
    lines = list(_introduction(cfg, data, type("Folder", (), {"path": "out"})()))
    assert "images: 6 train, 4 val, 4 test" in lines[0]
    assert lines[2] == (
        "val: 4 images of 2 of 3 classes: tench, Tinca tinca (2); crane (bird) (2); none of crane (machine)"
    )
    folders(root, "val", ["n01443537"])
    with pytest.raises(
        DataError, match=r"val has the class .n01443537., which the training folder .* lacks"
    ):
        data_of(root)


def test_folders_that_are_mostly_synsets_are_called_as_they_are(tmp_path):
    data = data_of(folders(tmp_path, "train", [*WORDS, "unicorn"]))
    assert data.class_names == sorted([*WORDS, "unicorn"])
    assert any(
        note.startswith("3 of the 4 folders are called as classes of ImageNet")
        for note in data.notes
    )


def test_a_list_of_images_has_the_columns_of_a_list_of_videos(tmp_path):
    fill(tmp_path, "a.JPEG", "b b.png", "sub/c,d.jpg")
    text = f'path,label,weight,group\na.JPEG,{BIRD},2,x\nb b.png,{TENCH},,\n"sub/c,d.jpg",{TENCH},0,x\n'
    for part in ("train", "val"):
        (tmp_path / f"{part}.csv").write_text(text)
    data = data_of(tmp_path, "image-csv")
    assert data.class_names == ["tench, Tinca tinca", "crane (bird)"]  # synsets as labels
    assert [(r.name, r.labels, r.weight, r.group) for r in data.train] == [
        ("a.JPEG", (1,), 2.0, "x"),
        ("b b.png", (0,), 1.0, ""),
        ("sub/c,d.jpg", (0,), 0.0, "x"),
    ]
    assert "3 of 3 val images are train images too." in data.notes
    (tmp_path / "train.csv").write_text("path,label,start,end\na.JPEG,0,1,2\n")
    with pytest.raises(
        DataError, match=r"train\.csv:2: a\.JPEG has a start .* an image has no time"
    ):
        data_of(tmp_path, "image-csv")


def test_groups_shares_and_folds_keep_images_together(tmp_path):
    root = folders(tmp_path / "pets", ".", ["cat", "dog"], 8)
    settings = {"DATA.GROUP_PATTERN": r"(\w+_[0-3])\.", "DATA.VAL_RATIO": 0.5}
    data = data_of(root, **settings)
    assert any(
        "groups of 8 images" in note and "8 images without one" in note for note in data.notes
    )
    fold = data_of(root, **{"DATA.FOLDS": 4, "DATA.FOLD": 1})
    assert len(fold.test) == 4 and any("4 of 16 images of" in note for note in fold.notes)
    with pytest.raises(DataError, match="at least as many images as folds, and there are 16"):
        data_of(root, **{"DATA.FOLDS": 20})
    joined = data_of(f"[{root},{folders(tmp_path / 'more', '.', ['cat', 'cow'])}]")
    assert len(joined.class_names) == 3
    assert any("are held out" in note and "images" in note for note in joined.notes)


# What is no image


def test_what_lies_about_is_named(tmp_path):
    """A hidden file, one of another kind, a folder of a class without an image, images beside them."""
    root = folders(tmp_path, "train", ["cat", "dog"])
    fill(root, "train/._cat.jpg", "train/loose.jpg", "train/dog/deeper/a.jpg")
    (root / "train" / "cat" / "notes.txt").write_text("x")
    notes = " ".join(data_of(root).notes)
    assert (
        "left out 1 hidden image" in notes and "left out 1 file without a suffix of images" in notes
    )
    assert "left out 1 image beside the folders of the classes: loose.jpg" in notes
    assert "1 image in folders inside those of the classes" in notes
    (root / "train" / "cow").mkdir()
    with pytest.raises(DataError, match=r"1 of 3 class folders without an image: cow \(empty\)"):
        data_of(root)


def videos(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        encode(root / name, numbered_frames(2, (16, 24)))
    return root


def test_videos_where_images_should_be_and_the_reverse(tmp_path):
    films = videos(tmp_path / "films", "train/run/a.mp4", "train/walk/b.mp4")
    with pytest.raises(
        DataError, match=r"run \(1 \.mp4\).* for videos, set TRAIN\.DATASET folder and take"
    ):
        data_of(films)
    (films / "train" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"for videos, set TRAIN\.DATASET folder and take"):
        data_of(films)
    flat = videos(tmp_path / "flat", "train/a.mp4", "train/b.mp4")
    with pytest.raises(
        DataError, match=r"but 2 \.mp4.* for videos, set TRAIN\.DATASET folder and take"
    ):
        data_of(flat)
    numbered = folders(tmp_path / "numbered", "train", ["cat", "dog"])
    with pytest.raises(
        DataError, match=r"for images, one a file, set TRAIN\.DATASET imagefolder and take"
    ):
        data_of(numbered, "folder")
    named = fill(tmp_path / "named", "train/cat/tom.jpg", "train/dog/rex.jpg")
    with pytest.raises(
        DataError, match=r"cat \(1 \.jpg\).* for images, set TRAIN\.DATASET imagefolder"
    ):
        data_of(named, "folder")
    film = films / "train" / "run" / "a.mp4"
    cat = named / "train" / "cat" / "tom.jpg"
    for dataset, only, some in (("image-csv", film, cat), ("kinetics", cat, film)):
        for part in ("train", "val"):
            (tmp_path / f"{part}.csv").write_text(f"{only},0\n")
        with pytest.raises(
            DataError, match=r"the train list holds \w+ by their names, such as .*train\.csv:1"
        ):
            data_of(tmp_path, dataset)
        for part in ("train", "val"):
            (tmp_path / f"{part}.csv").write_text(f"{only},0\n{some},1\n")
        noun = "image" if dataset == "image-csv" else "video"
        notes = data_of(tmp_path, dataset).notes
        assert (
            f"1 of the 2 {noun}s of the train list is no {noun} by the name, and counts as broken: {only}."
            in notes
        )


def test_a_file_a_class_itself_and_imagenets_validation_in_one_folder(tmp_path):
    root = folders(tmp_path, "train", [TENCH, BIRD])
    place = root / "train" / TENCH
    with pytest.raises(
        DataError, match=r"_0\.JPEG is a file; set DATA\.PATH_TO_DATA_DIR to a folder of"
    ):
        data_of(place / f"{TENCH}_0.JPEG")
    with pytest.raises(
        DataError, match=r"has no sub-folder with images, but 2 images, such as n01440764_0"
    ):
        data_of(place)
    fill(root, *(f"val/ILSVRC2012_val_0000000{n}.JPEG" for n in (1, 2)))
    with pytest.raises(
        DataError, match=r"but 2 images, such as ILSVRC2012_val_00000001\.JPEG.*lists imagenet"
    ):
        data_of(root)


def test_missing_images_and_folders_in_a_list(tmp_path):
    fill(tmp_path, "a.jpg", "clip/1.jpg", "clip/2.jpg")
    for part in ("train", "val"):
        (tmp_path / f"{part}.csv").write_text("a.jpg,0\nclip,1\nb.jpg,1\n")
    notes = data_of(tmp_path, "image-csv", **{"DATA.MAX_BAD_RATIO": 0.9}).notes
    place = os.path.join(tmp_path, "clip")
    assert (
        f"2 of 3 train images do not exist: {place} (a folder; an image is a file), "
        in " ".join(notes)
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"TRAIN.DATASET": "folder", "DATA.DECODING_BACKEND": "pillow"},
            "reads images, and the format folder",
        ),
        ({"DATA.TARGET_FPS": "15"}, "needs the times of frames"),
    ],
)
def test_settings_that_are_for_the_other_medium(tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        data_of(tmp_path, settings.get("TRAIN.DATASET", "imagefolder"), **settings)
