"""One entry of a list of videos."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from uniformer_video.errors import DataError


@dataclass(frozen=True)
class VideoRecord:
    """One video and its classes.

    path: what is opened: a file, or for extracted frames their folder and the template of their
    names, `folder/img_{:05d}.jpg`. name: as the list has it, for reports. labels: class indices in
    rising order, as many as the list says; the task says how many it takes. They may be class names
    until `labels.number_classes` has numbered them. source: where they were read, for error messages.
    num_frames: how many frames the list says there are; 0 where the file itself tells. start, end: the
    segment that counts, in seconds; end None = to the end of the video. weight: how often it comes in
    training, beside the others. group: what it has in common with others, such as a person, a source or a
    day; videos of one group are never parted, "" where nothing is said. medium: "video", or "image" for a
    file of one picture; also the noun of messages, see `noun_of`. mask: the file with the class of each pixel
    of a picture, "" where there is none.
    """

    path: str
    name: str
    labels: tuple[Any, ...]
    source: str = ""
    num_frames: int = 0
    start: float = 0.0
    end: float | None = None
    weight: float = 1.0
    group: str = ""
    medium: str = "video"
    mask: str = ""

    @property
    def label(self) -> int:
        """The class index of a video that has one; `DataError` for another."""
        if len(self.labels) != 1:
            raise self.not_one_label
        return self.labels[0]

    @property
    def not_one_label(self) -> DataError:
        """What is wrong with a video that has several labels, or none, where one is asked for."""
        return DataError(
            f"{self.source}: {self.name} has {len(self.labels) or 'no'} labels; this takes "
            f"{self.medium}s with one label each"
        )

    @property
    def segment(self) -> tuple[str, float, float | None]:
        """What tells it from other records: the path and the seconds."""
        return self.path, self.start, self.end


def noun_of(records: Iterable[VideoRecord]) -> str:
    """What messages call one of the records: "video" or "image"."""
    return next((record.medium for record in records), "video")
