"""Pictures with their masks for a test of segmentation: each as it is, or why it cannot be read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.watchdog import decoding
from uniformer_video.errors import DecodeError
from uniformer_video.words import one_line


@dataclass(frozen=True)
class PixelSample:
    """One picture and its mask, or the reason why they are None."""

    index: int
    picture: np.ndarray | None  # uint8 [H, W, 3] RGB
    mask: np.ndarray | None  # uint8 [H, W], 255 = ignored
    reason: str = ""


class PixelDataset(Dataset):
    """`dataset[index]` is the `PixelSample` of a record; nothing stands in for what cannot be read.

    read_mask: (record, (height, width) of its picture) -> mask, as `MaskReader.read`. views: what a model
    sees of the pictures. faults: {path: reason} of pictures that are not tried; loaders add those that
    hang or crash the decoder. backend: as of `open_video`.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        views: PixelViews,
        read_mask: Callable[[VideoRecord, tuple[int, int]], np.ndarray],
        backend: str = "auto",
        faults: dict[str, str] | None = None,
    ):
        self.records = records
        self.views = views
        self.read_mask = read_mask
        self.backend = backend
        self.faults = {} if faults is None else faults

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> PixelSample:
        try:
            with (
                decoding(self, index) as record,
                open_video(record.path, self.backend) as picture,
            ):
                pixels = picture.frames([0])[0]
                mask = self.read_mask(record, pixels.shape[:2])
        except (DecodeError, OSError) as error:
            return PixelSample(index, None, None, one_line(error))
        return PixelSample(index, pixels, mask)
