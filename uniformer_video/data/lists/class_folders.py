"""A folder with one sub-folder of videos or images a class -> `VideoRecord`s. No class is lost in silence."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from uniformer_video.config.shipped import command_that_makes
from uniformer_video.data.lists.columns import VideoColumns
from uniformer_video.data.lists.folders import (
    FoundVideos,
    count_suffixes,
    find_videos,
    is_hidden,
)
from uniformer_video.data.lists.media import IMAGE, VIDEO, Medium, other_than
from uniformer_video.data.lists.synsets import Folders, classes_of_folders
from uniformer_video.errors import DataError
from uniformer_video.program import command
from uniformer_video.words import name_some, plural

CLASSES_FILE = "classes.txt"
# As in `a.mp4`, and not in `St. Moritz` or `kick v1.2`
_FILE_SUFFIX = re.compile(r"\.(?=\w*[a-z])[a-z0-9]{1,5}", re.IGNORECASE)


def class_folders(root: str | os.PathLike[str]) -> list[str]:
    """The names of the sub-folders of `root`, sorted: those of classes. What is hidden is none.

    A link counts that leads nowhere and is called like no file: its folder may be on a disk that is absent.
    Raises `DataError` where `root` cannot be read.
    """
    try:
        entries = [entry for entry in os.scandir(root) if not is_hidden(entry.name)]
    except OSError as error:
        raise DataError(f"cannot read the folder {root}: {error.strerror}") from None
    return sorted(entry.name for entry in entries if entry.is_dir() or _may_lead_to_folder(entry))


def read_folder(
    root: str | os.PathLike[str],
    names: list[str] | None = None,
    owner: str = "the training folder",
    medium: Medium = VIDEO,
) -> tuple[VideoColumns, list[str], list[str]]:
    """The videos, or the files of another `medium`, of a folder with one sub-folder for each class.

    Returns `(records, names, notes)`; classes are numbered in the order of their sorted names, or of the
    given `names`, which are those of `owner`. Folders of images may be called as ImageNet's classes are, see
    `synsets`. notes: lines on what was left out. Raises `DataError` for a sub-folder without a video, and for
    one with videos that is none of the `names`.
    """
    root = Path(root)
    if not root.is_dir():
        what = f"{root} is a file" if root.is_file() else f"there is no folder {root}"
        made_by = command_that_makes(root)
        made = f"`{made_by}` makes it; or " if made_by and not root.exists() else ""
        raise DataError(f"{what}; {made}set DATA.PATH_TO_DATA_DIR to a folder of {medium.name}s")
    found = find_videos(root, medium)
    circular = {path.name for path in found.circular if len(path.parts) == 1}
    folders = [name for name in class_folders(root) if name not in circular]
    classes: dict[str, list[str]] = {name: [] for name in folders}
    for video in found.names:
        folder, below, _ = video.partition(os.sep)
        if folder in classes and not below:
            raise DataError(
                f"{root / video} holds the frames of one video itself; a class is a folder of videos, or of "
                f"folders of frames, such as {root / 'running' / 'video1' / 'img_00001.jpg'}; for images, "
                f"one a file, set TRAIN.DATASET {IMAGE.folders} and take a model of images"
            )
        if below:
            classes[folder].append(video)
    if not folders:
        raise DataError(
            f"{root} has no sub-folder with {medium.name}s{_beside_folders(found)}; it takes one sub-folder "
            f"a class, such as {root / medium.example}{_validation_hint(found)}{_other_medium(found)}"
        )
    called = name_folders(folders, names, medium)
    known = set(names or ())
    strangers = [name for name in folders if known and called.classes[name] not in known]
    _refuse_unknown([name for name in strangers if classes[name]], root, names, owner)
    unfilled = [name for name in folders if not classes[name] and name not in strangers]
    _refuse_unfilled(unfilled, found, len(folders))
    _refuse_twice(root, folders)
    names = names or called.names()
    folder_of = {name: folder for folder, name in called.classes.items()}
    place, source = os.path.join(os.path.abspath(root), ""), str(root)  # of maybe a million files
    rows = (
        (place + video, video, (label,), source)
        for label, name in enumerate(names)
        for video in classes.get(folder_of.get(name, ""), ())
    )
    records = VideoColumns.of_rows(rows, medium=medium.name)
    notes = [*called.notes, *_notes_of(found), *_notes_on_places(found)]
    return records, names, [*notes, *_notes_on_links(found)]


def name_folders(
    folders: Sequence[str], names: Sequence[str] | None = None, medium: Medium = VIDEO
) -> Folders:
    """What the folders of classes are called; `names`: of the classes, where these are given."""
    if medium == IMAGE:
        return classes_of_folders(folders, names)
    return Folders({folder: folder for folder in folders})


def _may_lead_to_folder(entry: os.DirEntry[str]) -> bool:
    is_dead_link = entry.is_symlink() and not os.path.exists(entry.path)
    return is_dead_link and not _FILE_SUFFIX.fullmatch(Path(entry.name).suffix)


def _refuse_unknown(
    unknown: Sequence[str], root: Path, names: Sequence[str] | None, owner: str
) -> None:
    if not unknown or not names:
        return
    near = get_close_matches(unknown[0], names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(
        f"{root} has the class {name_some([repr(name) for name in unknown])}, which {owner} lacks{hint}; "
        f"the classes are {name_some(names, 8)}"
    )


def _refuse_unfilled(unfilled: Sequence[str], found: FoundVideos, count: int) -> None:
    """A class without a video would be missing from the model, or be learnt from nothing."""
    if not unfilled:
        return
    medium = found.medium
    held = [f"{name} ({_what_it_holds(name, found)})" for name in unfilled]
    raise DataError(
        f"{found.folder}: {len(unfilled)} of {plural(count, 'class folder')} without {medium.one}: "
        f"{name_some(held, 5)}; names of {medium.name}s end in {medium.usual_suffixes}; add {medium.name}s, "
        f"or take such folders out{_other_medium(found)}"
    )


def _other_medium(found: FoundVideos) -> str:
    """What to do about folders that hold videos where they should hold images, or the reverse."""
    other = other_than(found.medium)
    if not any(map(other.fits, found.skipped)):
        return ""
    return (
        f"; for {other.name}s, set TRAIN.DATASET {other.folders} and take a model of {other.name}s"
    )


def _beside_folders(found: FoundVideos) -> str:
    """What a folder without any class holds, for messages."""
    if found.names:
        return f", but {plural(len(found.names), found.medium.name)}, such as {found.names[0]}"
    return f", but {count_suffixes(found.skipped)}" if found.skipped else ""


def _validation_hint(found: FoundVideos) -> str:
    """What to do about ImageNet's validation images as they come, all in one folder."""
    if not any(os.path.basename(name).startswith("ILSVRC2012_val_") for name in found.names[:1]):
        return ""
    return f"; `{command('prepare lists imagenet')}` makes a list of these by their official labels"


def _what_it_holds(name: str, found: FoundVideos) -> str:
    place = found.folder / name
    if not place.is_dir():
        return f"a link to {os.readlink(place)}, which is not there"
    within = [path for path in found.skipped if path.parts[0] == name]
    parts = [count_suffixes(within)] if within else []
    hidden = sum(path.parts[0] == name for path in found.hidden)
    parts += [plural(hidden, f"hidden {found.medium.name}")] if hidden else []
    return ", ".join(parts) or "empty"


def _refuse_twice(root: Path, folders: Sequence[str]) -> None:
    """A link to the folder of a class, or into it, would make the same videos show two classes."""
    places = {name: os.path.realpath(root / name) for name in folders}
    first: dict[str, str] = {}
    for name, place in places.items():
        other = first.setdefault(place, name)
        if other != name:
            raise DataError(
                f"{root}: the classes {other} and {name} are one and the same folder; remove one of them"
            )
    for name, place in places.items():
        around = next((first[str(p)] for p in Path(place).parents if str(p) in first), None)
        if around:
            raise DataError(
                f"{root}: the class {name} is a link into the class {around}, whose videos would show both; "
                "remove one of them"
            )


def _notes_of(found: FoundVideos) -> list[str]:
    """The notes on what was left out, without the file beside the folders that names the classes."""
    skipped = [path for path in found.skipped if path != Path(CLASSES_FILE)]
    return replace(found, skipped=skipped).notes


def _notes_on_links(found: FoundVideos) -> Iterator[str]:
    """A line on videos that stand there again by links to their files, maybe under another class."""
    root, videos = found.folder, found.names
    folders = {os.path.dirname(video) for video in videos}
    places = {folder: os.path.realpath(root / folder) for folder in folders}
    links = {
        os.path.join(folder, entry.name)
        for folder in places
        for entry in os.scandir(root / folder)
        if entry.is_symlink()
    }
    if not links and len(set(places.values())) == len(places):
        return
    first: dict[str, str] = {}
    again = []
    for video in sorted(videos, key=links.__contains__):  # files before the links to them
        folder, name = os.path.split(video)
        if folder:
            place = os.path.join(places[folder], name)
            other = first.setdefault(os.path.realpath(place) if video in links else place, video)
            again += [(other, video)] if other != video else []
    if again:
        pairs = [(Path(one), Path(two)) for one, two in again]
        differ = [pair for pair in pairs if pair[0].parts[0] != pair[1].parts[0]]
        first_of, video_of = (differ or pairs)[0]
        yield (
            f"{root}: {plural(len(again), found.medium.name)} counted again by links, {len(differ)} of them "
            f"for another class, such as {video_of.as_posix()}, which is {first_of.as_posix()}"
        )


def _notes_on_places(found: FoundVideos) -> Iterator[str]:
    """Lines on videos that lie in no sub-folder, and on those that lie deeper than in a class's own."""
    root, videos, noun = found.folder, found.names, found.medium.name
    if loose := [video for video in videos if os.sep not in video]:
        yield (
            f"{root}: left out {plural(len(loose), noun)} beside the folders of the classes: "
            f"{name_some(loose)}"
        )
    deep = (os.path.dirname(video) for video in videos if video.count(os.sep) > 1)
    deeper = Counter(folder.replace(os.sep, "/") for folder in deep)
    if deeper:
        places = [f"{place} ({count})" for place, count in sorted(deeper.items())]
        yield (
            f"{root}: {plural(sum(deeper.values()), noun)} in folders inside those of the classes, "
            f"counted for the class above: {name_some(places, 5)}"
        )
