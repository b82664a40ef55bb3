"""The record of a test as an object: what `results.json` holds, typed, and the scores beside it."""

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import DataError, MissingLibraryError
from uniformer_video.evaluation.parts import telling_figures
from uniformer_video.evaluation.results import SCORES_FILE, load_results
from uniformer_video.words import one_line


@dataclass(frozen=True, repr=False)
class Results:
    """What a multi-view test has found, read from its folder.

    folder: where results.json, scores.npz and report.html lie.
    summary: the figures, as the task names them: `summary["top1"]["value"]` of one label a video.
    protocol: by what views, pixels and score. playback: "forward" or "reverse".
    videos: one dict a video: "name", "path", its labels, whether it was "decoded", and what was found.
    failures: those of them that could not be decoded, each with its "reason".
    motion: the check of motion, None where it was not made. model, training, versions: plain dicts.
    analyses: {name: what an analysis found}. cost: where the time of the test went, None where it was not
    measured.
    settings: the config as YAML text. seconds: how long the test took.
    data: name of the data set, format of its lists, split, licence of the videos; None in earlier records.
    changed_settings: those of the command line, and of the recipe; None in earlier records.
    differs: of a further test of a run, by what it differs from the run's own.
    among_classes: where some of the model's classes are told apart alone, which; None where all are.
    crossval: of a cross-validation, the figures of its folds and their spread; None of one test.
    rescored: of a record that `uniformer-video rescore` made, from what; None of a test.
    task_parts: what else the task records, such as "per_class".
    """

    folder: Path
    schema_version: int
    created: str
    title: str
    summary: dict[str, Any]
    protocol: Protocol
    playback: str
    videos_sha256: str
    class_names: list[str]
    videos: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    motion: dict[str, Any] | None
    model: dict[str, Any]
    training: dict[str, Any] | None
    notes: list[str]
    seconds: float
    settings: str
    versions: dict[str, str]
    task: str = "single-label"
    analyses: dict[str, dict[str, Any]] = field(default_factory=dict)
    cost: dict[str, Any] | None = None
    crossval: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    changed_settings: dict[str, list[dict[str, Any]]] | None = None
    differs: list[str] = field(default_factory=list)
    among_classes: dict[str, Any] | None = None
    rescored: dict[str, Any] | None = None
    task_parts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | Path) -> "Results":
        """The results in a folder. Raises `DataError` where there are none, or they are damaged."""
        record = load_results(folder)
        protocol = Protocol.from_dict(record["protocol"])
        known = {one.name for one in fields(cls)} - {"folder", "protocol", "task_parts"}
        parts = {key: record[key] for key in record if key not in {*known, "protocol"}}
        values = {key: record[key] for key in known if key in record}
        return cls(folder=Path(folder), protocol=protocol, task_parts=parts, **values)

    @cached_property
    def scores(self) -> np.ndarray:
        """The logits of every view, float32 `[video, view, class]` in the order of `videos`; NaN where
        a video could not be decoded. Raises `DataError` where the file is not there.
        """
        return self._array("scores", "a video")

    @cached_property
    def areas(self) -> np.ndarray:
        """Of a test of segmentation: how many pixels of each class are both predicted and true, predicted,
        true, int64 `[picture, 3, class]` in the order of `videos`; 0 where a picture could not be read.
        Raises `DataError` where the file is not there.
        """
        return self._array("areas", "a picture")

    def _array(self, name: str, of: str) -> np.ndarray:
        path = self.folder / SCORES_FILE
        try:
            with np.load(path) as file:
                if name not in file.files:
                    raise DataError(
                        f"{path} holds the {', '.join(file.files)} of a test of the task {self.task}, and no "
                        f"{name} of {of}; this takes tests that have them"
                    )
                return file[name]
        except DataError:
            raise
        except (
            Exception
        ) as error:  # on damaged files, NumPy and zipfile raise whatever they stumble on
            raise DataError(
                f"cannot read the scores {path}: {one_line(error)}; run the test again"
            ) from error

    def to_frame(self) -> Any:
        """`videos` as a pandas `DataFrame`, one row a video. Raises `MissingLibraryError` without pandas."""
        try:
            import pandas
        except ImportError:
            raise MissingLibraryError(
                "to_frame needs pandas, which is not installed; `pip install pandas`"
            ) from None
        return pandas.DataFrame(self.videos)

    def __repr__(self) -> str:
        shares = {
            key: entry.get("value") if isinstance(entry, dict) else entry
            for key, entry in telling_figures(self.summary, len(self.class_names)).items()
        }
        figures = ", ".join(
            f"{key} {share:.1%}" for key, share in shares.items() if isinstance(share, float)
        )
        failed = f", {len(self.failures)} failed" if self.failures else ""
        counted = f"{len(self.videos)} {self.protocol.medium}s{failed}"
        return f"<Results of {self.title}: {figures}; {counted}; {self.folder}>"
