"""What lies beside a stored test when it is scored again: its variants, its strips, facts of its record."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pages import PROTOCOL
from stored_tests import answers, store_test

from uniformer_video.data.clips.variants import Variant, variants_of
from uniformer_video.evaluation.parts import proportion
from uniformer_video.evaluation.record import Results
from uniformer_video.evaluation.results import load_results, save_results
from uniformer_video.evaluation.strips import Strips
from uniformer_video.evaluation.variants import VariantScores, load_variants, save_variants
from uniformer_video.runs.rescore import Choice, rescore
from uniformer_video.runs.variants_test import record_variants
from uniformer_video.tasks.single_label import SingleLabel

VARIANTS = (*variants_of(["blur", "rate", "reversed"]), Variant("still"))
NAMES = ["jump", "run, fast", "sit", "stand", "walk"]
VIDEOS, CLIPS, CROPS, CLASSES = 40, 4, 3, 5
FAILED = 7
LOST = 34  # a video that the test could read, and its variants could not
OPPOSITE = {1: 4, 4: 1, 2: 3, 3: 2}
FACTS = {
    "data": {"name": "demo", "format": "csv", "split": "test", "license": "CC BY 4.0"},
    "changed_settings": {"command_line": [{"key": "RNG_SEED", "value": 2, "recipe": 0}]},
    "differs": ["RNG_SEED is 2, not 0."],
}
LABELS = np.arange(VIDEOS) % CLASSES


def logits():
    scores = answers(LABELS, CLASSES, 0, num_views=CLIPS * CROPS)
    scores[FAILED] = np.nan
    return scores


def variant_logits():
    rng = np.random.default_rng(1)
    scores = logits() + rng.normal(size=(len(VARIANTS), VIDEOS, CLIPS * CROPS, CLASSES))
    scores[:, LOST] = np.nan
    return scores.astype(np.float32)


def store(folder, per_view=True):
    """A test with variants and strips; x3 holds frames at the ends of videos."""
    store_test(
        folder,
        logits(),
        LABELS.tolist(),
        protocol=PROTOCOL.with_views(CLIPS, CROPS),
        names=[f"{'ab'[place % 2]}/{place}.mp4" for place in range(VIDEOS)],
        class_names=NAMES,
        failures={FAILED: "cut short"},
        **FACTS,
    )
    task, results = SingleLabel(), load_results(folder)
    scores = variant_logits() if per_view else variant_logits().mean(2, keepdims=True)
    found = VariantScores(
        variants=VARIANTS,
        scores=scores,
        per_view=per_view,
        held=tuple(5 if own == Variant("rate", 3.0) else 0 for own in VARIANTS),
        shown=8 * CLIPS * (VIDEOS - 2),
        seeds=(0,) * len(VARIANTS),
        asked=("blur", "rate", "reversed"),
        failures={FAILED: "cut short", LOST: "lost"},
    )
    record_variants(results, task, logits(), LABELS, found, OPPOSITE)
    save_variants(folder, found, [video["name"] for video in results["videos"]])
    save_results(folder, results, logits(), task)
    strips = {place: bytes([place]) * 3 for place in range(VIDEOS) if place != FAILED}
    Strips.of(strips, VIDEOS).save(folder)
    return folder


def softmax(scores):
    powers = np.exp(scores.astype(float) - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_nothing_is_lost_without_a_choice(tmp_path):
    run = store(tmp_path / "run")
    again = Results.load(rescore(run, tmp_path / "again"))
    first = Results.load(run)
    for key in ("motion", "analyses", *FACTS):
        assert getattr(again, key) == getattr(first, key), key
    assert again.rescored["left_out"] == []
    with np.load(run / "variants.npz") as one, np.load(again.folder / "variants.npz") as two:
        for key in one.files:
            np.testing.assert_array_equal(two[key], one[key], key)
    assert (again.folder / "strips.npz").exists()


def test_figures_of_variants_are_those_of_the_views_classes_and_videos_that_are_kept(tmp_path):
    run, kept = store(tmp_path / "run"), [1, 3, 4]
    choice = Choice(
        "softmax", "0,2", "centre", ["run, fast", "stand", "walk"], ["[ab]/?.mp4", "a/*"]
    )
    out = rescore(run, tmp_path / "out", choice)
    results, found = Results.load(out), load_variants(out)
    places = [p for p in range(VIDEOS) if p % CLASSES in kept and (p < 10 or p % 2 == 0)]
    assert [video["name"] for video in results.videos] == [f"{'ab'[p % 2]}/{p}.mp4" for p in places]
    good = [p for p in places if p not in (FAILED, LOST)]
    assert len(good) == results.motion["videos"] == results.analyses["robustness"]["videos"]

    def right(scores, true):
        views = scores.reshape(VIDEOS, CLIPS, CROPS, CLASSES)[good][:, [0, 2], 1][..., kept]
        return proportion((softmax(views).mean(1).argmax(1) == true).sum(), len(good))

    own = np.array([kept.index(p % CLASSES) for p in good])
    opposite = np.array([{0: 2, 1: 1, 2: 0}[label] for label in own])  # that of "stand" is not kept
    scores = dict(zip(VARIANTS, variant_logits(), strict=True))
    motion, reverse = results.motion, scores[Variant("reversed")]
    assert motion["opposites"] == {"run, fast": "walk", "walk": "run, fast"}
    assert motion["forward"] == right(logits(), own)
    assert motion["reversed_original"] == right(reverse, own)
    assert motion["reversed_opposite"] == right(reverse, opposite)
    assert motion["still"] == right(scores[Variant("still")], own)
    robustness = results.analyses["robustness"]
    assert robustness["clean"] == motion["forward"]
    assert robustness["failures"] == [{"video": places.index(LOST), "reason": "lost"}] * (
        LOST in places
    )
    for row in robustness["kinds"]:
        for one in row["strengths"]:
            assert one["figure"] == right(scores[Variant(row["kind"], one["strength"])], own)
            fastest = (row["kind"], one["strength"]) == ("rate", 3)
            assert one["held"] == (None if fastest else 0)  # of these clips alone nobody knows
    assert found.scores.shape == (len(VARIANTS), len(places), 2, 3)
    assert found.shown == 8 * 2 * (len(places) - sum(p in (FAILED, LOST) for p in places))
    strips = Strips.load(out, len(places))
    expected = [b"" if p == FAILED else bytes([p]) * 3 for p in places]
    assert [strips[place] for place in range(len(places))] == expected
    assert {key: getattr(results, key) for key in FACTS} == FACTS
    again = Results.load(rescore(out, tmp_path / "again"))
    assert (again.motion, again.analyses) == (motion, results.analyses)


@pytest.mark.parametrize(
    "choice", [Choice(clips="1"), Choice("softmax"), Choice(classes=NAMES[1:])]
)
def test_scores_of_videos_tell_nothing_of_other_views(tmp_path, choice):
    run = store(tmp_path / "run", per_view=False)
    out = rescore(run, tmp_path / "out", Choice(videos=["a/*"]))
    assert load_variants(out).scores.shape == (len(VARIANTS), VIDEOS // 2, 1, CLASSES)
    assert json.loads((out / "results.json").read_text())["motion"]["videos"] == VIDEOS // 2 - 1
    results = Results.load(rescore(run, out, choice))  # over what it wrote itself
    assert results.motion is None and results.rescored["left_out"] == [
        "motion",
        "analyses.robustness",
    ]
    assert not (out / "variants.npz").exists()


def test_the_frames_that_are_held_stay_unknown_in_the_file(tmp_path):
    found = replace(load_variants(store(tmp_path / "run")), held=(None,) * len(VARIANTS))
    save_variants(tmp_path, found, ["video"] * VIDEOS)
    assert load_variants(tmp_path).held == found.held
