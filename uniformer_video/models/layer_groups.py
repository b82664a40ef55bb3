"""The parameters of a model by depth: what learning rates by layer, and freezing, go by.

A model tells its layers by `group_matcher`, in timm's form: `{name: pattern}`, or
`{name: [(pattern, place), ...]}`. A parameter belongs to the first pattern that matches the beginning of its
name. Layers come in the order of the names in the dict, then of the numbers that a pattern's groups catch,
`(\\d+)`, then of `place`, a tuple of numbers or None. `WITH_PREVIOUS` as the place puts a parameter into the
layer before it. What no pattern matches is the last layer, the head.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import nn

from uniformer_video.errors import ConfigError

Patterns: TypeAlias = list[tuple[str, tuple[int, ...] | None]]
GroupMatcher: TypeAlias = dict[str, str | Patterns]

WITH_PREVIOUS = (99999,)  # timm's MATCH_PREV_GROUP


def layer_groups(model: Any, coarse: bool = False) -> list[list[str]]:
    """The names of the model's parameters, a list for each layer, from the input to the classifier.

    Every parameter is in one of them. coarse: of a stage all in one. Raises `ConfigError` for a model that
    does not tell its layers.
    """
    if not hasattr(model, "group_matcher"):
        raise ConfigError(
            f"{type(model).__name__} has no group_matcher, which SOLVER.LAYER_DECAY and MODEL.FREEZE need; "
            "derive it from uniformer_video.RecognitionModel, which says what it is"
        )
    patterns = _compiled(model.group_matcher(coarse))
    by_place: dict[tuple[float, ...], list[str]] = defaultdict(list)
    for name, _ in model.named_parameters():
        by_place[_place(name, patterns)].append(name)
    groups: list[list[str]] = []
    for place in sorted(by_place):
        if groups and place[-1] == WITH_PREVIOUS[0]:
            groups[-1] += by_place[place]
        else:
            groups.append(by_place[place])
    return groups


def model_parts(model: nn.Module) -> dict[str, list[str]]:
    """The coarse groups under names: `stem`, `stage1`, `stage2`, ..., `head`; names of parameters by part."""
    first, *others = layer_groups(model, coarse=True)
    stages = {f"stage{number}": names for number, names in enumerate(others[:-1], start=1)}
    return {"stem": first, **stages, "head": others[-1]} if others else {"head": first}


def _compiled(matcher: GroupMatcher) -> list[tuple[re.Pattern[str], int, Sequence[int]]]:
    """(pattern, number of its name, place) in the order in which they are tried."""
    found: list[tuple[re.Pattern[str], int, Sequence[int]]] = []
    for number, given in enumerate(matcher.values()):
        patterns: Patterns = [(given, None)] if isinstance(given, str) else given
        for pattern, place in patterns:
            found.append((re.compile(pattern), number, place or ()))
    return found


def _place(
    name: str, patterns: Sequence[tuple[re.Pattern[str], int, Sequence[int]]]
) -> tuple[float, ...]:
    for pattern, number, place in patterns:
        if found := pattern.match(name):
            caught = [float(digits) for digits in found.groups() if digits is not None]
            return (float(number), *caught, *map(float, place))
    return (float("inf"),)
