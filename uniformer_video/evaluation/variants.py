"""What a model makes of the variants of a test, and the file that keeps it beside `scores.npz`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from uniformer_video.data.clips.variants import Variant
from uniformer_video.errors import DataError
from uniformer_video.files import atomic_write
from uniformer_video.words import one_line

VARIANTS_FILE = "variants.npz"
KEPT_BYTES = (
    2**30
)  # of the logits of all views; of more, the scores of videos are kept in their place


@dataclass(frozen=True)
class VariantScores:
    """Scores of N videos in each variant, float32 `[variant, video, view, class]`; NaN where a video failed.

    per_view: they are the logits of views; else they are the scores of videos, by the test's rule, as of
    one view. held: `[variant]`, how many of the `shown` frames of all clips of a variant were the first or
    the last of their video for want of others; None where that is not known of a part of a test.
    failures: {index of a video: why}. seeds: `[variant]`, of the draws, 0 without any.
    asked: kinds that TEST.ROBUSTNESS named; others are there for the check of motion. seconds: it took.
    """

    variants: tuple[Variant, ...]
    scores: np.ndarray
    per_view: bool
    held: tuple[int | None, ...]
    shown: int
    seeds: tuple[int, ...]
    asked: tuple[str, ...] = ()
    seconds: float = 0.0
    failures: dict[int, str] = field(default_factory=dict)

    @property
    def decoded(self) -> np.ndarray:
        """bool `[video]`."""
        return np.array([i not in self.failures for i in range(self.scores.shape[1])], bool)

    def of(self, variant: Variant) -> np.ndarray:
        """The scores of one variant, `[video, view, class]`."""
        return self.scores[self.variants.index(variant)]

    def held_of(self, variant: Variant) -> int | None:
        """The frames `held` in one variant."""
        return self.held[self.variants.index(variant)]

    def part(
        self,
        videos: Sequence[int],
        clips: Sequence[int],
        crops: Sequence[int],
        classes: Sequence[int],
        views: tuple[int, int],
    ) -> "VariantScores":
        """What of these is of some videos, views and classes; views: how many clips and crops there are.

        Of scores of videos, without `per_view`, all views and classes are taken.
        """
        if self.per_view:
            count, videos_of_all, _, num_classes = self.scores.shape
            by_view = self.scores.reshape(count, videos_of_all, *views, num_classes)
            chosen = by_view[np.ix_(range(count), videos, clips, crops, classes)]
            scores = chosen.reshape(count, len(videos), -1, len(classes))
        else:
            scores = self.scores[:, list(videos)]
        places = {own: place for place, own in enumerate(videos)}
        failures = {places[own]: why for own, why in self.failures.items() if own in places}
        good, of_all = len(videos) - len(failures), int(self.decoded.sum())
        shown = self.shown * len(clips) * good // max(views[0] * of_all, 1)
        is_all = shown == self.shown
        return replace(
            self,
            scores=scores,
            # those of single clips are not kept, but none of all is none of a part
            held=tuple(own if is_all or own == 0 else None for own in self.held),
            shown=shown,
            failures=failures,
        )

    def seed_of(self, variant: Variant) -> int | None:
        """The seed of a variant; None for one that is not there."""
        return self.seeds[self.variants.index(variant)] if variant in self.variants else None

    def and_also(self, more: "VariantScores") -> "VariantScores":
        """These and more variants of the same videos, which replace those of these that are the same."""
        assert self.per_view == more.per_view
        kept = [place for place, own in enumerate(self.variants) if own not in more.variants]
        return replace(
            self,
            variants=tuple(self.variants[place] for place in kept) + more.variants,
            scores=np.concatenate([self.scores[kept], more.scores]),
            held=tuple(self.held[place] for place in kept) + more.held,
            seeds=tuple(self.seeds[place] for place in kept) + more.seeds,
            asked=tuple(dict.fromkeys([*self.asked, *more.asked])),
            seconds=self.seconds + more.seconds,
            failures={**self.failures, **more.failures},
        )


def join_variants(
    parts: Sequence[VariantScores], order: Sequence[Sequence[int]]
) -> VariantScores | None:
    """Those of all videos from those of parts of them: the variants that all parts have, None without any.

    order: of each part, where its videos stand among all.
    """
    first = parts[0]
    variants = [
        own
        for own, seed in zip(first.variants, first.seeds, strict=True)
        if all(part.seed_of(own) == seed for part in parts)
    ]
    if not variants or len({part.per_view for part in parts}) > 1:
        return None
    rows = np.concatenate([np.stack([part.of(own) for own in variants]) for part in parts], axis=1)
    scores = np.empty_like(rows)
    scores[:, np.concatenate(order)] = rows
    return VariantScores(
        variants=tuple(variants),
        scores=scores,
        per_view=first.per_view,
        held=tuple(_sum(part.held_of(own) for part in parts) for own in variants),
        shown=sum(part.shown for part in parts),
        seeds=tuple(first.seeds[first.variants.index(own)] for own in variants),
        asked=tuple(
            kind
            for kind in first.asked
            if all(kind in part.asked for part in parts)
            and any(kind == own.kind for own in variants)
        ),
        seconds=sum(part.seconds for part in parts),
        failures={
            own[place]: reason
            for part, own in zip(parts, order, strict=True)
            for place, reason in part.failures.items()
        },
    )


def _sum(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if None in known else sum(own or 0 for own in known)


def save_variants(folder: Path | str, found: VariantScores, names: Sequence[str]) -> None:
    """Write `variants.npz`, which needs no pickle; `names` are those of the videos."""
    with atomic_write(Path(folder) / VARIANTS_FILE) as file:
        np.savez(
            file,
            scores=found.scores,
            kinds=np.array([variant.kind for variant in found.variants], dtype=np.str_),
            strengths=np.array([variant.strength for variant in found.variants]),
            names=np.array(names, dtype=np.str_),
            per_view=found.per_view,
            held=np.array([-1 if own is None else own for own in found.held], np.int64),
            shown=found.shown,
            seeds=np.array(found.seeds, np.int64),
            asked=np.array(found.asked, dtype=np.str_),
            seconds=found.seconds,
            failed=np.array(sorted(found.failures), np.int64),
            reasons=np.array([found.failures[i] for i in sorted(found.failures)], dtype=np.str_),
        )


def load_variants(folder: Path | str) -> VariantScores | None:
    """What `save_variants` wrote, None where it has written nothing; `DataError` for a damaged file."""
    path = Path(folder) / VARIANTS_FILE
    try:
        with np.load(path) as file:
            given = zip(file["kinds"].tolist(), file["strengths"].tolist(), strict=True)
            failed = zip(file["failed"].tolist(), file["reasons"].tolist(), strict=True)
            return VariantScores(
                variants=tuple(Variant(kind, strength) for kind, strength in given),
                scores=file["scores"],
                per_view=bool(file["per_view"]),
                held=tuple(own if own >= 0 else None for own in file["held"].tolist()),
                shown=int(file["shown"]),
                seeds=tuple(file["seeds"].tolist()),
                asked=tuple(file["asked"].tolist()),
                seconds=float(file["seconds"]),
                failures=dict(failed),
            )
    except FileNotFoundError:
        return None
    except Exception as error:  # NumPy and zipfile raise whatever they stumble on
        raise DataError(
            f"cannot read the scores {path}: {one_line(error)}; delete it, and run the test again"
        ) from error
