"""The story of an advice: what is there, what it looks like, which rules hold, what it costs, the command."""

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from uniformer_video.advice.cost import estimate
from uniformer_video.advice.notes import notes_on
from uniformer_video.advice.record import Advice
from uniformer_video.advice.rules import SCRATCH_RECIPE, Choice, Situation, decide
from uniformer_video.advice.source import PARTS, Source, find_source
from uniformer_video.advice.start import SCRATCH, Start, find_start
from uniformer_video.advice.videos import VideoFacts, look_at_videos
from uniformer_video.config.settings import flat_config, load_config
from uniformer_video.config.shipped import list_configs
from uniformer_video.config.unused import unused_settings
from uniformer_video.data.lists.class_counts import class_counts
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.plugins import import_installed
from uniformer_video.program import command
from uniformer_video.runs.check import check_settings
from uniformer_video.words import plural
from uniformer_video.zoo.registry import find_model

SAMPLE = 500  # videos that are opened, of more
_WARM_UP = 10  # epochs, at most, in any recipe
_HEAVY = 20  # GFLOPs a clip from which a smaller one is worth it


def advise(
    path: str | Path,
    weights: str | Path | None = None,
    settings: Mapping[str, Any] | Iterable[str] = (),
    sample: int = SAMPLE,
    workers: int = 0,
    measure: bool = True,
    progress: Callable[[int, int, int], None] | None = None,
) -> Advice:
    """Look at videos and say which recipe, frames, stride and size fit them, and why.

    Args:
        path: a folder of class folders, a folder or file of lists of any registered format, an address of
            shards; or a folder of videos without labels, or one video.
        weights: to start from: a path, an address or a published name; "none" = from scratch; None = the
            best of the published ones that are here or can be fetched.
        settings: what is fixed already, as `{"TRAIN.DATASET": "ucf101"}` or as words of a command line; the
            command has them, and no rule touches them.
        sample: how many videos are opened, evenly over the lists, where there are more.
        workers: processes that open them; 0 = one a core.
        measure: also time a training step of the model, in a process of its own.
        progress: called with (finished, total, failed) numbers of videos.

    Raises `UserError` for what is not there, and for what would stop a run.
    """
    import_installed()
    if sample < 1:
        raise ConfigError(f"the sample is {sample} videos; it takes 1 or more")
    pinned = _pinned(settings)
    _check_pinned(pinned)
    source = find_source(os.fspath(path), pinned)
    facts = look_at_videos(source.records, sample, workers, progress)
    if len(facts.broken) == facts.looked_at:
        name, reason = facts.broken[0]
        opened = plural(facts.looked_at, "video")
        raise DataError(f"no video can be read, out of {opened} that were opened; {name}: {reason}")
    if not source.class_names:
        return Advice(
            source=source.given,
            format="",
            splits={},
            classes={},
            facts=facts,
            notes=tuple(notes_on(source, facts, {})),
        )
    return _advise_training(source, facts, pinned, weights, measure)


def _advise_training(
    source: Source,
    facts: VideoFacts,
    pinned: Mapping[str, str],
    weights: str | Path | None,
    measure: bool,
) -> Advice:
    asked = pinned.get("UNIFORMER.PRETRAIN_NAME", None if weights is None else os.fspath(weights))
    start = find_start(SCRATCH if asked == "" else asked, pinned.get("MODEL.MODEL_NAME"))
    situation = _situation(source, facts, start)
    recipe = decide(situation)[0].recipe
    step = int(pinned.get("TRAIN.BATCH_SIZE", load_config(recipe).TRAIN.BATCH_SIZE))
    choices = decide(replace(situation, step=step), list(pinned))
    settings = _settings(recipe, source, start, choices, pinned)
    cfg = load_config(recipe, words_of(settings))
    check_settings(cfg)
    train = source.splits["train"]
    splits = {part: len(records) for part, records in source.splits.items()}
    cost = None
    if measure:
        task = (recipe, tuple(words_of(settings)), len(source.class_names))
        tested = splits.get("test", 0) if cfg.TEST.ENABLE else 0
        cost = estimate(cfg, task, train, splits.get("val", 0), tested)
    return Advice(
        source=source.given,
        format=source.format,
        splits=splits,
        classes=_count(source),
        facts=facts,
        start=start,
        recipe=recipe,
        settings=settings,
        choices=tuple(choices),
        notes=tuple(notes_on(source, facts, flat_config(cfg), cost)),
        cost=cost,
        command=_command(recipe, settings, source),
    )


def _pinned(settings: Mapping[str, Any] | Iterable[str]) -> dict[str, str]:
    """`{key: word}` of settings that are given as a mapping, or as words in pairs.

    A training that is to be shorter than the warm-up of a recipe gets a shorter one.
    """
    if isinstance(settings, Mapping):
        pinned = {key: str(value) for key, value in settings.items()}
    else:
        words = [str(word) for word in settings]
        if len(words) % 2:
            raise ConfigError(f"settings are pairs of KEY VALUE, and {words[-1]!r} stands alone")
        pinned = dict(zip(words[::2], words[1::2], strict=True))
    epochs = pinned.get("SOLVER.MAX_EPOCH", "")
    if epochs.isdigit() and int(epochs) <= _WARM_UP and "SOLVER.WARMUP_EPOCHS" not in pinned:
        pinned["SOLVER.WARMUP_EPOCHS"] = f"{int(epochs) / 10:g}"
    return pinned


def _check_pinned(pinned: Mapping[str, str]) -> None:
    """Raise `ConfigError` for settings that no run takes, before any video is looked at."""
    if "DATA.PATH_TO_DATA_DIR" in pinned:
        raise ConfigError("DATA.PATH_TO_DATA_DIR is the folder or list itself here; leave it out")
    load_config("finetune/small", words_of(pinned))


def _situation(source: Source, facts: VideoFacts, start: Start) -> Situation:
    import torch

    model = find_model(start.model)
    takes_any = "UNIFORMER.LOCAL_KERNEL" in model.family.settings
    counts = class_counts(source.splits["train"])
    return Situation(
        train=len(source.splits["train"]),
        counts={name: counts[label] for label, name in enumerate(source.class_names)},
        facts=facts,
        start=start,
        has_gpu=torch.cuda.is_available(),
        has_scratch_recipe=SCRATCH_RECIPE in list_configs(),
        resizable=takes_any and (model.gflops or 0) > _HEAVY,
    )


def _count(source: Source) -> dict[str, int]:
    counts: Counter[int] = class_counts(source.records)
    return {name: counts[label] for label, name in enumerate(source.class_names)}


def _settings(
    recipe: str,
    source: Source,
    start: Start,
    choices: Sequence[Choice],
    pinned: Mapping[str, str],
) -> dict[str, Any]:
    """The settings of the command: what names the data, the weights, what was decided, what is pinned."""
    chosen = {**source.settings}
    if start.name:
        chosen |= {"UNIFORMER.PRETRAIN_NAME": start.name, "MODEL.MODEL_NAME": start.model}
    for choice in choices:
        chosen |= choice.settings
    own = flat_config(load_config(recipe))
    chosen = {
        key: value for key, value in chosen.items() if key not in pinned and value != own[key]
    }
    if "OUTPUT_DIR" not in pinned:
        chosen["OUTPUT_DIR"] = _free_folder(source.given)
    without_effect = unused_settings(load_config(recipe, words_of({**chosen, **pinned})))
    return {
        **{key: value for key, value in chosen.items() if key not in without_effect},
        **pinned,
    }


def _free_folder(given: str) -> str:
    """A folder for the run that no other has, named as the data."""
    place = Path(os.path.abspath(given))
    name = place.parent.name if place.stem in PARTS else place.stem
    target, number = Path("runs", name), 1
    while target.exists():
        number += 1
        target = Path("runs", f"{name}-{number}")
    return target.as_posix()


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """The words `KEY VALUE ...` of settings, as a command takes them."""
    words = []
    for key, value in settings.items():
        words += [key, str(value)]
    return words


def _command(recipe: str, settings: Mapping[str, Any], source: Source) -> str:
    run = command(shlex.join(["run", "--cfg", recipe, *words_of(settings)]))
    if source.copy_list:
        return f"{shlex.join(['cp', *source.copy_list])} && {run}"
    return run
