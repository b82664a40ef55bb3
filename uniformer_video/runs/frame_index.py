"""DATA.FRAME_INDEX: where it is kept what the packets of videos told, and what is said of that."""

import os
from collections import Counter
from pathlib import Path

from fvcore.common.config import CfgNode

from uniformer_video.data.decoding.index_store import (
    BROKEN,
    DOUBTED,
    FOUND,
    INDEX_FOLDER,
    LEFT_OUT,
    PLACED,
    UNPLACED,
    UNWRITTEN,
    WRITTEN,
    IndexStore,
)
from uniformer_video.data.lists.columns import as_columns
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.files import atomic_write
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.check import is_of_images
from uniformer_video.runs.join_sets import data_sets
from uniformer_video.storage.address import is_address
from uniformer_video.weights.download import cache_folder
from uniformer_video.words import plural, system_reason

_KEY = "DATA.FRAME_INDEX"
_IN_CACHE = "frame_index"


def build_frame_index(cfg: CfgNode, data: Data, ranks: Ranks) -> IndexStore | None:
    """Where the index is kept; None where it is off, and where no videos are files, but images or frames.

    A folder that cannot be written is no error: the index is read from it, and this is said.
    """
    lists = [as_columns(records) for records in (data.train, data.val, data.test)]
    if (
        cfg.DATA.FRAME_INDEX == "off"
        or is_of_images(cfg)
        or all(columns.num_frames.all() for columns in lists)
    ):
        return None
    # as paths of lists are: without `..`
    sets = [Path(os.path.abspath(place)) for place in data_sets(cfg) if not is_address(place)]
    if not sets:  # nothing tells whether a video behind an address has changed
        return None
    folder, reason = ranks.on_main(lambda: _choose_folder(cfg.DATA.FRAME_INDEX, sets[0]))
    if reason:
        ranks.say(
            f"The frame index cannot be kept: {reason}. Videos that are not in it are listed each time; "
            f"set {_KEY} to a folder that can be written, or to off"
        )
    root = folder.parent if folder.name == INDEX_FOLDER else None
    return IndexStore(folder, root, is_writable=not reason)


def _choose_folder(given: str, data: Path) -> tuple[Path, str]:
    """(the folder, why it cannot be written or ""). data: of the data set, of several the first."""
    if given != "auto":
        folder = Path(given).expanduser().absolute()
    else:
        folder = data / INDEX_FOLDER
        if _why_unwritten(folder):
            folder = cache_folder().absolute() / _IN_CACHE
    return folder, _why_unwritten(folder)


def _why_unwritten(folder: Path) -> str:
    """Why no file can be written into a folder, which is made for it; "" where it can."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        return f"{folder} is no folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / "CACHEDIR.TAG", lasting=False) as tag:
            tag.write(_TAG)
    except OSError as error:
        return f"{folder} cannot be written: {system_reason(error)}"
    return ""


# By the Cache Directory Tagging Specification, so that backups leave the folder out.
_TAG = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# The frame index of the videos beside it; it may be removed at any time.\n"
)


def say_frame_index(data: Data, ranks: Ranks) -> None:
    """Say how often videos were found in the index so far, and what was not kept; all processes take part."""
    index = data.frame_index
    if index is None:
        return
    told = ranks.exchange((index.tally.total(), index.tally.begun()))
    counts = sum((total for total, _ in told), Counter[str]())
    begun = sum((own for _, own in told), Counter[str]())
    if line := _line(index, counts) + _line_of_counted(begun):
        ranks.say(line)


def _line(index: IndexStore, counts: Counter[str]) -> str:
    """One line of what came of the videos that were opened; "" where none was."""
    opened = counts.total()
    if not opened:
        return ""
    parts = [f"{counts[FOUND]:,} found in it", f"{counts[WRITTEN]:,} listed for it"]
    if counts[LEFT_OUT]:
        parts.append(f"{counts[LEFT_OUT]:,} that cannot be known again or would gain nothing")
    if counts[UNWRITTEN]:
        parts.append(f"{counts[UNWRITTEN]:,} listed and not kept")
        if index.is_writable:  # else the reason was said before
            reason = _why_unwritten(index.folder) or "the disk was full, or not there, for a time"
            parts[-1] += f" ({reason})"
    if counts[BROKEN]:
        parts.append(f"{counts[BROKEN]:,} of videos that cannot be opened")
    return (
        f"Frame index {index.folder}: of {plural(opened, 'opening')} of a video {', '.join(parts)}."
    )


def _line_of_counted(begun: Counter[str]) -> str:
    """What to add of videos whose frames are counted; "" where there was none."""
    opened = begun[PLACED] + begun[UNPLACED]
    if not opened:
        return ""
    line = (
        f" {opened:,} of them have frames that are counted: {begun[PLACED]:,} with key frames to begin at or "
        f"pictures to leave out, {begun[UNPLACED]:,} decoded from the first frame"
    )
    if begun[DOUBTED]:
        line += f"; {plural(begun[DOUBTED], 'clip')} came out otherwise than counted, and began anew there"
    return f"{line}."
