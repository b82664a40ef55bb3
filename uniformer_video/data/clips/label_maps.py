"""Label maps of token labelling: what an annotator said of each place of a picture, read and moved with it.

A map is `[2, k, h, w]` in half precision: the k highest class logits at each place, five as published, and
their class numbers, which half precision holds exactly up to 2048. Each picture has a file of its own,
`<class folder>/<file name up to the first dot>.pt`, as the published ones lie. The file `token_labels.json`
beside the class folders, where there is one, tells whose classes the numbers are.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uniformer_video.data.clips.affine import Matrix
from uniformer_video.data.clips.ops import CHANGES, Drawn
from uniformer_video.data.clips.train_views import ClipDraws
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError, DecodeError, UserError
from uniformer_video.files import special_kind
from uniformer_video.weights import unpickle
from uniformer_video.words import name_some, one_line

FACTS_FILE = "token_labels.json"
TOP_CLASSES = 5  # at each place, as published
MAX_CLASSES = 2048  # whose numbers are exact in half precision
_MOST_BYTES = 1 << 26  # of a file: a map of 18 x 18 has 6 kB


class TokenLabels(NamedTuple):
    """The maps of some crops as their pictures were moved, half `[B, 2, k, h, w]`, and what of them is shown,
    float64 `[B, 4]`: (top, left, height, width) as shares of the picture.
    """

    maps: Tensor
    crops: Tensor

    def to(self, device: torch.device | str) -> "TokenLabels":
        """As a tensor's, without waiting."""
        return TokenLabels(*(each.to(device, non_blocking=True) for each in self))

    def pin_memory(self) -> "TokenLabels":
        """As a tensor's; the loader's pinning thread calls it."""
        return TokenLabels(*(each.pin_memory() for each in self))


def join_labels(parts: Sequence[TokenLabels]) -> TokenLabels:
    """Those of several samples -> of a batch."""
    return TokenLabels(*(torch.cat(each) for each in zip(*parts, strict=True)))


def follow(label_map: Tensor, draws: Sequence[ClipDraws]) -> TokenLabels:
    """The map of a picture after what each of the `draws` did to it, and what they show of it.

    Pictures are mirrored first, then changed, then cut: the order of `token_labelled.py`.
    """
    maps = [move_like_picture(label_map, drawn.mirrored, drawn.ops) for drawn in draws]
    crops = [
        (box.top / height, box.left / width, box.height / height, box.width / width)
        for box, (height, width) in ((drawn.box, drawn.frame_size) for drawn in draws)
    ]
    return TokenLabels(torch.stack(maps), torch.tensor(crops, dtype=torch.float64))


class LabelMaps:
    """The maps in a folder, for the pictures of a list.

    num_classes: K, above all class numbers. shape: `(2, k, h, w)`, which all maps must have. order: the class
    that each class number of the maps is here; None = the same.
    """

    def __init__(
        self,
        folder: Path | str,
        num_classes: int,
        shape: tuple[int, ...],
        order: Sequence[int] | None = None,
    ):
        self.folder, self.num_classes, self.shape = str(folder), num_classes, tuple(shape)
        self.order = None if order is None else torch.tensor(order)

    def read(self, record: VideoRecord) -> Tensor:
        """The map of a picture, half `(2, k, h, w)`, its class numbers those of the classes here.

        Raises `DecodeError` that names the file where it is missing or no such map.
        """
        path = os.path.join(self.folder, map_name(record))
        try:
            found = read_map(path)
        except DataError as error:
            raise DecodeError(str(error)) from None
        if tuple(found.shape) != self.shape:
            raise DecodeError(
                f"the label map {path} is {list(found.shape)}, others are {list(self.shape)}, and all must "
                "be of one size; delete it, and make it anew as the others were made"
            )
        numbers = len(self.order) if self.order is not None else self.num_classes
        if highest_number(found) >= numbers:
            raise DecodeError(
                f"the label map {path} names the class number {highest_number(found)}, and there are "
                f"{numbers} classes, from 0; it was made for other ones"
            )
        if self.order is not None:
            found[1] = self.order[found[1].long()].to(found.dtype)
        return found


def map_name(record: VideoRecord) -> str:
    """Where in the folder of maps a picture's lies: `<its folder>/<its name up to the first dot>.pt`."""
    *_, folder, name = ("", *PurePosixPath(record.name.replace(os.sep, "/")).parts)
    if not folder:  # a list inside the folder of a class
        folder = Path(record.path).absolute().parent.name
    return os.path.join(folder, f"{name.partition('.')[0]}.pt")


def map_names(records: Sequence[VideoRecord]) -> list[str]:
    """`map_name` of each picture; `DataError` where two pictures would have one map."""
    owners: dict[str, VideoRecord] = {}
    for record in records:
        name = map_name(record)
        if name in owners:
            raise DataError(
                f"{name_some([owners[name].name, record.name])} would both have the label map {name}, which "
                "is told by the folder and the name of a picture up to its first dot; rename one of them"
            )
        owners[name] = record
    return list(owners)


def read_map(path: Path | str) -> Tensor:
    """The map in a file, half `[2, k, h, w]`, of which nothing is run.

    Raises `DataError` that names the file for one that is missing, unreadable, or no label map.
    """
    wanted = (
        f"a label map is one tensor [2, {TOP_CLASSES}, h, w], class logits and their class numbers; get it "
        "again, or delete it and make it anew"
    )
    if not os.path.isfile(path) or special_kind(path):
        raise DataError(f"there is no label map {path}")
    if os.path.getsize(path) > _MOST_BYTES:
        raise DataError(f"{path} is far too large for a label map; {wanted}")
    try:
        found = unpickle.load(path)
    except UserError:
        raise
    except Exception as error:  # whatever torch stumbles on in a foreign or damaged file
        raise DataError(
            f"{path} cannot be read as a label map: {one_line(error)[:200]}; {wanted}"
        ) from None
    if not isinstance(found, Tensor):
        raise DataError(f"{path} holds a {type(found).__name__}; {wanted}")
    if found.dim() != 4 or found.shape[0] != 2 or not found.numel() or found.is_sparse:
        raise DataError(f"{path} holds a tensor {list(found.shape)}; {wanted}")
    numbers = found[1].double()
    if not torch.isfinite(found.double()).all() or (numbers < 0).any() or (numbers % 1).any():
        raise DataError(f"{path} holds logits that are not finite, or no class numbers; {wanted}")
    return found.detach().half()


def highest_number(label_map: Tensor) -> int:
    """The highest class number in a map `[2, k, h, w]`."""
    return int(label_map[1].max())


def read_facts(folder: Path | str) -> dict[str, Any]:
    """What `token_labels.json` in a folder of maps says of them; {} where there is none.

    Raises `DataError` for a damaged one.
    """
    path = os.path.join(folder, FACTS_FILE)
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            facts = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from None
    names = facts.get("class_names") if isinstance(facts, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path} is damaged: it names no classes; make the maps anew")
    return facts


def move_like_picture(label_map: Tensor, mirrored: bool, ops: Drawn) -> Tensor:
    """A map `[2, k, h, w]` after what moved its picture: mirrored or not, then the (name, setting) pairs.

    What moves pixels moves the map in its own coordinates, each place shows the nearest one; a place from
    outside has logits of 0 and the class numbers of the edge. What changes colours alone leaves it.
    """
    found = label_map.flip(-1) if mirrored else label_map
    for name, setting in ops:
        matrix = CHANGES[name].matrix
        if matrix is not None and setting is not None:
            height, width = found.shape[-2:]
            found = _transform(found, matrix(setting, (height, width)))
    return found


def _transform(label_map: Tensor, matrix: Matrix) -> Tensor:
    """`matrix` (a, b, c, d, e, f), as of `affine.transform`, takes an output place to the one it shows."""
    a, b, c, d, e, f = matrix
    height, width = label_map.shape[-2:]
    x = torch.arange(width, dtype=torch.float64) + 0.5
    y = torch.arange(height, dtype=torch.float64)[:, None] + 0.5
    columns, rows = (a * x + b * y + c).floor().long(), (d * x + e * y + f).floor().long()
    outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    found = label_map[..., rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
    found[0].masked_fill_(outside, 0)
    return found
