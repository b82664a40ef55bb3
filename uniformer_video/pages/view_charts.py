"""Charts of accuracy against what views cost."""

from collections.abc import Mapping
from typing import Any

from uniformer_video.pages.plots import scatter_chart
from uniformer_video.words import plural


def views_chart(found: Mapping[str, Any]) -> str:
    """Inline SVG of what the analysis "views" found: the figure over GFLOPs, seconds or views, whichever is
    known first; a line for each number of crops, rings about the best and about the fewest that do.
    """
    rows = found["rows"]
    axes = {"gflops": "GFLOPs a video", "seconds": "seconds a video", "views": "views of a video"}
    key = next(key for key in axes if rows[0][key] is not None)
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        name = f"{plural(row['crops'], 'crop')} a clip"
        series.setdefault(name, []).append((row[key], row["value"]))
    ringed = [(rows[row][key], rows[row]["value"]) for row in {found["best"], found["enough"]}]
    return scatter_chart(f"{found['short']} against {axes[key]}", series, sorted(ringed), axes[key])
