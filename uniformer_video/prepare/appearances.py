"""Pictures of the inflation demo: an object with a shape, a texture and a colour before a busy background.

One function draws stills and videos alike, so that what a model learns from the ones is what it meets in the
others. A grey square stands behind it and means nothing.
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from itertools import product

import numpy as np

from uniformer_video.prepare.demo import SIDE, drifting_background

SHAPES = ("disc", "ring", "cross")
TEXTURES = ("striped", "dotted")
COLORS = ("orange", "blue")
_HUES = {"orange": 0.07, "blue": 0.62}
_HUE_SPREAD = 0.06
_SIZES = 13.0, 18.0  # pixels from the middle of an object to its rim
_PERIODS = 0.55, 0.75  # of a texture, as a share of the size
_NOISE = 0.02


@dataclass(frozen=True)
class Appearance:
    """What an object looks like: one of `SHAPES`, of `TEXTURES`, and of `COLORS`."""

    shape: str
    texture: str
    color: str

    @property
    def name(self) -> str:
        """As the name of a class: `orange striped disc`."""
        return f"{self.color} {self.texture} {self.shape}"


@dataclass(frozen=True)
class Motion:
    """Change of an object from one frame to the next."""

    dx: float = 0.0  # pixels
    dy: float = 0.0  # pixels, downwards
    growth: float = 0.0  # log of the size's factor


APPEARANCES = tuple(Appearance(*parts) for parts in product(SHAPES, TEXTURES, COLORS))
STILL = Motion()


def draw_frames(
    appearance: Appearance, motion: Motion, times: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """An object at `times`, in frames from the middle of its motion: `uint8 [T, SIDE, SIDE, 3]` RGB.

    Place, size, angle, the exact colours, the background and the grey square are random, and the same for
    every class; the motion is symmetric about time 0, so that no single frame tells it.
    """
    frames = drifting_background(times, rng)
    grey = np.full((2, 3), rng.uniform(0.2, 0.8))
    _paint(frames, "square", TEXTURES[0], grey, STILL, np.zeros(1), rng)
    _paint(
        frames, appearance.shape, appearance.texture, _colors(appearance, rng), motion, times, rng
    )
    frames *= rng.uniform(0.75, 1.1)  # the light
    frames += _NOISE * rng.standard_normal(frames.shape)
    return (frames.clip(0, 1) * 255).round().astype(np.uint8)


def _colors(appearance: Appearance, rng: np.random.Generator) -> np.ndarray:
    """A light and a dark colour of one hue, `[2, 3]` in 0..1."""
    hue = _HUES[appearance.color] + rng.uniform(-_HUE_SPREAD, _HUE_SPREAD)
    light = hsv_to_rgb(hue % 1, rng.uniform(0.35, 0.6), rng.uniform(0.85, 1.0))
    dark = hsv_to_rgb(hue % 1, rng.uniform(0.7, 1.0), rng.uniform(0.3, 0.5))
    return np.array([light, dark])


def _paint(
    frames: np.ndarray,
    shape: str,
    texture: str,
    colors: np.ndarray,
    motion: Motion,
    times: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Paint an object with `colors` `[2, 3]` into `frames` `[T, SIDE, SIDE, 3]`, in place.

    times: of each frame, or one for all.
    """
    middle = SIDE / 2 + rng.uniform(-11, 11, 2)
    x = (middle[0] + motion.dx * times)[:, None, None]
    y = (middle[1] + motion.dy * times)[:, None, None]
    size = (rng.uniform(*_SIZES) * np.exp(motion.growth * times))[:, None, None]
    angle, period = rng.uniform(-0.4, 0.4), rng.uniform(*_PERIODS)
    shift = rng.uniform(0, 1, 2)
    down, across = np.mgrid[:SIDE, :SIDE] + 0.0
    right, below = (across - x) / size, (down - y) / size
    u = np.cos(angle) * right + np.sin(angle) * below
    v = np.cos(angle) * below - np.sin(angle) * right
    cover = (depth(shape, u, v) * size + 0.5).clip(0, 1)[..., None]
    dark = is_dark(texture, u / period + shift[0], v / period + shift[1])
    frames += cover * (colors[dark.astype(int)] - frames)


def depth(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How far points lie inside the rim of a shape of size 1; outside below 0."""
    if shape == "disc":
        return 0.9 - np.hypot(u, v)
    if shape == "ring":
        return 0.3 - abs(np.hypot(u, v) - 0.7)
    if shape == "square":
        return 0.75 - np.maximum(abs(u), abs(v))
    wide, high = (np.minimum(1.0 - abs(a), 0.3 - abs(b)) for a, b in ((u, v), (v, u)))
    return np.maximum(wide, high)


def is_dark(texture: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Which points have the dark colour; a texture repeats with period 1, and half of it is dark, or less."""
    if texture == "striped":
        return u % 1 < 0.5
    return np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.36
