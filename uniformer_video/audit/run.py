"""An audit from a data set to a page: features, footage, the judgement, frames, files."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.advice.source import find_source
from uniformer_video.audit.audit import Audit, audit_videos
from uniformer_video.audit.listed import ALL, Listed, listed_videos
from uniformer_video.audit.pictures import strips_of
from uniformer_video.audit.probe import FOLDS, scikit_learn
from uniformer_video.audit.shown import page_record, shown_records
from uniformer_video.audit.tables import claim_out, write_tables
from uniformer_video.audit.vectors import FEATURES_FILE, feature_model, rows_of
from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.features.extract import features_of_records
from uniformer_video.features.table import read_features
from uniformer_video.pages.audit import write_audit_page
from uniformer_video.pages.plots import report_library
from uniformer_video.prepare.fingerprints import is_comparable
from uniformer_video.prepare.overlap import CACHE_FILE, read_fingerprints

_Progress = Callable[[int, int, int], None]
_TOO_PLAIN = "most of its frames are of one colour, or nearly"
_READER = "finetune/small"  # any recipe of a folder reads lists alike


def audit_data(
    data: str,
    out: str | Path,
    features: str | None = None,
    checkpoint: str | None = None,
    split: str = ALL,
    show: int = 60,
    alike: float | None = None,
    footage: bool = True,
    device: str | None = None,
    workers: int = 0,
    settings: Sequence[str] = (),
    progress: _Progress | None = None,
) -> tuple[Audit, Path]:
    """Audit the labels of a data set; (what was found, the page).

    data: what `find_source` takes. out: a folder for the results. features: a file for `read_features`;
    else `checkpoint`, of a model that makes them. split: a part of the data, or all. show: how many suspects,
    and pairs, the page shows. alike: as in `find_pairs`. footage: whether videos are opened to find copies.
    settings: KEY, VALUE, ... on how the lists are read. Raises `UserError` for whatever is wrong with these.
    """
    scikit_learn()
    report_library("jinja2")
    source = find_source(data, _pinned(settings))
    videos = listed_videos(source, split)
    unique = list({listed.record.segment: listed.record for listed in videos}.values())
    # What can be wrong is found before anything is written.
    if features:
        vectors, rows, missing = rows_of(videos, read_features(features), features)
        folder = claim_out(out)
    else:
        assert checkpoint is not None
        model = feature_model(checkpoint, device)
        folder = claim_out(out)
        file = folder / FEATURES_FILE
        table = features_of_records(
            model, checkpoint, unique, file, workers=workers or -1, progress=progress
        )
        vectors, rows, missing = rows_of(videos, table, str(file))
    prints, not_compared = _footage(videos, folder, workers, progress) if footage else ({}, {})
    found = audit_videos(videos, source.class_names, vectors, rows, missing, prints, alike)
    # What a run says of a test in place of an absent one is not about these lists.
    parts = {listed.part for listed in videos}
    said = [note for note in source.notes if "test" in parts or " test videos are " not in note]
    found = replace(found, not_compared=not_compared, footage=footage, notes=[*found.notes, *said])
    write_tables(folder, found)
    pictures = strips_of(shown_records(found, show), workers, progress)
    title = os.path.basename(os.path.abspath(data)) or data
    facts = _facts(found, data, str(features or checkpoint), bool(features), alike)
    return found, write_audit_page(folder, page_record(found, title, show, pictures, facts))


def _pinned(settings: Sequence[str]) -> dict[str, str]:
    load_config(_READER, settings)  # refuses what is no setting
    pinned = dict(zip(map(str, settings[::2]), map(str, settings[1::2]), strict=True))
    if "DATA.PATH_TO_DATA_DIR" in pinned:
        raise ConfigError("DATA.PATH_TO_DATA_DIR is what DATA says; leave it out")
    return pinned


def _footage(
    videos: Sequence[Listed], folder: Path, workers: int, progress: _Progress | None
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """(fingerprints, reasons why there is none or it is of no use), by the first place of each video."""
    first: dict[tuple[str, float, float | None], int] = {}
    for place, listed in enumerate(videos):
        first.setdefault(listed.record.segment, place)
    places = list(first.values())
    read = read_fingerprints(
        [videos[place].record for place in places], folder / CACHE_FILE, workers, progress=progress
    )
    prints = {places[at]: one for at, one in read.prints.items()}
    reasons = {places[at]: reason for at, reason in read.unreadable.items()}
    reasons |= {place: _TOO_PLAIN for place, one in prints.items() if not is_comparable(one)}
    return prints, reasons


def _facts(
    found: Audit, data: str, source: str, is_file: bool, alike: float | None
) -> list[tuple[str, Any]]:
    strength, accuracy = found.probe.strength, found.probe.accuracy
    return [
        ("Data", data),
        ("Features", source if is_file else f"by {source}, the mean of the test's views"),
        ("Folds", f"{FOLDS}, by class, groups {'and copies ' if found.footage else ''}whole"),
        (
            "Probe",
            f"logistic regression, C = {strength:g}; agrees with {accuracy:.1%} of the labels",
        ),
        ("Footage", "compared" if found.footage else "not compared (--quick)"),
        (
            "Alike to the model",
            f"from a cosine of {alike:g} on" if alike else "not asked for (--alike)",
        ),
    ]
