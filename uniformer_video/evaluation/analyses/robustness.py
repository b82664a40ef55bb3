"""What is left of the headline where frames are lost, compressed, blurred, noisy, or shown at another rate.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (2019): several kinds, each at rising severities, and the mean over these.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from uniformer_video.data.clips.variants import STRENGTHS, Variant, variants_of
from uniformer_video.evaluation.analyses.tested import Tested

NAMES = {
    "drop": "Frames dropped",
    "jpeg": "JPEG compression",
    "blur": "Gaussian blur",
    "noise": "Gaussian noise",
    "rate": "Frame rate",
    "reversed": "Reversed",
}


def robustness(tested: Tested) -> dict[str, Any] | None:
    """The figures of all variants that TEST.ROBUSTNESS asked for; None where it asked for none."""
    found = tested.variants
    if found is None or not len(tested.in_all_variants):
        return None
    if not found.asked:
        return None
    task, labels = tested.task, [tested.labels[place] for place in tested.in_all_variants]
    clean = tested.figure(tested.unchanged_scores, labels)
    rows = []
    for kind in (kind for kind in STRENGTHS if kind in found.asked):
        chosen = [own for own in variants_of([kind]) if own in found.variants]
        measured = [_measure(tested, own, labels) for own in chosen]
        rows.append({"kind": kind, **_summary(measured, clean["value"]), "strengths": measured})
    return {
        "figure": task.headline,
        "videos": len(labels),
        "seconds": found.seconds,
        "per_view": found.per_view,
        "failures": [
            {"video": place, "reason": reason}
            for place, reason in sorted(found.failures.items())
            if tested.decoded[place]
        ],
        "clean": clean,
        "kinds": rows,
    }


def _measure(tested: Tested, variant: Variant, labels: list[Any]) -> dict[str, Any]:
    assert tested.variants is not None
    scores = tested.variant_scores(variant)
    held = tested.variants.held_of(variant)
    return {
        "strength": variant.strength,
        **({"seed": tested.variants.seed_of(variant)} if variant.draws else {}),
        "figure": tested.figure(scores, labels),
        "difference": tested.difference(scores, tested.unchanged_scores),
        "held": None if held is None else held / tested.variants.shown,
    }


def _summary(measured: list[dict[str, Any]], clean: float | None) -> dict[str, Any]:
    """The mean over strengths, how far it is below the unchanged test, and that as a share of it."""
    values = [one["figure"]["value"] for one in measured]
    if clean is None or None in values:
        return {"mean": None, "drop": None, "relative_drop": None}
    mean = fmean(values)
    return {
        "mean": mean,
        "drop": clean - mean,
        "relative_drop": (clean - mean) / clean if clean else None,
    }


def robustness_lines(found: Mapping[str, Any] | None) -> list[str]:
    """An answer of `robustness` in a line for the terminal, or none."""
    if not found or found["clean"]["value"] is None:
        return []
    parts = [
        f"{row['kind']} {row['mean']:.1%} ({100 * (row['mean'] - found['clean']['value']):+.1f} points)"
        for row in found["kinds"]
    ]
    return [
        f"robustness, mean over strengths (unchanged {found['clean']['value']:.1%}): "
        f"{', '.join(parts)}"
    ]
