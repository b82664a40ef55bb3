"""The pictures and masks of the segmentation demo: exact masks, colours that tell no class, equal files."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from uniformer_video.errors import DataError
from uniformer_video.prepare import dense_scenes
from uniformer_video.prepare.dense_demo import DenseDemo, generate_dense_demo, render_pair
from uniformer_video.prepare.dense_scenes import CLASS_NAMES, PALETTE, SHAPES, SIDE, draw_things
from uniformer_video.randomness import generator

FEW = {"train": 20, "val": 5, "test": 8}
# Corners of shapes of size 1, in order; a cross has arms of length 1 and half a width of 0.3.
A, B = 0.3, 1.0
CORNERS = {
    "square": [(-0.75, -0.75), (0.75, -0.75), (0.75, 0.75), (-0.75, 0.75)],
    "cross": [(A, A), (B, A), (B, -A), (A, -A), (A, -B), (-A, -B), (-A, -A), (-B, -A), (-B, A), (-A, A),
              (-A, B), (A, B)],
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("dense")
    assert generate_dense_demo(root, DenseDemo(**FEW), processes=2) == 33
    return root


def digests(root):
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in files
    }


def is_inside(thing, x, y):
    """Whether a point of the picture lies in a thing: by distance, or by a ray's crossings with edges."""
    point = complex(x - thing.x, y - thing.y) * np.exp(-1j * thing.angle) / thing.size
    if thing.shape == "disc":
        return abs(point) <= 0.9
    if thing.shape == "ring":
        return 0.4 <= abs(point) <= 1.0
    corners, inside = CORNERS[thing.shape], False
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 > point.imag) != (y1 > point.imag):
            crossing = x0 + (point.imag - y0) * (x1 - x0) / (y1 - y0)
            inside ^= crossing > point.real
    return inside


def slow_mask(things):
    """The class of the front-most thing at each pixel, one by one."""
    mask = np.zeros((SIDE, SIDE), int)
    for y, x in np.ndindex(mask.shape):
        front = next((thing for thing in reversed(things) if is_inside(thing, x, y)), None)
        mask[y, x] = front.label if front else 0
    return mask


@pytest.mark.parametrize("number", range(3))
def test_masks_are_exact(number, monkeypatch):
    """Against points in polygons; and the mask is that of the things in the picture."""
    drawn = []

    def remember(rng):
        drawn.extend(draw_things(rng))
        return drawn

    monkeypatch.setattr(dense_scenes, "draw_things", remember)
    _, mask = render_pair(0, 2, number)
    assert np.array_equal(mask, slow_mask(drawn))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_is_where_the_picture_changed(shape):
    """White things on black: a pixel is the thing's where its brightness is half or more."""
    for seed in range(3):
        rng = generator("test", seed)
        thing = replace(
            draw_things(rng)[0], shape=shape, label=3, texture="", colors=np.ones((2, 3))
        )
        picture, mask = np.zeros((SIDE, SIDE, 3)), np.full((SIDE, SIDE), 7, np.uint8)
        dense_scenes.paint(picture, mask, thing)
        assert np.array_equal(mask == 3, picture[..., 0] >= 0.5) and set(np.unique(mask)) == {3, 7}


def test_files_are_indexed_masks_beside_pictures(made):
    lines = [line.split(",") for line in (made / "classes.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == list(CLASS_NAMES) and len(lines) == 8
    assert [tuple(map(int, line[1:])) for line in lines] == list(PALETTE)
    for place, (split, count) in enumerate(FEW.items()):
        stems = [f"{index:05d}" for index in range(count)]
        for kind, suffix in (("images", ".jpg"), ("masks", ".png")):
            names = sorted(path.name for path in (made / split / kind).iterdir())
            assert names == [stem + suffix for stem in stems]
        picture, mask = render_pair(0, place, 3)
        with Image.open(made / split / "masks/00003.png") as file:
            assert file.mode == "P" and np.array_equal(np.asarray(file), mask)
            shown = np.asarray(file.convert("RGB"))
        assert np.array_equal(shown, np.array(PALETTE)[mask])
        with Image.open(made / split / "images/00003.jpg") as file:
            assert file.size == (128, 128)
            assert abs(np.asarray(file).astype(int) - picture).mean() < 12  # JPEG


def test_any_number_of_processes_makes_the_same_files(made, tmp_path):
    generate_dense_demo(tmp_path, DenseDemo(**FEW), processes=1)
    assert digests(tmp_path) == digests(made)
    pictures = [digest for name, digest in digests(made).items() if name.endswith(".jpg")]
    assert len(set(pictures)) == 33  # no picture of a split is one of another


def test_what_is_missing_is_made_anew(made):
    first = digests(made)
    (made / "test/images/00007.jpg").unlink()
    (made / "val/masks/00001.png").unlink()
    seen = []
    demo = DenseDemo(**FEW)
    assert generate_dense_demo(made, demo, 1, progress=lambda *done: seen.append(done)) == 2
    assert seen == [(32, 33), (33, 33)] and digests(made) == first
    with pytest.raises(DataError, match="delete that folder"):
        generate_dense_demo(made, DenseDemo(**FEW, seed=1))


def test_classes_are_balanced_and_colours_do_not_tell_them():
    """Over many pictures things of all classes are as frequent, as large, and of the same mean colours."""
    rng = generator("test", 0)
    things = [thing for _ in range(400) for thing in draw_things(rng)]
    for label in range(1, len(CLASS_NAMES)):
        of_class = [thing for thing in things if thing.label == label]
        assert len(of_class) == pytest.approx(400 * 4 / 7, rel=0.2)
        assert np.mean([thing.size for thing in of_class]) == pytest.approx(28.5, abs=0.6)
        light, dark = np.mean([thing.colors for thing in of_class], axis=0)
        assert light == pytest.approx(np.full(3, 0.74), abs=0.05)
        assert dark == pytest.approx(np.full(3, 0.18), abs=0.05)
    plain = {thing.shape for thing in things if not thing.label}
    assert plain == set(SHAPES) and not any(thing.texture for thing in things if not thing.label)


def test_things_overlap_but_all_are_seen():
    masks = [render_pair(0, 0, index)[1] for index in range(40)]
    pixels = np.stack([np.bincount(mask.ravel(), minlength=8) for mask in masks])
    assert (pixels.sum(0) > 0.01 * pixels.sum()).all()
    for index in range(10):
        rng = generator("test", index)
        picture, mask = np.zeros((SIDE, SIDE, 3)), np.full((SIDE, SIDE), 255, np.uint8)
        things = draw_things(rng)
        for number, thing in enumerate(things):
            dense_scenes.paint(picture, mask, replace(thing, label=number))
        assert set(range(len(things))) <= set(np.unique(mask))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dense", "--hard"], "--hard and --dense make different sets"),
        (["--dense", "--stills", "100"], "--stills goes with --inflation"),
        (["--dense", "--classes", "3"], "--classes goes with --hard"),
        (["--dense", "--val", "0"], "--val is 0; with --dense it takes 1 or more"),
        (["--dense", "--seed", "-1"], "--seed is -1; with --dense it takes 0 or more"),
    ],
)
def test_options_that_do_not_fit(call, tmp_path, words, message):
    status, _, errors = call("make-demo-data", "--out", tmp_path / "out", *words)
    assert status == 2 and message in errors


def test_the_command(call, tmp_path):
    numbers = [word for name, count in FEW.items() for word in (f"--{name}", count)]
    status, _, errors = call("make-demo-data", "--dense", "--out", tmp_path, *numbers)
    assert status == 0 and "33 pictures made, 0 were there" in errors


def test_the_run_says_what_makes_its_set(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, errors = call("run", "--cfg", "demo/dense")
    assert status == 2 and "no folder datasets/dense; `" in errors
    assert "make-demo-data --dense` makes it" in errors
