"""Whose class is output i, and of which kind? What a file says or is known for; heads in another order."""

from dataclasses import replace

import torch

from uniformer_video.data import labels
from uniformer_video.errors import CheckpointError
from uniformer_video.weights.published import order_of_outputs


def stand_ins(count):
    """Names for classes that nobody named."""
    return [f"class {index}" for index in range(count)]


def are_stand_ins(names):
    """Whether these are no names of anybody."""
    return names == stand_ins(len(names))


def known_names(weights):
    """The class names of a file's outputs in their order, or None.

    A checkpoint records them; published weights, told by the name of their file, are known for them.
    Raises `CheckpointError` for a record that does not fit the outputs.
    """
    names = list(weights.metadata.get("class_names") or ())
    if not names:
        order = None if weights.metadata else order_of_outputs(weights)
        names = labels.named_classes(order) if order else []
        return names if len(names) == weights.num_classes else None
    if are_stand_ins(names):
        return None
    if not len(names) == len(set(names)) == weights.num_classes:
        raise CheckpointError(
            f"{weights.path} tells {weights.num_classes} classes apart and records {len(names)} names "
            f"for them, {len(set(names))} of them different; get it again, or convert it again"
        )
    return names


def check_order_is_told(weights, class_names):
    """Refuse weights without names for classes that are in use in more than one order."""
    orders = labels.orders_in_use(class_names)
    if len(orders) > 1:
        raise CheckpointError(
            f"{weights.path} does not name its outputs, and there are weights with these classes in "
            f"{len(orders)} orders ({', '.join(orders)}); record the right one: "
            f"python tools/convert_checkpoint.py {weights.path} --classes ORDER --out NEW.pt"
        )


def check_label_kind(weights, multi_label):
    """Refuse to test weights that were trained for one label a video on several, and the reverse.

    Files that this toolkit did not train do not tell, and pass. Raises `CheckpointError`.
    """
    trained = bool(weights.metadata.get("multi_label"))
    if trained == multi_label or not (trained or weights.metadata.get("training")):
        return
    kinds = {True: "any number of labels", False: "one label"}
    raise CheckpointError(
        f"{weights.path} was trained on videos with {kinds[trained]} each, and DATA.MULTI_LABEL is "
        f"{multi_label}; set it to {trained}, with a list of that kind, or test other weights"
    )


def arrange_head(weights, head_keys, class_names):
    """`weights` with the rows of their classifiers in the order of `class_names`, and a line about it.

    Where the names differ as sets the classifiers are left out, to be made anew. Without names on
    either side the rows stay; the line is None where there is nothing to say.
    """
    own = known_names(weights)
    if are_stand_ins(class_names) or weights.num_classes != len(class_names) or own == class_names:
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
