"""What cameras, networks and compression do to clips, to see how much of it a model bears.

Each takes a clip `float32 [3, T, h, w]`, RGB with values in 0..255, and gives a new one of the same kind.
Severities are after Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations" (2019).
"""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

BLUR_SIDE = 224  # the side of a crop, in pixels, that the sigmas of a blur are given for
_TRUNCATE = 4.0  # sigmas of a Gaussian kernel on each side, as scipy has it


def num_lost(frames: int, share: float) -> int:
    """How many of the frames of a clip `drop_frames` loses."""
    return min(round(share * frames), frames - 1)


def drop_frames(clip: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """The clip where a `share` of its frames is lost: each shows the nearest earlier one that is not.

    `num_lost` of the T frames, `round(share * T)` and at most T - 1: the first is never lost. They are the
    first ones of a random order of the others, so that with one `rng` a larger share loses those of a smaller
    one too.
    """
    frames = clip.shape[1]
    count = num_lost(frames, share)
    shown = np.arange(frames)
    shown[1 + rng.permutation(frames - 1)[:count]] = 0
    return clip[:, np.maximum.accumulate(shown)]


def jpeg(clip: Tensor, quality: int) -> Tensor:
    """Each frame, rounded to bytes, through Pillow's JPEG of a `quality`, 1 to 95, otherwise as it comes."""
    bytes_ = clip.round().clamp(0, 255).byte().permute(1, 2, 3, 0).contiguous().numpy()
    frames = []
    for frame in bytes_:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, format="jpeg", quality=quality)
        frames.append(np.asarray(Image.open(file).convert("RGB")))
    return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2).float().contiguous()


def blur(clip: Tensor, sigma: float) -> Tensor:
    """Each frame under a Gaussian of `sigma` pixels of a crop of `BLUR_SIDE`, scaled with the clip's width.

    The kernel is cut at 4 sigmas; beyond the border the nearest pixel goes on.
    """
    height, width = clip.shape[-2:]
    sigma *= width / BLUR_SIDE
    rows, columns = (torch.from_numpy(_blur_matrix(side, sigma)) for side in (height, width))
    return rows @ (clip @ columns.T)


def noise(clip: Tensor, sigma: float, rng: np.random.Generator) -> Tensor:
    """The clip with Gaussian noise on every value, `sigma` of a range of 0 to 1, cut to the range.

    With one `rng` it is the same noise for every sigma, times the sigma.
    """
    drawn = torch.from_numpy(rng.standard_normal(tuple(clip.shape), np.float32))
    return (clip + 255 * sigma * drawn).clamp_(0, 255)


def _blur_matrix(side: int, sigma: float) -> np.ndarray:
    """float32 `[side, side]`: row i holds the weights of all pixels of a line in its blurred pixel i."""
    radius = int(_TRUNCATE * sigma + 0.5)
    places = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (places / sigma) ** 2)
    matrix = np.zeros((side, side))
    for place, weight in zip(places, kernel / kernel.sum(), strict=True):
        columns = np.clip(np.arange(side) + place, 0, side - 1)
        matrix[np.arange(side), columns] += weight
    return matrix.astype(np.float32)
