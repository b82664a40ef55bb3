"""A comparison of runs in a few lines: for a terminal, and as a table in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from uniformer_video.data.lists.media import noun_of
from uniformer_video.pages.compare import figure_named, p_value, value_of
from uniformer_video.pages.report import MINUS, percent, points
from uniformer_video.words import article, plural


def as_text(record: Mapping[str, Any]) -> str:
    """What was compared, a table of the runs, recipes with several seeds, and notes."""
    rows = _rows(record)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([_first_line(record), *table, *_recipe_lines(record), *record["notes"]])


def as_markdown(record: Mapping[str, Any]) -> str:
    """The same table in Markdown."""
    header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in _rows(record)]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _first_line(record: Mapping[str, Any]) -> str:
    first, videos = (
        record["runs"][0]["name"],
        plural(record["compared"], noun_of(record["runs"][0])),
    )
    corrected = ""
    if len(record["pairs"]) > 1:
        corrected = f"; p is corrected for {len(record['pairs'])} comparisons (Holm)"
    return f"On the same {videos}, held against {first}{corrected}:"


def _rows(record: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table, its header first."""
    headline, hits = (figure_named(record, record[key]) for key in ("headline", "hits"))
    others = [hits] if hits != headline else []
    header = ["run", headline["short"], *(figure["short"] for figure in others)]
    header += [
        f"GFLOPs {article(noun_of(record['runs'][0]))}",
        "difference",
        "95 % interval",
        "only it / only the first",
    ]
    header.append(f"p of {hits['short']}" if others else "p")  # the test is about right answers
    rows = [header]
    pairs: list[Mapping[str, Any] | None] = [None, *record["pairs"]]
    for run, pair in zip(record["runs"], pairs, strict=True):
        cells = [run["name"]]
        cells += [
            percent(value_of(run["figures"], figure["key"])) for figure in (headline, *others)
        ]
        cells.append("?" if run["gflops_video"] is None else f"{run['gflops_video']:.3g}")
        rows.append(cells + (_difference(pair) if pair else ["", "", "", ""]))
    return rows


def _difference(pair: Mapping[str, Any]) -> list[str]:
    return [
        _plain(pair["difference"]),
        _interval(pair),
        f"{pair['gained']} / {pair['lost']}",
        p_value(pair["p_holm"]),
    ]


def _interval(pair: Mapping[str, Any]) -> str:
    return "none" if pair["low"] is None else f"{_plain(pair['low'])} to {_plain(pair['high'])}"


def _recipe_lines(record: Mapping[str, Any]) -> list[str]:
    recipes: Sequence[Mapping[str, Any]] = record["recipes"]
    short = figure_named(record, record["headline"])["short"]
    lines = [
        f"{recipe['name']}: {len(recipe['runs'])} seeds, {short} {percent(recipe['mean'])} "
        f"+- {100 * recipe['deviation']:.1f} points (standard deviation)"
        for recipe in recipes
        if recipe["deviation"] is not None
    ]
    for pair in record["recipe_pairs"]:
        lines.append(
            f"{recipes[pair['recipe']]['name']} less {recipes[0]['name']}, means of seeds: "
            f"{_plain(pair['difference'])} points, 95 % interval {_interval(pair)}"
        )
    return lines


def _plain(difference: float | None) -> str:
    """A difference in points with a sign that every terminal and spreadsheet knows."""
    return points(difference).replace(MINUS, "-")
