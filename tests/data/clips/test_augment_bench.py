"""The loader bench on small generated videos: every step is timed, both sides do the same work."""

import math

import numpy as np
import pytest
import torch
from clips import augmentation

from uniformer_video.bench import loader, some_data
from uniformer_video.bench.generated import generate_images, generate_videos
from uniformer_video.bench.published_images import PublishedImages
from uniformer_video.bench.published_loader import PublishedDataset
from uniformer_video.config.settings import load_config
from uniformer_video.data.clips.images import ImageAugmentation
from uniformer_video.data.loading.dataset import TrainDataset
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import ConfigError

SMALL = ("DATA.NUM_FRAMES", "4", "DATA.SAMPLING_RATE", "2", "DATA.TRAIN_CROP_SIZE", "32")


@pytest.fixture
def small_videos(monkeypatch):
    """Short, small videos in place of the generated ones."""
    make = some_data.generate_videos
    monkeypatch.setattr(some_data, "generate_videos", lambda folder: make(folder, 2, (64, 80), 20))


def test_measure_and_report(small_videos):
    cfg = load_config(overrides=[*SMALL])
    times = loader.measure(cfg, clips=4, rounds=1, workers=(0, 1), baseline=True)
    for side in (times.ours, times.baseline):
        assert tuple(side) == loader.STEPS
        assert all(seconds > 0 for step, seconds in side.items())
    assert set(times.rates) == {0, 1} and min(times.rates.values()) > 0
    text = "\n".join(loader.report(times, needed=100))
    assert all(step in text for step in loader.STEPS)
    assert "published" in text and "DATA_LOADER.NUM_WORKERS" in text


def test_numbers_of_the_report():
    ours = dict.fromkeys(loader.STEPS, 0.01)
    published = dict.fromkeys(loader.STEPS, 0.03) | {loader.DECODE: 0.01}
    text = "\n".join(loader.report(loader.LoaderTimes(ours, published, {1: 12.0}), 100))
    assert "clips/s per core: 14.3, published 5.3, 2.71x" in text
    assert "without decoding: 16.7, published 5.6, 3.00x" in text
    assert "NUM_WORKERS 9," in text
    alone = "\n".join(loader.report(loader.LoaderTimes(ours, None, {1: 12.0})))
    assert "published" not in alone and "NUM_WORKERS" not in alone


@pytest.mark.parametrize(("on_device", "absent"), [("normalise", 2), ("all", 5)])
def test_what_the_device_does_is_no_time_of_a_worker(small_videos, on_device, absent):
    cfg = load_config(overrides=[*SMALL, "AUG.ON_DEVICE", on_device])
    times = loader.measure(cfg, clips=4, rounds=1, workers=(1,), baseline=True)
    assert len(times.ours) == len(loader.STEPS) - absent + 2
    assert "normalise" not in times.ours and tuple(times.ours)[-3:] == (
        "pack",
        "collate",
        "on the device",
    )
    assert tuple(times.baseline) == loader.STEPS
    times.ours |= dict.fromkeys(times.ours, 0.001) | {loader.DEVICE: 1.0}
    lines = loader.report(times)
    made = len(times.ours) - 1
    assert f"{'all':24s}{made:9.1f}" in [line[:33] for line in lines]
    assert f"{'on the device':24s}{1000:9.1f}" in lines
    assert any(line.startswith("normalise" + " " * 24) for line in lines)


def test_worker_counts():
    assert loader.worker_counts("4,0") == [0, 1, 4]
    for text in ("", "a", "-1", "1,,2"):
        with pytest.raises(ConfigError, match="--workers"):
            loader.worker_counts(text)


def test_the_baseline_needs_a_resized_crop(small_videos):
    cfg = load_config(overrides=[*SMALL, "DATA.TRAIN_JITTER_SCALES_RELATIVE", "[]"])
    with pytest.raises(ConfigError, match="resized crop"):
        loader.measure(cfg, clips=4, rounds=1, workers=(0,), baseline=True)


def test_both_sides_make_the_same_clips(tmp_path):
    """The times compare equal work: the same frames, and without rounding ops the same values."""
    records = generate_videos(tmp_path, 2, (64, 80), 20)
    augment = augmentation(32, "", erasing=0.5)
    ours = TrainDataset(records, ClipSampling(4, 2), augment, seed=0)
    published = PublishedDataset(ours)
    for index, record in enumerate(records):
        frames = ours.decode(record, np.random.default_rng(index))
        np.testing.assert_array_equal(
            frames, published.decode(record, np.random.default_rng(index))
        )
        clip, _ = ours.augment(frames, (0,), np.random.default_rng(index))
        other, _ = published.augment(frames, (0,), np.random.default_rng(index))
        torch.testing.assert_close(clip, other, atol=1e-5, rtol=0)


def test_generated_videos_move_and_have_texture(tmp_path):
    (record,) = generate_videos(tmp_path, 1, (64, 80), 30)
    dataset = TrainDataset([record], ClipSampling(4, 4), None, seed=0)
    frames = dataset.decode(record, np.random.default_rng(0)).astype(int)
    assert frames.shape == (4, 64, 80, 3)
    assert frames.std() > 20 and np.abs(np.diff(frames, axis=0)).mean() > 3
    assert not math.isclose(frames[0].mean(), frames[-1].mean(), abs_tol=1e-9)


def test_colour_jitter_is_called_so_and_done_by_both_sides(small_videos, tmp_path):
    jitter = ["AUG.AA_TYPE", "", "AUG.COLOR_JITTER", "0.4"]
    times = loader.measure(load_config(overrides=[*SMALL, *jitter]), 2, 1, (1,), baseline=True)
    for side in (times.ours, times.baseline):
        assert "colour jitter" in side and "RandAugment" not in side
    assert any(line.startswith("colour jitter ") for line in loader.report(times))
    jitter[-1] = "0"
    neither = loader.measure(load_config(overrides=[*SMALL, *jitter]), 2, 1, (1,)).ours
    assert tuple(neither) == tuple(step for step in loader.STEPS if step != "RandAugment")

    record, _ = some_data.generate_videos(tmp_path)
    ours = TrainDataset([record], ClipSampling(4, 2), augmentation(32, color_jitter=0.4), seed=0)
    frames = ours.decode(record, np.random.default_rng(0))
    clip, _ = ours.augment(frames, (0,), np.random.default_rng(0))
    other, _ = PublishedDataset(ours).augment(frames, (0,), np.random.default_rng(0))
    torch.testing.assert_close(clip, other, atol=0.02, rtol=0)


IMAGES = ("TRAIN.DATASET", "imagefolder", "DATA.TRAIN_CROP_SIZE", "32")


@pytest.mark.parametrize("on_device", ["off", "normalise"])
def test_images_are_measured_against_plain_pillow(monkeypatch, on_device):
    make = some_data.generate_images
    monkeypatch.setattr(some_data, "generate_images", lambda folder: make(folder, 2, (60, 80)))
    cfg = load_config(overrides=[*IMAGES, "AUG.ON_DEVICE", on_device])
    times = loader.measure(cfg, clips=4, rounds=1, workers=(1,), baseline=True)
    assert set(times.baseline) == set(loader.STEPS)
    assert ("normalise" in times.ours) == (on_device == "off")
    text = "\n".join(loader.report(times, needed=100))
    assert text.startswith("ms an image, one thread") and "images/s per core: " in text
    assert "For 100 images/s: " in text and "clip" not in text


def test_both_sides_make_the_same_images(tmp_path):
    records = generate_images(tmp_path, 3, (60, 80))
    crop = {"area": (0.08, 1.0), "ratio": (0.75, 1.3333), "scales": (256, 320)}
    augment = ImageAugmentation(32, "rand-m9-n4-mstd0.5-inc1", erasing=0.5, **crop)
    ours = TrainDataset(records, ClipSampling(1, 1), augment, seed=0, backend="pillow")
    published = PublishedImages(ours, augment)
    for seed in range(12):
        record = records[seed % 3]
        image = published.decode(record, np.random.default_rng(seed))
        frames = ours.decode(record, np.random.default_rng(seed))
        np.testing.assert_array_equal(frames[0], np.asarray(image))
        one, _ = augment(frames, (0,), np.random.default_rng(seed))
        other, _ = published.augment(image, (0,), np.random.default_rng(seed))
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_broken_videos_are_left_out_counted_and_named(make_video, tmp_path, call):
    names = [make_video(f"{place}.mp4", frames=12).name for place in range(3)]
    (tmp_path / "1.mp4").write_bytes(b"no video")
    rows = [f"{name},{place}\n" for place, name in enumerate(names)]
    (tmp_path / "train.csv").write_text("".join(rows))
    data = ["DATA.PATH_TO_DATA_DIR", tmp_path, "DATA.MAX_BAD_RATIO", "1"]
    options = ["--clips", "3", "--repeat", "1", "--workers", "1", "--baseline"]
    status, shown, errors = call("bench", "loader", *options, *SMALL, *data)
    assert status == 0, errors
    assert f"1 video left out as broken: {tmp_path / '1.mp4'}: " in shown.splitlines()[-1]
    for name in names:
        (tmp_path / name).write_bytes(b"no video")
    status, _, errors = call("bench", "loader", *options, *SMALL, *data)
    assert status == 2 and "none of the 3 videos can be decoded; the first is" in errors
