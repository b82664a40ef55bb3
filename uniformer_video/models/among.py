"""A model that answers some of its classes alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.inference_mode import prepare_for_inference

if TYPE_CHECKING:
    from typing_extensions import Self


class AmongClasses(nn.Module):
    """The logits of a model for `classes`, numbers of its outputs, in their order; not for training."""

    def __init__(self, model: RecognitionModel, classes: Sequence[int]):
        super().__init__()
        self.model, self.num_classes = model, len(classes)
        self.classes: Tensor
        self.register_buffer("classes", torch.tensor(classes), persistent=False)

    def for_inference(self) -> "Self":
        """The model's own `for_inference()`, where it has one; returns this one, in evaluation mode."""
        self.model = prepare_for_inference(self.model)
        return self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """What the model takes -> logits `[B, len(classes)]`."""
        return self.model(x).index_select(1, self.classes)
