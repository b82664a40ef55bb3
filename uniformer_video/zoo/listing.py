"""The named models with their figures, as text for a terminal and as the README's table."""

from collections.abc import Sequence
from dataclasses import dataclass

from uniformer_video.models.shapes import shapes_only
from uniformer_video.zoo.create import build_network, count_parameters
from uniformer_video.zoo.family import ListedWeights, NamedModel
from uniformer_video.zoo.published import DATASETS
from uniformer_video.zoo.registry import matching_models


@dataclass(frozen=True)
class Entry:
    """A model's line. `parameters` is a count, `files` are lines.

    `gflops` are of one view of `input`; None where nobody has counted.
    """

    name: str
    parameters: int
    input: str
    gflops: float | None
    top1: str
    files: tuple[str, ...]


def list_entries(pattern: str = "*") -> list[Entry]:
    """The `Entry` of every named model that `pattern` (a shell pattern, or a part of the name) fits."""
    return [_entry(model) for model in matching_models(pattern)]


def as_text(entries: Sequence[Entry]) -> str:
    """Models and, below each, the weights that it loads."""
    width = max(len(entry.name) for entry in entries)
    lines = []
    for entry in entries:
        lines.append(
            f"{entry.name:{width}}  {entry.parameters / 1e6:6.2f} M parameters  "
            f"{entry.input:10}  {_gflops(entry):>6} GFLOPs a view"
        )
        lines += [f"    {line}" for line in entry.files] or ["    no published weights"]
    return "\n".join(lines)


def as_markdown(entries: Sequence[Entry]) -> str:
    """The table of the README."""
    rows = [
        "| model | parameters | input | GFLOPs a view | published top-1, % | files |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| `{entry.name}` | {entry.parameters / 1e6:.2f} M | {entry.input} | {_gflops(entry)} | "
        f"{entry.top1 or 'none'} | {len(entry.files)} |"
        for entry in entries
    ]
    return "\n".join(rows)


def _entry(model: NamedModel) -> Entry:
    with shapes_only():
        network = build_network(model.name, model.num_classes, **model.figure_arguments)
    return Entry(
        model.name,
        count_parameters(network),
        input_size(model.num_frames, model.crop_size),
        model.gflops,
        _ranges(model.weights),
        tuple(_describe(weights) for weights in model.weights if weights.source),
    )


def _gflops(entry: Entry) -> str:
    return "?" if entry.gflops is None else f"{entry.gflops:.2f}"


def _describe(weights: ListedWeights) -> str:
    return f"{weights.source:32}  {weights.data} {weights.top1} %, {weights.protocol}"


def _ranges(weights: Sequence[ListedWeights]) -> str:
    """`K400 78.4-82.0, SSv2 67.7-70.4`: the lowest and highest of each dataset."""
    shown = []
    for data in dict.fromkeys([*DATASETS.values(), *(entry.data for entry in weights)]):
        values = [entry.top1 for entry in weights if entry.data == data]
        if values:
            low, high = min(values), max(values)
            shown.append(f"{data} {low}" if low == high else f"{data} {low}-{high}")
    return ", ".join(shown)


def input_size(num_frames: int, height: int, width: int | None = None) -> str:
    """The sides of an input for people: `16x224x224`, `224x224` for images (0 frames)."""
    sides = f"{height}x{width or height}"
    return f"{num_frames}x{sides}" if num_frames else sides
