"""Training by token labelling: soft labels of the picture and of each of its tokens, and MixToken.

Source: Jiang et al., "All Tokens Matter: Token Labeling for Training Better Vision Transformers", section 3,
with the losses of the published UniFormer runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uniformer_video.data.loading.loader import TrainBatch
from uniformer_video.models.mixtoken import box_of_last_stage
from uniformer_video.randomness import generator
from uniformer_video.training.objective import Objective, TrainedTask
from uniformer_video.training.token_targets import token_targets

TOKEN_STRIDE = 4  # of the first stage's tokens, in pixels
LAST_STRIDE = 32  # of the last stage's


@dataclass(frozen=True)
class TokenLosses:
    """How the losses of token labelling are made.

    class_weight, dense_weight: of the loss of the class logits, and of that of the token logits. smoothing:
    of the soft labels. box_order: see `token_targets`. ground_truth: move the soft label of a picture towards
    its true class. mix: mix the tokens of pairs of pictures.
    """

    class_weight: float = 1.0
    dense_weight: float = 1.0
    smoothing: float = 0.1
    box_order: str = "published"
    ground_truth: bool = False
    mix: bool = True


class TokenLabelling(Objective):
    """The task's loss of the class logits against the soft label of the crop, and of each token's logits
    against its own.

    The network gives both, see `UniFormer.training_outputs`, and takes the box of MixToken. Batches bring
    `token_labels`. num_classes: K, of the maps too.
    """

    also_measured = ("token_loss",)

    def __init__(self, task: TrainedTask, num_classes: int, how: TokenLosses):
        super().__init__(task)
        self.num_classes, self.how = num_classes, how

    def targets(self, batch: TrainBatch, device: torch.device) -> list[Tensor]:
        """The task's targets `[B, K]`, maps and crops, as the batch brings them."""
        assert batch.token_labels is not None  # the data set has maps
        return [*super().targets(batch, device), *batch.token_labels.to(device)]

    def taught(self, clips: Tensor, targets: list[Tensor]) -> list[Tensor]:
        """The task's targets, the soft labels of the crops `[B, K]` and of their tokens `[B, N, K]`."""
        own, maps, crops = targets
        side, how = clips.shape[-1] // LAST_STRIDE, self.how
        of_crop, of_tokens = token_targets(
            maps, crops, self.num_classes, side, how.smoothing, how.box_order
        )
        return [own, correct_labels(of_crop, own) if how.ground_truth else of_crop, of_tokens]

    def asked_of_network(self, clips: Tensor, keys: Sequence[int]) -> tuple[Tensor, ...]:
        """The box of MixToken on the grid of the first stage, int64 `[4]` on the device."""
        height, width = (side // TOKEN_STRIDE for side in clips.shape[-2:])
        drawn = draw_box(height, width, generator("mixtoken", *keys)) if self.how.mix else (0,) * 4
        box = torch.tensor(drawn)
        if clips.device.type == "cuda":
            box = box.pin_memory()  # only such memory is copied without a wait
        return (box.to(clips.device, non_blocking=True),)

    def measure(
        self, outputs: Sequence[Tensor], targets: Sequence[Tensor], asked: Sequence[Tensor]
    ) -> Tensor:
        """The weighted sum of both losses, and that of the tokens before its weight, `[2]`."""
        class_logits, token_logits = outputs
        _, of_crop, of_tokens = targets
        share = share_of_own(box_of_last_stage(asked[0]), token_logits.shape[1]).to(of_crop)
        mixed = torch.lerp(of_crop.flip(0), of_crop, share)
        of_class = self.task.loss(class_logits, mixed)
        dense = self.task.loss(token_logits.flatten(0, 1), of_tokens.flatten(0, 1))
        total = self.how.class_weight * of_class + self.how.dense_weight * dense
        return torch.stack([total, dense.detach()])


def draw_box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The box of MixToken on a grid: (row start, column start, row end, column end), ends excluded.

    Its share of the grid is uniform in 0..1, before the edges of the grid clip it.
    """
    cut = math.sqrt(rng.random())  # of 1 - share, which is uniform as well
    half_height, half_width = int(height * cut) // 2, int(width * cut) // 2
    row, column = int(rng.integers(height)), int(rng.integers(width))
    return (
        max(row - half_height, 0),
        max(column - half_width, 0),
        min(row + half_height, height),
        min(column + half_width, width),
    )


def share_of_own(box: Tensor, tokens: int) -> Tensor:
    """The share of a grid of `tokens` that a box of it leaves, float `[]`."""
    top, left, bottom, right = box
    return 1 - ((bottom - top) * (right - left)).double() / tokens


def correct_labels(soft: Tensor, true: Tensor) -> Tensor:
    """Soft labels `[B, K]` moved towards the true classes' targets `[B, K]`: by a half where both have the
    same class first, else by a tenth.
    """
    same = soft.argmax(1) == true.argmax(1)
    kept = torch.where(same, 0.5, 0.9).to(soft)[:, None]
    return torch.lerp(true.to(soft), soft, kept)
