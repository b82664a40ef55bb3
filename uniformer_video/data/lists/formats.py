"""Formats of lists by name: how each is read, what its videos can, which settings it reads.

The package knows them from this registry alone, so that a program can add its own:

    register_format(ListFormat("pairs", read_pairs, "pairs.txt", {"DATA.PATH_PREFIX": "prefix"}))

after which `TRAIN.DATASET pairs` is a setting like any other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from uniformer_video.config.foreign.absent import refuse_dataset
from uniformer_video.data.lists import layouts, masked
from uniformer_video.data.lists.records import VideoList
from uniformer_video.errors import ConfigError, choice_error, quote
from uniformer_video.plugins import check_registered, is_defined_again

MASK = "mask"  # the kind of label that is a file with the class of each pixel


@dataclass(frozen=True)
class ListFormat:
    """What `TRAIN.DATASET` and `TEST.DATASET` name.

    name: the word for it. read: `read(root, split, **settings)` gives the `VideoList` of `split`, which is
    "train", "val" or "test"; `root` is `DATA.PATH_TO_DATA_DIR`, a `Path`, or an address as text. It raises
    `DataError` for lists that are wrong, `AbsentError` (or `FileNotFoundError`) for absent ones. holds: what
    the folder holds, for messages. settings: the settings that `read` gets, key -> name of its argument.

    needs_decoder: its entries are video files, not pictures. label_kinds: the kinds of labels that its lists
    can hold, in the words of a task's `label_kind`: "one" a video, "any" number, or a "mask" of pixels.
    times_known: it is known when frames are shown, in seconds. in_shards: videos lie in tar files, which not
    every decoder reads. takes_address: the folder may be an address, as of a web server. medium: what is
    listed, "video" or "image", a file of one picture each. zero_is_other: of masks, 0 is no class and 1 the
    first one.
    """

    name: str
    read: Callable[..., VideoList]
    holds: str
    settings: Mapping[str, str] = field(default_factory=dict)
    needs_decoder: bool = True
    label_kinds: tuple[str, ...] = ("one",)
    times_known: bool = True
    in_shards: bool = False
    takes_address: bool = False
    medium: str = "video"
    zero_is_other: bool = False


def register_format(list_format: ListFormat) -> None:
    """Make a format known by its name, which must be free, or of the same code that is run again.

    Raises `ConfigError`, also for what is no `ListFormat` or has no function to read by.
    """
    if not isinstance(list_format, ListFormat):
        raise ConfigError(f"{quote(list_format)} is no ListFormat(name, read, holds)")
    check_registered("list format", list_format.name, list_format.read)
    known = _FORMATS.get(list_format.name)
    if known and not is_defined_again(known.read, list_format.read):
        raise ConfigError(
            f"there is a list format {list_format.name!r} already; choose another name"
        )
    _FORMATS[list_format.name] = list_format


def list_formats() -> tuple[ListFormat, ...]:
    """All formats, in the order in which they were registered."""
    return tuple(_FORMATS.values())


def find_format(name: str, setting: str = "TRAIN.DATASET") -> ListFormat:
    """The format of this name; else a `ConfigError` that names `setting` and the nearest format."""
    if name not in _FORMATS:
        refuse_dataset(name, setting)
        raise choice_error(setting, name, _FORMATS)
    return _FORMATS[name]


def medium_of(name: str) -> str:
    """What the lists of the format of this name hold, "video" or "image"; "video" where nobody knows it."""
    return _FORMATS[name].medium if name in _FORMATS else "video"


def holds_masks(name: str) -> bool:
    """Whether the lists of the format of this name give each picture a mask; False where nobody knows it."""
    return name in _FORMATS and MASK in _FORMATS[name].label_kinds


_NAMES = {"DATA.CLASS_NAMES": "class_names"}
_PATHS = {"DATA.PATH_PREFIX": "prefix", **_NAMES}
_SPLITS = {"DATA.SPLIT_NUMBER": "split_number", **_PATHS}
_FOLDERS = {
    "DATA.VAL_RATIO": "val_ratio",
    "RNG_SEED": "seed",
    "DATA.GROUP_PATTERN": "group_pattern",
    **_NAMES,
}
_CSV = {"DATA.PATH_LABEL_SEPARATOR": "separator", **_PATHS}
_FORMATS: dict[str, ListFormat] = {}

for _format in (
    ListFormat(
        "kinetics",
        layouts.read_kinetics,
        "train.csv, val.csv and test.csv",
        _CSV,
        label_kinds=("one", "any"),
    ),
    ListFormat("folder", layouts.read_class_folders, "one sub-folder of videos a class", _FOLDERS),
    ListFormat(
        "frames",
        layouts.read_frames,
        "lists of folders of extracted frames",
        {
            "DATA.LABEL_PATH_TEMPLATE": "list_template",
            "DATA.IMAGE_TEMPLATE": "image_template",
            **_PATHS,
        },
        needs_decoder=False,
        times_known=False,
    ),
    ListFormat(
        "shards",
        layouts.read_shard_folders,
        "folders of tar files, each with its index.csv",
        _NAMES,
        label_kinds=("one", "any"),
        in_shards=True,
        takes_address=True,
    ),
    ListFormat("ssv2-json", layouts.read_ssv2, "the official json files and videos", _PATHS),
    ListFormat("ucf101", layouts.read_ucf101, "the official split files and videos", _SPLITS),
    ListFormat("hmdb51", layouts.read_hmdb51, "the official split files and videos", _SPLITS),
    ListFormat(
        "imagefolder",
        layouts.read_image_folders,
        "one sub-folder of images a class",
        _FOLDERS,
        needs_decoder=False,
        times_known=False,
        medium="image",
    ),
    ListFormat(
        "image-csv",
        layouts.read_image_csv,
        "train.csv, val.csv and test.csv of images",
        _CSV,
        needs_decoder=False,
        label_kinds=("one", "any"),
        times_known=False,
        medium="image",
    ),
    ListFormat(
        "image-shards",
        layouts.read_image_shards,
        "folders of tar files of images, each with its index.csv",
        _NAMES,
        needs_decoder=False,
        label_kinds=("one", "any"),
        times_known=False,
        in_shards=True,
        takes_address=True,
        medium="image",
    ),
    ListFormat(
        "masks",
        masked.read_mask_folders,
        "train/images and train/masks, val/images and val/masks",
        _FOLDERS,
        needs_decoder=False,
        label_kinds=(MASK,),
        times_known=False,
        medium="image",
    ),
    ListFormat(
        "mask-csv",
        masked.read_mask_csv,
        "train.csv, val.csv and test.csv of images and their masks",
        _PATHS,
        needs_decoder=False,
        label_kinds=(MASK,),
        times_known=False,
        medium="image",
    ),
    ListFormat(
        "ade20k",
        masked.read_ade20k,
        "images and annotations, each with training and validation",
        needs_decoder=False,
        label_kinds=(MASK,),
        times_known=False,
        medium="image",
        zero_is_other=True,
    ),
):
    register_format(_format)
