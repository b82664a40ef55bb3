"""Lists of images with masks: folders, csv, ADE20K; what is left out is named."""

import os
import re

import pytest

from uniformer_video.data.lists.check import check_list
from uniformer_video.data.lists.class_names import ade20k_palette, class_names
from uniformer_video.data.lists.columns import VideoColumns
from uniformer_video.data.lists.formats import find_format
from uniformer_video.data.lists.masked import read_ade20k, read_mask_csv, read_mask_folders
from uniformer_video.data.lists.palettes import mask_classes
from uniformer_video.data.lists.records import VideoRecord, list_digest, relabelled, without_repeats
from uniformer_video.errors import AbsentError, DataError


@pytest.fixture
def tree(tmp_path):
    """A function that makes files, with the text that is given or none, and gives the folder."""

    def make(*names, **texts):
        for name in [*names, *texts]:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts.get(name, ""))
        return tmp_path

    return make


def pairs(listed, root):
    return [
        (record.name, os.path.relpath(record.mask, root).replace(os.sep, "/"))
        for record in listed.records
    ]


@pytest.mark.parametrize("by_part", [True, False])
def test_folders_of_parts_either_way_round(tree, by_part):
    def place(part, kind, name):
        return f"{part}/{kind}/{name}" if by_part else f"{kind}/{part}/{name}"

    root = tree(
        place("train", "images", "b.jpg"),
        place("train", "images", "deep/a.png"),
        place("train", "masks", "b.png"),
        place("train", "masks", "deep/a.png"),
        place("val", "images", "c.JPG"),
        place("val", "masks", "c.png"),
        **{"classes.txt": "sky\nground\n"},
    )
    train, val, test = (read_mask_folders(root, split) for split in ("train", "val", "test"))
    assert pairs(train, root) == [
        (place("train", "images", "b.jpg"), place("train", "masks", "b.png")),
        (place("train", "images", "deep/a.png"), place("train", "masks", "deep/a.png")),
    ]
    assert pairs(val, root) == pairs(test, root)
    assert pairs(val, root) == [(place("val", "images", "c.JPG"), place("val", "masks", "c.png"))]
    assert train.class_names == ["sky", "ground"] and not train.notes
    record = train.records[0]
    assert (record.labels, record.medium) == ((), "image") and os.path.isabs(record.path)


def test_two_folders_are_split_by_the_seed(tree):
    names = [f"p{number:02d}" for number in range(20)]
    root = tree(*(f"images/{n}.jpg" for n in names), *(f"masks/{n}.png" for n in names))
    train, val = (read_mask_folders(root, split, 0.25, 3) for split in ("train", "val"))
    both = [record.path for listed in (train, val) for record in listed.records]
    assert len(train.records) == 15 and len(set(both)) == 20
    assert "5 of 20 images are held out (DATA.VAL_RATIO 0.25)" in " ".join(train.notes)
    assert (
        read_mask_folders(root, "val", 0.25, 3) == val == read_mask_folders(root, "test", 0.25, 3)
    )
    assert read_mask_folders(root, "val", 0.25, 4) != val
    assert not read_mask_folders(root, "train", 0, 3).notes
    with pytest.raises(AbsentError, match="leaves no images for val: it holds 20"):
        read_mask_folders(root, "val", 0, 3)


def test_what_has_no_partner_is_told(tree):
    root = tree(
        "train/images/a.jpg", "train/images/b.jpg", "train/images/note.txt", "train/masks/a.png",
        "train/masks/c.png", "train/masks/.d.png",
    )  # fmt: skip
    listed = read_mask_folders(root, "train", 0)
    notes = " ".join(listed.notes)
    assert "left out 1 mask without an image of the name: c.png" in notes
    assert "left out 1 file without a suffix of images (1 .txt): note.txt" in notes
    assert "1 hidden image" in notes
    _, told = check_list("train", listed.records)
    assert told == [f"1 of 2 train images or masks do not exist: {root}/train/masks/b.png"]
    with pytest.raises(DataError, match=r"more than DATA.MAX_BAD_RATIO 0.3 allows: .*b.png"):
        check_list("train", listed.records, 0.3)


def test_other_folders_with_masks_are_told(tree):
    root = tree(
        "train/images/a.jpg", "train/masks/a.png", "extra/images/a.jpg", "extra/masks/a.png"
    )
    assert f"{root}: left out extra, of no part's name" in read_mask_folders(root, "train", 0).notes


def test_accents_of_two_systems_are_one_name(tree):
    root = tree("images/\u00e9.jpg", "masks/e\u0301.png")
    (record,) = read_mask_folders(root, "train", 0).records
    assert record.mask == f"{root}/masks/e\u0301.png"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"holds nothing; set DATA.PATH_TO_DATA_DIR to a folder with images and masks in it"),
        (("images/a.jpg",), "holds images; set"),
        (("train/images/a.jpg",), r"the folder of masks .*train/masks is not there"),
        (("val/images/a.jpg", "val/masks/a.png"), r"has no train/images and train/masks"),
        (
            ("images/a.jpg", "masks/a_mask.png"),
            r"none of the 1 image .* is a.jpg, and a_mask.png b",
        ),
        (("images/a.txt", "masks/a.png"), r"images holds no images; their names end in"),
        (
            ("images/a.jpg", "images/a.png", "masks/a.png"),
            r"holds a.jpg and a.png; an image and its",
        ),
        (("images/a.jpg", "masks/a.bmp", "masks/a.png"), r"masks holds a.bmp and a.png"),
        (
            ("train/images/a.jpg", "train/masks/a.png", "valid/images/a.jpg", "valid/masks/a.png"),
            r"has a folder valid, which is no part; .* train, val, test: call it val",
        ),
        (
            (
                "images/train/a.jpg",
                "masks/train/a.png",
                "images/testing/a.jpg",
                "masks/testing/a.png",
            ),
            r"has a folder images/testing, which is no part; .* call it test",
        ),
        (("images/validation/a.jpg", "annotations/validation/a.png"), r"set TRAIN.DATASET ade20k"),
    ],
)
def test_folders_that_cannot_be_read(tree, names, message):
    with pytest.raises(DataError, match=message):
        read_mask_folders(tree(*names), "train")


def test_ade20k_as_it_comes(tree):
    root = tree(
        "data/images/training/ADE_train_1.jpg",
        "data/annotations/training/ADE_train_1.png",
        "data/images/validation/ADE_val_1.jpg",
        "data/annotations/validation/ADE_val_1.png",
    )
    assert pairs(read_ade20k(root / "data", "train"), root) == [
        ("images/training/ADE_train_1.jpg", "data/annotations/training/ADE_train_1.png")
    ]
    val = read_ade20k(root / "data", "val")
    assert val == read_ade20k(root / "data", "test") and len(val.records) == 1
    assert val.class_names[:3] == ["wall", "building", "sky"] and len(val.class_names) == 150
    assert find_format("ade20k").zero_is_other
    (root / "data").rename(root / "ADEChallengeData2016")
    with pytest.raises(DataError, match=r"set DATA.PATH_TO_DATA_DIR .*ADEChallengeData2016, the"):
        read_ade20k(root, "train")


def test_ade20ks_names_and_colours():
    names, palette = class_names("ade20k"), ade20k_palette()
    assert names[7] == "bed" and names[-1] == "flag" and len(set(names)) == 150
    assert len(palette) == 150 and palette[0] == (120, 120, 120) and palette[-1] == (92, 0, 255)


def test_csv_lists(tree):
    root = tree(
        **{
            "train.csv": "Mask;path;weight\nm/a.png;a, b.jpg;2\n\nm/c.png;c.jpg;\n",
            "val.csv": "path,mask,group\nd.jpg,d.png,x\ne.jpg,,y\n",
            "classes.txt": "sky\nground\n",
        }
    )
    train, test = read_mask_csv(root, "train"), read_mask_csv(root, "test")
    assert pairs(train, root) == [("a, b.jpg", "m/a.png"), ("c.jpg", "m/c.png")]
    assert [record.weight for record in train.records] == [2, 1]
    assert [(r.group, bool(r.mask)) for r in test.records] == [("x", True), ("y", False)]
    assert train.class_names == ["sky", "ground"]
    elsewhere = read_mask_csv(root, "train", prefix="/disk").records[1]
    assert (elsewhere.path, elsewhere.mask) == ("/disk/c.jpg", "/disk/m/c.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"train.csv lists no images; its first line is `path,mask`"),
        ("path,mask\n", "lists no images below its header"),
        (
            "path,label\na.jpg,1\n",
            r"train.csv:1: unknown column 'label'; the columns are path, mask",
        ),
        ("path\na.jpg\n", r"train.csv:1: "),
        (
            "a.jpg,a.png\n",
            r"train.csv:1: unknown column 'a.jpg'; the columns are path, mask and, w",
        ),
        ("path,mask\na.jpg\n", "train.csv:2: 1 cells below a header of 2"),
        ("path,mask\n,a.png\n", "train.csv:2: the path is empty"),
    ],
)
def test_csv_lists_that_cannot_be_read(tree, text, message):
    with pytest.raises(DataError, match=message):
        read_mask_csv(tree(**{"train.csv": text}), "train")


@pytest.mark.parametrize("line", ["sky,1,2,3", "sky, 1, 2, 3", "sky;1;2;3", "sky\t1 2 3"])
def test_classes_with_colours(tree, line):
    root = tree(**{"classes.txt": f"{line}\ngrass, tall, 4,5,6\nignored,0,0,0\n\n"})
    classes = mask_classes("", root)
    assert classes.names == ["sky", "grass, tall"]
    assert classes.palette == [(1, 2, 3), (4, 5, 6)] and classes.ignored_colour == (0, 0, 0)
    assert mask_classes(str(root / "classes.txt"), "/nowhere") == classes
    assert mask_classes("ade20k", root).names == class_names("ade20k")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sky,1,2,3\ngrass\n", "classes.txt:2: 'grass' has no colour, and other lines have one"),
        ("sky,1,2,256\n", "classes.txt:1: 'sky,1,2,256': a colour is three numbers from 0 to 255"),
        ("sky,1,2,3\ngrass,1,2,3\n", "classes.txt:2: grass has the colour of sky, 1,2,3"),
        ("sky,1,2,3\nsky,1,2,4\n", "names a class twice: sky"),
        ("ignored,1,2,3\n", "must hold one class name a line"),
        ("sky,1,2,3,255\n", "classes.txt:1: 'sky,1,2,3,255' has more than three numbers"),
        ("ignored,1,2,3\nignored,2,2,3\n", "classes.txt:2: ignored has a colour already"),
    ],
)
def test_classes_that_cannot_be_read(tree, text, message):
    with pytest.raises(DataError, match=message):
        mask_classes("", tree(**{"classes.txt": text}))


def test_a_picture_has_one_mask_and_its_classes_keep_their_numbers():
    first = VideoRecord("a.jpg", "a", (), "l:2", mask="m/a.png")
    other = VideoRecord("a.jpg", "a", (), "l:3", mask="n/a2.png")
    assert without_repeats([first, first]) == [first]
    with pytest.raises(
        DataError, match=re.escape("l:3: a has the mask n/a2.png, and in l:2 m/a.png")
    ):
        without_repeats([first, other])
    assert list_digest([first]) != list_digest([other])
    assert relabelled([first], [0, 1, 2]) == [first]
    with pytest.raises(DataError, match=r"l:2: the classes stand in another order.*m/a.png hold"):
        relabelled([first], [1, 0, 2])


def test_lists_of_masks_are_columns(tree):
    lines = "path,mask\na.jpg,a.png\nb.jpg,b.png\n"
    root = tree(
        "images/a.jpg", "masks/a.png", "images/b.jpg", "masks/b.png", **{"train.csv": lines}
    )
    for listed in (read_mask_csv(root, "train"), read_mask_folders(root, "train", 0.0)):
        assert isinstance(listed.records, VideoColumns) and len(listed.records) == 2
        assert {os.path.basename(one.mask) for one in listed.records} == {"a.png", "b.png"}


def test_a_line_without_a_mask_is_missing_beside_others(tree):
    root = tree("a.jpg", "a.png", "b.jpg", **{"val.csv": "path,mask\na.jpg,a.png\nb.jpg,\n"})
    _, told = check_list("val", read_mask_csv(root, "val").records)
    assert told == [f"1 of 2 val images or masks do not exist: {root}/b.jpg (no mask is given)"]
