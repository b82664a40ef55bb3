"""The output folder of a run: the names of its files, and the rule that it belongs to one training run."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import config_from_text, config_text
from uniformer_video.config.rows import IN_ITERATIONS, SETTINGS
from uniformer_video.config.setting import FREE, MATCHES_UNLESS_FROM_BEST
from uniformer_video.config.settings import flat_config
from uniformer_video.data.lists.formats import medium_of
from uniformer_video.errors import ConfigError
from uniformer_video.files import atomic_write, remove_unfinished
from uniformer_video.prepare.folders import write_table
from uniformer_video.runs.check import settings_without_effect
from uniformer_video.runs.further_tests import Difference, further_test_name, is_weights
from uniformer_video.words import name_some

CONFIG_FILE = "config.yaml"
LAST_FILE = "last.pt"
PREVIOUS_FILE = "previous.pt"  # the last.pt before
BEST_FILE = "best.pt"
LOCK_FILE = ".lock"
BAD_VIDEOS_FILE = "bad_videos.csv"
LACKING_FILE = "missing_videos.csv"


@dataclass(frozen=True)
class RecordedTest:
    """What results were made from: digests of the weights and of the list of videos, the config."""

    weights: str
    videos: str
    settings: str


@dataclass(frozen=True)
class ResultsFolder:
    """Where the results of a test go.

    is_done: they are there already. differs: of a further test of a run, by what it differs from the run's
    own, in sentences.
    """

    path: Path
    is_done: bool
    differs: Sequence[str] = ()


class RunFolder:
    """Paths of a run, and the rule that a folder belongs to one training run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def make(self) -> None:
        """Make the folder; raises `ConfigError` where that cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is a file" if self.path.is_file() else error.strerror
            raise ConfigError(
                f"cannot make the folder OUTPUT_DIR {self.path}: {reason}; choose another"
            ) from None
        for name in (CONFIG_FILE, LAST_FILE, PREVIOUS_FILE, BEST_FILE):
            if (self / name).is_dir():
                raise ConfigError(
                    f"{self / name} is a folder, where a run writes a file; move it away, or choose another "
                    "OUTPUT_DIR"
                )

    def check_no_folds(self) -> None:
        """Raise `ConfigError` where the folder holds a cross-validation: its folds, and their page."""
        fold = self / "fold0"
        if (fold / CONFIG_FILE).exists() and not (self / CONFIG_FILE).exists():
            raise ConfigError(
                f"OUTPUT_DIR {self.path} holds a cross-validation; choose another, or {fold} and its like "
                "for the run of one of its folds"
            )

    def list_lacking(self, lacking: Sequence[tuple[str, str]]) -> None:
        """Write the (list, video) pairs of published videos that the lists lack, if there are any."""
        if lacking:
            self.make()
            write_table(self / LACKING_FILE, ("list", "video"), lacking)

    def check(self, cfg: CfgNode, recorded: CfgNode, from_best: bool = False) -> None:
        """Raise `ConfigError` unless the training run in the folder, of the settings `recorded`, is that of
        `cfg`; `from_best`: or goes on from its best weights with those of `cfg`.
        """
        differences = _differences(recorded, cfg)
        if from_best:
            differences = {
                key: line for key, line in differences.items() if not _free_from_best(key)
            }
        if not differences:
            return
        remedy = "Choose another OUTPUT_DIR, or delete that folder to start over"
        if all(_free_from_best(key) for key in differences):
            remedy += "; --from best goes on from its best weights with the new settings"
        raise ConfigError(
            f"{self.path} holds a run with other settings: {name_some([*differences.values()], mark='; ')}. "
            f"{remedy}"
        )

    def record(self, cfg: CfgNode) -> None:
        """Take the folder for the training run of `cfg`."""
        remove_unfinished(self.path)
        with atomic_write(self / CONFIG_FILE) as file:
            file.write(config_text(cfg).encode())

    def results_folder(
        self,
        cfg: CfgNode,
        weights: str,
        videos: str,
        recorded: Callable[[Path], RecordedTest | None],
    ) -> "ResultsFolder":
        """Where the results of a test go: a `ResultsFolder`.

        The folder itself, unless it holds results of other videos or test settings, or of other
        weights when nothing is trained: then a sub-folder of its own, so that nothing is lost. Its name tells
        what is other, and ends in a digest of all of it, by which it is found again.
        `weights` and `videos` are digests; `recorded(folder)` gives the `RecordedTest` of the
        results in a folder, or None.
        """
        found = recorded(self.path)
        if found is None:
            return ResultsFolder(self.path, False)
        same_weights = found.weights == weights
        differences = _test_differences(found, cfg, videos)
        if not differences and (same_weights or cfg.TRAIN.ENABLE):
            return ResultsFolder(self.path, same_weights)
        if not same_weights and not any(is_weights(one.key) for one in differences):
            differences.insert(0, _other_weights(cfg))
        digest = hashlib.sha256(f"{weights} {videos} {_test_settings(cfg)}".encode()).hexdigest()
        sentences = [one.sentence for one in differences]
        # a test of an earlier version has the digest alone
        for folder in sorted(self.path.glob(f"test-*{digest[:8]}")):
            if recorded(folder) is not None:
                return ResultsFolder(folder, True, sentences)
        return ResultsFolder(self / further_test_name(differences, digest[:8]), False, sentences)


def run_folder(cfg: CfgNode, name: str) -> RunFolder:
    """The `RunFolder` of the run `cfg`, whose config is called `name`."""
    return RunFolder(cfg.OUTPUT_DIR or Path("runs") / name)


def _differences(recorded, cfg):
    """{key: "KEY was A, is B"} of what another training run than the one recorded would have otherwise.

    A setting without effect in both of them tells no runs apart; nor does one in epochs where what counts
    is its setting in iterations, which differs.
    """
    then, now = flat_config(recorded), flat_config(cfg)
    idle = settings_without_effect(recorded) & settings_without_effect(cfg)
    idle |= {in_epochs for key, in_epochs in IN_ITERATIONS.items() if then[key] != now[key]}
    return {
        key: f"{key} was {then[key]!r}, is {now[key]!r}"
        for key, setting in SETTINGS.items()
        if then[key] != now[key] and setting.on_resume != FREE and key not in idle
    }


def _free_from_best(key):
    return SETTINGS[key].on_resume == MATCHES_UNLESS_FROM_BEST


def _test_settings(cfg):
    return {key: value for key, value in flat_config(cfg).items() if SETTINGS[key].affects_test}


def _test_differences(found, cfg, videos):
    """The `Difference`s of a test by `cfg` from the one that is `found`."""
    then = _test_settings(config_from_text(found.settings, "the results"))
    differences = [
        Difference.of_setting(key, value, then[key])
        for key, value in _test_settings(cfg).items()
        if then[key] != value
    ]
    if found.videos != videos:
        medium = medium_of(cfg.TRAIN.DATASET)
        differences.append(Difference("", "videos", f"The list of {medium}s is another."))
    return differences


def _other_weights(cfg):
    path = cfg.TEST.CHECKPOINT_FILE_PATH
    where = f"those of {path}" if path else "newer ones of the run"
    return Difference("", Path(path).stem if path else "weights", f"The weights are {where}.")
