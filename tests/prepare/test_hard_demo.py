"""The hard demo videos: motions are what names say, lists share no scene, files come out the same."""

import csv
import hashlib

import numpy as np
import pytest

from uniformer_video.data.decoding import open_video
from uniformer_video.errors import DataError
from uniformer_video.prepare import hard_demo, hard_motions, hard_scenes
from uniformer_video.prepare.hard_demo import HardDemo, generate_hard_demo
from uniformer_video.randomness import generator

MOTIONS = hard_motions.MOTIONS


@pytest.fixture
def one_event(monkeypatch):
    """Makes tracks of one event without trembling, at 30 frames a second."""
    monkeypatch.setattr(
        hard_motions, "smooth_walk", lambda times, *rest, **more: np.zeros((len(times), 2))
    )

    def make(label, seed):
        return hard_motions.act(label, np.arange(90) / 30, 3.0, generator("test", seed))

    return make


@pytest.mark.parametrize("seed", range(4))
def test_motions_are_what_their_names_say(one_event, seed):
    for label, name in enumerate(MOTIONS):
        track = one_event(label, seed)
        dx, dy = track.x[-1] - track.x[0], track.y[-1] - track.y[0]
        growth = np.log(track.size[-1] / track.size[0])
        middle = track.x.max() / 2 + track.x.min() / 2, track.y.max() / 2 + track.y.min() / 2
        angle = np.unwrap(np.arctan2(track.y - middle[1], track.x - middle[0]))
        if "circle" in name:
            assert np.sign(angle[-1] - angle[0]) == (1 if name == "circle clockwise" else -1)
            assert abs(growth) < 0.01
            continue
        true = {"come nearer": growth > 0.5, "go away": growth < -0.5}
        true |= {"rise": dy < -50, "fall": dy > 50, "move left": dx < -50, "move right": dx > 50}
        assert [known for known, holds in true.items() if holds] == [name]


def test_a_class_backwards_is_the_other_of_its_pair(one_event):
    for label in (0, 2, 4, 6):
        forwards, backwards = one_event(label, 3), one_event(label + 1, 3)
        for values in ("size", "x", "y"):
            spread = np.ptp(getattr(forwards, values))
            assert spread == pytest.approx(np.ptp(getattr(backwards, values)), rel=0.05, abs=0.5)


def test_a_frame_does_not_tell_the_direction():
    """Places and sizes over many videos are the same for both classes of a pair."""
    times = np.arange(150) / 30
    for pair in (0, 2, 4, 6):
        seen = []
        for label in (pair, pair + 1):
            tracks = [hard_motions.act(label, times, 5.0, generator("test", i)) for i in range(150)]
            shown = np.concatenate([track.shown for track in tracks]) > 0
            seen.append(
                [
                    np.concatenate([getattr(track, value) for track in tracks])[shown].mean()
                    for value in ("x", "y", "size")
                ]
            )
        assert abs(np.subtract(*seen)).max() < 3  # pixels: sampling noise of 150 videos


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def short(monkeypatch):
    """Videos of half a second: whole ones would take minutes."""
    monkeypatch.setattr(hard_demo, "SHORTEST", 0.3)
    monkeypatch.setattr(hard_demo, "LONGEST", 0.5)
    monkeypatch.setattr(hard_demo, "ProcessPoolExecutor", _InThisProcess)


class _InThisProcess:
    def __init__(self, processes):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    map = staticmethod(map)


def test_lists_share_no_scene_and_hold_every_class(tmp_path, short):
    demo = HardDemo(classes=2, videos=9, scenes=4)
    assert generate_hard_demo(tmp_path, demo) == 9
    lists = {part: read(tmp_path / f"{part}.csv") for part in ("train", "val", "test")}
    scenes = [{row["group"] for row in rows} for rows in lists.values()]
    assert sorted(map(len, scenes)) == [1, 1, 2]
    assert len(set.union(*scenes)) == 4
    rows = [row for part in lists.values() for row in part]
    assert len({row["path"] for row in rows}) == 9
    assert all({row["label"] for row in part} == {"0", "1"} for part in lists.values())
    for row in rows:
        name = MOTIONS[int(row["label"])]
        assert row["path"].startswith(f"videos/{name}/{row['group']}_")
        assert (tmp_path / row["path"]).is_file()
    assert (tmp_path / "classes.txt").read_text() == "come nearer\ngo away\n"
    with open_video(tmp_path / rows[0]["path"]) as video:
        assert video.size == (240, 320)


def test_the_same_seed_gives_the_same_files_and_what_is_missing_is_made(tmp_path, short):
    sums = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        generate_hard_demo(tmp_path / name, HardDemo(2, 6, 3, seed))
        files = sorted((tmp_path / name).rglob("*.mp4"))
        sums.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert sums[0] == sums[1]
    assert not set(sums[0]) & set(sums[2])
    files[0].unlink()
    seen = []
    again = HardDemo(2, 6, 3, 1)
    assert generate_hard_demo(tmp_path / "c", again, progress=lambda *done: seen.append(done)) == 1
    assert seen == [(6, 6)]
    with pytest.raises(DataError, match="delete that folder"):
        generate_hard_demo(tmp_path / "c", HardDemo(2, 6, 3, 2))


def test_the_usual_look_of_a_class_comes_in_the_share_that_was_asked_for(monkeypatch):
    """The looks of the object that counts, drawn last; nothing is filmed."""
    drawn = []
    monkeypatch.setattr(hard_demo, "draw_usual_look", lambda rng, kind: drawn.append(kind))
    monkeypatch.setattr(hard_demo, "draw_look", lambda rng, counts: counts and drawn.append(None))
    monkeypatch.setattr(hard_demo, "film", lambda *rest: [np.zeros((2, 2, 3))])
    for usual, least, most in ((0.0, 0, 0), (0.6, 15, 33), (1.0, 40, 40)):
        drawn.clear()
        for index in range(40):
            hard_demo.render(HardDemo(usual=usual), index)
        assert len(drawn) == 40
        assert least <= sum(kind is not None for kind in drawn) <= most
        assert all(kind in (None, index % 6) for index, kind in enumerate(drawn))


def test_usual_looks_tell_kinds_apart():
    looks = [
        [hard_scenes.draw_usual_look(generator("test", i), kind) for i in range(5)]
        for kind in range(8)
    ]
    assert len({(of_kind[0].form, of_kind[0].stripes) for of_kind in looks}) == 8
    for of_kind in looks:
        assert len({(look.form, look.stripes) for look in of_kind}) == 1
        assert len({look.colors.tobytes() for look in of_kind}) == 5


def test_frames_and_lengths_are_within_what_is_promised():
    for index in range(3):
        frames, rate = hard_demo.render(HardDemo(), index)
        assert frames.shape[1:] == (hard_scenes.HEIGHT, hard_scenes.WIDTH, 3)
        assert 24 <= rate <= 60
        assert 2.9 < len(frames) / rate < 10.1


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"classes": 9}, "--classes is 9; it takes 2 to 8"),
        ({"scenes": 2}, "--scenes is 2; it takes 3 to 8"),
        ({"videos": 47}, "it takes 48 or more"),
        ({"seed": -1}, "--seed is -1"),
        ({"usual": 1.5}, "--usual is 1.5; it takes a share from 0 to 1"),
    ],
)
def test_numbers_that_cannot_be_had(numbers, message):
    with pytest.raises(DataError, match=message):
        HardDemo(**numbers)
