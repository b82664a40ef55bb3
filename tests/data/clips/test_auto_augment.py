"""AutoAugment's policy v0 against its published table, and its levels against the published formulas."""

from collections import Counter

import numpy as np
import pytest
from clips import augmentation, rng, textured

from uniformer_video.bench.published_loader import apply_with_pillow
from uniformer_video.data.clips import auto_augment
from uniformer_video.data.clips.augment import RandAugment, apply_ops
from uniformer_video.data.clips.auto_augment import AutoAugment, policy_of
from uniformer_video.errors import ConfigError

# Each pair: operation, probability/level, twice.
TABLE = """
Equalize .8/1 ShearY .8/4; Color .4/9 Equalize .6/3; Color .4/1 Rotate .6/8; Solarize .8/3 Equalize .4/7;
Solarize .4/2 Solarize .6/2; Color .2/0 Equalize .8/8; Equalize .4/8 SolarizeAdd .8/3;
ShearX .2/9 Rotate .6/8; Color .6/1 Equalize 1/2; Invert .4/9 Rotate .6/0; Equalize 1/9 ShearY .6/3;
Color .4/7 Equalize .6/0; Posterize .4/6 AutoContrast .4/7; Solarize .6/8 Color .6/9;
Solarize .2/4 Rotate .8/9; Rotate 1/7 TranslateY .8/9; ShearX 0/0 Solarize .8/4; ShearY .8/0 Color .6/4;
Color 1/0 Rotate .6/2; Equalize .8/4 Equalize 0/8; Equalize 1/4 AutoContrast .6/2;
ShearY .4/7 SolarizeAdd .6/7; Posterize .8/2 Solarize .6/10; Solarize .6/8 Equalize .6/1;
Color .8/6 Rotate .4/5
"""
FORMULAS = {
    "Rotate": lambda level: 30 * level / 10,
    "ShearX": lambda level: 0.3 * level / 10,
    "ShearY": lambda level: 0.3 * level / 10,
    "TranslateY": lambda level: 0.45 * level / 10,
    "Posterize": lambda level: int(0.4 * level),
    "Solarize": lambda level: int(25.6 * level),
    "SolarizeAdd": lambda level: int(11 * level),
    "Color": lambda level: 0.1 + 0.18 * level,
}


def published_pairs():
    pairs = []
    for pair in TABLE.replace("\n", " ").split(";"):
        words = pair.split()
        numbers = [tuple(map(float, word.split("/"))) for word in words[1::2]]
        pairs.append(tuple((name, *both) for name, both in zip(words[::2], numbers, strict=True)))
    return pairs


def test_the_table_is_the_published_one():
    assert len(published_pairs()) == 25
    assert list(auto_augment._V0) == published_pairs()


def test_settings_follow_the_published_formulas():
    levels = {}
    for pair in published_pairs():
        for name, _, level in pair:
            levels.setdefault(name, set()).add(level)
    seen = {name: set() for name in levels}
    policy, generator = AutoAugment("v0"), rng(0)
    for _ in range(4000):
        for name, setting in policy.draw(generator):
            seen[name].add(setting)
    for name, settings in seen.items():
        if name not in FORMULAS:
            assert settings == {None}
            continue
        drawn_levels = levels[name] - ({0.0} if name == "ShearX" else set())  # its probability is 0
        expected = {FORMULAS[name](level) for level in drawn_levels}
        if name in ("Rotate", "ShearX", "ShearY", "TranslateY"):  # in either direction
            expected |= {-value for value in expected}
        assert sorted(settings) == pytest.approx(sorted(expected))


def test_pairs_and_probabilities():
    policy, generator, count = AutoAugment("v0"), rng(1), 25_000
    drawn = Counter(tuple(name for name, _ in policy.draw(generator)) for _ in range(count))
    expected = Counter()
    for (first, p, _), (second, q, _) in published_pairs():
        for names, share in (
            ((first, second), p * q),
            ((first,), p * (1 - q)),
            ((second,), (1 - p) * q),
            ((), (1 - p) * (1 - q)),
        ):
            expected[names] += share / 25
    assert {names for names, share in expected.items() if share} == set(drawn)
    for names, share in expected.items():
        assert drawn[names] / count == pytest.approx(share, abs=0.006)


def test_pixels_are_pillows():
    policy, frames = AutoAugment("v0"), textured()
    for seed in range(60):
        drawn = policy.draw(rng(seed))
        ours = apply_ops(frames, drawn, policy.weights).astype(int)
        difference = np.abs(ours - apply_with_pillow(frames, drawn))
        if {name for name, _ in drawn} & {"Rotate", "ShearX", "ShearY", "TranslateY"}:
            assert (difference <= 1).mean() > 0.999
        else:
            assert not difference.any()


def test_noise_of_the_magnitude():
    levels = [
        abs(setting) / 3
        for seed in range(3000)
        for name, setting in AutoAugment("v0-mstd0.5").draw(rng(seed))
        if name == "Rotate"
    ]
    near_seven = [level for level in levels if 6.5 < level < 7.5]
    assert len(set(near_seven)) > 20 and max(levels) <= 10


def test_a_text_names_a_policy():
    assert isinstance(policy_of("v0"), AutoAugment)
    assert isinstance(policy_of("rand-m9-mstd0.5-inc1"), RandAugment)
    for text, reason in (
        ("v0r", "neither 'rand' nor 'v0'"),
        ("original", "neither 'rand' nor 'v0'"),
        ("v0-m9", "the part 'm9' is unknown"),
        ("v0-mstd1-mstd2", "the part 'mstd2' is unknown"),
    ):
        with pytest.raises(ConfigError, match=r"AUG.AA_TYPE is '.*v0\[-mstdS\]") as error:
            policy_of(text)
        assert reason in str(error.value)
    with pytest.raises(ConfigError, match="'nearest' for AutoAugment; known: bicubic, bilinear"):
        policy_of("v0", "nearest")


def test_clips_take_the_policy_too():
    augment, frames = augmentation(24, "v0"), textured(3)
    changed = [augment(frames, (0,), rng(seed))[0] for seed in range(4)]
    assert {tuple(clip.shape) for clip in changed} == {(3, 3, 24, 24)}
    assert any(augment.draw((48, 64), (0,), rng(seed))[0].ops for seed in range(4))
