"""The registry of formats: the guide's example, and that the guides name all."""

import re
import runpy
from pathlib import Path

import pytest

from uniformer_video.config.settings import DEFAULTS, load_config
from uniformer_video.data.lists import formats
from uniformer_video.data.lists.formats import (
    ListFormat,
    find_format,
    list_formats,
    register_format,
)
from uniformer_video.data.lists.records import VideoList, VideoRecord
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_data import build_data

ROOT = Path(__file__).parents[3]


@pytest.fixture
def own_registry(monkeypatch):
    """Formats that a test registers are gone after it."""
    monkeypatch.setattr(formats, "_FORMATS", dict(formats._FORMATS))


def test_the_example_of_the_guide(own_registry, place, tiny, call, tmp_path, monkeypatch):
    """Without a change to the package its format is read, checked and named like any other."""
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "datasets/README.md").read_text(), re.DOTALL
    )
    root = place(
        {
            "lists/train.pairs": "0 a b.mp4\n1 c.mp4\n",
            "lists/val.pairs": "1 d.mp4\n",
            "pairs.py": code,
            **dict.fromkeys(("videos/a b.mp4", "videos/c.mp4", "videos/d.mp4")),
        }
    )
    runpy.run_path(str(root / "pairs.py"))
    wanted = {"TRAIN__DATASET": "pairs", "DATA__PATH_TO_DATA_DIR": root / "lists"}
    data = build_data(load_config(overrides=tiny(**wanted, DATA__PATH_PREFIX=root / "videos")))
    assert [(r.name, r.label) for r in data.train] == [("a b.mp4", 0), ("c.mp4", 1)]
    assert data.train[0].path == str(root / "videos" / "a b.mp4")
    assert data.test == data.val and data.class_names == ["class 0", "class 1"]
    assert call("config", "TRAIN.DATASET", "pairs")[0] == 0
    with pytest.raises(ConfigError, match=r"multi-label takes any .* the format pairs cannot hold"):
        build_data(load_config(overrides=tiny(**wanted, DATA__MULTI_LABEL=True)))
    with pytest.raises(ConfigError, match=r"TEST\.DATASET is 'pear'.*did you mean 'pairs'"):
        build_data(load_config(overrides=tiny(**wanted, TEST__DATASET="pear")))


def test_a_name_is_given_once(own_registry):
    register_format(ListFormat("mine", lambda root, split: VideoList([]), "nothing"))
    with pytest.raises(ConfigError, match="there is a list format 'mine' already"):
        register_format(find_format("mine"))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            [VideoRecord("a.mp4", "a", (0,))],
            "the format mine gives a list; its reader returns a VideoList",
        ),
        (
            VideoList([VideoRecord("a.mp4", "a", ("b",))]),
            r"gives a the labels \('b',\); they are a tuple",
        ),
        (
            VideoList([VideoRecord("a.mp4", "a", [1])]),
            r"gives a the labels \[1\]; they are a tuple",
        ),
        (VideoList(iter([])), "gives a list_iterator of records; it is a list of VideoRecord"),
        (VideoList([("a.mp4", 1)]), r"gives \('a\.mp4', 1\) as a tuple; it is a VideoRecord"),
        *(
            (VideoList([VideoRecord("a.mp4", "a", (0,), **wrong)]), message)
            for wrong, message in (
                ({"num_frames": None}, "the num_frames None; it is a whole number from 0"),
                ({"num_frames": 2**63}, "the num_frames 9223372036854775808; it is a whole"),
                ({"start": None}, "the start None; it is a number of seconds from 0"),
                ({"start": 2.0, "end": 2.0}, "the end 2.0; .* behind the start, or None"),
                ({"end": float("nan")}, "the end nan; .* behind the start, or None"),
                ({"weight": "1"}, "the weight '1'; it is a number from 0"),
                ({"weight": -1.0}, "the weight -1.0; it is a number from 0"),
            )
        ),
    ],
)
def test_what_a_reader_must_not_give(own_registry, tmp_path, found, message):
    register_format(ListFormat("mine", lambda root, split: found, "nothing"))
    with pytest.raises(ConfigError, match=message):
        build_data(
            load_config(overrides=["TRAIN.DATASET", "mine", "DATA.PATH_TO_DATA_DIR", str(tmp_path)])
        )


def test_formats_read_settings_that_there_are_and_the_guides_name_them():
    for guide in ("README.md", "datasets/README.md"):
        text = (ROOT / guide).read_text()
        assert all(f"`{known.name}`" in text for known in list_formats())
    for known in list_formats():
        assert set(known.settings) <= set(DEFAULTS)
