"""From a timeline to all that is written of it: segments, scores, the folder and the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import DataError
from uniformer_video.evaluation.segments import Segment, cut_to_part, score_segments
from uniformer_video.export.runtime import ExportedModel, runtime_of
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.timeline import Timeline
from uniformer_video.inference.timeline_files import Source, entry_of, record_of, write_data
from uniformer_video.inference.timeline_segments import Smoothing, exponential_mean, find_segments
from uniformer_video.models.contract import name_of
from uniformer_video.pages.timeline import write_timeline_page, write_timeline_picture
from uniformer_video.words import plural


def source_of_predictor(predictor: Predictor, checkpoint: str) -> Source:
    """What a timeline by this predictor records of it."""
    model = predictor.model
    if isinstance(model, ExportedModel):
        name = f"{model.info.model} by {runtime_of(model.info)[0]}"
    else:
        name = name_of(model)
    return Source(checkpoint, name, predictor.protocol.to_dict())


def source_of_record(record: dict[str, Any]) -> Source:
    """The same of a timeline that was made before."""
    protocol = Protocol.from_dict(record["protocol"], "timeline.json").to_dict()
    return Source(record["checkpoint"], record["model"], protocol)


def summarise(
    timeline: Timeline,
    smoothing: Smoothing,
    source: Source,
    truth: Sequence[Segment] | None = None,
) -> tuple[dict[str, Any], list[Segment]]:
    """(the record, the segments) of a timeline; with the `truth`, that and the scores too."""
    segments = find_segments(timeline, smoothing)
    record = record_of(timeline, smoothing, segments, source)
    if truth is not None:
        windows = timeline.windows
        known = cut_to_part(truth, windows.start, windows.end)
        scores = score_segments(segments, known, timeline.frame_times)
        scores["notes"] += _notes_on_truth(truth, known, timeline)
        record["truth"] = [entry_of(segment, timeline.class_names) for segment in known]
        record["scores"] = scores
    return record, segments


def _notes_on_truth(
    truth: Sequence[Segment], known: Sequence[Segment], timeline: Timeline
) -> list[str]:
    windows, notes = timeline.windows, []
    outside = len(truth) - len(known)
    part = f"the part from {windows.start:g} s to {windows.end:g} s"
    if outside:
        notes.append(f"{plural(outside, 'known segment')} outside {part} counted for nothing.")
    cut = len(known) - len({*cut_to_part(truth, 0, float("inf"))} & {*known})
    if cut:
        notes.append(f"{plural(cut, 'known segment')} counted as far as in {part}.")
    if not known:
        raise DataError(f"no known segment lies in {part}, so there is nothing to score against")
    return notes


def write_all(folder: Path, timeline: Timeline, record: dict[str, Any]) -> None:
    """Write the folder of a timeline: the data first, since that takes longest to have again."""
    write_data(folder, timeline, record)
    values = exponential_mean(timeline.probabilities, record["smoothing"]["weight"])
    middles = (timeline.windows.starts + timeline.windows.ends) / 2
    write_timeline_picture(folder, record, values, middles)
    write_timeline_page(folder, record, values, middles, timeline.pictures)
