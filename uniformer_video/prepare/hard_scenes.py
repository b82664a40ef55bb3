"""Pictures of the hard demo videos: a scene's background, and the objects that move before it.

A scene is a place that videos share: two textures, of which one moves before the other in a part of the
picture, the light, the camera and its shake. All is drawn from a generator; nothing here knows a class.
"""

from collections.abc import Iterator, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass

import numpy as np

HEIGHT, WIDTH = 240, 320
_TILE = 512  # side of a texture, which goes on over its edges
_MARGIN = 24  # pixels, the largest shake
_SHAKE = 0.5, 1.5  # pixels
_PAN = 2.0  # pixels a second, at most, either way
_DRIFT = 4.0, 12.0  # pixels a second, of the texture that moves
_FORMS, _STRIPES = ("box", "disc", "diamond"), (0, 2, 3)


@dataclass(frozen=True)
class Scene:
    """What the videos of one place have in common.

    still, moving: `uint8 [512, 512, 3]` textures; share: `uint8 [240, 320, 1]` of 255, where the moving
    one shows. light: range of factors. shake: pixels. noise: `int8 [n, n]` of the sensor. frame_rates: of
    its cameras. clutter: how many objects beside the one that counts, at most.
    """

    still: np.ndarray
    moving: np.ndarray
    share: np.ndarray
    light: tuple[float, float]
    shake: float
    noise: np.ndarray
    frame_rates: tuple[int, ...]
    clutter: int


@dataclass(frozen=True)
class Track:
    """Where an object is in each of T frames, all `float [T]`.

    x, y: its middle, in pixels; size: half its length, in pixels; angle: radians, clockwise on the
    screen; shown: 0, nothing, to 1.
    """

    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    angle: np.ndarray
    shown: np.ndarray


@dataclass(frozen=True)
class Look:
    """Form and colours of an object. aspect: its width over its length; stripes: how many, 0 = two halves."""

    form: str
    aspect: float
    stripes: int
    colors: np.ndarray  # float32 [2, 3], 0..255


def draw_scene(rng: np.random.Generator) -> Scene:
    """A random place."""
    dark = rng.uniform(0.6, 0.9)
    return Scene(
        still=_texture(rng),
        moving=_texture(rng),
        share=_soft_stripes(rng),
        light=(dark, dark + rng.uniform(0.15, 0.4)),
        shake=rng.uniform(*_SHAKE),
        noise=(rng.uniform(2, 7) * rng.standard_normal((400, 400))).clip(-127, 127).astype(np.int8),
        frame_rates=tuple(int(rate) for rate in rng.choice([24, 25, 30, 48, 50, 60], 3, False)),
        clutter=int(rng.integers(1, 4)),
    )


def draw_look(rng: np.random.Generator, counts: bool) -> Look:
    """A random object: light and dark where it `counts`, else of two dull colours, like the background's."""
    if counts:
        colors = np.stack([rng.uniform(200, 255, 3), rng.uniform(0, 50, 3)])
        colors = rng.permutation(colors).astype(np.float32)
    else:
        colors = rng.uniform(60, 195, (2, 3)).astype(np.float32)
    form = str(rng.choice(_FORMS))
    return Look(form, rng.uniform(0.55, 1.0), int(rng.choice(_STRIPES)), colors)


def draw_usual_look(rng: np.random.Generator, kind: int) -> Look:
    """A random object of a kind, of about 8, as a class of real videos has its own things."""
    hue = (kind / 8 + rng.uniform(-0.08, 0.08)) % 1
    light, dark = rng.uniform(0.85, 1.0), rng.uniform(0.15, 0.35)
    colors = np.array([hsv_to_rgb(hue, rng.uniform(0.3, 0.8), light), hsv_to_rgb(hue, 1, dark)])
    colors = rng.permutation(255 * colors).astype(np.float32)
    return Look(_FORMS[kind % 3], rng.uniform(0.55, 1.0), _STRIPES[kind // 3 % 3], colors)


def film(
    scene: Scene, times: np.ndarray, objects: Sequence[tuple[Track, Look]], rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The frames at `times`, seconds from the first: `uint8 [240, 320, 3]` RGB each.

    Objects are drawn in their order, the last in front.
    """
    shake = _shake(times, scene.shake, rng)
    place = rng.integers(0, _TILE, (2, 2))
    pan = rng.uniform(-_PAN, _PAN, 2) * (times - times.mean())[:, None]  # pixels
    drift = rng.uniform(*_DRIFT) * _direction(rng) * (times - times.mean())[:, None]
    light = _light(times, scene.light, rng)
    speckles = rng.integers(0, len(scene.noise) - WIDTH, (len(times), 2))
    for index in range(len(times)):
        camera = shake[index]
        frame = _background(scene, place, camera + pan[index], drift[index])
        for track, look in objects:
            _draw(frame, track, look, index, camera)
        frame *= light[index]
        row, column = speckles[index]
        frame += scene.noise[row : row + HEIGHT, column : column + WIDTH, None]
        yield frame.clip(0, 255).astype(np.uint8)


def smooth_walk(
    times: np.ndarray,
    amplitude: float,
    rng: np.random.Generator,
    slowest: float = 0.2,
    fastest: float = 0.8,
) -> np.ndarray:
    """Aimless movement about 0, a sum of slow waves (`slowest` to `fastest` a second): `float [T, 2]`."""
    waves = [
        rng.uniform(0.3, 1.0, 2)
        * np.sin(2 * np.pi * (rng.uniform(slowest, fastest) * times[:, None] + rng.random(2)))
        for _ in range(3)
    ]
    return amplitude / 2 * np.sum(waves, axis=0)


def _shake(times: np.ndarray, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """How far the camera looks beside its place: `float [T, 2]`, down and right, pixels."""
    held = smooth_walk(times, amplitude, rng, 0.5, 5.0)
    return held.clip(-_MARGIN, _MARGIN)


def _light(times: np.ndarray, limits: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """A factor of brightness for each frame: `float32 [T]`."""
    flicker = 0.08 * np.sin(2 * np.pi * (rng.uniform(0.1, 1.0) * times + rng.random()))
    return (rng.uniform(*limits) + flicker).astype(np.float32)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sin(angle), np.cos(angle)])


def _background(
    scene: Scene, place: np.ndarray, camera: np.ndarray, drift: np.ndarray
) -> np.ndarray:
    """`float32 [240, 320, 3]`, 0..255."""
    still = _cut(scene.still, place[0] + camera).astype(np.float32)
    moving = _cut(scene.moving, place[1] + camera + drift)
    share = scene.share.astype(np.float32) / 255
    still += share * (moving - still)
    return still


def _cut(texture: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """A picture's worth of a texture, from (top, left)."""
    top, left = (int(each) for each in np.round(corner))
    rows = np.arange(top, top + HEIGHT) % _TILE
    columns = np.arange(left, left + WIDTH) % _TILE
    return texture[rows][:, columns]


def _draw(frame: np.ndarray, track: Track, look: Look, index: int, camera: np.ndarray) -> None:
    """Paint one object into a frame, in place."""
    shown, size = track.shown[index], track.size[index]
    x, y = track.x[index] - camera[1], track.y[index] - camera[0]
    reach = 1.5 * size + 2
    top, bottom = max(int(y - reach), 0), min(int(y + reach) + 1, HEIGHT)
    left, right = max(int(x - reach), 0), min(int(x + reach) + 1, WIDTH)
    if shown <= 0 or top >= bottom or left >= right:
        return
    down = (np.arange(top, bottom, dtype=np.float32) - np.float32(y))[:, None]
    across = (np.arange(left, right, dtype=np.float32) - np.float32(x))[None]
    cos, sin = np.float32(np.cos(track.angle[index])), np.float32(np.sin(track.angle[index]))
    u = (cos * across + sin * down) / np.float32(size)
    v = (cos * down - sin * across) / np.float32(size * look.aspect)
    if look.form == "box":
        distance = np.maximum(abs(u), abs(v))
    elif look.form == "disc":
        distance = np.sqrt(u * u + v * v)
    else:
        distance = (abs(u) + abs(v)) / np.float32(1.3)
    cover = ((1 - distance) * np.float32(size * look.aspect) + np.float32(0.5)).clip(0, 1)
    second = np.floor(u * look.stripes).astype(int) % 2 == 1 if look.stripes else u > 0
    colors = look.colors[second.astype(int)]
    part = frame[top:bottom, left:right]
    part += (cover * np.float32(shown))[..., None] * (colors - part)


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Blotches of five sizes between three colours: `uint8 [512, 512, 3]`, which repeats without a seam."""
    level = np.zeros((_TILE, _TILE))
    for cells in (4, 8, 16, 32, 64):
        level += cells ** -rng.uniform(0.2, 0.7) * _grown(rng.standard_normal((cells, cells)))
    level = (level - level.min()) / np.ptp(level)
    colors = rng.uniform(85, 171, (3, 3))  # dull: the object that counts has to stand out
    lower = (2 * level).clip(0, 1)[..., None]
    upper = (2 * level - 1).clip(0, 1)[..., None]
    mixed = colors[0] + lower * (colors[1] - colors[0])
    return (mixed + upper * (colors[2] - mixed)).astype(np.uint8)


def _grown(knots: np.ndarray) -> np.ndarray:
    """`[n, n]` values scaled to `[512, 512]`, bilinear, over the edges."""
    cells = len(knots)
    points = np.arange(_TILE) * cells / _TILE
    first = points.astype(int)
    part = points - first
    second = (first + 1) % cells
    rows = knots[first] * (1 - part)[:, None] + knots[second] * part[:, None]
    return rows[:, first] * (1 - part) + rows[:, second] * part


def _soft_stripes(rng: np.random.Generator) -> np.ndarray:
    """Where the moving texture shows: one to three bands across the picture, `uint8 [240, 320, 1]`."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / HEIGHT
    direction = _direction(rng)
    wave = np.sin(
        2 * np.pi * (rng.uniform(0.5, 1.5) * (direction[0] * y + direction[1] * x) + rng.random())
    )
    return (255 * (0.5 + 4 * (wave - rng.uniform(-0.2, 0.6))).clip(0, 0.9))[..., None].astype(
        np.uint8
    )
