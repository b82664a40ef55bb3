"""How the masks of a run are read, by its config."""

from fvcore.common.config import CfgNode

from uniformer_video.data.decoding.masks import MaskReader
from uniformer_video.data.lists.formats import find_format
from uniformer_video.data.lists.palettes import Palette, mask_classes
from uniformer_video.errors import ConfigError
from uniformer_video.runs.join_sets import data_sets


def build_mask_reader(cfg: CfgNode, num_classes: int, split: str = "train") -> MaskReader:
    """The `MaskReader` of a split: "train", "val" or "test"."""
    other = split == "test" and cfg.TEST.DATASET and not cfg.DATA.FOLDS
    key = "TEST.DATASET" if other else "TRAIN.DATASET"
    settings = cfg.SEGMENTATION
    list_format = find_format(cfg.TEST.DATASET if other else cfg.TRAIN.DATASET, key)
    return MaskReader(
        num_classes,
        settings.REDUCE_ZERO_LABEL or list_format.zero_is_other,
        settings.IGNORE_LABEL,
        None if list_format.zero_is_other else mask_palette(cfg),
    )


def mask_palette(cfg: CfgNode) -> Palette | None:
    """The one palette of all data sets of the run, as their classes.txt or DATA.CLASS_NAMES give it."""
    found = {place: mask_classes(cfg.DATA.CLASS_NAMES, place)[1] for place in data_sets(cfg)}
    (first, palette), *others = found.items()
    for place, other in others:
        if other != palette:
            raise ConfigError(
                f"the classes of {place} have other colours than those of {first}, and masks are read by one "
                "palette; give both the same classes.txt, or one of both as DATA.CLASS_NAMES"
            )
    return palette
