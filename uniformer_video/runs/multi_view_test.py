"""The multi-view test as a run does it: score every view, record the results, write the page."""

import logging
import os
import shlex
import time
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import config_text
from uniformer_video.config.settings import changed_settings
from uniformer_video.data.lists.media import noun_of
from uniformer_video.data.lists.records import list_digest
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import CheckpointError, DataError, MissingLibraryError
from uniformer_video.evaluation.analyses.registry import lines_of
from uniformer_video.evaluation.motion import motion_lines
from uniformer_video.evaluation.parts import telling_figures
from uniformer_video.evaluation.results import (
    RESULTS_FILE,
    load_results,
    write_record,
)
from uniformer_video.evaluation.variants import VARIANTS_FILE
from uniformer_video.models.inference_mode import lay_out, prepare_for_inference
from uniformer_video.pages.report import write_report
from uniformer_video.program import command
from uniformer_video.runs import build_model
from uniformer_video.runs.among_classes import keep_classes
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_task import build_task
from uniformer_video.runs.check import is_of_images
from uniformer_video.runs.class_order import match_classes
from uniformer_video.runs.examination import examination_of
from uniformer_video.runs.folder import BEST_FILE, LAST_FILE, RecordedTest, RunFolder
from uniformer_video.runs.join_sets import data_sets
from uniformer_video.runs.tested_model import open_tested_model
from uniformer_video.runs.variants_test import score_test_variants, variants_line
from uniformer_video.runs.view_cost import cost_of
from uniformer_video.storage.address import name_for_messages
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.task import Task
from uniformer_video.training.precision import choose_precision
from uniformer_video.training.writers import Writers
from uniformer_video.versions import versions
from uniformer_video.words import plural

log = logging.getLogger(__name__)


def evaluate(
    cfg: CfgNode,
    data: Data,
    folder: RunFolder,
    ranks: Ranks,
    name: str,
    show_bars: bool | None = None,
    writers: Writers | None = None,
) -> Path:
    """The multi-view test and its report. Results that are already there are only shown again.

    show_bars: of progress; None = on a terminal. writers: get the figures of a new test, and its pictures.
    """
    task = build_task(cfg)
    ranks.wait()  # for the weights of the main process
    path, select = _tested_weights(cfg, folder, ranks)
    tested = open_tested_model(cfg, path, select)
    model, weights, known_notes = tested.model, tested.weights, data.notes
    data = match_classes(data, weights, cfg.MODEL.NUM_CLASSES, cfg.MODEL.MODEL_NAME)
    data = replace(data, notes=[*data.notes, *tested.notes])
    data, tested_model, among = keep_classes(cfg, task, data, model)
    ranks.say(*data.notes[len(known_notes) :])
    videos = list_digest(data.test)
    results_folder = folder.results_folder(cfg, tested.digest, videos, _recorded_test)
    target = results_folder.path
    tested_model.to(ranks.device)
    if results_folder.differs:
        ranks.say(f"A further test of this run, in {target}: {' '.join(results_folder.differs)}")
    if results_folder.is_done:
        ranks.say(f"These weights are tested already ({target / RESULTS_FILE}).")
        ranks.say(*(_failed_then(target) if ranks.is_main else ()))
        ranks.on_main(lambda: _renew_data(target, data_facts(cfg)))
        ready = prepare_for_inference(tested_model)
        score_test_variants(cfg, task, ready, data, target, ranks, show_bars)
        return present(target, ranks)
    protocol = Protocol.from_cfg(cfg)
    asked = tested.precision or protocol.precision
    precision = choose_precision(asked, ranks.device)
    protocol = replace(protocol, views=tested.views or protocol.views, precision=precision)
    which = f", {weights.choice}" if weights.choice else ""
    ranks.say(
        f"Testing {path}{which}: {plural(len(data.test), data.medium.name)}, "
        f"{plural(protocol.num_views, 'view')} of each."
    )
    ranks.say(*variants_line(cfg))
    started = time.monotonic()
    playback = "reverse" if cfg.DATA.REVERSE_FRAMES and not is_of_images(cfg) else "forward"
    figures, uncounted = tested.figures(protocol) if ranks.is_main else ({}, [])
    ready = prepare_for_inference(tested_model)
    lay_out(ready, ranks.device, protocol.precision)
    found = examination_of(task).score(
        cfg, task, ready, data, protocol, ranks, show_bars, playback, target
    )
    found.check(path, data.medium.name)
    told = found.notes(protocol)
    ranks.say(*told)
    if not ranks.is_main:
        score_test_variants(cfg, task, ready, data, target, ranks, show_bars)
        return target
    results = found.results(
        task=task,
        title=name,
        names=[record.name for record in data.test],
        paths=[record.path for record in data.test],
        labels=[task.label_of(record) for record in data.test],
        class_names=data.class_names,
        protocol=protocol,
        playback=playback,
        videos_sha256=videos,
        model={
            "name": tested.name,
            **figures,
            "checkpoint": str(path),
            "checkpoint_sha256": tested.digest,
            "epoch": None,
            **dict([weights.place] if weights.place else []),  # the epoch, or the iteration
            **({"weights": weights.chosen} if weights.chosen else {}),
        },
        segments=[(record.start, record.end) for record in data.test],
        failures=found.failures,
        training=weights.metadata.get("training"),
        notes=[*data.notes, *told, *uncounted],
        sizes=found.sizes,
        cost=cost_of(cfg, protocol, found.times, ranks),
        seconds=time.monotonic() - started,
        settings=config_text(cfg),
        versions=versions(tested.libraries),
        data=data_facts(cfg),
        changed_settings=changed_settings(cfg),
        differs=results_folder.differs,
        among_classes=among,
    )
    (target / VARIANTS_FILE).unlink(missing_ok=True)  # of an earlier test
    found.save(target, results, task)
    score_test_variants(cfg, task, ready, data, target, ranks, show_bars)
    if writers:
        _show(load_results(target), task, writers)
    return present(target, ranks)


def data_facts(cfg: CfgNode) -> dict[str, str]:
    """What a record tells of the data set: its "name", by its folder, "format", "split" and "license"."""
    places = [name_for_messages(place).rstrip("/") for place in data_sets(cfg)]
    names = [PurePath(os.path.abspath(place)).name for place in places if place]
    return {
        "name": " + ".join(filter(None, names)) or cfg.TRAIN.DATASET,
        "format": cfg.TRAIN.DATASET,
        "split": cfg.TEST.SPLIT,
        "license": cfg.DATA.LICENSE,
    }


def _renew_data(folder: Path, facts: dict[str, str]) -> None:
    """Put what is told of the data only now into the record of a finished test: the licence of the videos, or
    all of it, where an earlier version has recorded none.
    """
    results, _ = load_tested(folder)
    known = results["data"] or facts
    data = {**known, "license": facts["license"] or known["license"]}
    if data != results["data"]:
        write_record(folder, {**results, "data": data})


def _show(results: dict[str, Any], task: Task, writers: Writers) -> None:
    """Hand the figures of a test to the writers, as "test/top1", and the task's pictures."""
    figures = {}
    for key, figure in telling_figures(results["summary"], len(results["class_names"])).items():
        figures[f"test/{key}"] = figure.get("value") if isinstance(figure, dict) else figure
    writers.scalars(figures)
    for name, pixels in task.pictures(results).items():
        writers.picture(f"test/{name}", pixels)


def _failed_then(folder: Path) -> list[str]:
    """What a stored test lacks, and how its files are tested again once they are mended."""
    results, _ = load_tested(folder)
    if not results["failures"]:
        return []
    failed = plural(len(results["failures"]), noun_of(results))
    return [
        f"{failed} could not be read in that test, and nothing is read again now; to test what has been "
        f"mended since, delete {folder / RESULTS_FILE}."
    ]


def present(folder: Path, ranks: Ranks) -> Path:
    """`show` by the main process."""
    if ranks.is_main:
        show(folder)
    return folder


def show(folder: Path) -> None:
    """Log the summary and write the page; without the page's libraries the results stand alone."""
    results, task = load_tested(folder)
    for line in (
        *task.summary_lines(results),
        *motion_lines(results["motion"]),
        *lines_of(results["analyses"]),
    ):
        log.info(line)
    try:
        log.info("Report: %s", report(folder))
    except MissingLibraryError as error:
        again = command(f"report {shlex.quote(str(folder))}")
        log.warning("No report page: %s\nThen `%s` makes the page of these results.", error, again)


def _tested_weights(cfg: CfgNode, folder: RunFolder, ranks: Ranks) -> tuple[Path, str]:
    """The checkpoint that the config asks to test, on this machine, and which of its weights."""
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        return build_model.fetch_weights(cfg.TEST.CHECKPOINT_FILE_PATH, ranks), "model"
    file, _, kind = cfg.TEST.WEIGHTS.partition("-")
    path = folder / (BEST_FILE if file == "best" else LAST_FILE)
    if not path.is_file():
        other = "last" if file == "best" else "best"
        raise CheckpointError(
            f"there is no {path.name} to test in {folder.path}; set TEST.WEIGHTS {other} if that is "
            "there, TEST.CHECKPOINT_FILE_PATH to a checkpoint, or train first"
        )
    return path, kind or "model"


def _recorded_test(folder: Path) -> RecordedTest | None:
    """The `RecordedTest` of the results in a folder, or None."""
    if not (Path(folder) / RESULTS_FILE).is_file():
        return None
    try:
        results, _ = load_tested(folder)
    except DataError:
        return None
    return RecordedTest(
        results["model"].get("checkpoint_sha256", ""),
        results["videos_sha256"],
        results["settings"],
    )


def report(folder: Path | str) -> Path:
    """Write the page of the results in `folder` again; its path."""
    return write_report(folder, *load_tested(folder))
