"""What the page's script reads: rows of videos, and which strips, within their limits."""

import json

import pytest

from uniformer_video.evaluation.parts import Mistake
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.page_data import MAX_ROW_BYTES, chosen_strips, json_block, video_rows

HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>&amp;\u2028"


def test_a_block_cannot_be_ended_by_what_it_holds():
    text = json_block({HOSTILE: [HOSTILE, 1, None]})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {HOSTILE: [HOSTILE, 1, None]}


def results(names, paths=None, classes=3):
    """A record of videos whose first answer is class 0, and the true one 0, 1, 2, 0, ..."""
    top = [{"class": 0, "score": 0.61249}, {"class": 1, "score": 0.3}, {"class": 2, "score": None}]
    videos = [
        {"name": name, "path": path, "label": place % classes, "top5": top}
        for place, (name, path) in enumerate(zip(names, paths or names, strict=True))
    ]
    return {"videos": videos, "class_names": ["a", "b", HOSTILE]}


def rows(record, folder, mistakes=(), **limit):
    return json.loads(video_rows(record, mistakes, folder, **limit))


def names_of(found):
    return [
        found["folders"][folder] + name + found["suffix"]
        for folder, name in zip(found["folder"], found["names"], strict=True)
    ]


def test_every_video_has_a_row(tmp_path):
    record = results([f"val/run {i % 2}/{i}.mp4" for i in range(20)])
    record["videos"][4]["top5"] = []  # could not be read
    found = rows(record, tmp_path)
    assert names_of(found) == [video["name"] for video in record["videos"]]
    assert found["folders"] == ["val/run 0/", "val/run 1/"] and found["names"][3] == "3"
    assert (found["total"], found["several"], found["width"]) == (20, False, 3)
    assert found["truth"] == [i % 3 for i in range(20)]
    assert found["top"] == [0, 1, 2] * 4 + [-1] * 3 + [0, 1, 2] * 15
    assert found["scores"] == [612, 300, 0] * 4 + [0] * 3 + [612, 300, 0] * 15
    assert found["classes"][2] == HOSTILE and found["beside"] == {} and "places" not in found


@pytest.mark.parametrize(
    "names",
    [
        ["a.mp4"],
        ["x/a.mp4", "x/a.mp4"],
        ["a", "b"],
        ["x/a.b/c", "x/a.b/d"],
        ["x1/a.mp4", "x2/b.avi", "x2/c.mp4"],
        ["/abs/1.tar.gz", "/abs/2.tar.gz"],
        ["é/1.mp4#1-2", "é/1.mp4#2-3", ".mp4", "q.mp4"],
    ],
)
def test_names_are_whole_again(tmp_path, names):
    assert names_of(rows(results(names), tmp_path)) == names


def test_labels_of_several_classes(tmp_path):
    record = results(["1.mp4", "2.mp4"])
    for video, labels in zip(record["videos"], ([0, 2], []), strict=True):
        del video["label"]
        video["labels"] = labels
    found = rows(record, tmp_path)
    assert found["several"] and found["truth"] == [[0, 2], []]


def test_videos_of_a_task_without_answers_have_no_rows(tmp_path):
    record = {"videos": [{"name": "a", "path": "a", "map": 1}], "class_names": []}
    assert video_rows(record, [], tmp_path) is None


def test_mistakes_are_kept_where_rows_do_not_fit(tmp_path):
    record = results([f"{'long' * 9}{HOSTILE}{i}" for i in range(300)])
    wrong = [Mistake(place, (place % 3, 0), 0.6) for place in range(299, -1, -1) if place % 3]
    text = video_rows(record, wrong, tmp_path, limit=20_000)
    assert 15_000 < len(text.encode()) <= 20_000
    found = json.loads(text)
    assert found["total"] == 300 and len(found["names"]) == len(found["places"]) < 300
    first = sorted(mistake.place for mistake in wrong[: len(found["places"])])
    assert found["places"] == first and found["truth"] == [place % 3 for place in first]
    assert names_of(found) == [record["videos"][place]["name"] for place in first]


def test_a_large_test_fits_whole(tmp_path):
    record = results(
        [f"playing the long guitar {i % 600}/{i:011d}_000001.mp4" for i in range(20_000)]
    )
    text = video_rows(record, [], tmp_path)
    assert len(text) < MAX_ROW_BYTES and "places" not in json.loads(text)


def test_originals_below_the_page_are_named_by_their_address(tmp_path):
    folder = tmp_path / "run"
    for name in ("val/a b#1.mp4", "val/2.mp4", "other/3.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (tmp_path / "outside.mp4").touch()
    names = [
        "val/a b#1.mp4",
        "val/2.mp4#1-2",
        "3",
        "../outside.mp4",
        "val/absent.mp4",
        "/val/2.mp4",
        "val",
    ]
    paths = [
        *["/elsewhere/x.mp4"] * 2,
        str(folder / "other/3.mp4"),
        str(tmp_path / "outside.mp4"),
        *["x"] * 3,
    ]
    record = results(names, paths)
    record["videos"][1] |= {"start": 1.0, "end": 2.5}
    assert rows(record, folder)["beside"] == {
        "0": ["val/a%20b%231.mp4", 0, 0],
        "1": ["val/2.mp4", 1.0, 2.5],
        "2": ["other/3.mp4", 0, 0],
    }


def test_strips_of_every_pair_come_before_the_surest():
    pairs = [(0, 1), (0, 1), (0, 1), (2, 1), (2, 1), (1, 0)]
    mistakes = [Mistake(place, pair, 0.9 - place / 10) for place, pair in enumerate(pairs)]
    strips = Strips.of(dict.fromkeys(range(6), b"abc"), 6)
    size = len(strips.uri(0))
    order = [4, 0, 3, 5, 1, 2]  # shown, then a pair of three, of two and of one, then the surest
    for count in range(7):
        chosen = chosen_strips(mistakes, strips, [4], limit=count * size + 1)
        assert [*chosen] == order[:count]
    assert chosen[3] == strips.uri(3)
    some = Strips.of({0: b"abc", 5: b"abc"}, 6)
    assert [*chosen_strips(mistakes, some, [4])] == [0, 5]
