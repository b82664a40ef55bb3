"""The named models with their figures, as text for a terminal and as the README's table."""

from dataclasses import dataclass
from fnmatch import fnmatch

import torch

from uniformer_video.models.peers import PEERS
from uniformer_video.zoo.create import VARIANTS, build_network, count_parameters, model_names
from uniformer_video.zoo.published import IMAGENET, PUBLISHED

DATASETS = {
    IMAGENET: "ImageNet",
    "k400": "K400",
    "k600": "K600",
    "ssv1": "SSv1",
    "ssv2": "SSv2",
    "ucf101": "UCF101",
    "hmdb51": "HMDB51",
}


@dataclass(frozen=True)
class Entry:
    """A model's line. `parameters` is a count, `gflops` of one view of `input`; `files` are lines."""

    name: str
    parameters: int
    input: str
    gflops: float
    top1: str
    files: tuple


def list_models(pattern="*"):
    """The `Entry` of every named model that `pattern` (a shell pattern, or a part of the name) fits."""
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return [_entry(name) for name in model_names() if fnmatch(name, pattern)]


def as_text(entries):
    """Models and, below each, the weights that it loads."""
    width = max(len(entry.name) for entry in entries)
    lines = []
    for entry in entries:
        lines.append(
            f"{entry.name:{width}}  {entry.parameters / 1e6:6.2f} M parameters  "
            f"{entry.input:10}  {entry.gflops:6.2f} GFLOPs a view"
        )
        lines += [f"    {line}" for line in entry.files] or ["    no published weights"]
    return "\n".join(lines)


def as_markdown(entries):
    """The table of the README."""
    rows = [
        "| model | parameters | input | GFLOPs a view | published top-1, % | files |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| `{entry.name}` | {entry.parameters / 1e6:.2f} M | {entry.input} | {entry.gflops:.2f} | "
        f"{entry.top1 or 'none'} | {len(entry.files)} |"
        for entry in entries
    ]
    return "\n".join(rows)


def _entry(name):
    if name in PEERS:
        return _peer_entry(name, PEERS[name])
    known = VARIANTS[name]
    kernel = (5,) * known.arguments["ndim"]
    with torch.device("meta"):
        model = build_network(name, known.num_classes, local_kernel=kernel)
    weights = [weights for weights in PUBLISHED.values() if weights.model == name]
    return Entry(
        name,
        count_parameters(model),
        _size(known.num_frames, known.crop_size),
        known.gflops,
        _ranges(weights),
        tuple(_describe(entry) for entry in weights if entry.url),
    )


def _peer_entry(name, peer):
    with torch.device("meta"):
        model = build_network(name, 400)
    size = _size(peer.num_frames, peer.crop_size)
    line = (
        f"{peer.weights}  K400 {peer.top1} %, {peer.num_frames} frames, "
        f"stride {peer.sampling_rate}, {peer.test_crop_size} pixels, {peer.clips}x{peer.crops} views"
    )
    return Entry(name, count_parameters(model), size, peer.gflops, f"K400 {peer.top1}", (line,))


def _describe(weights):
    title = DATASETS[weights.data]
    if not weights.num_frames:
        return f"{weights.name:34}{title} {weights.top1} %, {weights.crop_size} pixels"
    protocol = weights.protocol()
    return (
        f"{weights.name:34}{title} {weights.top1} %, {weights.num_frames} frames, "
        f"stride {weights.frame_stride}, {weights.crop_size} pixels, "
        f"{protocol.num_clips}x{protocol.views.num_crops} views"
    )


def _ranges(weights):
    """`K400 78.4-82.0, SSv2 67.7-70.4`: the lowest and highest of each dataset."""
    shown = []
    for data, title in DATASETS.items():
        values = [entry.top1 for entry in weights if entry.data == data]
        if values:
            low, high = min(values), max(values)
            shown.append(f"{title} {low}" if low == high else f"{title} {low}-{high}")
    return ", ".join(shown)


def _size(num_frames, side):
    return f"{num_frames}x{side}x{side}" if num_frames else f"{side}x{side}"
