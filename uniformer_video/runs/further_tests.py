"""Further tests of a run: what they differ by, and the names of their folders, which tell it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from uniformer_video.config.setting import value_in_words

_NAMED_DIFFERENCES = 3
_LONGEST = 24  # characters of one difference in a folder's name
# What a folder's name calls the settings that tests often differ in; others have their last word.
_SHORT = {
    "TEST.NUM_ENSEMBLE_VIEWS": "clips",
    "TEST.NUM_SPATIAL_CROPS": "crops",
    "TEST.SPLIT": "",
    "TEST.WEIGHTS": "",
    "TEST.CHECKPOINT_FILE_PATH": "",
    "TEST.SCORE": "",
    "DATA.PATH_TO_DATA_DIR": "",
    "DATA.TEST_CROP_SIZE": "px",
    "DATA.NUM_FRAMES": "frames",
    "DATA.SAMPLING_RATE": "stride",
    "DATA.SAMPLING": "",
    "DATA.TARGET_FPS": "fps",
    "DATA.FOLD": "fold",
    "DATA.SPLIT_NUMBER": "split",
    "TRAIN.PRECISION": "",
    "TEST.PRECISION": "",
}
_WEIGHTS = ("TEST.WEIGHTS", "TEST.CHECKPOINT_FILE_PATH")
_PATHS = ("TEST.CHECKPOINT_FILE_PATH", "DATA.PATH_TO_DATA_DIR", "DATA.CLASS_NAMES")


@dataclass(frozen=True)
class Difference:
    """One of the differences of a test. key: the setting, empty for none. word: for the folder's name."""

    key: str
    word: str
    sentence: str

    @classmethod
    def of_setting(cls, key: str, value: Any, own: Any) -> "Difference":
        """That of a setting, which is `own` in the run's own test."""
        sentence = f"{key} is {value_in_words(value)}, not {value_in_words(own)}."
        return cls(key, _word(key, value), sentence)


def is_weights(key: str) -> bool:
    """Whether a setting says which weights are tested."""
    return key in _WEIGHTS


def further_test_name(differences: Sequence[Difference], digest: str) -> str:
    """The name of a further test's folder: "test-clips4-crops3-1a2b3c4d"."""
    words = [slug for one in differences if (slug := _slug(one.word))]
    if len(words) > _NAMED_DIFFERENCES:
        words = [*words[:_NAMED_DIFFERENCES], f"{len(words) - _NAMED_DIFFERENCES}-more"]
    return "-".join(["test", *words, digest])


def _word(key: str, value: Any) -> str:
    name = key.rpartition(".")[2].lower()
    if isinstance(value, bool):
        return name if value else f"no-{name}"
    if key in _PATHS and value:
        value = [PurePath(one).stem for one in ([value] if isinstance(value, str) else value)]
    values = value if isinstance(value, list) else [value]
    number = isinstance(value, int | float)
    shown = "-".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values)
    short = _SHORT.get(key, name)
    return f"{short}{shown}" if number else "-".join(filter(None, (short, shown or "none")))


def _slug(word: str) -> str:
    """What every file system takes, and a command line without quotes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-.")[:_LONGEST].rstrip("-.")
