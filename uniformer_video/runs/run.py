"""The story of a run: load the lists, train, test, report."""

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from fvcore.common.config import CfgNode

from uniformer_video.data.lists.class_counts import count_line
from uniformer_video.distributed.environment import launcher
from uniformer_video.distributed.ranks import join_ranks
from uniformer_video.memory import kept_for_the_next_step
from uniformer_video.runs.build_data import Data, build_data
from uniformer_video.runs.build_lists import without_validation
from uniformer_video.runs.build_model import name_model
from uniformer_video.runs.build_writers import build_writers, check_writers
from uniformer_video.runs.check import check_phases, check_precisions, check_settings
from uniformer_video.runs.fit import fit
from uniformer_video.runs.folder import LACKING_FILE, RunFolder, run_folder
from uniformer_video.runs.frame_cache import build_frame_cache, remove_frame_cache
from uniformer_video.runs.frame_index import build_frame_index, say_frame_index
from uniformer_video.runs.multi_view_test import evaluate
from uniformer_video.runs.rehearsal import remove_leavings
from uniformer_video.runs.time_budget import fit_into_minutes
from uniformer_video.signals import Interrupted


def run(
    cfg: CfgNode,
    name: str,
    command: str = "",
    from_best: bool = False,
    show_bars: bool | None = None,
) -> Path | None:
    """Train and test by `cfg`. `name` is the config's; `command` repeats this run, for messages.

    from_best: go on from the best weights of the run in OUTPUT_DIR. show_bars: of progress; None = on a
    terminal. Returns the folder of the results, or
    None when nothing was tested. Raises `Interrupted` when asked to stop, after saving.
    """
    cfg = without_validation(name_model(cfg))
    check_settings(cfg)
    check_phases(cfg)
    check_writers(cfg)
    with join_ranks(cfg.DISTRIBUTED.TIMEOUT, cfg.DATA_LOADER.TIMEOUT or math.inf) as ranks:
        try:
            check_precisions(cfg, ranks.device)
            data = build_data(cfg)
            folder = run_folder(cfg, name)
            ranks.on_main(folder.check_no_folds)
            ranks.say(*_introduction(cfg, data, folder))
            ranks.on_main(lambda: folder.list_lacking(data.lacking))
            data.frame_index = build_frame_index(cfg, data, ranks)
            if cfg.TRAIN.ENABLE:
                ranks.on_main(lambda: remove_leavings(folder))
                data.cache = build_frame_cache(cfg, folder)
                cfg = fit_into_minutes(cfg, data, folder, ranks, show_bars)
            with closing(build_writers(cfg, folder, ranks)) as writers:
                if cfg.TRAIN.ENABLE:
                    fit(cfg, data, folder, ranks, command, from_best, show_bars, writers=writers)
                    remove_frame_cache(cfg, data, ranks)
                    say_frame_index(data, ranks)
                if not cfg.TEST.ENABLE:
                    return None
                with kept_for_the_next_step(ranks.device.type == "cpu"):
                    tested = evaluate(cfg, data, folder, ranks, name, show_bars, writers)
            if not cfg.TRAIN.ENABLE:
                say_frame_index(data, ranks)
            ranks.wait()  # until the main process has written the results, which all may read
            return tested
        except Interrupted:
            again = f"run the same command: {launcher()} {command}" if command else "run it again"
            ranks.say(f"Stopped; what was finished is saved. To go on, {again}")
            ranks.wait()  # torchrun ends the others as soon as one has left
            raise


def _introduction(cfg: CfgNode, data: Data, folder: RunFolder) -> Iterator[str]:
    counts = ", ".join(
        f"{len(records)} {split}"
        for split in ("train", "val", "test")
        if (records := getattr(data, split))
    )
    yield (
        f"{cfg.MODEL.MODEL_NAME}, {data.num_classes} classes, {data.medium.name}s: {counts}; output "
        f"{folder.path}"
    )
    for split in ("train", "val", "test"):
        if records := getattr(data, split):
            yield count_line(split, records, data.class_names)
    yield from data.notes
    if data.lacking:
        yield f"The published videos that are not in the lists: {folder / LACKING_FILE}"
