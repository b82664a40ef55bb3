"""Lists whose labels count in another class order."""

from pathlib import Path

from uniformer_video.data.labels import name_differences, places
from uniformer_video.data.records import relabelled_lines
from uniformer_video.errors import DataError
from uniformer_video.files import atomic_write


def remap_list(path, out, given, wanted, separator="auto"):
    """Write the list `path` to `out`, its labels counted in `wanted` instead of `given`.

    Both are class names in index order. All else of the list stays as it is. Returns (videos, labels
    changed). Raises `DataError` where the names differ as sets, a line cannot be read, a label is
    outside `given`, or `out` exists.
    """
    out = Path(out)
    if out.exists():
        raise DataError(f"{out} exists already; delete it, or choose another --out")
    if not out.absolute().parent.is_dir():
        raise DataError(f"there is no folder {out.parent} to write {out} into")
    differences = name_differences(given, wanted, "--from", "--to")
    if differences:
        raise DataError(
            "\n".join(
                [
                    f"--from names {len(given)} classes, --to {len(wanted)}, and not the same ones:",
                    *differences,
                    "Give two orders of the same names.",
                ]
            )
        )
    order = places(given, wanted)
    lines = list(relabelled_lines(path, order, separator))
    labels = [label for _, label in lines if label is not None]
    if not labels:
        raise DataError(f"{path} lists no videos; each line holds a path and a label, `a.mp4,3`")
    with atomic_write(out) as file:
        file.write("".join(line for line, _ in lines).encode("utf-8"))
    return len(labels), sum(order[label] != label for label in labels)
