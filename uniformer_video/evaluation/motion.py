"""How much of a test's figure is motion: the same videos played backwards, and their middle frame alone."""

from collections.abc import Mapping
from typing import Any

from uniformer_video.data.clips.variants import REVERSED, STILL, Variant
from uniformer_video.evaluation.analyses.tested import Tested
from uniformer_video.evaluation.parts import difference_text, figure_text

MOTION_VARIANTS = (Variant(REVERSED), Variant(STILL))


def has_motion(tested: Tested) -> bool:
    """Whether the variants of a test are there that tell of motion, and a video."""
    found = tested.variants
    return (
        found is not None
        and set(MOTION_VARIANTS) <= set(found.variants)
        and len(tested.in_all_variants) > 0
    )


def measure_motion(tested: Tested, playback: str, opposite: Mapping[int, int]) -> dict[str, Any]:
    """The record's "motion" of a test that has both `MOTION_VARIANTS`.

    playback: that of the test, "forward" or "reverse". opposite: {class: the class of its videos played
    backwards}, where classes have such. All figures are over the videos that were decoded in all playbacks.
    """
    task = tested.task
    reverse, still = (tested.variant_scores(variant) for variant in MOTION_VARIANTS)
    forward = tested.unchanged_scores
    if playback == "reverse":
        forward, reverse = reverse, forward
    labels = [tested.labels[place] for place in tested.in_all_variants]
    found: dict[str, Any] = {
        "videos": len(labels),
        "forward": tested.figure(forward, labels),
        "reversed_original": tested.figure(reverse, labels),
        "still": tested.figure(still, labels),
        "differences": {
            "reversed_original": tested.difference(reverse, forward),
            "still": tested.difference(still, forward),
        },
        "opposites": {},
    }
    if opposite:
        opposed = [task.opposed(label, opposite) for label in labels]
        names = tested.class_names
        found["reversed_opposite"] = tested.figure(reverse, opposed)
        found["opposites"] = {names[a]: names[b] for a, b in sorted(opposite.items())}
    return found


def motion_lines(motion: Mapping[str, Any] | None) -> list[str]:
    """A record's "motion" in a line for the terminal, or none."""
    if not motion:
        return []
    backwards = figure_text(motion["reversed_original"])
    still = figure_text(motion["still"])
    if "reversed_opposite" in motion:
        opposite = figure_text(motion["reversed_opposite"])
        line = (
            f"played backwards: {opposite} see the opposite class, {backwards} the original one; "
        )
        return [f"{line}middle frame repeated: {still}"]
    differences = motion["differences"]
    return [
        f"played backwards: {backwards}, {difference_text(differences['reversed_original'])}; "
        f"middle frame repeated: {still}, {difference_text(differences['still'])}"
    ]
