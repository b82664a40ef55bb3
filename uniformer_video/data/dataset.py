"""One dataset: record + sampling + decoding + transforms. Formats differ only in the records."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import Dataset

from uniformer_video.data.augment import ColorJitter, RandAugment, RandomErasing
from uniformer_video.data.decoding import open_video
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.data.transforms import (
    EvalViews,
    Normalisation,
    random_crop,
    random_resized_crop,
    to_channels_first,
)
from uniformer_video.errors import DecodeError
from uniformer_video.randomness import generator

MAX_SUBSTITUTES = 20


@dataclass
class TrainAugmentation:
    """What training does to the frames of a clip, in this order.

    policy: RandAugment's, "" for none; color_jitter: strength, used without a policy. area, ratio:
    of the resized crop; area None = plain crop after jittering the short side within `scales`.
    flip: mirror half of the clips; flip_labels: class -> class of the mirrored video.
    """

    crop_size: int
    policy: str = ""
    interpolation: str = "bicubic"
    color_jitter: float = 0.0
    area: tuple | None = (0.08, 1.0)
    ratio: tuple = (0.75, 1.3333)
    scales: tuple = (256, 320)
    flip: bool = True
    flip_labels: tuple = ()
    erasing: float = 0.0
    normalise: Normalisation = field(default_factory=Normalisation)

    def __post_init__(self):
        self._colors = self._erase = None
        if self.policy:
            self._colors = RandAugment(self.policy, self.interpolation)
        elif self.color_jitter:
            self._colors = ColorJitter(self.color_jitter)
        if self.erasing:
            self._erase = RandomErasing(self.erasing)

    def __call__(self, frames, label, rng):
        """`uint8 [T, H, W, 3]`, class -> `float32 [3, T, crop, crop]`, class."""
        if self._colors:
            frames = self._colors(frames, rng)
        clip = to_channels_first(frames)
        if self.area:
            clip = random_resized_crop(clip, self.area, self.ratio, self.crop_size, rng)
        else:
            clip = random_crop(clip, self.scales, self.crop_size, rng)
        clip = self.normalise(clip)
        if self.flip and rng.random() < 0.5:
            clip = clip.flip(-1)
            label = dict(self.flip_labels).get(label, label)
        if self._erase:
            clip = self._erase(clip, rng)
        return clip.contiguous(), label


@dataclass(frozen=True)
class TrainKey:
    """Which sample of a run: all its draws follow from the seed and these.

    position: its place in the epoch's order; index: which record stands there.
    """

    epoch: int
    position: int
    index: int


@dataclass(frozen=True)
class TrainSample:
    """`copies` augmented clips of one video; clips None when no substitute could be decoded either."""

    clips: torch.Tensor | None  # float32 [copies, 3, T, H, W]
    labels: torch.Tensor | None  # int64 [copies]
    path: str
    broken: tuple = ()  # (path, reason) of broken videos met before one that decodes


@dataclass(frozen=True)
class EvalSample:
    """All views of one video, or the reason why there are none."""

    index: int
    views: torch.Tensor | None  # float32 [views, 3, T, H, W]
    reason: str = ""


class TrainDataset(Dataset):
    """Random augmented clips; `dataset[TrainKey]` depends on the seed and the key alone."""

    def __init__(self, records, sampling, augment, seed, copies=1, backend="auto"):
        self.records = records
        self.sampling: ClipSampling = sampling
        self.augment: TrainAugmentation = augment
        self.seed = seed
        self.copies = copies
        self.backend = backend

    def __len__(self):
        return len(self.records)

    def __getitem__(self, key):
        """The `TrainSample` at a `TrainKey`; a broken video is replaced by another, keyed, draw."""
        broken = []
        for attempt in range(MAX_SUBSTITUTES):
            rng = generator("clip", self.seed, key.epoch, key.position, attempt)
            index = key.index if attempt == 0 else int(rng.integers(len(self.records)))
            record = self.records[index]
            try:
                frames = self._decode(record, rng)
            except (DecodeError, OSError) as error:
                broken.append((record.path, one_line(error)))
                continue
            return self._sample(frames, record, key, tuple(broken))
        return TrainSample(None, None, record.path, tuple(broken))

    def _decode(self, record, rng):
        with open_video(record.path, self.backend, record.num_frames) as video:
            return video.frames(self.sampling.train_clip(video.num_frames, rng))

    def _sample(self, frames, record, key, broken):
        clips, labels = [], []
        for copy in range(self.copies):
            rng = generator("augment", self.seed, key.epoch, key.position, copy)
            clip, label = self.augment(frames, record.label, rng)
            clips.append(clip)
            labels.append(label)
        return TrainSample(torch.stack(clips), torch.tensor(labels), record.path, broken)


class EvalDataset(Dataset):
    """All views of each video, from one opening and one decoding pass.

    playback: "forward", "reverse" (the video backwards) or "still" (its middle frame repeated).
    """

    def __init__(self, records, sampling, views, num_clips, playback="forward", backend="auto"):
        self.records = records
        self.sampling: ClipSampling = sampling
        self.views: EvalViews = views
        self.num_clips = num_clips
        self.playback = playback
        self.backend = backend

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        """The `EvalSample` of a record; a broken video gives its reason, never another video."""
        try:
            record = self.records[index]
            how = (self.playback, self.backend, record.num_frames)
            clips = decode_test_clips(record.path, self.sampling, self.num_clips, *how)
        except (DecodeError, OSError) as error:
            return EvalSample(index, None, one_line(error))
        return EvalSample(index, self.views(clips))


def decode_test_clips(path, sampling, num_clips, playback="forward", backend="auto", num_frames=0):
    """The test clips of a video, `uint8 [num_clips, T, H, W, 3]`, by one opening and one pass.

    `backend` and `num_frames` are those of `open_video`.
    """
    with open_video(path, backend, num_frames) as video:
        indices = sampling.test_clips(video.num_frames, num_clips)
        if playback == "reverse":
            indices = video.num_frames - 1 - indices
        elif playback == "still":
            indices = np.full_like(indices, video.num_frames // 2)
        frames = video.frames(indices.ravel())
    return frames.reshape(*indices.shape, *frames.shape[1:])


def one_line(error):
    """An error's message on one line."""
    return " ".join(str(error).split())
