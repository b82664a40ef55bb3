"""`predict` with a segmentation model: masks and overlays, rows, and what is refused."""

import csv
import errno
import json
import os

import av
import numpy as np
import pytest
from av.stream import Disposition
from moving_shape import NAMES, moving_shape
from PIL import Image
from videos import encode, write_streams

from uniformer_video.data.decoding import sequential
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.inference.segmenter import Segmenter

CLASSES = {"codec": "ffv1", "pix_fmt": "bgr0"}


@pytest.fixture
def folder(tmp_path):
    """Two pictures, one of them below, a video with sound, and a picture that is broken."""
    frames, _ = moving_shape(6, 1)
    place = tmp_path / "in"
    (place / "sub").mkdir(parents=True)
    Image.fromarray(frames[0]).save(place / "a.jpg", quality=95)
    Image.fromarray(frames[1]).save(place / "sub" / "a.png")
    (place / "broken.png").write_bytes(b"no picture")
    write_streams(place / "film.mp4", [(frames, Disposition.default)], sound=True)
    return place


@pytest.fixture
def predict(call, shape_checkpoint):
    def run(*words):
        return call("predict", *words, "--checkpoint", shape_checkpoint, "--device", "cpu")

    return run


def files_in(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_masks_and_overlays_of_a_folder(predict, folder, shape_checkpoint, tmp_path):
    out = tmp_path / "out"
    status, printed, errors = predict(folder, "--overlay", out, "--masks", "--json")
    assert status == 2 and "1 file of 4 cannot be predicted" in errors and "broken.png" in errors
    assert files_in(out) == [
        "a.png",
        "a_overlay.jpg",
        "film.mp4",
        *(f"film_masks/{number:06d}.png" for number in range(6)),
        "overlay.predict.json",
        "sub/a.png",
        "sub/a_overlay.jpg",
    ]
    segmenter = Segmenter.from_checkpoint(shape_checkpoint, device="cpu")
    rows = {os.path.basename(row["file"]): row for row in map(json.loads, printed.splitlines())}
    found = segmenter(folder / "a.jpg")
    assert rows["a.jpg"] == {
        "file": str(folder / "a.jpg"),
        "task": "segmentation",
        **found.to_dict(5),
    }
    assert "cannot be read as a picture" in rows["broken.png"]["error"]
    assert rows["film.mp4"]["frames"] == 6
    with Image.open(out / "a.png") as mask:
        assert mask.mode == "P" and np.array_equal(np.asarray(mask), found.classes)
        assert mask.getpalette()[:12] == segmenter.palette.ravel().tolist()
    picture = np.asarray(Image.open(folder / "a.jpg"))
    shown = np.asarray(Image.open(out / "a_overlay.jpg")).astype(int)
    assert np.abs(shown - found.overlay(picture)).mean() < 12
    with av.open(str(out / "film.mp4")) as video, av.open(str(folder / "film.mp4")) as original:
        assert len(video.streams.audio) == 1
        pairs = zip(video.decode(video=0), original.decode(video=0), strict=True)
        for number, (drawn, frame) in enumerate(pairs):
            assert drawn.time == pytest.approx(frame.time, abs=1e-3)
            pixels = frame.to_ndarray(format="rgb24")
            found = segmenter(pixels)
            mask = np.asarray(Image.open(out / "film_masks" / f"{number:06d}.png"))
            assert np.array_equal(mask, found.classes)
            shown = drawn.to_ndarray(format="rgb24").astype(int)
            assert np.abs(shown - found.overlay(pixels)).mean() < 20


def test_a_video_is_decoded_once(predict, folder, tmp_path, monkeypatch):
    opened, original = [], sequential.SequentialReader._upright

    def counted(self, frame, short_side):
        opened.append(frame.pts)
        return original(self, frame, short_side)

    monkeypatch.setattr(sequential.SequentialReader, "_upright", counted)
    film = folder / "film.mp4"
    assert predict(film, "--overlay", tmp_path / "out", "--masks", "--steady")[0] == 0
    assert len(opened) == len(set(opened)) == 6


def test_rows_hold_the_shares_and_a_run_goes_on(predict, folder, tmp_path):
    rows, out = tmp_path / "rows.csv", tmp_path / "out"
    words = [folder, "--out", rows, "--overlay", out, "--top", "2"]
    assert predict(*words)[0] == 2
    text = rows.read_text()
    table = {os.path.basename(row["path"]): row for row in csv.DictReader(rows.open(newline=""))}
    assert list(table["a.jpg"])[-6:] == [
        *("top1_name", "top1_share", "top2_name", "top2_share", "notes", "failure")
    ]
    assert table["a.jpg"]["top1_name"] in NAMES and float(table["a.jpg"]["top1_share"]) > 0.25
    assert (table["a.jpg"]["height"], table["a.jpg"]["frames"]) == ("96", "")
    assert (table["film.mp4"]["height"], table["film.mp4"]["frames"]) == ("", "6")
    assert table["broken.png"]["failure"] and not table["broken.png"]["top1_name"]
    before = (out / "sub" / "a.png").stat().st_mtime_ns
    (out / "film.mp4").unlink()
    status, _, errors = predict(*words)
    assert status == 2 and "3 files already; 1 to go" in errors
    assert (out / "film.mp4").is_file() and rows.read_text() == text
    assert (out / "sub" / "a.png").stat().st_mtime_ns == before
    status, _, errors = predict(*words, "--steady")
    assert status == 2 and "was begun with another averaging over time (--steady)" in errors


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_row_of_a_broken_video_is_told_again(predict, folder, tmp_path, monkeypatch, suffix):
    film, rows = folder / "film.mp4", tmp_path / f"rows{suffix}"
    decode, count = VideoPackets._decode, [0]

    def failing(self, packet):
        count[0] += 1
        if count[0] == 4:
            raise av.InvalidDataError(1, "Invalid data found when processing input")
        return decode(self, packet)

    monkeypatch.setattr(VideoPackets, "_decode", failing)
    words = [film, folder / "a.jpg", "--out", rows]
    for said in ("Predictions of 2 files", "2 files already; 0 to go"):
        status, _, errors = predict(*words)
        assert status == 2 and said in errors and "frames of 6 could not be decoded" in errors
    text = rows.read_text()
    if suffix == ".csv":
        assert [row["broken"] for row in csv.DictReader(text.splitlines())] == ["True", ""]
    else:
        assert [row.get("broken") for row in map(json.loads, text.splitlines())] == [True, None]


def test_shares_are_printed_without_a_folder(predict, folder, tmp_path):
    frames, _ = moving_shape(3, 1)
    for number, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(tmp_path / f"img_{number:03d}.png")
    status, printed, errors = predict(folder / "a.jpg", tmp_path / "img_{:03d}.png", "--top", "1")
    assert status == 0 and "25 frames a second are taken" in errors
    assert printed.splitlines()[3] == "  3 frames:"
    assert printed.count("%") == 2


def test_what_is_refused_before_anything_is_written(predict, folder, tmp_path, untrained, call):
    picture, film = folder / "a.jpg", folder / "film.mp4"
    out = tmp_path / "out"
    cases = [
        ([picture, "--steady", "--overlay", out], "--steady is an average over the frames"),
        ([film, "--masks"], "--masks are written into the folder of --overlay"),
        ([film, "--overlay", folder], "holds other things"),
        ([film, "--overlay", picture], "is a file"),
        ([film, "--overlay", tmp_path / "no" / "out"], "there is no folder"),
        ([film, "--overlay", out, "--clips", "2"], "leave out --clips"),
        ([film, "--overlay", out, "--workers", "2"], "leave out --workers"),
        ([film, "--cuda-graph"], "--cuda-graph is for classifiers; leave it out"),
        ([film, "--overlay", ""], "--overlay names no folder"),
    ]
    for words, message in cases:
        status, printed, errors = predict(*words)
        assert (status, printed) == (2, "") and message in errors, errors
        assert "Traceback" not in errors and not out.exists()
    words = ["predict", film, "--checkpoint", untrained(), "--overlay", out, "--steady"]
    status, _, errors = call(*words)
    assert status == 2 and "is a classifier" in errors and "--overlay, --steady" in errors
    assert not out.exists()


def test_a_folder_of_another_run_and_originals_are_not_written_over(predict, folder, tmp_path):
    out = folder / "out"
    assert predict(folder / "a.jpg", "--overlay", out)[0] == 0
    before = files_in(out)
    status, _, errors = predict(folder, "--overlay", out)  # its own files are none to predict
    assert status == 2 and "left out" in errors and len(files_in(out)) == len(before) + 3
    status, _, errors = predict(out / "a.png", "--overlay", out)
    assert status == 2 and "would write over" in errors
    (out / "overlay.predict.json").write_text("{")
    status, _, errors = predict(folder / "a.jpg", "--overlay", out)
    assert status == 2 and "overlay.predict.json is damaged" in errors


def test_a_full_disk_leaves_nothing_half(predict, folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert predict(folder / "a.jpg", "--overlay", out)[0] == 0

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("uniformer_video.files.os.fsync", full)
        for place in (folder / "sub" / "a.png", folder / "film.mp4"):
            status, _, errors = predict(place, "--overlay", out, "--masks")
            assert status == 2 and "the disk is full" in errors and str(out) in errors
    assert files_in(out) == ["a.png", "a_overlay.jpg", "overlay.predict.json"]
    assert predict(folder / "film.mp4", "--overlay", out, "--masks")[0] == 0


def test_files_that_differ_in_their_suffix_alone(predict, tmp_path):
    frames, _ = moving_shape(2, 1)
    for number, name in enumerate(("a.jpg", "a.png")):
        Image.fromarray(frames[number]).save(tmp_path / name)
    animated = encode(tmp_path / "b.mkv", frames, **CLASSES)
    out = tmp_path / "out"
    assert predict(tmp_path / "a.jpg", tmp_path / "a.png", animated, "--overlay", out)[0] == 0
    assert [name for name in files_in(out) if "overlay" not in name] == [
        "a_jpg.png",
        "a_png.png",
        "b.mp4",
    ]
