"""The folder of a timeline: data, tables, subtitles; read again to smooth or score without decoding."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import simplejson

from uniformer_video.errors import DataError
from uniformer_video.evaluation.segments import Segment
from uniformer_video.files import atomic_write, name_special, remove_unfinished, write_text
from uniformer_video.inference.timeline import Pictures, Timeline
from uniformer_video.inference.timeline_segments import Smoothing, clock
from uniformer_video.inference.timeline_windows import Windows
from uniformer_video.prepare.folders import write_table
from uniformer_video.tasks.prediction import NONE_OF_THESE

RECORD_FILE = "timeline.json"
WINDOWS_FILE = "windows.npz"
KIND, VERSION = "timeline", 1
_BEST = 5  # classes of a window in the table


@dataclass(frozen=True)
class Source:
    """What a timeline was made with: the checkpoint, the model's family, the protocol of the test."""

    checkpoint: str
    model: str
    protocol: Mapping[str, Any]


def claim_out(folder: Path | str) -> Path:
    """Make the folder, unless it is that of an earlier timeline; `DataError` where it is anything else."""
    folder = Path(folder)
    if folder.is_dir():
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        # without a record where the disk was full before it was written
        if RECORD_FILE not in others and others not in ([], [WINDOWS_FILE]):
            raise DataError(
                f"--out {folder} holds other things ({sorted(others)[0]}) and no {RECORD_FILE}; name a "
                "folder that is new, empty, or of an earlier timeline"
            )
    elif folder.exists():
        kind = name_special(folder.stat().st_mode) or "a file"
        raise DataError(f"--out {folder} is {kind}; name a folder for the results")
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    return folder


def record_of(
    timeline: Timeline, smoothing: Smoothing, segments: Sequence[Segment], source: Source
) -> dict[str, Any]:
    """What `timeline.json` holds; docs/timeline.md explains it."""
    windows = timeline.windows
    return {
        "kind": KIND,
        "version": VERSION,
        "id": secrets.token_hex(8),
        "video": timeline.video,
        "checkpoint": source.checkpoint,
        "model": source.model,
        "protocol": dict(source.protocol),
        "class_names": list(timeline.class_names),
        "exclusive": timeline.exclusive,
        "temperature": timeline.temperature,
        "threshold": timeline.threshold,
        "start": windows.start,
        "end": windows.end,
        "window": windows.window,
        "stride": windows.stride,
        "short": windows.short,
        "windows": len(windows),
        "frames": len(timeline.frame_times),
        "smoothing": smoothing.to_dict(),
        "segments": [entry_of(segment, timeline.class_names) for segment in segments],
        "failed": [
            {
                "window": number,
                "start": float(windows.starts[number]),
                "end": float(windows.ends[number]),
                "reason": reason,
            }
            for number, reason in sorted(timeline.failed.items())
        ],
        "broken": timeline.broken,
        "notes": list(timeline.notes),
        "truth": None,
        "scores": None,
    }


def entry_of(segment: Segment, class_names: Sequence[str]) -> dict[str, Any]:
    """A segment as plain data."""
    return {
        "start": segment.start,
        "end": segment.end,
        "class": segment.label,
        "name": class_names[segment.label],
        "score": round(segment.score, 6),
    }


def write_data(folder: Path, timeline: Timeline, record: Mapping[str, Any]) -> None:
    """Write the record, the windows, and the tables and subtitles of both."""
    windows, pictures = timeline.windows, timeline.pictures
    sizes = np.cumsum([0, *map(len, pictures.jpegs)], dtype=np.int64)
    with atomic_write(folder / WINDOWS_FILE) as file:
        np.savez(
            file,
            id=record["id"],
            starts=windows.starts,
            ends=windows.ends,
            probabilities=timeline.probabilities,
            frame_times=timeline.frame_times,
            picture_times=pictures.times,
            picture_offsets=sizes,
            picture_jpegs=np.frombuffer(b"".join(pictures.jpegs), np.uint8),
        )
    write_text(folder / RECORD_FILE, simplejson.dumps(record, ensure_ascii=False, indent=1) + "\n")
    _write_windows(folder / "windows.csv", timeline)
    columns = ["start", "end", "class", "label", "score"]
    rows = [
        [s[key] for key in ("start", "end", "class", "name", "score")] for s in record["segments"]
    ]
    write_table(folder / "segments.csv", columns, rows)
    write_text(folder / "segments.srt", subtitles(record["segments"]))
    write_text(folder / "segments.vtt", web_subtitles(record["segments"]))


def _write_windows(path: Path, timeline: Timeline) -> None:
    """A table with a row for each window: its answer, as a prediction of that segment gives it, its best
    classes, or why it was not read.
    """
    best = min(_BEST, len(timeline.class_names))
    columns = ["start", "end", "answer", "score", "reason"]
    columns += [f"top{place}_{what}" for place in range(1, best + 1) for what in ("name", "score")]
    rows, windows = [], timeline.windows
    for number, own in enumerate(timeline.probabilities):
        row: list[Any] = [windows.starts[number], windows.ends[number]]
        if number in timeline.failed:
            rows.append([*row, "", "", timeline.failed[number], *[""] * 2 * best])
            continue
        order = np.argsort(-own, kind="stable")[:best]
        sure = timeline.threshold is None or own[order[0]] >= timeline.threshold
        answer = timeline.class_names[order[0]] if sure else NONE_OF_THESE
        row += [answer, f"{own[order[0]]:.6f}", ""]
        for label in order:
            row += [timeline.class_names[label], f"{own[label]:.6f}"]
        rows.append(row)
    write_table(path, columns, rows)


def subtitles(segments: Sequence[Mapping[str, Any]]) -> str:
    """SubRip: a number, the times, the class and how sure it is."""
    blocks = [
        f"{number}\n{clock(s['start'], ',')} --> {clock(s['end'], ',')}\n{_caption(s)}\n"
        for number, s in enumerate(segments, start=1)
    ]
    return "\n".join(blocks)


def web_subtitles(segments: Sequence[Mapping[str, Any]]) -> str:
    """WebVTT, in which `&`, `<` and `>` are spelt out."""
    blocks = [
        f"{clock(s['start'])} --> {clock(s['end'])}\n"
        + _caption(s).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        + "\n"
        for s in segments
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _caption(segment: Mapping[str, Any]) -> str:
    name = " ".join(str(segment["name"]).split())  # an empty line would end the block
    return f"{name} ({segment['score']:.0%})"


def read_timeline(path: Path | str) -> tuple[Timeline, dict[str, Any]]:
    """The `Timeline` and the record of a folder, or of its `timeline.json`, that was written before.

    Raises `DataError` where it is none, or is damaged.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    try:
        record = json.loads((folder / RECORD_FILE).read_text("utf-8"))
        if record["kind"] != KIND or record["version"] != VERSION:
            raise DataError(
                f"{folder / RECORD_FILE} is of another version; make the timeline again"
            )
        with np.load(folder / WINDOWS_FILE, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
        offsets, bytes_ = data["picture_offsets"].tolist(), data["picture_jpegs"].tobytes()
        jpegs = tuple(bytes_[a:b] for a, b in pairwise(offsets))
        timeline = Timeline(
            video=record["video"],
            windows=Windows(
                data["starts"],
                data["ends"],
                *(record[key] for key in ("window", "stride", "start", "end", "short")),
            ),
            probabilities=data["probabilities"],
            class_names=tuple(record["class_names"]),
            exclusive=record["exclusive"],
            threshold=record["threshold"],
            temperature=record["temperature"],
            frame_times=data["frame_times"],
            pictures=Pictures(data["picture_times"], jpegs),
            failed={entry["window"]: entry["reason"] for entry in record["failed"]},
            broken=record["broken"],
            notes=tuple(record["notes"]),
        )
        shape = len(timeline.windows), len(timeline.class_names)
        if timeline.probabilities.shape != shape or str(data["id"]) != record["id"]:
            raise ValueError("its parts do not fit each other")
        Smoothing(**record["smoothing"])
        return timeline, record
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(
            f"there is no timeline in {folder}: {error.filename} is not there"
        ) from None
    except Exception as error:  # whatever NumPy, zipfile and json meet on damaged files
        raise DataError(f"the timeline in {folder} is damaged ({error}); make it again") from None


def is_stored(path: Path | str) -> bool:
    """Whether this is a timeline that was made before: its folder, or its `timeline.json`."""
    path = Path(path)
    return (path / RECORD_FILE).is_file() if path.is_dir() else path.name == RECORD_FILE
