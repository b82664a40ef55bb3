"""Videos taken apart into folders of pictures, for formats that read those."""

import csv
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.colours import matrix_options
from uniformer_video.data.decoding.orientation import turn_upright
from uniformer_video.data.lists.folders import is_hidden
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.prepare.folders import (
    around_the_number,
    claim_folder,
    drop_outdated,
    planned_targets,
    source_setting,
    unfinished_name,
    video_files,
    write_table,
)
from uniformer_video.prepare.jobs import Outcome, run_jobs
from uniformer_video.prepare.stream import decode_shown, even_size, open_stream, pixel_form
from uniformer_video.prepare.summary import Summary

_SQUARE = "1:1"
_FORMATS = (".jpg", ".jpeg", ".png", ".webp")
COUNTS_FILE = "frames.csv"
FORMS_FILE = "not_square.csv"


@dataclass(frozen=True)
class Pictures:
    """template: names of the pictures. quality: of JPEG, 1 to 100. short_side: pixels, 0 = as it is."""

    template: str = "img_{:05d}.jpg"
    quality: int = 95
    short_side: int = 0


def extract_folder(
    source: Path | str,
    out: Path | str,
    pictures: Pictures,
    workers: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
) -> Summary:
    """Take every video of a folder apart into a folder of its own name in `out`, frames from 1.

    Finished folders are kept, unless their video is newer; one appears when it is complete. `frames.csv`
    in `out` lists folders and their numbers of frames, `failed.csv` the videos that failed and why,
    `not_square.csv` the folders of videos whose pixels are not square: their pictures are as stored. Returns
    a `Summary`, which calls `progress`; its `remarks` are the rows of the last table.
    """
    _check_template(pictures.template)
    videos, frames = video_files(source, "it can be used as it is")
    targets = planned_targets(videos, source, out, "")
    jobs = [(Path(source) / video, target) for video, target in targets.items()]
    settings = {"command": "frames", **source_setting(source), **vars(pictures)}
    with claim_folder(out, settings, list(targets.values())):
        for video, target in jobs:
            drop_outdated(video, [target])
        left = [job for job in jobs if not os.path.lexists(job[1])]
        summary = Summary(len(jobs), kept=len(jobs) - len(left), progress=progress)
        summary.failed += frames
        forms = _read_forms(out)

        def collect(outcome: Outcome[tuple[Path, Path], str]) -> None:
            forms[_name(outcome.task[1], out)] = outcome.result or _SQUARE
            summary.add(outcome, kind=lambda _: "extracted")

        with summary.write_failures(out):
            run_jobs(partial(_extract, pictures=pictures), left, collect, workers)
        finished = sorted(target for target in targets.values() if target.is_dir())
        counts = [
            (_name(target, out), sum(not is_hidden(name) for name in os.listdir(target)))
            for target in finished
        ]
        write_table(Path(out) / COUNTS_FILE, ("folder", "frames"), counts)
        summary.remarks = [
            (name, form) for name, _ in counts if (form := forms.get(name, _SQUARE)) != _SQUARE
        ]
        _write_forms(out, summary.remarks)
    return summary


def _name(folder: Path, out: Path | str) -> str:
    return folder.relative_to(out).as_posix()


def _extract(job: tuple[Path, Path], pictures: Pictures) -> str:
    """Extract a video; the form of its pixels, width:height."""
    extract_video(job, pictures)
    form = pixel_form(job[0])
    return f"{form.numerator}:{form.denominator}"


def _read_forms(out: Path | str) -> dict[str, str]:
    """What an earlier run noted of the folders that are there: {name: form}."""
    try:
        with open(Path(out) / FORMS_FILE, newline="", encoding="utf-8") as file:
            return dict(row for row in csv.reader(file) if len(row) == 2)
    except FileNotFoundError:
        return {}


def _write_forms(out: Path | str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        write_table(Path(out) / FORMS_FILE, ("folder", "pixels"), rows)
    else:
        (Path(out) / FORMS_FILE).unlink(missing_ok=True)


def extract_video(job: tuple[Path, Path], pictures: Pictures) -> int:
    """`job` is (video, the folder to make). Returns the number of frames.

    Raises `DecodeError` unless every frame of the video is there.
    """
    source, target = job
    with open_video(source) as reader:
        expected = reader.num_frames
    unfinished = unfinished_name(target)
    try:
        unfinished.mkdir()
        found = _write_frames(source, unfinished, pictures)
        if found != expected:
            raise DecodeError(f"{source} gives {found} frames and has {expected}")
        unfinished.rename(target)
    except OSError as error:  # of pictures, mostly without the name of the file
        raise OSError(error.errno, error.strerror or str(error), str(target)) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return found


def _check_template(template: str) -> None:
    if not around_the_number(template)[1].lower().endswith(_FORMATS):
        raise DataError(f"--template {template} must end in {', '.join(_FORMATS)}")


def _write_frames(source: Path, folder: Path, pictures: Pictures) -> int:
    """Write the pictures of a video, all in the size of the first; returns their number."""
    scaler, size, count = VideoReformatter(), None, 0
    with open_stream(source) as (container, stream):
        for count, (frame, way) in enumerate(decode_shown(container, stream), start=1):
            size = size or even_size(frame.width, frame.height, pictures.short_side)
            options: dict[str, Any] = {"format": "rgb24", "threads": 1, **matrix_options(frame)}
            if size != (frame.width, frame.height):  # else the very pixels that decoding gives
                options |= {"interpolation": Interpolation.BICUBIC}
            picture = scaler.reformat(frame, *size, **options)
            image = turn_upright(picture.to_ndarray(), way)
            path = folder / pictures.template.format(count)
            Image.fromarray(np.ascontiguousarray(image)).save(path, quality=pictures.quality)
    return count
