"""Class names, their orders, and lists that change from one order to another."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import uniformer_video
from uniformer_video.config.settings import load_config
from uniformer_video.data.lists import class_names
from uniformer_video.data.lists.records import read_csv
from uniformer_video.data.lists.remap import remap_list
from uniformer_video.errors import ConfigError, DataError

ROOT = Path(__file__).parents[3]
SIZES = {"k400": 400, "k600": 600, "ssv1": 174, "ssv2": 174, "ucf101": 101, "hmdb51": 51}
ORDERS = [*SIZES, "k400-published", "k600-published", "ssv1-mmaction2"]


@pytest.mark.parametrize("dataset", SIZES)
def test_every_dataset_has_its_names(dataset):
    names = uniformer_video.class_names(dataset)
    assert len(names) == len(set(names)) == SIZES[dataset]
    assert all(name == name.strip() and name for name in names)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("k400", ["abseiling", "air drumming"]),
        ("k400-published", ["riding a bike", "marching", "dodgeball"]),
        ("k600", ["abseiling", "acting in play"]),
        ("k600-published", ["feeding fish", "poking bellybutton", "sword swallowing"]),
        ("ssv2", ["Approaching something with your camera"]),
        ("ssv1-mmaction2", ["Holding something", "Turning something upside down"]),
        ("ucf101", ["ApplyEyeMakeup"]),
        ("hmdb51", ["brush_hair"]),
    ],
)
def test_what_stands_first(text, first):
    assert class_names.named_classes(text)[: len(first)] == first


def test_numbers_that_the_lists_of_others_are_known_to_use():
    assert class_names.class_names("ssv2")[140] == "Spinning something that quickly stops spinning"
    assert class_names.class_names("k400") == sorted(class_names.class_names("k400"))
    assert class_names.class_names("k600") == sorted(class_names.class_names("k600"))
    assert class_names.class_names("ssv1") == class_names.class_names("ssv2")


@pytest.mark.parametrize("text", ORDERS)
def test_an_order_is_told_by_its_names(text):
    names = class_names.named_classes(text)
    dataset = text.partition("-")[0]
    assert class_names.identify(names) == ("ssv2" if text == "ssv1" else text)
    assert class_names.usual_order(names) == class_names.class_names(dataset)
    assert sorted(names) == sorted(class_names.class_names(dataset))
    assert class_names.identify([*names[1:], names[0]]) is None
    assert class_names.usual_order([*names[1:], names[0]]) == class_names.class_names(dataset)


def test_unknown_names_are_in_the_alphabets_order():
    assert class_names.identify(["run", "jump"]) is None
    assert class_names.usual_order(["run", "jump"]) == ["jump", "run"]


def test_what_is_not_known_is_answered_with_what_is():
    with pytest.raises(ConfigError, match="'k300'; known datasets: k400, k600, ssv2, ssv1, ucf101"):
        class_names.class_names("k300")
    with pytest.raises(ConfigError, match=r"ssv1 has no order 'published'.*: usual, mmaction2"):
        class_names.class_names("ssv1", "published")
    with pytest.raises(DataError, match=r"DATA\.X k400-old is not a file.*k400-published"):
        class_names.named_classes("k400-old", "DATA.X")


def test_callers_cannot_change_what_is_known():
    class_names.class_names("k400").clear()
    assert len(class_names.class_names("k400")) == 400


def test_a_file_of_names(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffLäufer\r\nsauter\r\n".encode())
    assert class_names.named_classes(str(tmp_path / "names.txt")) == ["Läufer", "sauter"]


@pytest.mark.parametrize("text", ["ssv1", "ssv2", "ssv1-mmaction2"])
def test_mirror_pairs_are_all_classes_with_a_direction(text):
    pairs = class_names.mirror_pairs(text)
    assert {frozenset(pair) for pair in pairs} == {
        frozenset(f"{verb} something from {way}" for way in ("left to right", "right to left"))
        for verb in ("Pulling", "Pushing")
    } | {
        frozenset(
            f"Turning the camera {side} while filming something" for side in ("left", "right")
        )
    }
    names = class_names.named_classes(text)
    assert all(names.index(a) < names.index(b) for a, b in pairs)
    paired = {name for pair in pairs for name in pair}
    assert len(paired) == 6
    sided = {name for name in names if re.search(r"\b(left|right)\b", name)}
    # "right out" is no direction
    assert {name.split(" but ")[0] for name in sided - paired} == {
        "Plugging something into something"
    }


@pytest.mark.parametrize("dataset", ["k400", "k600", "ucf101", "hmdb51"])
def test_most_datasets_have_no_mirror_pairs(dataset):
    assert class_names.mirror_pairs(dataset) == []


def test_mirror_pairs_of_the_demo_are_those_of_its_config():
    config = load_config(ROOT / "configs/demo/uniformer_demo.yaml")
    assert class_names.mirror_pairs("demo") == [
        tuple(pair) for pair in config.DATA.FLIP_CLASS_PAIRS
    ]


def test_the_files_are_package_data(tmp_path):
    """A built package has the names."""
    pytest.importorskip("setuptools")
    build = ["egg_info", "--egg-base", tmp_path, "build_py", "--build-lib", tmp_path / "lib"]
    command = [sys.executable, "setup.py", "-q", *build]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    source = ROOT / "uniformer_video/data/lists/names"
    built = tmp_path / "lib/uniformer_video/data/lists/names"
    assert {path.name for path in built.iterdir()} == {
        path.name for path in source.iterdir() if path.is_file()
    }


LIST = 'a b/c,1.mp4,0\r\n\n"x, 1.mp4","2"\n  10.mp4\t 1  \nlast.mp4 02'


def write(path, text):
    path.write_bytes(text.encode())
    return path


def test_only_the_labels_of_a_list_change(tmp_path):
    source = write(tmp_path / "a.csv", LIST)
    done = remap_list(source, tmp_path / "b.csv", ["u", "v", "w"], ["v", "u", "w"])
    assert done == (4, 2)
    assert (tmp_path / "b.csv").read_bytes().decode() == (
        'a b/c,1.mp4,1\r\n\n"x, 1.mp4","2"\n  10.mp4\t 0  \nlast.mp4 2'
    )
    assert source.read_bytes().decode() == LIST


def test_a_list_in_another_order_names_the_same_classes(tmp_path):
    usual, published = class_names.class_names("k400"), class_names.class_names("k400", "published")
    write(tmp_path / "a.csv", "".join(f"{i}.mp4 {i}\n" for i in range(400)))
    remap_list(tmp_path / "a.csv", tmp_path / "b.csv", usual, published)
    records = read_csv(tmp_path / "b.csv")
    assert [published[record.label] for record in records] == usual
    remap_list(tmp_path / "b.csv", tmp_path / "c.csv", published, usual)
    assert (tmp_path / "c.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()


def test_a_given_separator(tmp_path):
    write(tmp_path / "a.csv", "a 7;0\n")
    remap_list(tmp_path / "a.csv", tmp_path / "b.csv", ["u", "v"], ["v", "u"], ";")
    assert (tmp_path / "b.csv").read_text() == "a 7;1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4,0\nb.mp4\n", r"a\.csv:2: expected a path and a whole-number label"),
        ("a.mp4,0\n\nb.mp4,2\n", r"a\.csv:3: label 2 of b\.mp4 is outside 0\.\.1"),
        ("a.mp4,-1\n", r"a\.csv:1: label -1"),
        ("\n\n", "lists no videos"),
    ],
)
def test_lists_that_cannot_be_remapped(tmp_path, text, message):
    write(tmp_path / "a.csv", text)
    with pytest.raises(DataError, match=message):
        remap_list(tmp_path / "a.csv", tmp_path / "b.csv", ["u", "v"], ["v", "u"])
    assert not (tmp_path / "b.csv").exists()


def test_nothing_is_written_over_or_beside(tmp_path):
    source = write(tmp_path / "a.csv", "a.mp4,0\n")
    with pytest.raises(DataError, match="exists already"):
        remap_list(source, source, ["u", "v"], ["v", "u"])
    with pytest.raises(DataError, match="no folder"):
        remap_list(source, tmp_path / "no" / "b.csv", ["u", "v"], ["v", "u"])
    assert source.read_text() == "a.mp4,0\n"


def test_other_names_are_refused_with_the_first_three(tmp_path):
    source = write(tmp_path / "a.csv", "a.mp4,0\n")
    with pytest.raises(DataError) as refused:
        remap_list(source, tmp_path / "b.csv", list("abcdez"), list("zxy"))
    assert str(refused.value).splitlines()[1:3] == [
        "  only in --from: 'a', 'b', 'c' and 2 more",
        "  only in --to: 'x', 'y'",
    ]
