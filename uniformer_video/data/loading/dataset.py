"""One dataset: record + sampling + decoding + transforms. Formats differ only in the records."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from uniformer_video.data.clips.label_maps import LabelMaps, TokenLabels, follow
from uniformer_video.data.clips.packed import PackedClips, stack
from uniformer_video.data.clips.pixels import Size
from uniformer_video.data.clips.train_views import Augmentation
from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.cache import FrameCache
from uniformer_video.data.decoding.guard import GuardedReader
from uniformer_video.data.decoding.index_store import IndexStore
from uniformer_video.data.decoding.opened import OpenReaders
from uniformer_video.data.lists.columns import as_columns
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.film_strip import film_strip
from uniformer_video.data.loading.watchdog import decoding
from uniformer_video.data.sampling import ClipSampling, playback_frames
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.randomness import generator
from uniformer_video.words import one_line

MAX_SUBSTITUTES = 20


@dataclass(frozen=True)
class TrainKey:
    """Which sample of a run: all its draws follow from the seed and these.

    position: its place in the epoch's order; index: which record stands there.
    """

    epoch: int
    position: int
    index: int


class ClipOrigin(NamedTuple):
    """Where a training clip is from: the index of its record, and whether it is mirrored left to right."""

    record: int
    mirrored: bool


class TimeOfClips(NamedTuple):
    """Seconds that a process has spent on training clips: on opening and decoding, and on augmenting."""

    decode: float = 0.0
    augment: float = 0.0


NO_TIME = TimeOfClips()


@dataclass(frozen=True)
class TrainSample:
    """`copies` augmented clips of one video; clips None when no substitute could be decoded either."""

    clips: Tensor | PackedClips | None  # float32 [copies, 3, T, H, W]
    labels: Tensor | None  # [copies, ...]: what `label_tensor` gave
    path: str
    # (path, reason) of broken videos met before one that decodes
    broken: tuple[tuple[str, str], ...] = ()
    origins: tuple[ClipOrigin, ...] = ()  # of the clips
    token_labels: TokenLabels | None = None  # of the clips, where the dataset has label maps
    took: TimeOfClips = NO_TIME


class VideoRead(NamedTuple):
    """What reading a test video has shown.

    size: (width, height) of its decoded frames, in pixels. decode_seconds: of opening it and decoding the
    frames of all its views. crop_seconds: of scaling them and cutting the views.
    """

    size: tuple[int, int]
    decode_seconds: float
    crop_seconds: float


@dataclass(frozen=True)
class EvalSample:
    """All views of one video, or the reason why there are none.

    repeats: how many of the views show the frames of another one once more. read: None without views.
    strip: a JPEG file of a few frames, where the dataset makes them.
    """

    index: int
    views: Tensor | None  # float32 [views, 3, T, H, W]; whole frames uint8
    reason: str = ""
    repeats: int = 0
    read: VideoRead | None = None
    strip: bytes = b""


def record_labels(record: VideoRecord, size: Size) -> tuple[int, ...]:
    """The classes that the list gives a record."""
    return record.labels


def class_indices(labels: Sequence[tuple[int, ...]]) -> Tensor:
    """Tuples of one class index -> int64 `[len(labels)]`."""
    return torch.tensor([label for (label,) in labels])


class TrainDataset(Dataset):
    """Random augmented clips; `dataset[TrainKey]` depends on the seed and the key alone.

    label_tensor: the task's, from the labels of clips, as `augment` gives them, to a tensor `[clips, ...]`;
    worker processes get a copy. faults: {path: reason} of videos that are not tried, which count as broken;
    loaders add those that hang or crash the decoder. decode_short_side: what a reader's `frames` takes.
    cache: where frames are that were decoded before; what it does not have is decoded. label_maps: of
    pictures, for token labelling; a picture without its map counts as broken. read_label: (record, (height,
    width) of its frames) -> what `augment.draw` takes as its label; worker processes get a copy, and a
    `DecodeError` makes the video count as broken. frame_index: as `open_video` takes it.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        sampling: ClipSampling,
        augment: Augmentation,
        seed: int,
        copies: int = 1,
        backend: str = "auto",
        label_tensor: Callable[[Sequence[Any]], Tensor] = class_indices,
        faults: dict[str, str] | None = None,
        decode_short_side: int = 0,
        cache: FrameCache | None = None,
        label_maps: LabelMaps | None = None,
        read_label: Callable[[VideoRecord, Size], Any] = record_labels,
        frame_index: IndexStore | None = None,
    ):
        self.records = records
        self.sampling = sampling
        self.augment = augment
        self.seed = seed
        self.copies = copies
        self.backend = backend
        self.label_tensor = label_tensor
        self.faults = {} if faults is None else faults
        self.decode_short_side = decode_short_side
        self.cache = cache
        self.label_maps = label_maps
        self.read_label = read_label
        self.frame_index = frame_index
        self._substitutes = np.flatnonzero(as_columns(records).weight)
        self._opened = OpenReaders()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: TrainKey) -> TrainSample:
        """The `TrainSample` at a `TrainKey`; a broken video is replaced by another, keyed, draw."""
        broken, started = [], time.perf_counter()
        for attempt in range(MAX_SUBSTITUTES):
            rng = generator("clip", self.seed, key.epoch, key.position, attempt)
            index = key.index if attempt == 0 else rng.choice(self._substitutes)
            record = self.records[index]
            try:
                with decoding(self, index):
                    frames = self.decode(record, rng)
                    label = self.read_label(record, frames.shape[1:3])
                    label_map = self.label_maps.read(record) if self.label_maps else None
            except (DecodeError, OSError) as error:
                broken.append((record.path, one_line(error)))
                continue
            decoded = time.perf_counter()
            sample = self._sample(frames, label, label_map, int(index), key, tuple(broken))
            took = TimeOfClips(decoded - started, time.perf_counter() - decoded)
            return replace(sample, took=took)
        return TrainSample(None, None, record.path, tuple(broken))

    def decode(self, record: VideoRecord, rng: np.random.Generator) -> np.ndarray:
        """The frames of a random clip of a `VideoRecord`: `uint8 [T, H, W, 3]`."""
        kept = self.cache.read(record.path) if self.cache and not record.num_frames else None
        opened = kept or open_record(record, self.backend, self._opened, self.frame_index)
        with opened as video:
            timeline = timeline_of(video, self.sampling, record.path, record.start, record.end)
            indices = timeline[self.sampling.train_clip(len(timeline), rng)]
            return video.frames(indices, self.decode_short_side)

    def _sample(
        self,
        frames: np.ndarray,
        label: Any,
        label_map: Tensor | None,
        index: int,
        key: TrainKey,
        broken: tuple[tuple[str, str], ...],
    ) -> TrainSample:
        record = self.records[index]
        clips, labels, draws = [], [], []
        for copy in range(self.copies):
            rng = generator("augment", self.seed, key.epoch, key.position, copy)
            drawn, own = self.augment.draw(frames.shape[1:3], label, rng)
            clips.append(self.augment.apply(frames, drawn, rng))
            labels.append(own)
            draws.append(drawn)
        return TrainSample(
            stack(clips),
            self.label_tensor(labels),
            record.path,
            broken,
            tuple(ClipOrigin(index, drawn.mirrored) for drawn in draws),
            None if label_map is None else follow(label_map, draws),
        )


class CacheFilling(Dataset):
    """Keeps the videos of `records` in `cache`: `filling[index]` does it, and says why not, or "".

    A video that cannot be decoded to its end is not kept, and is decoded clip by clip as without a cache.
    faults: as in `TrainDataset`.
    """

    def __init__(
        self, records: Sequence[VideoRecord], cache: FrameCache, faults: dict[str, str]
    ) -> None:
        self.records, self.cache, self.faults = records, cache, faults

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> str:
        try:
            with decoding(self, index) as record:
                return self.cache.keep(record.path)
        except (DecodeError, OSError) as error:
            return one_line(error)


class EvalDataset(Dataset):
    """All views of each video, from one opening and one decoding pass.

    playback: "forward", "reverse" (the video backwards) or "still" (its middle frame repeated).
    faults, decode_short_side, frame_index: as in `TrainDataset`. strips: whether samples have a `strip`.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        sampling: ClipSampling,
        views: EvalViews,
        num_clips: int,
        playback: str = "forward",
        backend: str = "auto",
        faults: dict[str, str] | None = None,
        decode_short_side: int = 0,
        strips: bool = False,
        frame_index: IndexStore | None = None,
    ):
        self.records = records
        self.sampling = sampling
        self.views = views
        self.num_clips = num_clips
        self.playback = playback
        self.backend = backend
        self.faults = {} if faults is None else faults
        self.decode_short_side = decode_short_side
        self.strips = strips
        self.opened = OpenReaders()
        self.frame_index = frame_index

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> EvalSample:
        """The `EvalSample` of a record; a broken video gives its reason, never another video."""
        started = time.perf_counter()
        try:
            with decoding(self, index) as record:
                clips, repeated = decode_test_clips(
                    record.path,
                    self.sampling,
                    self.num_clips,
                    self.playback,
                    self.backend,
                    record.num_frames,
                    record.start,
                    record.end,
                    self.decode_short_side,
                    self.opened,
                    self.frame_index,
                )
        except (DecodeError, OSError) as error:
            return EvalSample(index, None, one_line(error))
        decoded = time.perf_counter()
        views = self.views(clips)
        height, width = clips.shape[2:4]
        read = VideoRead((width, height), decoded - started, time.perf_counter() - decoded)
        strip = film_strip(clips) if self.strips else b""
        repeats = repeated * self.views.views_of_clip
        return EvalSample(index, views, repeats=repeats, read=read, strip=strip)


def decode_test_clips(
    path: str,
    sampling: ClipSampling,
    num_clips: int,
    playback: str = "forward",
    backend: str = "auto",
    num_frames: int = 0,
    start: float = 0.0,
    end: float | None = None,
    decode_short_side: int = 0,
    opened: OpenReaders | None = None,
    frame_index: IndexStore | None = None,
) -> tuple[np.ndarray, int]:
    """The test clips of a video, by one opening and one pass, and how many of them repeat another.

    They are `uint8 [num_clips, T, H, W, 3]`. Clips of a short video may be of the same frames.
    `backend` and `num_frames` are those of `open_video`, `decode_short_side` is what a reader's `frames`
    takes; `start` and `end`, in seconds, say which segment of the video counts. Of a segment the file stays
    open among `opened`, for the next one. frame_index: as `open_video` takes it. Raises `DecodeError` where
    it has no frame there.
    """
    with _open_segment(path, backend, num_frames, start, end, opened, frame_index) as video:
        timeline = timeline_of(video, sampling, path, start, end)
        indices = sampling.test_clips(len(timeline), num_clips)
        repeated = num_clips - len(np.unique(timeline[indices], axis=0))
        indices = playback_frames(indices, len(timeline), playback)
        frames = video.frames(timeline[indices.ravel()], decode_short_side)
    return frames.reshape(*indices.shape, *frames.shape[1:]), repeated


def open_record(
    record: VideoRecord,
    backend: str,
    opened: OpenReaders,
    frame_index: IndexStore | None = None,
) -> AbstractContextManager[GuardedReader]:
    """The video of a record; of a segment it stays open among `opened`, for the next one.

    frame_index: as `open_video` takes it.
    """
    segment = record.start, record.end
    return _open_segment(record.path, backend, record.num_frames, *segment, opened, frame_index)


def _open_segment(
    path: str,
    backend: str,
    num_frames: int,
    start: float,
    end: float | None,
    opened: OpenReaders | None,
    frame_index: IndexStore | None = None,
) -> AbstractContextManager[GuardedReader]:
    """`open_video`, or, where only a segment counts, a reader among those that are `opened`."""
    if opened is None or not (start or end is not None):
        return open_video(path, backend, num_frames, frame_index)
    return opened.reader(path, backend, num_frames, frame_index)


class OpenVideo(Protocol):
    """What is asked of an open video to know its frames; each reader of `data/decoding` has it."""

    @property
    def num_frames(self) -> int: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def times(self) -> np.ndarray | None: ...


def timeline_of(
    video: OpenVideo,
    sampling: ClipSampling,
    path: str,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """`sampling.timeline` of an open video; a `DecodeError` names `path`."""
    try:
        return sampling.timeline(video.num_frames, video.fps, start, end, video.times)
    except DataError as error:
        raise DecodeError(f"{path}: {error}") from None
