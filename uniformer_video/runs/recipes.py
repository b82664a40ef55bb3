"""Which runs are seeds of one recipe, and in what others differ, by the settings that tests record."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from uniformer_video.config.recorded import config_from_text
from uniformer_video.config.rows import SETTINGS
from uniformer_video.config.setting import FREE
from uniformer_video.config.settings import flat_config
from uniformer_video.errors import ConfigError
from uniformer_video.evaluation.record import Results
from uniformer_video.runs.check import settings_without_effect
from uniformer_video.words import plural

SEED, OUTPUT = "RNG_SEED", "OUTPUT_DIR"
_PLACES = ("DATA.PATH_TO_DATA_DIR", "DATA.PATH_PREFIX")  # of the same data, on any disk
_OF_TRAINING = ("train_videos", "teacher_sha256")  # what must be equal beside the settings


def recipe_settings(results: Results) -> dict[str, Any] | None:
    """What makes the recipe of a run: {key: value} of the settings that decide its weights or its test.

    None where they are not recorded, or are of a plugin that is not here. Seed and output folder are left
    out, and so is what has no effect; folders of data count by their last part, as they lie on any disk.
    """
    if not results.settings:
        return None
    try:
        cfg = config_from_text(results.settings, str(results.folder))
    except ConfigError:
        return None
    idle = settings_without_effect(cfg)
    found = {
        key: value
        for key, value in flat_config(cfg).items()
        if (SETTINGS[key].on_resume != FREE or SETTINGS[key].affects_test)
        and key not in {*idle, SEED, OUTPUT}
    }
    found |= {key: _last_parts(found[key]) for key in _PLACES if key in found}
    if results.rescored:  # whose settings are those of the test
        protocol = results.protocol
        found["TEST.NUM_ENSEMBLE_VIEWS"] = protocol.num_clips
        found["TEST.NUM_SPATIAL_CROPS"] = protocol.views.num_crops
        found["TEST.SCORE"] = protocol.score
    training = results.training or {}
    found |= {key: training[key] for key in _OF_TRAINING if key in training}
    return found | _beside_the_settings(results)


def _beside_the_settings(results: Results) -> dict[str, str]:
    """What the settings of a record do not tell: that it joins folds, or was made from a test's logits."""
    found = {}
    if results.crossval:
        found["cross-validation"] = plural(len(results.crossval["folds"]), "fold")
    if told := results.rescored:
        clips, crops = (" ".join(map(str, told[key])) for key in ("clips", "crops"))
        found["rescored"] = f"{results.protocol.score}, clips {clips}, crops {crops}"
    return found


def _last_parts(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_last_parts(part) for part in value]
    return PurePath(str(value)).name


def group_by_recipe(recipes: Sequence[Mapping[str, Any] | None]) -> list[list[int]]:
    """The places of the runs of each recipe, in the order of their first runs; None is alike to nothing."""
    groups: list[list[int]] = []
    for place, recipe in enumerate(recipes):
        known = (group for group in groups if recipe is not None and recipes[group[0]] == recipe)
        if group := next(known, None):
            group.append(place)
        else:
            groups.append([place])
    return groups


def differing_settings(
    recipes: Sequence[Mapping[str, Any] | None], groups: Sequence[Sequence[int]]
) -> dict[str, list[Any]]:
    """{key: its value in each recipe} of the settings in which recipes differ; None where one has none."""
    firsts = [recipes[group[0]] or {} for group in groups]
    keys = dict.fromkeys(key for recipe in firsts for key in recipe)
    values = {key: [recipe.get(key) for recipe in firsts] for key in keys}
    return {key: each for key, each in values.items() if any(one != each[0] for one in each)}
