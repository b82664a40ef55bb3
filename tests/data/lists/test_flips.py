"""Mirrored clips and their classes: every pair, every mode, up to the soft targets of mixup."""

import numpy as np
import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists import class_names, flips
from uniformer_video.errors import ConfigError
from uniformer_video.runs import build_clips
from uniformer_video.tasks.classification import soft_targets
from uniformer_video.training.mixup import Mixup

SSV2 = [
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    (
        "Turning the camera left while filming something",
        "Turning the camera right while filming something",
    ),
]
PLAIN = ("AUG.ENABLE", False, "DATA.TRAIN_JITTER_SCALES_RELATIVE", "[]")
SMALL = ("DATA.TRAIN_JITTER_SCALES", "[36, 36]", "DATA.TRAIN_CROP_SIZE", 32)


def augmentation(names, *settings):
    cfg = load_config(overrides=[str(part) for part in (*PLAIN, *SMALL, *settings)])
    return build_clips.build_augmentation(cfg, names)


def outcomes(augment, label):
    """{(mirrored, label)} of many draws, for one label."""
    return {(mirrored, own) for mirrored, (own,) in several(augment, (label,))}


def several(augment, given, draws=40):
    """{(mirrored, labels)} of many draws: the frames grow brighter to the right."""
    ramp = np.tile(np.arange(48, dtype=np.uint8) * 5, (36, 1))
    frames = np.repeat(ramp[None, ..., None], 3, axis=-1)
    found = set()
    for draw in range(draws):
        clip, own = augment(frames, given, np.random.default_rng(draw))
        found.add((bool(clip[0, 0, 0, 0] > clip[0, 0, 0, -1]), own))
    return found


def test_the_pairs_of_something_something():
    assert flips.mirror_pairs(class_names.class_names("ssv2")) == SSV2


@pytest.mark.parametrize("dataset", ["k400", "k600", "ssv1", "ssv2", "ucf101", "hmdb51", "demo"])
def test_pairs_of_names_are_those_of_the_dataset(dataset):
    assert flips.mirror_pairs(class_names.class_names(dataset)) == class_names.mirror_pairs(dataset)


@pytest.mark.parametrize(
    "pair",
    [
        ("turn left", "turn right"),
        ("swipe_left", "swipe_right"),
        ("SwipeLeft", "SwipeRight"),
        ("Left-hand wave", "right hand wave"),
        ("rotate anti-clockwise", "rotate clockwise"),
        ("spin_cw", "spin_ccw"),
        ("drift leftwards", "drift rightwards"),
        ("LEFT to RIGHT", "RIGHT to LEFT"),
    ],
)
def test_names_in_any_writing(pair):
    assert flips.mirror_pairs(["walk", *pair]) == [pair]


def test_names_that_are_no_pair():
    names = [
        "bright",
        "copyright",
        "cleft",
        "upright",
        "left",
        "leftover",
        "rightover",
        "left left",
    ]
    assert flips.mirror_pairs(names) == []


@pytest.mark.parametrize("pair", SSV2)
@pytest.mark.parametrize("side", [0, 1])
def test_every_pair_in_every_mode(pair, side):
    names = class_names.class_names("ssv2")
    own, other = names.index(pair[side]), names.index(pair[1 - side])
    swapped = {(False, own), (True, other)}
    kept = {(False, own), (True, own)}
    for settings, expected in (
        (("DATA.FLIP", "off"), {(False, own)}),
        (("DATA.FLIP", "all"), kept),
        (("DATA.FLIP", "skip-directional"), {(False, own)}),
        (("DATA.FLIP", "swap-labels"), swapped),
        (("DATA.FLIP", "by-names"), swapped),
        (("DATA.RANDOM_FLIP", False), {(False, own)}),
        (("DATA.RANDOM_FLIP", True), kept),
        (("DATA.FLIP_CLASS_PAIRS", str([list(pair)])), swapped),
        (("DATA.FLIP_CLASS_PAIRS", str([list(pair)]), "DATA.FLIP", "all"), kept),
        (("DATA.RANDOM_FLIP", False, "DATA.FLIP", "swap-labels"), swapped),
    ):
        assert outcomes(augmentation(names, *settings), own) == expected, settings


@pytest.mark.parametrize("pair", SSV2)
@pytest.mark.parametrize("side", [0, 1])
def test_every_pair_beside_other_labels(pair, side):
    """Each directional label of several is exchanged, and one of them is enough to be skipped."""
    names = class_names.class_names("ssv2")
    own, other = names.index(pair[side]), names.index(pair[1 - side])
    paired = {names.index(name) for pair in SSV2 for name in pair}
    plain = next(index for index in range(len(names)) if index not in paired)
    second, second_other = (names.index(name) for name in SSV2[(SSV2.index(pair) + 1) % 3])
    swap = augmentation(names, "DATA.FLIP", "swap-labels")
    skip = augmentation(names, "DATA.FLIP", "skip-directional")
    both = augmentation(names, "DATA.FLIP", "all")
    for given, exchanged in (
        ((own, plain), (other, plain)),
        ((own, other), (own, other)),
        ((own, second, plain), (other, second_other, plain)),
    ):
        given, exchanged = tuple(sorted(given)), tuple(sorted(exchanged))
        assert several(swap, given) == {(False, given), (True, exchanged)}
        assert several(skip, given) == {(False, given)}
        assert several(both, given) == {(False, given), (True, given)}
    for given in ((plain,), ()):
        assert several(swap, given) == several(skip, given) == {(False, given), (True, given)}


@pytest.mark.parametrize("mode", ["skip-directional", "swap-labels"])
def test_all_other_classes_are_mirrored_and_keep_their_labels(mode):
    names = class_names.class_names("ssv2")
    paired = {names.index(name) for pair in SSV2 for name in pair}
    augment = augmentation(names, "DATA.FLIP", mode)
    assert dict(augment.flip_labels).keys() | set(augment.flip_skipped) == paired
    for label in set(range(0, len(names), 25)) - paired:
        assert outcomes(augment, label) == {(False, label), (True, label)}


def test_given_pairs_go_before_the_names():
    names = ["turn left", "turn right", "a", "b"]
    pairs = ("DATA.FLIP_CLASS_PAIRS", "[[a, 3]]")
    augment = augmentation(names, "DATA.FLIP", "skip-directional", *pairs)
    assert set(augment.flip_skipped) == {2, 3}


@pytest.mark.parametrize("mode", ["skip-directional", "swap-labels"])
def test_a_mode_that_needs_pairs_and_has_none(mode):
    with pytest.raises(ConfigError, match=rf"DATA\.FLIP is {mode}.*DATA\.FLIP_CLASS_PAIRS"):
        augmentation(["class 0", "class 1"], "DATA.FLIP", mode)


@pytest.mark.parametrize(
    ("names", "labels", "skipped"),
    [
        (["walk", "run"], (), ()),
        (["turn left", "turn right", "kick left", "walk"], ((0, 1), (1, 0)), (2,)),
    ],
)
def test_by_names_goes_with_any_classes(names, labels, skipped):
    augment = augmentation(names, "DATA.FLIP", "by-names")
    assert (augment.flip, augment.flip_labels, augment.flip_skipped) == (True, labels, skipped)


def test_soft_targets_are_those_of_the_mirrored_clip():
    """Mixup sees the label that the mirrored clip was given."""
    names = class_names.class_names("demo")
    augment = augmentation(names, "DATA.FLIP", "swap-labels")
    left, right = names.index("move left"), names.index("move right")
    frames = np.zeros((2, 40, 48, 3), np.uint8)
    clips, given = zip(
        *(augment(frames, (left,), np.random.default_rng(draw)) for draw in range(8)), strict=True
    )
    given = torch.tensor([own for (own,) in given])
    assert set(given.tolist()) == {left, right}
    mix = Mixup(mixup_alpha=0.8, cutmix_alpha=0)
    share, _ = mix.draw(32, 32, np.random.default_rng(5))
    own = soft_targets(given, len(names), 0.0)
    _, targets = mix(torch.stack(clips), own, np.random.default_rng(5))
    expected = torch.zeros(8, len(names))
    expected[range(8), given] += share
    expected[range(8), given.flip(0)] += 1 - share
    torch.testing.assert_close(targets, expected)
