"""Whole weights files from one kind to another."""

from dataclasses import replace
from pathlib import Path

from uniformer_video.errors import CheckpointError
from uniformer_video.models.checkpoint import (
    HEAD_KEYS,
    fit_weights,
    read_weights,
    write_checkpoint,
)
from uniformer_video.models.zoo import build_uniformer, find_variant


def inflate_file(source, target, mode, local_kernel, name=None):
    """Write the 3D checkpoint `target` from the 2D weights in `source`; returns the report's lines.

    `name` is the video architecture; left out, it is told by the file's depths and channels. The
    classifier is dropped. Raises `CheckpointError` for video weights, or of an unknown architecture.
    """
    if Path(target).exists():
        raise CheckpointError(f"{target} exists already; delete it, or choose another --out")
    if not Path(target).absolute().parent.is_dir():
        raise CheckpointError(f"there is no folder {Path(target).parent} to write {target} into")
    weights = read_weights(source)
    if not weights.is_image:
        kind = "holds video weights already" if weights.local_kernel else "is not a UniFormer's"
        raise CheckpointError(f"{source} {kind}; inflation takes 2D (image) UniFormer weights")
    name = name or find_variant(weights, ndim=3)
    model = build_uniformer(name, num_classes=1, local_kernel=local_kernel)
    body = {key: value for key, value in weights.state.items() if key not in HEAD_KEYS}
    report = fit_weights(model, replace(weights, state=body), mode, replace_head=True)
    if report.skipped:
        raise CheckpointError(
            f"{source} is of another architecture than {name}: it has {', '.join(report.skipped[:3])}"
        )
    state = {key: value for key, value in model.state_dict().items() if key not in HEAD_KEYS}
    metadata = {
        "model": {"name": name, "arguments": dict(model.arguments)},
        "inflated": {"from": str(source), "mode": mode},
    }
    write_checkpoint(target, state, metadata)
    return [
        f"{source} is 2D weights of {name}",
        f"copied as they are: {len(report.loaded)} tensors",
        f"inflated to 3D ({mode}): {len(report.inflated)} tensors, local kernels {list(local_kernel)}",
        f"dropped: the classifier ({weights.num_classes or 'no'} classes)",
        f"written: {target}; train from it with UNIFORMER.PRETRAIN_NAME {target}",
    ]
