"""A plugin with one thing of each kind, as somebody else would write it."""

import csv
import html

from torch import nn

import uniformer_video as uv
from uniformer_video.config.setting import number, text
from uniformer_video.tasks.single_label import SingleLabel

uv.register_settings(
    number("TOY.WIDTH", 6, "channels of the toy model", 1, 512),
    text("TOY.LIST", "videos", "the list's name, behind which comes -SPLIT.tsv"),
)


class ToyModel(uv.RecognitionModel):
    """One convolution."""

    def __init__(self, num_classes, width=6):
        super().__init__(num_classes, width=width)
        self.stem = nn.Conv3d(3, width, kernel_size=(2, 8, 8), stride=(2, 8, 8))
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.stem(x).relu().mean(dim=(2, 3, 4)))


def read_tsv(root, split, name):
    """Lines of `class <tab> path`."""
    with open(root / f"{name}-{split}.tsv", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    names = sorted({row[0] for row in rows})
    records = [
        uv.VideoRecord(str(root / path), path, (names.index(label),), f"{name}-{split}.tsv:{line}")
        for line, (label, path) in enumerate(rows, 1)
    ]
    return uv.VideoList(records, names)


@uv.register_task
class ToyTask(SingleLabel):
    """Single label under a name of its own."""

    name = "toy-task"
    prediction_note = "These come from a toy."


def section(results, folder):
    return (
        f"<p>{len(results['videos'])} videos of {html.escape(results['title'])}, says the toy</p>"
    )


uv.register_model("toy", ToyModel, num_frames=4, crop_size=32, settings={"TOY.WIDTH": "width"})
uv.register_format(
    uv.ListFormat("toy-tsv", read_tsv, "lists of class and path", {"TOY.LIST": "name"})
)
uv.register_report_section("The toy's section", section)
