"""What a sample depends on: its key alone. What a broken video does: never pass for another."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import augmentation

from uniformer_video.config.settings import load_config
from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.cache import FrameCache
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import (
    CacheFilling,
    EvalDataset,
    TrainDataset,
    TrainKey,
)
from uniformer_video.data.loading.loader import TrainLoader, TrainPlan, eval_loader
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import ConfigError
from uniformer_video.runs import build_clips
from uniformer_video.runs.build_data import build_data

RAW = Normalisation((0, 0, 0), (1 / 255,) * 3)  # values stay bytes


@pytest.fixture
def videos(make_video):
    """Six videos, the third of them broken, with labels 0..5."""
    paths = [make_video(f"{i}.mp4", frames=30 + i) for i in range(6)]
    paths[2].write_bytes(b"broken")
    return [VideoRecord(str(path), path.name, (i,)) for i, path in enumerate(paths)]


def train_dataset(videos, seed=0, copies=2, **changes):
    options = {"policy": "rand-m7-n4-mstd0.5-inc1", "erasing": 0.5, "normalise": RAW, **changes}
    augment = augmentation(32, **options)
    return TrainDataset(videos, ClipSampling(4, 2), augment, seed, copies)


def batches(videos, workers, slots=2, own=(0, 1), first_step=0, epoch=3):
    plan = TrainPlan(len(videos), slots, 1, seed=7)
    loader = TrainLoader(train_dataset(videos, seed=7), plan, own, workers)
    return list(loader.epoch(epoch, first_step))


def same(a, b):
    return all(
        torch.equal(x.clips, y.clips) and torch.equal(x.labels, y.labels) and x.paths == y.paths
        for x, y in zip(a, b, strict=True)
    )


def test_any_number_of_workers_gives_the_same_batches(videos):
    expected = batches(videos, workers=0)
    assert len(expected) == 6
    assert same(batches(videos, workers=1), expected)
    assert same(batches(videos, workers=3), expected)


def test_any_number_of_processes_shares_the_same_batches(videos):
    expected = batches(videos, workers=0)
    for slot in (0, 1):
        assert same(batches(videos, 0, own=(slot,)), expected[slot::2])


def test_an_epoch_can_start_at_any_step(videos):
    expected = batches(videos, workers=0)
    assert same(batches(videos, 0, first_step=2), expected[4:])
    assert same(batches(videos, 2, first_step=2), expected[4:])


def test_balanced_batches_do_not_depend_on_workers_processes_or_a_resume(videos):
    weights = np.array([1.0, 1, 0, 4, 3, 0])

    def balanced(workers, own=(0, 1), first_step=0):
        plan = TrainPlan(len(videos), 2, 1, 7, weights)
        loader = TrainLoader(train_dataset(videos, seed=7), plan, own, workers)
        return list(loader.epoch(3, first_step))

    expected = balanced(0)
    assert not same(expected, batches(videos, workers=0))
    assert {path[-5] for batch in expected for path in batch.paths} <= {"0", "1", "3", "4"}
    assert same(balanced(2), expected)
    assert same(balanced(0, own=(1,)), expected[1::2])
    assert same(balanced(2, first_step=1), expected[2:])


def test_each_video_is_drawn_once_an_epoch_and_epochs_differ():
    plan = TrainPlan(videos=103, slots=2, slot_size=5, seed=1)
    epochs = []
    for epoch in range(3):
        keys = [key for batch in plan.batches(epoch, 0, range(2)) for key in batch]
        assert len(keys) == 100
        assert len({key.index for key in keys}) == 100
        assert [key.position for key in keys] == list(range(100))
        epochs.append([key.index for key in keys])
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_step_larger_than_the_list_is_an_error():
    with pytest.raises(ConfigError, match=r"takes 16 videos.*has 9.*BATCH_SIZE 9"):
        TrainPlan(videos=9, slots=2, slot_size=8, seed=0)


def test_copies_share_frames_and_are_augmented_independently(videos):
    sample = train_dataset(videos, policy="", erasing=0.0, copies=3)[TrainKey(0, 0, 0)]
    assert sample.clips.shape == (3, 3, 4, 32, 32)
    assert not torch.equal(sample.clips[0], sample.clips[1])
    plain = {"policy": "", "erasing": 0.0, "flip": False, "area": None, "scales": (48, 48)}
    # The third channel's brightness tells the frame: the copies' crops come from the same frames.
    sample = train_dataset(videos, copies=3, **plain)[TrainKey(0, 0, 0)]
    brightness = sample.clips[:, 2].mean((-1, -2))
    torch.testing.assert_close(brightness[0], brightness[1], atol=2, rtol=0)
    assert brightness[0].diff().gt(4).all()


def test_another_seed_epoch_or_position_gives_another_sample(videos):
    first = train_dataset(videos)[TrainKey(0, 0, 0)].clips
    assert torch.equal(train_dataset(videos)[TrainKey(0, 0, 0)].clips, first)
    for dataset, key in (
        (train_dataset(videos, seed=1), TrainKey(0, 0, 0)),
        (train_dataset(videos), TrainKey(1, 0, 0)),
        (train_dataset(videos), TrainKey(0, 1, 0)),
    ):
        assert not torch.equal(dataset[key].clips, first)


def test_a_broken_video_is_replaced_in_training_the_same_way_each_time(videos):
    samples = [train_dataset(videos)[TrainKey(0, 4, 2)] for _ in range(2)]
    assert samples[0].path == samples[1].path != videos[2].path
    assert torch.equal(samples[0].clips, samples[1].clips)
    assert samples[0].labels.tolist() == [int(samples[0].path[-5])] * 2
    ((path, reason),) = samples[0].broken
    assert path == videos[2].path
    assert "cannot be opened" in reason
    others = {train_dataset(videos)[TrainKey(0, p, 2)].path for p in range(30)}
    assert len(others) > 2


def test_a_video_without_weight_replaces_none(videos):
    videos = [replace(v, weight=float(i in (2, 4))) for i, v in enumerate(videos)]
    samples = [train_dataset(videos)[TrainKey(0, p, 2)] for p in range(10)]
    assert {sample.path for sample in samples} == {videos[4].path}


def test_when_every_video_is_broken_there_is_no_sample(videos):
    for video in videos:
        shutil.copy(videos[2].path, video.path) if video is not videos[2] else None
    (batch,) = batches(videos[:1], workers=1, slots=1, own=(0,))
    assert batch.clips is None
    assert len(batch.broken) == 20


def test_flip_exchanges_labels(videos):
    plain = {"policy": "", "erasing": 0.0, "area": None, "scales": (48, 48)}
    dataset = train_dataset(videos, copies=1, flip_labels=((0, 1), (1, 0)), **plain)
    seen = set()
    for position in range(40):
        sample = dataset[TrainKey(0, position, 0)]
        # x * 3 grows to the right in the first frames of the pattern, unless it is mirrored
        mirrored = bool(sample.clips[0, 0, 0, :, :8].diff(dim=-1).float().median() < 0)
        seen.add((mirrored, int(sample.labels[0])))
    assert seen == {(False, 0), (True, 1)}


def eval_dataset(videos, playback="forward"):
    return EvalDataset(videos, ClipSampling(4, 2), EvalViews(48, 48, 3, RAW), 2, playback)


def test_a_broken_video_is_never_replaced_in_evaluation(videos):
    for workers in (0, 2):
        loader = eval_loader(eval_dataset(videos), range(6), 4, workers)
        samples = [sample for batch in loader for sample in batch]
        assert [sample.index for sample in samples] == list(range(6))
        assert [sample.views is None for sample in samples] == [i == 2 for i in range(6)]
        assert "cannot be opened" in samples[2].reason


def brightness(dataset, index):
    return dataset[index].views[:, 2].mean((-1, -2))  # [views, T]; grows by 4 a frame


def test_playback(videos):
    forward = brightness(eval_dataset(videos), 0)
    indices = ClipSampling(4, 2).test_clips(30, 2)
    expected = torch.from_numpy(np.repeat(4.0 * indices, 3, axis=0)).float()
    torch.testing.assert_close(forward, expected, atol=4.5, rtol=0)
    backward = brightness(eval_dataset(videos, "reverse"), 0)
    torch.testing.assert_close(backward, 4 * 29 - expected, atol=4.5, rtol=0)
    still = brightness(eval_dataset(videos, "still"), 0)
    torch.testing.assert_close(still, torch.full((6, 4), 60.0), atol=4.5, rtol=0)


def test_a_segment_is_all_that_its_record_shows(videos):
    """25 frames a second: seconds 0.4 to 0.8 are frames 10 to 19."""
    whole, part = videos[0], replace(videos[0], name="0.mp4#0.4-0.8", start=0.4, end=0.8)
    expected = brightness(eval_dataset([whole]), 0)
    assert brightness(eval_dataset([part]), 0).shape == expected.shape
    indices = 10 + ClipSampling(4, 2).test_clips(10, 2)
    shown = torch.from_numpy(np.repeat(4.0 * indices, 3, axis=0)).float()
    torch.testing.assert_close(brightness(eval_dataset([part]), 0), shown, atol=4.5, rtol=0)
    backward = brightness(eval_dataset([part], "reverse"), 0)
    torch.testing.assert_close(backward, 4 * 29 - shown, atol=4.5, rtol=0)
    still = brightness(eval_dataset([part], "still"), 0)
    torch.testing.assert_close(still, torch.full((6, 4), 60.0), atol=4.5, rtol=0)
    plain = {"policy": "", "erasing": 0.0, "flip": False, "area": None, "scales": (48, 48)}
    dataset = train_dataset([part], copies=1, **plain)
    seen = torch.stack([dataset[TrainKey(0, p, 0)].clips[0, 2].mean((-1, -2)) for p in range(20)])
    assert 38 < seen.min() < seen.max() < 78


def test_a_segment_outside_the_video_is_a_failure_that_names_file_and_seconds(videos):
    outside = replace(videos[0], name="0.mp4#3-4", start=3.0, end=4.0)
    sample = eval_dataset([outside])[0]
    assert sample.views is None
    assert videos[0].path in sample.reason
    assert "no frame begins from 3 s to 4 s; the last begins at 1.160 s" in sample.reason
    replaced = train_dataset([outside, videos[1]])[TrainKey(0, 0, 0)]
    assert replaced.path == videos[1].path
    assert "from 3 s to 4 s" in replaced.broken[0][1]


def test_a_rate_spreads_the_strides_over_time(videos):
    slow = ClipSampling(4, 1, target_fps=5.0)
    sample = EvalDataset(videos, slow, EvalViews(48, 48, 1, RAW), 1)[0]
    # 30 frames at 25 a second show 0, 5, ..., 25 at 5 a second; the middle four of these
    shown = torch.tensor([[20.0, 40.0, 60.0, 80.0]])
    torch.testing.assert_close(sample.views[:, 2].mean((-1, -2)), shown, atol=4.5, rtol=0)


def test_a_short_side_is_reached_in_decoding(make_video, tiny):
    record = VideoRecord(str(make_video(frames=20, size=(96, 128))), "a", (0,))
    settings = ["DATA.DECODE_SHORT_SIDE", "40", "MODEL.NUM_CLASSES", "1"]
    cfg = load_config(overrides=[*tiny(), *settings])
    with open_video(record.path) as video:
        expected = video.frames(ClipSampling(4, 2).test_clips(20, 1)[0], short_side=40)
    test = build_clips.build_test_dataset(cfg, [record], Protocol.from_cfg(cfg).with_views(1, 1))
    test.views = EvalViews(40, 40, 1, RAW)
    centre = torch.from_numpy(expected[:, :, 7:47]).permute(3, 0, 1, 2).float()
    torch.testing.assert_close(test[0].views[0], centre)
    train = build_clips.build_train_dataset(cfg, [record], ["a"])
    assert train.decode(record, np.random.default_rng(0)).shape == (4, 40, 53, 3)


def test_a_short_side_below_that_of_the_test_is_refused(tiny):
    with pytest.raises(ConfigError, match="smaller than the short side of the test, 32"):
        load_config(overrides=[*tiny(), "DATA.DECODE_SHORT_SIDE", "24"])


@pytest.mark.parametrize("workers", [0, 2])
def test_kept_frames_give_the_same_batches(videos, tmp_path, workers):
    """Of six videos one is broken, one is not kept, and one is a part of its file."""
    cache = FrameCache(tmp_path / "frames", 10**9)
    cache.make()
    videos[4] = replace(videos[4], start=0.4, end=1.0)
    reasons = [CacheFilling(videos, cache, {})[index] for index in (0, 2, 3, 4, 5)]
    assert [bool(reason) for reason in reasons] == [False, True, False, False, False]
    plan = TrainPlan(6, 2, 1, seed=7)
    found = []
    for kept in (None, cache):
        dataset = train_dataset(videos, seed=7)
        dataset.cache = kept
        found.append(list(TrainLoader(dataset, plan, (0, 1), workers).epoch(3)))
    assert same(*found)
    assert [batch.broken for batch in found[0]] == [batch.broken for batch in found[1]]


def test_data_from_a_config(tiny, demo):
    data = build_data(load_config(overrides=tiny()))
    assert (len(data.train), len(data.val), len(data.test)) == (16, 8, 8)
    assert data.class_names[4:6] == ["grow", "shrink"]
    assert not data.notes
