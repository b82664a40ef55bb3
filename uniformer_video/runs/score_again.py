"""The weights and the protocol of a finished test, to score other videos by: the validation's, or any."""

import json
import logging
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import check_recorded_settings
from uniformer_video.config.settings import config_from_tree, with_settings
from uniformer_video.config.values import read_yaml
from uniformer_video.data.lists.records import VideoRecord, list_digest
from uniformer_video.distributed.ranks import join_ranks
from uniformer_video.errors import AbsentError, CheckpointError, DataError
from uniformer_video.evaluation.record import Results
from uniformer_video.evaluation.scoring import ViewScores
from uniformer_video.files import atomic_write
from uniformer_video.models.inference_mode import lay_out, prepare_for_inference
from uniformer_video.runs import build_model
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.class_order import match_classes
from uniformer_video.runs.folder import BEST_FILE, LAST_FILE
from uniformer_video.runs.score_views import score_records
from uniformer_video.tasks.task import Task
from uniformer_video.training.precision import choose_precision
from uniformer_video.weights.checkpoint import Weights, file_sha256, read_weights
from uniformer_video.words import name_some, plural

VAL_SCORES_FILE = "val_scores.npz"
log = logging.getLogger(__name__)


class Scorer:
    """The weights that a test was of, found by their digest, and a way to score videos as it did.

    Raises `CheckpointError` where they are not there any more.
    """

    def __init__(self, results: Results, folder: Path):
        self.results, self.folder = results, folder
        self.digest = str(results.model.get("checkpoint_sha256") or "")
        self.path = _tested_file(results, folder, self.digest)
        self.weights = _tested_weights(self.path, results.model.get("weights"))

    @cached_property
    def cfg(self) -> CfgNode:
        """The settings of the test, as those of a test of the validation videos."""
        source = str(self.folder)
        check_recorded_settings(self.results.settings, source)
        tree = read_yaml(self.results.settings)
        if not isinstance(tree, dict):
            raise DataError(f"the settings in {source} are damaged; run the test again")
        changed = {
            "TRAIN.ENABLE": False,
            "TEST.ENABLE": True,
            "TEST.SPLIT": "val",
            "TEST.DATASET": "",
            "TEST.CHECKPOINT_FILE_PATH": str(self.path),
        }
        return with_settings(config_from_tree(tree, source), changed)

    def score(self, records: Sequence[VideoRecord]) -> ViewScores:
        """The logits of all views of videos, by the protocol of the test."""
        cfg = self.cfg
        model, _ = build_model.load_tested_model(cfg, self.path, self.weights.chosen or "model")
        with join_ranks(cfg.DISTRIBUTED.TIMEOUT, cfg.DATA_LOADER.TIMEOUT or math.inf) as ranks:
            tested, protocol = prepare_for_inference(model), self.results.protocol
            tested.to(ranks.device)
            lay_out(tested, ranks.device, choose_precision(protocol.precision, ranks.device))
            found = score_records(cfg, tested, records, protocol, ranks)
        if not np.isfinite(found.scores[found.decoded]).all():
            raise CheckpointError(
                f"{self.path} gives scores that are not finite; try other weights"
            )
        return found


def _tested_file(results: Results, folder: Path, digest: str) -> Path:
    """The file of the tested weights: where the test found it, or in the folder of the run."""
    told = results.model.get("checkpoint")
    places = [Path(told)] if told else []
    names = [Path(told).name] if told else []
    names += [BEST_FILE, LAST_FILE]
    places += [where / name for where in (folder, folder.parent) for name in dict.fromkeys(names)]
    for place in dict.fromkeys(places):
        if place.is_file() and file_sha256(place) == digest:
            return place
    raise CheckpointError(
        f"the weights that {folder} is a test of, {told} with the SHA-256 {digest[:12]}, are not there any "
        "more, or changed since; put them back, or test again"
    )


def _tested_weights(path: Path, chosen: str | None) -> Weights:
    """The set of weights of a file that was tested."""
    weights = read_weights(path)
    return weights if chosen in (None, weights.chosen) else read_weights(path, str(chosen))


def validation_scores(
    scorer: Scorer, task: Task, check: Callable[[Sequence[VideoRecord]], None]
) -> tuple[Sequence[VideoRecord], np.ndarray]:
    """The validation videos, and the logits of their views, float32 `[video, view, class]`.

    check: raises where the videos can't do; called before any of them is decoded.
    They are kept in val_scores.npz in the folder of the test, for the same weights, protocol and list.
    """
    cfg, noun = scorer.cfg, scorer.results.protocol.medium
    try:
        data = match_classes(
            build_data(cfg), scorer.weights, cfg.MODEL.NUM_CLASSES, cfg.MODEL.MODEL_NAME
        )
    except AbsentError as error:
        raise DataError(f"there are no validation {noun}s: {error}; or take --on half") from None
    for note in data.notes:
        if not note.endswith("(TEST.SPLIT)."):  # which nobody has set
            log.info("%s", note)
    records = data.test
    if not records:
        raise DataError(
            f"there are no validation {noun}s (DATA.VAL_RATIO 0 holds out none); take --on half"
        )
    if data.class_names != scorer.results.class_names:
        raise DataError(
            f"the classes of the validation {noun}s are not those of the test: the data has changed since; "
            "test again, or take --on half"
        )
    check(records)
    place = scorer.folder / VAL_SCORES_FILE
    made_of = {
        "weights_sha256": scorer.digest,
        "weights": scorer.weights.chosen,
        "protocol": scorer.results.protocol.to_dict(),
        "videos_sha256": list_digest(records),
    }
    known = json.dumps(made_of, sort_keys=True)
    shape = (len(records), scorer.results.protocol.num_views, len(data.class_names))
    scores = _stored(place, known, shape)
    if scores is None:
        log.info("Scoring %s for %s.", plural(len(records), f"validation {noun}"), place)
        found = scorer.score(records)
        scores = found.scores
        if found.failures:
            reasons = name_some(list(found.failures.values()))
            log.warning("%d could not be decoded: %s", len(found.failures), reasons)
        entries = [task.label_entry(task.label_of(record)) for record in records]
        _store(place, known, scores, task.saved_labels(entries, shape[2]), records)
    else:
        log.info("The validation %ss are scored already (%s).", noun, place)
    return records, scores


def _stored(place: Path, known: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The scores in a file, where it is whole and made of the same; else None."""
    try:
        with np.load(place) as file:
            if str(file["made_of"]) != known or file["scores"].shape != shape:
                return None
            return file["scores"]
    except FileNotFoundError:
        return None
    except Exception:  # on damaged files, NumPy and zipfile raise whatever they stumble on
        log.warning("%s is damaged, and is made again.", place)
        return None


def _store(
    place: Path, known: str, scores: np.ndarray, labels: Any, records: Sequence[VideoRecord]
) -> None:
    names = np.array([record.name for record in records], dtype=np.str_)
    with atomic_write(place) as file:
        np.savez(file, scores=scores, labels=labels, names=names, made_of=np.array(known))
