"""The clips that an exported file is checked on: of given videos, of the run's test list, or of made ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uniformer_video.config.recorded import config_from_text
from uniformer_video.data.lists.media import MEDIA, Medium
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import decode_test_clips
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import DataError, DecodeError, UserError
from uniformer_video.inference.inputs import check_medium
from uniformer_video.inference.records import records_at
from uniformer_video.runs.build_lists import read_lists
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.words import name_some, one_line, plural

VIEWS = 32  # that a file is checked on

# Makes videos, or images, of usual sizes in a folder.
Generate = Callable[[Path, Medium], list[VideoRecord]]


@dataclass
class CheckClips:
    """Clips as they are decoded, uint8 `[T, H, W, 3]`, `VIEWS` of them, or as many as the videos give.

    records: the videos, of which evenly spread ones are taken; others in place of broken ones. source: where
    they come from, in words. failures: {path: reason} of those that could not be decoded, once it was asked.
    """

    records: Sequence[VideoRecord]
    protocol: Protocol
    source: str
    failures: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[np.ndarray]:
        protocol, left = self.protocol, VIEWS
        clips_of_each = min(protocol.num_clips, -(-VIEWS // max(len(self.records), 1)))
        for record in _spread(self.records, VIEWS):
            if not left:
                return
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
            yield from clips[:left]
            left -= len(clips[:left])

    def check(self) -> None:
        """Raise `DataError` where no video can be decoded: before anything else is done."""
        if next(iter(self), None) is None:
            raise DataError(
                f"there is no clip to check the file on, of {self.source}: {self.note() or 'it is empty'}"
            )

    def note(self) -> str:
        """What was left out, for people; "" where nothing was."""
        if not self.failures:
            return ""
        reasons = name_some(list(self.failures.values()), mark="; ")
        return f"{plural(len(self.failures), self.protocol.medium)} cannot be decoded: {reasons}"


def find_clips(
    protocol: Protocol,
    weights: Weights,
    places: Sequence[str] | None,
    generate: Generate,
    folder: Path,
) -> CheckClips:
    """The clips of the videos at `places`; without them of the test list of the run, or generated ones.

    folder: for generated videos. Raises `DataError` for places without a video that can be decoded.
    """
    medium = MEDIA[protocol.medium]
    if places is not None:
        records, _ = records_at(places, medium)
        clips = CheckClips(records, protocol, f"the {medium.name}s given")
        clips.check()
        return clips
    try:
        clips = CheckClips(_test_list(weights), protocol, "the test list of the run")
        clips.check()
        return clips
    except (UserError, OSError) as error:
        return CheckClips(
            generate(folder, medium),
            protocol,
            f"generated {medium.name}s, as the run's test list is not at hand ({one_line(error)}); "
            "give real ones by --check",
        )


def _test_list(weights: Weights) -> Sequence[VideoRecord]:
    """The test list that the settings in a checkpoint lead to. Raises `UserError` where there is none."""
    settings = weights.metadata.get("config")
    if not settings:
        raise DataError("the checkpoint records no settings of a run")
    return read_lists(config_from_text(settings, weights.path), ["test"])["test"].records


def _spread(records: Sequence[VideoRecord], count: int) -> list[VideoRecord]:
    """All of them: `count` evenly spread ones first, then the others in their order."""
    first = np.unique(
        np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    )
    chosen = set(first.tolist())
    return [records[i] for i in first] + [r for i, r in enumerate(records) if i not in chosen]
