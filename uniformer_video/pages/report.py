"""The report page: one self-contained HTML file made from the data in a results folder."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from uniformer_video.config.setting import value_in_words
from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.lists.media import IMAGE, VIDEO, noun_of
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import DataError
from uniformer_video.evaluation.analyses.registry import ANALYSES
from uniformer_video.evaluation.parts import Figure, RecordingTask, difference_text
from uniformer_video.evaluation.strips import Strips
from uniformer_video.files import METRICS_FILE, atomic_write
from uniformer_video.pages.page_data import chosen_strips, json_block, video_rows
from uniformer_video.pages.parts import MAX_MISTAKES
from uniformer_video.pages.plots import (
    line_chart,
    reliability_chart,
    report_library,
    risk_chart,
)
from uniformer_video.pages.sections import build_sections
from uniformer_video.pages.variants import motion_section, robustness_section
from uniformer_video.pages.view_charts import views_chart
from uniformer_video.words import article, duration, plural

REPORT_FILE = "report.html"
MINUS = "\N{MINUS SIGN}"
SCRIPT = Path(__file__).with_name("script.js")
TIMES = "\N{MULTIPLICATION SIGN}"


def write_report(
    folder: Path | str,
    results: dict[str, Any],
    task: RecordingTask,
    heat: Mapping[str, Any] | None = None,
) -> Path:
    """Write `folder/report.html` from a results record, and `strips.npz` and `metrics.jsonl`, where these are
    there; its path.

    task: that of the results; its template extends "report.html.j2", and is found by its path. Both
    templates get the same variables: those below and what the task's `page` gives. heat: what spoke for the
    mistakes, as `explain/mistakes.py` gives it, if that is to be shown.

    Raises `MissingLibraryError` if a library is missing.
    """
    jinja2 = report_library("jinja2")
    folder = Path(folder)
    environment = page_environment(task.template.parent, noun=noun_of(results))
    strips = Strips.load(folder, len(results["videos"]))
    try:
        page = environment.get_template(task.template.name).render(
            results=results,
            summary=results["summary"],
            model=results["model"],
            names=results["class_names"],
            weights=weights_line(results["model"]),
            protocol=protocol_line(Protocol.from_dict(results["protocol"]), results["playback"]),
            curves=_curves(read_metrics(folder / METRICS_FILE), task.figures, _counted(results)),
            motion=motion_section(results),
            robustness=robustness_section(results),
            analyses=[name for name in ANALYSES if name in results["analyses"]],
            sections=build_sections(results, folder),
            heat=heat,
            **_scripted(folder, results, task, strips),
            **task.page(results, strips),
        )
    except jinja2.UndefinedError as error:
        raise DataError(
            f"the results in {folder} lack what the page shows ({error.message}): they are damaged or of "
            "another version; delete results.json there and run the test again"
        ) from None
    path = folder / REPORT_FILE
    with atomic_write(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # undecodable file names
    return path


@cache  # with the templates that it has compiled, which takes half of the time of a page
def page_environment(*folders: Path, noun: str = VIDEO.name) -> Any:
    """The Jinja environment of a page, whose templates lie in `folders` and here: all values are escaped, and
    an unknown one is an error. Raises `MissingLibraryError` without Jinja.

    noun: "video" or "image", what was tested; templates have it, with its article as `one`, and as `frames`
    the word for its small pictures.
    """
    jinja2 = report_library("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        points=points,
        difference=difference,
        heading=heading,
        duration=partial(duration, digits=1),
        magnitude=magnitude,
        cost=cost_line,
        setting=value_in_words,
    )
    environment.globals.update(
        noun=noun,
        one=article(noun),
        frames="frames" if noun == VIDEO.name else "pictures",
        views_chart=views_chart,
        reliability_chart=reliability_chart,
        risk_chart=risk_chart,
    )
    return environment


def _scripted(
    folder: Path, results: Mapping[str, Any], task: RecordingTask, strips: Strips
) -> dict[str, Any]:
    """What the script of the page needs, and the policy that allows this script alone.

    Media may come from where the page lies: the original of a video, or of an image, that is there, once
    somebody asks for it.
    """
    script = SCRIPT.read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    mistakes = task.mistakes(results)
    shown = [mistake.place for mistake in mistakes[:MAX_MISTAKES]]
    pictures = " 'self' file:" if noun_of(results) == IMAGE.name else ""
    embedded = chosen_strips(mistakes, strips, shown)
    others = {place: uri.partition(",")[2] for place, uri in embedded.items() if place not in shown}
    return {
        "script": script,
        "content_policy": f"default-src 'none'; img-src data:{pictures}; media-src 'self' file:; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "rows_json": video_rows(results, mistakes, folder),
        "strips_json": json_block(others),
        "names_json": json_block(results["class_names"]),
        "confusion_json": json_block(results.get("confusion", [])),
        "embedded": len(embedded),
    }


def read_metrics(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The training log as {"train": records, "val": records}, each in order of epoch and step.

    Where a resumed run logged one again, the later record counts. Other kinds and lines that
    are no JSON object (a write cut short) are passed over; no file means no records.
    """
    records: dict[str, dict[tuple[float, float], dict[str, Any]]] = {"train": {}, "val": {}}
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if not isinstance(record, dict) or not _is_number(record.get("epoch")):
            continue
        if record.get("kind") in records:
            step = record["step"] if _is_number(record.get("step")) else 0
            records[record["kind"]][record["epoch"], step] = record
    return {kind: [found[place] for place in sorted(found)] for kind, found in records.items()}


def protocol_line(protocol: Protocol, playback: str = "forward") -> str:
    """A `Protocol` in words: "4 clips x 1 crop of 8 frames, every 2nd frame at 15 frames a second, 64 px"."""
    sampling, pixels = protocol.sampling, protocol.views
    if isinstance(pixels, PixelViews):
        return pixels.in_words()
    if protocol.medium == IMAGE.name:
        return f"the centre of an image, {_side(pixels)}"
    views = f"{plural(protocol.num_clips, 'clip')} {TIMES} {plural(pixels.num_crops, 'crop')}"
    parts = [f"{views} of {plural(sampling.num_frames, 'frame')}"]
    rate = f" at {sampling.target_fps:g} frames a second" if sampling.target_fps else ""
    if sampling.rule != "dense":
        parts.append(f"{sampling.rule} sampling{rate}")
    elif sampling.frame_stride > 1:
        parts.append(f"every {_ordinal(sampling.frame_stride)} frame{rate}")
    elif rate:
        parts.append(f"every frame{rate}")
    parts.append(_side(pixels))
    if playback != "forward":
        parts.append("played backwards")
    return ", ".join(parts)


def _side(pixels: EvalViews) -> str:
    side = f"{pixels.crop_size} px"
    if pixels.short_side != pixels.crop_size:
        side += f" of a short side of {pixels.short_side} px"
    return side


def weights_line(model: Mapping[str, Any]) -> str:
    """Which weights were tested, from a record's "model": "best.pt, ema weights of epoch 14".

    Of segmentation models also how they attend, which weights do not tell.
    """
    told = f" (attention {model['attention']})" if model.get("attention") else ""
    return f"{_weights_in_words(model)}{told}"


def _weights_in_words(model: Mapping[str, Any]) -> str:
    if not model["checkpoint"]:
        return "weights as initialised"
    file = str(model["checkpoint"]).replace("\\", "/").rpartition("/")[2]
    unit = "epoch" if model.get("iteration") is None else "iteration"
    if model.get(unit) is None:
        return file
    kind = f"{model['weights']} weights" if model.get("weights") else "weights"
    return f"{file}, {kind} of {unit} {model[unit]}"


def cost_line(stretch: Mapping[str, Any]) -> str:
    """A stretch of a training's costs in words: "1.5 GPU-hours: 45 min 00 s on 2 x H100"."""
    took = f"{duration(stretch['seconds'])} on {stretch['hardware']}"
    if not stretch["devices"]:
        return took.replace(" on not recorded", ", on hardware that is not recorded")
    hours = stretch["seconds"] / 3600 * stretch["devices"]
    return f"{hours:.3g} {stretch['unit']}-hours: {took}"


def percent(value: float | None) -> str:
    """0.98123 -> "98.1%"; None -> "n/a"."""
    return "n/a" if value is None else f"{round(100 * value, 1) + 0.0:.1f}%".replace("-", MINUS)


def points(difference: float | None) -> str:
    """-0.0123 -> "-1.2", in percentage points; None -> "n/a"."""
    if difference is None:
        return "n/a"
    return f"{100 * difference:+.1f}".replace("-", MINUS) if round(difference, 3) else "0.0"


def difference(found: Mapping[str, Any]) -> str:
    """`difference_text`, with its numbers as `points`."""
    if found["value"] is None:
        return difference_text(found)
    value = f"{points(found['value'])} points"
    if found["low"] is None:
        return value
    return f"{value} ({points(found['low'])} to {points(found['high'])})"


def heading(short: str) -> str:
    """What people call a figure, at the start of a heading: "top-1" -> "Top-1", "mAP" -> "mAP"."""
    return short if short[1:2].isupper() else short[:1].upper() + short[1:]


def magnitude(count: int) -> str:
    """950 -> "950", 21400 -> "21.4 thousand", 21400000 -> "21.4 million"."""
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if count >= size:
            return f"{count / size:.1f} {word}"
    return str(count)


def _ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _counted(results: Mapping[str, Any]) -> str:
    """What the run counted, by what its record says of the training."""
    return "iteration" if "iterations" in (results["training"] or {}) else "epoch"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _curves(
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    figures: Sequence[Figure],
    unit: str = "epoch",
) -> list[dict[str, Any]]:
    """The training charts that have data: the losses, the task's figures, the learning rate.

    unit: what the run counts, "epoch" or "iteration", to the right.
    """
    across = "step" if unit == "iteration" else "epoch"
    curves = []
    shares = [(figure.key, figure.title, True) for figure in figures]
    losses = [
        ("loss", "Loss", False),
        ("distillation_loss", "Loss from the teacher", False),
        ("token_loss", "Loss of the tokens", False),
    ]
    charts = [*losses, *shares, ("lr", "Learning rate", False)]
    for key, title, is_share in charts:
        train, val = (_points(records[kind], key, across) for kind in ("train", "val"))
        averages = _averages(records["val"], key, across)
        if train or val:
            svg = line_chart(
                f"{title} over {unit}s", train, val, [*averages.values()], is_share, unit
            )
            curve = {"title": title, "svg": svg, "train": bool(train), "val": bool(val)}
            curves.append({**curve, "averages": [*averages]})
    return curves


def _averages(
    validations: Sequence[Mapping[str, Any]], key: str, across: str
) -> dict[str, list[tuple[float, float]]]:
    """{which averaged weights: the points of the `key` that validations measured of them}, as "ema_top1"."""
    measured = (record for record in validations if key in record)
    keys = {name for record in measured for name in record if name.endswith(f"_{key}")}
    return {
        name.removesuffix(f"_{key}"): _points(validations, name, across) for name in sorted(keys)
    }


def _points(
    records: Sequence[Mapping[str, Any]], key: str, across: str
) -> list[tuple[float, float]]:
    return [(r[across], r[key]) for r in records if _is_number(r.get(key)) and across in r]
