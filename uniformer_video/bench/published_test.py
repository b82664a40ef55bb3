"""The way in which the published code tests: an opening and a decoding for each view, floats before resizing.

Every view is an item of its own for the workers. decord decodes the frames of its clip; all their pixels
become floats and are normalised, then resized, then cropped; the model computes in float32.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from uniformer_video.data.clips.transforms import EvalViews, crop_offsets, scaled_size
from uniformer_video.data.decoding.reader import first_line
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DecodeError, MissingLibraryError


class PublishedViews(Dataset):
    """`views[i]` is view `i % num_views` of video `i // num_views`, `float32 [3, T, crop, crop]`.

    The same frames and the same crops as an `EvalDataset` of these arguments has, in its order, but for the
    rounding of the resized values. Raises `MissingLibraryError` without decord.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        sampling: ClipSampling,
        views: EvalViews,
        num_clips: int,
    ):
        try:
            import decord  # noqa: F401
        except ImportError:
            raise MissingLibraryError(
                "the published way decodes by decord, which is not installed: pip install decord"
            ) from None
        self.records = records
        self.sampling = sampling
        self.views = views
        self.num_clips = num_clips
        self.mean = torch.tensor(views.normalise.mean)
        self.std = torch.tensor(views.normalise.std)

    @property
    def num_views(self) -> int:
        """Of each video."""
        return self.num_clips * self.views.num_crops

    def __len__(self) -> int:
        return len(self.records) * self.num_views

    def __getitem__(self, item: int) -> Tensor:
        """Raises `DecodeError` for a video that decord cannot read."""
        index, view = divmod(item, self.num_views)
        clip, crop = divmod(view, self.views.num_crops)
        frames = self._decode(self.records[index].path, clip)
        values = torch.from_numpy(frames).float() / 255.0
        values = ((values - self.mean) / self.std).permute(3, 0, 1, 2)
        height, width = scaled_size(frames.shape[1], frames.shape[2], self.views.short_side)
        values = F.interpolate(values, (height, width), mode="bilinear", align_corners=False)
        side = self.views.crop_size
        top, left = crop_offsets(height, width, side, self.views.num_crops)[crop]
        return values[..., top : top + side, left : left + side].contiguous()

    def _decode(self, path: str, clip: int) -> np.ndarray:
        import decord

        try:
            reader = decord.VideoReader(path, num_threads=1)
            timeline = self.sampling.timeline(len(reader), reader.get_avg_fps())
            indices = timeline[self.sampling.test_clips(len(timeline), self.num_clips)[clip]]
            return reader.get_batch(indices).asnumpy()
        except Exception as error:  # decord has kinds of its own
            raise DecodeError(f"decord cannot read {path}: {first_line(error)}") from None


@torch.no_grad()
def published_scores(
    model: nn.Module,
    dataset: PublishedViews,
    batch_size: int,
    num_workers: int,
    mark: Callable[[str], None] = lambda part: None,
) -> np.ndarray:
    """Logits of all views, float32 `[video, view, class]`, in passes of `batch_size` views.

    mark: as of `score_videos`.
    """
    model.eval()
    device = next(model.parameters()).device
    found = []
    for views in DataLoader(dataset, batch_size, num_workers=num_workers):
        mark("waiting for data")
        found.append(model(views.to(device)).cpu())
        mark("forward")
    return torch.cat(found).unflatten(0, (-1, dataset.num_views)).numpy()
