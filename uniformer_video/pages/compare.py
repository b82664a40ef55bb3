"""The page of a comparison of runs: one self-contained HTML file made from its record."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uniformer_video.data.lists.media import noun_of
from uniformer_video.files import atomic_write
from uniformer_video.pages.plots import CostPoint, cost_chart
from uniformer_video.pages.report import page_environment
from uniformer_video.words import article

PAGE_FILE = "compare.html"
SURE = 0.05  # a p-value below it is called more than chance
MAX_CARDS = 48  # videos with frames on a page
MAX_CARDS_OF_A_LIST = 8
MAX_ENSEMBLES = 20
# A video of the record -> the `src` of a picture of some of its frames, "" where there is none.
StripOf = Callable[[Mapping[str, Any]], str]


def write_comparison(folder: Path | str, record: Mapping[str, Any], strip_of: StripOf) -> Path:
    """Write `folder/compare.html` from a comparison's record; its path.

    Raises `MissingLibraryError` if a library of pages is missing.
    """
    environment = page_environment(noun=noun_of(record["runs"][0]))
    environment.filters["p_value"] = p_value
    sides = sides_of(record)
    comparisons = [_comparison(record, sides, place) for place in range(1, len(sides))]
    shown = max(1, min(MAX_CARDS_OF_A_LIST, MAX_CARDS // (2 * len(comparisons))))
    for comparison in comparisons:
        comparison["lists"] = _lists(record, sides, comparison["place"], shown, strip_of)
    ensembles = sorted(record["ensembles"], key=lambda one: -(_value(record, one) or 0.0))
    page = environment.get_template("compare.html.j2").render(
        record=record,
        runs=record["runs"],
        names=record["class_names"],
        headline=figure_named(record, record["headline"]),
        hits=figure_named(record, record["hits"]),
        several_figures=record["headline"] != record["hits"],
        sides=sides,
        comparisons=comparisons,
        has_frames=any(
            video["strip"]
            for one in comparisons
            for part in one["lists"]
            for video in part["shown"]
        ),
        same_views=len({run["views"] for run in record["runs"]}) == 1,
        scale=_scale(record),
        sure=SURE,
        classes=_classes(record, sides),
        ensembles=ensembles[:MAX_ENSEMBLES],
        chart=_chart(record),
        title=title_of(record),
    )
    path = Path(folder) / PAGE_FILE
    with atomic_write(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # undecodable file names
    return path


def title_of(record: Mapping[str, Any]) -> str:
    """ "runs/a against runs/b"; of more runs how many."""
    names = [run["name"] for run in record["runs"]]
    return f"{names[1]} against {names[0]}" if len(names) == 2 else f"{len(names)} runs compared"


def figure_named(record: Mapping[str, Any], key: str) -> dict[str, str]:
    """The key and the names of a figure; of one that the task does not name, its key."""
    known = {figure["key"]: figure for figure in record["figures"]}
    return known.get(key, {"key": key, "short": key, "title": key})


def value_of(figures: Mapping[str, Any], key: str) -> float | None:
    """The value of a figure, which is a share or a number."""
    found = figures[key]
    return found["value"] if isinstance(found, Mapping) else found


def sides_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is held against the first of its kind: recipes, where some have several seeds; else runs."""
    runs, recipes = record["runs"], record["recipes"]
    if record["recipe_pairs"]:
        return [dict(recipe) for recipe in recipes]
    return [
        {
            "name": run["name"],
            "runs": [place],
            "mean": value_of(run["figures"], record["headline"]),
            "deviation": None,
        }
        for place, run in enumerate(runs)
    ]


def p_value(value: float) -> str:
    """0.0432 -> "0.043"; "< 0.0001" below that; 1 where it is that."""
    if value < 1e-4:
        return "< 0.0001"
    return "1" if value == 1 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def _value(record: Mapping[str, Any], ensemble: Mapping[str, Any]) -> float | None:
    return value_of(ensemble["figures"], record["headline"])


def _comparison(
    record: Mapping[str, Any], sides: Sequence[Mapping[str, Any]], place: int
) -> dict[str, Any]:
    """What is said of one side against the first."""
    pairs = record["recipe_pairs"] or record["pairs"]
    pair = pairs[place - 1]
    surely = None
    if "p_holm" in pair:
        surely = pair["p_holm"] < SURE
    elif pair["low"] is not None:
        surely = not pair["low"] <= 0 <= pair["high"]
    return {
        "place": place,
        "name": sides[place]["name"],
        "against": sides[0]["name"],
        "pair": pair,
        "surely": surely,
    }


def _scale(record: Mapping[str, Any]) -> float:
    """What half the width of a track of differences stands for."""
    pairs = [*record["pairs"], *record["recipe_pairs"]]
    entries = [*pairs, *(pair.get(record["hits"], pair) for pair in pairs)]
    ends = [abs(one[key]) for one in entries for key in ("low", "high") if one[key] is not None]
    return max(ends, default=0.0) or 1.0


def _shares_right(video: Mapping[str, Any], side: Mapping[str, Any]) -> float:
    return sum(video["right"][run] for run in side["runs"]) / len(side["runs"])


def _lists(
    record: Mapping[str, Any],
    sides: Sequence[Mapping[str, Any]],
    place: int,
    shown: int,
    strip_of: StripOf,
) -> list[dict[str, Any]]:
    """The videos that a side gets and the first does not, and the other way about; the clearest with frames.

    With several seeds: that more of them get. The clearest are those that the sides differ most in, and then
    the ones where both are surest of their answers.
    """
    lists = []
    for better, worse in ((place, 0), (0, place)):
        differing = []
        for video in record["disagreements"]:
            lead = _shares_right(video, sides[better]) - _shares_right(video, sides[worse])
            if lead > 0:
                own = [*sides[better]["runs"], *sides[worse]["runs"]]
                answers = [video["answers"][run] for run in own]
                surety = sum(answer["score"] or 0.0 for answer in answers if answer) / len(own)
                differing.append((-lead, -surety, video))
        differing.sort(key=lambda entry: entry[:2])
        lists.append(
            {
                "better": sides[better]["name"],
                "worse": sides[worse]["name"],
                "total": len(differing),
                "shown": [
                    _card(record, video, [sides[better], sides[worse]], strip_of)
                    for _, _, video in differing[:shown]
                ],
            }
        )
    return lists


def _card(
    record: Mapping[str, Any],
    video: Mapping[str, Any],
    sides: Sequence[Mapping[str, Any]],
    strip_of: StripOf,
) -> dict[str, Any]:
    """A video with its frames, its true classes, and what each of two sides says."""
    names = record["class_names"]
    answers = []
    for side in sides:
        said = [video["answers"][run] for run in side["runs"]]
        right = [video["right"][run] for run in side["runs"]]
        words = [names[one["class"]] if one else "unknown" for one in said]
        times = Counter(words).most_common()
        answers.append(
            {
                "side": side["name"],
                "right": sum(right),
                "of": len(right),
                "words": ", ".join(w if n == 1 else f"{w} ({n} times)" for w, n in times),
                "score": said[0]["score"] if len(said) == 1 and said[0] else None,
            }
        )
    return {
        "name": video["name"],
        "path": video["path"],
        "truth": ", ".join(names[label] for label in _labels(video)) or "none",
        "strip": strip_of(video),
        "answers": answers,
    }


def _classes(record: Mapping[str, Any], sides: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each class with its figure for each side, the largest difference to the first side first."""
    of_class: dict[int, list[Mapping[str, Any]]] = {}
    for video in record["disagreements"]:
        for label in _labels(video):
            of_class.setdefault(label, []).append(video)
    rows = []
    for row in record["per_class"]:
        values = [_mean([row["figures"][run] for run in side["runs"]]) for side in sides]
        first = values[0]
        differences = [
            None if value is None or first is None else value - first for value in values[1:]
        ]
        known = [abs(one) for one in differences if one is not None]
        rows.append(
            {
                "name": row["name"],
                "videos": row["videos"],
                "values": values,
                "differences": differences,
                "changes": _changes(of_class.get(row["class"], []), sides),
                "largest": max(known, default=-1.0),
            }
        )
    return sorted(rows, key=lambda row: (-row["largest"], -row["videos"], row["name"]))


def _changes(
    videos: Sequence[Mapping[str, Any]], sides: Sequence[Mapping[str, Any]]
) -> list[tuple[int, int]]:
    """For each further side: in how many of the videos more of it are right than of the first, and fewer."""
    found = []
    for side in sides[1:]:
        leads = [_shares_right(video, side) - _shares_right(video, sides[0]) for video in videos]
        found.append((sum(lead > 0 for lead in leads), sum(lead < 0 for lead in leads)))
    return found


def _labels(video: Mapping[str, Any]) -> list[int]:
    """The true classes of a video as a record lists them."""
    return video.get("labels", [video["label"]] if "label" in video else [])


def _chart(record: Mapping[str, Any]) -> str | None:
    """The headline against the multiply-adds, of all whose costs are known; None where that is nobody.

    Of ensembles that cost the same, to three digits, the best.
    """
    key, points = record["headline"], []
    best: dict[str, CostPoint] = {}
    for place, run in enumerate(record["runs"], start=1):
        value, cost = value_of(run["figures"], key), run["gflops_video"]
        if value is not None and cost is not None:
            points.append(CostPoint(cost, value, *_ends(run["figures"][key]), f"{place}", False))
    for one in record["ensembles"]:
        value, cost = value_of(one["figures"], key), one["gflops_video"]
        if value is not None and cost is not None:
            name = "+".join(str(place + 1) for place in one["runs"])
            point = CostPoint(cost, value, None, None, name, True)
            best[f"{cost:.3g}"] = max(point, best.get(f"{cost:.3g}", point), key=lambda p: p.value)
    title = figure_named(record, key)["title"]
    one = article(noun_of(record["runs"][0]))
    return cost_chart([*points, *best.values()], title, one) if points else None


def _ends(found: Any) -> tuple[float | None, float | None]:
    return (found["low"], found["high"]) if isinstance(found, Mapping) else (None, None)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
