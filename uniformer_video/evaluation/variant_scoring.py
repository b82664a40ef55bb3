"""Every view of every variant of every video through the model, from one decoding pass for a video."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uniformer_video.data.loading.loader import sample_loader
from uniformer_video.data.loading.variant_dataset import VariantDataset, VariantSample
from uniformer_video.data.loading.workers import HANGING_SECONDS
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import UserError
from uniformer_video.evaluation.variants import VariantScores

# Of a video at an index: (its scores [variant, view, class], frames held in each variant), or why it failed.
Outcome = tuple[int, tuple[np.ndarray, tuple[int, ...]] | str]


@torch.inference_mode()
def score_variants(
    model: nn.Module,
    dataset: VariantDataset,
    num_classes: int,
    ranks: Ranks,
    batch_size: int,
    num_workers: int,
    autocast: Callable[[], AbstractContextManager],
    seed: int,
    asked: Sequence[str] = (),
    reduce: Callable[[np.ndarray], np.ndarray] | None = None,
    progress: Callable[[int, int], None] | None = None,
    timeout: float = HANGING_SECONDS,
) -> VariantScores:
    """The `VariantScores` of a `VariantDataset`; arguments as of `score_videos`.

    seed: of the draws. asked: as of `VariantScores`. reduce: logits `[variant, view, class]` -> scores of
    videos `[variant, class]`, which are then kept in their place. The views of two passes, both of one
    video, are there at a time.
    """
    model.eval()
    started, error = time.monotonic(), None
    results: list[Outcome] = []
    own = range(ranks.rank, len(dataset), ranks.size)
    try:
        with ThreadPoolExecutor(max(1, num_workers)) as threads:
            for sample in sample_loader(dataset, own, num_workers, timeout):
                if sample.pixels is None:
                    results.append((sample.index, sample.reason))
                else:
                    passes = _passes(dataset, sample, seed, batch_size, threads)
                    logits = [_forward(model, views, ranks.device, autocast) for views in passes]
                    shape = len(dataset.variants), dataset.num_views, num_classes
                    scores = torch.cat(logits).reshape(shape).cpu().numpy()
                    if reduce:
                        scores = reduce(scores)[:, None].astype(np.float32)
                    results.append((sample.index, (scores, sample.held)))
                if progress:
                    progress(1, int(sample.pixels is None))
    except UserError as failure:  # the others wait for this process' share
        error = failure
    views = 1 if reduce else dataset.num_views
    found = np.full((len(dataset.variants), len(dataset), views, num_classes), np.nan, np.float32)
    failures, held = _collect(ranks.gather(results, error), found)
    frames = dataset.tested.num_clips * dataset.tested.sampling.num_frames
    return VariantScores(
        variants=tuple(dataset.variants),
        scores=found,
        per_view=reduce is None,
        held=held,
        shown=frames * (len(dataset) - len(failures)),
        seeds=tuple(seed if variant.draws else 0 for variant in dataset.variants),
        asked=tuple(asked),
        seconds=time.monotonic() - started,
        failures=failures,
    )


def _passes(
    dataset: VariantDataset,
    sample: VariantSample,
    seed: int,
    batch_size: int,
    threads: ThreadPoolExecutor,
) -> Iterator[Tensor]:
    """The normalised views of all variants in turn, float32 `[up to batch_size, 3, T, crop, crop]`, of images
    without T.

    While one batch is used, the next is made.
    """
    chosen = [
        (variant, view)
        for variant in range(len(dataset.variants))
        for view in range(dataset.num_views)
    ]
    batches = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]

    def submit(batch: list[tuple[int, int]]) -> list[Any]:
        return [threads.submit(_make_view, dataset, sample, seed, *one) for one in batch]

    coming = submit(batches[0])
    for following in [*batches[1:], []]:
        ready, coming = coming, submit(following)
        yield torch.stack([view.result() for view in ready])


def _make_view(
    dataset: VariantDataset, sample: VariantSample, seed: int, variant: int, view: int
) -> Tensor:
    pixels = sample.view(variant, view)
    changed = dataset.variants[variant].change(pixels, seed, sample.index, view)
    return dataset.tested.views.to_input(changed)


def _forward(
    model: nn.Module,
    views: Tensor,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager],
) -> Tensor:
    """Float32 logits `[views, class]` on the device."""
    if device.type == "cuda":
        views = views.pin_memory()  # only such memory is copied without a wait
    with autocast():
        return model(views.to(device, non_blocking=True)).float()


def _collect(
    results: Iterable[Outcome], scores: np.ndarray
) -> tuple[dict[int, str], tuple[int, ...]]:
    """Put the scores in their places; (what failed and why, the frames held in each variant)."""
    failures, held = {}, np.zeros(len(scores), int)
    for index, outcome in results:
        if isinstance(outcome, str):
            failures[index] = outcome
        else:
            scores[:, index], own = outcome
            held += own
    return failures, tuple(held.tolist())
