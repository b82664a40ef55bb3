"""How the masks of a run are read, by its config."""

from fvcore.common.config import CfgNode

from uniformer_video.data.decoding.masks import MaskReader
from uniformer_video.data.lists.palettes import MaskClasses, mask_classes
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_lists import format_of_split
from uniformer_video.runs.join_sets import data_sets


def build_mask_reader(cfg: CfgNode, num_classes: int, split: str = "train") -> MaskReader:
    """The `MaskReader` of a split: "train", "val" or "test"."""
    settings, list_format = cfg.SEGMENTATION, format_of_split(cfg, split)
    reduce = settings.REDUCE_ZERO_LABEL or list_format.zero_is_other
    if list_format.zero_is_other:
        return MaskReader(num_classes, reduce, settings.IGNORE_LABEL)
    classes = mask_classes_of(cfg)
    colours = classes.palette, classes.ignored_colour
    return MaskReader(num_classes, reduce, settings.IGNORE_LABEL, *colours)


def mask_classes_of(cfg: CfgNode) -> MaskClasses:
    """The classes of the run; all its data sets must have the same colours."""
    found = {place: mask_classes(cfg.DATA.CLASS_NAMES, place) for place in data_sets(cfg)}
    (first, classes), *others = found.items()
    for place, other in others:
        if (other.palette, other.ignored_colour) != (classes.palette, classes.ignored_colour):
            raise ConfigError(
                f"the classes of {place} have other colours than those of {first}, and masks are read by one "
                "palette; give both the same classes.txt, or one of both as DATA.CLASS_NAMES"
            )
    return classes
