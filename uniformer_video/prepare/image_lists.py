"""ImageNet's lists: of its training folders, and of the validation images, which lie in one folder.

What class a validation image has is told by one of the files that come with the images, see `read_labels`.
"""

import re
from pathlib import Path
from typing import Any

from uniformer_video.data.lists.class_folders import read_folder
from uniformer_video.data.lists.class_names import class_names, imagenet_synsets
from uniformer_video.data.lists.folders import find_videos
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.lists.text import filled_lines, whole_number
from uniformer_video.errors import DataError
from uniformer_video.files import write_text
from uniformer_video.prepare.lists import ListSummary, line_of, path_in_list, write_missing
from uniformer_video.words import name_some

_LABEL_FILES = (
    "LOC_val_solution.csv",
    "ILSVRC2012_validation_ground_truth.txt",
    "imagenet_2012_validation_synset_labels.txt",
)
_IMAGE = re.compile(r"ILSVRC2012_val_\d{8}")
_SYNSET = re.compile(r"\bn\d{8}\b")


def make_image_lists(
    annotations: Path | str, images: Path | str, out: Path | str
) -> list[ListSummary]:
    """Write `val.csv`, where there is a folder `images/train` also `train.csv`, and `classes.txt` into `out`.

    `images` holds `train`, one folder a synset, and `val`, or is the folder of the validation images itself.
    Paths are relative to `out` where they lie inside it. Labelled images that are not there are counted and
    named in `missing.csv`. Raises `DataError` where there is none of them.
    """
    source, out = Path(images), Path(out)
    labels = read_labels(annotations)
    val = source / "val" if (source / "val").is_dir() else source
    summaries, texts = [], {}
    if (source / "train").is_dir():
        records, _, _ = read_folder(source / "train", class_names("imagenet"), medium=IMAGE)
        lines = [line_of(path_in_list(Path(r.path), out), 0, r.label) for r in records]
        texts["train.csv"] = "".join(lines)
        summaries.append(ListSummary("train.csv", len(lines)))
    summary = ListSummary("val.csv")
    there = {path.stem: path for path in find_videos(val, IMAGE).videos}
    lines = []
    for name, (label, place) in labels.items():
        if name in there:
            lines.append(line_of(path_in_list(val / there[name], out), 0, label))
        else:
            summary.missing.append((name, f"is not there ({place})"))
    if not lines:
        raise DataError(
            f"{val} holds none of the {len(labels)} labelled images, such as {next(iter(labels))}.JPEG; is "
            "it the folder that they are in?"
        )
    if unknown := [name for name in there if name not in labels]:
        raise DataError(
            f"{len(unknown)} of the {len(there)} images in {val} have no label in {annotations}: "
            f"{name_some(unknown)}; is it the file of these images?"
        )
    summary.videos, texts["val.csv"] = len(lines), "".join(lines)
    summaries.append(summary)
    out.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        write_text(out / file, text)
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in class_names("imagenet")))
    write_missing(out, summaries)
    return summaries


def read_labels(annotations: Path | str) -> dict[str, tuple[int, str]]:
    """`{name of a validation image, without suffix: (class index, where that stands)}`.

    annotations: one of these files, or a folder that holds it: `LOC_val_solution.csv`, or any text with an
    image and its synset on each line; a text with one synset a line, in the order of the images; or
    `ILSVRC2012_validation_ground_truth.txt` of the development kit, with one number a line, which
    `meta.mat` beside it explains. Raises `DataError` for another.
    """
    path = _label_file(Path(annotations))
    index = {synset: place for place, synset in enumerate(imagenet_synsets())}
    ids: dict[int, str] = {}
    labels: dict[str, tuple[int, str]] = {}
    for source, line in filled_lines(path):
        number, synset = whole_number(line.strip()), _SYNSET.search(line)
        if number is not None:
            ids = ids or _synsets_of_kit(path)
            name = ids.get(number, "")
        elif synset:
            name = synset[0]
        elif not labels and not _IMAGE.search(line):
            continue  # a header
        else:
            name = ""
        if name not in index:
            raise DataError(
                f"{source}: expected a validation image and its synset, one synset, or one number of the "
                f"development kit; got {line.strip()[:80]!r}"
            )
        image = _IMAGE.search(line)
        key = image[0] if image else f"ILSVRC2012_val_{len(labels) + 1:08d}"
        labels[key] = (index[name], source)
    if not labels:
        raise DataError(f"{path} names no synset; it takes one of {', '.join(_LABEL_FILES)}")
    return labels


def _label_file(place: Path) -> Path:
    if place.is_file():
        return place
    for name in _LABEL_FILES:
        for path in (place / name, place / "data" / name):
            if path.is_file():
                return path
    raise DataError(
        f"{place} holds none of {', '.join(_LABEL_FILES)}; give one of these files, which come with "
        "the images, or a text with one synset a line"
    )


def _synsets_of_kit(path: Path) -> dict[int, str]:
    """`{number in the development kit: synset}` of the `meta.mat` beside its ground truth."""
    meta = path.with_name("meta.mat")
    if not meta.is_file():
        raise DataError(
            f"{path} holds numbers of the development kit, which count in an order of its own; {meta}, which "
            "tells it, is not there: give both, or LOC_val_solution.csv"
        )
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError(
            f"{meta} is a file of Matlab, which scipy reads; `pip install scipy`, or give "
            "LOC_val_solution.csv"
        ) from None
    try:
        rows: Any = loadmat(meta, squeeze_me=True)["synsets"]
        return {
            int(row["ILSVRC2012_ID"]): str(row["WNID"])
            for row in rows
            if int(row["ILSVRC2012_ID"]) <= 1000
        }
    except Exception as error:  # scipy raises errors of many kinds for what is no such file
        raise DataError(f"{meta} cannot be read: {error}; get it again") from None
