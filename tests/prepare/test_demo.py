"""The demo videos show motion and nothing else, and come out the same each time."""

import numpy as np
import pytest

from uniformer_video.data.decoding import open_video
from uniformer_video.errors import DataError
from uniformer_video.prepare import demo
from uniformer_video.randomness import generator


def centre_of_change(label, seed):
    """How the shape's centre, size and angle move over a video, measured from its coverage."""
    rng = generator("test", seed)
    length = int(rng.integers(20, 29))
    times = np.arange(length) - (length - 1) / 2
    motion = demo._motion(label, rng)
    inside, _ = demo._shape(times, motion, rng)
    y, x = np.mgrid[: demo.SIDE, : demo.SIDE]
    weight = inside.sum((1, 2))
    return (inside * x).sum((1, 2)) / weight, (inside * y).sum((1, 2)) / weight, weight


@pytest.mark.parametrize("seed", range(5))
def test_motions_are_what_their_names_say(seed):
    names = dict(enumerate(demo.CLASS_NAMES))
    for label, name in names.items():
        x, y, area = centre_of_change(label, seed)
        middle = slice(len(x) // 2 - 3, len(x) // 2 + 3)
        dx, dy = np.diff(x[middle]).mean(), np.diff(y[middle]).mean()
        growth = np.diff(np.log(area[middle])).mean()
        moves = {"move left": dx < -0.5, "move right": dx > 0.5, "move up": dy < -0.5}
        moves |= {"move down": dy > 0.5, "grow": growth > 0.04, "shrink": growth < -0.04}
        assert [n for n, true in moves.items() if true] == ([name] if name in moves else [])


def test_turns_have_their_direction():
    for label, sign in ((6, 1), (7, -1)):
        motion = demo._motion(label, generator("test", 0))
        assert np.sign(motion.turn) == sign


def middle_frame(label, rng):
    """The middle frame of what `render` makes, in 0..255, without its noise."""
    length = int(rng.integers(20, 29))
    times = np.arange(length) - (length - 1) / 2
    return 255 * demo._without_noise(label, times[length // 2 :][:1], rng)[0][0]


def test_the_middle_frame_has_the_same_distribution_in_every_class():
    """At the middle no motion has done anything yet: place, size and angle are the class's no more."""
    stats = []
    for label in range(8):
        frames = demo.render(label, generator("test", label, 0)).astype(float)
        clean = middle_frame(label, generator("test", label, 0))
        assert abs(frames[len(frames) // 2] - clean).mean() < 8  # the noise alone
        middle = np.stack([middle_frame(label, generator("test", label, i)) for i in range(60)])
        stats.append([middle.mean(), middle.std(), middle[:, :36].mean(), middle[:, :, :36].mean()])
    spread = np.ptp(np.array(stats), axis=0)
    assert spread.max() < 12  # of 255: sampling noise of 60 videos


def test_the_same_seed_gives_the_same_files(tmp_path):
    counts = {"train": 8, "val": 1, "test": 1}  # more than one process takes at once
    for name, seed, processes in (("a", 0, 2), ("b", 0, 1), ("c", 1, 1)):
        demo.generate_demo(tmp_path / name, **counts, seed=seed, processes=processes)
    a, b, c = (
        {p.relative_to(tmp_path / d): p.read_bytes() for p in (tmp_path / d).rglob("*.*")}
        for d in "abc"
    )
    assert a == b
    assert a.keys() == c.keys()
    assert all(a[k] != c[k] for k in a if k.suffix == ".mp4")
    with open_video(tmp_path / "a" / "train" / "00000.mp4") as video:
        assert 20 <= video.num_frames <= 28
        assert video.size == (demo.SIDE, demo.SIDE)


def test_an_interrupted_call_goes_on_and_other_settings_are_refused(tmp_path):
    counts = {"train": 4, "val": 1, "test": 1}
    assert demo.generate_demo(tmp_path, **counts, processes=1) == 6
    (tmp_path / "train" / "00003.mp4").unlink()
    seen = []
    made = demo.generate_demo(
        tmp_path, **counts, processes=1, progress=lambda done, total: seen.append((done, total))
    )
    assert made == 1
    assert seen == [(6, 6)]
    with pytest.raises(DataError, match="delete that folder"):
        demo.generate_demo(tmp_path, **counts, seed=5)


def test_other_data_is_never_overwritten(tmp_path):
    (tmp_path / "README.md").write_text("a guide may be there")
    (tmp_path / "train.csv").write_text("mine.mp4,0\n")
    with pytest.raises(DataError, match=r"holds other data already \(train\.csv\)"):
        demo.generate_demo(tmp_path, train=8, val=8, test=8)
    assert (tmp_path / "train.csv").read_text() == "mine.mp4,0\n"
