"""Class names of a model's outputs: what a weights file records, and a head in the order of the data."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from uniformer_video.data.lists.class_names import (
    are_stand_ins,
    identify,
    name_differences,
    named_classes,
    orders_in_use,
    places,
    stand_ins,
    usual_order,
)
from uniformer_video.data.lists.records import relabelled
from uniformer_video.errors import CheckpointError
from uniformer_video.program import command
from uniformer_video.runs.build_data import Data
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.words import name_some
from uniformer_video.zoo.published import order_of_outputs
from uniformer_video.zoo.registry import count_classes, recorded_class_names

_OTHER_TEACHER = (
    "take a teacher that was trained for the classes of the data, or train one on it first"
)


def known_names(weights: Weights, model: str | None = None) -> list[str] | None:
    """The class names of a file's outputs in their order, or None.

    A checkpoint records them; published weights, told by the name of their file, are known for them.
    `model` is the name of the model where the file may not tell. Raises `CheckpointError` for a record that
    does not fit the outputs.
    """
    names = list(weights.metadata.get("class_names") or ())
    outputs = count_classes(weights, model)
    if not names:
        order = None if weights.metadata else order_of_outputs(weights)
        names = named_classes(order) if order else []
        return names if len(names) == outputs else None
    return None if are_stand_ins(names) else recorded_class_names(weights, outputs)


def check_order_is_told(weights: Weights, class_names: Sequence[str]) -> None:
    """Refuse weights without names for classes that are in use in more than one order."""
    orders = orders_in_use(class_names)
    if len(orders) > 1:
        raise CheckpointError(
            f"{weights.path} does not name its outputs, and there are weights with these classes in "
            f"{len(orders)} orders ({', '.join(orders)}); record the right one: "
            f"{command(f'convert {weights.path} --classes ORDER --out NEW.pt')}"
        )


def arrange_head(
    weights: Weights, head_keys: Collection[str], class_names: list[str], model: str | None = None
) -> tuple[Weights, str | None]:
    """`weights` with the rows of their classifiers in the order of `class_names`, and a line about it.

    Where the names differ as sets the classifiers are left out, to be made anew. Without names on
    either side the rows stay; the line is None where there is nothing to say.
    """
    own = known_names(weights, model)
    same_count = count_classes(weights, model) == len(class_names)
    if are_stand_ins(class_names) or not same_count or own == class_names:
        return weights, None
    if own is None:
        return weights, "the classifier is taken as it is: the file does not name its classes"
    heads = {key: value for key, value in weights.state.items() if key in head_keys}
    rest = {key: value for key, value in weights.state.items() if key not in head_keys}
    if set(own) != set(class_names):
        return replace(
            weights, state=rest
        ), "the classifier is left out: it tells other classes apart"
    rows = torch.tensor([own.index(name) for name in class_names])
    arranged = {key: value[rows] for key, value in heads.items()}
    line = "the classifier's rows are put into the order of the data's classes, by name"
    return replace(weights, state=rest | arranged), line


def match_classes(data: Data, weights: Weights, fixed: int = 0, model: str | None = None) -> Data:
    """`data` in the class order of the checkpoint's outputs; a note says what was done or assumed.

    Labels are mapped by name where both name their classes; the data may lack some. Data without names
    takes the checkpoint's, if those are in the usual order, and may lack the last classes unless their
    number is `fixed` by the config. Raises `CheckpointError` where the classes differ, or where nothing
    tells in which order the data's numbers are.
    """
    own = known_names(weights, model)
    named = not are_stand_ins(data.class_names)
    if own and named and (numbers := _numbers_of_names(data.class_names, own)):
        return _map_by_number(data, own, numbers, weights.path)
    if own and named:
        return _map_by_name(data, own, weights.path)
    outputs = count_classes(weights, model) or 0
    if not named and data.num_classes < outputs and not fixed:
        data = replace(data, class_names=stand_ins(outputs))
    if outputs != data.num_classes:
        fewer = named and data.num_classes < outputs
        name_all = ", name all of its classes in its order with DATA.CLASS_NAMES" if fewer else ""
        raise CheckpointError(
            f"{weights.path} tells {outputs} classes apart and the data has "
            f"{data.num_classes}; test on the data it was trained for{name_all}, or train first"
        )
    if own:
        _check_usual_order(own, weights.path)
        return replace(data, class_names=own)
    if named:
        check_order_is_told(weights, data.class_names)
        note = (
            "The checkpoint does not name its classes; its outputs were taken to be in the data's "
            f"order. `{command('convert')}` records the names in a checkpoint."
        )
        return replace(data, notes=[*data.notes, note])
    note = (
        "Neither the checkpoint nor the data names the classes; both were taken to have one order."
    )
    return replace(data, notes=[*data.notes, note]) if not weights.metadata else data


def _numbers_of_names(names: list[str], own: list[str]) -> list[int]:
    """The numbers of classes whose folders are called by them, as those of ImageNet-V2 are; [] for others."""
    if set(names) <= set(own) or not all(name.isascii() and name.isdigit() for name in names):
        return []
    numbers = [int(name) for name in names]
    return numbers if max(numbers) < len(own) and len(set(numbers)) == len(numbers) else []


def _map_by_number(data: Data, own: list[str], numbers: list[int], path: str) -> Data:
    _check_usual_order(own, path)
    note = (
        f"The data's classes are called by numbers ({name_some(data.class_names)}), which were taken to "
        f"count those of the checkpoint from 0, in the usual order: {data.class_names[0]} is "
        f"{own[numbers[0]]!r}."
    )
    return _in_order_of(data, own, numbers, note)


def _map_by_name(data: Data, own: list[str], path: str) -> Data:
    if own == data.class_names:
        return data
    absent = [name for name in own if name not in set(data.class_names)]
    if len(own) - len(absent) < data.num_classes:
        differences = name_differences(data.class_names, own, "the data", "the checkpoint")
        raise CheckpointError(
            "\n".join(
                [
                    f"{path} names {len(own)} classes, the data {data.num_classes}, and not the same "
                    "ones:",
                    *differences,
                    "Test on the data it was trained for, train first, or, where the data's names are "
                    "wrong, mend classes.txt or DATA.CLASS_NAMES.",
                ]
            )
        )
    order = places(data.class_names, own)
    note = "The checkpoint orders the classes differently; labels were mapped by name."
    if absent:
        note = (
            f"The data has {data.num_classes} of the {len(own)} classes of the checkpoint; labels were "
            f"mapped by name. None of its {data.medium.name}s is of {name_some(absent)}."
        )
    return _in_order_of(data, own, order, note)


def _in_order_of(data: Data, own: list[str], order: Sequence[int], note: str) -> Data:
    """`data` with the classes `own`, each label L of its own replaced by `order[L]`.

    Raises `CheckpointError` for masks, whose files hold the numbers of the classes.
    """
    if list(order) != list(range(len(own))) and any(record.mask for record in data.test):
        raise CheckpointError(
            f"the checkpoint's classes are {name_some(own)}, in this order, and the masks number theirs in "
            f"another, {name_some(data.class_names)}; put classes.txt, or DATA.CLASS_NAMES, and the masks "
            "into the checkpoint's order, or train first"
        )
    splits: dict[str, Any] = {
        split: relabelled(getattr(data, split), order) for split in ("train", "val", "test")
    }
    return replace(data, class_names=own, **splits, notes=[*data.notes, note])


def _check_usual_order(own: list[str], path: str) -> None:
    """Refuse an order of the checkpoint's own: bare numbers could be in that or in the usual one."""
    usual = usual_order(own)
    differences = [
        f"  output {index} is {name!r}, in the usual order {other!r}"
        for index, (name, other) in enumerate(zip(own, usual, strict=True))
        if name != other
    ]
    if not differences:
        return
    a_file = "FILE, which holds the names in that order, one a line"
    raise CheckpointError(
        "\n".join(
            [
                f"{path} numbers its classes in an order of its own, and the list does not "
                "tell in which order its numbers are:",
                *differences[:3],
                f"If the list is in the usual order, set DATA.CLASS_NAMES "
                f"{identify(usual) or a_file}.",
                f"If it is in the checkpoint's order, set DATA.CLASS_NAMES "
                f"{identify(own) or a_file}.",
                f"A classes.txt beside the list also tells; `{command('remap-labels')}` writes the "
                "list in another order.",
            ]
        )
    )


def order_of_teacher(
    class_names: list[str], own: list[str] | None, outputs: int, source: str
) -> tuple[list[int] | None, str]:
    """(which output of a teacher stands for each of the classes that are learnt, a line about it or "").

    class_names: of the data, in its order. own: the teacher's, in the order of its `outputs`, None where
    nothing names them. The order is None where both have the same. Raises `CheckpointError` for other
    classes than the data's, and where nothing tells in which order they are.
    """
    named = not are_stand_ins(class_names)
    if own and named and set(own) != set(class_names):
        lines = name_differences(class_names, own, "the data", "the teacher")
        differences = "; ".join(line.strip() for line in lines)
        raise CheckpointError(
            f"the teacher {source} tells {len(own)} classes apart, the data {len(class_names)}, and not the "
            f"same ones: {differences}; {_OTHER_TEACHER}"
        )
    if outputs != len(class_names):
        raise CheckpointError(
            f"the teacher {source} tells {outputs} classes apart and the data has {len(class_names)}; "
            f"{_OTHER_TEACHER}"
        )
    if own and named:
        if own == class_names:
            return None, ""
        line = "its classes are in another order, and its answers are put into that of the data by name"
        return places(class_names, own), line
    if own:
        _check_usual_order(own, source)
    if own or not named:
        return None, ""
    return None, "it does not name its classes, which are taken to be in the order of the data"
