"""What the page shows of the variants of a test: motion, and robustness."""

from collections.abc import Mapping
from typing import Any

from uniformer_video.data.clips.corruptions import num_lost
from uniformer_video.data.lists.media import IMAGE, noun_of
from uniformer_video.evaluation.analyses.robustness import NAMES
from uniformer_video.pages.plots import strength_chart

_MOTION_ROWS = (
    ("forward", "Played forward"),
    ("reversed_opposite", "Played backwards"),
    ("reversed_original", "Played backwards"),
    ("still", "Middle frame repeated"),
)
# What a kind does, and what its strength is, for an axis.
_KINDS = {
    "drop": ("Lost frames show the one before them again.", "Share of frames lost"),
    "jpeg": ("Each frame of a crop went through a JPEG file.", "Quality"),
    "blur": ("A Gaussian; sigma in pixels of a crop of 224, scaled to the crop's size.", "Sigma"),
    "noise": ("Added to every value; sigma of a range of 0 to 1.", "Sigma"),
    "rate": ("Clips played slower or faster about their middle.", "Rate"),
    "reversed": ("The video runs the other way.", "Played"),
}


def motion_section(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The bars of the motion section, and pairs of opposite classes, each pair once."""
    motion = results["motion"]
    if motion is None:
        return None
    differences = motion.get("differences", {})  # earlier records have none
    bars = [
        {
            "title": title,
            "answer": _right_answer(key, motion),
            "part": motion[key],
            "difference": differences.get(key),
        }
        for key, title in _MOTION_ROWS
        if key in motion
    ]
    pairs = dict.fromkeys(tuple(sorted(pair)) for pair in motion["opposites"].items())
    is_share = _is_share(motion["forward"])
    return {
        "bars": bars,
        "figure": "Accuracy" if is_share else "Mean average precision",
        "chance": 1 / len(results["class_names"]) if is_share else None,
        "pairs": list(pairs),
        "lost": results["summary"]["decoded"] - motion.get("videos", results["summary"]["decoded"]),
    }


def _is_share(figure: Mapping[str, Any]) -> bool:
    """Whether a figure counts right answers; else it is mean average precision."""
    return "of" in figure


def _right_answer(key: str, motion: Mapping[str, Any]) -> str:
    """What counts as right in a playback."""
    if not _is_share(motion["forward"]):
        kind = "opposite" if key == "reversed_opposite" else "own"
        return f"right answers: its {kind} classes"
    if key == "reversed_opposite":
        return "right answer: the opposite class"
    is_beside = key == "reversed_original" and "reversed_opposite" in motion
    return f"{'still answered' if is_beside else 'right answer'}: its own class"


def robustness_section(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The kinds of the robustness section, each with its curve, its rows and what is to be said of them."""
    found = results["analyses"].get("robustness")
    if found is None:
        return None
    is_share = _is_share(found["clean"])
    return {
        "figure": "Top-1 accuracy" if is_share else "Mean average precision",
        "short": "Top-1" if is_share else "mAP",
        "kinds": [
            _kind(row, found["clean"]["value"], results["protocol"]["num_frames"], noun_of(results))
            for row in found["kinds"]
        ],
    }


def _kind(
    row: Mapping[str, Any], clean: float | None, num_frames: int, noun: str
) -> dict[str, Any]:
    kind = row["kind"]
    meaning, axis = _KINDS[kind]
    if kind == "jpeg" and noun == IMAGE.name:
        meaning = "The crop went through a JPEG file."
    if kind == "drop":
        lost = [str(num_lost(num_frames, one["strength"])) for one in row["strengths"]]
        meaning += f" Of the {num_frames} frames of a clip these are {', '.join(lost)}."
    rows = [{**one, "strength": _in_words(kind, one["strength"])} for one in row["strengths"]]
    values = [one["figure"] for one in rows]
    svg = ""
    if clean is not None and len(rows) > 1:
        names = [one["strength"] for one in rows]
        svg = strength_chart(f"{NAMES[kind]}: figure by strength", names, values, clean)
    return {**row, "title": NAMES[kind], "meaning": meaning, "axis": axis, "rows": rows} | {
        "svg": svg,
        "held": _held(row["strengths"]),
    }


def _in_words(kind: str, strength: float) -> str:
    if kind == "reversed":
        return "reversed"
    return {"drop": f"{strength:.0%}", "rate": f"x{strength:g}"}.get(kind, f"{strength:g}")


def _held(strengths: list[Mapping[str, Any]]) -> str:
    """How many frames a faster clip wants that its video does not have."""
    held = {_in_words("rate", one["strength"]): one["held"] for one in strengths if one["held"]}
    if any(one["held"] is None for one in strengths):
        return (
            "How many frames beyond the video's ends show its first or last one again is told by the page of "
            "the whole test alone."
        )
    if not held:
        return ""
    shares = ", ".join(f"{share:.1%} at {rate}" for rate, share in held.items())
    return (
        f"Frames beyond the video's ends show its first or last one again: {shares} of all frames."
    )
