"""Token labelling, from the settings: the label maps of the pictures, and what is learnt from them."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import Tensor

from uniformer_video.data.clips.label_maps import (
    FACTS_FILE,
    MAX_CLASSES,
    LabelMaps,
    highest_number,
    map_name,
    map_names,
    read_facts,
    read_map,
)
from uniformer_video.data.lists.class_names import are_stand_ins, name_differences, places
from uniformer_video.data.lists.formats import medium_of
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.prepare.summary import read_failures
from uniformer_video.program import command
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.tasks.task import Task
from uniformer_video.training.token_labelling import TokenLabelling, TokenLosses
from uniformer_video.words import name_some
from uniformer_video.zoo.registry import MODELS, find_model

PUBLISHED_MAPS = "https://github.com/zihangJiang/TokenLabeling"
_LOOKED_AT = 16  # maps that are read before a run begins, to see what all are like


def check_token_labels(cfg: CfgNode) -> None:
    """Raise `ConfigError` for token labelling of a model, or on lists, that have no part in it."""
    if not (cfg.TRAIN.ENABLE and cfg.TOKEN_LABELS.ENABLE):
        return
    if medium_of(cfg.TRAIN.DATASET) != IMAGE.name:
        raise ConfigError(
            f"TOKEN_LABELS.ENABLE is True and TRAIN.DATASET {cfg.TRAIN.DATASET} lists videos; label maps are "
            "of images: set TOKEN_LABELS.ENABLE False, or take a list of images"
        )
    model = find_model(cfg.MODEL.MODEL_NAME)
    if not model.arguments.get("aux_head"):
        able = [name for name, other in MODELS.items() if other.arguments.get("aux_head")]
        raise ConfigError(
            f"TOKEN_LABELS.ENABLE is True and MODEL.MODEL_NAME {model.name} has no head for tokens; take one "
            f"of {', '.join(able)}, or set TOKEN_LABELS.ENABLE False"
        )
    if SingleLabel.name != cfg.TRAIN.TASK:
        raise ConfigError(
            f"TOKEN_LABELS.ENABLE is True and TRAIN.TASK is {cfg.TRAIN.TASK}: the labels of a map are shares "
            f"of one class a picture; set TRAIN.TASK {SingleLabel.name}"
        )


def check_maps_named(cfg: CfgNode) -> None:
    """Raise `ConfigError` where token labelling is to begin and nobody says where the label maps are."""
    if cfg.TRAIN.ENABLE and cfg.TOKEN_LABELS.ENABLE and not cfg.TOKEN_LABELS.PATH:
        raise ConfigError(
            "TOKEN_LABELS.ENABLE is True and TOKEN_LABELS.PATH is empty; it is the folder of the label maps. "
            f"{_how_to_have_maps()}"
        )


def _how_to_have_maps() -> str:
    make = command("prepare token-labels PICTURES --weights FILE --out FOLDER")
    return (
        f"Those of the published runs, for ImageNet, are linked at {PUBLISHED_MAPS}; `{make}` makes maps of "
        "any pictures by any image model"
    )


def build_label_maps(
    cfg: CfgNode, records: Sequence[VideoRecord], class_names: Sequence[str]
) -> LabelMaps | None:
    """The maps of the training pictures; None without token labelling.

    All are there, but those of pictures that `prepare token-labels` found broken, which count as broken here
    too. A few are read, and most of these tell what all are like. Raises `DataError` for missing maps, and
    for maps of other classes.
    """
    if not cfg.TOKEN_LABELS.ENABLE:
        return None
    folder = Path(cfg.TOKEN_LABELS.PATH)
    if not folder.is_dir():
        raise DataError(
            f"TOKEN_LABELS.PATH {folder} is no folder; it holds the label maps. {_how_to_have_maps()}"
        )
    if len(class_names) > MAX_CLASSES:
        raise DataError(
            f"there are {len(class_names)} classes, and a label map holds class numbers in half precision, "
            f"which is exact for {MAX_CLASSES} at the most"
        )
    names = map_names(records)
    there = _check_all_there(folder, names)
    order = _order_of_maps(folder, list(class_names))
    shapes: Counter[tuple[int, ...]] = Counter()
    for name, label_map in _some_maps(folder, there):
        if order is None and highest_number(label_map) >= len(class_names):
            raise DataError(
                f"the label map {folder / name} names the class number {highest_number(label_map)}, and "
                f"there are {len(class_names)} classes, from 0; the maps in TOKEN_LABELS.PATH are of other "
                "classes"
            )
        shapes[tuple(label_map.shape)] += 1
    return LabelMaps(folder, len(class_names), shapes.most_common(1)[0][0], order)


def _some_maps(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """(name, map) of some from all over the list that can be read; `DataError` where none can."""
    found, error = 0, None
    for name in names[:: max(1, len(names) // _LOOKED_AT)]:
        try:
            label_map = read_map(folder / name)
        except DataError as why:
            error = error or why
            continue
        found += 1
        yield name, label_map
    if error and not found:
        raise error


def _check_all_there(folder: Path, names: Sequence[str]) -> list[str]:
    """The names of the maps that are there; `DataError` where one is missing and nobody said why."""
    there: set[str] = set()
    for inner in {os.path.dirname(name) for name in names}:
        if (folder / inner).is_dir():
            there |= {os.path.join(inner, entry) for entry in os.listdir(folder / inner)}
    # By their names, as maps are: the maps may have been made in another place.
    broken = {map_name(VideoRecord(path, path, ())) for path in read_failures(folder)}
    missing = [name for name in names if name not in there and name not in broken]
    found = [name for name in names if name in there]
    if missing or not found:
        raise DataError(
            f"no label map for {len(missing)} of {len(names)} training pictures in TOKEN_LABELS.PATH "
            f"{folder}: {name_some(missing)}. {_how_to_have_maps()}"
        )
    return found


def _order_of_maps(folder: Path, class_names: list[str]) -> list[int] | None:
    """The class that each class number of the maps is here, None where they are the same or nothing tells."""
    own = read_facts(folder).get("class_names") or []
    if own and len(own) != len(class_names) and (are_stand_ins(own) or are_stand_ins(class_names)):
        raise DataError(
            f"the label maps in TOKEN_LABELS.PATH {folder} are of {len(own)} classes ({FACTS_FILE}), and the "
            f"data has {len(class_names)}; make them by a model of these classes"
        )
    if not own or are_stand_ins(own) or are_stand_ins(class_names) or own == class_names:
        return None
    if set(own) != set(class_names):
        differences = name_differences(class_names, own, "the data", "the maps")
        raise DataError(
            f"the label maps in TOKEN_LABELS.PATH {folder} are of other classes ({FACTS_FILE}): "
            f"{'; '.join(line.strip() for line in differences)}; make them by a model of these classes"
        )
    return places(own, class_names)


def build_token_labelling(
    cfg: CfgNode, task: Task, maps: LabelMaps
) -> tuple[TokenLabelling, list[str]]:
    """What is learnt, and what the log says of it."""
    settings = cfg.TOKEN_LABELS
    how = TokenLosses(
        class_weight=settings.CLASS_WEIGHT,
        dense_weight=settings.DENSE_WEIGHT,
        smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE,
        box_order=settings.BOX_ORDER,
        ground_truth=settings.GROUND_TRUTH,
        mix=settings.MIXTOKEN,
    )
    _, highest, height, width = maps.shape
    facts = read_facts(maps.folder)
    maker = f", made by {facts['model']}" if facts.get("model") else ""
    lines = [
        f"Token labels: the {highest} highest classes at {height} x {width} places of each picture, from "
        f"{maps.folder}{maker}; weights {how.class_weight:g} (class) and {how.dense_weight:g} (tokens), "
        f"{'with' if how.mix else 'without'} MixToken."
    ]
    if how.box_order == "published":
        lines.append(
            "Crops are cut from the maps with their axes exchanged, as in the published runs "
            "(TOKEN_LABELS.BOX_ORDER)."
        )
    if maps.order is not None:
        lines.append(
            "The classes of the maps are in another order, and are put into that of the data by name."
        )
    elif are_stand_ins(facts.get("class_names") or []):
        lines.append(
            "The maps do not name their classes, which are taken to be in the order of the data."
        )
    return TokenLabelling(task, maps.num_classes, how), lines
