"""Which places and times of a video speak for a class, said by a `Predictor`."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from uniformer_video.data.decoding.guard import GuardedReader
from uniformer_video.data.lists.media import VIDEO
from uniformer_video.data.loading.view_reader import ViewReader
from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.explain.gradcam import find_layer, gradcam
from uniformer_video.explain.methods import METHODS
from uniformer_video.explain.occlusion import occlusion, spread
from uniformer_video.files import atomic_write
from uniformer_video.inference.inputs import Video, find_source
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.timeline_windows import USUAL_RATE, times_of

KIND = "explanation"


@dataclass(frozen=True, repr=False)
class Explanation:
    """Heat over the frames of one view.

    heat: `float32 [T, H, W]`, at least 0, in logits. frames: `uint8 [T, H, W, 3]` RGB, what the model saw.
    times: when each frame is shown, `float64 [T]`, in seconds. score: the probability of the class by this
    view. layer: of Grad-CAM, else "". falls_time, falls_space: of occlusion, else empty, see `occlusion`.
    """

    path: str
    class_name: str
    score: float
    method: str
    heat: np.ndarray
    frames: np.ndarray
    times: np.ndarray
    layer: str = ""
    falls_time: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    falls_space: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def __repr__(self) -> str:
        return f"<Explanation {self.path}: {self.class_name} {self.score:.1%}, {self.method}>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as `.npz`, whole or not at all."""
        with atomic_write(Path(path)) as file:
            np.savez_compressed(
                file,
                kind=KIND,
                path=self.path,
                class_name=self.class_name,
                score=self.score,
                method=self.method,
                layer=self.layer,
                heat=self.heat,
                frames=self.frames,
                times=self.times,
                falls_time=self.falls_time,
                falls_space=self.falls_space,
            )


class Explainer:
    """`Explainer(predictor)("video.mp4", "run").save("heat.npz")`.

    It looks at the centre crop of the centre clip. Layers whose output was changed by folding are refused; a
    `Predictor.from_checkpoint(..., fold=False)` has none. Raises `ConfigError` for a model of images.
    """

    def __init__(self, predictor: Predictor) -> None:
        if predictor.medium is not VIDEO:
            raise ConfigError(
                f"explain is for models of videos, and this one takes {predictor.medium.name}s; "
                "give a checkpoint of a video model"
            )
        self.predictor = predictor
        self._protocol = predictor.protocol.with_views(1, 1)

    def __call__(
        self,
        video: Video,
        class_name: str | None = None,
        method: str = "gradcam",
        stage: int | None = None,
        layer: str | None = None,
        fps: float | None = None,
    ) -> Explanation:
        """Why the model says a class of a video.

        Args:
            video, fps: as a `Predictor` takes them.
            class_name: None = the most probable one.
            method: "gradcam" or "occlusion".
            stage, layer: whose map Grad-CAM takes, see `find_layer`.

        Raises `ConfigError` for what is not there, and `DecodeError` for a video that cannot be decoded.
        """
        chosen = self.check(class_name, method, stage, layer)
        source = find_source(video, VIDEO, self._protocol.decoder, fps)
        with source.open() as opened:
            crop, times = self._read(opened, source.name)
        view = self._protocol.views.to_input(crop.clone())
        scores = self.predictor.view_logits(view[None])
        probabilities = self.predictor.answer(source.name, scores).probabilities
        names = self.predictor.class_names
        index = int(probabilities.argmax()) if class_name is None else names.index(class_name)
        falls = {}
        if method == "gradcam":
            device = self.predictor.device
            small = gradcam(self.predictor.model, view[None].to(device), index, chosen).cpu()
            size = list(view.shape[1:])
            heat = F.interpolate(small[None, None], size, mode="trilinear", align_corners=False)[
                0, 0
            ]
        else:
            time, space = occlusion(
                self.predictor.view_logits, view, index, self.predictor.batch_size
            )
            heat, falls = spread(time, space, view), {"falls_time": time, "falls_space": space}
        return Explanation(
            path=source.name,
            class_name=names[index],
            score=float(probabilities[index]),
            method=method,
            heat=heat.numpy(),
            frames=crop.round().clamp(0, 255).byte().permute(1, 2, 3, 0).numpy(),
            times=times,
            layer=chosen,
            **falls,
        )

    def check(
        self, class_name: str | None, method: str, stage: int | None, layer: str | None
    ) -> str:
        """The layer that Grad-CAM takes, "" of occlusion; `ConfigError` for what is not there."""
        if method not in METHODS:
            raise choice_error("method", method, METHODS)
        if class_name is not None and class_name not in self.predictor.class_names:
            raise choice_error("class", class_name, self.predictor.class_names)
        if method == "gradcam":
            return find_layer(self.predictor.model, stage, layer)
        if stage is not None or layer is not None:
            raise ConfigError(
                "a stage or layer is of gradcam; occlusion asks for none, leave it out"
            )
        return ""

    def _read(self, opened: GuardedReader, path: str) -> tuple[torch.Tensor, np.ndarray]:
        """The pixels of the view, `float32 [3, T, crop, crop]` in 0..255, and when they are shown, `[T]`."""
        protocol = self._protocol
        reader = ViewReader(protocol.sampling, protocol.views, 1, protocol.decode_short_side)
        indices = reader.indices(opened, path)
        times = times_of(opened.num_frames, opened.times, opened.fps or USUAL_RATE, path)
        return reader.pixels(opened, indices)[0, 0].contiguous(), times[indices[0]]
