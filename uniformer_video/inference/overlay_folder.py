"""The folder of masks and overlays: which files are in it, and that nothing else is written over.

`overlay.predict.json` in it says by what they were made, so that a later run goes on with its own alone.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from uniformer_video.data.lists.output_names import Segment, output_names
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.files import atomic_write, name_special, write_text
from uniformer_video.inference.rendered_video import SUFFIX, RenderedVideo
from uniformer_video.inference.segmented_places import is_video
from uniformer_video.inference.segmented_video import SegmentedFrames
from uniformer_video.locks import lock_file
from uniformer_video.tasks.prediction import PixelPrediction

if TYPE_CHECKING:
    from typing_extensions import Self

RECORD_FILE = "overlay.predict.json"
MASK, OVERLAY, MASKS = ".png", "_overlay.jpg", "_masks"
_QUALITY = 90
_DIGITS = 6  # of the number of a frame


def check_overlay_folder(folder: Path) -> None:
    """Raise `DataError` where no folder can be, or one of other things is; nothing is written."""
    if folder.is_dir():
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if others and RECORD_FILE not in others:
            raise DataError(
                f"--overlay {folder} holds other things ({sorted(others)[0]}) and no {RECORD_FILE}; name a "
                "folder that is new, empty, or of an earlier prediction"
            )
    elif folder.exists():
        kind = name_special(folder.stat().st_mode) or "a file"
        raise DataError(f"--overlay {folder} is {kind}; name a folder for masks and overlays")
    elif not folder.absolute().parent.is_dir():
        raise DataError(
            f"--overlay {folder}: there is no folder {folder.absolute().parent}; make it, or give another"
        )


class OverlayFolder:
    """Masks and overlays of `records` in `folder`, which is made.

    Of a picture `NAME.png`, an indexed PNG of class numbers, and `NAME_overlay.jpg`; of a video `NAME.mp4`,
    with `masks` `NAME_masks/000000.png` and so on, by the numbers of frames. A context manager, which alone
    may write there.

    Args:
        asked: plain data that say by what they are made; a folder of others is refused.
        places: what the records were found at, see `output_names`.

    Raises `DataError` for such a folder, and where an original would be written over.
    """

    def __init__(
        self,
        folder: Path,
        records: Sequence[VideoRecord],
        asked: Mapping[str, Any],
        places: Sequence[str] = (),
        masks: bool = False,
    ):
        check_overlay_folder(folder)
        self.folder, self.masks = folder, masks
        self._names: dict[Segment, str] = output_names(records, places)
        self._are_videos = {record.segment: is_video(record) for record in records}
        self._refuse_originals(records)
        folder.mkdir(exist_ok=True)
        self._claim({"made_by": "predict --overlay", **asked})
        # open until `close`
        self._lock: IO[bytes] = open(folder / RECORD_FILE, "rb+")  # noqa: SIM115
        try:
            lock_file(self._lock, folder)
        except BaseException:
            self._lock.close()
            raise
        self._remove_unfinished()

    def files(self, record: VideoRecord) -> tuple[Path, ...]:
        """What is written about a record: (mask, overlay), or (video, and with masks their folder)."""
        base = self.folder / self._names[record.segment]
        if not self._are_videos[record.segment]:
            return _beside(base, MASK), _beside(base, OVERLAY)
        video = _beside(base, SUFFIX)
        return (video, _beside(base, MASKS)) if self.masks else (video,)

    def has(self, record: VideoRecord) -> bool:
        """Whether all of it is there."""
        return all(path.exists() for path in self.files(record))

    def save_picture(
        self, record: VideoRecord, picture: np.ndarray, found: PixelPrediction
    ) -> None:
        """Write the mask and the overlay of a picture, `uint8 [H, W, 3]` RGB."""
        mask, overlay = self.files(record)
        mask.parent.mkdir(parents=True, exist_ok=True)
        found.save(mask)
        with atomic_write(overlay) as file:
            Image.fromarray(found.overlay(picture)).save(file, "JPEG", quality=_QUALITY)

    def save_video(
        self,
        record: VideoRecord,
        frames: SegmentedFrames,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Write the video with the colours of the classes over it, and the masks; all of it or nothing.

        progress: is told (frames done, of how many).
        """
        target, *masks = self.files(record)
        target.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            folder = stack.enter_context(_whole_folder(masks[0])) if masks else None
            out = stack.enter_context(
                RenderedVideo(target, frames.path, frames.begins, frames.seconds, frames.rate)
            )
            for done, (number, time, picture, found) in enumerate(frames, start=1):
                out.write(found.overlay(picture), time)
                if folder:
                    found.save(folder / f"{number:0{_DIGITS}d}{MASK}")
                if progress:
                    progress(done, frames.num_frames)

    def close(self) -> None:
        """Let go of the folder, whose files stay."""
        self._lock.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remove_unfinished(self) -> None:
        """Delete what a run that was killed has left."""
        for part in {(self.folder / name).parent for name in self._names.values()}:
            for leftover in part.glob(".*.tmp*"):
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink(missing_ok=True)

    def _refuse_originals(self, records: Sequence[VideoRecord]) -> None:
        originals = {os.path.realpath(record.path): record.path for record in records}
        files = [path for record in records for path in self.files(record)]
        folders = {path for path in files if path.name.endswith(MASKS)}
        for record in records:
            for path in self.files(record):
                if path.parent in folders:
                    raise DataError(
                        f"--overlay {self.folder}: {path.parent} would hold the masks of a video and of "
                        f"{record.path}; predict them one by one, each into a folder of its own"
                    )
                if original := originals.get(os.path.realpath(path)):
                    raise DataError(
                        f"--overlay {self.folder} would write over {original}, which is predicted itself; "
                        "name another folder"
                    )

    def _claim(self, asked: Mapping[str, Any]) -> None:
        """Refuse a folder that something else has made; note by what this one is."""
        record = self.folder / RECORD_FILE
        if not record.exists():
            write_text(record, json.dumps(asked, indent=1, ensure_ascii=False) + "\n")
            return
        try:
            known = json.loads(record.read_bytes())
            differs = [key for key in asked if known.get(key) != asked[key]]
        except (ValueError, AttributeError):
            raise DataError(
                f"{record} is damaged; give --overlay another folder, or delete this one"
            ) from None
        if differs:
            raise DataError(
                f"--overlay {self.folder} was begun with another {' and another '.join(differs)}; give "
                "another folder, or delete it to begin anew"
            )


def _beside(base: Path, suffix: str) -> Path:
    return base.with_name(base.name + suffix)  # a name may have dots of its own


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `target` when the block ends without an error."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(temporary)
        raise
