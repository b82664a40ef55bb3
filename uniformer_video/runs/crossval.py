"""Cross-validation: a run for each fold, and one record and page of all videos, each tested once."""

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import config_text
from uniformer_video.config.setting import TEST
from uniformer_video.config.settings import (
    COMMAND_LINE,
    changed_settings,
    origin,
    with_settings,
)
from uniformer_video.data.lists.columns import as_columns
from uniformer_video.data.lists.groups import group_places
from uniformer_video.data.lists.records import VideoRecord, list_digest
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks, join_ranks
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.evaluation.analyses.registry import notes_of
from uniformer_video.evaluation.analyses.tested import renumbered
from uniformer_video.evaluation.cost import joined_cost
from uniformer_video.evaluation.record import Results
from uniformer_video.evaluation.results import RESULTS_FILE, build_results, save_results
from uniformer_video.evaluation.strips import Strips, join_strips
from uniformer_video.evaluation.variants import (
    VARIANTS_FILE,
    VariantScores,
    join_variants,
    load_variants,
    save_variants,
)
from uniformer_video.runs import build_clips
from uniformer_video.runs.build_lists import Folds, read_folds
from uniformer_video.runs.build_task import build_task
from uniformer_video.runs.folder import BEST_FILE, CONFIG_FILE, LAST_FILE, run_folder
from uniformer_video.runs.multi_view_test import data_facts, present
from uniformer_video.runs.run import run
from uniformer_video.runs.variants_test import record_variants
from uniformer_video.tasks.task import Task
from uniformer_video.training.costs import add_up
from uniformer_video.versions import versions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spread:
    """The figure of each fold, None where a fold has none; their mean and standard deviation (n - 1)."""

    values: list[float | None]

    @property
    def known(self) -> list[float]:
        """The values of the folds that have one."""
        return [value for value in self.values if value is not None]

    @property
    def mean(self) -> float | None:
        """None without any value."""
        return statistics.fmean(self.known) if self.known else None

    @property
    def deviation(self) -> float | None:
        """None where fewer than two folds have a value."""
        return statistics.stdev(self.known) if len(self.known) > 1 else None


def crossval(cfg: CfgNode, name: str, command: str = "", show_bars: bool | None = None) -> Path:
    """Run every fold of `DATA.FOLDS` in `OUTPUT_DIR/fold0`, `fold1`, ..., and join their tests in OUTPUT_DIR.

    Finished folds are only read again, an unfinished one goes on where it stopped. Arguments, and
    `Interrupted`, as of `run`. Returns OUTPUT_DIR, which holds the joined results and their page.
    """
    _check(cfg)
    root = run_folder(cfg, name).path
    _check_folder(root)
    for note in _of_teacher(cfg):
        log.warning(note)
    tested = []
    for fold in range(cfg.DATA.FOLDS):
        folder = root / f"fold{fold}"
        log.info("Cross-validation, fold %d of 0 to %d: %s", fold, cfg.DATA.FOLDS - 1, folder)
        own = with_settings(cfg, {"DATA.FOLD": fold, "OUTPUT_DIR": str(folder)})
        tested.append(run(own, f"{name}, fold {fold}", command, show_bars=show_bars))
    with join_ranks(cfg.DISTRIBUTED.TIMEOUT, math.inf) as ranks:
        ranks.on_main(
            lambda: _join(cfg, name, root, [Results.load(one) for one in tested if one], ranks)
        )
        ranks.wait()
    return root


def _check(cfg: CfgNode) -> None:
    """Raise `ConfigError` for settings that make no cross-validation."""
    if not cfg.DATA.FOLDS:
        raise ConfigError(
            "crossval needs the number of folds: set DATA.FOLDS, such as DATA.FOLDS 5"
        )
    if origin(cfg, "DATA.FOLD") == COMMAND_LINE:
        raise ConfigError(
            "crossval runs all folds; leave DATA.FOLD out, or give it to `run`, which runs one of them"
        )
    if (task := build_task(cfg)).scoring != "views":
        raise ConfigError(
            f"crossval joins the scores of whole videos or images, and TRAIN.TASK {task.name} has none; "
            "`run` each fold by itself, with DATA.FOLDS and DATA.FOLD"
        )
    if not cfg.TEST.ENABLE:
        raise ConfigError(
            f"crossval joins the tests of the folds, and {TEST} is False; leave it out"
        )
    if cfg.TEST.SPLIT != "test":
        raise ConfigError(
            f"crossval tests each fold on what it does not learn from, and TEST.SPLIT "
            f"{cfg.TEST.SPLIT} asks for others; leave it out, or give it to `run`, with DATA.FOLD"
        )
    if cfg.TEST.AMONG_CLASSES:
        raise ConfigError(
            f"crossval joins tests of all classes, and TEST.AMONG_CLASSES {cfg.TEST.AMONG_CLASSES} asks for "
            "some; leave it out, and choose classes afterwards with `rescore --classes`"
        )
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        raise ConfigError(
            "crossval tests the weights of each fold on that fold, and TEST.CHECKPOINT_FILE_PATH "
            f"{cfg.TEST.CHECKPOINT_FILE_PATH} names one file for all; leave it out, or `run` a test with it"
        )


def _of_teacher(cfg: CfgNode) -> list[str]:
    """What is to be known of a teacher that all folds have in common."""
    source = cfg.TEACHER.CHECKPOINT or cfg.TEACHER.SCORES
    if cfg.TOKEN_LABELS.ENABLE:
        source = f"that of the label maps in {cfg.TOKEN_LABELS.PATH}"
    if not source:
        return []
    return [
        f"All folds learn from one teacher, {source}. If it was trained on what is tested here, the "
        "figures are too high: what it knows of them reaches the models. A teacher that was trained "
        "within a fold, `run` takes with the same DATA.FOLDS and DATA.FOLD."
    ]


def _check_folder(root: Path) -> None:
    """Raise `ConfigError` where the folder holds one run, whose results would be written over."""
    holds_run = any((root / file).exists() for file in (CONFIG_FILE, LAST_FILE, BEST_FILE))
    if (root / RESULTS_FILE).exists() and not holds_run:
        holds_run = Results.load(root).crossval is None
    if holds_run:
        raise ConfigError(
            f"OUTPUT_DIR {root} holds a run of its own; a cross-validation takes a folder for its folds and "
            "their joined results: choose another OUTPUT_DIR"
        )


def _join(cfg: CfgNode, name: str, root: Path, tested: Sequence[Results], ranks: Ranks) -> None:
    """Write the joined results of the tested folds into `root`, and their page; say what was found."""
    task, folds = build_task(cfg), read_folds(cfg)
    order = _places(folds, tested)
    scores = _in_order([results.scores for results in tested], order)
    failures = _failures(tested, order)
    records = folds.videos.records
    first, groups = tested[0], _groups(records)
    variants, told = _variants(tested, order)
    results = build_results(
        task=task,
        title=f"{name}, {cfg.DATA.FOLDS} folds",
        names=[record.name for record in records],
        paths=[record.path for record in records],
        labels=[task.label_of(record) for record in records],
        view_scores=scores,
        class_names=first.class_names,
        protocol=first.protocol,
        playback=first.playback,
        videos_sha256=list_digest(records),
        model={
            "name": first.model["name"],
            "parameters": first.model["parameters"],
            **_gflops(tested),
            "checkpoint": f"{len(tested)} checkpoints, one a fold",
            "checkpoint_sha256": None,
            "epoch": None,
        },
        segments=[(record.start, record.end) for record in records],
        failures=failures,
        sizes=_sizes(tested, order),
        groups=groups,
        cost=joined_cost([results.cost for results in tested]),
        training=_training(tested),
        notes=[*_of_teacher(cfg), *_notes(folds, tested), *told],
        seconds=sum(results.seconds for results in tested),
        settings=config_text(cfg),
        versions=versions(),
        data=data_facts(cfg),
        changed_settings=changed_settings(cfg),
    )
    for video, record, fold in zip(results["videos"], records, folds.fold_of, strict=True):
        video |= {"fold": fold, **({"group": record.group} if record.group else {})}
    num_groups = _group_interval(task, records, groups, scores, results)
    results["crossval"] = {**_spread(task, root, tested), "groups": num_groups}
    strips = [Strips.load(results.folder, len(results.videos)) for results in tested]
    join_strips(strips, order).save(root)
    if variants:
        opposite = build_clips.opposite_classes(cfg, first.class_names)
        labels = [task.label_of(record) for record in records]
        record_variants(results, task, scores, labels, variants, opposite, groups)
        save_variants(root, variants, [record.name for record in records])
    else:
        (root / VARIANTS_FILE).unlink(missing_ok=True)
    save_results(root, results, scores, task)
    ranks.say(_spread_line(results["crossval"]))
    present(root, ranks)


def _places(folds: Folds, tested: Sequence[Results]) -> list[list[int]]:
    """Of each fold: where its videos, in the order of its test, stand among all."""
    order = []
    for fold, results in enumerate(tested):
        own = [place for place, one in enumerate(folds.fold_of) if one == fold]
        names = [folds.videos.records[place].name for place in own]
        if [video["name"] for video in results.videos] != names:
            raise DataError(
                f"{results.folder} holds a test of other {results.protocol.medium}s than fold {fold} has; "
                "the lists have changed meanwhile: restore them, or choose another OUTPUT_DIR"
            )
        if results.class_names != tested[0].class_names:
            raise DataError(f"{results.folder} has other classes than {tested[0].folder}")
        order.append(own)
    return order


def _in_order(parts: Sequence[np.ndarray], order: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of the folds, `[videos of the fold, ...]`, as `[videos, ...]`."""
    rows = np.concatenate(parts)
    joined = np.empty_like(rows)
    joined[np.concatenate(order)] = rows
    return joined


def _failures(tested: Sequence[Results], order: Sequence[Sequence[int]]) -> dict[int, str]:
    """`{index of a video among all: why it could not be decoded}`."""
    found = {}
    for results, own in zip(tested, order, strict=True):
        reasons = {_segment(failure): failure["reason"] for failure in results.failures}
        for place, video in zip(own, results.videos, strict=True):
            if _segment(video) in reasons:
                found[place] = reasons[_segment(video)]
    return found


def _sizes(tested: Sequence[Results], order: Sequence[Sequence[int]]) -> dict[int, tuple[int, int]]:
    """`{index of a video among all: (width, height) of its frames}` of those whose test recorded them."""
    return {
        place: tuple(video["size"])
        for results, own in zip(tested, order, strict=True)
        for place, video in zip(own, results.videos, strict=True)
        if "size" in video
    }


def _gflops(tested: Sequence[Results]) -> dict[str, float]:
    """`{"gflops_view": ...}`, where all folds have the same."""
    counted = {results.model.get("gflops_view") for results in tested}
    (only, *others) = counted
    return {} if others or only is None else {"gflops_view": only}


def _groups(records: Sequence[VideoRecord]) -> np.ndarray | None:
    """int `[N]`, from 0, of videos of one group, a video without one being its own; None without groups."""
    columns = as_columns(records)
    if not columns.group.is_filled.any():
        return None
    return renumbered(group_places(columns).tolist())


def _segment(video: Mapping[str, Any]) -> tuple[Any, ...]:
    return video["path"], video.get("start"), video.get("end")


def _variants(
    tested: Sequence[Results], order: Sequence[Sequence[int]]
) -> tuple[VariantScores | None, list[str]]:
    """(the variants that all folds were scored in, joined, None without any; what is to be said of them)."""
    parts = [load_variants(results.folder) for results in tested]
    known = [part for part in parts if part]
    if not known:
        return None, []
    joined = join_variants(known, order) if len(known) == len(parts) else None
    of_any = {own for part in known for own in part.variants}
    if joined and set(joined.variants) == of_any:
        return joined, []
    left_out = of_any - set(joined.variants if joined else ())
    kinds = ", ".join(sorted({own.kind for own in left_out}))
    return joined, [
        f"Not all folds were tested in these variants, or not by the same seed, and they are left out here: "
        f"{kinds}; the pages of the folds show what there is."
    ]


def _training(tested: Sequence[Results]) -> dict[str, Any] | None:
    """What the trainings of the folds have in common, and how long they took in all."""
    parts = [results.training for results in tested]
    if not all(parts):
        return None
    seconds = round(sum(part["seconds"] for part in parts if part), 1)
    common: dict[str, Any] = {}
    for key in ("epochs", "iterations", "seed"):  # by TRAIN.MINUTES each fold has epochs of its own
        values = {part.get(key) for part in parts if part}
        if len(values) == 1 and None not in values:
            common[key] = values.pop()
    spent = [
        stretch for part in parts if part for stretch in part.get("costs", {}).get("spent", [])
    ]
    costs = {"costs": {"spent": add_up(spent)}} if spent else {}
    return {"folds": len(parts), **common, "seconds": seconds, **costs}


def _notes(folds: Folds, tested: Sequence[Results]) -> list[str]:
    """Notes on all videos, and those of single folds, with the fold."""
    shared = set(folds.notes).union(set.intersection(*(set(one.notes) for one in tested)))
    shared -= set(notes_of(tested[0].analyses))
    common = dict.fromkeys([*folds.notes, *(note for note in tested[0].notes if note in shared)])
    own = [
        f"Fold {fold}: {note}"
        for fold, results in enumerate(tested)
        for note in results.notes
        if note not in shared and not note.startswith(f"Fold {fold} of ")
        if note not in notes_of(results.analyses)  # which say the same of all videos
    ]
    return [*common, *own]


def _group_interval(
    task: Task,
    records: Sequence[VideoRecord],
    groups: np.ndarray | None,
    scores: np.ndarray,
    results: Mapping[str, Any],
) -> int:
    """Give the headline the interval of videos in groups; how many groups that are, 0 without any."""
    if groups is None:
        return 0
    good = ~np.isnan(scores).all(axis=tuple(range(1, scores.ndim)))
    known = renumbered(groups[good])
    score = Protocol.from_dict(results["protocol"]).score
    labels = [task.label_of(record) for record, own in zip(records, good, strict=True) if own]
    interval = task.group_interval(labels, task.video_scores(scores[good], score), known)
    headline = results["summary"][task.headline]
    if interval is None or not isinstance(headline, dict):
        return 0
    headline["low"], headline["high"] = interval
    return int(known.max()) + 1


def _spread(task: Task, root: Path, tested: Sequence[Results]) -> dict[str, Any]:
    """The record's "crossval" but for its groups: the folds, and how far their figures lie apart."""
    shown = {figure.key: figure for figure in task.figures}.get(task.headline)
    folds = []
    for fold, results in enumerate(tested):
        figure = results.summary[task.headline]
        figure = figure if isinstance(figure, dict) else {"value": figure}
        folds.append(
            {
                "fold": fold,
                "folder": results.folder.relative_to(root).as_posix(),
                "videos": results.summary["videos"],
                "failed": results.summary["failed"],
                "train_videos": (results.training or {}).get("train_videos"),
                "epoch": results.model["epoch"],
                **{key: results.model[key] for key in ("iteration",) if key in results.model},
                "figure": figure,
            }
        )
    spread = Spread([fold["figure"]["value"] for fold in folds])
    return {
        "figure": task.headline,
        "title": shown.title if shown else task.headline,
        "short": shown.short if shown else task.headline,
        "folds": folds,
        "mean": spread.mean,
        "deviation": spread.deviation,
    }


def _spread_line(found: Mapping[str, Any]) -> str:
    values = Spread([fold["figure"]["value"] for fold in found["folds"]]).known
    if not values:
        return f"No fold has a figure {found['title']}."
    mean = f"{found['mean']:.1%}"
    mean += "" if found["deviation"] is None else f" +- {found['deviation']:.1%}"
    each = ", ".join(f"{value:.1%}" for value in values)
    return f"{found['title']} of the folds: {each}; mean {mean} (standard deviation)."
