"""Features of many videos into a file: the work of the command."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from uniformer_video.data.decoding.sequential import open_stream
from uniformer_video.data.lists.media import VIDEO
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DataError, DecodeError
from uniformer_video.features.growing import GrowingFeatures, check_target
from uniformer_video.features.predictor import FeaturePredictor
from uniformer_video.features.table import FeatureTable
from uniformer_video.inference.records import records_at
from uniformer_video.inference.timeline_windows import (
    USUAL_RATE,
    end_of_video,
    place_windows,
    times_of,
)
from uniformer_video.tasks.prediction import FailedPrediction
from uniformer_video.weights.checkpoint import file_sha256
from uniformer_video.zoo.published import local_file

Progress = Callable[[int, int, int], object]


def extract_features(
    checkpoint: str,
    videos: Sequence[str | Path],
    out: str | Path,
    layer: str | None = None,
    maps: bool = False,
    one_a_view: bool = False,
    window: float | None = None,
    stride: float | None = None,
    num_clips: int | None = None,
    num_crops: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    workers: int = -1,
    progress: Progress | None = None,
) -> FeatureTable:
    """Write what a layer of a model gives of videos, or images, into a file, and return it.

    Args:
        checkpoint: as `Predictor.from_checkpoint` takes it, with num_clips, num_crops, batch_size, device and
            precision.
        videos: places as `predict` takes them.
        out: a file, .npz, .safetensors or .parquet. One that is begun, or finished for other videos by the
            same model and layer, goes on.
        layer, maps: see `FeaturePredictor.take`.
        one_a_view: a row a view in place of the mean of a video's views.
        window: seconds of windows over each video, every `stride` seconds (half of a window); a row each.
        workers: decoding processes; -1 = one a core.
        progress: is told (rows' videos or windows done, of how many, failed).

    Videos that cannot be decoded are in `failed`, and tried again by another call. Raises `ConfigError` and
    `DataError` for what cannot be, before anything is decoded.
    """
    out = Path(out)
    check_target(out)
    if window is None and stride is not None:
        raise ConfigError("--stride is the distance of windows; give --window too")
    extractor = FeaturePredictor.from_checkpoint(
        checkpoint,
        num_clips,
        num_crops,
        batch_size,
        device,
        precision,
        fold=layer is None,  # a layer that is asked for gives what it gave in training
    )
    extractor.take(layer, maps)
    records, _ = records_at(videos, extractor.medium)
    windows = None
    if window is not None:
        if extractor.medium is not VIDEO:
            raise ConfigError(
                "--window is of videos, and this checkpoint is of images; leave it out"
            )
        windows = window, window / 2 if stride is None else stride
        records = [*windows_of(records, extractor.protocol.decoder, *windows)]
    return features_of_records(
        extractor, checkpoint, records, out, one_a_view, workers, progress, windows
    )


def features_of_records(
    extractor: FeaturePredictor,
    checkpoint: str,
    records: Sequence[VideoRecord],
    out: Path,
    one_a_view: bool = False,
    workers: int = -1,
    progress: Progress | None = None,
    windows: tuple[float, float] | None = None,
) -> FeatureTable:
    """As `extract_features`, of records, by the predictor that `checkpoint` made.

    windows: (seconds, stride) of those that the records are; a file has windows of one kind, or none.
    """
    made_by = {
        "checkpoint": file_sha256(local_file(checkpoint)),
        **extractor.made_by(),
        "window": windows,
    }
    with GrowingFeatures(out, records, made_by, one_a_view) as file:
        left = file.left
        done, failed = len(records) - len(left), len(file.failed)
        for record, found in zip(left, extractor.predict_records(left, workers), strict=True):
            # what a `Predictor` calls a prediction is features here
            answer: Any = found.reason if isinstance(found, FailedPrediction) else found
            file.add(record, answer)
            done, failed = done + 1, failed + isinstance(answer, str)
            if progress:
                progress(done, len(records), failed)
        return file.finish()


def windows_of(
    records: Iterable[VideoRecord], decoder: str, window: float, stride: float
) -> Iterator[VideoRecord]:
    """A record for each window of each record; one that cannot be opened as it is, so that it is told later.

    window, stride: seconds, of a window and between the beginnings of two.
    """
    for record in records:
        try:
            with closing(open_stream(record.path, decoder, record.num_frames)) as stream:
                fps = stream.fps or USUAL_RATE
                times = times_of(stream.num_frames, stream.times, fps, record.path)
            end = end_of_video(times, fps)
        except (DecodeError, DataError):
            yield record
            continue
        placed = place_windows(end, window, stride, record.start, record.end)
        for start, stop in zip(placed.starts.tolist(), placed.ends.tolist(), strict=True):
            yield replace(record, start=start, end=stop, name=f"{record.name} {start:g}-{stop:g} s")
