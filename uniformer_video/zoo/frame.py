"""One picture as the input of a model, to compare an image model with its inflation."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.pictures import read_image
from uniformer_video.data.lists.folders import is_video
from uniformer_video.errors import DataError, DecodeError

SIDE = 224


def read_frame(path: Path | str = "") -> Tensor:
    """`[3, 224, 224]` float, normalised: an image, the middle frame of a video, or a made-up picture.

    The made-up one (no `path`) is always the same: smooth noise of several scales, as photographs
    have. Raises `DataError` for a file that cannot be read as either.
    """
    if not path:
        pixels = _smooth_noise()
    elif is_video(path):
        with open_video(path) as video:
            pixels = video.frames([video.num_frames // 2])[0]
    else:
        try:
            pixels = read_image(path)
        except DecodeError as error:
            raise DataError(f"--check takes a picture, or a video by its name: {error}") from None
    views = EvalViews(SIDE, SIDE, 1, Normalisation((0.45,) * 3, (0.225,) * 3, "RGB"))
    return views([np.array(pixels)[None]])[0, :, 0]


def _smooth_noise() -> np.ndarray:
    """uint8 [SIDE, SIDE, 3]."""
    draw = torch.Generator().manual_seed(0)
    picture = torch.zeros(1, 3, SIDE, SIDE)
    for cells in (2, 4, 8, 16, 32, 64):
        noise = torch.randn(1, 3, cells, cells, generator=draw)
        scaled = torch.nn.functional.interpolate(noise, (SIDE, SIDE), mode="bicubic")
        picture = picture + scaled / cells**0.5
    picture = (picture / picture.std()).mul(50).add(115).clamp(0, 255)
    return picture[0].permute(1, 2, 0).to(torch.uint8).numpy()
