"""Class names of known datasets, in the orders that lists and checkpoints number them in.

An index order belongs to a list or to a checkpoint, not to a dataset. Each known order has a spelling
for settings and commands: `k400` is the dataset's usual order, `k400-published` another one.

A data file `DATASET.txt` holds names, one a line; `DATASET-ORDER.txt` holds indices into them.
`imagenet-synsets.txt` holds the names of ImageNet's folders, see `synsets`, and `ade20k-palette.txt` colours.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path

from uniformer_video.data.lists import flips
from uniformer_video.data.lists.records import read_class_names
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.words import name_some

USUAL = "usual"
_FOLDER = Path(__file__).with_name("names")

# Dataset: its file of names and the orders beside the usual one. Something-Something V1 and V2 have
# the same classes in the same order. ImageNet's words are those of its synsets; two synsets are a "crane",
# and the words in brackets tell them apart. "published" is the order of the published UniFormer weights;
# "mmaction2" is that of V1's official label csv, which MMAction2 follows.
_DATASETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "k400": ("k400.txt", ("published",)),
    "k600": ("k600.txt", ("published",)),
    "ssv2": ("something.txt", ()),
    "ssv1": ("something.txt", ("mmaction2",)),
    "ucf101": ("ucf101.txt", ()),
    "hmdb51": ("hmdb51.txt", ()),
    "imagenet": ("imagenet.txt", ()),
    "ade20k": ("ade20k.txt", ()),
    "demo": ("demo.txt", ()),
}


def class_names(dataset: str, order: str = USUAL) -> list[str]:
    """The class names of a known dataset, a list in index order.

    `order` is "usual" (alphabetical for Kinetics), "published" (outputs of the published UniFormer
    weights: k400, k600) or "mmaction2" (ssv1); `class_names("k400-published")` is the same as
    `class_names("k400", "published")`. Raises `ConfigError` for what is not known.
    """
    if order == USUAL:
        dataset, _, order = dataset.partition("-")
        order = order or USUAL
    if dataset not in _DATASETS:
        raise ConfigError(
            f"no class names are known for {dataset!r}; known datasets: {', '.join(_DATASETS)}"
        )
    orders = (USUAL, *_DATASETS[dataset][1])
    if order not in orders:
        raise ConfigError(
            f"{dataset} has no order {order!r}; known orders of its classes: {', '.join(orders)}"
        )
    names = _usual_names(dataset)
    if order == USUAL:
        return list(names)
    return [names[index] for index in _indices(f"{dataset}-{order}.txt")]


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """The names of ImageNet's 1000 folders, such as "n01440764", in the order of its classes."""
    return tuple(read_class_names(_FOLDER / "imagenet-synsets.txt"))


@cache
def ade20k_palette() -> tuple[tuple[int, int, int], ...]:
    """The colours, (red, green, blue), that pictures of ADE20K's 150 classes are usually drawn in.

    Two classes have the same, so that masks cannot be read by them.
    """
    numbers = _indices("ade20k-palette.txt")
    return tuple(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))


def named_classes(text: str, what: str = "class names:") -> list[str]:
    """The class names that `text` stands for: a known order such as "k400-published", or a file.

    The file holds one name a line; a known order goes before a file of that name. `what` begins the
    message of the `DataError` where it is neither.
    """
    known = _known_orders()
    if text in known:
        return class_names(*known[text])
    if Path(text).is_file():
        return read_class_names(text)
    raise DataError(
        f"{what} {text} is not a file (of one class name a line), nor one of the known orders "
        f"{', '.join(known)}"
    )


def identify(names: Iterable[str]) -> str | None:
    """The spelling of the known order that `names` are in, such as "k400-published"; None for others.

    The names of Something-Something in their usual order are "ssv2", though V1 has them too.
    """
    names = list(names)
    return next((text for text in _known_orders() if named_classes(text) == names), None)


def orders_in_use(names: Collection[str]) -> list[str]:
    """The spellings of all orders in which weights number the classes `names`; [] for unknown ones.

    Only the Kinetics data sets have weights in several orders that nothing tells apart.
    """
    for dataset, (_, others) in _DATASETS.items():
        if "published" in others and set(names) == set(_usual_names(dataset)):
            return [dataset, *(f"{dataset}-{order}" for order in others)]
    return []


def usual_order(names: Iterable[str]) -> list[str]:
    """`names` in the usual order of the known dataset that has just these; else in the alphabet's."""
    alphabetical = sorted(names)
    for dataset in _DATASETS:
        usual = class_names(dataset)
        if sorted(usual) == alphabetical:
            return usual
    return alphabetical


def mirror_pairs(text: str) -> list[tuple[str, str]]:
    """Pairs of class names that a mirrored video exchanges, as tuples in index order.

    They become each other when "left" and "right", and "clockwise" and "counter-clockwise", change
    places. `text` is what `named_classes` takes; a dataset without sides has none.
    """
    return flips.mirror_pairs(named_classes(text))


def places(names: Iterable[str], order: Iterable[str]) -> list[int]:
    """The index in `order` of each of `names`, which it must hold."""
    index = {name: place for place, name in enumerate(order)}
    return [index[name] for name in names]


def name_differences(
    first: Sequence[str], second: Sequence[str], first_owner: str, second_owner: str
) -> list[str]:
    """Lines that name what only one of two lists of class names has, three a side at most."""
    sides = ((first, second, first_owner), (second, first, second_owner))
    lines = []
    for own, other, owner in sides:
        others = set(other)
        alone = [repr(name) for name in own if name not in others]
        if alone:
            lines.append(f"  only in {owner}: {name_some(alone)}")
    return lines


def stand_ins(count: int) -> list[str]:
    """Names for classes that nobody named."""
    return [f"class {index}" for index in range(count)]


def are_stand_ins(names: list[str]) -> bool:
    """Whether these are no names of anybody."""
    return names == stand_ins(len(names))


def _known_orders() -> dict[str, tuple[str, str]]:
    """Spelling -> (dataset, order), the usual ones first."""
    usual = {dataset: (dataset, USUAL) for dataset in _DATASETS}
    others = {
        f"{dataset}-{order}": (dataset, order)
        for dataset, (_, orders) in _DATASETS.items()
        for order in orders
    }
    return usual | others


@cache
def _usual_names(dataset: str) -> tuple[str, ...]:
    return tuple(read_class_names(_FOLDER / _DATASETS[dataset][0]))


@cache
def _indices(filename: str) -> tuple[int, ...]:
    text = (_FOLDER / filename).read_text(encoding="utf-8")
    return tuple(int(number) for number in text.split())
