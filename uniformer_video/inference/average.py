"""Files of weights into one that holds their mean, on request with BatchNorm's statistics measured for it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.lists.media import MEDIA
from uniformer_video.data.loading.dataset import EvalDataset
from uniformer_video.data.loading.loader import eval_loader, resolve_workers
from uniformer_video.data.protocol import recorded_protocol
from uniformer_video.errors import CheckpointError, DataError, UserError
from uniformer_video.inference.records import records_at
from uniformer_video.training.precise_statistics import recompute_statistics
from uniformer_video.weights.average import mean_weights
from uniformer_video.weights.checkpoint import (
    CALIBRATION,
    TEMPERATURE_LEFT_OUT,
    Weights,
    fit_weights,
    read_weights,
    write_checkpoint,
)
from uniformer_video.words import name_some, one_line, plural
from uniformer_video.zoo.convert import check_target
from uniformer_video.zoo.create import build_for_weights
from uniformer_video.zoo.published import local_file


def average_files(
    sources: Sequence[str | Path],
    target: str | Path,
    ema: bool = False,
    videos: str | Path | None = None,
    batch_size: int = 16,
) -> list[str]:
    """Write the checkpoint `target` with the mean of those at `sources`; lines that say what was done.

    Args:
        ema: take the moving averages inside the files.
        videos: a list (csv, as of a training; its labels are not looked at) or a folder of videos, over whose
            centre views BatchNorm's statistics are measured: their mean is not what mean weights need.
        batch_size: clips of a forward pass, which BatchNorm normalises together.

    Raises `CheckpointError` for files of different models, `DataError` where no video can be decoded.
    """
    if len(sources) < 2 and videos is None:
        raise UserError(
            "one file has no mean; give two or more, such as run/epoch_*.pt or run/iter_*.pt"
        )
    _check_no_repeats(sources)
    check_target(target)
    parts = [read_weights(local_file(source), "ema" if ema else "model") for source in sources]
    weights = mean_weights(parts)
    lines = [f"mean of {len(parts)} files, {plural(len(weights.state), 'tensor')}: {weights.path}"]
    protocols = [recorded_protocol(part.metadata, part.path) for part in parts]
    if others := [p.path for p, own in zip(parts, protocols, strict=True) if own != protocols[-1]]:
        lines.append(
            f"the mean is to be tested as {parts[-1].path} is; the views or pixels of {name_some(others)} "
            "are others"
        )
    if any(CALIBRATION in part.metadata for part in parts):
        lines.append(TEMPERATURE_LEFT_OUT)
    if videos is not None:
        weights, told = _with_new_statistics(weights, videos, batch_size)
        lines += told
    elif any(key.endswith("running_var") for key in weights.state):
        lines.append(
            "BatchNorm's statistics are the mean of the files' own; --batch-norm LIST measures them anew"
        )
    write_checkpoint(target, weights.state, weights.metadata)
    return [*lines, f"written: {target}"]


def _check_no_repeats(sources: Sequence[str | Path]) -> None:
    """Raise `UserError` for a file that is given twice, and would count twice."""
    seen: dict[Path, str | Path] = {}
    for source in sources:
        place = Path(source).resolve()
        if place in seen:
            raise UserError(
                f"{source} is the same file as {seen[place]}, and would count twice; give each file once"
            )
        seen[place] = source


def _with_new_statistics(
    weights: Weights, videos: str | Path, batch_size: int
) -> tuple[Weights, list[str]]:
    """`weights` with BatchNorm's statistics over the centre views of `videos`, and what to say of it."""
    protocol = recorded_protocol(weights.metadata, weights.path)
    if protocol is None:
        raise CheckpointError(
            f"{weights.path} does not record how videos are prepared for it; leave --batch-norm out"
        )
    if isinstance(protocol.views, PixelViews):
        raise CheckpointError(
            f"{weights.path} is tested on whole pictures, which differ in size, and BatchNorm's statistics "
            "are measured on batches; leave --batch-norm out"
        )
    protocol = protocol.with_views(1, 1)
    records, _ = records_at([videos], MEDIA[protocol.medium])
    model = build_for_weights(weights)
    fit_weights(model, weights)
    model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    dataset = EvalDataset(
        records,
        protocol.sampling,
        protocol.views,
        protocol.num_clips,
        backend=protocol.decoder,
        decode_short_side=protocol.decode_short_side,
    )
    failures: list[str] = []
    try:
        clips = recompute_statistics(model, _batches(dataset, batch_size, failures))
    # torch's, for a batch of one clip that a layer sees as a single position
    except ValueError as error:
        raise DataError(
            f"BatchNorm's statistics cannot be measured over {videos}: {one_line(error)}; give more "
            f"{protocol.medium}s"
        ) from None
    if not clips and not failures:
        return weights, ["the model has no BatchNorm, so there is nothing to measure"]
    if not clips:
        raise DataError(
            f"none of the {protocol.medium}s in {videos} can be decoded; the first: {failures[0]}"
        )
    lines = [f"BatchNorm's statistics measured over {plural(clips, protocol.medium)} of {videos}"]
    if failures:
        lines.append(
            f"{plural(len(failures), protocol.medium)} left out, broken: {name_some(failures)}"
        )
    state = {key: value.cpu() for key, value in model.state_dict().items()}
    metadata = {**weights.metadata, "batch_norm": {"videos": str(videos), "clips": clips}}
    return Weights(weights.path, state, metadata), lines


def _batches(dataset: EvalDataset, batch_size: int, failures: list[str]) -> Iterator[Tensor]:
    """Batches of centre views; `failures` gets why a video cannot be decoded."""
    workers = resolve_workers(-1)
    for samples in eval_loader(dataset, range(len(dataset)), batch_size, workers):
        failures += [sample.reason for sample in samples if sample.views is None]
        views = [sample.views for sample in samples if sample.views is not None]
        if views:
            yield torch.cat(views)
