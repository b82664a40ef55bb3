"""Many pictures and videos through a segmentation model, with the files that are written about them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.decoders import PICTURES
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DecodeError
from uniformer_video.inference.overlay_folder import OverlayFolder
from uniformer_video.inference.segmented_places import is_video
from uniformer_video.inference.segmented_video import SegmentedVideo
from uniformer_video.inference.segmenter import Segmenter
from uniformer_video.tasks.prediction import FailedPrediction, PixelPrediction
from uniformer_video.words import one_line

Progress = Callable[[int, int], object]  # (frames of a video done, of how many)


def segment_records(
    segmenter: Segmenter,
    records: Sequence[VideoRecord],
    folder: OverlayFolder | None = None,
    steady: bool = False,
    progress: Progress | None = None,
) -> Iterator[PixelPrediction | SegmentedVideo | FailedPrediction]:
    """What the model says of pictures and videos, in their order; one picture is read ahead.

    folder: what masks and overlays are written into. steady: of videos the logits are averaged over time. One
    that cannot be decoded gives a `FailedPrediction`, and the others go on; a disk that is full is an
    `OSError`.
    """
    with ThreadPoolExecutor(1) as reader:
        ahead: Future | None = None
        for number, record in enumerate(records):
            reading, ahead = ahead or _begin(reader, record), None
            if number + 1 < len(records):
                ahead = _begin(reader, records[number + 1])
            try:
                if reading is None:
                    yield _segment_video(segmenter, record, folder, steady, progress)
                else:
                    picture = reading.result()
                    found = segmenter.segment(picture, name=record.path)
                    if folder:
                        folder.save_picture(record, picture, found)
                    yield found
            except DecodeError as error:
                yield FailedPrediction(record.path, one_line(error))


def _begin(reader: ThreadPoolExecutor, record: VideoRecord) -> Future | None:
    """Reads a picture; None for a video, which is read as it goes."""
    return None if is_video(record) else reader.submit(_read, record)


def _read(record: VideoRecord) -> np.ndarray:
    """`uint8 [H, W, 3]` RGB."""
    with open_video(record.path, PICTURES) as opened:
        return opened.frames([0])[0]


def _segment_video(
    segmenter: Segmenter,
    record: VideoRecord,
    folder: OverlayFolder | None,
    steady: bool,
    progress: Progress | None,
) -> SegmentedVideo:
    with segmenter.video(record.path, steady, record.start, record.end) as frames:
        if folder:
            folder.save_video(record, frames, progress)
        else:
            for done, _ in enumerate(frames, start=1):
                if progress:
                    progress(done, frames.num_frames)
        return frames.result()
