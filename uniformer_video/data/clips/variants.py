"""Variants of a test: its clips played in other ways, or with frames that have suffered more or less.

A variant first says which frames its clips show, which is arithmetic, so that one decoding pass serves all
variants of a video; then it changes the pixels of the crops.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from uniformer_video.data.clips import corruptions
from uniformer_video.data.sampling import at_rate, playback_frames
from uniformer_video.randomness import generator

STILL, REVERSED = "still", "reversed"
# What TEST.ROBUSTNESS can ask for, and how strong each is, from weak to strong. Rates rise, and the test's
# own is between them.
STRENGTHS: dict[str, tuple[float, ...]] = {
    "drop": (0.1, 0.25, 0.5, 0.75, 0.9),
    "jpeg": (50, 30, 15, 8, 4),
    "blur": (0.5, 1, 2, 3, 5),
    "noise": (0.04, 0.08, 0.12, 0.18, 0.26),
    "rate": (0.5, 0.67, 1.5, 2, 3),
    REVERSED: (1,),
}
ABOUT_TIME = ("drop", "rate", REVERSED)


@dataclass(frozen=True)
class Variant:
    """One way of showing the clips of a test: a kind of `STRENGTHS`, or `STILL`, and how strong it is."""

    kind: str
    strength: float = 1.0

    @property
    def draws(self) -> bool:
        """Whether something of it is drawn at random."""
        return self.kind in _DRAWN

    def frames(self, indices: np.ndarray, length: int) -> tuple[np.ndarray, int]:
        """(the frames that its clips show, how many of them are the first or the last for want of others).

        indices: those of the test itself, int `[clips, T]`, of a video of `length` frames.
        """
        if self.kind == "rate":
            return at_rate(indices, self.strength, length)
        playback = {REVERSED: "reverse", STILL: "still"}.get(self.kind, "forward")
        return playback_frames(indices, length, playback), 0

    def change(self, clip: Tensor, *keys: int) -> Tensor:
        """What becomes of the pixels of one crop of a clip, `float32 [3, T, h, w]`, 0..255.

        Draws are keyed by the kind and `keys`: the seed, the video and the view, whatever the strength.
        """
        if self.kind == "jpeg":
            return corruptions.jpeg(clip, int(self.strength))
        if self.kind == "blur":
            return corruptions.blur(clip, self.strength)
        if self.kind in _DRAWN:
            rng = generator(f"robustness {self.kind}", *keys)
            return _DRAWN[self.kind](clip, self.strength, rng)
        return clip


_DRAWN = {"drop": corruptions.drop_frames, "noise": corruptions.noise}


def variants_of(kinds: list[str], still: bool = False) -> list[Variant]:
    """Every strength of the kinds, in the order of `STRENGTHS`; "all" among them is all of them, of `still`
    images those that are not `ABOUT_TIME`.
    """
    all_kinds = [kind for kind in STRENGTHS if not (still and kind in ABOUT_TIME)]
    chosen = all_kinds if "all" in kinds else [kind for kind in STRENGTHS if kind in kinds]
    return [Variant(kind, float(strength)) for kind in chosen for strength in STRENGTHS[kind]]
