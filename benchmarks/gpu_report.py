"""The results of `gpu_model.py` and `gpu_sweep.py`: plain data, and tables, written after every section."""

import json
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from gpu_measure import LATE

from uniformer_video.files import atomic_write

# (title, key, format) of each table's columns.
_WAY = [("layout", "layout", "{}"), ("way", "way", "{}"), ("precision", "precision", "{}")]
_SHAPE = [("kernel", "kernel", "{}"), ("frames", "frames", "{}"), ("batch", "batch", "{}")]
_NOTE = [("note", "note", "{}")]
COLUMNS = {
    "parity": [
        ("model", "model", "{}"),
        ("precision", "precision", "{}"),
        ("mode", "mode", "{}"),
        ("relative L2 error", "error", "{:.1e}"),
        ("top-1 agrees", "top1_agrees", "{}"),
        *_NOTE,
    ],
    "matmul": [
        ("precision", "precision", "{}"),
        ("size", "size", "{}"),
        ("TFLOP/s", "tflops", "{:.3g}"),
        *_NOTE,
    ],
    "depthwise": [
        *_SHAPE,
        *_WAY,
        ("forward ms", "forward_ms", "{:.2f}"),
        ("depthwise share", "forward_share", "{:.0%}"),
        ("backward ms", "backward_ms", "{:.2f}"),
        ("depthwise share", "backward_share", "{:.0%}"),
        ("share of both", "share", "{:.0%}"),
        *((f"of it stage {n}", f"stage{n}_of_depthwise", "{:.0%}") for n in range(1, 5)),
        *_NOTE,
    ],
    "times": [
        ("work", "work", "{}"),
        *_SHAPE,
        *_WAY,
        ("ms", "ms", "{:.2f}"),
        ("clips/s", "clips_per_s", "{:.1f}"),
        ("peak GB", "peak_gb", "{:.2f}"),
        ("TFLOP/s", "tflops", "{:.3g}"),
        ("of matmul", "share_of_matmul", "{:.1%}"),
        ("compile s", "compile_s", "{:.1f}"),
        *_NOTE,
    ],
    "models": [
        ("model", "model", "{}"),
        ("work", "work", "{}"),
        ("frames", "frames", "{}"),
        ("size", "size", "{}"),
        ("batch", "batch", "{}"),
        ("way", "form", "{}"),
        ("ms", "ms", "{:.2f}"),
        ("clips/s", "clips_per_s", "{:.1f}"),
        ("peak GB", "peak_gb", "{:.2f}"),
        ("TFLOP/s", "tflops", "{:.3g}"),
        ("of matmul", "share_of_matmul", "{:.1%}"),
        *_NOTE,
    ],
    "longest": [
        ("model", "model", "{}"),
        ("work", "work", "{}"),
        ("frames", "frames", "{}"),
        ("seconds", "seconds", "{:.2f}"),
        ("peak GB", "peak_gb", "{:.1f}"),
        *_NOTE,
    ],
}
CAPTIONS = {
    "parity": "Error against the published float64 logits. `cast`: weights and clip in that type.",
    "matmul": "The device's own rate, square matrices of normal numbers.",
    "depthwise": (
        "Kernel time of the depthwise convolutions in a training step's two passes, in eager mode."
    ),
    "times": (
        "Medians. `plain` is `naive_uniformer.py` with the same weights; `train` is forward, loss, "
        "backward and AdamW; peak memory is without the clip; TFLOP/s counts two operations a "
        "multiply-add and three forward passes a training step; `of matmul` compares them with the "
        "matrix products of that precision."
    ),
    "models": (
        "bfloat16 autocast, medians. `graph`: the forward pass replayed as one CUDA graph, so that "
        "the host launches once; `folded`: BatchNorm folded by `for_inference`; TFLOP/s as above."
    ),
    "longest": "One clip of more and more frames, bfloat16, until the memory is not enough.",
}
OF_THE_MODEL = ("parity", "matmul", "depthwise", "times")
OF_THE_SWEEP = ("matmul", "models", "longest")


class Report:
    """The results so far, on the screen and in a folder."""

    def __init__(self, folder, scope, device, minutes, sections=OF_THE_MODEL):
        self.folder, self.start, self.minutes = Path(folder), time.monotonic(), minutes
        self.data = {"format": 1, "complete": False, "machine": machine(device)}
        self.data |= {"scope": asdict(scope), "minutes": minutes, "seconds": 0.0}
        self.sections = sections
        self.data |= {section: [] for section in sections}
        self.folder.mkdir(parents=True, exist_ok=True)

    def out_of_time(self):
        return time.monotonic() - self.start > 60 * self.minutes

    def add(self, section, rows):
        """Print rows as a table, keep them, and write both files."""
        self.data[section] += rows
        print(f"[{time.monotonic() - self.start:.0f} s] {section}\n{table(section, rows)}\n")
        sys.stdout.flush()
        self.write()

    def finish(self, interrupted):
        """Both files once more; complete is a run that left out nothing for want of time."""
        rows = [row for section in self.sections for row in self.data[section]]
        late = any(row.get("note") == LATE for row in rows)
        self.data["complete"] = not (interrupted or late)
        self.write()

    def write(self):
        self.data["seconds"] = round(time.monotonic() - self.start, 1)
        with atomic_write(self.folder / "results.json") as file:
            file.write(json.dumps(self.data, indent=1).encode())
        with atomic_write(self.folder / "results.md") as file:
            file.write(markdown(self.data).encode())


def table(section, rows):
    """Markdown of `rows`; columns that are empty in all of them are left out."""
    rows = [{**row, "way": _way(row)} for row in rows]
    columns = [c for c in COLUMNS[section] if any(row.get(c[1]) not in (None, "") for row in rows)]
    lines = [
        "| " + " | ".join(title for title, _, _ in columns) + " |",
        "|---" * len(columns) + "|",
    ]
    for row in rows:
        cells = [_cell(row.get(key), form) for _, key, form in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value, form):
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        return "x".join(str(side) for side in value)
    return form.format(value).replace("|", "/")


def _way(row):
    """How a row differs from an eager run on a contiguous clip, in words."""
    words = {"compiled": "compiled", "channels_last_input": "channels_last_3d clip"}
    return ", ".join(text for key, text in words.items() if row.get(key)) or "eager"


def markdown(data):
    """`results.md` as a function of the results."""
    facts = ", ".join(f"{key} {value}" for key, value in data["machine"].items() if value)
    state = "complete" if data["complete"] else "not complete"
    lines = ["# UniFormer on one device", "", f"{facts}; {data['seconds']:.0f} s, {state}."]
    for section, caption in CAPTIONS.items():
        if section not in data:
            continue
        lines += ["", f"## {section.capitalize()}", "", caption, ""]
        lines.append(table(section, data[section]) if data[section] else "Nothing was measured.")
    return "\n".join(lines) + "\n"


def machine(device):
    """What was measured on, as plain data."""
    facts = {"device": platform.processor() or platform.machine(), "driver": None}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        facts = {"device": card.name, "memory_gb": round(card.total_memory / 1e9, 1)}
        facts |= {"driver": _driver(), "cuda": torch.version.cuda}
        facts["cudnn"] = torch.backends.cudnn.version()
        facts["cudnn search"] = "on" if torch.backends.cudnn.benchmark else "off"
    return {**facts, "torch": torch.__version__, "python": platform.python_version()}


def _driver():
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.split("\n")[0].strip()
