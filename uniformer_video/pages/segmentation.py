"""What the page of a test of semantic segmentation shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from uniformer_video.data.decoding.masks import IGNORED
from uniformer_video.evaluation.class_colours import IGNORED_COLOUR, class_colours, full_palette
from uniformer_video.evaluation.pixel_strips import PixelStrip
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.confusion import confusion_section
from uniformer_video.pages.parts import spread, worst_first
from uniformer_video.pages.plots import RIGHT_RGB, WRONG_RGB, data_uri

MAX_PICTURES = 6  # of the worst, and of the median ones
MAX_NAMED = 24  # classes under a picture
_RIGHT, _WRONG, _IGNORED = range(3)  # in a map of errors
_ERROR_COLOURS = np.array((RIGHT_RGB, WRONG_RGB, IGNORED_COLOUR), np.uint8)


def segmentation_page(results: Mapping[str, Any], strips: Strips) -> dict[str, Any]:
    """What segmentation.html.j2 shows of a record as `evaluation.areas.segmentation_results` makes it.

    strips: of each picture what `pixel_strip` gives. `results["palette"]`, a list of (red, green, blue), may
    give the classes their colours.
    """
    colours = class_colours(results["class_names"], results.get("palette"))
    hexes = [_hex(colour) for colour in colours]
    worst, median = chosen_pictures(results["videos"])
    shown = {place: _shown_picture(results, place, strips, colours) for place in (*worst, *median)}
    return {
        "classes": worst_first(results["per_class"], "iou"),
        "spread": spread(results["per_class"], "iou"),
        "picture_spread": spread(results["videos"], "miou"),
        "confusion": confusion_section(results, "pixels"),
        "colours": hexes,
        "worst": [shown[place] for place in worst],
        "median": [shown[place] for place in median],
        "judged": sum(video["miou"] is not None for video in results["videos"]),
        "marks": {
            "right": _hex(RIGHT_RGB),
            "wrong": _hex(WRONG_RGB),
            "ignored": _hex(IGNORED_COLOUR),
        },
    }


def chosen_pictures(videos: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[int]]:
    """The places of the pictures with the lowest mIoU, the lowest first, and of those in the middle.

    A third of the pictures each, at most `MAX_PICTURES`, at least one of the worst. Among equals the first in
    the list comes first. Pictures without mIoU, that failed or are ignored as a whole, are in neither.
    """
    judged = [place for place, video in enumerate(videos) if video["miou"] is not None]
    order = sorted(judged, key=lambda place: (videos[place]["miou"], place))
    count = min(MAX_PICTURES, max(1, len(order) // 3))
    middle = (len(order) - count) // 2
    return order[:count], order[middle : middle + count] if len(order) >= 3 else order[count:]


def _shown_picture(
    results: Mapping[str, Any], place: int, strips: Strips, colours: np.ndarray
) -> dict[str, Any]:
    """The picture at a place of the record, with its `place`, `panels`, {what it shows: data URI}, and the
    `classes` that are in them, the largest first; both empty where the test kept no small pictures.
    """
    video = results["videos"][place]
    strip = PixelStrip.read(strips[place], video["name"])
    if strip is None:
        return {**video, "place": place, "panels": {}, "classes": [], "more": 0}
    classes = _classes_in(strip, len(results["class_names"]))
    palette = full_palette(colours)
    panels = {
        "picture": strip.picture_uri(),
        "truth": _indexed_uri(strip.truth, palette),
        "prediction": _indexed_uri(strip.predicted, palette),
        "errors": _indexed_uri(error_map(strip.truth, strip.predicted), _ERROR_COLOURS),
    }
    more = max(0, len(classes) - MAX_NAMED)
    return {**video, "place": place, "panels": panels, "classes": classes[:MAX_NAMED], "more": more}


def error_map(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Class numbers `[H, W]` of truth and prediction -> uint8 `[H, W]`: 0 right, 1 wrong, 2 ignored."""
    errors = np.where(truth == predicted, _RIGHT, _WRONG)
    return np.where(truth == IGNORED, _IGNORED, errors).astype(np.uint8)


def _classes_in(strip: PixelStrip, num_classes: int) -> list[dict[str, Any]]:
    """The classes of a small picture, those with most pixels of truth first, then of prediction."""
    areas = [np.bincount(mask.ravel(), minlength=256) for mask in (strip.truth, strip.predicted)]
    true, said = (area[:num_classes] for area in areas)
    order = sorted(np.flatnonzero(true + said).tolist(), key=lambda k: (-true[k], -said[k], k))
    return [{"class": k, "is_true": bool(true[k])} for k in order]


def _indexed_uri(values: np.ndarray, palette: np.ndarray) -> str:
    """Numbers uint8 `[H, W]` in the colours of a palette `[n, 3]`, as the data URI of an indexed PNG."""
    image = Image.fromarray(values)
    image.putpalette(palette.tobytes())  # which makes it an indexed one
    return data_uri(image, "png", optimize=True)


def _hex(colour: Sequence[int] | np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(value) for value in colour))
