"""The variants of a test that a run asks for: scored after the test itself, and added to its record.

Nothing of the test is done again for them, be it of this run or of an earlier one.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fvcore.common.config import CfgNode

from uniformer_video.data.clips.variants import STRENGTHS, Variant, variants_of
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.data.loading.variant_dataset import VariantDataset
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.evaluation.analyses.robustness import robustness
from uniformer_video.evaluation.analyses.tested import Tested
from uniformer_video.evaluation.motion import MOTION_VARIANTS, has_motion, measure_motion
from uniformer_video.evaluation.record import Results
from uniformer_video.evaluation.results import save_results
from uniformer_video.evaluation.variant_scoring import score_variants
from uniformer_video.evaluation.variants import (
    KEPT_BYTES,
    VariantScores,
    load_variants,
    save_variants,
)
from uniformer_video.models.among import AmongClasses
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.inference_mode import lay_out
from uniformer_video.runs import build_clips
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.check import is_of_images
from uniformer_video.runs.progress import video_bar
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.task import Task
from uniformer_video.training.precision import autocast_for, choose_precision
from uniformer_video.words import duration, name_some, plural


class _Todo(NamedTuple):
    """What is to be scored, and how the test was done that it belongs to."""

    lacking: list[Variant]
    asked: list[str]
    protocol: Protocol
    playback: str
    videos: int  # that the test could decode
    seconds: float  # the whole test
    cost: dict[str, Any] | None


def score_test_variants(
    cfg: CfgNode,
    task: Task,
    model: RecognitionModel | AmongClasses,
    data: Data,
    folder: Path,
    ranks: Ranks,
    show_bars: bool | None = None,
) -> None:
    """Score the variants that the config asks for and the results in `folder` lack; add them there.

    All processes take part; `data` are the videos of that test, and `model` is the one tested, on its device,
    which is not trained on.
    """
    todo = ranks.on_main(lambda: _todo(cfg, data, folder))
    if todo is None:
        return
    opposite = build_clips.opposite_classes(cfg, data.class_names)
    found = None
    if todo.lacking:
        if ranks.is_main:
            workers = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
            ranks.say(_cost_line(todo, model, len(data.test), workers, ranks))
        found = _score(cfg, task, model, data, todo, ranks, show_bars)
    ranks.say(*ranks.on_main(lambda: _add(task, folder, found, todo, data, opposite)))


def _todo(cfg: CfgNode, data: Data, folder: Path) -> _Todo | None:
    """None where nothing is asked for, or all of it is there."""
    wanted = _wanted(cfg)
    if not wanted:
        return None
    record, _ = load_tested(folder)
    still = is_of_images(cfg)
    asked = list(dict.fromkeys(own.kind for own in variants_of(cfg.TEST.ROBUSTNESS, still)))
    known = load_variants(folder)
    lacking = [own for own in wanted if known is None or known.seed_of(own) != _seed(own, cfg)]
    new_question = known is not None and not set(asked) <= set(known.asked)
    new_motion = set(MOTION_VARIANTS) <= set(wanted) and record["motion"] is None
    if not (lacking or new_question or new_motion):
        return None
    protocol = Protocol.from_dict(record["protocol"])
    return _Todo(
        lacking,
        asked,
        protocol,
        record["playback"],
        record["summary"]["decoded"],
        record["seconds"],
        record["cost"],
    )


def _wanted(cfg: CfgNode) -> list[Variant]:
    """All variants that the config asks for, each once."""
    if is_of_images(cfg):  # nothing moves in them
        return variants_of(cfg.TEST.ROBUSTNESS, still=True)
    opposed = cfg.DATA.OPPOSITE_CLASS_PAIRS and cfg.DATA.REVERSE_FRAMES
    motion = MOTION_VARIANTS if cfg.TEST.MOTION_CHECK or opposed else ()
    return list(dict.fromkeys([*variants_of(cfg.TEST.ROBUSTNESS), *motion]))


def variants_line(cfg: CfgNode) -> list[str]:
    """What the variants of a test will cost, before it begins and anything is measured; none without any."""
    count = len(_wanted(cfg))
    if not count:
        return []
    settings = "TEST.ROBUSTNESS" + ("" if is_of_images(cfg) else ", TEST.MOTION_CHECK")
    return [
        f"After that come {plural(count, 'variant')} of them ({settings}), each with "
        "as many views: how long they take is said once this test's speed is known."
    ]


def _seed(variant: Variant, cfg: CfgNode) -> int:
    """What its draws depend on."""
    return cfg.RNG_SEED if variant.draws else 0


def _cost_line(
    todo: _Todo, model: RecognitionModel | AmongClasses, videos: int, workers: int, ranks: Ranks
) -> str:
    views = len(todo.lacking) * todo.protocol.num_views * todo.videos
    kinds = ", ".join(dict.fromkeys(variant.kind for variant in todo.lacking))
    kept = _bytes(todo.protocol, videos, model.num_classes, len(todo.lacking))
    if not _fits(todo.protocol, videos, model.num_classes):
        kept //= todo.protocol.num_views
    return (
        f"The same {todo.protocol.medium}s in {plural(len(todo.lacking), 'variant')} ({kinds}): {views:,} "
        f"more views through the model, {len(todo.lacking)} times those of the test, about "
        f"{duration(max(1, _expected_seconds(todo, workers, ranks)))} at its speed; variants.npz gets "
        f"{kept / 1e6:,.1f} MB."
    )


def _expected_seconds(todo: _Todo, workers: int, ranks: Ranks) -> float:
    """How long the variants of `todo` will take, from what the parts of the test itself took.

    Each video is decoded once for all of them. Its views are changed by as many threads as there are
    `workers`, while the model has others; on a processor both take turns.
    """
    views = len(todo.lacking) * todo.protocol.num_views
    if not todo.cost:  # of an earlier version
        return todo.seconds * len(todo.lacking)
    reading = todo.cost["decode_seconds"] + todo.cost["crop_seconds"]
    changing = _change_seconds(todo) * todo.protocol.num_views / max(1, workers)
    steps = todo.cost["model_seconds"] * views, changing
    using = sum(steps) if ranks.device.type == "cpu" else max(steps)
    a_video = max(reading / workers, using) if workers else reading + using
    return a_video * todo.videos / ranks.size


def _change_seconds(todo: _Todo) -> float:
    """How long it takes to change the pixels of one view for each of the variants, tried on noise."""
    side = todo.protocol.views.crop_size
    shape = 3, todo.protocol.sampling.num_frames, side, side
    clip = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 255
    started = time.perf_counter()
    for variant in todo.lacking:
        variant.change(clip, 0)
    return time.perf_counter() - started


def _bytes(protocol: Protocol, videos: int, num_classes: int, variants: int) -> int:
    """How large the float32 logits of all views of some variants are."""
    return 4 * variants * videos * protocol.num_views * num_classes


def _fits(protocol: Protocol, videos: int, num_classes: int) -> bool:
    """Whether the logits of all views are kept, decided by all variants that there are: asking for more
    of them later changes nothing."""
    all_variants = sum(map(len, STRENGTHS.values())) + 1
    return _bytes(protocol, videos, num_classes, all_variants) <= KEPT_BYTES


def _score(
    cfg: CfgNode,
    task: Task,
    model: RecognitionModel | AmongClasses,
    data: Data,
    todo: _Todo,
    ranks: Ranks,
    show_bars: bool | None,
) -> VariantScores:
    protocol = todo.protocol
    precision = choose_precision(protocol.precision, ranks.device)
    lay_out(model, ranks.device, precision)
    tested = build_clips.build_test_dataset(
        cfg, data.test, protocol, todo.playback, data.faults, frame_index=data.frame_index
    )

    def reduce(logits: np.ndarray) -> np.ndarray:
        return task.video_scores(logits, protocol.score)

    with video_bar(len(data.test), ranks, show_bars, protocol.medium) as progress:
        return score_variants(
            model,
            VariantDataset(tested, todo.lacking),
            model.num_classes,
            ranks,
            cfg.TEST.BATCH_SIZE,
            resolve_workers(cfg.DATA_LOADER.NUM_WORKERS),
            autocast_for(precision, ranks.device),
            cfg.RNG_SEED,
            todo.asked,
            None if _fits(protocol, len(data.test), model.num_classes) else reduce,
            progress,
            cfg.DATA_LOADER.TIMEOUT,
        )


def _add(
    task: Task,
    folder: Path,
    found: VariantScores | None,
    todo: _Todo,
    data: Data,
    opposite: Mapping[int, int],
) -> list[str]:
    """Put what was found beside what is in the folder already, and its figures into the record; what is to be
    said of it.
    """
    results, _ = load_tested(folder)
    merged = load_variants(folder)
    if found is not None:
        merged = merged.and_also(found) if merged else found
    assert merged is not None
    merged = replace(merged, asked=tuple(dict.fromkeys([*merged.asked, *todo.asked])))
    scores = Results.load(folder).scores
    labels = [task.label_of(record) for record in data.test]
    record_variants(results, task, scores, labels, merged, opposite)
    save_variants(folder, merged, [video["name"] for video in results["videos"]])
    save_results(folder, results, scores, task)
    lost = [
        f"{data.test[place].name} ({reason})"
        for place, reason in merged.failures.items()
        if not np.isnan(scores[place]).all()
    ]
    if not lost:
        return []
    return [
        f"{plural(len(lost), data.medium.name)} that the test decoded could not be read for the variants, "
        f"and the figures of motion and robustness are without: {name_some(lost)}."
    ]


def record_variants(
    results: dict[str, Any],
    task: Task,
    view_scores: np.ndarray,
    labels: Sequence[Any],
    variants: VariantScores,
    opposite: Mapping[int, int],
    groups: np.ndarray | None = None,
) -> None:
    """Set "motion" and "analyses" of a record by the scores of its variants.

    view_scores: `[video, view, class]` of the test itself, NaN where a video failed. labels: one a video, as
    the task's `label_of` gives it. opposite: as of `measure_motion`. groups: of videos that are drawn
    together, as of `Tested`.
    """
    tested = Tested(
        task,
        Protocol.from_dict(results["protocol"]),
        view_scores,
        labels,
        ~np.isnan(view_scores).all(axis=(1, 2)),
        results["class_names"],
        results["model"],
        results["seconds"],
        groups=groups,
        variants=variants,
    )
    if has_motion(tested):
        results["motion"] = measure_motion(tested, results["playback"], opposite)
    if answer := robustness(tested):
        results["analyses"]["robustness"] = answer
