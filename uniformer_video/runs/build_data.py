"""The lists that a config asks for: which videos, which classes, what is worth a note."""

from dataclasses import dataclass, field

from fvcore.common.config import CfgNode

from uniformer_video.data.clips.label_maps import LabelMaps
from uniformer_video.data.decoding.cache import FrameCache
from uniformer_video.data.decoding.index_store import IndexStore
from uniformer_video.data.lists.check import check_list, check_medium, note_overlaps
from uniformer_video.data.lists.class_counts import count_unnamed, note_absent_classes
from uniformer_video.data.lists.class_names import places, stand_ins
from uniformer_video.data.lists.formats import MASK, list_formats
from uniformer_video.data.lists.media import VIDEO, Medium
from uniformer_video.data.lists.published import name_missing, note_missing
from uniformer_video.data.lists.records import VideoRecord, noun_of, relabel
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.runs.build_lists import read_lists
from uniformer_video.runs.build_task import build_task
from uniformer_video.runs.check import check_data_settings, medium_of_lists
from uniformer_video.runs.try_decoder import try_decoder
from uniformer_video.weights.file_kinds import check_place
from uniformer_video.words import name_some
from uniformer_video.zoo.published import local_file, may_be_fetched


@dataclass
class Data:
    """The lists of a run. `notes` are facts that belong in the log and on the report page.

    faults: {path: reason} of videos that hung or crashed their decoder in this run. lacking: (list, video) of
    the published videos that the lists lack, where DATA.PUBLISHED_LISTS tells. cache: where frames of the
    training videos are kept (DATA.CACHE_GB). frame_index: what is known of the packets of all videos
    (DATA.FRAME_INDEX). label_maps: of the training pictures (TOKEN_LABELS). medium: what the lists hold.
    """

    class_names: list[str]
    train: list[VideoRecord] = field(default_factory=list)
    val: list[VideoRecord] = field(default_factory=list)
    test: list[VideoRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    lacking: list[tuple[str, str]] = field(default_factory=list)
    cache: FrameCache | None = None
    frame_index: IndexStore | None = None
    label_maps: LabelMaps | None = None
    medium: Medium = VIDEO

    @property
    def num_classes(self) -> int:
        """How many classes the model tells apart."""
        return len(self.class_names)


def build_data(cfg: CfgNode) -> Data:
    """The `Data` that the config asks for: what it will train, validate and test on, and no more."""
    check_data_settings(cfg)
    task = build_task(cfg)
    if not cfg.DATA.PATH_TO_DATA_DIR:
        used, *others = sorted(list_formats(), key=lambda known: known.name != cfg.TRAIN.DATASET)
        further = ", ".join(f"{known.name} ({known.holds})" for known in others)
        raise ConfigError(
            f"DATA.PATH_TO_DATA_DIR is not set: give the folder that holds, for TRAIN.DATASET {used.name}, "
            f"{used.holds}; there are also {further}"
        )
    tested = cfg.TEST.CHECKPOINT_FILE_PATH
    if cfg.TEST.ENABLE and tested and not may_be_fetched(tested):
        try:
            check_place(local_file(tested), tested)
        except CheckpointError as error:
            raise CheckpointError(f"TEST.CHECKPOINT_FILE_PATH: {error}") from None
    names: list[str] | None = None
    splits: dict[str, list[VideoRecord]] = {}
    notes: dict[str, None] = {}
    for split, listed in read_lists(cfg, _needed_splits(cfg)).items():
        _check_named_alike(listed, names, splits, split)
        names = names or listed.class_names
        splits[split] = _in_order(listed, names, split)
        notes |= dict.fromkeys(listed.notes)  # of a folder that is split, each part has the same
    names = _class_names(cfg, names, splits)
    train, val, test = (splits.get(split, []) for split in ("train", "val", "test"))
    medium = medium_of_lists(cfg)
    data = Data(names, train, val, test, list(notes), medium=medium)
    if test and cfg.TEST.SPLIT != "test":
        data.notes.append(
            f"The {medium.name}s tested are those of the {cfg.TEST.SPLIT} list (TEST.SPLIT)."
        )
    for split, records in splits.items():
        data.notes += check_medium(split, records)
        task.check_records(records, data.num_classes)
    if cfg.TRAIN.ENABLE and data.num_classes < task.min_classes:
        remedy = (
            "the background is a class, too"
            if task.label_kind == MASK
            else f"is {cfg.DATA.PATH_TO_DATA_DIR} the folder that holds the classes?"
        )
        raise DataError(
            f"there is only one class, {names[0]!r}, so there is nothing to learn; {remedy} "
            f"{' '.join(data.notes)}".strip()
        )
    if cfg.TRAIN.ENABLE and not any(task.is_labelled(record) for record in data.train):
        raise DataError(
            f"no {medium.name} of the training list has a label, so there is nothing to learn; is the column "
            "label filled?"
        )
    for split, records in splits.items():
        allowed = cfg.DATA.MAX_BAD_RATIO if split == "train" else 1.0
        records, told = check_list(split, records, allowed, data.class_names)
        setattr(data, split, records)
        data.notes += told
    lists = {split: getattr(data, split) for split in splits}
    try_decoder(cfg, lists)
    data.notes += note_overlaps(lists)
    data.notes += note_absent_classes(lists, data.class_names)
    if published := cfg.DATA.PUBLISHED_LISTS:
        split_number = cfg.DATA.SPLIT_NUMBER
        told, data.lacking = name_missing(data.class_names, lists, published, split_number)
        data.notes += told
    else:
        data.notes += note_missing(data.class_names, lists)
    return data


def _needed_splits(cfg):
    splits = []
    if cfg.TRAIN.ENABLE:
        splits += ["train", "val"] if cfg.TRAIN.EVAL_PERIOD else ["train"]
    return [*splits, "test"] if cfg.TEST.ENABLE else splits


def _check_named_alike(listed, names, splits, split):
    """Refuse bare numbers beside class names: nothing tells which number is which class."""
    if not splits or bool(listed.class_names) == bool(names):
        return
    first = next(iter(splits))
    named, numbered = (first, split) if names else (split, first)
    raise DataError(
        f"the {named} {noun_of(listed.records)}s have class names and the {numbered} list has bare "
        "numbers, so nothing tells which number is which class; name the classes in classes.txt or "
        "DATA.CLASS_NAMES"
    )


def _in_order(listed, names, split):
    """The records of a `VideoList` with their labels in the order of `names`, by the names of its own.

    Raises `DataError` where these are other classes.
    """
    own = listed.class_names
    if not own or list(own) == list(names):
        return listed.records
    if unknown := sorted(set(own) - set(names)):
        raise DataError(
            f"the {noun_of(listed.records)}s of the split {split} are of the class "
            f"{name_some([*map(repr, unknown)])}, which the splits before it do not name; their classes are "
            f"{name_some(names, 8)}; name all classes in classes.txt or DATA.CLASS_NAMES, or mend the data"
        )
    return [relabel(record, places(own, names)) for record in listed.records]


def _class_names(cfg, names, splits):
    """Names in index order; numbers stand in where nobody named the classes.

    The videos of a test alone may show fewer classes than the model has.
    """
    wanted = cfg.MODEL.NUM_CLASSES
    may_lack = not (cfg.TRAIN.ENABLE or cfg.DATA.CLASS_NAMES)
    if names and wanted and (len(names) > wanted or (len(names) < wanted and not may_lack)):
        raise ConfigError(
            f"MODEL.NUM_CLASSES is {wanted} and there are {len(names)} class names; "
            "make them agree, or set MODEL.NUM_CLASSES 0"
        )
    if names:
        return names
    if cfg.TRAIN.ENABLE and not wanted and any(r.mask for own in splits.values() for r in own):
        raise DataError(
            "nothing names the classes that the masks show; put classes.txt, a name a line, into "
            f"{cfg.DATA.PATH_TO_DATA_DIR}, or set DATA.CLASS_NAMES to such a file, or MODEL.NUM_CLASSES"
        )
    return stand_ins(wanted or count_unnamed(splits))
