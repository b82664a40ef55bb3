"""A comparison of finished runs on the same videos: read, brought into one order, compared, written."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejson

from uniformer_video.config.recorded import config_from_text
from uniformer_video.errors import ConfigError, DataError, UserError
from uniformer_video.evaluation.compare import Answers, compare_answers
from uniformer_video.evaluation.record import Results
from uniformer_video.evaluation.strips import Strips
from uniformer_video.files import write_text
from uniformer_video.pages.compare import StripOf, write_comparison
from uniformer_video.pages.report import protocol_line
from uniformer_video.runs.build_model import model_options
from uniformer_video.runs.compare_names import names_of_folders, names_of_recipes
from uniformer_video.runs.compare_notes import (
    on_cross_validations,
    on_other_protocols,
    on_same_answers,
    on_what_lacks,
)
from uniformer_video.runs.recipes import differing_settings, group_by_recipe, recipe_settings
from uniformer_video.runs.same_videos import SameTest, in_one_order
from uniformer_video.runs.stored_test import StoredTest, check_names, read_stored_test
from uniformer_video.runs.view_cost import counted_gflops
from uniformer_video.versions import versions
from uniformer_video.words import plural
from uniformer_video.zoo.create import build_network, count_parameters

COMPARISON_FILE = "compare.json"
SCHEMA_VERSION = 1
_KEPT = ("name", "path", "start", "end")  # of a video of a record


def compare(folders: Sequence[str | Path]) -> dict[str, Any]:
    """The record of a comparison of the tests in `folders`, as compare.json holds it; the first is the one
    that all others are held against.

    Raises `DataError` for fewer than two, the same twice, and tests that do not compare.
    """
    tests = _read(folders)
    same, notes = in_one_order(tests)
    names, results = list(tests), [test.results for test in tests.values()]
    task, first = same[0].test.task, results[0]
    decoded = np.all([test.decoded for test in same], axis=0)
    chosen = np.flatnonzero(decoded)
    if not len(chosen):
        raise DataError(
            f"there is no {first.protocol.medium} that all of {', '.join(names)} could decode, so nothing to "
            "compare by"
        )
    groups = _groups(same, chosen)
    runs = [_answers(test, chosen, groups) for test in same]
    settings = [recipe_settings(one) for one in results]
    recipes = group_by_recipe(settings)
    found = compare_answers(runs, recipes, [_entry(same, place) for place in chosen.tolist()])
    for row, name in zip(found["per_class"], first.class_names, strict=True):
        row["name"] = name
    recipe_of = {place: number for number, group in enumerate(recipes) for place in group}
    rows = [
        {
            "name": name,
            "recipe": recipe_of[place],
            **_facts(test),
            "gflops_video": runs[place].gflops,
            "figures": found["runs"][place],
        }
        for place, (name, test) in enumerate(tests.items())
    ]
    left_out = _left_out(same, decoded)
    notes = [*on_same_answers(names, same), *on_other_protocols(names, results), *notes]
    notes += on_cross_validations(names, results)
    notes += on_what_lacks(rows, settings, left_out, len(decoded), first.protocol.medium)
    called = names_of_recipes(recipes, rows)
    return {
        "schema_version": SCHEMA_VERSION,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "task": task.name,
        "headline": task.headline,
        "hits": task.hits_key,
        "figures": [figure._asdict() for figure in task.figures],
        "class_figure": task.class_figure,
        "videos": len(decoded),
        "compared": len(chosen),
        "judged": int(runs[0].judged.sum()),
        "groups": 0 if groups is None else int(groups.max()) + 1,
        "left_out": left_out,
        "class_names": list(first.class_names),
        **found,
        "runs": rows,
        "recipes": [
            {"name": name, **recipe} for name, recipe in zip(called, found["recipes"], strict=True)
        ],
        "settings": differing_settings(settings, recipes),
        "notes": notes,
        "versions": versions(),
    }


def write(record: Mapping[str, Any], out: Path | str) -> Path:
    """Write compare.json and compare.html into the folder `out`, which is made if needed; the page's path.

    Raises `MissingLibraryError`, with the data written, where the page's libraries are missing.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if out.is_file() else error.strerror
        raise ConfigError(
            f"cannot make the folder {out}: {reason}; choose another with --out"
        ) from None
    text = simplejson.dumps(record, ignore_nan=True, indent=1, ensure_ascii=False)
    write_text(out / COMPARISON_FILE, text)
    strips = [_strips_by_video(run["folder"]) for run in record["runs"]]
    return write_comparison(
        out, record, lambda video: next(filter(None, (of_run(video) for of_run in strips)), "")
    )


def _strips_by_video(folder: str) -> StripOf:
    """What gives the strip that the test in a folder has kept of a video, "" where it has none."""
    videos = Results.load(folder).videos
    strips = Strips.load(folder, len(videos))
    rows = {_video_key(video): row for row, video in enumerate(videos)}
    return lambda video: strips.uri(rows[_video_key(video)])


def _video_key(video: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(video.get(key) for key in ("name", "start", "end"))


def _read(folders: Sequence[str | Path]) -> dict[str, StoredTest]:
    """The tests, by names that tell them apart."""
    if len(folders) < 2:
        raise DataError(
            f"compare takes two runs or more, got {plural(len(folders), 'folder')}; name the folders of "
            "finished runs or tests, the first being the one that others are held against"
        )
    tests = [read_stored_test(folder) for folder in folders]
    for test in tests:
        check_names(test)
    places = [Path(os.path.realpath(test.folder)) for test in tests]
    if twice := [place for place in dict.fromkeys(places) if places.count(place) > 1]:
        raise DataError(f"{twice[0]} is named twice; a run does not compare with itself")
    shown = [Path(os.path.abspath(test.folder)) for test in tests]
    return dict(zip(names_of_folders(shown), tests, strict=True))


def _answers(test: SameTest, chosen: np.ndarray, groups: np.ndarray | None) -> Answers:
    cost, num_views = _gflops_of_view(test.test.results), test.test.results.protocol.num_views
    views, task = test.view_scores(chosen), test.test.task
    rule = test.test.results.protocol.score
    scores = task.video_scores(views, rule)
    return Answers(
        task=task,
        labels=[test.labels[place] for place in chosen],
        scores=scores,
        probabilities=task.probabilities(scores, rule),
        logits=scores if rule == "logits" else task.video_scores(views, "logits"),
        gflops=None if cost is None else cost * num_views,
        groups=groups,
    )


def _groups(same: Sequence[SameTest], chosen: np.ndarray) -> np.ndarray | None:
    """The groups of the chosen videos, int from 0, where a cross-validation records them; None without any.

    A video without one is a group of its own.
    """
    for test in same:
        videos = [test.test.results.videos[row] for row in test.rows[chosen]]
        if any("group" in video for video in videos):
            keys = [video.get("group") or ("", place) for place, video in enumerate(videos)]
            numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
            return np.array([numbers[key] for key in keys])
    return None


def _entry(same: Sequence[SameTest], place: int) -> dict[str, Any]:
    """A video as a comparison lists it, with the best answer of each run as that one's record has it."""
    first = same[0].test
    video = first.results.videos[place]
    entry: dict[str, Any] = {key: video[key] for key in _KEPT if key in video}
    entry |= first.task.label_entry(same[0].labels[place])
    return {**entry, "answers": [_answer(test, place) for test in same]}


def _answer(test: SameTest, place: int) -> dict[str, Any] | None:
    """`{"class", "score"}` in the first test's classes; None where the record does not tell."""
    top = test.test.results.videos[test.rows[place]].get("top5")
    if not top:
        return None
    return {"class": test.numbers[top[0]["class"]], "score": top[0]["score"]}


def _facts(test: StoredTest) -> dict[str, Any]:
    """What is known of a run beside its answers."""
    results = test.results
    own = results.summary[test.task.headline]
    return {
        "folder": str(test.folder),
        "title": results.title,
        "model": results.model.get("name"),
        "parameters": results.model.get("parameters"),
        "checkpoint": results.model.get("checkpoint"),
        "checkpoint_sha256": results.model.get("checkpoint_sha256"),
        "epoch": results.model.get("epoch"),
        **{key: results.model[key] for key in ("iteration",) if key in results.model},
        "license": (results.data or {}).get("license"),
        "seed": (results.training or {}).get("seed"),
        "protocol": results.protocol.to_dict(),
        "playback": results.playback,
        "views": protocol_line(results.protocol, results.playback),
        "num_views": results.protocol.num_views,
        "failed": int((~test.decoded).sum()),
        "as_tested": own.get("value") if isinstance(own, dict) else own,
    }


def _gflops_of_view(results: Results) -> float | None:
    """1e9 multiply-adds of one view: as the test recorded it, else counted; None where that fails.

    It is counted of the model that the settings describe, if that has as many parameters as the tested one.
    """
    if (known := results.model.get("gflops_view")) is not None:
        return float(known)
    try:
        cfg = config_from_text(results.settings, str(results.folder))
        name = results.model.get("name")
        if not results.settings or not name or name != cfg.MODEL.MODEL_NAME:
            return None
        model = build_network(name, len(results.class_names), **model_options(cfg))
        if count_parameters(model) != results.model.get("parameters"):
            return None
    except UserError:  # a setting of a plugin that is not here
        return None
    return counted_gflops(model, results.protocol)[0].get("gflops_view")


def _left_out(same: Sequence[SameTest], decoded: np.ndarray) -> list[dict[str, Any]]:
    """The videos that not all runs could decode: which runs could not."""
    videos = same[0].test.results.videos
    return [
        {
            "name": videos[place]["name"],
            "runs": [number for number, test in enumerate(same) if not test.decoded[place]],
        }
        for place in np.flatnonzero(~decoded)
    ]
