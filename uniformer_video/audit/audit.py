"""The audit of a data set: labels judged by the other videos of each class, near-duplicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from uniformer_video.audit.confident import Suspicions, find_suspicions
from uniformer_video.audit.duplicates import FEATURES, Pair, find_pairs
from uniformer_video.audit.listed import Listed, independent_groups
from uniformer_video.audit.probe import FOLDS, Probe, probe_labels
from uniformer_video.errors import DataError
from uniformer_video.words import name_some, plural

_ALONE = "no other video of its class is independent of it"


@dataclass(frozen=True)
class Audit:
    """What is found of N videos, of which J labels are judged.

    judged: int64 `[J]`, their places among `videos`, in the order of `suspicions` and of the probabilities,
    float `[J, K]`. left_out: {place: why its label is not judged}. not_compared: {place: why its footage is
    not compared}. footage: whether any was. pairs: near-duplicates. probe: what judged.
    """

    videos: Sequence[Listed]
    class_names: Sequence[str]
    judged: np.ndarray
    probabilities: np.ndarray
    suspicions: Suspicions
    probe: Probe
    pairs: Sequence[Pair]
    left_out: Mapping[int, str]
    not_compared: Mapping[int, str] = field(default_factory=dict)
    footage: bool = True
    notes: Sequence[str] = ()

    @property
    def likely_wrong(self) -> np.ndarray:
        """Places of the videos that confidently belong to another class, the most suspicious first."""
        count = int(self.suspicions.contradicted.sum())
        return self.judged[self.suspicions.order[:count]]

    @property
    def leaks(self) -> list[Pair]:
        """The pairs that two lists share."""
        return [p for p in self.pairs if self.videos[p.first].part != self.videos[p.second].part]

    @property
    def disagreeing(self) -> list[Pair]:
        """The pairs whose labels differ."""
        return [p for p in self.pairs if self.videos[p.first].label != self.videos[p.second].label]


def audit_videos(
    videos: Sequence[Listed],
    class_names: Sequence[str],
    features: np.ndarray,
    rows: np.ndarray,
    missing: Mapping[int, str],
    prints: Mapping[int, np.ndarray] | None = None,
    alike: float | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Audit:
    """The `Audit` of videos by their features.

    features: float `[M, D]`; rows: int `[N]`, the row of each video there, -1 for none, whose reason is in
    `missing`. prints: fingerprints by place, of the videos that were read. alike: as in `find_pairs`; folds,
    seed: as in `probe_labels`. Raises `DataError` for features that are no numbers, and what these raise.
    """
    used = np.flatnonzero(rows >= 0)
    bad = used[~np.isfinite(features[rows[used]]).all(axis=1)]
    if len(bad):
        raise DataError(
            f"the features of {plural(len(bad), 'video')} are not finite numbers: "
            f"{name_some([videos[place].name for place in bad])}; make them again"
        )
    pairs = find_pairs(videos, features, rows, prints or {}, alike)
    # What only the model takes for the same may be two videos of one class, of which many are alike.
    same = [(pair.first, pair.second) for pair in pairs if pair.how != FEATURES]
    groups = independent_groups(videos, np.array(same, np.int64).reshape(-1, 2))
    labels = np.array([listed.label for listed in videos], np.int64)
    probe = probe_labels(
        features[rows[used]], labels[used], groups[used], len(class_names), folds, seed
    )
    left_out = dict(missing)
    left_out |= {int(place): _ALONE for place in used[~probe.judged]}
    probabilities, judged = probe.probabilities[probe.judged], used[probe.judged]
    return Audit(
        videos=videos,
        class_names=class_names,
        judged=judged,
        probabilities=probabilities,
        suspicions=find_suspicions(probabilities, labels[judged]),
        probe=probe,
        pairs=pairs,
        left_out=left_out,
        notes=_notes(class_names, labels[used], groups[used], folds),
    )


def _notes(
    class_names: Sequence[str], labels: np.ndarray, groups: np.ndarray, folds: int
) -> list[str]:
    """What is to be known of small classes."""
    independent = np.array(
        [len(np.unique(groups[labels == label])) for label in range(len(class_names))]
    )
    notes = []
    for chosen, words in (
        (independent == 1, "with a single independent video, whose labels are not judged"),
        (
            (independent > 1) & (independent < folds),
            f"with fewer independent videos than the {folds} folds, whose labels are judged by few",
        ),
        (independent == 0, "without a video that has features"),
    ):
        if chosen.any():
            names = [class_names[label] for label in np.flatnonzero(chosen).tolist()]
            notes.append(
                f"{plural(len(names), 'class', 'classes')} {words}: {name_some(names, 5)}."
            )
    return notes
