"""What a linear probe that has not seen a video says of it: probabilities of classes, by folds."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from uniformer_video.errors import DataError, MissingLibraryError
from uniformer_video.program import install

FOLDS = 5
# Inverse strengths of the penalty on the squares of the weights, as scikit-learn's C; each that is worse than
# the one before ends the search.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_STEPS = 1000  # of the solver; it mostly ends long before
_SMALL = 1e9  # products of a step up to which threads cost more than they bring


@dataclass(frozen=True)
class Probe:
    """Probabilities that a linear probe gives to videos that it was not fitted on.

    probabilities: float64 `[N, K]`; NaN where `judged`, bool `[N]`, is False: no other video outside the
    fold has the given class. strength: the penalty that was chosen. log_loss: the mean of -log of the given
    class's probability, over the judged. accuracy: the share of them whose most probable class is given.
    """

    probabilities: np.ndarray
    judged: np.ndarray
    strength: float
    log_loss: float
    accuracy: float


def scikit_learn() -> Any:
    """The library, with the parts that are used here; `MissingLibraryError` where it is not installed."""
    try:
        import sklearn
        import sklearn.linear_model
        import sklearn.model_selection
        import sklearn.pipeline
        import sklearn.preprocessing
    except ImportError as error:
        raise MissingLibraryError(
            f"an audit needs scikit-learn, which cannot be imported; run: {install('audit')}"
        ) from error
    return sklearn


def probe_labels(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    num_classes: int,
    folds: int = FOLDS,
    seed: int = 0,
) -> Probe:
    """The `Probe` of features `[N, D]`, labels int `[N]` below `num_classes`, and groups int `[N]`.

    Videos of one group stay in one fold; a group is all of one video mostly. The probe is a logistic
    regression on features that are standardised by the other folds; how strongly its weights are penalised
    is what gives the given labels the least log loss out of fold. Raises `DataError` where no class has two
    groups, or there is only one class, and `MissingLibraryError` without scikit-learn.
    """
    scikit_learn()
    fold_of = assign_folds(labels, groups, folds, seed)
    judged = _judged(labels, fold_of)
    if not judged.any():
        raise DataError(
            "no class has two videos that are independent of each other, and a label is judged by the other "
            "videos of its class; give more videos"
        )
    if len(np.unique(labels[judged])) < 2:
        raise DataError(
            "all labels that can be judged are of one class; an audit takes two or more"
        )
    import threadpoolctl  # comes with scikit-learn

    best = None
    with threadpoolctl.threadpool_limits(1 if features.size * num_classes < _SMALL else None):
        for strength in STRENGTHS:
            found = _fit(features, labels, fold_of, judged, num_classes, strength)
            if best and found.log_loss >= best.log_loss:
                break
            best = found
    assert best is not None
    return best


def assign_folds(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Which fold each video is in, int64 `[N]`: classes evenly spread, groups whole."""
    selection = scikit_learn().model_selection
    grouped = len(np.unique(groups)) < len(groups)
    # Where a class has fewer videos than folds some of these have none of it: see `_judged`.
    count = min(folds, len(np.unique(groups)), int(np.bincount(labels).max()))
    fold_of = np.zeros(len(labels), np.int64)
    if count < 2:
        return fold_of
    kind = selection.StratifiedGroupKFold if grouped else selection.StratifiedKFold
    splitter = kind(n_splits=count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of small classes, which are named elsewhere
        parts = list(splitter.split(np.zeros((len(labels), 1)), labels, groups))
    for number, (_, held_out) in enumerate(parts):
        fold_of[held_out] = number
    return fold_of


def _judged(labels: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """Whose class the other folds have too: bool `[N]`."""
    inside = np.zeros((labels.max() + 1, fold_of.max() + 1), np.int64)
    np.add.at(inside, (labels, fold_of), 1)
    outside = inside.sum(axis=1, keepdims=True) - inside
    comparable = (outside > 0).sum(axis=0) > 1  # a fold whose rest is of one class fits nothing
    return (outside[labels, fold_of] > 0) & comparable[fold_of]


def _fit(
    features: np.ndarray,
    labels: np.ndarray,
    fold_of: np.ndarray,
    judged: np.ndarray,
    num_classes: int,
    strength: float,
) -> Probe:
    library = scikit_learn()
    probabilities = np.full((len(labels), num_classes), np.nan)
    for fold in np.unique(fold_of):
        held_out, rest = (fold_of == fold) & judged, fold_of != fold
        if not held_out.any():
            continue
        model = library.pipeline.make_pipeline(
            library.preprocessing.StandardScaler(),
            library.linear_model.LogisticRegression(C=strength, max_iter=_STEPS),
        )
        model.fit(features[rest], labels[rest])
        row = np.zeros((held_out.sum(), num_classes))
        row[:, model.classes_] = model.predict_proba(features[held_out])
        probabilities[held_out] = row
    own = probabilities[np.flatnonzero(judged), labels[judged]]
    return Probe(
        probabilities,
        judged,
        strength,
        log_loss=float(-np.log(own.clip(1e-12)).mean()),
        accuracy=float((probabilities[judged].argmax(axis=1) == labels[judged]).mean()),
    )
