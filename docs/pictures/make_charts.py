"""Draw the README's chart of speed anew from `benchmarks/results/`: `python docs/pictures/make_charts.py`.

`cpu_model.json` is written by `benchmarks/published_model.py`, `h200_models.csv` holds the table of models of
`benchmarks/gpu_sweep.py`. Both have the published way and ours from one run.
"""

import csv
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from uniformer_video.bench.figures import short

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parents[1] / "benchmarks" / "results"
PAPER, INK, GREY, OURS = "#ffffff", "#18202c", "#9aa4b2", "#1f6feb"
WORK_IN_WORDS = {"forward": "forward", "train": "training step", "training step": "training step"}


def processor_rows():
    """(title, [(what, published, ours)]) in clips a second, of a processor."""
    told = json.loads((RESULTS / "cpu_model.json").read_text())
    figures, batch, machine = told["figures"], told["what"]["batch"], told["machine"]
    rows = []
    for work, clips in (("forward", 1), ("training step", batch)):
        for precision in ("fp32", "bf16"):
            name = f"{precision}, {work}"
            if f"{name}: ours" in figures:
                sides = (figures[f"{name}: {side}"]["median"] for side in ("published", "ours"))
                rows.append((f"{work}, {precision}", *(1000 * clips / ms for ms in sides)))
    return (
        f"{machine['threads']} cores of an {machine['processor']}, {machine['instructions']}",
        rows,
    )


def gpu_rows():
    """The same of a GPU, in bfloat16."""
    with (RESULTS / "h200_models.csv").open(newline="") as file:
        table = [row for row in csv.DictReader(file) if row["form"] == "eager" and row["ms"]]
    rates = {
        (row["model"], row["work"], int(row["batch"]), int(row["frames"])): float(
            row["clips_per_s"]
        )
        for row in table
    }
    rows = []
    for work in ("forward", "train"):
        for batch in (8, 64):
            ours = rates.get(("uniformer_s", work, batch, 16))
            published = rates.get(("plain", work, batch, 16))
            if ours and published:
                rows.append((f"{WORK_IN_WORDS[work]}, batch {batch}", published, ours))
    return "NVIDIA H200, bf16", rows


def draw(axis, title, rows):
    """Bars of clips a second: published above ours, and how many times as many."""
    places = range(len(rows))
    most = max(ours for _, _, ours in rows)
    for place, (_, published, ours) in zip(places, rows, strict=True):
        axis.barh(place - 0.19, published, 0.36, color=GREY)
        axis.barh(place + 0.19, ours, 0.36, color=OURS)
        text = {"va": "center", "color": INK, "fontsize": 9}
        axis.text(published + 0.01 * most, place - 0.19, short(published), **text)
        label = f"{short(ours)}  ({ours / published:.1f}x)"
        axis.text(ours + 0.01 * most, place + 0.19, label, fontweight="bold", **text)
    axis.set_yticks(list(places), [name for name, _, _ in rows], color=INK)
    axis.set_xlim(0, 1.25 * most)
    axis.invert_yaxis()
    axis.set_title(title, color=INK, fontsize=10, loc="left")
    axis.set_xticks([])
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def main() -> None:
    panels = [processor_rows(), gpu_rows()]
    matplotlib.rcParams["svg.hashsalt"] = "speed"  # the same bytes from the same figures
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 2.9), facecolor=PAPER)
    for axis, (title, rows) in zip(axes, panels, strict=True):
        draw(axis, title, rows)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in (GREY, OURS)]
    figure.legend(
        handles, ["published way", "this toolkit"], loc="lower center", ncols=2, frameon=False
    )
    figure.suptitle(
        "UniFormer-S, clips of 16x224x224 a second, same weights, both in one run",
        x=0.01,
        ha="left",
        color=INK,
        fontsize=11,
    )
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(FOLDER / "speed.svg", metadata={"Date": None})
    print(FOLDER / "speed.svg")


if __name__ == "__main__":
    main()
