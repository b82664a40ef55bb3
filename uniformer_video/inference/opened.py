"""A checkpoint of either kind, opened: one that classifies, or one of segmentation."""

from pathlib import Path
from typing import Any

from uniformer_video.errors import ConfigError
from uniformer_video.export.formats import is_export
from uniformer_video.inference.devices import find_device
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.segmenter import Segmenter, labels_pixels
from uniformer_video.plugins import import_installed
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.zoo.published import local_file


def open_checkpoint(
    path: str | Path,
    device: str | None = None,
    precision: str | None = None,
    **views: Any,
) -> Predictor | Segmenter:
    """The `Predictor` or the `Segmenter` of a checkpoint, by the task that it records or by its tensors.

    views: num_clips, num_crops and batch_size of a `Predictor`, which a `Segmenter` has none of. Raises
    `ConfigError` for these.
    """
    import_installed()
    find_device(device)  # a wrong one is told before the file is read
    if is_export(path):
        return Predictor.from_export(path, device=device, precision=precision, **views)
    weights = read_weights(local_file(path))
    if not labels_pixels(weights):
        return Predictor.from_weights(weights, device=device, precision=precision, **views)
    if given := [name for name, value in views.items() if value is not None]:
        words = ", ".join(f"--{name.removeprefix('num_').replace('_', '-')}" for name in given)
        raise ConfigError(
            f"{path} is a segmentation model, which looks at one whole picture at a time; leave out {words}"
        )
    return Segmenter.from_weights(weights, device, precision)
