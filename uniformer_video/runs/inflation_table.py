"""What the seeds of a comparison of starts came to: read, written as JSON and Markdown, put into lines."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import simplejson

from uniformer_video.errors import DataError
from uniformer_video.files import write_text
from uniformer_video.words import name_some, plural

SEED_FILE = "seed.json"
RECORD_FILE, TABLE_FILE = "inflation.json", "inflation.md"
SCHEMA_VERSION = 1
_NOTHING = "-"

Seed = Mapping[str, Any]


def write_seed(path: Path, record: Seed) -> None:
    """Write the record of a seed."""
    write_text(path, simplejson.dumps(record, ignore_nan=True, indent=1) + "\n")


def read_seeds(root: Path, reference: int) -> tuple[list[Seed], list[str]]:
    """The finished seeds in `root` with the settings of the seed `reference`, and lines about the others.

    Raises `DataError` for a record that cannot be read.
    """
    seeds: list[Seed] = []
    notes = []
    for folder in sorted(root.glob("seed*"), key=lambda path: (len(path.name), path.name)):
        if (folder / SEED_FILE).is_file():
            seeds.append(_read(folder / SEED_FILE))
        else:
            notes.append(f"{folder.name} is not finished, and left out.")
    settings = next(seed["settings"] for seed in seeds if seed["seed"] == reference)
    alike = []
    for seed in seeds:
        if differing := _differing(seed["settings"], settings):
            notes.append(
                f"seed {seed['seed']} was trained with other settings than seed {reference} "
                f"({name_some(differing)}), and is left out."
            )
        else:
            alike.append(seed)
    return alike, notes


def _read(path: Path) -> Seed:
    try:
        record = simplejson.loads(path.read_text("utf-8"))
        if not all(key in record for key in ("seed", "settings", "images", "runs")):
            raise ValueError("parts of it are missing")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); delete it and run the same command again, which makes it anew"
        ) from None
    return record


def _differing(settings: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """The keys of settings in which two seeds differ, in the image run or the video runs."""
    return sorted(
        {
            key
            for part in settings
            for key in {*settings[part], *others[part]}
            if settings[part].get(key) != others[part].get(key)
        }
    )


def write_table(
    root: Path, seeds: Sequence[Seed], target: float, notes: Sequence[str]
) -> list[str]:
    """Write `inflation.json` and `inflation.md` into `root`; the table and what follows from it, in lines."""
    rows, said = _rows(seeds, target), [*_conclusions(seeds, target), *notes]
    record = {
        "schema_version": SCHEMA_VERSION,
        "target": target,
        "seeds": [
            {
                **seed,
                "runs": [run | {"steps_to_target": _reached(run, target)} for run in seed["runs"]],
            }
            for seed in seeds
        ],
        "conclusions": said,
    }
    text = simplejson.dumps(record, ignore_nan=True, indent=1, ensure_ascii=False)
    write_text(root / RECORD_FILE, text + "\n")
    header, *body = [f"| {' | '.join(row)} |" for row in rows]
    markdown = "\n".join([header, f"|{'---|' * len(rows[0])}", *body])
    write_text(root / TABLE_FILE, "\n\n".join([markdown, *said]) + "\n")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [*lines, *said, f"Table: {root / TABLE_FILE}, numbers: {root / RECORD_FILE}"]


def _rows(seeds: Sequence[Seed], target: float) -> list[list[str]]:
    """The cells of the table, its header first."""
    figure = seeds[0]["runs"][0]["figure"]
    header = ["seed", "start", f"steps to {100 * target:g} %", f"{figure}, tested", "less scratch"]
    rows = [[*header, "image model"]]
    for seed in seeds:
        for run in seed["runs"]:
            is_inflated = run["difference"] is not None
            rows.append(
                [
                    str(seed["seed"]),
                    run["start"],
                    _steps_text(run, target),
                    _share(run["test"]),
                    _difference(run["difference"]) if is_inflated else _NOTHING,
                    _share(seed["images"]["test"]) if is_inflated else _NOTHING,
                ]
            )
    return rows


def _reached(run: Mapping[str, Any], target: float) -> int | None:
    """The step of the first validation with the share `target` or more of right answers; None without one."""
    return next((step for step, score in run["curve"] if score >= target), None)


def _steps_text(run: Mapping[str, Any], target: float) -> str:
    reached = _reached(run, target)
    return f"> {run['steps']}" if reached is None else str(reached)


def _share(figure: Mapping[str, Any]) -> str:
    """In per cent, with its 95 % interval where it has one."""
    if figure["value"] is None:
        return _NOTHING
    interval = ""
    if figure.get("low") is not None:
        interval = f" ({100 * figure['low']:.1f}-{100 * figure['high']:.1f})"
    return f"{100 * figure['value']:.1f} %{interval}"


def _difference(found: Mapping[str, Any]) -> str:
    """In points, with its paired 95 % interval where it has one."""
    if found["value"] is None:
        return _NOTHING
    interval = ""
    if found["low"] is not None:
        interval = f" ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"
    return f"{100 * found['value']:+.1f}{interval}"


def _conclusions(seeds: Sequence[Seed], target: float) -> list[str]:
    """A sentence about each inflation against the start from scratch, whichever is better."""
    lines = []
    pairs = [{run["start"]: run for run in seed["runs"]} for seed in seeds]
    scratch, *inflated = pairs[0]
    for start in inflated:
        steps = [(_reached(runs[start], target), _reached(runs[scratch], target)) for runs in pairs]
        sooner = sum(_is_sooner(ours, theirs) for ours, theirs in steps)
        later = sum(_is_sooner(theirs, ours) for ours, theirs in steps)
        gains = [runs[start]["difference"] for runs in pairs]
        values = [gain["value"] for gain in gains if gain["value"] is not None]
        clear = sum(gain["low"] is not None and gain["low"] > 0 for gain in gains)
        worse = sum(gain["high"] is not None and gain["high"] < 0 for gain in gains)
        mean = f" {100 * statistics.fmean(values):+.1f} points in the mean," if values else ""
        lines.append(
            f"{start} against {scratch}, {plural(len(seeds), 'seed')}: {100 * target:g} % sooner in "
            f"{sooner}, later in {later}; when all steps are done{mean} clearly better in {clear}, clearly "
            f"worse in {worse} (the paired 95 % interval leaves out 0)."
        )
    return lines


def _is_sooner(ours: int | None, theirs: int | None) -> bool:
    """Whether a run got there in fewer steps than another, which may never have."""
    return ours is not None and (theirs is None or ours < theirs)
