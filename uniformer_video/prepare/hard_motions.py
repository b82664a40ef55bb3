"""What happens in the hard demo videos: the class's motion of one object, and others that mean nothing.

An object appears, rests, does the motion of its class within a second or two, rests and vanishes; a long
video shows that a few times, in other places. Every draw is the same for all classes, and the same from
behind, so that a frame tells nothing of the direction and little of the rest.
"""

import numpy as np

from uniformer_video.prepare.hard_scenes import HEIGHT, WIDTH, Track, smooth_walk

# In this order: --classes 2 takes the first two. Each pair is one motion and the same played backwards.
MOTIONS = (
    "come nearer",
    "go away",
    "rise",
    "fall",
    "circle clockwise",
    "circle counter-clockwise",
    "move left",
    "move right",
)
_SIZE = 40.0  # pixels, half the length of the object that shows the class


def act(label: int, times: np.ndarray, duration: float, rng: np.random.Generator) -> Track:
    """The track of the object that shows the class, at `times`; `duration` of the video, in seconds."""
    count = max(1, int(duration / rng.uniform(2.6, 3.8)))
    angle = rng.uniform(0, 2 * np.pi) + smooth_walk(times, 0.3, rng)[:, 0]
    tremble = smooth_walk(times, 3.0, rng)
    parts = [
        _one_event(label, times - duration * (number + 0.5) / count, duration / count, rng)
        for number in range(count)
    ]
    number = (times * count / duration).astype(int).clip(0, count - 1)
    x, y, size, shown = (np.choose(number, values) for values in zip(*parts, strict=True))
    return Track(x + tremble[:, 0], y + tremble[:, 1], size, angle, shown)


def distract(times: np.ndarray, duration: float, rng: np.random.Generator) -> Track:
    """A smaller object that does what says nothing: it strays, crosses the picture, spins or blinks."""
    start = rng.uniform((0, 0), (HEIGHT, WIDTH))
    walk = smooth_walk(times, rng.uniform(5, 40), rng)
    y, x = (start + walk).T
    size = rng.uniform(8, 16) * (1 + smooth_walk(times, 0.15, rng)[:, 0])
    angle = rng.uniform(0, 2 * np.pi) + np.zeros_like(times)
    shown = np.ones_like(times)
    kind = rng.integers(4)
    if kind == 1:
        speed = rng.uniform(20, 60) * rng.choice([-1, 1])
        x = (x + speed * times) % (WIDTH + 60) - 30
    elif kind == 2:
        angle = angle + rng.uniform(1, 5) * rng.choice([-1, 1]) * times
    elif kind == 3:
        shown = (2 * np.sin(2 * np.pi * (rng.uniform(0.2, 0.8) * times + rng.random()))).clip(0, 1)
    return Track(x, y, size.clip(6, 20), angle, shown)


def _one_event(
    label: int, times: np.ndarray, room: float, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """x, y, size and shown, all `float [T]`, of one performance in the `room` seconds around 0."""
    move, rests, fade = rng.uniform(1.1, 2.0), rng.uniform(0.2, 0.5, 2), 0.3
    length = move + rests.sum() + 2 * fade
    scale = min(1.0, room / length)
    slack = max(room - length, 0) / 2
    begin = rng.uniform(-slack, slack) - scale * length / 2
    end = begin + scale * length
    shown = (np.minimum(times - begin, end - times) / (scale * fade)).clip(0, 1)
    share = ((times - begin) / scale - fade - rests[0]) / move  # of the motion
    share = share.clip(0, 1)
    share = share * share * (3 - 2 * share)  # starts and ends slowly
    dx, dy, growth = _motion(MOTIONS[label], share - 0.5, rng)
    x, y, size = _resting_place(MOTIONS[label], rng)
    return x + dx, y + dy, size * np.exp(growth), shown


def _resting_place(motion: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """x, y and size half-way. What a motion spreads is drawn closer, so that all classes look alike."""
    x = rng.uniform(130, 190) if "move" in motion else rng.uniform(70, 250)
    y = rng.uniform(105, 135) if motion in ("rise", "fall") else rng.uniform(65, 175)
    size = _SIZE if motion in ("come nearer", "go away") else _SIZE * np.exp(rng.uniform(-0.5, 0.5))
    return x, y, size * np.exp(rng.uniform(-0.15, 0.15))


def _motion(
    motion: str, share: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels right, pixels down and log of the size's factor, for a share from -0.5 to 0.5 of the motion."""
    still = np.zeros_like(share)
    if motion in ("come nearer", "go away"):
        sign = 1 if motion == "come nearer" else -1
        return still, still, sign * rng.uniform(1.0, 1.4) * share
    if motion in ("rise", "fall"):
        sign = 1 if motion == "fall" else -1
        return still, sign * rng.uniform(90, 140) * share, still
    if motion in ("move left", "move right"):
        sign = 1 if motion == "move right" else -1
        return sign * rng.uniform(100, 160) * share, still, still
    sign = 1 if motion == "circle clockwise" else -1
    turns, radius = rng.uniform(0.8, 1.6), rng.uniform(36, 56)
    angle = 2 * np.pi * (rng.random() + sign * turns * share)
    return radius * np.cos(angle), radius * np.sin(angle), still
