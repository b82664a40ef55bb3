"""RandAugment on decoded clips and random erasing on normalised ones.

Both draw once a clip, before they touch a pixel, and treat every frame alike: what moves in the
augmented clip is what moved in the video. All randomness comes from the generator that is passed.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from uniformer_video.data.clips.affine import Weights, cubic_weights, linear_weights
from uniformer_video.data.clips.ops import Drawn, change_pixels
from uniformer_video.errors import ConfigError

MAX_MAGNITUDE = 10.0
MAX_OPS = 100
APPLY_PROBABILITY = 0.5
INTERPOLATIONS: dict[str, Weights] = {"bicubic": cubic_weights, "bilinear": linear_weights}
ERASING_TRIES = 10

Level = Callable[[float, int, bool], float | None]
Box = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True)
class Policy:
    """A parsed policy string; the defaults are those of a bare `rand`.

    `magnitude` is 0 to 10; `increasing` makes a larger magnitude a stronger change for every op.
    """

    magnitude: float = 10.0
    num_ops: int = 2
    magnitude_std: float = 0.0
    increasing: bool = False


_POLICY_PART = re.compile(
    r"m(?P<magnitude>\d+(?:\.\d+)?)|n(?P<num_ops>\d{1,9})|mstd(?P<magnitude_std>\d+(?:\.\d+)?)"
    r"|inc(?P<increasing>[01])",
    re.ASCII,
)
_POLICY_TYPES: dict[str, Callable[[str], float]] = {
    "magnitude": float,
    "num_ops": int,
    "magnitude_std": float,
    "increasing": lambda digit: digit == "1",
}


def parse_policy(text: str) -> Policy:
    """`rand[-mM][-nN][-mstdS][-inc1]` -> `Policy`; the parts may stand in any order.

    Raises `ConfigError` for anything else, and for M above 10 or N outside 1 to 100.
    """
    name, *parts = text.split("-")
    if name != "rand":
        raise policy_error(text, "it starts with neither 'rand' nor 'v0'")
    settings: dict[str, Any] = {}
    for part in parts:
        match = _POLICY_PART.fullmatch(part)
        if match is None:
            raise policy_error(text, f"the part {part!r} is unknown")
        field = match.lastgroup
        assert field is not None  # every part of the pattern has a name
        if field in settings:
            raise policy_error(text, f"the part {part!r} repeats an earlier one")
        settings[field] = _POLICY_TYPES[field](match[field])
    policy = Policy(**settings)
    if policy.magnitude > MAX_MAGNITUDE:
        raise policy_error(text, f"the magnitude M is above {MAX_MAGNITUDE:g}")
    if not 1 <= policy.num_ops <= MAX_OPS:
        raise policy_error(text, f"the number of ops N is not 1 to {MAX_OPS}")
    return policy


def policy_error(text: str, reason: str) -> ConfigError:
    """What is wrong with a policy's text, and what one may be."""
    return ConfigError(
        f"AUG.AA_TYPE is {text!r}: {reason}; write rand[-mM][-nN][-mstdS][-inc1] with M from 0 to "
        f"10, N from 1 to {MAX_OPS} and S at least 0, such as 'rand-m7-n4-mstd0.5-inc1', or v0[-mstdS], "
        "which is AutoAugment's policy for ImageNet"
    )


def find_weights(interpolation: str, policy: str) -> Weights:
    """How a policy's geometric operations interpolate, by name. Raises `ConfigError`."""
    if interpolation not in INTERPOLATIONS:
        raise ConfigError(
            f"unknown interpolation {interpolation!r} for {policy}; known: {', '.join(INTERPOLATIONS)}"
        )
    return INTERPOLATIONS[interpolation]


def _no_setting(magnitude: float, sign: int, increasing: bool) -> None:
    return None


def _level_of_either_sign(maximum: float) -> Level:
    """The level of a geometric op: `maximum` at magnitude 10, in a random direction."""
    return lambda magnitude, sign, increasing: sign * maximum * magnitude / MAX_MAGNITUDE


def _bits_to_keep(magnitude: float, sign: int, increasing: bool) -> int:
    bits = int(0.4 * magnitude)
    return 4 - bits if increasing else bits


def _solarize_threshold(magnitude: float, sign: int, increasing: bool) -> int:
    threshold = int(25.6 * magnitude)
    return 256 - threshold if increasing else threshold


def _addend(magnitude: float, sign: int, increasing: bool) -> int:
    return int(11 * magnitude)


def _enhancement_factor(magnitude: float, sign: int, increasing: bool) -> float:
    return 1 + sign * 0.09 * magnitude if increasing else 0.1 + 0.18 * magnitude


@dataclass(frozen=True)
class Op:
    """How one operation turns a magnitude into a setting in its own unit.

    `level(magnitude, sign, increasing)` gives the setting; `clips/ops` applies it to pixels.
    """

    level: Level


OPS = {
    "AutoContrast": Op(_no_setting),
    "Equalize": Op(_no_setting),
    "Invert": Op(_no_setting),
    "Rotate": Op(_level_of_either_sign(30.0)),
    "Posterize": Op(_bits_to_keep),
    "Solarize": Op(_solarize_threshold),
    "SolarizeAdd": Op(_addend),
    "Color": Op(_enhancement_factor),
    "Contrast": Op(_enhancement_factor),
    "Brightness": Op(_enhancement_factor),
    "Sharpness": Op(_enhancement_factor),
    "ShearX": Op(_level_of_either_sign(0.3)),
    "ShearY": Op(_level_of_either_sign(0.3)),
    "TranslateX": Op(_level_of_either_sign(0.45)),
    "TranslateY": Op(_level_of_either_sign(0.45)),
}
_NAMES = tuple(OPS)


def apply_ops(frames: np.ndarray, drawn: Drawn, weights: Weights | None) -> np.ndarray:
    """Apply the drawn ops to every frame: uint8 `[T, H, W, 3]` -> a new array of that shape.

    `drawn` is a list of (name, setting), `weights` one of `INTERPOLATIONS`.
    Ops that read statistics (AutoContrast, Equalize, Contrast) read each frame's own, as in the
    published training code.
    """
    return change_pixels(frames, drawn, weights).frames()


class RandAugment:
    """N random operations on a clip, the same ones at the same strength for all its frames.

    Args:
        policy_text: see `parse_policy`.
        interpolation: "bicubic" or "bilinear", for the geometric ops.

    Source: Cubuk et al., "RandAugment", section 3, with the magnitude noise and the op set of the
    published UniFormer runs.
    """

    step = "RandAugment"  # its name where steps are timed

    def __init__(self, policy_text: str, interpolation: str = "bicubic"):
        self.weights = find_weights(interpolation, self.step)
        self.policy = parse_policy(policy_text)

    def draw(self, rng: np.random.Generator) -> list[tuple[str, float | None]]:
        """The ops of one clip, in order: a list of (name, setting), often empty."""
        policy = self.policy
        chosen = rng.integers(len(OPS), size=policy.num_ops)
        applied = rng.random(policy.num_ops) < APPLY_PROBABILITY
        noise = policy.magnitude_std * rng.standard_normal(policy.num_ops)
        magnitudes = np.clip(policy.magnitude + noise, 0.0, MAX_MAGNITUDE)
        signs = np.where(rng.random(policy.num_ops) < 0.5, -1, 1)
        drawn = []
        for index in np.flatnonzero(applied):
            name = _NAMES[chosen[index]]
            level = OPS[name].level
            magnitude, sign = float(magnitudes[index]), int(signs[index])
            drawn.append((name, level(magnitude, sign, policy.increasing)))
        return drawn

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """uint8 `[T, H, W, 3]` -> uint8 `[T, H, W, 3]`; the input itself when no op was drawn."""
        drawn = self.draw(rng)
        return apply_ops(frames, drawn, self.weights) if drawn else frames


class RandomErasing:
    """Noise in one random box of a normalised clip, the same box in all its frames.

    Args:
        probability: of erasing anything in a clip.
        min_area, max_area: bounds of the box, as a fraction of H * W; drawn uniformly.
        min_aspect: smallest height / width; drawn log-uniformly up to `1 / min_aspect`.

    Source: Zhong et al., "Random Erasing Data Augmentation", algorithm 1, with normal noise.
    """

    def __init__(
        self,
        probability: float,
        min_area: float = 0.02,
        max_area: float = 1 / 3,
        min_aspect: float = 0.3,
    ):
        if not 0 <= probability <= 1:
            raise ConfigError(f"the probability of erasing is 0 to 1, got {probability}")
        if not 0 < min_area <= max_area <= 1:
            raise ConfigError(
                f"erasing takes 0 < min_area <= max_area <= 1, got {min_area} and {max_area}"
            )
        if not 0 < min_aspect <= 1:
            raise ConfigError(f"erasing takes 0 < min_aspect <= 1, got {min_aspect}")
        self.probability = probability
        self.areas = (min_area, max_area)
        self.log_aspects = (math.log(min_aspect), -math.log(min_aspect))

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Box | None:
        """The box (top, left, height, width) in pixels, or None where nothing is erased."""
        if rng.random() >= self.probability:
            return None
        for _ in range(ERASING_TRIES):
            area = rng.uniform(*self.areas) * height * width
            aspect = math.exp(rng.uniform(*self.log_aspects))
            box_height = round(math.sqrt(area * aspect))
            box_width = round(math.sqrt(area / aspect))
            if box_height <= height and box_width <= width:
                top = int(rng.integers(height - box_height + 1))
                left = int(rng.integers(width - box_width + 1))
                return top, left, box_height, box_width
        return None

    def __call__(self, clip: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """float `[C, T, H, W]` -> a copy with the box replaced by N(0, 1), fresh for every value.

        The input itself comes back when nothing is erased.
        """
        height, width = clip.shape[-2:]
        box = self.draw(height, width, rng)
        return clip if box is None else erase(clip.clone(), box, rng)


def erase(clip: torch.Tensor, box: Box, rng: np.random.Generator | torch.Generator) -> torch.Tensor:
    """float `[C, T, H, W]`, itself, with N(0, 1) in the box (top, left, height, width).

    `rng` is NumPy's generator, or a torch one on the clip's device.
    """
    top, left, height, width = box
    shape = (*clip.shape[:2], height, width)
    if isinstance(rng, torch.Generator):
        noise = torch.randn(shape, generator=rng, device=clip.device)
    else:
        noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    clip[..., top : top + height, left : left + width] = noise
    return clip


class ColorJitter:
    """Brightness, contrast and saturation, each by one factor drawn from 1 - strength to 1 + strength.

    The three follow each other in a random order, the same for all frames of a clip.
    """

    _NAMES = ("Brightness", "Contrast", "Color")
    step = "colour jitter"  # its name where steps are timed
    weights: Weights | None = None  # nothing moves

    def __init__(self, strength: float):
        if strength < 0:
            raise ConfigError(f"AUG.COLOR_JITTER is {strength}; it must be at least 0")
        self.strength = strength

    def draw(self, rng: np.random.Generator) -> list[tuple[str, float | None]]:
        """The three in their order: a list of (name, factor), as `RandAugment.draw`."""
        factors = rng.uniform(max(1 - self.strength, 0), 1 + self.strength, size=3)
        return [(self._NAMES[index], float(factors[index])) for index in rng.permutation(3)]

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """`uint8 [T, H, W, 3]` -> the same shape, a new array."""
        return apply_ops(frames, self.draw(rng), self.weights)
