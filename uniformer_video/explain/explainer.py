"""Which places and times of a video speak for a class, said by a `Predictor`."""

import os
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from uniformer_video.data.decoding.guard import GuardedReader
from uniformer_video.data.lists.media import VIDEO
from uniformer_video.data.loading.view_reader import ViewReader
from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.explain.gradcam import gradcam, usual_stage
from uniformer_video.explain.methods import METHODS
from uniformer_video.explain.occlusion import occlusion, occlusion_of_seconds, spread
from uniformer_video.explain.rollout import CAVEAT, check_rollout, rollout
from uniformer_video.export.runtime import ExportedFrames, ExportedModel, check_gives_views
from uniformer_video.files import atomic_write
from uniformer_video.inference.inputs import Video, find_source
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.timeline_windows import USUAL_RATE, times_of
from uniformer_video.models.layer_maps import find_layer

KIND = "explanation"
MOST_CLIPS = 64


@dataclass(frozen=True, repr=False)
class Explanation:
    """Heat over the frames of one view or several clips, `C`.

    heat: `float32 [C, T, H, W]`, at least 0; of Grad-CAM and occlusion in logits, of rollout the share of the
    answer, relative to an even one. frames: `uint8 [C, T, H, W, 3]` RGB, what the model saw. times: when each
    frame is shown, `float64 [C, T]`, in seconds. score: the probability of the class by these clips together.
    layer: of Grad-CAM, else "". notes: what is to be said of it.

    Of occlusion, else None: falls_time `[C, S]` and falls_space `[C, H', W']`, see `occlusion`; edges
    `[P + 1]` and falls_seconds `[P]`, of the whole video, see `occlusion_of_seconds`.
    """

    path: str
    class_name: str
    score: float
    method: str
    heat: np.ndarray
    frames: np.ndarray
    times: np.ndarray
    layer: str = ""
    notes: tuple[str, ...] = ()
    falls_time: np.ndarray | None = None
    falls_space: np.ndarray | None = None
    edges: np.ndarray | None = None
    falls_seconds: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"<Explanation {self.path}: {self.class_name} {self.score:.1%}, {self.method}>"

    @property
    def decisive(self) -> tuple[float, float, float] | None:
        """(start, end, fall) of the stretch of the video without which the logit falls most, in seconds.

        None where it falls without none, and of other methods than occlusion.
        """
        if self.edges is None or self.falls_seconds is None:
            return None
        place = int(np.nanargmax(self.falls_seconds))
        fall = float(self.falls_seconds[place])
        return (float(self.edges[place]), float(self.edges[place + 1]), fall) if fall > 0 else None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as `.npz`, whole or not at all; what is None is not there."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["notes"] = np.array(self.notes, str)
        with atomic_write(Path(path)) as file:
            np.savez_compressed(
                file, kind=KIND, **{key: v for key, v in values.items() if v is not None}
            )


class Explainer:
    """`Explainer(predictor)("video.mp4", "run").save("heat.npz")`.

    It looks at the centre crops of the clips. Layers whose output was changed by folding are refused; a
    `Predictor.from_checkpoint(..., fold=False)` has none. Raises `ConfigError` for a model of images.
    """

    def __init__(self, predictor: Predictor) -> None:
        if predictor.medium is not VIDEO:
            raise ConfigError(
                f"explain is for models of videos, and this one takes {predictor.medium.name}s; "
                "give a checkpoint of a video model"
            )
        self.predictor = predictor

    def __call__(
        self,
        video: Video,
        class_name: str | None = None,
        method: str = "gradcam",
        stage: int | None = None,
        layer: str | None = None,
        fps: float | None = None,
        clips: int = 1,
        start: float = 0.0,
        end: float | None = None,
    ) -> Explanation:
        """Why the model says a class of a video.

        Args:
            video, start, end: as a `Predictor` takes them.
            class_name: None = the most probable one.
            method: "gradcam", "occlusion" or "rollout"; of rollout the map is the same for every class.
            stage, layer: whose map Grad-CAM takes, see `find_layer`; without them, `usual_stage`.
            fps: frames a second, of an array or a video that holds no times.
            clips: how many of the video, where a test with as many has them.

        Raises `ConfigError` for what is not there, and `DecodeError` for a video that cannot be decoded.
        """
        chosen = self.check(class_name, method, stage, layer, clips, fps)
        source = find_source(video, VIDEO, self.predictor.protocol.decoder, fps)
        with source.open() as opened:
            crops, times, notes = self._read(opened, source.name, fps, clips, start, end)
        to_input = self.predictor.protocol.views.to_input
        views = torch.stack([to_input(crop.clone()) for crop in crops])
        scores = self.predictor.view_logits(views)
        probabilities = self.predictor.answer(source.name, scores).probabilities
        names = self.predictor.class_names
        index = int(probabilities.argmax()) if class_name is None else names.index(class_name)
        heat, extra = self._heat(views, times, index, method, chosen)
        return Explanation(
            path=source.name,
            class_name=names[index],
            score=float(probabilities[index]),
            method=method,
            heat=heat.numpy(),
            frames=crops.round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).numpy(),
            times=times,
            layer=chosen,
            notes=(*notes, CAVEAT) if method == "rollout" else tuple(notes),
            **extra,
        )

    def check(
        self,
        class_name: str | None = None,
        method: str = "gradcam",
        stage: int | None = None,
        layer: str | None = None,
        clips: int = 1,
        fps: float | None = None,
    ) -> str:
        """The layer that Grad-CAM takes, "" of others; `ConfigError` for what is not there."""
        if method not in METHODS:
            raise choice_error("method", method, METHODS)
        if class_name is not None and class_name not in self.predictor.class_names:
            raise choice_error("class", class_name, self.predictor.class_names)
        if not 1 <= clips <= MOST_CLIPS:
            raise ConfigError(f"clips is {clips}; it is 1 to {MOST_CLIPS}")
        if fps is not None and not 0 < fps < float("inf"):
            raise ConfigError(f"fps is {fps:g}; it must be above 0, frames a second")
        model = self.predictor.model
        if isinstance(model, ExportedModel):
            if method != "occlusion":
                views = not isinstance(model, ExportedFrames)
                raise ConfigError(
                    f"{model.path} is an exported model, which has no layers to look into; take "
                    f"{'occlusion, or ' if views else ''}the checkpoint that it was made of"
                )
            check_gives_views(model, "explanations")
        if method == "gradcam":
            usual = self._usual_stage if stage is None and layer is None else stage
            return find_layer(self.predictor.model, usual, layer)
        if stage is not None or layer is not None:
            raise ConfigError(
                f"a stage or layer is of gradcam; {method} asks for none, leave it out"
            )
        if method == "rollout":
            check_rollout(self.predictor.model)
        return ""

    @cached_property
    def _usual_stage(self) -> int | None:
        """The stage where none is named, by the grid that it has of the predictor's views."""
        protocol = self.predictor.protocol
        side = protocol.views.crop_size
        view = torch.zeros(1, 3, protocol.sampling.num_frames, side, side)
        return usual_stage(self.predictor.model, view.to(self.predictor.device))

    def _heat(
        self, views: torch.Tensor, times: np.ndarray, index: int, method: str, layer: str
    ) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """The heat of views `[C, 3, T, H, W]`, `float32 [C, T, H, W]`, and what occlusion finds beside it."""
        predictor = self.predictor
        if method == "occlusion":
            ask = (predictor.view_logits, predictor.batch_size)
            falls = [occlusion(ask[0], view, index, ask[1]) for view in views]
            edges, seconds = occlusion_of_seconds(ask[0], views, times, index, ask[1])
            heat = [spread(*found, view) for found, view in zip(falls, views, strict=True)]
            return torch.stack(heat), {
                "falls_time": np.stack([time for time, _ in falls]),
                "falls_space": np.stack([space for _, space in falls]),
                "edges": edges,
                "falls_seconds": seconds,
            }
        maps = []
        for view in views[:, None].to(predictor.device):
            if method == "gradcam":
                maps.append(gradcam(predictor.model, view, index, layer).cpu())
            else:
                shares = rollout(predictor.model, view).cpu()
                maps.append(shares * shares.numel())
        size = list(views.shape[2:])
        small = torch.stack(maps)[:, None]
        return F.interpolate(small, size, mode="trilinear", align_corners=False)[:, 0], {}

    def _read(
        self,
        opened: GuardedReader,
        path: str,
        fps: float | None,
        clips: int,
        start: float,
        end: float | None,
    ) -> tuple[torch.Tensor, np.ndarray, list[str]]:
        """The pixels of the clips, `float32 [C, 3, T, crop, crop]` in 0..255, when their frames are shown,
        `[C, T]`, and what is to be said of that.
        """
        protocol = self.predictor.protocol.with_views(clips, 1)
        reader = ViewReader(protocol.sampling, protocol.views, clips, protocol.decode_short_side)
        indices = reader.indices(opened, path, start, end)
        notes = []
        rate = fps or opened.fps
        if opened.times is None and not rate:
            rate = USUAL_RATE
            notes.append(
                f"{path} does not say when its frames are shown: times are as at {rate:g} frames a second, "
                "the rate can be given (fps)"
            )
        elif fps and opened.times is not None:
            notes.append(f"A rate of {fps:g} was not needed: {path} has times of its own")
        times = times_of(opened.num_frames, opened.times, rate, path)
        return reader.pixels(opened, indices)[:, 0].contiguous(), times[indices], notes
