"""Tests as rows of a table in Markdown: model, input, views, cost, and the figures with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.lists.media import IMAGE, noun_of
from uniformer_video.data.protocol import Protocol
from uniformer_video.evaluation.parts import telling_figures
from uniformer_video.evaluation.rescored import origins

# Figures of a summary -> the column's name; those that no test of the table has are no columns.
_FIGURES = {
    "top1": "top-1",
    "top5": "top-5",
    "map": "mAP",
    "hit1": "hit@1",
    "miou": "mIoU",
    "mean_accuracy": "mean accuracy",
    "pixel_accuracy": "pixel accuracy",
}
_NOTHING = "-"
_FIRST = ("model", "input", "pixels", "views")


def as_markdown(tests: Sequence[Mapping[str, Any]], headlines: Sequence[str] = ()) -> str:
    """A header and a row for each record of a test; shares in per cent, with their 95 % intervals.

    headlines: the key of the main figure of each record, for tasks with figures of their own.
    """
    names = {**{key: key for key in headlines}, **_FIGURES}
    shown = [key for key in names if any(_has(test, key) for test in tests)]
    counted = (
        " and ".join(sorted({f"{noun_of(test)}s" for test in tests}, reverse=True)) or "videos"
    )
    columns = [*_FIRST, "GFLOPs x views", "parameters", counted]
    columns += [f"{names[key]}, %" for key in shown]
    lines = [_line(columns), "|" + "---|" * len(columns)]
    lines += [_line([*_cells(test), *(_figure(test, key) for key in shown)]) for test in tests]
    return "\n".join(lines)


def _has(test: Mapping[str, Any], key: str) -> bool:
    return key in telling_figures(test["summary"], len(test["class_names"]))


def _cells(test: Mapping[str, Any]) -> list[str]:
    protocol, model, summary = Protocol.from_dict(test["protocol"]), test["model"], test["summary"]
    sampling, pixels = protocol.sampling, protocol.views
    frames = f"{sampling.num_frames}x{sampling.frame_stride}"
    if protocol.medium == IMAGE.name:
        frames = "image"
    elif sampling.rule != "dense":
        frames = f"{sampling.num_frames} ({sampling.rule})"
    elif sampling.target_fps:
        frames += f" at {sampling.target_fps:g} fps"
    if test["playback"] != "forward":
        frames += f", {test['playback']}"
    gflops, parameters = model.get("gflops_view"), model.get("parameters")
    failed = f" ({summary['failed']} failed)" if summary["failed"] else ""
    return [
        str(model["name"]),
        frames,
        f"{pixels.long_side}x{pixels.short_side}"
        if isinstance(pixels, PixelViews)
        else str(pixels.crop_size),
        f"{protocol.num_clips}x{pixels.views_of_clip}{_other_score(test)}",
        _NOTHING if gflops is None else _cost(gflops, protocol),
        _NOTHING if parameters is None else f"{parameters / 1e6:.2f} M",
        f"{summary['videos']}{_part_of_a_test(test)}{failed}",
    ]


def _cost(gflops: float, protocol: Protocol) -> str:
    """GFLOPs of a view times the views, where all cost the same; else of what was counted."""
    pixels = protocol.views
    if isinstance(pixels, PixelViews) and pixels.crop_size:
        return f"{_two_digits(gflops)} a window"
    if isinstance(pixels, PixelViews) and pixels.ratios != (1.0,):
        return f"{_two_digits(gflops)} at ratio 1"
    return f"{_two_digits(gflops)} x {protocol.num_views}"


def _two_digits(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _other_score(test: Mapping[str, Any]) -> str:
    """The score rule of a record that was scored again by another one than its test."""
    told, score = origins(test), test["protocol"]["score"]
    return f", {score}" if told and told[-1]["score"] != score else ""


def _part_of_a_test(test: Mapping[str, Any]) -> str:
    """What a record that was scored again has left of its test: not to be taken for figures of all of it."""
    told, among = origins(test), test["among_classes"]
    if not told:
        return f", {among['classes']} of {among['of']} classes" if among else ""
    videos, classes = len(test["videos"]), len(test["class_names"])
    part = f" of {told[-1]['videos']}" if videos < told[-1]["videos"] else ""
    if classes < told[-1]["classes"]:
        part += f", {classes} of {told[-1]['classes']} classes"
    return part


def _figure(test: Mapping[str, Any], key: str) -> str:
    if not _has(test, key):
        return _NOTHING
    figure = test["summary"][key]
    figure = figure if isinstance(figure, Mapping) else {"value": figure}
    if figure["value"] is None:
        return _NOTHING
    interval = ""
    if figure.get("low") is not None:
        interval = f" ({100 * figure['low']:.1f}-{100 * figure['high']:.1f})"
    return f"{100 * figure['value']:.1f}{interval}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
