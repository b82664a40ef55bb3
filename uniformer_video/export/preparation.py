"""Preparation as a part of the network: frames in, probabilities out, in operations that every format has.

It is the preparation of `data/clips/transforms.py`. Sizes of frames may vary: where a pixel of the crop lies
in the frame is computed from them, inside the network, and only the crop is ever made. A call of
`interpolate` would fix the size of the frames, or at least which side is the shorter.
"""

import torch
from torch import Tensor, nn

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.errors import ConfigError
from uniformer_video.export.graph import trace
from uniformer_video.tasks.task import Task


class PreparedModel(nn.Module):
    """A model with its preparation: frames, uint8 `[B, T, H, W, 3]` RGB -> probabilities `[B, K]`.

    All crops of a clip are inside, and averaged as the test averages views; so with one clip a video this is
    the answer for the video.

    Args:
        model: maps `[B, 3, T, crop, crop]` to logits `[B, K]`.
        views: how frames become crops.
        score: what views are averaged as, see `Protocol`.
        task: makes probabilities of logits.
        temperature: by which logits are divided first.

    Raises `ConfigError` for views that are not those of videos, and a task that tells no probabilities of
    logits.
    """

    def __init__(
        self, model: nn.Module, views: EvalViews, score: str, task: Task, temperature: float = 1.0
    ):
        super().__init__()
        if type(views) is not EvalViews:
            raise ConfigError(
                "preparation is exported for models of videos alone; this one's pictures are scaled by "
                "Pillow, which no format has: leave --preprocess out"
            )
        if not task.has_distillation:
            raise ConfigError(
                f"the task {task.name} has no `soften`, which makes probabilities of logits: leave "
                "--preprocess out"
            )
        self.model, self.views, self.score, self.task = model, views, score, task
        self.temperature = temperature

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 `[B, T, H, W, 3]` -> `[B, K]`."""
        crops = prepare_crops(frames, self.views)
        logits = self.model(crops.flatten(0, 1)).unflatten(0, (-1, self.views.num_crops))
        if self.score == "logits":
            return self.task.soften(logits.mean(1), self.temperature)
        return (
            self.task.soften(logits.flatten(0, 1), self.temperature)
            .unflatten(0, (-1, self.views.num_crops))
            .mean(1)
        )


def trace_prepared(
    model: nn.Module, num_frames: int, views: EvalViews
) -> torch.export.ExportedProgram:
    """A `PreparedModel` as a graph, for any number of clips, and frames of any height and width."""
    # sides that differ from each other and from the crop, or they would be taken for the same
    sides = (views.short_side + 9, views.short_side + 34)
    example = torch.zeros(2, num_frames, *sides, 3, dtype=torch.uint8)
    return trace(model, example, dynamic_size=True, sides=(2, 3))


def prepare_crops(frames: Tensor, views: EvalViews) -> Tensor:
    """uint8 `[B, T, H, W, 3]` -> normalised crops, float32 `[B, crops, 3, T, crop, crop]`."""
    height, width = (torch.scalar_tensor(side, dtype=torch.float64) for side in frames.shape[2:4])
    short = torch.tensor(float(views.short_side), dtype=torch.float64)
    # as `scaled_size`: the long side is cut to whole pixels
    is_tall = height >= width
    scaled_height = torch.where(is_tall, torch.floor(height / width * short), short)
    scaled_width = torch.where(is_tall, short, torch.floor(width / height * short))
    moves_down = scaled_height > scaled_width
    crops = []
    for place in range(views.num_crops):
        top = _offset(scaled_height, views, place, moves_down)
        left = _offset(scaled_width, views, place, ~moves_down)
        rows = _places(height, scaled_height, top, views.crop_size)
        columns = _places(width, scaled_width, left, views.crop_size)
        crop = _blend(_blend(frames, 2, *rows), 3, *columns)
        crops.append(views.normalise(crop.permute(0, 4, 1, 2, 3)))
    return torch.stack(crops, 1)


def _offset(scaled: Tensor, views: EvalViews, place: int, moves: Tensor) -> Tensor:
    """Where crop number `place` of `crop_offsets` begins along one side, float64 `[]`.

    moves: whether the crops lie along this side; else all are in its middle.
    """
    middle = torch.ceil((scaled - views.crop_size) / 2)
    if views.num_crops == 1 or place == 1:
        return middle
    end = torch.zeros_like(scaled) if place == 0 else scaled - views.crop_size
    return torch.where(moves, end, middle)


def _places(
    size: Tensor, scaled: Tensor, begin: Tensor, crop: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Bilinear scaling with half-pixel centres along one side: (first pixel, second, share of the second).

    Each `[crop]`, of the pixels from `begin` on of a side that is scaled from `size` to `scaled`.
    """
    points = torch.arange(crop, dtype=torch.float64, device=size.device)
    places = ((begin + points + 0.5) * (size / scaled) - 0.5).clamp(min=0)
    first = torch.minimum(places.floor(), size - 1)
    second = torch.minimum(first + 1, size - 1)
    return first.long(), second.long(), (places - first).float()


def _blend(frames: Tensor, side: int, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """`[B, T, H, W, 3]` with one `side` taken at `first` and `second`, mixed by the `share` of the second."""
    share = share.view(-1, *[1] * (frames.dim() - 1 - side))
    before, behind = (frames.index_select(side, at).float() for at in (first, second))
    return before + (behind - before) * share
