"""The rules of `advise`: one table of when, what and why, in the order in which they are asked.

`docs/advise.md` shows the same table, from `as_markdown`. Of the rules about one thing the first that holds
decides; what the user has set himself no rule touches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from uniformer_video.advice.start import Start
from uniformer_video.advice.videos import VideoFacts
from uniformer_video.data.lists.flips import mirror_pairs, one_sided
from uniformer_video.words import name_some, plural

TINY, SMALL, MEDIUM = "finetune/tiny", "finetune/small", "finetune/medium"
SCRATCH_RECIPE = "scratch/small"
_TENS, _HUNDREDS = 100, 1000  # videos to train on
USUAL_RATE = 30  # frames a second of most Kinetics videos
_SCRATCH_RATE = 1e-3  # of learning, where there is no recipe from scratch
_LEAN_FRAMES, _LEAN_SIDE = 8, 160  # of a clip where no GPU is
_RARE = 3  # times fewer videos than the most frequent class


@dataclass(frozen=True)
class Situation:
    """All that the rules look at.

    train: how many videos are trained on. counts: {class name: its training videos}. facts: of the videos.
    start: the weights. has_gpu: whether training would run on one. has_scratch_recipe: whether
    `SCRATCH_RECIPE` is there. resizable: whether the model takes clips of any length and size, and is large
    enough for smaller ones to be worth it. step: the recipe's videos of a step.
    """

    train: int
    counts: Mapping[str, int]
    facts: VideoFacts
    start: Start
    has_gpu: bool
    has_scratch_recipe: bool
    resizable: bool = True
    step: int = 1

    @property
    def is_own_recipe(self) -> bool:
        """Whether the recipe from scratch decides frames, stride and size by itself."""
        return not self.start.name and self.has_scratch_recipe


@dataclass(frozen=True)
class Choice:
    """What a rule says: `settings` for the command, and `why`, with the numbers it rests on.

    recipe: a shipped config's name; "" = not about that.
    """

    why: str
    settings: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""


@dataclass(frozen=True)
class Rule:
    """One row: `about` what it decides, `when` it holds, what is set `then` and for which `reason`, in words.

    ask: the `Choice` where it holds, else None.
    """

    about: str
    when: str
    then: str
    reason: str
    ask: Callable[[Situation], Choice | None]


def decide(situation: Situation, pinned: Sequence[str] = ()) -> list[Choice]:
    """The `Choice` of the first rule that holds about each thing.

    pinned: settings that the user has set himself; choices leave them out, and none is made of what they say.
    """
    decided: dict[str, Choice] = {}
    for rule in TABLE:
        choice = None if rule.about in decided else rule.ask(situation)
        if choice is None:
            continue
        main = next(iter(choice.settings), "")
        if {main, *_SPEAK_OF_THE_SAME.get(main, ())} & set(pinned):
            continue
        own = {key: value for key, value in choice.settings.items() if key not in pinned}
        decided[rule.about] = replace(choice, settings=own)
    return list(decided.values())


# Settings of which one, set by the user, answers what another one asks.
_SPEAK_OF_THE_SAME = {
    "DATA.SAMPLING": ("DATA.SAMPLING_RATE", "DATA.TARGET_FPS"),
    "DATA.TARGET_FPS": ("DATA.SAMPLING_RATE", "DATA.SAMPLING"),
    "DATA.SAMPLING_RATE": ("DATA.TARGET_FPS", "DATA.SAMPLING"),
    "DATA.TRAIN_CROP_SIZE": ("DATA.TEST_CROP_SIZE",),
    "DATA.FLIP": ("DATA.RANDOM_FLIP", "DATA.FLIP_CLASS_PAIRS"),
}


def as_markdown() -> str:
    """The table, for `docs/advise.md`."""
    rows = ["| about | when | then | because |", "|---|---|---|---|"]
    rows += [f"| {rule.about} | {rule.when} | {rule.then} | {rule.reason} |" for rule in TABLE]
    return "\n".join(rows)


def _scratch(now: Situation) -> Choice | None:
    if now.start.name:
        return None
    why = f"{plural(now.train, 'video')} to train on, and no weights to start from"
    if now.has_scratch_recipe:
        return Choice(why, recipe=SCRATCH_RECIPE)
    return Choice(
        f"{why}: at {_SCRATCH_RATE:g}, where fine-tuning takes 5e-05",
        {"SOLVER.BASE_LR": _SCRATCH_RATE},
        _by_number(now.train),
    )


def _same_rate(now: Situation) -> Choice | None:
    if now.start.name or now.is_own_recipe:
        return None
    return Choice(
        "from scratch no layer knows anything yet: all learn at the full rate, where fine-tuning slows the "
        "first ones down",
        {"SOLVER.LAYER_DECAY": 1.0},
    )


def _by_number(videos: int) -> str:
    return TINY if videos < _TENS else SMALL if videos < _HUNDREDS else MEDIUM


def _fine_tune(now: Situation) -> Choice | None:
    recipe = _by_number(now.train)
    limit = {TINY: f"fewer than {_TENS}", SMALL: f"{_TENS} to {_HUNDREDS - 1}"}
    reach = limit.get(recipe, f"{_HUNDREDS} or more")
    return Choice(f"{plural(now.train, 'video')} to train on: {reach}", recipe=recipe)


def _as_trained(now: Situation) -> Choice | None:
    if now.is_own_recipe or now.start.rule != "segment":
        return None
    return Choice(
        f"{now.start.name} was trained on {now.start.num_frames} frames from all over a video",
        {"DATA.SAMPLING": "segment", **_frames(now)},
    )


def _whole_video(now: Situation) -> Choice | None:
    frames, span = now.facts.frames, now.start.span
    if now.is_own_recipe or frames is None:
        return None
    if not (frames.middle < 1.5 * span and frames.high < 3 * span):
        return None
    count = _frame_count(now)
    return Choice(
        f"the median video has {frames.middle:.0f} frames, below 1.5 x the {span} that a clip of "
        f"{now.start.num_frames} x {now.start.stride} spans: each clip shows all of it, a frame every "
        f"{frames.middle / count:.1f}",
        {"DATA.SAMPLING": "segment", **_frames(now)},
    )


def _mixed_rates(now: Situation) -> Choice | None:
    fps = now.facts.fps
    if now.is_own_recipe or fps is None or not now.facts.have_mixed_rates:
        return None
    if now.facts.without_times:  # DATA.TARGET_FPS asks for the times of all
        return None
    rate = USUAL_RATE if fps.middle >= USUAL_RATE * 2 / 3 else max(1, round(fps.middle))
    stride = _stride(now, rate)
    return Choice(
        f"from {fps.low:.3g} to {fps.high:.3g} frames a second: at {rate} for all, {stride} frames are the "
        "same time apart in each",
        {"DATA.TARGET_FPS": rate, "DATA.SAMPLING_RATE": stride, **_frames(now)},
    )


def _other_rate(now: Situation) -> Choice | None:
    fps = now.facts.fps
    if now.is_own_recipe or fps is None or USUAL_RATE * 2 / 3 <= fps.middle <= USUAL_RATE * 4 / 3:
        return None
    stride = _stride(now, fps.middle)
    return Choice(
        f"{fps.middle:.3g} frames a second, not about {USUAL_RATE}: one in {stride} comes nearest to the "
        f"{_stride(now, USUAL_RATE) / USUAL_RATE:.2f} s between those that the weights know",
        {"DATA.SAMPLING_RATE": stride, **_frames(now)},
    )


def _window(now: Situation) -> Choice | None:
    frames = now.facts.frames
    if now.is_own_recipe or frames is None:
        return None
    stride = _stride(now, USUAL_RATE)
    spans = f"{_frame_count(now)} frames, one in {stride}"
    return Choice(
        f"{spans}, out of {frames.middle:.0f} in the median video",
        {"DATA.SAMPLING_RATE": stride, **_frames(now)},
    )


def _frame_count(now: Situation) -> int:
    lean = not now.has_gpu and now.resizable
    return min(now.start.num_frames, _LEAN_FRAMES) if lean else now.start.num_frames


def _frames(now: Situation) -> dict[str, Any]:
    return {"DATA.NUM_FRAMES": _frame_count(now)}


def _stride(now: Situation, rate: float) -> int:
    """Frames between those of a clip, so that it spans the time that the weights know, at `rate` a second."""
    return max(1, round(now.start.span / _frame_count(now) * rate / USUAL_RATE))


def _lean(now: Situation) -> Choice | None:
    if now.is_own_recipe or now.has_gpu or not now.resizable:
        return None
    side = min(now.start.crop_size, _LEAN_SIDE, _side_of_videos(now))
    share = _frame_count(now) / now.start.num_frames * (side / now.start.crop_size) ** 2
    return Choice(
        f"no GPU here: with {_frame_count(now)} of {now.start.num_frames} frames and {side} of "
        f"{now.start.crop_size} pixels, one copy and 4 views, a step has {50 * share:.0f} % of the work",
        {**_sides(side), "AUG.NUM_SAMPLE": 1, **_VIEWS_OF_KINETICS},
    )


_VIEWS_OF_KINETICS = {"TEST.NUM_ENSEMBLE_VIEWS": 4, "TEST.NUM_SPATIAL_CROPS": 1}


def _few_pixels(now: Situation) -> Choice | None:
    short, side = now.facts.short_side, _side_of_videos(now)
    if now.is_own_recipe or not now.resizable or short is None or side >= now.start.crop_size:
        return None
    return Choice(
        f"the median video is {short.middle:.0f} pixels high or wide: {now.start.crop_size} would only "
        "enlarge it",
        _sides(side),
    )


def _native_size(now: Situation) -> Choice | None:
    if now.is_own_recipe or now.facts.short_side is None:
        return None
    side = now.start.crop_size
    return Choice(
        f"{side} pixels, those of the weights, out of {now.facts.short_side.middle:.0f} in the median video",
        _sides(side),
    )


def _side_of_videos(now: Situation) -> int:
    """The side of a clip that the videos are large enough for, in pixels."""
    short = now.facts.short_side
    if short is None or short.middle >= 200:
        return now.start.crop_size
    return 160 if short.middle >= 144 else 128


def _sides(side: int) -> dict[str, Any]:
    return {"DATA.TRAIN_CROP_SIZE": side, "DATA.TEST_CROP_SIZE": side}


def _colours(now: Situation) -> Choice | None:
    if now.start.channel_order == "RGB":
        return None
    order = now.start.channel_order
    return Choice(f"{now.start.name} was trained on {order}", {"DATA.CHANNEL_ORDER": order})


def _balance(now: Situation) -> Choice | None:
    present = {name: count for name, count in now.counts.items() if count}
    if len(present) < 2:
        return None
    rare, common = min(present, key=present.__getitem__), max(present, key=present.__getitem__)
    if present[common] < _RARE * present[rare]:
        return None
    times = present[common] / present[rare]
    return Choice(
        f"{common!r} has {present[common]} training videos and {rare!r} {present[rare]}, {times:.1f} times "
        f"fewer: drawn {times**0.5:.1f} times fewer",
        {"DATA.BALANCE": 0.5},
    )


def _unpaired(now: Situation) -> Choice | None:
    alone = one_sided(list(now.counts))
    if not alone:
        return None
    return Choice(
        f"{plural(len(alone), 'class name')} with a direction and no counterpart ({name_some(alone)}): a "
        "mirrored clip would show another",
        {"DATA.FLIP": "off"},
    )


def _paired(now: Situation) -> Choice | None:
    pairs = mirror_pairs(list(now.counts))
    if not pairs:
        return None
    told = name_some([f"{one} and {other}" for one, other in pairs], 2)
    return Choice(
        f"{plural(len(pairs), 'pair')} of classes that a mirror exchanges ({told}): mirrored clips get the "
        "other label",
        {"DATA.FLIP": "swap-labels"},
    )


def _few_for_a_step(now: Situation) -> Choice | None:
    if now.train >= now.step:
        return None
    return Choice(
        f"a step cannot take {now.step} of {plural(now.train, 'video')}",
        {"TRAIN.BATCH_SIZE": now.train},
    )


def _rows() -> Iterator[Rule]:
    yield Rule(
        "recipe",
        "no weights to start from",
        f"`{SCRATCH_RECIPE}`, or the recipe by number with `SOLVER.BASE_LR {_SCRATCH_RATE:g}`",
        "fine-tuning's rate is 20 times too low for a model that knows nothing",
        _scratch,
    )
    yield Rule(
        "recipe",
        f"fewer than {_TENS} training videos; fewer than {_HUNDREDS}; more",
        f"`{TINY}`; `{SMALL}`; `{MEDIUM}`",
        "epochs for about as many steps as the published fine-tuning has, and lighter mixup for few of them",
        _fine_tune,
    )
    yield Rule(
        "layers",
        f"no weights to start from, and no `{SCRATCH_RECIPE}`",
        "`SOLVER.LAYER_DECAY 1.0`",
        "layer by layer, lower rates keep what the first layers know; without weights they know nothing",
        _same_rate,
    )
    yield Rule(
        "sampling",
        "the weights were trained on segments (light models, Something-Something)",
        "`DATA.SAMPLING segment`, the frames of the weights",
        "weights keep what they have learnt where the input stays as it was",
        _as_trained,
    )
    yield Rule(
        "sampling",
        "the median video is shorter than 1.5 clips of the weights, 95 % are shorter than 3",
        "`DATA.SAMPLING segment`",
        "a window would be nearly the video; this way none is cut, and frames stay about as far apart",
        _whole_video,
    )
    yield Rule(
        "sampling",
        "frame rates differ by more than a fifth (5 % to 95 %)",
        f"`DATA.TARGET_FPS {USUAL_RATE}` (the median, where that is below {USUAL_RATE * 2 // 3})",
        "a stride in frames would be another time in each video",
        _mixed_rates,
    )
    yield Rule(
        "sampling",
        f"one rate, not within a third of {USUAL_RATE}",
        f"`DATA.SAMPLING_RATE` of the weights x rate / {USUAL_RATE}",
        "motion should look as fast as it did in the weights' own training",
        _other_rate,
    )
    yield Rule(
        "sampling",
        "else",
        "frames and stride of the weights",
        "weights keep what they have learnt where the input stays as it was",
        _window,
    )
    yield Rule(
        "size",
        "no GPU, and a model that takes any input",
        f"{_LEAN_FRAMES} frames at a larger stride, {_LEAN_SIDE} pixels, `AUG.NUM_SAMPLE 1`, 4 views",
        "an eighth of the work; 8x8 in place of 16x4 costs UniFormer-S 2.4 points of top-1 on Kinetics-400",
        _lean,
    )
    yield Rule(
        "size",
        "the median video's short side is below 144 pixels; below 200",
        "128; 160 pixels",
        "enlarged pixels cost as much as true ones and show nothing more",
        _few_pixels,
    )
    yield Rule("size", "else", "that of the weights", "as for the frames", _native_size)
    yield Rule(
        "colours",
        "the weights were trained on BGR (Something-Something, HMDB51)",
        "`DATA.CHANNEL_ORDER BGR`",
        "weights see colours in the order that they know",
        _colours,
    )
    yield Rule(
        "balance",
        f"the most frequent class has {_RARE} times the videos of the rarest, or more",
        "`DATA.BALANCE 0.5`",
        "square-root sampling (Mahajan et al., 2018): rare classes come oftener, but are not learnt by heart",
        _balance,
    )
    yield Rule(
        "mirror",
        "a class name has left, right or a sense of rotation, and no class is its counterpart",
        "`DATA.FLIP off`",
        "a mirrored clip would carry a wrong label",
        _unpaired,
    )
    yield Rule(
        "mirror",
        "classes are each other's mirror by their names",
        "`DATA.FLIP swap-labels`",
        "twice the videos of both, with right labels",
        _paired,
    )
    yield Rule(
        "step",
        "fewer training videos than a step of the recipe takes",
        "`TRAIN.BATCH_SIZE` as many",
        "a step cannot be larger than an epoch",
        _few_for_a_step,
    )


TABLE = tuple(_rows())
