"""The clips that an exported file is checked on: of given videos, of the run's test list, or of made ones.

And those of training videos that an int8 file is calibrated on.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

import numpy as np

from uniformer_video.config.recorded import config_from_text
from uniformer_video.data.lists.joined import same_files
from uniformer_video.data.lists.media import MEDIA, Medium
from uniformer_video.data.lists.output_names import Segment
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import decode_test_clips
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import ConfigError, DataError, DecodeError, UserError
from uniformer_video.inference.inputs import check_medium
from uniformer_video.inference.records import records_at
from uniformer_video.prepare.fingerprints import fingerprint, is_comparable
from uniformer_video.prepare.matching import LIMIT, distances
from uniformer_video.runs.build_lists import read_lists
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.words import name_some, one_line, plural

VIEWS = 32  # that a file is checked on
INT8_VIEWS = 480  # the same, in int8
CALIBRATION_CLIPS = 64

# Makes videos, or images, of usual sizes in a folder.
Generate = Callable[[Path, Medium], list[VideoRecord]]


@dataclass
class ExportClips:
    """Clips as they are decoded, uint8 `[T, H, W, 3]`, `count` of them, or as many as the videos give.

    records: the videos, of which evenly spread ones are taken; others in place of broken ones. source: where
    they come from, in words. count: how many clips. purpose: what they are for, in words. failures:
    {path: reason} of those that could not be decoded, once it was asked. taken: the others, as they came,
    each once. others: what other videos show, whose copies are left out too, `[M, 32, 64]`. copies: of the
    records that were asked for, {segment: whether it is one}.
    """

    records: Sequence[VideoRecord]
    protocol: Protocol
    source: str
    count: int = VIEWS
    purpose: str = "check the file on"
    failures: dict[str, str] = field(default_factory=dict)
    taken: dict[Segment, VideoRecord] = field(default_factory=dict)
    others: np.ndarray | None = None
    copies: dict[Segment, bool] = field(default_factory=dict)

    def __iter__(self) -> Iterator[np.ndarray]:
        protocol, left = self.protocol, self.count
        clips_of_each = min(protocol.num_clips, -(-left // max(len(self.records), 1)))
        for record in _spread(self.records, left):
            if not left:
                return
            if self._is_copy(record):
                continue
            try:
                check_medium(record.path, MEDIA[protocol.medium])
                clips, _ = decode_test_clips(
                    record.path,
                    protocol.sampling,
                    clips_of_each,
                    backend=protocol.decoder,
                    num_frames=record.num_frames,
                    start=record.start,
                    end=record.end,
                    decode_short_side=protocol.decode_short_side,
                )
            except (DecodeError, DataError, OSError) as error:
                self.failures[record.path] = one_line(error)
                continue
            self.taken[record.segment] = record
            yield from clips[:left]
            left -= len(clips[:left])

    def check(self) -> None:
        """Raise `DataError` where no video can be decoded: before anything else is done."""
        if next(iter(self), None) is None:
            raise DataError(
                f"there is no clip to {self.purpose}, of {self.source}: {self.note() or 'it is empty'}"
            )

    def note(self) -> str:
        """What was left out, for people; "" where nothing was."""
        noun, notes = self.protocol.medium, []
        if copies := [path for (path, _, _), is_copy in self.copies.items() if is_copy]:
            notes.append(
                f"{plural(len(copies), f'{noun} shows', f'{noun}s show')} what the file is calibrated on, "
                f"coded anew: {name_some(copies)}"
            )
        if self.failures:
            reasons = name_some(list(self.failures.values()), mark="; ")
            notes.append(f"{plural(len(self.failures), noun)} cannot be decoded: {reasons}")
        return "; ".join(notes)

    def apart_from(self, others: Sequence[VideoRecord]) -> "ExportClips":
        """Without the videos, or parts of videos, that `others` show too, which `source` then counts.

        A link to a file, and a copy of it, are the same video. Raises `DataError` where none is left.
        """
        same = same_files({"others": others, "own": self.records})

        def file_of(record: VideoRecord) -> str:
            return os.path.realpath(same.get(record.path, record.path))

        spans: dict[str, list[VideoRecord]] = {}
        for other in others:
            spans.setdefault(file_of(other), []).append(other)
        kept = [
            record
            for record in self.records
            if not any(_overlap(record, own) for own in spans.get(file_of(record), ()))
        ]
        if not (shared := len(self.records) - len(kept)):
            return self
        noun = self.protocol.medium
        if not kept:
            raise DataError(
                f"there is no clip to {self.purpose}: of {self.source} every {noun} is one that the file is "
                "calibrated on"
            )
        source = f"{self.source}, without {plural(shared, noun)} that it is calibrated on"
        return replace(self, records=kept, source=source, failures={}, taken={})

    def without_copies_of(self, others: Sequence[VideoRecord]) -> "ExportClips":
        """Also without videos that show the footage of `others`, such as those that were coded anew.

        What a video shows is looked at when its turn comes, by `prepare/fingerprints.py`; of one that shows
        too little for that, or cannot be read, a copy is not found.
        """
        prints = [own for own in map(_fingerprint, others) if own is not None]
        if not prints:
            return self
        return replace(self, others=np.stack(prints), failures={}, taken={}, copies={})

    def _is_copy(self, record: VideoRecord) -> bool:
        if self.others is None:
            return False
        if record.segment not in self.copies:
            own = _fingerprint(record)
            self.copies[record.segment] = own is not None and _is_among(own, self.others)
        return self.copies[record.segment]


def find_clips(
    protocol: Protocol,
    weights: Weights,
    places: Sequence[str] | None,
    generate: Generate | None,
    folder: Path,
    count: int = VIEWS,
) -> ExportClips:
    """The clips of the videos at `places`; without them of the test list of the run, or generated ones.

    generate: None = generated ones will not do. folder: for them. Raises `DataError` for places without a
    video that can be decoded, and without any.
    """
    medium = MEDIA[protocol.medium]
    if places is not None:
        return _clips_at(places, protocol, count)
    try:
        return _clips_of_run("test", weights, protocol, count)
    except (UserError, OSError) as error:
        if generate is None:
            raise ConfigError(
                f"int8 is judged by real {medium.name}s, and the run's test list is not at hand "
                f"({one_line(error)}); give some by --check"
            ) from None
        return ExportClips(
            generate(folder, medium),
            protocol,
            f"generated {medium.name}s, as the run's test list is not at hand ({one_line(error)}); "
            "give real ones by --check",
            count,
        )


def find_calibration(
    protocol: Protocol, weights: Weights, places: Sequence[str] | None
) -> ExportClips:
    """The clips to calibrate on: of the videos at `places`, without them of the training list of the run.

    Raises `DataError` for places without a video that can be decoded, and `ConfigError` without any list.
    """
    purpose, count = "calibrate int8 on", CALIBRATION_CLIPS
    if places is not None:
        return _clips_at(places, protocol, count, purpose)
    try:
        return _clips_of_run("train", weights, protocol, count, purpose)
    except (UserError, OSError) as error:
        raise ConfigError(
            f"int8 is calibrated on {protocol.medium}s of the training, and the run's training list is not "
            f"at hand ({one_line(error)}); give some by --calibration"
        ) from None


def _clips_at(
    places: Sequence[str], protocol: Protocol, count: int, purpose: str = ExportClips.purpose
) -> ExportClips:
    medium = MEDIA[protocol.medium]
    records, _ = records_at(places, medium)
    clips = ExportClips(records, protocol, f"the {medium.name}s given", count, purpose)
    clips.check()
    return clips


def _clips_of_run(
    split: str, weights: Weights, protocol: Protocol, count: int, purpose: str = ExportClips.purpose
) -> ExportClips:
    """Of the list that the settings in a checkpoint lead to. Raises `UserError` where there is none."""
    settings = weights.metadata.get("config")
    if not settings:
        raise DataError("the checkpoint records no settings of a run")
    records = read_lists(config_from_text(settings, weights.path), [split])[split].records
    name = {"train": "training"}.get(split, split)
    clips = ExportClips(records, protocol, f"the {name} list of the run", count, purpose)
    clips.check()
    return clips


def _fingerprint(record: VideoRecord) -> np.ndarray | None:
    """What a video shows, `[32, 64]`; None where that cannot be read, or is too plain to be compared."""
    try:
        own = fingerprint(record)
    except (DecodeError, DataError, OSError):
        return None
    return own if is_comparable(own) else None


def _is_among(own: np.ndarray, others: np.ndarray) -> bool:
    """Whether it is the footage of one of the others, `[M, 32, 64]`."""
    places = np.arange(1, 1 + len(others))
    return bool((distances(np.stack([own, *others]), np.zeros_like(places), places) <= LIMIT).any())


def _overlap(one: VideoRecord, other: VideoRecord) -> bool:
    """Whether two parts of the same video show a moment in common."""
    ends = [inf if each.end is None else each.end for each in (one, other)]
    return one.start < ends[1] and other.start < ends[0]


def _spread(records: Sequence[VideoRecord], count: int) -> list[VideoRecord]:
    """All of them: `count` evenly spread ones first, then the others in their order."""
    first = np.unique(
        np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    )
    chosen = set(first.tolist())
    return [records[i] for i in first] + [r for i, r in enumerate(records) if i not in chosen]
