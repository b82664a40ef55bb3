"""One dataset: record + sampling + decoding + transforms. Formats differ only in the records."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import Dataset

from uniformer_video.data.augment import ColorJitter, RandAugment, RandomErasing
from uniformer_video.data.augment_ops import change_pixels
from uniformer_video.data.decoding import open_video
from uniformer_video.data.flips import may_mirror, mirrored
from uniformer_video.data.pixels import Window
from uniformer_video.data.records import multi_hot
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.data.transforms import (
    EvalViews,
    Normalisation,
    contiguous,
    random_crop,
    resize,
    resized_crop_box,
)
from uniformer_video.data.watchdog import decoding
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.randomness import generator

MAX_SUBSTITUTES = 20


@dataclass
class TrainAugmentation:
    """What training does to the frames of a clip, in this order.

    policy: RandAugment's, "" for none; color_jitter: strength, used without a policy. area, ratio:
    of the resized crop; area None = plain crop after jittering the short side within `scales`.
    flip: mirror half of the clips; flip_labels: class -> class of the mirrored video;
    flip_skipped: classes that are never mirrored.
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
    flip_skipped: tuple = ()
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

    def __call__(self, frames, labels, rng, mark=lambda step: None):
        """`uint8 [T, H, W, 3]`, classes -> `float32 [3, T, crop, crop]`, classes.

        `mark` is called with the name of each step when it is done, for who times them.
        """
        clip = self._crop(frames, rng, mark)
        if self.flip and rng.random() < 0.5 and may_mirror(labels, self.flip_skipped):
            clip = clip.flip(-1)
            labels = mirrored(labels, self.flip_labels)
        mark("flip")
        clip = contiguous(clip)
        clip = self.normalise(clip, out=clip)
        mark("normalise")
        if self._erase:
            clip = self._erase(clip, rng)
        mark("erasing")
        return clip, labels

    def _crop(self, frames, rng, mark):
        """The crop of the frames after RandAugment: `float32 [3, T, crop, crop]`, 0..255.

        The resized crop's box is known before any pixel is touched, so that the ops have no more to
        do than what it shows.
        """
        drawn = self._colors.draw(rng) if self._colors else []
        weights = self._colors.weights if self._colors else None
        size = frames.shape[1:3]
        box = resized_crop_box(*size, self.area, self.ratio, rng) if self.area else (0, 0, *size)
        clip = change_pixels(frames, drawn, weights, Window(*box)).clip()
        mark("RandAugment")
        if self.area:
            clip = resize(clip, self.crop_size, self.crop_size)
        else:
            clip = random_crop(clip, self.scales, self.crop_size, rng)
        mark("crop and resize")
        return clip


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
    labels: torch.Tensor | None  # int64 [copies], or multi-hot float32 [copies, K]
    path: str
    broken: tuple = ()  # (path, reason) of broken videos met before one that decodes


@dataclass(frozen=True)
class EvalSample:
    """All views of one video, or the reason why there are none."""

    index: int
    views: torch.Tensor | None  # float32 [views, 3, T, H, W]
    reason: str = ""


class TrainDataset(Dataset):
    """Random augmented clips; `dataset[TrainKey]` depends on the seed and the key alone.

    columns: of the multi-hot labels, the number of classes; 0 = each clip has one class index. faults:
    {path: reason} of videos that are not tried, which count as broken; loaders add those that hang or
    crash the decoder.
    """

    def __init__(
        self, records, sampling, augment, seed, copies=1, backend="auto", columns=0, faults=None
    ):
        self.records = records
        self.sampling: ClipSampling = sampling
        self.augment: TrainAugmentation = augment
        self.seed = seed
        self.copies = copies
        self.backend = backend
        self.columns = columns
        self.faults = {} if faults is None else faults
        self._substitutes = np.flatnonzero([record.weight for record in records])

    def __len__(self):
        return len(self.records)

    def __getitem__(self, key):
        """The `TrainSample` at a `TrainKey`; a broken video is replaced by another, keyed, draw."""
        broken = []
        for attempt in range(MAX_SUBSTITUTES):
            rng = generator("clip", self.seed, key.epoch, key.position, attempt)
            index = key.index if attempt == 0 else rng.choice(self._substitutes)
            record = self.records[index]
            try:
                with decoding(self, index):
                    frames = self.decode(record, rng)
            except (DecodeError, OSError) as error:
                broken.append((record.path, one_line(error)))
                continue
            return self._sample(frames, record, key, tuple(broken))
        return TrainSample(None, None, record.path, tuple(broken))

    def decode(self, record, rng):
        """The frames of a random clip of a `VideoRecord`: `uint8 [T, H, W, 3]`."""
        with open_video(record.path, self.backend, record.num_frames) as video:
            timeline = timeline_of(video, self.sampling, record.path, record.start, record.end)
            return video.frames(timeline[self.sampling.train_clip(len(timeline), rng)])

    def _sample(self, frames, record, key, broken):
        clips, labels = [], []
        for copy in range(self.copies):
            rng = generator("augment", self.seed, key.epoch, key.position, copy)
            clip, own = self.augment(frames, record.labels, rng)
            clips.append(clip)
            labels.append(own)
        return TrainSample(stack(clips), label_tensor(labels, self.columns), record.path, broken)


class EvalDataset(Dataset):
    """All views of each video, from one opening and one decoding pass.

    playback: "forward", "reverse" (the video backwards) or "still" (its middle frame repeated).
    faults: as in `TrainDataset`.
    """

    def __init__(
        self,
        records,
        sampling,
        views,
        num_clips,
        playback="forward",
        backend="auto",
        faults=None,
    ):
        self.records = records
        self.sampling: ClipSampling = sampling
        self.views: EvalViews = views
        self.num_clips = num_clips
        self.playback = playback
        self.backend = backend
        self.faults = {} if faults is None else faults

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        """The `EvalSample` of a record; a broken video gives its reason, never another video."""
        try:
            with decoding(self, index) as record:
                how = (self.playback, self.backend, record.num_frames, record.start, record.end)
                clips = decode_test_clips(record.path, self.sampling, self.num_clips, *how)
        except (DecodeError, OSError) as error:
            return EvalSample(index, None, one_line(error))
        return EvalSample(index, self.views(clips))


def decode_test_clips(
    path,
    sampling,
    num_clips,
    playback="forward",
    backend="auto",
    num_frames=0,
    start=0.0,
    end=None,
):
    """The test clips of a video, `uint8 [num_clips, T, H, W, 3]`, by one opening and one pass.

    `backend` and `num_frames` are those of `open_video`; `start` and `end`, in seconds, say which
    segment of the video counts. Raises `DecodeError` where it has no frame there.
    """
    with open_video(path, backend, num_frames) as video:
        timeline = timeline_of(video, sampling, path, start, end)
        indices = sampling.test_clips(len(timeline), num_clips)
        if playback == "reverse":
            indices = len(timeline) - 1 - indices
        elif playback == "still":
            indices = np.full_like(indices, len(timeline) // 2)
        frames = video.frames(timeline[indices.ravel()])
    return frames.reshape(*indices.shape, *frames.shape[1:])


def timeline_of(video, sampling, path, start=0.0, end=None):
    """`sampling.timeline` of an open video; a `DecodeError` names `path`."""
    try:
        return sampling.timeline(video.num_frames, video.fps, start, end, video.times)
    except DataError as error:
        raise DecodeError(f"{path}: {error}") from None


def label_tensor(labels, columns=0):
    """Tuples of class indices -> int64 `[len(labels)]`, or multi-hot float32 `[len(labels), columns]`."""
    if columns:
        return torch.from_numpy(multi_hot(labels, columns)).float()
    return torch.tensor([label for (label,) in labels])


def stack(clips):
    """Equal clips -> a batch of them; a single one is not copied."""
    return torch.stack(clips) if len(clips) > 1 else clips[0][None]


def one_line(error):
    """An error's message on one line."""
    return " ".join(str(error).split())
