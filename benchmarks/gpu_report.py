"""The results of `gpu_model.py`, `gpu_sweep.py` and `runtimes.py`: plain data, and tables, as they come."""

import csv
import io
import json
import platform
import shlex
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
        ("GB/s", "gb_per_s", "{:.0f}"),
        *_NOTE,
    ],
    "kinds": [
        ("frames", "frames", "{}"),
        ("batch", "batch", "{}"),
        ("layout", "layout", "{}"),
        ("precision", "precision", "{}"),
        ("pass", "pass", "{}"),
        ("kind", "kind", "{}"),
        ("ms", "ms", "{:.2f}"),
        ("of its kernels", "share", "{:.0%}"),
        ("launches", "launches", "{}"),
        ("operators", "operators", "{}"),
        *_NOTE,
    ],
    "layers": [
        ("tokens", "tokens", "{}"),
        ("kernel", "kernel", "{}"),
        ("batch", "batch", "{}"),
        ("precision", "precision", "{}"),
        ("by", "by", "{}"),
        ("forward ms", "forward_ms", "{:.3f}"),
        ("of a copy's rate", "share_of_copy", "{:.0%}"),
        ("forward and backward ms", "both_ms", "{:.3f}"),
        *_NOTE,
    ],
    "loader": [
        ("AUG.ON_DEVICE", "on_device", "{}"),
        ("batch", "batch", "{}"),
        ("workers", "workers", "{}"),
        ("ms a step", "ms", "{:.1f}"),
        ("clips/s", "clips_per_s", "{:.1f}"),
        ("loader alone, clips/s", "loader_clips_per_s", "{:.1f}"),
        ("waiting for data ms", "waiting_ms", "{:.1f}"),
        ("transfer ms", "transfer_ms", "{:.1f}"),
        ("on the device ms", "augment_ms", "{:.1f}"),
        ("forward and backward ms", "model_ms", "{:.1f}"),
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
    "runtimes": [
        ("model", "model", "{}"),
        ("clip", "clip", "{}"),
        ("batch", "batch", "{}"),
        ("runtime", "runtime", "{}"),
        ("precision", "precision", "{}"),
        ("ms", "ms", "{:.0f}"),
        ("from", "ms_min", "{:.0f}"),
        ("to", "ms_max", "{:.0f}"),
        ("CPU ms", "cpu_ms", "{:.0f}"),
        ("speed", "speed", "{:.2f}"),
        ("CPU speed", "cpu_speed", "{:.2f}"),
        ("limit ms", "limit_ms", "{:.0f}"),
        ("of the limit", "share_of_limit", "{:.0%}"),
        ("difference", "difference", "{:.0e}"),
        ("ready s", "ready_s", "{:.1f}"),
        *_NOTE,
    ],
}
CAPTIONS = {
    "parity": "Error against the published float64 logits. `cast`: weights and clip in that type.",
    "matmul": (
        "The device's own rates: products of square matrices of normal numbers, and a copy in its memory, "
        "whose bytes are read and written."
    ),
    "kinds": (
        "A training step by kind of operation: time of the kernels, by torch's profiler. `the device waits`: "
        "what a pass takes by the clock, with a wait before and behind it, beyond its kernels."
    ),
    "layers": (
        "The depthwise convolutions of UniFormer-S by layer, all ways in turn, medians. `auto` is what the "
        "model calls there (on CUDA our Triton kernels), `torch` its convolution in the plain layout, `torch "
        "channels-last` the same without a copy into that layout. A copy would read and write the tokens "
        "once, as a forward pass does at best."
    ),
    "loader": (
        "UniFormer-S, training steps with the real loader on generated videos, by `bench run`; parts of a "
        "step are waited for, the whole step is not."
    ),
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
    "runtimes": (
        "Untrained weights, medians; all ways of a model take turns. `eager` is the model as trained, "
        "`folded` by `for_inference`, `compiled` that by torch.compile; bf16 of torch is autocast, int8 "
        "is static; `onnxruntime-3d` has its depthwise convolutions in three dimensions, `openvino-onnx` is "
        "OpenVINO with the ONNX file. `CPU ms`: of the processor, all threads together. `speed`, `CPU "
        "speed`: against eager fp32 in the same round, medians of the ratios. `limit`: the operations of "
        "the model, two a multiply-add, at the rate of a square matrix product in that precision, by torch, "
        "measured in the same rounds. `difference`: the largest of any logit from eager fp32, as a share of "
        "the largest logit. `ready`: exporting, quantising, compiling and the first pass."
    ),
}
OF_THE_MODEL = (
    "matmul",
    "models",
    "kinds",
    "layers",
    "parity",
    "loader",
    "longest",
    "depthwise",
    "times",
)
OF_THE_SWEEP = ("matmul", "models", "longest")
OF_RUNTIMES = ("runtimes",)


class Report:
    """The results so far, on the screen and in a folder.

    sections: the tables; a single one is written as CSV too, and that of models, which the README's chart is
    drawn from. name: of the files, without their suffixes.
    facts: about the machine, beside the usual ones.
    """

    def __init__(
        self, folder, scope, device, minutes, sections=OF_THE_MODEL, name="results", facts=()
    ):
        self.folder, self.start, self.minutes = Path(folder), time.monotonic(), minutes
        self.name = name
        self.data = {"format": 1, "complete": False, "command": shlex.join(sys.argv)}
        self.data["machine"] = {**machine(device), **dict(facts)}
        self.data |= {"scope": asdict(scope), "minutes": minutes, "seconds": 0.0}
        self.sections = sections
        self.data |= {section: [] for section in sections}
        self.folder.mkdir(parents=True, exist_ok=True)

    def out_of_time(self, needed=0.0):
        """Whether less is left than `needed` seconds."""
        return time.monotonic() - self.start + needed > 60 * self.minutes

    def add(self, section, rows):
        """Print rows as a table, keep them, and write both files."""
        self.data[section] += rows
        print(f"[{time.monotonic() - self.start:.0f} s] {section}\n{table(section, rows)}\n")
        sys.stdout.flush()
        self.write()

    def finish(self, interrupted, reason=""):
        """Both files once more; complete is a run that left out nothing for want of time.

        reason: why it ended early.
        """
        self.data["ended_by"] = reason
        rows = [row for section in self.sections for row in self.data[section]]
        late = any(row.get("note") == LATE for row in rows)
        self.data["complete"] = not (interrupted or late)
        self.write()

    def write(self):
        self.data["seconds"] = round(time.monotonic() - self.start, 1)
        texts = {".json": json.dumps(self.data, indent=1) + "\n", ".md": markdown(self.data)}
        if len(self.sections) == 1:
            texts[".csv"] = _csv(self.data[self.sections[0]])
        files = {f"{self.name}{suffix}": text for suffix, text in texts.items()}
        if self.data.get("models"):
            files["models.csv"] = _csv(self.data["models"])
        for name, text in files.items():
            with atomic_write(self.folder / name) as file:
                file.write(text.encode())


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


def _csv(rows):
    """All values of `rows`; the columns in the order in which they first come."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


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
    if data.get("ended_by"):
        lines += ["", f"Ended early: {data['ended_by']}"]
    lines += ["", f"    {data['command']}"]
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
