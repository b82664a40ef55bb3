"""A trained model over a long video: one pass of decoding, a prediction for each window.

The windows overlap, each frame is decoded and prepared once, and only the frames of windows that are not
complete yet are kept, so that memory does not grow with the video's length. A window's logits are those that
a test of the same segment gives.
"""

import io
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from uniformer_video.data.clips.frame_views import join_frames
from uniformer_video.data.decoding.sequential import FrameStream, open_stream
from uniformer_video.data.lists.media import VIDEO
from uniformer_video.errors import DataError, DecodeError, UserError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.timeline_windows import (
    Windows,
    end_of_video,
    notes_on_end,
    place_windows,
    spread_evenly,
    times_of,
    unseen_seconds,
    usual_rate,
    usual_window,
    window_frames,
)
from uniformer_video.tasks.prediction import Prediction
from uniformer_video.words import one_line, plural

PICTURE_HEIGHT = 72  # pixels of a kept picture
_PICTURE_WIDTH = 128  # at most
_LEAST_PICTURES, MOST_PICTURES = 48, 480
_QUALITY = 75

Progress = Callable[[int, int], object]  # (windows finished, of how many)


class Pictures(NamedTuple):
    """Small pictures of a video: when each is shown, float64 `[P]` seconds, and their JPEG files."""

    times: np.ndarray
    jpegs: tuple[bytes, ...]


@dataclass(frozen=True)
class Timeline:
    """What a model says of each window of a video.

    probabilities: float32 `[N, K]`, NaN where a window could not be read. logits: of each view, float32
    `[N, view, K]`, where they were asked for. failed: {number of a window: why it has no answer}; broken:
    whether something could not be decoded. exclusive: whether one class at the most is true at a time.
    threshold: the probability below which the answer is "none of these"; None without. frame_times: when each
    frame of the part begins to show, float64. notes: what was left out, or is to be known.
    """

    video: str
    windows: Windows
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    exclusive: bool
    threshold: float | None
    temperature: float | None
    frame_times: np.ndarray
    pictures: Pictures
    failed: dict[int, str] = field(default_factory=dict)
    broken: bool = False
    notes: tuple[str, ...] = ()
    logits: np.ndarray | None = None


def predict_timeline(
    predictor: Predictor,
    path: str | os.PathLike,
    window: float | None = None,
    stride: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    fps: float | None = None,
    keep_logits: bool = False,
    progress: Progress | None = None,
) -> Timeline:
    """The `Timeline` of a video file or a folder of frames.

    window, stride, start, end: seconds; without, the model's own window (`usual_window`), a quarter of a
    window, and the whole video. fps: of a video that holds no times. Raises `DecodeError` where no
    window can be read, `DataError` for a video without times, `UserError` for seconds that cannot be.
    """
    protocol, path = predictor.protocol, os.fspath(path)
    if protocol.medium != VIDEO.name:
        raise DataError("a timeline takes a model of videos, and this checkpoint is one of images")
    if fps is not None and not 0 < fps < float("inf"):
        raise UserError(f"--fps is {fps:g}; it must be above 0, frames a second")
    stream = open_stream(path, protocol.decoder)
    try:
        notes = []
        if fps and stream.times is not None:
            notes.append(f"--fps {fps:g} was not needed: the video has times of its own.")
        times = times_of(stream.num_frames, stream.times, fps or stream.fps, path)
        video_end = end_of_video(times, fps or stream.fps)
        rate = usual_rate(times, stream.fps or fps or len(times) / video_end)
        own = usual_window(protocol.sampling, protocol.num_clips, rate)
        windows = place_windows(video_end, own if window is None else window, stride, start, end)
        notes += _notes_on_place(windows, video_end, end)
        notes += notes_on_end(stream.declared_end, video_end)
        run = _Run(predictor, stream, path, windows, times, keep_logits)
        run.finish(progress)
    finally:
        stream.close()
    notes += [f"What broke: {fault}." for fault in stream.faults]
    if run.empty:
        notes.append(
            f"{plural(len(run.empty), 'window')} of {len(windows)} in which no frame begins to show: nothing "
            "is said of them."
        )
    if lost := len(run.failed) - len(run.empty):
        notes.append(f"{plural(lost, 'window')} of {len(windows)} could not be read.")
    return _timeline(predictor, path, run, notes)


def _notes_on_place(windows: Windows, video_end: float, end: float | None) -> list[str]:
    notes = []
    if end is not None and end > video_end:
        notes.append(f"The video ends at {video_end:.3f} s, before --end {end:g}.")
    if windows.short:
        part = windows.end - windows.start
        notes.append(
            f"The video, or the part of it, takes {part:.3f} s, less than a window of {windows.window:g} s: "
            "one window over all of it."
        )
    elif unseen := unseen_seconds(windows):
        notes.append(
            f"No window looks at {unseen:.3f} s of {windows.end - windows.start:.3f} s: --stride, "
            f"{windows.stride:g} s, is longer than --window, {windows.window:g} s."
        )
    return notes


def _timeline(predictor: Predictor, path: str, run: "_Run", notes: list[str]) -> Timeline:
    if len(run.failed) == len(run.windows):
        reasons = [*run.stream.faults, *run.failed.values()]
        raise DecodeError(f"{path}: no window of it could be read: {reasons[0]}")
    of_part = (run.times >= run.windows.start - 5e-4) & (run.times < run.windows.end - 5e-4)
    applied = predictor.applied
    return Timeline(
        video=path,
        windows=run.windows,
        probabilities=run.probabilities,
        class_names=predictor.class_names,
        exclusive=predictor.task.has_rejection,
        threshold=applied.threshold if applied else None,
        temperature=applied.temperature if applied else None,
        frame_times=run.times[of_part],
        pictures=Pictures(
            run.times[sorted(run.pictures)], tuple(run.pictures[i] for i in sorted(run.pictures))
        ),
        failed=run.failed,
        broken=bool(run.stream.faults) or len(run.failed) > len(run.empty),
        notes=tuple(notes),
        logits=np.stack(run.logits) if run.logits else None,
    )


class _Ready(NamedTuple):
    """A complete window: its number, its different views, and which of them each view of the test is."""

    number: int
    views: torch.Tensor  # [clip, crop, 3, T, H, W]
    clips: np.ndarray  # int64 [num_clips]


class _Run:
    """One pass over a video: frames come in, complete windows go through the model in batches."""

    def __init__(
        self,
        predictor: Predictor,
        stream: FrameStream,
        path: str,
        windows: Windows,
        times: np.ndarray,
        keep_logits: bool,
    ) -> None:
        self.predictor, self.stream, self.path = predictor, stream, path
        self.windows, self.times = windows, times
        self.probabilities = np.full((len(windows), len(predictor.class_names)), np.nan, np.float32)
        self.failed: dict[int, str] = {}
        self.empty: set[int] = set()  # of the failed: those in which no frame begins
        self.pictures: dict[int, bytes] = {}
        views = (predictor.protocol.num_views, len(predictor.class_names))
        self.logits = [
            np.full(views, np.nan, np.float32) for _ in range(len(windows) * keep_logits)
        ]
        self._frames: dict[int, torch.Tensor] = {}  # prepared, [crop, 3, 1, H, W]
        self._ready: list[_Ready] = []

    def finish(self, progress: Progress | None) -> None:
        """Read the video and predict all windows."""
        frames = [frames for _, frames in self._all_frames()]
        shown = self._picture_frames()
        wanted = np.zeros(len(self.times), bool)
        for numbers in frames:
            wanted[numbers.ravel()] = True
        in_windows = wanted.copy()
        wanted[list(shown)] = True
        # the frame up to which each window must be read, and that from which later ones still need them
        last = [int(numbers.max()) if numbers.size else -1 for numbers in frames]
        first = [int(numbers.min()) if numbers.size else len(wanted) for numbers in frames]
        first_later = np.minimum.accumulate([*first, len(wanted)][::-1])[::-1]
        following = 0
        protocol = self.predictor.protocol
        for number, image in self.stream.pictures(wanted, protocol.decode_short_side):
            if number in shown:
                self.pictures[number] = small_picture(image)
            if in_windows[number]:
                self._frames[number] = protocol.views(image[None, None])
            while following < len(frames) and last[following] <= number:
                self._complete(following, frames[following])
                following += 1
                if progress:
                    progress(following - len(self._ready), len(frames))
            self._forget_before(int(first_later[following]))
        for left in range(following, len(frames)):
            self._complete(left, frames[left])
        self._predict()
        if progress:
            progress(len(frames), len(frames))

    def _all_frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """(number, frames int32 `[num_clips, T]`) of each window; none for one in which no frame begins."""
        protocol = self.predictor.protocol
        for number, (start, end) in enumerate(
            zip(self.windows.starts, self.windows.ends, strict=True)
        ):
            try:
                found = window_frames(
                    protocol.sampling, protocol.num_clips, self.times, float(start), float(end)
                )
            except DataError as error:
                self.failed[number] = one_line(error)
                self.empty.add(number)
                found = np.empty((0, 0))
            yield number, found.astype(np.int32)

    def _picture_frames(self) -> frozenset[int]:
        windows = self.windows
        most = min(max(len(windows), _LEAST_PICTURES), MOST_PICTURES)
        return frozenset(spread_evenly(self.times, windows.start, windows.end, most))

    def _forget_before(self, frame: int) -> None:
        for number in [number for number in self._frames if number < frame]:
            del self._frames[number]

    def _complete(self, number: int, frames: np.ndarray) -> None:
        """A window whose frames are there, as far as they ever will be."""
        if number in self.failed:
            return
        lacking = [frame for frame in np.unique(frames).tolist() if frame not in self._frames]
        if lacking:
            self.failed[number] = (
                f"{plural(len(lacking), 'frame')} of it cannot be decoded, from "
                f"{self.times[lacking[0]]:.3f} s to {self.times[lacking[-1]]:.3f} s"
            )
            return
        # Clips of a short window are often of the same frames, and seen by the model once.
        different, clips = np.unique(frames, axis=0, return_inverse=True)
        try:
            views = torch.stack(
                [join_frames([self._frames[f] for f in clip.tolist()]) for clip in different]
            )
        except DataError as error:
            self.failed[number] = one_line(error)
            return
        if self._ready and self._ready[-1].views.shape[2:] != views.shape[2:]:
            self._predict()
        self._ready.append(_Ready(number, views, clips.ravel()))
        if sum(ready.views.shape[0] * ready.views.shape[1] for ready in self._ready) >= (
            self.predictor.batch_size
        ):
            self._predict()

    def _predict(self) -> None:
        """Put the complete windows through the model, those of a batch together."""
        if not self._ready:
            return
        seen = self.predictor.view_logits(
            torch.cat([ready.views.flatten(0, 1) for ready in self._ready])
        )
        rows = deque(seen)
        for number, views, clips in self._ready:
            num_clips, num_crops = views.shape[:2]
            own = np.stack([rows.popleft() for _ in range(num_clips * num_crops)])
            logits = own.reshape(num_clips, num_crops, -1)[clips].reshape(-1, own.shape[-1])
            answer = self.predictor.answer(self.path, logits)
            if not isinstance(answer, Prediction):
                raise DataError(
                    f"a timeline takes tasks that answer with probabilities of classes; "
                    f"{self.predictor.task.name} does not"
                )
            self.probabilities[number] = answer.probabilities
            if self.logits:
                self.logits[number] = logits
        self._ready.clear()


def small_picture(image: np.ndarray) -> bytes:
    """`uint8 [H, W, 3]` -> a JPEG file of at most 128 x 72 pixels."""
    height, width = image.shape[:2]
    scale = min(PICTURE_HEIGHT / height, _PICTURE_WIDTH / width, 1.0)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    step = max(1, int(1 / scale / 4))  # of large frames every so many pixels are enough
    picture = Image.fromarray(np.ascontiguousarray(image[::step, ::step]))
    file = io.BytesIO()
    picture.resize(size, Image.Resampling.BILINEAR).save(file, "jpeg", quality=_QUALITY)
    return file.getvalue()
