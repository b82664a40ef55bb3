"""ImageNet's 1000 classes by the names of their folders: synsets, `n01440764`, or numbers from 0 to 999.

The synset is the key, the class is called by its words: `class_names("imagenet")`, in the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from uniformer_video.data.lists.class_names import class_names, imagenet_synsets
from uniformer_video.data.lists.columns import VideoColumns, as_columns, with_labels
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.words import name_some

DATASET = "imagenet"
_NEARLY_ALL = 900  # so many of the 1000 are meant to be all of them


@cache
def words_of_synsets() -> Mapping[str, str]:
    """`{synset: the words of its class}` in ImageNet's order."""
    return MappingProxyType(dict(zip(imagenet_synsets(), class_names(DATASET), strict=True)))


@dataclass(frozen=True)
class Folders:
    """What the folders of classes stand for: `{folder: class name}`, and lines for the log."""

    classes: dict[str, str]
    notes: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """The classes that have a folder: in ImageNet's order where they are its, else in that of folders."""
        own = set(self.classes.values())
        usual = [name for name in words_of_synsets().values() if name in own]
        return usual if len(usual) == len(own) else list(self.classes.values())


def classes_of_folders(folders: Sequence[str], names: Sequence[str] | None = None) -> Folders:
    """What folders of images are called: by themselves, or as ImageNet's classes where they are its.

    names: of the classes, where these are given; numbers then count in them.
    """
    words, plain = words_of_synsets(), Folders({folder: folder for folder in folders})
    if not folders or (names and set(folders) <= set(names)):
        return plain
    synsets = [folder for folder in folders if folder in words]
    if len(synsets) == len(folders):
        classes = {folder: words[folder] for folder in folders}
        return Folders(classes, _notes(classes, names, "synsets"))
    if names and all(_is_number(folder, len(names)) for folder in folders):
        return Folders({folder: names[int(folder)] for folder in folders})
    if len(folders) > _NEARLY_ALL and all(_is_number(folder, len(words)) for folder in folders):
        usual = class_names(DATASET)
        classes = {folder: usual[int(folder)] for folder in folders}
        return Folders(classes, _notes(classes, names, "numbers"))
    if len(synsets) > len(folders) / 2:
        others = [folder for folder in folders if folder not in words]
        note = (
            f"{len(synsets)} of the {len(folders)} folders are called as classes of ImageNet, and not "
            f"{name_some(others)}; so all classes are called as their folders."
        )
        return replace(plain, notes=(note,))
    return plain


def with_words(
    records: Sequence[VideoRecord], names: Sequence[str] | None
) -> tuple[VideoColumns, list[str] | None]:
    """(records, class names) of a list whose labels may be synsets: these become words.

    names: of the classes, where these are given. The names are as given but for a list of synsets alone,
    whose classes come in ImageNet's order.
    """
    words = words_of_synsets()
    columns = as_columns(records)
    labels = set(columns.labels.flat()[1].tolist())
    if not labels or (names and labels & set(names)) or not all(label in words for label in labels):
        return columns, list(names) if names else None
    renamed = with_labels(columns, [tuple(words[label] for label in own) for own in columns.labels])
    return renamed, list(names or Folders({label: words[label] for label in labels}).names())


def _notes(classes: Mapping[str, str], names: Sequence[str] | None, kind: str) -> tuple[str, ...]:
    """What a run says of folders that are ImageNet's, and of the few that lack where nearly all are there."""
    first, count = min(classes), len(class_names(DATASET))
    line = (
        f"The names of the {len(classes)} folders are ImageNet's {kind}: classes are called by its words, "
        f"such as {classes[first]!r} for {first}, and come in its order."
    )
    own = set(classes.values())
    lacking = [
        f"{synset} ({word})" for synset, word in words_of_synsets().items() if word not in own
    ]
    if not lacking or len(classes) < _NEARLY_ALL:
        return (line,)
    keep = "" if names else f"; DATA.CLASS_NAMES {DATASET} keeps an output for each of the {count}"
    missing = (
        f"{len(classes)} of ImageNet's {count} classes have a folder: "
        f"{name_some(lacking, 5)} {'lacks' if len(lacking) == 1 else 'lack'}{keep}."
    )
    return line, missing


def _is_number(text: str, end: int) -> bool:
    """Whether a text is a whole number below `end`, without leading zeros."""
    return (
        text.isascii()
        and text.isdigit()
        and len(text) < 6
        and str(int(text)) == text
        and int(text) < end
    )
