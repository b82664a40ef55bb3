"""The class of each pixel of pictures and videos, by a checkpoint that carries everything."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from uniformer_video.config.recorded import check_recorded_settings
from uniformer_video.config.rows import SETTINGS
from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.decoding.decoders import PICTURES
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.media import IMAGE, VIDEO
from uniformer_video.data.protocol import Protocol, recorded_protocol
from uniformer_video.errors import CheckpointError, DecodeError
from uniformer_video.evaluation.class_colours import class_colours
from uniformer_video.evaluation.pixel_logits import whole_logits
from uniformer_video.inference.devices import find_device, nearest_precision
from uniformer_video.inference.inputs import Video, find_source
from uniformer_video.inference.segmented_video import SegmentedFrames
from uniformer_video.inference.steady import SteadyMean
from uniformer_video.models.contract import name_of
from uniformer_video.models.inference_mode import prepare_for_inference
from uniformer_video.plugins import import_installed
from uniformer_video.program import command
from uniformer_video.tasks.prediction import PixelPrediction
from uniformer_video.tasks.registry import recorded_name
from uniformer_video.tasks.segmentation import Segmentation
from uniformer_video.training.precision import autocast_for, choose_precision
from uniformer_video.weights.checkpoint import Weights, read_weights
from uniformer_video.weights.dense import is_dense
from uniformer_video.zoo.convert import complete
from uniformer_video.zoo.published import local_file

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)


class Segmenter:
    """A segmentation model with its preprocessing: `segmenter("street.jpg").overlay(picture)`.

    Args:
        model: maps images `[B, 3, H, W]` to logits `[B, K, H / 4, W / 4]`; used as it is, as by `Predictor`.
        protocol: the `Protocol` by which pictures become its input; its views are `PixelViews`.
        class_names: in index order.
        palette: the colours of the classes, `[K, 3]` RGB; None = as a page of results has them.
        device: "cpu", "cuda", "cuda:1" or "mps"; None = a GPU where there is one, else the CPU.
        precision: in place of the protocol's; None = that.
    """

    def __init__(
        self,
        model: nn.Module,
        protocol: Protocol,
        class_names: Iterable[str],
        palette: Sequence[Sequence[int]] | None = None,
        device: str | torch.device | None = None,
        precision: str | None = None,
    ):
        self.model, self.class_names = model.eval(), tuple(class_names)
        self.device = find_device(device)
        self.model.to(self.device)
        if precision is None:
            self.precision = nearest_precision(protocol.precision, self.device)
        else:
            self.precision = choose_precision(
                SETTINGS["TRAIN.PRECISION"].accept(precision), self.device
            )
        self.autocast = autocast_for(self.precision, self.device)
        self.protocol = replace(protocol, precision=self.precision)
        self.views = cast(PixelViews, protocol.views)
        self.palette = class_colours(self.class_names, palette)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | torch.device | None = None,
        precision: str | None = None,
    ) -> "Self":
        """A segmenter from a checkpoint of this toolkit, or from a published file.

        path: a file, or an address. Raises `CheckpointError` for weights of another kind of model.
        """
        import_installed()
        return cls.from_weights(read_weights(local_file(path)), device, precision)

    @classmethod
    def from_weights(
        cls,
        weights: Weights,
        device: str | torch.device | None = None,
        precision: str | None = None,
    ) -> "Self":
        """As `from_checkpoint`, from what is read already."""
        path = weights.path
        if not labels_pixels(weights):
            raise CheckpointError(
                f"{path} holds a classifier, which says nothing of single pixels; take one of segmentation, "
                "or predict without --overlay (Predictor)"
            )
        device = find_device(device)
        check_recorded_settings(weights.metadata.get("config"), path)
        model, metadata, _ = complete(weights, None)
        protocol = recorded_protocol(metadata, path)
        if protocol is None or not isinstance(protocol.views, PixelViews):
            raise CheckpointError(
                f"{path} does not record how pictures are prepared for segmentation; convert it: "
                f"{command(f'convert {path} --out NEW.pt')}, with --cfg CONFIG"
            )
        if weights.choice:
            log.info("%s: %s", path, weights.choice)
        names = metadata.get("class_names") or stand_ins(model.num_classes)
        ready = prepare_for_inference(model)
        return cls(ready, protocol, names, metadata.get("palette"), device, precision)

    def __repr__(self) -> str:
        return f"<Segmenter: {name_of(self.model)}, {len(self.class_names)} classes, {self.device}>"

    def __call__(self, picture: Video) -> PixelPrediction:
        """The class of each pixel of a picture.

        picture: the path of a file, bytes of one, an open binary file, or uint8 `[H, W, 3]` RGB. Raises
        `DecodeError` where it cannot be decoded.
        """
        if isinstance(picture, (str, os.PathLike)) and VIDEO.fits(picture) > IMAGE.fits(picture):
            raise DecodeError(f"{picture} is a video by its name; `video` gives its frames in turn")
        source = find_source(picture, IMAGE, PICTURES)
        with source.open() as opened:
            (pixels,) = opened.frames([0])
        return self.segment(pixels, name=source.name)

    def video(
        self,
        path: str | os.PathLike[str],
        steady: bool = False,
        start: float = 0.0,
        end: float | None = None,
    ) -> SegmentedFrames:
        """The frames of a video with the classes of their pixels, decoded once, one at a time.

            with segmenter.video("film.mp4") as frames:
                for number, time, picture, found in frames:
                    found.save(f"{number}.png")

        steady: average the logits over time, see `SteadyMean`. start, end: the part that counts, in seconds.
        Raises `DecodeError`.
        """
        name = os.fspath(path)

        def segment(picture: np.ndarray, mean: SteadyMean | None) -> PixelPrediction:
            return self.segment(picture, mean, name)

        return SegmentedFrames(path, segment, self.class_names, steady, start, end)

    @torch.inference_mode()
    def segment(
        self, picture: np.ndarray, mean: SteadyMean | None = None, name: str = "array"
    ) -> PixelPrediction:
        """The classes of `uint8 [H, W, 3]` RGB, through the `mean` of the frames before, where there is one.

        name: what the prediction calls it.
        """
        logits = whole_logits(self.model, self.views, picture, self.device, self.autocast)
        if mean is not None:
            logits = logits.with_maps(mean(logits.maps, picture))
        return PixelPrediction(name, logits.classes(), self.class_names, self.palette)


def labels_pixels(weights: Weights) -> bool:
    """Whether weights are those of a segmentation model, by what they record or by their tensors."""
    return recorded_name(weights.metadata) == Segmentation.name or is_dense(weights.state)
