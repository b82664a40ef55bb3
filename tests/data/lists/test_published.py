"""How many of a dataset's published videos a run has, and which it lacks."""

import random

import pytest

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.lists.published import known_dataset, name_missing, note_missing
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.folder import RunFolder


def records(*names):
    return [VideoRecord(f"/videos/{name}", name, (0,)) for name in names]


def numbered(count, start=1):
    return records(*(f"{number}.webm" for number in range(start, start + count)))


def test_each_list_is_compared_with_what_was_published():
    names = class_names("k400-published")
    lists = {"train": numbered(234_619), "val": numbered(19_761), "test": numbered(19_761)}
    assert note_missing(names, lists) == [
        "The train list has 234,619 of the 246,534 published train videos of k400 (95.2%); 11,915 are "
        "missing (DATA.PUBLISHED_LISTS names them).",
        "The val list has 19,761 of the 19,906 published val videos of k400 (99.3%); 145 are missing "
        "(DATA.PUBLISHED_LISTS names them).",
        "The test list has 19,761 of the 19,906 published val videos of k400 (99.3%); 145 are missing "
        "(DATA.PUBLISHED_LISTS names them).",
    ]
    (longer,) = note_missing(names, {"test": numbered(38_685)})
    assert "38,685 of the 39,805 published test videos" in longer


def test_a_video_that_is_listed_twice_counts_once():
    names = class_names("k600")
    (note,) = note_missing(names, {"val": numbered(10) + numbered(10)})
    assert "has 10 of the 30,001" in note


def test_complete_lists_and_other_classes_get_no_note():
    assert note_missing(class_names("ssv2"), {"train": numbered(168_913)}) == []
    assert note_missing(["jump", "walk"], {"train": numbered(10)}) == []
    assert note_missing(class_names("demo"), {"train": numbered(10)}) == []


@pytest.mark.parametrize(
    ("names", "videos", "dataset"),
    [
        ("ssv1-mmaction2", records("1", "2"), "ssv1"),  # folders of pictures
        ("ssv2", records("1", "200000"), "ssv2"),
        ("ssv2", records("1.webm", "2.webm"), "ssv2"),
        ("ucf101", records("1.avi"), "ucf101"),
    ],
)
def test_a_dataset_is_known_by_its_classes(names, videos, dataset):
    shuffled = class_names(names)
    random.Random(0).shuffle(shuffled)
    assert known_dataset(shuffled, {"train": videos}) == dataset


def annotate(folder, part, *ids):
    lines = "".join(f"abseiling,{name},10,20\n" for name in ids)
    (folder / f"{part}.csv").write_text(f"label,youtube_id,time_start,time_end\n{lines}")


def test_missing_videos_are_named(tmp_path):
    annotate(tmp_path, "train", "aaa", "bbb", "ccc")
    annotate(tmp_path, "val", "ddd")
    lists = {
        "train": records("abseiling/aaa_000010_000020.mp4", "ccc"),
        "test": records("ddd_000010_000020.mkv"),
    }
    notes, missing = name_missing(class_names("k400"), lists, tmp_path)
    assert missing == [("train", "bbb_000010_000020")]
    assert notes == [
        "The train list lacks 1 of the 3 published train videos of k400 (33.3%).",
        "The test list lacks 0 of the 1 published val videos of k400 (0.0%).",
    ]


def test_other_classes_have_no_annotations(tmp_path):
    with pytest.raises(DataError, match=r"DATA\.PUBLISHED_LISTS .* none of k400, k600"):
        name_missing(["jump", "walk"], {"train": records("a")}, tmp_path)


def test_a_run_counts_and_names_them(tmp_path, demo):
    videos = sorted((demo / "train").glob("*.mp4"))[:2]
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in class_names("k400")))
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("".join(f"{video},0\n" for video in videos))
    settings = ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "TEST.ENABLE", "False"]
    data = build_data(load_config(overrides=settings))
    assert sum("published" in note for note in data.notes) == 2 and not data.lacking
    (tmp_path / "official").mkdir()
    annotate(tmp_path / "official", "train", "zzz")
    annotate(tmp_path / "official", "validate", "yyy")
    settings += ["DATA.PUBLISHED_LISTS", str(tmp_path / "official")]
    data = build_data(load_config(overrides=settings))
    assert data.lacking == [("train", "zzz_000010_000020"), ("val", "yyy_000010_000020")]
    RunFolder(tmp_path / "run").list_lacking(data.lacking)
    written = (tmp_path / "run" / "missing_videos.csv").read_text()
    assert written == "list,video\ntrain,zzz_000010_000020\nval,yyy_000010_000020\n"
