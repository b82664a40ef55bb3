"""What inflation is worth: a video model from scratch, and from an image model inflated in both ways.

One call makes the four trainings of a seed, ordinary runs with folders and pages of their own, and a table of
all seeds in the folder. The video runs differ in what they start from alone: they see the same videos in the
same order.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.config.setting import TEST, TRAINING
from uniformer_video.config.settings import COMMAND_LINE, origin, with_settings
from uniformer_video.config.shipped import command_that_makes
from uniformer_video.distributed.ranks import join_ranks
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.evaluation.record import Results
from uniformer_video.files import METRICS_FILE
from uniformer_video.pages.report import read_metrics
from uniformer_video.runs.compare import compare
from uniformer_video.runs.folder import BEST_FILE, CONFIG_FILE, run_folder
from uniformer_video.runs.inflation_table import SEED_FILE, read_seeds, write_seed, write_table
from uniformer_video.runs.join_sets import data_sets
from uniformer_video.runs.recipes import recipe_settings
from uniformer_video.runs.run import run
from uniformer_video.storage.address import is_address
from uniformer_video.tasks.registry import load_tested
from uniformer_video.weights.inflate import MODES
from uniformer_video.zoo.registry import find_model

log = logging.getLogger(__name__)

IMAGES, SCRATCH = "images", "scratch"
_PRETRAIN, _MODE = "UNIFORMER.PRETRAIN_NAME", "UNIFORMER.INFLATE_MODE"


def study_inflation(
    video: CfgNode,
    images: CfgNode,
    names: tuple[str, str],
    target: float = 0.9,
    command: str = "",
    show_bars: bool | None = None,
) -> Path:
    """Train by `images`, then by `video` from scratch and from both inflations; write and say the table.

    The runs of a seed lie in `OUTPUT_DIR/seedN`: `images`, `scratch`, `average` and `center`; finished ones
    are only read again. OUTPUT_DIR, which is returned, gets `inflation.json` and `inflation.md`.

    Args:
        video, images: the settings of the video runs and of the image run, of one seed.
        names: what the two configs are called.
        target: the share of right answers that the steps are counted to, of validations.
        command, show_bars: as of `run`, which may also raise `Interrupted`.
    """
    _check(video, images, target)
    root, seed = run_folder(video, names[0]).path, video.RNG_SEED
    _check_folder(root)
    _check_sets(video)  # before the image model is trained, which looks at its own set itself
    folder = root / f"seed{seed}"
    log.info("Stage 1 of 4, seed %d: the image model", seed)
    own = with_settings(images, {"OUTPUT_DIR": str(folder / IMAGES)})
    run(own, f"{names[1]}, seed {seed}", command, show_bars=show_bars)
    for stage, start in enumerate((SCRATCH, *MODES), start=2):
        log.info("Stage %d of 4, seed %d: the video model, %s", stage, seed, _start_in_words(start))
        inflated = {_PRETRAIN: str(folder / IMAGES / BEST_FILE), _MODE: start}
        settings = {"OUTPUT_DIR": str(folder / start)} | (inflated if start != SCRATCH else {})
        run(
            with_settings(video, settings),
            f"{names[0]}, {start}, seed {seed}",
            command,
            show_bars=show_bars,
        )
    with join_ranks(video.DISTRIBUTED.TIMEOUT, math.inf) as ranks:
        ranks.on_main(lambda: _conclude(root, folder, seed, target))
        ranks.wait()
    return root


def _start_in_words(start: str) -> str:
    return "from scratch" if start == SCRATCH else f"from the image model, inflated by {start}"


def _check(video: CfgNode, images: CfgNode, target: float) -> None:
    """Raise `ConfigError` for settings that make no comparison of starts."""
    if not 0 < target < 1:
        raise ConfigError(f"the accuracy to reach is a share between 0 and 1, got {target:g}")
    wanted = ((images, True, "images"), (video, False, "videos"))
    for cfg, takes_images, noun in wanted:
        model = find_model(cfg.MODEL.MODEL_NAME)
        if model.takes_images != takes_images:
            raise ConfigError(
                f"the config of the {noun} names the model {model.name}, which takes "
                f"{'images' if model.takes_images else 'videos'}; --cfg takes the config of the video model, "
                "--images that of the image model"
            )
        for key in (_PRETRAIN, _MODE):
            if origin(cfg, key) == COMMAND_LINE:
                raise ConfigError(
                    f"the runs differ in {key}, which is set for each of them; leave it out"
                )
        for key, is_set in ((TRAINING, cfg.TRAIN.ENABLE), (TEST, cfg.TEST.ENABLE)):
            if not is_set:
                raise ConfigError(f"every model is trained and tested; leave {key} False out")
    if video.UNIFORMER.PRETRAIN_NAME:
        raise ConfigError(
            f"the config of the videos starts from {video.UNIFORMER.PRETRAIN_NAME} ({_PRETRAIN}), and one of "
            "the runs starts from scratch; take a config without it"
        )


def _check_folder(root: Path) -> None:
    """Raise `ConfigError` where the folder holds one run."""
    if (root / CONFIG_FILE).exists():
        raise ConfigError(
            f"OUTPUT_DIR {root} holds a run of its own; seeds take a folder of theirs: choose another "
            "OUTPUT_DIR"
        )


def _check_sets(video: CfgNode) -> None:
    """Raise `DataError` where the folder of the videos is absent."""
    for place in data_sets(video):
        if place and not is_address(place) and not Path(place).exists():
            made_by = command_that_makes(place)
            raise DataError(
                f"there is no folder {place}, of the videos; "
                + (f"`{made_by}` makes it; or " if made_by else "")
                + "set DATA.PATH_TO_DATA_DIR in the config of the video runs"
            )


def _conclude(root: Path, folder: Path, seed: int, target: float) -> None:
    """Write what the runs of a seed came to, and the table of all seeds that are there."""
    write_seed(folder / SEED_FILE, _record(folder, seed))
    seeds, notes = read_seeds(root, seed)
    for line in write_table(root, seeds, target, notes):
        log.info(line)


def _record(folder: Path, seed: int) -> dict[str, Any]:
    """What is kept of a seed, ready for JSON."""
    starts = (SCRATCH, *MODES)
    compared = compare([folder / start for start in starts])
    pairs: list[Mapping[str, Any] | None] = [None, *compared["pairs"]]
    return {
        "seed": seed,
        "settings": {IMAGES: _settings(folder / IMAGES), "videos": _settings(folder / SCRATCH)},
        "images": _run_record(folder / IMAGES) | {"start": IMAGES},
        "runs": [
            _run_record(folder / start)
            | {"start": start}
            | {
                "difference": pair
                and {"value": pair["difference"], "low": pair["low"], "high": pair["high"]}
            }
            for start, pair in zip(starts, pairs, strict=True)
        ],
    }


def _run_record(folder: Path) -> dict[str, Any]:
    """The curve of a run's validations, its last step, and the headline of its test."""
    results, task = load_tested(folder)
    metrics = read_metrics(folder / METRICS_FILE)
    figure = results["summary"][task.headline]
    return {
        "folder": folder.name,
        "curve": [[line["step"], line[task.score_key]] for line in metrics["val"]],
        "steps": max(line["step"] for lines in metrics.values() for line in lines),
        "figure": next(each.short for each in task.figures if each.key == task.headline),
        "test": figure if isinstance(figure, Mapping) else {"value": figure},
        "seconds": (results["training"] or {}).get("seconds"),
    }


def _settings(folder: Path) -> dict[str, str]:
    """The settings of a run by which seeds are alike, as text, without those that the starts differ in."""
    settings = recipe_settings(Results.load(folder)) or {}
    return {key: str(value) for key, value in settings.items() if key not in (_PRETRAIN, _MODE)}
