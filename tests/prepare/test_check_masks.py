"""The check of images with their masks: what is broken is counted, and named with file and value."""

import csv

import numpy as np
import pytest
from masked_pictures import write_masked_pictures
from PIL import Image


@pytest.fixture
def root(tmp_path):
    """A folder with an error of each kind in it."""
    root = write_masked_pictures(tmp_path / "set", train=3, val=2)
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(root / "train/masks/train000.png")
    Image.fromarray(np.zeros((64, 60), np.uint8)).save(root / "train/masks/train001.png")
    (root / "val/masks/val000.png").unlink()
    (root / "val/images/val001.png").write_bytes(b"")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(root / "train/masks/lone.png")
    return root


def test_a_folder_with_errors(root, tmp_path, call):
    out = tmp_path / "bad.csv"
    code, said, told = call("prepare", "check", root, "--out", out, "--workers", 1)
    assert code == 2 and "5 images checked, 4 bad" in said
    assert "left out 1 mask without an image of the name: lone.png" in told
    with open(out) as table:
        _, *rows = csv.reader(table)
    reasons = {path.rpartition("/")[2]: reason for path, reason, *_ in rows}
    assert reasons.keys() == {"train000.png", "train001.png", "val000.png", "val001.png"}
    assert "masks/train000.png has 4096 pixels of the value 7" in reasons["train000.png"]
    assert "masks/train001.png is 60x64 pixels and its picture" in reasons["train001.png"]
    assert "masks/val000.png is not there" in reasons["val000.png"]
    assert "it is empty" in reasons["val001.png"]


def test_a_list_and_its_options(root, tmp_path, call):
    listed = root / "some.csv"
    listed.write_text(
        "path,mask\ntrain/images/train000.png,train/masks/train000.png\n"
        "train/images/train002.png,train/masks/train002.png\ntrain/images/train001.png,\n"
    )
    options = ("--out", tmp_path / "bad.csv", "--workers", 1)
    code, said, _ = call("prepare", "check", listed, *options)
    assert code == 2 and "3 images checked, 2 bad" in said and "train001.png: has no mask" in said
    code, said, _ = call("prepare", "check", listed, "--ignore-label", 7, *options)
    assert "is an empty mask: all of its 4096 pixels" in said
    (root / "classes.txt").unlink()
    code, said, _ = call("prepare", "check", listed, *options)
    assert "has no classes.txt" in said and "3 images checked, 1 bad" in said
    code, _, told = call("prepare", "check", listed, root / "train/images", "--images", *options)
    assert code == 2 and "has no masks, and others of the lists have" in told


def test_classes_that_no_mask_shows_are_told(tmp_path, call):
    """Masks of 0 and 255: the latter is ignored as it comes, and by its colour it is a class."""
    root = write_masked_pictures(tmp_path / "set", train=2, val=1, classes=2)
    for mask in root.glob("*/masks/*"):
        Image.fromarray(np.array(Image.open(mask)) * 255).save(mask)
    options = ("--out", tmp_path / "bad.csv", "--workers", 1)
    code, said, _ = call("prepare", "check", root, *options)
    assert code == 0 and "No mask that can be read shows 1 of the 2 classes: number 1. " in said
    (root / "classes.txt").write_text("ground,0,0,0\ndisc,255,255,255\n")
    code, said, _ = call("prepare", "check", root, *options)
    assert code == 0 and said == "3 images checked, 0 bad\n"


def test_a_hint_at_colours_is_given_to_those_who_lack_them(tmp_path, call):
    root = write_masked_pictures(tmp_path / "set", train=2, val=1, classes=2)
    options = ("--out", tmp_path / "bad.csv", "--workers", 1)
    (root / "classes.txt").write_text("ground,0,0,0\ndisc,1,1,1\nsky,2,2,2\n")
    _, said, _ = call("prepare", "check", root, *options)
    assert said.endswith("No mask that can be read shows 1 of the 3 classes: number 2\n")
    (root / "classes.txt").write_text("ground,9,9,9\ndisc,8,8,8\n")  # no mask can be read
    _, said, _ = call("prepare", "check", root, *options)
    assert "3 images checked, 3 bad" in said and "No mask" not in said


def test_folders_without_masks_and_folders_around_them_are_told(tmp_path, call):
    root = write_masked_pictures(tmp_path / "around" / "set", train=2, val=1)
    options = ("--out", tmp_path / "bad.csv", "--workers", 1)
    code, _, told = call("prepare", "check", tmp_path / "around", *options)
    assert code == 2 and f"holds set with images and masks in it; give {root} in place of" in told
    (root / "val").rename(root / "validation")
    code, _, told = call("prepare", "check", root, *options)
    assert code == 2 and "has a folder validation, which is no part" in told
    (root / "validation").rename(root / "val")
    for part in ("train", "val"):
        (root / part / "masks").rename(root / part / "labels")
    _, _, told = call("prepare", "check", root, *options)
    assert "train/images has no folder of masks beside it, so that no mask is looked at" in told
