"""AutoAugment's policy v0: pairs of operations, one pair a clip; and the policy that a text names."""

import re

import numpy as np

from uniformer_video.data.clips.affine import Weights
from uniformer_video.data.clips.augment import (
    MAX_MAGNITUDE,
    OPS,
    RandAugment,
    find_weights,
    policy_error,
)

# Two operations each: name, probability, magnitude of 10. Found on ImageNet; TPU EfficientNet's table.
_V0 = (
    (("Equalize", 0.8, 1), ("ShearY", 0.8, 4)),
    (("Color", 0.4, 9), ("Equalize", 0.6, 3)),
    (("Color", 0.4, 1), ("Rotate", 0.6, 8)),
    (("Solarize", 0.8, 3), ("Equalize", 0.4, 7)),
    (("Solarize", 0.4, 2), ("Solarize", 0.6, 2)),
    (("Color", 0.2, 0), ("Equalize", 0.8, 8)),
    (("Equalize", 0.4, 8), ("SolarizeAdd", 0.8, 3)),
    (("ShearX", 0.2, 9), ("Rotate", 0.6, 8)),
    (("Color", 0.6, 1), ("Equalize", 1.0, 2)),
    (("Invert", 0.4, 9), ("Rotate", 0.6, 0)),
    (("Equalize", 1.0, 9), ("ShearY", 0.6, 3)),
    (("Color", 0.4, 7), ("Equalize", 0.6, 0)),
    (("Posterize", 0.4, 6), ("AutoContrast", 0.4, 7)),
    (("Solarize", 0.6, 8), ("Color", 0.6, 9)),
    (("Solarize", 0.2, 4), ("Rotate", 0.8, 9)),
    (("Rotate", 1.0, 7), ("TranslateY", 0.8, 9)),
    (("ShearX", 0.0, 0), ("Solarize", 0.8, 4)),
    (("ShearY", 0.8, 0), ("Color", 0.6, 4)),
    (("Color", 1.0, 0), ("Rotate", 0.6, 2)),
    (("Equalize", 0.8, 4), ("Equalize", 0.0, 8)),
    (("Equalize", 1.0, 4), ("AutoContrast", 0.6, 2)),
    (("ShearY", 0.4, 7), ("SolarizeAdd", 0.6, 7)),
    (("Posterize", 0.8, 2), ("Solarize", 0.6, 10)),
    (("Solarize", 0.6, 8), ("Equalize", 0.6, 1)),
    (("Color", 0.8, 6), ("Rotate", 0.4, 5)),
)
_NOISE = re.compile(r"mstd(\d+(?:\.\d+)?)", re.ASCII)


class AutoAugment:
    """One of 25 pairs of operations on a clip, the same one at the same strength for all its frames.

    Args:
        policy_text: `v0`, or `v0-mstdS` for magnitudes with normal noise of deviation S.
        interpolation: "bicubic" or "bilinear", for the geometric operations.

    Raises `ConfigError` for anything else. Source: Cubuk et al., "AutoAugment", section 3.
    """

    step = "AutoAugment"  # its name where steps are timed

    def __init__(self, policy_text: str, interpolation: str = "bicubic"):
        self.weights: Weights = find_weights(interpolation, self.step)
        name, *parts = policy_text.split("-")
        if name != "v0":
            raise policy_error(policy_text, "it does not start with 'v0'")
        noise = [_NOISE.fullmatch(part) for part in parts]
        if len(parts) > 1 or None in noise:
            raise policy_error(policy_text, f"the part {parts[-1]!r} is unknown")
        self.magnitude_std = float(noise[0][1]) if noise and noise[0] else 0.0

    def draw(self, rng: np.random.Generator) -> list[tuple[str, float | None]]:
        """The operations of one clip, in order: a list of (name, setting), often empty."""
        pair = _V0[rng.integers(len(_V0))]
        applied = rng.random(len(pair))
        noise = self.magnitude_std * rng.standard_normal(len(pair))
        signs = np.where(rng.random(len(pair)) < 0.5, -1, 1)
        return [
            (
                name,
                OPS[name].level(min(max(level + extra, 0.0), MAX_MAGNITUDE), int(sign), False),
            )
            for (name, probability, level), drawn, extra, sign in zip(
                pair, applied, noise, signs, strict=True
            )
            if drawn < probability
        ]


def policy_of(policy_text: str, interpolation: str = "bicubic") -> RandAugment | AutoAugment:
    """What AUG.AA_TYPE names: `rand...` is RandAugment's, `v0` is AutoAugment's. Raises `ConfigError`."""
    kind = AutoAugment if policy_text.split("-")[0] == "v0" else RandAugment
    return kind(policy_text, interpolation)
