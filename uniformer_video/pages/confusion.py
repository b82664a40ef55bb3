"""What is taken for what: the confusion matrix of a page."""

from collections.abc import Mapping
from typing import Any

from uniformer_video.pages.parts import MAX_TABLE_CLASSES
from uniformer_video.pages.plots import heat_map

MAX_CONFUSIONS = 20
LEAST_SHARE = 0.005  # of pixels, below which a cell stays empty: nearly every one has some
MAX_AXIS_LABELS = 32  # along a side of the picture of a large matrix


def confusion_section(results: Mapping[str, Any], counted: str = "videos") -> dict[str, Any] | None:
    """What confusion.html.j2 shows of a record: a table of cells for few classes; a picture and the most
    frequent confusions for many. None where there are none.

    counted: what is counted, "videos" or "pixels", the key of a class's number of them in "per_class". Counts
    of pixels are shown as shares of their class.
    """
    sparse, total = results["confusion"], len(results["class_names"])
    if not sparse:
        return None
    in_shares = counted == "pixels"
    least_share = LEAST_SHARE if in_shares else 0.0
    totals = [row[counted] for row in results["per_class"]]
    if total > MAX_TABLE_CLASSES:
        wrong = sorted((row for row in sparse if row[0] != row[1]), key=lambda row: -row[2])
        frequent = [
            {"true": true, "predicted": predicted, "count": count, "share": count / totals[true]}
            for true, predicted, count in wrong[:MAX_CONFUSIONS]
        ]
        step = -(-total // MAX_AXIS_LABELS)
        labels = [
            {"class": index, "at": (index + 0.5) / total} for index in range(step // 2, total, step)
        ]
        return {
            "image": heat_map(sparse, total, least_share),
            "labels": labels,
            "step": step,
            "frequent": frequent,
            "table": None,
            "in_shares": in_shares,
            "least_share": least_share,
        }
    table = [[{"count": 0, "share": 0.0} for _ in range(total)] for _ in range(total)]
    for true, predicted, count in sparse:
        table[true][predicted] = {"count": count, "share": count / totals[true]}
    return {"table": table, "in_shares": in_shares, "least_share": least_share}
