"""Pictures of the segmentation demo, with the class of each of their pixels.

Textured shapes overlap before a busy background. A class is a shape and a texture: colours are drawn alike
for all, plain shapes stand among the others, and a part of the ground is textured, so that neither colour,
shape nor texture alone tells a class.
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from uniformer_video.prepare.appearances import TEXTURES, depth, is_dark

SIDE = 128  # pixels, both ways
SHAPES = ("disc", "ring", "square", "cross")
# Of the eight pairs one is left out, a dotted ring, whose band is too narrow for dots: with the background
# that makes eight classes.
LOOKS = tuple(pair for pair in product(SHAPES, TEXTURES) if pair != ("ring", "dotted"))
CLASS_NAMES = ("background", *(f"{texture} {shape}" for shape, texture in LOOKS))
# RGB of the classes, in masks and on pages.
PALETTE = (
    (40, 40, 40), (230, 75, 60), (250, 170, 50), (60, 150, 230), (60, 180, 90), (170, 220, 110),
    (150, 80, 200), (240, 130, 200),
)  # fmt: skip
_CELLS = 3  # things stand in cells of a grid, 3 x 3, so that they overlap and none covers another's middle
_JITTER = 10.0  # pixels from the middle of a cell, at most, both ways
_SIZES = 25.0, 32.0  # pixels from the middle of a thing to its rim, somewhat less for some shapes
_PERIODS = 8.0, 11.0  # of a texture, in pixels
_THINGS = 3, 5  # with a class, in a picture, at least and at most
_PLAIN = 0, 1  # without a texture, which belong to the background
_NOISE = 0.03
_TEXTURED_GROUND = 0.05  # share of a picture, about


@dataclass(frozen=True)
class Thing:
    """A shape in a picture.

    label: its class, 0 for a plain one. x, y: its middle, in pixels, where 0 is the middle of the first one.
    size: pixels. angle: radians, clockwise on the screen. texture: one of `TEXTURES`, "" for none; period:
    pixels; shift: of the texture, in periods. colors: `[2, 3]` in 0..1.
    """

    label: int
    shape: str
    x: float
    y: float
    size: float
    angle: float
    texture: str
    period: float
    shift: tuple[float, float]
    colors: np.ndarray


def render(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random picture, `uint8 [SIDE, SIDE, 3]` RGB, and the classes of its pixels, `uint8 [SIDE, SIDE]`."""
    picture = _background(rng)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for thing in draw_things(rng):
        paint(picture, mask, thing)
    picture *= rng.uniform(0.75, 1.1)  # the light
    picture += _NOISE * rng.standard_normal(picture.shape)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8), mask


def draw_things(rng: np.random.Generator) -> list[Thing]:
    """The things of a picture, the last in front: some of random classes, and some plain ones."""
    number = rng.integers(*_THINGS, endpoint=True)
    labels = rng.integers(1, len(CLASS_NAMES), number).tolist()
    labels += [0] * int(rng.integers(*_PLAIN, endpoint=True))
    cells = rng.permutation(_CELLS**2)
    order = rng.permutation(labels)
    return [
        _draw_thing(int(label), int(cell), rng) for label, cell in zip(order, cells, strict=False)
    ]


def paint(picture: np.ndarray, mask: np.ndarray, thing: Thing) -> None:
    """Paint a thing into `picture` and its class into `mask`, in place.

    picture: `float [H, W, 3]` in 0..1; mask: `uint8 [H, W]`. The rim is smooth in the
    picture; in the mask a pixel is the thing's where its middle lies inside.
    """
    down, across = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.0
    right, below = across - thing.x, down - thing.y
    u = np.cos(thing.angle) * right + np.sin(thing.angle) * below
    v = np.cos(thing.angle) * below - np.sin(thing.angle) * right
    inside = depth(thing.shape, u / thing.size, v / thing.size) * thing.size
    picture += (inside + 0.5).clip(0, 1)[..., None] * (_surface(thing, u, v) - picture)
    mask[inside >= 0] = thing.label


def _draw_thing(label: int, cell: int, rng: np.random.Generator) -> Thing:
    """A random thing of a class in a cell of the grid."""
    if label:
        shape, texture = LOOKS[label - 1]
    else:
        shape, texture = SHAPES[rng.integers(len(SHAPES))], ""
    middle = (np.array(divmod(cell, _CELLS)) + 0.5) * SIDE / _CELLS - 0.5
    y, x = middle + rng.uniform(-_JITTER, _JITTER, 2)
    return Thing(
        label=label,
        shape=shape,
        x=float(x),
        y=float(y),
        size=float(rng.uniform(*_SIZES)),
        angle=float(rng.uniform(0, 2 * np.pi)),
        texture=texture,
        period=float(rng.uniform(*_PERIODS)),
        shift=(float(rng.random()), float(rng.random())),
        colors=_colors(rng),
    )


def _surface(thing: Thing, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The colours of a thing at points in pixels from its middle, along and across it: `[..., 3]`."""
    if not thing.texture:
        return thing.colors[int(thing.shift[0] < 0.5)]
    dark = is_dark(
        thing.texture, u / thing.period + thing.shift[0], v / thing.period + thing.shift[1]
    )
    return thing.colors[dark.astype(int)]


def _colors(rng: np.random.Generator) -> np.ndarray:
    """A light and a dark colour, of any two hues: `[2, 3]` in 0..1."""
    light = hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.8, 1.0))
    dark = hsv_to_rgb(rng.random(), rng.uniform(0.4, 1.0), rng.uniform(0.15, 0.4))
    return np.array([light, dark])


def _background(rng: np.random.Generator) -> np.ndarray:
    """Blotches of colour, of which some are striped or dotted: `float [SIDE, SIDE, 3]` in 0..1."""
    ground = _enlarge(rng.uniform(0.15, 0.85, (6, 6, 3))) + _enlarge(
        rng.uniform(-0.15, 0.15, (24, 24, 3))
    )
    down, across = np.mgrid[:SIDE, :SIDE] / rng.uniform(*_PERIODS)
    angle, texture = rng.uniform(0, 2 * np.pi), TEXTURES[rng.integers(len(TEXTURES))]
    u = np.cos(angle) * across + np.sin(angle) * down
    v = np.cos(angle) * down - np.sin(angle) * across
    level = _enlarge(rng.random((5, 5, 1)))[..., 0]
    textured = level > np.quantile(level, 1 - _TEXTURED_GROUND)
    colors = _colors(rng)[is_dark(texture, u, v).astype(int)]
    return np.where(textured[..., None], colors, ground)


def _enlarge(knots: np.ndarray) -> np.ndarray:
    """Values `[n, n, C]` in 0..1, scaled to `[SIDE, SIDE, C]`."""
    planes = [
        Image.fromarray(knots[..., plane].astype(np.float32)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        for plane in range(knots.shape[2])
    ]
    return np.stack([np.asarray(plane, np.float64) for plane in planes], axis=-1)
