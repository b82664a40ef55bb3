"""The report page: one self-contained HTML file made from the data in a results folder."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np

from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import DecodeError
from uniformer_video.evaluation.multi_label import THRESHOLD
from uniformer_video.evaluation.plots import frame_uris, heat_map, line_chart, report_library
from uniformer_video.evaluation.results import is_multi_label, load_results
from uniformer_video.files import METRICS_FILE, atomic_write
from uniformer_video.words import duration, plural

REPORT_FILE = "report.html"
TEMPLATE, MULTI_LABEL_TEMPLATE = "report.html.j2", "report_multi_label.html.j2"
MAX_MISTAKES = 12
MAX_CONFUSIONS = 20
MAX_MISSED = 20
MAX_TABLE_CLASSES = 30  # beyond it the confusion table is a picture
TIMES = "\N{MULTIPLICATION SIGN}"

MOTION_ROWS = (
    ("forward", "Played forward", "right answer: its own class"),
    ("reversed_opposite", "Played backwards", "right answer: the opposite class"),
    ("reversed_original", "Played backwards", "still answered: its own class"),
    ("still", "Middle frame repeated", "right answer: its own class"),
)


def write_report(folder, open_video=None):
    """Write `folder/report.html` from `results.json` (and `metrics.jsonl`, if there); its path.

    `open_video(path)` gives a few frames, uint8 `[T, H, W, 3]` with T about 4, of a mistaken video;
    it is given `start` and `end` too, in seconds, where only a part of the video counts. Where it
    raises `DecodeError` or `OSError` the page says so. Without it, no frames are shown.
    Errors: `DataError` if the results cannot be read, `MissingLibraryError` if a library is missing.
    """
    jinja2 = report_library("jinja2")
    folder = Path(folder)
    results = load_results(folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, duration=partial(duration, digits=1), magnitude=magnitude
    )
    many = is_multi_label(results)
    figure = "average_precision" if many else "accuracy"
    page = environment.get_template(MULTI_LABEL_TEMPLATE if many else TEMPLATE).render(
        results=results,
        summary=results["summary"],
        model=results["model"],
        names=results["class_names"],
        protocol=protocol_line(Protocol.from_dict(results["protocol"]), results["playback"]),
        motion=_motion(results),
        classes=_worst_first(results["per_class"], figure),
        spread=_spread(results["per_class"], figure),
        confusion=None if many else _confusion(results),
        mistakes=(_wrong_labels if many else _mistakes)(results["videos"], open_video),
        missed=_missed(results["videos"]) if many else None,
        threshold=f"{THRESHOLD:.0%}",
        curves=_curves(read_metrics(folder / METRICS_FILE)),
    )
    path = folder / REPORT_FILE
    with atomic_write(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # undecodable file names
    return path


def read_metrics(path):
    """The training log as {"train": records, "val": records}, each in order of epoch.

    Where a resumed run logged an epoch again, the later record counts. Other kinds and lines that
    are no JSON object (a write cut short) are passed over; no file means no records.
    """
    records = {"train": {}, "val": {}}
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if not isinstance(record, dict) or not _is_number(record.get("epoch")):
            continue
        if record.get("kind") in records:
            records[record["kind"]][record["epoch"]] = record
    return {kind: [found[epoch] for epoch in sorted(found)] for kind, found in records.items()}


def protocol_line(protocol, playback="forward"):
    """A `Protocol` in words: "4 clips x 1 crop of 8 frames, every 2nd frame, 64 px"."""
    sampling, pixels = protocol.sampling, protocol.views
    views = f"{plural(protocol.num_clips, 'clip')} {TIMES} {plural(pixels.num_crops, 'crop')}"
    parts = [f"{views} of {plural(sampling.num_frames, 'frame')}"]
    if sampling.rule != "dense":
        parts.append(f"{sampling.rule} sampling")
    elif sampling.frame_stride > 1:
        parts.append(f"every {_ordinal(sampling.frame_stride)} frame")
    side = f"{pixels.crop_size} px"
    if pixels.short_side != pixels.crop_size:
        side += f" of a short side of {pixels.short_side} px"
    parts.append(side)
    if playback != "forward":
        parts.append("played backwards")
    return ", ".join(parts)


def percent(value):
    """0.98123 -> "98.1%"; None -> "n/a"."""
    return "n/a" if value is None else f"{100 * value:.1f}%"


def magnitude(count):
    """950 -> "950", 21400 -> "21.4 thousand", 21400000 -> "21.4 million"."""
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if count >= size:
            return f"{count / size:.1f} {word}"
    return str(count)


def _ordinal(number):
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _is_number(value):
    return isinstance(value, int | float) and math.isfinite(value)


def _motion(results):
    """The bars of the motion section, and pairs of opposite classes, each pair once."""
    motion = results["motion"]
    if motion is None:
        return None
    bars = [{"title": t, "answer": a, "part": motion[key]} for key, t, a in MOTION_ROWS]
    pairs = dict.fromkeys(tuple(sorted(pair)) for pair in motion["opposites"].items())
    return {"bars": bars, "chance": 1 / len(results["class_names"]), "pairs": list(pairs)}


def _worst_first(per_class, figure):
    """Rows by accuracy or another figure, then by more videos; classes without videos last."""

    def key(row):
        absent = row[figure] is None
        return absent, 0 if absent else row[figure], -row["videos"], row["class"]

    return sorted(per_class, key=key)


def _spread(per_class, figure):
    """How many classes fall into each tenth of the figure, as 10 counts; None for few classes."""
    shares = [row[figure] for row in per_class if row[figure] is not None]
    if len(shares) <= MAX_TABLE_CLASSES:
        return None
    return np.histogram(shares, bins=10, range=(0, 1))[0].tolist()


def _confusion(results):
    """A table of cells for few classes; a picture and the most frequent confusions for many."""
    sparse, total = results["confusion"], len(results["class_names"])
    if not sparse:
        return None
    videos = [row["videos"] for row in results["per_class"]]
    if total > MAX_TABLE_CLASSES:
        wrong = sorted((row for row in sparse if row[0] != row[1]), key=lambda row: -row[2])
        frequent = [
            {"true": true, "predicted": predicted, "count": count, "share": count / videos[true]}
            for true, predicted, count in wrong[:MAX_CONFUSIONS]
        ]
        return {"image": heat_map(sparse, total), "frequent": frequent, "table": None}
    table = [[{"count": 0, "share": 0.0} for _ in range(total)] for _ in range(total)]
    for true, predicted, count in sparse:
        table[true][predicted] = {"count": count, "share": count / videos[true]}
    return {"table": table}


def _mistakes(videos, open_video):
    """The mistaken videos with the highest score of the wrong class, and how many there are."""
    wrong = [v for v in videos if v["top5"] and v["top5"][0]["class"] != v["label"]]
    wrong.sort(key=lambda video: -(video["top5"][0]["score"] or 0.0))
    return _shown(wrong, open_video)


def _shown(wrong, open_video):
    shown = [{**video, "frames": _frames(video, open_video)} for video in wrong[:MAX_MISTAKES]]
    return {"shown": shown, "total": len(wrong)}


def _wrong_labels(videos, open_video):
    """The videos whose best-scored wrong class scores highest, each with that class as `wrong`."""
    wrong = []
    for video in videos:
        others = (entry for entry in video["top5"] if entry["class"] not in video["labels"])
        if (best := next(others, None)) and best["score"] is not None:
            own = zip(video["labels"], video["label_scores"], strict=True)
            true = sorted(own, key=lambda pair: -(pair[1] or 0.0))
            wrong.append({**video, "wrong": best, "true": true})
    wrong.sort(key=lambda video: -video["wrong"]["score"])
    return _shown(wrong, open_video)


def _missed(videos):
    """The true labels below the threshold, the lowest-scored first, and how many labels there are."""
    labels = [
        {"class": label, "score": score, "name": video["name"], "path": video["path"]}
        for video in videos
        if video["top5"]
        for label, score in zip(video["labels"], video["label_scores"], strict=True)
    ]
    missed = [entry for entry in labels if entry["score"] is None or entry["score"] < THRESHOLD]
    missed.sort(key=lambda entry: entry["score"] or 0.0)
    return {"shown": missed[:MAX_MISSED], "total": len(missed), "labels": len(labels)}


def _frames(video, open_video):
    """Frame data URIs; empty if the video cannot be opened; None if nobody asked for frames."""
    if open_video is None:
        return None
    try:
        frames = open_video(video["path"], **_segment(video))
    except (DecodeError, OSError):
        return []
    return frame_uris(frames)


def _segment(video):
    return {key: video[key] for key in ("start", "end") if key in video}


def _curves(records):
    """The training charts that have data."""
    curves = []
    for key, title, is_share in (
        ("loss", "Loss", False),
        ("top1", "Top-1 accuracy", True),
        ("map", "Mean average precision", True),
        ("hit1", "Hit@1", True),
        ("lr", "Learning rate", False),
    ):
        train, val = _points(records["train"], key), _points(records["val"], key)
        if train or val:
            svg = line_chart(f"{title} over epochs", train, val, percent=is_share)
            curves.append({"title": title, "svg": svg, "train": bool(train), "val": bool(val)})
    return curves


def _points(records, key):
    return [(r["epoch"], r[key]) for r in records if _is_number(r.get(key))]
