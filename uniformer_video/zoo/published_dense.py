"""What is known of the published segmentation models: how pictures are prepared, classes, windows.

Their files, of ADE20K, tell shapes alone (and sometimes the classes).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.clips.transforms import Normalisation
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.protocol import Protocol
from uniformer_video.zoo.published import IMAGENET_MEAN, IMAGENET_STD, file_stem

ADE20K = "ade20k"
_BOX = (2048, 512)  # long and short side, in pixels
_ALIGN = 32  # of semantic FPN
# In the names of runs: hybrid windows of 14, windows of 32, hybrid windows of 32.
_ATTENTION = re.compile(r"(?:^|[_\-.])(?P<kind>[hw])(?P<side>14|32)(?:$|[_\-.])")


def published_pixels(model: str) -> Protocol:
    """How pictures become the input of the published weights of a model, by its name: the whole picture."""
    long_side, short_side = _BOX
    views = PixelViews(
        short_side,
        0,
        normalise=Normalisation(IMAGENET_MEAN, IMAGENET_STD),
        long_side=long_side,
        align=1 if model.startswith("upernet") else _ALIGN,
    )
    image = Protocol.of_images(short_side, 1.0, IMAGENET_MEAN, IMAGENET_STD)
    return replace(image, views=views)


def names_of_outputs(hints: Mapping[str, Any], num_classes: int) -> list[str]:
    """The class names that training noted in a file, or ADE20K's for as many outputs; [] without either."""
    meta = hints.get("meta")
    names = meta.get("CLASSES") if isinstance(meta, Mapping) else None
    if isinstance(names, Sequence) and not isinstance(names, str):
        known = all(isinstance(name, str) for name in names)
        if known and len(set(names)) == len(names) == num_classes:
            return list(names)
    usual = class_names(ADE20K)
    return usual if num_classes == len(usual) else []


def palette_of_outputs(hints: Mapping[str, Any], num_classes: int) -> list[list[int]] | None:
    """The colours of the classes, RGB, that training noted in a file; None without."""
    meta = hints.get("meta")
    colours = meta.get("PALETTE") if isinstance(meta, Mapping) else None
    try:
        found = np.asarray(colours, np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    if found.shape != (num_classes, 3) or found.min() < 0 or found.max() > 255:
        return None
    return found.tolist()


def attention_by_name(path: str) -> dict[str, Any]:
    """The windows of attention that the name of a file tells, `fpn_h14_small.pth`; {} for attention over the
    whole map.
    """
    found = _ATTENTION.search(file_stem(path))
    return {"window": int(found["side"]), "hybrid": found["kind"] == "h"} if found else {}
