"""A comparison of finished runs on the same videos: read, brought into one order, compared, written."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejson

from uniformer_video.config.recorded import config_from_text
from uniformer_video.errors import ConfigError, DataError, UserError
from uniformer_video.evaluation.compare import Answers, compare_answers
from uniformer_video.evaluation.record import Results
from uniformer_video.files import write_text
from uniformer_video.models.flops import count_flops
from uniformer_video.pages.compare import write_comparison
from uniformer_video.pages.report import protocol_line
from uniformer_video.runs.build_model import model_options
from uniformer_video.runs.multi_view_test import _strip
from uniformer_video.runs.recipes import differing_settings, group_by_recipe, recipe_settings
from uniformer_video.runs.same_videos import SameTest, in_one_order
from uniformer_video.runs.stored_test import StoredTest, read_stored_test
from uniformer_video.versions import versions
from uniformer_video.words import name_some, plural
from uniformer_video.zoo.create import build_network, count_parameters

COMPARISON_FILE = "compare.json"
SCHEMA_VERSION = 1
_NAMED = 3


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
            f"there is no video that all of {', '.join(names)} could decode, so nothing to compare by"
        )
    costs = [_gflops_of_view(one) for one in results]
    runs = [
        _answers(test, chosen, cost and cost * test.test.results.protocol.num_views)
        for test, cost in zip(same, costs, strict=True)
    ]
    settings = [recipe_settings(one) for one in results]
    groups = group_by_recipe(settings)
    found = compare_answers(runs, groups, [first.videos[place] for place in chosen])
    recipe_of = {place: number for number, group in enumerate(groups) for place in group}
    rows = [
        {
            "name": name,
            "recipe": recipe_of[place],
            **_facts(test),
            "figures": found["runs"][place],
            "gflops_view": costs[place],
            "gflops_video": runs[place].gflops,
        }
        for place, (name, test) in enumerate(tests.items())
    ]
    left_out = _left_out(names, same, decoded)
    notes = [*_same_answers(names, same), *_other_protocols(names, results), *notes]
    notes += _on_lacking(rows, settings, left_out, len(decoded))
    for number, row in enumerate(found["per_class"]):
        row["name"] = first.class_names[number]
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
        "left_out": left_out,
        "class_names": list(first.class_names),
        **found,
        "runs": rows,
        "recipes": [
            {"name": _recipe_name(group, rows), **recipe}
            for group, recipe in zip(groups, found["recipes"], strict=True)
        ],
        "settings": differing_settings(settings, groups),
        "notes": notes,
        "versions": versions(),
    }


def write(record: Mapping[str, Any], folders: Sequence[str | Path], out: Path | str) -> Path:
    """Write compare.json and compare.html into the folder `out`, which is made if needed; the page's path.

    folders: those that were compared. Raises `MissingLibraryError`, with the data written, where the page's
    libraries are missing.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if out.is_file() else error.strerror
        raise ConfigError(f"cannot make the folder --out {out}: {reason}; choose another") from None
    text = simplejson.dumps(record, ignore_nan=True, indent=1, ensure_ascii=False)
    write_text(out / COMPARISON_FILE, text)
    tests = list(_read(folders).values())
    return write_comparison(out, record, [test.results.videos for test in tests], _any_copy(tests))


def default_folder(folders: Sequence[str | Path]) -> Path:
    """Where a comparison goes that nobody gave a folder: beside the first run, named by those compared."""
    places = [Path(os.path.abspath(folder)) for folder in folders]
    words = [re.sub(r"[^\w.-]+", "_", name) for name in _names(places)]
    name = "-".join(["compare", *words[:_NAMED]])
    if len(words) > _NAMED:
        digest = hashlib.sha256("\n".join(map(str, places)).encode("utf-8", "replace")).hexdigest()
        name = f"compare-{words[0]}-and-{len(words) - 1}-more-{digest[:8]}"
    return Path(os.path.relpath(places[0].parent / name[:120]))


def _read(folders: Sequence[str | Path]) -> dict[str, StoredTest]:
    """The tests, by names that tell them apart."""
    if len(folders) < 2:
        raise DataError(
            f"compare takes two runs or more, got {plural(len(folders), 'folder')}; name the folders of "
            "finished runs or tests, the first being the one that others are held against"
        )
    tests = [read_stored_test(folder) for folder in folders]
    places = [Path(os.path.realpath(test.folder)) for test in tests]
    if twice := [place for place in dict.fromkeys(places) if places.count(place) > 1]:
        raise DataError(f"{twice[0]} is named twice; a run does not compare with itself")
    shown = [Path(os.path.abspath(test.folder)) for test in tests]
    return dict(zip(_names(shown), tests, strict=True))


def _names(places: Sequence[Path]) -> list[str]:
    """Names of folders: their paths from the folder that they have in common."""
    common = Path(os.path.commonpath(places))
    paths = [place.relative_to(common).as_posix() for place in places]
    return [place.name if path == "." else path for place, path in zip(places, paths, strict=True)]


def _answers(test: SameTest, chosen: np.ndarray, gflops: float | None) -> Answers:
    views, task = test.view_scores(chosen), test.test.task
    rule = test.test.results.protocol.score
    scores = task.video_scores(views, rule)
    return Answers(
        task=task,
        labels=[test.labels[place] for place in chosen],
        scores=scores,
        probabilities=task.probabilities(scores, rule),
        logits=scores if rule == "logits" else task.video_scores(views, "logits"),
        gflops=gflops,
    )


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
        "seed": (results.training or {}).get("seed"),
        "protocol": results.protocol.to_dict(),
        "playback": results.playback,
        "views": protocol_line(results.protocol, results.playback),
        "num_views": results.protocol.num_views,
        "failed": int((~test.decoded).sum()),
        "as_tested": own.get("value") if isinstance(own, dict) else own,
    }


def _recipe_name(group: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> str:
    """The title of a recipe's runs, where no other recipe has it; else the name of its first run."""
    title = rows[group[0]]["title"]
    others = [row["title"] for place, row in enumerate(rows) if place not in group]
    if len(group) > 1 and title not in others:
        return title
    name = rows[group[0]]["name"]
    return f"{name} and {plural(len(group) - 1, 'more', 'more')}" if len(group) > 1 else name


def _gflops_of_view(results: Results) -> float | None:
    """1e9 multiply-adds of one view: as the test recorded it, else counted; None where that fails.

    It is counted of the model that the settings describe, if that has as many parameters as the tested one.
    """
    if (known := results.model.get("gflops_view")) is not None:
        return float(known)
    try:
        cfg = config_from_text(results.settings, str(results.folder))
        name, protocol = results.model.get("name"), results.protocol
        if not results.settings or name != cfg.MODEL.MODEL_NAME:
            return None
        model = build_network(name, len(results.class_names), **model_options(cfg))
        if count_parameters(model) != results.model.get("parameters"):
            return None
        side = protocol.views.crop_size
        return count_flops(model, (1, 3, protocol.sampling.num_frames, side, side)) / 1e9
    except (UserError, RuntimeError, MemoryError):  # a setting of a plugin, an input that is too large
        return None


def _left_out(
    names: Sequence[str], same: Sequence[SameTest], decoded: np.ndarray
) -> list[dict[str, Any]]:
    """The videos that not all runs could decode: which runs could not."""
    videos = [same[0].test.results.videos[row] for row in same[0].rows]
    return [
        {
            "name": videos[place]["name"],
            "runs": [number for number, test in enumerate(same) if not test.decoded[place]],
        }
        for place in np.flatnonzero(~decoded)
    ]


def _same_answers(names: Sequence[str], same: Sequence[SameTest]) -> list[str]:
    """Notes on runs that are the same one in two folders."""
    everything, notes = np.arange(len(same[0].rows)), []
    for place, test in enumerate(same):
        for earlier in range(place):
            mine, theirs = (one.view_scores(everything) for one in (test, same[earlier]))
            if np.array_equal(mine, theirs, equal_nan=True):
                notes.append(
                    f"{names[place]} has the same scores as {names[earlier]}, to the bit: it is the same run "
                    "once more."
                )
                break
    return notes


def _other_protocols(names: Sequence[str], results: Sequence[Results]) -> list[str]:
    """Notes on tests that were made in another way than the first."""
    first, notes = {**results[0].protocol.to_dict(), "playback": results[0].playback}, []
    for name, one in zip(names[1:], results[1:], strict=True):
        own = {**one.protocol.to_dict(), "playback": one.playback}
        differ = [f"{key} {first[key]} and {own[key]}" for key in own if own[key] != first[key]]
        if differ:
            notes.append(
                f"{names[0]} and {name} were tested in different ways ({', '.join(differ)}), so that what is "
                "compared is also how they were tested."
            )
    return notes


def _on_lacking(
    rows: Sequence[Mapping[str, Any]],
    settings: Sequence[Mapping[str, Any] | None],
    left_out: Sequence[Mapping[str, Any]],
    videos: int,
) -> list[str]:
    """Notes on what is not compared, and what is not known of runs."""
    notes = []
    if left_out:
        failed = ", ".join(f"{row['name']} {row['failed']}" for row in rows if row["failed"])
        named = name_some([video["name"] for video in left_out])
        notes.append(
            f"Compared are the {videos - len(left_out)} of {plural(videos, 'video')} that every run could "
            f"decode; {plural(len(left_out), 'video')} could not be decoded by all of them ({failed}): {named}."
        )
    if unknown := [row["name"] for row in rows if row["gflops_view"] is None]:
        notes.append(
            f"What {', '.join(unknown)} costs is not known: neither the results nor the model's name and "
            "settings tell its multiply-adds."
        )
    if silent := [row["name"] for row, own in zip(rows, settings, strict=True) if own is None]:
        notes.append(
            f"The settings of {', '.join(silent)} are not recorded or cannot be read here, so that nothing "
            "tells whether it is of the same recipe as another run; it counts as a recipe of its own."
        )
    return notes


def _any_copy(tests: Sequence[StoredTest]) -> Callable[..., np.ndarray]:
    """Opens a video for its frames where one of the runs had it."""
    raise NotImplementedError
