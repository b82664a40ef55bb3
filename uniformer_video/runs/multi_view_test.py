"""The multi-view test as a run does it: score every view, record the results, write the page."""

import logging
import os
import shlex
import time
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, cast

from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import config_text
from uniformer_video.config.setting import value_in_words
from uniformer_video.config.settings import changed_settings
from uniformer_video.data.lists.media import IMAGE, noun_of
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
from uniformer_video.export.formats import is_export
from uniformer_video.export.runtime import digest_of, runtime_of
from uniformer_video.models.contract import RecognitionModel
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
from uniformer_video.runs.exported_test import (
    differing_preparation,
    exported_figures,
    load_exported,
)
from uniformer_video.runs.folder import BEST_FILE, LAST_FILE, RecordedTest, RunFolder
from uniformer_video.runs.join_sets import data_sets
from uniformer_video.runs.variants_test import score_test_variants, variants_line
from uniformer_video.runs.view_cost import cost_of, counted_gflops
from uniformer_video.storage.address import name_for_messages
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.task import Task
from uniformer_video.training.precision import choose_precision
from uniformer_video.training.writers import Writers
from uniformer_video.versions import versions
from uniformer_video.weights.checkpoint import CALIBRATION, Weights, file_sha256
from uniformer_video.words import plural
from uniformer_video.zoo.create import count_parameters
from uniformer_video.zoo.published import known_protocol
from uniformer_video.zoo.registry import find_model

log = logging.getLogger(__name__)

_UNCALIBRATED = (
    "The checkpoint holds a temperature, which predictions apply and a test does not: these scores are those "
    "of the model itself."
)


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
    known_notes, exported = data.notes, None
    if is_export(path):
        exported, weights = load_exported(cfg, path)
        model = cast(RecognitionModel, exported)  # a test asks it for logits alone
        digest = digest_of(path)
        data = replace(data, notes=[*data.notes, *differing_preparation(cfg, exported)])
    else:
        model, weights = build_model.load_tested_model(cfg, path, select)
        digest = file_sha256(path)
    data = match_classes(data, weights, cfg.MODEL.NUM_CLASSES, cfg.MODEL.MODEL_NAME)
    if CALIBRATION in weights.metadata:
        data = replace(data, notes=[*data.notes, _UNCALIBRATED])
    data = replace(data, notes=[*data.notes, *_other_pixels(cfg, weights)])
    data, tested_model, among = keep_classes(cfg, task, data, model)
    ranks.say(*data.notes[len(known_notes) :])
    videos = list_digest(data.test)
    results_folder = folder.results_folder(cfg, digest, videos, _recorded_test)
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
    if exported:
        protocol = replace(protocol, precision="fp32")
    protocol = replace(protocol, precision=choose_precision(protocol.precision, ranks.device))
    which = f", {weights.choice}" if weights.choice else ""
    ranks.say(
        f"Testing {path}{which}: {plural(len(data.test), data.medium.name)}, "
        f"{plural(protocol.num_views, 'view')} of each."
    )
    ranks.say(*variants_line(cfg))
    started = time.monotonic()
    playback = "reverse" if cfg.DATA.REVERSE_FRAMES and not is_of_images(cfg) else "forward"
    figures: dict[str, Any] = {}
    uncounted: list[str] = []
    if exported:
        figures, uncounted = exported_figures(exported)
    elif ranks.is_main:
        figures, uncounted = _figures(cfg, model, protocol)
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
            "name": exported.info.model if exported else cfg.MODEL.MODEL_NAME,
            **figures,
            "checkpoint": str(path),
            "checkpoint_sha256": digest,
            "epoch": None,
            **dict([weights.place] if weights.place else []),  # the epoch, or the iteration
            **({"weights": weights.chosen} if weights.chosen else {}),
        },
        segments=[(record.start, record.end) for record in data.test],
        failures=found.failures,
        training=weights.metadata.get("training"),
        notes=[*data.notes, *told, *uncounted],
        sizes=found.sizes,
        cost=cost_of(cfg, found.times, ranks),
        seconds=time.monotonic() - started,
        settings=config_text(cfg),
        versions=versions(runtime_of(exported.info)[1] if exported else ()),
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


def _figures(
    cfg: CfgNode, model: RecognitionModel, protocol: Protocol
) -> tuple[dict[str, Any], list[str]]:
    """What the record's "model" tells of its size and family, and notes; of a model as it was trained, since
    one for inference has fewer layers.
    """
    gflops, uncounted = counted_gflops(model, protocol)
    facts = find_model(cfg.MODEL.MODEL_NAME).family.facts(model)
    return {"parameters": count_parameters(model), **gflops, **facts}, uncounted


def _other_pixels(cfg: CfgNode, weights: Weights) -> list[str]:
    """A note where images are prepared otherwise for the test than they were for the weights."""
    known, own = known_protocol(weights), Protocol.from_cfg(cfg)
    if known is None or known.medium != IMAGE.name or known.views.normalise == own.views.normalise:
        return []
    pixels = known.views.normalise
    return [
        f"The weights are for images with DATA.MEAN {value_in_words(list(pixels.mean))} and DATA.STD "
        f"{value_in_words(list(pixels.std))}, and this test takes "
        f"{value_in_words(cfg.DATA.MEAN)} and {value_in_words(cfg.DATA.STD)}."
    ]


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
