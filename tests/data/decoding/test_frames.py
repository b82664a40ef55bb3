"""Folders of extracted frames as videos: their lists, their pixels, and a whole run on them."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from videos import numbered_frames

from uniformer_video.config.settings import load_config
from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists import records as lists
from uniformer_video.data.lists.check import missing_files
from uniformer_video.data.lists.remap import relabel_lines
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.runs import build_clips
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.run import run

TEMPLATE = "img_{:05d}.png"  # png keeps the pixels as they are


def write_frames(folder, count, size=(32, 40), template=TEMPLATE, first=1):
    """Frames told by their brightness; returns their pixels and what opens them."""
    folder.mkdir(parents=True)
    pixels = numbered_frames(count, size)
    for number, image in enumerate(pixels, start=first):
        Image.fromarray(image).save(folder / template.format(number), quality=95)
    return pixels, folder / template


def write_list(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


# Lists


@pytest.mark.parametrize(
    ("line", "name", "count", "label"),
    [
        ("78687 37 4", "78687", 37, 4),
        ("78687,37,4", "78687", 37, 4),
        ("78687\t37\t4", "78687", 37, 4),
        ("brush_hair/my clip 2 40 0", "brush_hair/my clip 2", 40, 0),
        ("a, b/clip , 40 , 0  ", "a, b/clip", 40, 0),
        ('"a, b",40,0', "a, b", 40, 0),
        ('"a","40","0"', "a", 40, 0),
    ],
)
def test_the_last_two_fields_are_numbers(tmp_path, line, name, count, label):
    path = write_list(tmp_path / "lists" / "train.txt", line)
    (record,) = lists.read_frame_list(path, TEMPLATE, tmp_path / "frames")
    assert (record.name, record.num_frames, record.label) == (name, count, label)
    assert record.path == str(tmp_path / "frames" / name / TEMPLATE)
    assert record.source == f"{path}:1"


def test_bom_crlf_empty_lines_and_folders_beside_the_list(tmp_path):
    path = write_list(tmp_path / "train.txt", "\ufeffa 3 0\r\n\r\nsub/b/ 4 1\r\n")
    records = lists.read_frame_list(path, TEMPLATE)
    assert [r.path for r in records] == [
        str(tmp_path / "a" / TEMPLATE),
        str(tmp_path / "sub" / "b" / TEMPLATE),
    ]
    assert records[1].source == f"{path}:3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 40 3\nb 3\n", r"t\.txt:2: expected a folder, its number of frames.*got 'b 3'"),
        ("a.mp4 3\n", r"t\.txt:1: expected a folder"),
        ("a 40 nan\n", r"t\.txt:1: expected a folder"),
        ("a 4.5 3\n", r"t\.txt:1: expected a folder"),
        ("40 3\n", r"t\.txt:1: expected a folder"),
        ("a 0 3\n", r"t\.txt:1: a has 0 frames"),
        ("\n", r"t\.txt lists no videos.*`folder 40 3`"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        lists.read_frame_list(write_list(tmp_path / "t.txt", text), TEMPLATE)


def test_the_digest_tells_counts_and_leaves_other_lists_as_they_were(tmp_path):
    def digest(text):
        return lists.list_digest(
            lists.read_frame_list(write_list(tmp_path / "t.txt", text), TEMPLATE)
        )

    assert digest("a 40 3") == digest("a,40,3\n") != digest("a 41 3")
    csv = lists.read_csv(write_list(tmp_path / "t.csv", "a.mp4,3"))
    assert lists.list_digest(csv) == hashlib.sha256(b"a.mp4\t3").hexdigest()


def test_labels_change_and_counts_stay(tmp_path):
    path = write_list(tmp_path / "t.txt", "a b 40 1\nc 41 0\n")
    assert [line for line, _ in relabel_lines(path, [5, 7])] == ["a b 40 7\n", "c 41 5\n"]
    relabelled = lists.relabelled(lists.read_frame_list(path, TEMPLATE), [5, 7])[0]
    assert (relabelled.label, relabelled.num_frames) == (7, 40)


def test_a_folder_without_its_first_frame_is_missing(tmp_path):
    write_frames(tmp_path / "a", 2)
    write_frames(tmp_path / "from 0", 2, first=0)
    write_frames(tmp_path / "other names", 2, template="{:05d}.png")
    text = "a 2 0\nfrom 0 2 0\nother names 2 0\nabsent 2 0\n"
    records = lists.read_frame_list(write_list(tmp_path / "t.txt", text), TEMPLATE)
    assert [records[place].name for place in missing_files(records)] == ["other names", "absent"]


# Pixels


@pytest.mark.parametrize("first", [1, 0])
@pytest.mark.parametrize("num_frames", [12, 0])
def test_index_i_is_the_ith_frame(tmp_path, first, num_frames):
    pixels, path = write_frames(tmp_path / "a {x}", 12, first=first)
    with open_video(path, num_frames=num_frames) as video:
        assert (video.num_frames, video.size, video.fps) == (12, (32, 40), None)
        for indices in ([0], [11, 0, 5, 5], range(12), np.array([3, 2])):
            frames = video.frames(indices)
            assert frames.dtype == np.uint8
            np.testing.assert_array_equal(frames, pixels[list(indices)])


def test_the_lists_count_is_the_number_of_frames(tmp_path):
    pixels, path = write_frames(tmp_path / "a", 12)
    with open_video(path, num_frames=10) as video:
        assert video.num_frames == 10
        np.testing.assert_array_equal(video.frames([9]), pixels[[9]])
        with pytest.raises(ValueError, match=r"frames 0\.\.9, asked for \[10\]"):
            video.frames([10])


def test_number_0_beside_numbers_from_1_is_not_used(tmp_path):
    pixels, path = write_frames(tmp_path / "a", 6, first=0)
    with open_video(path, num_frames=5) as video:
        np.testing.assert_array_equal(video.frames([0]), pixels[[1]])


def test_each_distinct_frame_is_decoded_once(tmp_path, monkeypatch):
    _, path = write_frames(tmp_path / "a", 8)
    opened, real = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda file, **options: opened.append(file) or real(file, **options)
    )
    with open_video(path, num_frames=8) as video:
        assert video.frames([1, 1, 6, 1, 6]).shape == (5, 32, 40, 3)
    assert [name[-6:-4] for name in opened] == ["02", "07"]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_other_kinds_of_pictures_become_rgb(tmp_path, mode):
    Image.new("RGB", (8, 6), "white").convert(mode).save(tmp_path / "1.png")
    with open_video(tmp_path / "{}.png", num_frames=1) as video:
        np.testing.assert_array_equal(video.frames([0]), np.full((1, 6, 8, 3), 255))


def test_pictures_are_turned_as_they_are_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (8, 6)).save(tmp_path / "1.jpg", exif=exif)
    with open_video(tmp_path / "{}.jpg", num_frames=1) as video:
        assert video.size == video.frames([0]).shape[1:3] == (8, 6)


def test_a_lost_last_frame_is_found_at_once(tmp_path):
    _, path = write_frames(tmp_path / "a", 11)
    with pytest.raises(DecodeError, match=r"img_00012\.png is not there, the last of 12.*TEMPLATE"):
        open_video(path, num_frames=12)


def test_a_lost_frame_is_never_another(tmp_path):
    _, path = write_frames(tmp_path / "a", 12)
    (tmp_path / "a" / "img_00005.png").unlink()
    with pytest.raises(DecodeError, match=r"lacks 1 frame between .*: img_00005\.png; extract"):
        open_video(path)
    with open_video(path, num_frames=12) as video:
        assert video.num_frames == 12
        with pytest.raises(DecodeError, match=r"img_00005\.png is not there; extract"):
            video.frames(range(12))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("keep", [0, 0.5, None])
def test_broken_frames_are_named(tmp_path, suffix, keep):
    _, path = write_frames(tmp_path / "a", 2, template="{}." + suffix)
    file = tmp_path / "a" / f"2.{suffix}"
    content = file.read_bytes()
    file.write_bytes(b"no picture" if keep is None else content[: int(len(content) * keep)])
    with (
        open_video(path, num_frames=2) as video,
        pytest.raises(DecodeError, match=rf"2\.{suffix} cannot be read as a picture: .*; extract"),
    ):
        video.frames([0, 1])


def test_a_page_description_is_not_run(tmp_path):
    (tmp_path / "1.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n\nshowpage\n"
    )
    with (
        open_video(tmp_path / "{}.jpg", num_frames=1) as video,
        pytest.raises(
            DecodeError, match=r"1\.jpg cannot be read as a picture: it is damaged, or of none"
        ),
    ):
        video.frames([0])


def test_frames_of_two_sizes(tmp_path):
    _, path = write_frames(tmp_path / "a", 3)
    Image.new("RGB", (9, 7)).save(tmp_path / "a" / "img_00002.png")
    with (
        open_video(path, num_frames=3) as video,
        pytest.raises(DecodeError, match=r"img_00002\.png is 9x7 and .*img_00001\.png 40x32"),
    ):
        video.frames([0, 1, 2])


def test_folders_without_such_frames(tmp_path):
    with pytest.raises(DecodeError, match=r"absent.*No such file"):
        open_video(tmp_path / "absent" / TEMPLATE)
    with pytest.raises(DecodeError, match=r"holds no frames named img_\{:05d\}\.png"):
        open_video(tmp_path / TEMPLATE)
    with pytest.raises(DecodeError, match="does not exist"):
        open_video(tmp_path / "a{b}.mp4")


def test_a_video_may_have_braces_in_its_name(make_video):
    with open_video(make_video("a {}.mp4", frames=3)) as video:
        assert video.num_frames == 3


# From a config to a report


@pytest.fixture
def frames_run(tiny, tmp_path):
    """A function: overrides for a tiny run on eight folders of frames of two classes."""
    names = [f"clip {i}" for i in range(8)]
    for i, name in enumerate(names):
        write_frames(tmp_path / "frames" / name, 9 + i, template="{:05d}.jpg")
    lines = [f"{name} {9 + i} {i % 2}\n" for i, name in enumerate(names)]
    write_list(tmp_path / "lists" / "rgb_train_split.txt", "".join(lines))
    write_list(tmp_path / "lists" / "rgb_validation_split.txt", "".join(lines[:4]))
    write_list(tmp_path / "lists" / "classes.txt", "odd\neven\n")

    settings = {
        "TRAIN__DATASET": "frames",
        "DATA__PATH_TO_DATA_DIR": tmp_path / "lists",
        "DATA__PATH_PREFIX": tmp_path / "frames",
        "DATA__LABEL_PATH_TEMPLATE": "rgb_{}_split.txt",
        "DATA__IMAGE_TEMPLATE": "{:05d}.jpg",
        "DATA__SAMPLING": "segment",
        "DATA__SAMPLING_RATE": 4,  # the default, as it has no effect
        "DATA__CHANNEL_ORDER": "BGR",
        "SOLVER__MAX_EPOCH": 1,
        "SOLVER__WARMUP_EPOCHS": 0,
    }
    return lambda **changes: tiny(**settings | changes)


def test_data_from_a_config(frames_run, tmp_path):
    data = build_data(load_config(overrides=frames_run()))
    assert (len(data.train), len(data.val), len(data.test)) == (8, 4, 4)
    assert data.class_names == ["odd", "even"]
    assert [(r.name, r.num_frames) for r in data.test[:2]] == [("clip 0", 9), ("clip 1", 10)]
    named = build_data(load_config(overrides=frames_run(DATA__CLASS_NAMES="ssv2")))
    assert len(named.class_names) == 174


def test_lists_by_their_plain_names(frames_run, tmp_path):
    folder = tmp_path / "lists"
    (folder / "rgb_train_split.txt").rename(folder / "train.txt")
    (folder / "rgb_validation_split.txt").rename(folder / "val.txt")
    data = build_data(load_config(overrides=frames_run(DATA__LABEL_PATH_TEMPLATE="")))
    assert (len(data.train), len(data.val), len(data.test)) == (8, 4, 4)


def test_a_missing_list_tells_which_names_were_tried(frames_run, tmp_path):
    (tmp_path / "lists" / "rgb_validation_split.txt").unlink()
    message = (
        r"no rgb_validation_split\.txt or rgb_val_split\.txt in .*lists\.\n"
        r".*`folder num_frames label` a line.*DATA\.LABEL_PATH_TEMPLATE.*\n.*uniformer.video guide`"
    )
    with pytest.raises(DataError, match=message):
        build_data(load_config(overrides=frames_run()))


def test_other_names_of_frames_stop_the_run_at_its_start(frames_run):
    with pytest.raises(
        DataError, match=r"none of the 8 .*DATA\.IMAGE_TEMPLATE .*, such as 00001\.jpg"
    ):
        build_data(load_config(overrides=frames_run(DATA__IMAGE_TEMPLATE="img_{:05d}.jpg")))


def test_the_model_sees_the_sampled_frames_in_its_channel_order(frames_run):
    cfg = load_config(overrides=frames_run(DATA__MEAN="[0,0,0]", DATA__STD="[1,1,1]"))
    dataset = build_clips.build_test_dataset(
        cfg, build_data(cfg).test, Protocol.from_cfg(cfg).with_views(2, 1)
    )
    blue = 255 * dataset[3].views[:, 0].mean((-1, -2))  # [views, T]: 4 for each frame before it
    expected = 4 * ClipSampling(4, 2, "segment").test_clips(12, 2)
    np.testing.assert_allclose(blue, expected, atol=1.5)


def test_train_and_test(frames_run, tmp_path):
    frames = tmp_path / "frames"
    (frames / "clip 1" / "00010.jpg").unlink()  # its last one
    shutil.rmtree(frames / "clip 3")
    shutil.copytree(frames / "clip 2", frames / "clip 3")
    write_list(
        tmp_path / "lists" / "rgb_validation_split.txt",
        "clip 0 9 0\nclip 1 10 1\nclip 2 11 0\nclip 3 11 1\n",
    )
    folder = run(load_config(overrides=frames_run(DATA__MAX_BAD_RATIO=0.5)), "tiny")
    results = json.loads((folder / "results.json").read_text())
    assert (results["summary"]["decoded"], results["summary"]["failed"]) == (3, 1)
    (failure,) = results["failures"]
    assert failure["name"] == "clip 1"
    assert "00010.jpg is not there, the last of 10 frames" in failure["reason"]
    assert "00010.jpg is not there" in (folder / "bad_videos.csv").read_text()
    # Clips 2 and 3 are alike and differ in their label, so one is mistaken, and its frames shown.
    assert (folder / "report.html").read_text().count("data:image/jpeg") >= 4
    tested = results["videos"][2]
    assert tested["path"] == str(frames / "clip 2" / "{:05d}.jpg")
    ((name, share),) = Predictor.from_checkpoint(folder / "best.pt")(tested["path"]).top(1)
    best = tested["top5"][0]
    assert results["class_names"][best["class"]] == name
    assert best["score"] == pytest.approx(share, abs=1e-5)
