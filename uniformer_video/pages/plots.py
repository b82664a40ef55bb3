"""Pictures of the report page, as markup or data URIs that need nothing beside the page.

Colours are CSS variables of the page (`--muted`, `--line`, `--accent`, `--warm`), so that one
drawing suits its light and its dark theme.
"""

import base64
import importlib
import io
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from uniformer_video.errors import MissingLibraryError
from uniformer_video.program import install

# matplotlib wants real colours: these stand for the page's variables and are replaced in the SVG.
STAND_INS = {
    "#010203": "rgb(var(--accent))",
    "#010204": "rgb(var(--warm))",
    "#010205": "var(--muted)",
    "#010206": "var(--line)",
}
ACCENT, WARM, MUTED, LINE = STAND_INS

# Mid tones for the one picture that is made of pixels and cannot follow the theme.
RIGHT_RGB, WRONG_RGB = (74, 131, 226), (222, 118, 52)
HEAT_MAP_SIDE = 800

_CHART_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}
_LOG_FROM = 8  # the dearest so many times the cheapest: the scale of costs is logarithmic

Points = Sequence[tuple[float, float]]  # (epoch or iteration, value)


def report_library(name: str) -> Any:
    """The module `name`, which comes with the "report" extra; `MissingLibraryError` if it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingLibraryError(
            f"the report page needs {name.split('.')[0]}, which cannot be imported; "
            f"run: {install('report')}"
        ) from error


def line_chart(
    label: str,
    train: Points,
    val: Points,
    averages: Sequence[Points] = (),
    percent: bool = False,
    unit: str = "epoch",
) -> str:
    """Inline SVG of a quantity over epochs, or another `unit`: `train` and `val` are lists of (epoch, value).

    `averages` are those of validations of averaged weights, dashed; `label` is what a screen reader says;
    `percent` shows fractions as percentages.
    """

    def draw(axes: Any) -> None:
        _draw_line(axes, train, ACCENT, marked=len(train) == 1)
        _draw_line(axes, val, WARM, marked=len(val) <= 60)
        for points in averages:
            _draw_line(axes, points, WARM, marked=len(points) == 1, style="--")
        _dress(axes, percent)
        axes.set_xlabel(unit, color=MUTED)

    return _chart(label, draw)


def reliability_chart(bins: Sequence[Mapping[str, Any]]) -> str:
    """Inline SVG of the share of right answers over confidence, of the `reliability` of an analysis."""

    def draw(axes: Any) -> None:
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1.2, linestyle="--")
        for each in bins:
            place, right = each["confidence"], each["accuracy"]
            axes.plot((place, place), (right["low"], right["high"]), color=ACCENT, linewidth=1)
        points = [(each["confidence"], each["accuracy"]["value"]) for each in bins]
        _draw_line(axes, points, ACCENT, marked=True)
        _dress_shares(axes, "confidence")
        axes.set_ylim(0, 1)

    return _chart("Share of right answers over confidence", draw, (4.4, 3.0))


def risk_chart(points: Sequence[Mapping[str, Any]], risk: float, noun: str = "video") -> str:
    """Inline SVG of the share of wrong answers over the share that is accepted; risk: where all are.

    noun: what is answered.
    """

    def draw(axes: Any) -> None:
        shown = [(point["coverage"], point["risk"]) for point in points]
        _draw_line(axes, shown, WARM, marked=True)
        _dress_shares(axes, f"share of {noun}s accepted, surest first")
        highest = max(risk, *(value for _, value in shown))
        axes.set_ylim(0, min(1.0, 1.15 * highest) or 1.0)

    return _chart(f"Share of wrong answers over the share of {noun}s accepted", draw, (4.4, 3.0))


def _chart(label: str, draw: Callable[[Any], None], size: tuple[float, float] = (3.6, 2.3)) -> str:
    """Inline SVG of what `draw` puts on axes; `label` is what a screen reader says, size in inches."""
    matplotlib = report_library("matplotlib")
    figure_module = report_library("matplotlib.figure")
    with matplotlib.rc_context({**_CHART_STYLE, "svg.hashsalt": label}):
        figure = figure_module.Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        return _drawn(figure, label)


def _drawn(figure: Any, label: str) -> str:
    """A figure as inline SVG; `label` is what a screen reader says."""
    drawing = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(drawing, format="svg", transparent=True, metadata=nothing)
    return _inline(drawing.getvalue(), label)


def scatter_chart(label: str, series: Mapping[str, Points], ringed: Points, x_label: str) -> str:
    """Inline SVG of shares over a cost: named series of (cost, share), with rings about some points.

    Series differ in marks and colours; a legend names them where they are several.
    """
    matplotlib = report_library("matplotlib")
    figure_module = report_library("matplotlib.figure")
    with matplotlib.rc_context({**_CHART_STYLE, "svg.hashsalt": label}):
        figure = figure_module.Figure(figsize=(4.8, 2.7), layout="constrained")
        axes = figure.add_subplot()
        looks = itertools.cycle([(ACCENT, "o"), (WARM, "s"), (MUTED, "^")])
        for (name, points), (colour, mark) in zip(series.items(), looks, strict=False):
            look = {"color": colour, "marker": mark, "markersize": 5}
            axes.plot(*zip(*points, strict=True), label=name, clip_on=False, **look)
        for point in ringed:
            ring = {"markersize": 13, "markerfacecolor": "none", "clip_on": False}
            axes.plot(*point, "o", color=MUTED, **ring)
        _dress(axes, percent=True)
        axes.xaxis.set_major_locator(report_library("matplotlib.ticker").MaxNLocator(8))
        costs, shares = zip(*itertools.chain(*series.values()), strict=True)
        axes.set_xlim(0, 1.05 * max(costs) or 1)
        room = max(0.01, 0.15 * (max(shares) - min(shares)))
        axes.set_ylim(max(0, min(shares) - room), min(1, max(shares) + room))
        axes.set_xlabel(x_label, color=MUTED)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=3, frameon=False, labelcolor=MUTED)
        return _drawn(figure, label)


def strength_chart(
    label: str, strengths: Sequence[str], figures: Sequence[Mapping[str, Any]], unchanged: float
) -> str:
    """Inline SVG of figures ("value", "low", "high", shares) by strength, beside the unchanged one, dashed.

    label: what a screen reader says. strengths: how each is called, from left to right.
    """
    matplotlib = report_library("matplotlib")
    figure_module = report_library("matplotlib.figure")
    with matplotlib.rc_context({**_CHART_STYLE, "svg.hashsalt": label}):
        figure = figure_module.Figure(figsize=(3.6, 2.0), layout="constrained")
        axes = figure.add_subplot()
        for place, one in enumerate(figures):
            if one["low"] is not None:
                axes.plot([place, place], [one["low"], one["high"]], color=MUTED, linewidth=1.4)
        _draw_line(axes, [(x, one["value"]) for x, one in enumerate(figures)], ACCENT, marked=True)
        axes.axhline(unchanged, color=WARM, linestyle="--", linewidth=1.4)
        _dress(axes, percent=True)
        axes.set_xlabel("")
        axes.set_ylim(0, 1)
        axes.set_xticks(range(len(strengths)), strengths)
        axes.margins(x=0.08)  # the first name is clear of the names of the other axis
        return _drawn(figure, label)


def rate_chart(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    marks: Mapping[str, float],
) -> str:
    """An SVG file of the losses of steps over their learning rates, with `marks` {name: learning rate}."""
    matplotlib = report_library("matplotlib")
    figure_module = report_library("matplotlib.figure")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rates"}):
        figure = figure_module.Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(rates, losses, color="0.75", linewidth=1, label="loss of a step")
        axes.plot(rates, smoothed, linewidth=2, label="smoothed")
        for number, (name, rate) in enumerate(marks.items(), start=1):
            axes.axvline(rate, color=f"C{number}", linestyle="--", label=f"{name}: {rate:.2g}")
        axes.set_xscale("log")
        low, high = min(smoothed), max(smoothed[0], *losses[: len(losses) // 2 + 1])
        margin = 0.1 * (high - low) or 0.1
        axes.set_ylim(
            min(losses) - margin, high + 4 * margin
        )  # a loss that diverges hides all else
        axes.set_xlabel("learning rate (SOLVER.BASE_LR)")
        axes.set_ylabel("loss")
        axes.legend()
        drawing = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(drawing, format="svg", metadata=nothing)
    return drawing.getvalue()


class CostPoint(NamedTuple):
    """A point of `cost_chart`: 1e9 multiply-adds, a share with its interval (None without), a name.

    joint: whether it is an ensemble.
    """

    gflops: float
    value: float
    low: float | None
    high: float | None
    name: str
    joint: bool


def cost_chart(points: Sequence[CostPoint], title: str, one: str = "a video") -> str:
    """Inline SVG of a figure, called `title`, over the multiply-adds of `one`; squares are ensembles."""
    matplotlib = report_library("matplotlib")
    figure_module = report_library("matplotlib.figure")
    costs = [point.gflops for point in points]
    with matplotlib.rc_context({**_CHART_STYLE, "svg.hashsalt": title}):
        figure = figure_module.Figure(figsize=(7.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for point in points:
            look = (
                {"color": WARM, "marker": "s"} if point.joint else {"color": ACCENT, "marker": "o"}
            )
            if point.low is not None and point.high is not None:
                ends = [point.low, point.high]
                axes.plot([point.gflops] * 2, ends, color=look["color"], linewidth=1)
            axes.plot(point.gflops, point.value, markersize=5, clip_on=False, **look)
            place = {"xytext": (6, 4), "textcoords": "offset points"}
            axes.annotate(point.name, (point.gflops, point.value), color=MUTED, **place)
        if min(costs) > 0 and max(costs) > _LOG_FROM * min(costs):
            axes.set_xscale("log")
        _dress(axes, percent=True, over_epochs=False)
        axes.xaxis.set_minor_formatter(lambda v, _: "")
        axes.xaxis.set_major_locator(_cost_ticks(axes))
        axes.margins(x=0.1, y=0.1)
        axes.set_ylim(top=min(1, axes.get_ylim()[1]))
        axes.set_xlabel(f"GFLOPs (multiply-adds) of {one}", color=MUTED)
        return _drawn(figure, f"{title} against the multiply-adds of {one}")


def _cost_ticks(axes: Any) -> Any:
    ticker = report_library("matplotlib.ticker")
    is_log = axes.get_xscale() == "log"
    return ticker.LogLocator(subs=(1, 2, 5)) if is_log else ticker.MaxNLocator(6)


def _draw_line(axes: Any, points: Points, colour: str, marked: bool, style: str = "-") -> None:
    if points:
        epochs, values = zip(*points, strict=True)
        marker = {"marker": "o", "markersize": 3.5} if marked else {}
        axes.plot(
            epochs, values, color=colour, linewidth=1.6, linestyle=style, clip_on=False, **marker
        )


def _dress(axes: Any, percent: bool, over_epochs: bool = True) -> None:
    ticker = report_library("matplotlib.ticker")
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%" if percent else f"{v:.4g}")
    axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    axes.margins(x=0.02, y=0.06)
    first, last = axes.get_xlim()
    if over_epochs and last - first < 1:  # one epoch: no fractions of it around it
        axes.set_xlim(first - 0.5, last + 0.5)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(length=0, labelcolor=MUTED)
    axes.set_xlabel("epoch", color=MUTED)


def _dress_shares(axes: Any, across: str) -> None:
    """The axes of one share over another."""
    _dress(axes, percent=True)
    axes.xaxis.set_major_locator(report_library("matplotlib.ticker").MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%")
    axes.set_xlim(0, 1)
    axes.set_xlabel(across, color=MUTED)


def _inline(svg: str, label: str) -> str:
    """matplotlib's SVG file as an element of the page: theme colours, fluid width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    numbered = r' id="[\w.]+_\d+"'  # figure_1, axes_1: the same in every chart of the page
    svg = re.sub(numbered, "", svg)
    size = re.compile(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', flags=re.DOTALL)
    svg = size.sub(rf'<svg class="plot" \1 role="img" aria-label="{label}">', svg, count=1)
    for stand_in, colour in STAND_INS.items():
        svg = svg.replace(stand_in, colour)
    return svg


def heat_map(confusion: Iterable[Sequence[int]], num_classes: int, least_share: float = 0.0) -> str:
    """A PNG data URI of sparse `[true, predicted, count]` rows: row true, column predicted.

    least_share: cells below that share of their row are not drawn.

    Opacity grows with the square root of a cell's share of its row, and with very many classes a
    wrong cell is drawn a little larger than it is, so that rare mistakes can be seen.
    """
    image = report_library("PIL.Image")
    return data_uri(
        image.fromarray(_heat_map(confusion, num_classes, least_share)), "png", optimize=True
    )


def heat_map_on_white(confusion: Iterable[Sequence[int]], num_classes: int) -> np.ndarray:
    """The same picture without transparency, uint8 `[side, side, 3]`."""
    pixels = _heat_map(confusion, num_classes)
    opacity = pixels[..., 3:] / 255
    return np.round(opacity * pixels[..., :3] + (1 - opacity) * 255).astype(np.uint8)


def _heat_map(
    confusion: Iterable[Sequence[int]], num_classes: int, least_share: float = 0.0
) -> np.ndarray:
    """uint8 `[side, side, 4]`, of which the last is the opacity."""
    counts = np.zeros((num_classes, num_classes))
    for true, predicted, count in confusion:
        counts[true, predicted] = count
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    share[share < least_share] = 0
    opacity = np.where(share > 0, 0.2 + 0.8 * np.sqrt(share), 0)
    diagonal = np.arange(num_classes)
    right = opacity[diagonal, diagonal]
    opacity[diagonal, diagonal] = 0
    opacity = _thicken(opacity, num_classes // 250)
    opacity[diagonal, diagonal] = right
    pixels = np.empty((num_classes, num_classes, 4), dtype=np.uint8)
    pixels[..., :3] = WRONG_RGB
    pixels[diagonal, diagonal, :3] = RIGHT_RGB
    pixels[..., 3] = np.round(255 * opacity)
    zoom = -(-HEAT_MAP_SIDE // num_classes)
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _thicken(cells: np.ndarray, radius: int) -> np.ndarray:
    """`[K, K]` -> `[K, K]`: each cell takes the largest value within `radius` rows and columns."""
    padded = np.pad(cells, radius)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    return windows.max(axis=(2, 3))


def data_uri(picture: Any, kind: str, **options: Any) -> str:
    """A Pillow image as a data URI of a file of that kind, "png" or "jpeg"."""
    data = io.BytesIO()
    picture.save(data, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
