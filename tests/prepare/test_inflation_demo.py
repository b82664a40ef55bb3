"""The stills and videos of the inflation demo: what the classes are, and files that come out the same."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from uniformer_video.data.decoding import open_video
from uniformer_video.errors import DataError
from uniformer_video.prepare import inflation_demo
from uniformer_video.prepare.appearances import APPEARANCES, Appearance, Motion, draw_frames
from uniformer_video.prepare.inflation_demo import (
    MOTIONS,
    VIDEO_CLASSES,
    InflationDemo,
    generate_inflation_demo,
)
from uniformer_video.randomness import generator

pytestmark = pytest.mark.slow
FEW = {"train": 36, "val": 36, "test": 36, "stills": 12, "val_stills": 12}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("inflation")
    assert generate_inflation_demo(root, InflationDemo(**FEW), processes=2) == 144
    return root


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.suffix in (".jpg", ".mp4"))
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in files
    }


def test_folders_and_lists_hold_every_class(made):
    for part in ("train", "val", "test"):
        folders = sorted(path.name for path in (made / "images" / part).iterdir())
        assert folders == sorted(looks.name.replace(" ", "_") for looks in APPEARANCES)
        rows = [line.split(",") for line in (made / f"videos/{part}.csv").read_text().split()]
        assert sorted(int(label) for _, label in rows) == list(range(36))
        assert all((made / "videos" / path).is_file() for path, _ in rows)
    names = (made / "videos/classes.txt").read_text().splitlines()
    assert tuple(names) == VIDEO_CLASSES and names[5] == "blue striped disc grows"
    with Image.open(made / "images/val/orange_striped_ring/00004.jpg") as picture:
        assert picture.size == (72, 72)
    with open_video(made / "videos/val/00000.mp4") as video:
        assert video.size == (72, 72) and 18 <= video.num_frames <= 24


def test_the_same_numbers_give_the_same_files_and_what_is_missing_is_made(made, tmp_path):
    first = digests(made)
    path = made / "videos/test/00007.mp4"
    path.unlink()
    seen = []
    again = generate_inflation_demo(
        made, InflationDemo(**FEW), 1, progress=lambda *done: seen.append(done)
    )
    assert again == 1 and seen == [(144, 144)] and digests(made) == first
    assert len(set(first.values())) == 144  # no file of a split is one of another
    with pytest.raises(DataError, match="delete that folder"):
        generate_inflation_demo(made, InflationDemo(**FEW, seed=1))


def test_stills_and_videos_of_another_seed_are_others():
    for render in (
        inflation_demo.render_still,
        lambda *keys: inflation_demo.render_video(*keys)[0],
    ):
        assert not np.array_equal(render(0, 0, 5)[0], render(1, 0, 5)[0])


@pytest.mark.parametrize("looks", APPEARANCES, ids=lambda looks: looks.name)
def test_an_object_has_its_colour(looks):
    for seed in range(5):
        [picture] = draw_frames(looks, Motion(), np.zeros(1), generator("test", seed)).astype(int)
        difference = (picture[..., 0] - picture[..., 2]) * (1 if looks.color == "orange" else -1)
        assert (difference > 60).sum() > 3 * (difference < -60).sum() + 50


@pytest.mark.parametrize("motion", range(3))
def test_motions_are_what_their_names_say(motion, monkeypatch):
    """By the changes of the coloured pixels, before a plain background without the grey square."""
    monkeypatch.setattr("uniformer_video.prepare.appearances.drifting_background", _plain)
    times = np.arange(21) - 10.0
    rng = generator("test", motion)
    frames = draw_frames(
        Appearance("disc", "dotted", "blue"), inflation_demo._motion(motion, rng), times, rng
    ).astype(int)
    blue = (frames[..., 2] - frames[..., 0]) > 40
    x = [np.nonzero(frame)[1].mean() for frame in blue]
    growth = blue[-1].sum() / blue[0].sum()
    moves = {"moves left": x[-1] < x[0] - 8, "moves right": x[-1] > x[0] + 8, "grows": growth > 1.7}
    assert [name for name, true in moves.items() if true] == [MOTIONS[motion]]


def _plain(times, rng):
    return np.full((len(times), 72, 72, 3), 0.5)


def test_the_middle_frame_does_not_tell_the_motion():
    """Draws are the same for every motion, and at time 0 none has done anything yet."""
    frames = [
        draw_frames(APPEARANCES[0], motion, np.zeros(1), generator("test", 0))
        for motion in (Motion(dx=1.0), Motion(growth=0.05), Motion())
    ]
    assert np.array_equal(frames[0], frames[1]) and np.array_equal(frames[0], frames[2])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [({"train": 35}, "--train is 35; it takes 36"), ({"val_stills": 3}, "--val-stills is 3"),
     ({"seed": -1}, "--seed is -1")],
)  # fmt: skip
def test_numbers_that_cannot_be_had(numbers, message):
    with pytest.raises(DataError, match=message):
        InflationDemo(**numbers)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--inflation", "--hard"], "give one of them"),
        (["--stills", "100"], "--stills goes with --inflation"),
        (["--inflation", "--classes", "3"], "--classes goes with --hard"),
        (["--inflation", "--train", "8"], "--train is 8; it takes 36 or more"),
    ],
)
def test_options_that_do_not_fit(call, tmp_path, words, message):
    status, _, errors = call("make-demo-data", "--out", tmp_path / "out", *words)
    assert status == 2 and message in errors
