"""The features that an audit rests on: one vector a video, from a file or from a model."""

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from uniformer_video.audit.listed import Listed
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import AbsentError, ConfigError, DataError
from uniformer_video.files import atomic_write
from uniformer_video.inference.predictor import Predictor
from uniformer_video.models.contract import RecognitionModel

FEATURES_FILE = "features.npz"
_EXACT = 0.05  # seconds by which a view may reach beyond a segment


@dataclass(frozen=True)
class Vectors:
    """Features of videos, of their views or of parts of them.

    vectors: float32 `[M, D]`. paths: of the M videos. starts, ends: float64 `[M]`, seconds; NaN where the
    whole video counts.
    """

    vectors: np.ndarray
    paths: Sequence[str]
    starts: np.ndarray
    ends: np.ndarray

    def save(self, path: Path) -> None:
        """Write an npz file of the four."""
        with atomic_write(path) as file:
            np.savez(
                file,
                vectors=self.vectors,
                paths=np.array(self.paths, np.str_),
                starts=self.starts,
                ends=self.ends,
            )


def read_vectors(path: Path | str) -> Vectors:
    """The vectors of an npz file with the arrays `vectors`, `paths`, and mostly `starts` and `ends`.

    Raises `AbsentError` and `DataError`.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, np.ndarray] = {
                name: file[name]
                for name in ("vectors", "paths", "starts", "ends")
                if name in file.files
            }
    except FileNotFoundError:
        raise AbsentError(f"there is no file of features {path}") from None
    except (ValueError, EOFError, AttributeError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no npz file of features, or a damaged one: {error}") from None
    vectors, paths = found.get("vectors"), found.get("paths")
    if vectors is None or paths is None or vectors.ndim != 2 or len(vectors) != len(paths):
        raise DataError(
            f"{path} holds no features of videos: it takes `vectors` [M, D] and as many `paths`"
        )
    unknown = np.full(len(paths), np.nan)
    starts, ends = (found.get(name, unknown) for name in ("starts", "ends"))
    if len(starts) != len(paths) or len(ends) != len(paths):
        raise DataError(
            f"{path} is damaged: {len(paths)} paths, {len(starts)} starts, {len(ends)} ends"
        )
    return Vectors(vectors.astype(np.float32), [str(name) for name in paths], starts, ends)


def rows_of(
    videos: Sequence[Listed], vectors: Vectors, source: str
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """(features `[N, D]`, row of each of N videos or -1, {place: why it has none}).

    The vectors of several views or windows that lie in a video's segment are averaged. Raises `DataError`
    where no video has any.
    """
    own: dict[str, list[int]] = {}
    for row, path in enumerate(vectors.paths):
        own.setdefault(os.path.abspath(path), []).append(row)
    features: list[np.ndarray] = []
    rows = np.full(len(videos), -1, np.int64)
    missing: dict[int, str] = {}
    for place, listed in enumerate(videos):
        mine = _inside(own.get(os.path.abspath(listed.record.path), []), vectors, listed.record)
        if mine:
            rows[place] = len(features)
            features.append(vectors.vectors[mine].mean(axis=0))
        else:
            missing[place] = f"{source} has no features of it"
    if not features:
        raise DataError(
            f"{source} has features of none of the {len(videos)} videos: it names such as "
            f"{next(iter(vectors.paths), 'none')}, the lists {videos[0].record.path}"
        )
    return np.stack(features), rows, missing


def _inside(rows: Sequence[int], vectors: Vectors, record: VideoRecord) -> list[int]:
    """Those of the rows of a video that lie in the record's segment, or say no times."""
    end = np.inf if record.end is None else record.end
    return [
        row
        for row in rows
        if not vectors.starts[row] < record.start - _EXACT and not vectors.ends[row] > end + _EXACT
    ]


class PooledFeatures(Predictor):
    """A predictor whose answer to a video is what its classifier reads, averaged over places: `[view, D]`."""

    @torch.inference_mode()
    def view_logits(self, views: torch.Tensor) -> np.ndarray:
        """Features of prepared views: float32 `[view, D]`."""
        caught: list[torch.Tensor] = []

        def catch(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            tokens = inputs[0].detach().float()
            caught.append(tokens if tokens.ndim == 2 else tokens.flatten(1, -2).mean(1))

        classifier = self.model.get_submodule(_classifier(self.model))
        handle = classifier.register_forward_pre_hook(catch)
        try:
            super().view_logits(views)
        finally:
            handle.remove()
        return torch.cat(caught).cpu().numpy()

    def _outcome(self, name: str, found: np.ndarray | str) -> Any:
        return found


def _classifier(model: nn.Module) -> str:
    names: Sequence[str] = model.classifiers() if isinstance(model, RecognitionModel) else ()
    if not names:
        raise ConfigError(f"{type(model).__name__} names no classifier whose input could be taken")
    return names[0]


def extract_vectors(
    checkpoint: str,
    records: Sequence[VideoRecord],
    workers: int = -1,
    device: str | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> tuple[Vectors, Mapping[VideoRecord, str]]:
    """(the features of records, the mean over the test's views each; {record: why it has none})."""
    predictor = PooledFeatures.from_checkpoint(checkpoint, device=device)
    failed: dict[VideoRecord, str] = {}
    vectors: list[np.ndarray] = []
    good: list[VideoRecord] = []
    for record, found in zip(records, predictor.predict_records(records, workers), strict=True):
        answer = cast("np.ndarray | str", found)
        if isinstance(answer, str):
            failed[record] = answer.removeprefix(f"{record.path} ")
        else:
            vectors.append(answer.mean(axis=0))
            good.append(record)
        if progress:
            progress(len(good) + len(failed), len(records), len(failed))
    if not vectors:
        raise DataError(
            f"none of the {len(records)} videos can be read: {next(iter(failed.values()))}"
        )
    whole = [not record.start and record.end is None for record in good]
    return (
        Vectors(
            np.stack(vectors),
            [record.path for record in good],
            np.array([np.nan if w else r.start for w, r in zip(whole, good, strict=True)]),
            np.array(
                [np.nan if w or r.end is None else r.end for w, r in zip(whole, good, strict=True)]
            ),
        ),
        failed,
    )
