"""The page and the picture of a timeline: segments, the classes over time, frames along the axis."""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.files import atomic_write
from uniformer_video.pages.plots import report_library
from uniformer_video.pages.report import page_environment
from uniformer_video.words import plural

PAGE_FILE = "timeline.html"
PICTURE_FILE = "timeline.png"
# Of the classes that are shown longest; on white. The page has the same by numbers, for two themes.
COLOURS = (
    "#2b67d6",
    "#b04a10",
    "#1f7a4d",
    "#8a3fb0",
    "#8a6100",
    "#0f7480",
    "#b8326a",
    "#5c6b1e",
)
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (6, 3),
    (2, 2),
    (8, 3, 2, 3),
    (12, 4),
    (4, 4),
    (3, 6),
    (10, 2, 2, 2),
)
OTHER = "#7a8594"
MAX_ROWS = 500  # segments on the page
MAX_POINTS = 1200  # of a curve
FRAMES_ON_AXIS = 16
FRAMES_OF_SEGMENT = 4
_TICKS = 8  # at most


def moment(seconds: float, digits: int = 1) -> str:
    """75.25 -> "1:15.2"; from an hour on "1:01:15.2"."""
    ticks = round(seconds * 10**digits)
    whole, rest = divmod(ticks, 10**digits)
    text = f"{whole // 60 % 60}:{whole % 60:02d}" + (f".{rest:0{digits}d}" if digits else "")
    if whole < 3600:
        return text
    return f"{whole // 3600}:{text if whole // 60 % 60 > 9 else f'0{text}'}"


def write_timeline_page(
    folder: Path,
    record: Mapping[str, Any],
    values: np.ndarray,
    middles: np.ndarray,
    pictures: tuple[np.ndarray, Sequence[bytes]],
) -> Path:
    """Write `timeline.html`; its path.

    record: what `timeline.json` holds. values: smoothed probabilities `[N, K]`, NaN where nothing was read;
    middles: of the windows, seconds `[N]`. pictures: times in seconds, and JPEG files.
    """
    view = _View(record, values)
    classes = [
        {
            "name": record["class_names"][label],
            "colour": place,
            "dash": " ".join(f"{length:g}" for length in DASHES[place]),
            "lines": _lines(view, middles, values[:, label]),
        }
        for place, label in enumerate(view.classes)
    ]
    segments = [view.bar(s, i) for i, s in enumerate(record["segments"], start=1)]
    for segment in segments[:MAX_ROWS]:
        segment["frames"] = _frames_between(pictures, segment["start"], segment["end"])
    page = (
        page_environment()
        .get_template("timeline.html.j2")
        .render(
            record=record,
            scores=record["scores"],
            title=Path(record["video"]).name or record["video"],
            classes=classes,
            others=view.has_others,
            segments=segments,
            rows=segments[:MAX_ROWS],
            truth=[view.bar(s, 0) for s in record["truth"] or ()],
            has_truth=record["truth"] is not None,
            axis=_axis_pictures(pictures, record, segments),
            ticks=[(view.x(t) / 10, moment(t, 0 if view.step >= 1 else 1)) for t in view.ticks()],
            enter=100 * (1 - record["smoothing"]["enter"]),
            seconds=record["end"] - record["start"],
            labelled=_share_with_class(record),
            moment=moment,
            points_of_curve=-(-len(middles) // MAX_POINTS),
            facts=_facts(record),
        )
    )
    path = folder / PAGE_FILE
    with atomic_write(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # undecodable file names
    return path


class _View:
    """Where times and classes are on a page or a picture."""

    def __init__(self, record: Mapping[str, Any], values: np.ndarray) -> None:
        self.record = record
        self.start, self.end = record["start"], record["end"]
        self.classes = _top_classes(record, values)
        shown = {s["class"] for s in [*record["segments"], *(record["truth"] or ())]}
        self.has_others = bool(shown - set(self.classes))
        steps = [s * 10**e for e in range(-2, 5) for s in (1, 2, 5)]
        steps = sorted([*steps, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200])
        length = self.end - self.start
        self.step = next((s for s in steps if length / s <= _TICKS), length)

    def x(self, seconds: float) -> float:
        """0 at the start, 1000 at the end."""
        return round(1000 * (seconds - self.start) / (self.end - self.start), 2)

    def ticks(self) -> list[float]:
        first = math.ceil(self.start / self.step - 1e-9)
        last = math.floor(self.end / self.step + 1e-9)
        return [number * self.step for number in range(first, last + 1)]

    def colour(self, label: int) -> int:
        """The place of a class among those with a colour; -1 for another."""
        return self.classes.index(label) if label in self.classes else -1

    def bar(self, segment: Mapping[str, Any], number: int) -> dict[str, Any]:
        left, right = self.x(segment["start"]), self.x(segment["end"])
        return {
            **segment,
            "number": number,
            "x": left,
            "width": max(round(right - left, 2), 0.5),
            "colour": self.colour(segment["class"]),
            "frames": [],
        }


def _top_classes(record: Mapping[str, Any], values: np.ndarray) -> list[int]:
    """The classes that are shown longest; with few of them, the most probable of the others."""
    seconds = np.zeros(values.shape[1])
    for segment in [*record["segments"], *(record["truth"] or ())]:
        seconds[segment["class"]] += segment["end"] - segment["start"]
    means = np.nan_to_num(np.nanmean(values, axis=0)) if len(values) else seconds
    order = np.lexsort((-means, -seconds))[: len(COLOURS)]
    return [int(label) for label in order if seconds[label] or means[label] >= 0.05]


def _lines(view: _View, middles: np.ndarray, values: np.ndarray) -> list[str]:
    """The points of a curve, one text for each stretch without a gap; many are averaged, some at a time."""
    size = -(-len(values) // MAX_POINTS) or 1
    lines, points = [], []
    for place in range(0, len(values), size):
        own = values[place : place + size]
        good = ~np.isnan(own)
        if good.any():
            x = view.x(float(middles[place : place + size][good].mean()))
            points.append(f"{x:.1f},{100 * (1 - own[good].mean()):.1f}")
        if points and (not good.any() or place + size >= len(values)):
            lines.append(" ".join(points))
            points = []
    return lines


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _frames_between(
    pictures: tuple[np.ndarray, Sequence[bytes]], start: float, end: float
) -> list[tuple[float, str]]:
    """(seconds, data URI) of some frames of a segment; of a short one, of the nearest that is kept."""
    times, jpegs = pictures
    if not len(times):
        return []
    inside = np.flatnonzero((times >= start - 5e-4) & (times < end))
    if not len(inside):
        inside = np.array([np.abs(times - (start + end) / 2).argmin()])
    spread = np.linspace(0, len(inside) - 1, min(FRAMES_OF_SEGMENT, len(inside)))
    return [
        (float(times[i]), _uri(jpegs[i])) for i in inside[np.unique(spread.round().astype(int))]
    ]


def _axis_pictures(
    pictures: tuple[np.ndarray, Sequence[bytes]],
    record: Mapping[str, Any],
    segments: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Frames along the axis, each with the number of the segment that it is of; 0 for none on the page."""
    times, jpegs = pictures
    moments = (
        record["start"]
        + (np.arange(FRAMES_ON_AXIS) + 0.5) * (record["end"] - record["start"]) / FRAMES_ON_AXIS
    )
    found = []
    for wanted in moments.tolist():
        if not len(times):
            break
        i = int(np.abs(times - wanted).argmin())
        own = [s["number"] for s in segments[:MAX_ROWS] if s["start"] <= times[i] < s["end"]]
        found.append({"time": float(times[i]), "src": _uri(jpegs[i]), "segment": (own or [0])[0]})
    return found


def _share_with_class(record: Mapping[str, Any]) -> float:
    """The share of the time in which some class is true."""
    seconds, latest = 0.0, record["start"]
    for segment in sorted(record["segments"], key=lambda s: s["start"]):
        seconds += max(0.0, segment["end"] - max(latest, segment["start"]))
        latest = max(latest, segment["end"])
    return seconds / ((record["end"] - record["start"]) or 1)


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    smoothing, sampling = record["smoothing"], record["protocol"]
    weight = smoothing["weight"]
    facts = [
        ("Video", record["video"]),
        ("Part", f"{moment(record['start'])} to {moment(record['end'])}"),
        ("Model", record["model"]),
        ("Checkpoint", record["checkpoint"]),
        (
            "Windows",
            f"{plural(record['windows'], 'window')} of {record['window']:g} s, "
            f"one every {record['stride']:g} s",
        ),
        (
            "Views of a window",
            f"{sampling['num_clips']} x {sampling['num_crops']} of {sampling['num_frames']} frames, "
            f"averaged as {sampling['score']}",
        ),
        ("Smoothing", "none" if weight == 1 else f"exponential mean, weight {weight:g}"),
        ("A class begins at", f"{smoothing['enter']:.1%}"),
        ("and ends below", f"{smoothing['leave']:.1%}"),
    ]
    if record["temperature"] is not None:
        facts.append(("Calibration", f"temperature {record['temperature']:.4g}"))
    if record["threshold"] is not None:
        facts.append(('"None of these"', f"windows below {record['threshold']:.1%}"))
    return facts


def write_timeline_picture(
    folder: Path, record: Mapping[str, Any], values: np.ndarray, middles: np.ndarray
) -> Path:
    """Write `timeline.png`, the curves and the segments, those that are known above the predicted ones."""
    matplotlib = report_library("matplotlib")
    figure_module = report_library("matplotlib.figure")
    view = _View(record, values)
    rows = [("predicted", record["segments"])]
    if record["truth"] is not None:
        rows.insert(0, ("known", record["truth"]))
    with matplotlib.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = figure_module.Figure(figsize=(12, 4.2), layout="constrained", dpi=120)
        heights = [0.35 * len(rows), 2]
        bars, curves = figure.subplots(2, 1, sharex=True, height_ratios=heights)
        for place, (_, segments) in enumerate(reversed(rows)):
            for s in segments:
                colour = view.colour(s["class"])
                bars.broken_barh(
                    [(s["start"], s["end"] - s["start"])],
                    (place - 0.4, 0.8),
                    facecolor=COLOURS[colour] if colour >= 0 else OTHER,
                    edgecolor="white",
                    linewidth=0.5,
                )
        bars.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
        bars.tick_params(length=0)
        for place, label in enumerate(view.classes):
            dash = (0, DASHES[place]) if DASHES[place] else "-"
            name = _plain(record["class_names"][label])
            curves.plot(middles, values[:, label], color=COLOURS[place], linestyle=dash, label=name)
        curves.axhline(record["smoothing"]["enter"], color=OTHER, linewidth=0.8, linestyle=":")
        curves.set_xlim(view.start, view.end)
        curves.set_ylim(0, 1)
        curves.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%")
        curves.xaxis.set_major_formatter(lambda v, _: moment(v, 0 if view.step >= 1 else 1))
        curves.set_xticks(view.ticks())
        figure.legend(loc="outside lower center", ncols=8, frameon=False)
        path = folder / PICTURE_FILE
        with atomic_write(path) as file:
            figure.savefig(file, format="png", metadata={"Software": None})
    return path


def _plain(name: str) -> str:
    """A name in which nothing is a formula, and which a legend does not leave out."""
    return name.replace("$", r"\$").lstrip("_") or "_"
