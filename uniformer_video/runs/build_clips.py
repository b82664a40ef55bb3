"""Data sets, loaders and augmentation by a config: records in, batches of clips out."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.data.clips.images import ImageAugmentation
from uniformer_video.data.clips.label_maps import LabelMaps
from uniformer_video.data.clips.masked import MaskedAugmentation
from uniformer_video.data.clips.pixels import Size
from uniformer_video.data.clips.token_labelled import TokenLabelledAugmentation
from uniformer_video.data.clips.train_views import TrainAugmentation
from uniformer_video.data.decoding.cache import FrameCache
from uniformer_video.data.decoding.index_store import IndexStore
from uniformer_video.data.lists.flips import mirror_pairs, one_sided
from uniformer_video.data.lists.formats import holds_masks
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset, TrainDataset, record_labels
from uniformer_video.data.loading.loader import (
    TrainLoader,
    TrainPlan,
    resolve_workers,
    sampling_weights,
)
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_masks import build_mask_reader
from uniformer_video.runs.build_task import build_task
from uniformer_video.runs.check import is_of_images
from uniformer_video.zoo.registry import find_model


def build_train_dataset(
    cfg: CfgNode,
    records: Sequence[VideoRecord],
    class_names: Sequence[str],
    faults: dict[str, str] | None = None,
    cache: FrameCache | None = None,
    label_maps: LabelMaps | None = None,
    frame_index: IndexStore | None = None,
) -> TrainDataset:
    """Random augmented clips; `faults` and `frame_index` as in `Data`, the others as in `TrainDataset`."""
    protocol = Protocol.from_cfg(cfg)
    return TrainDataset(
        records,
        protocol.sampling,
        build_augmentation(cfg, class_names),
        cfg.RNG_SEED,
        copies=cfg.AUG.NUM_SAMPLE if cfg.AUG.ENABLE else 1,
        backend=protocol.decoder,
        label_tensor=partial(build_task(cfg).label_tensor, num_classes=len(class_names)),
        faults=faults,
        decode_short_side=cfg.DATA.DECODE_SHORT_SIDE,
        cache=cache,
        label_maps=label_maps,
        read_label=_label_reader(cfg, len(class_names)),
        frame_index=frame_index,
    )


def _label_reader(cfg: CfgNode, num_classes: int) -> Callable[[VideoRecord, Size], Any]:
    """What gives the label that the augmentation of a record takes: its classes, or its mask."""
    if holds_masks(cfg.TRAIN.DATASET):
        return build_mask_reader(cfg, num_classes).read
    return record_labels


def build_train_loader(cfg: CfgNode, data: Data, ranks: Ranks) -> TrainLoader:
    """Batches of augmented clips for this process."""
    dataset = build_train_dataset(
        cfg,
        data.train,
        data.class_names,
        data.faults,
        data.cache,
        data.label_maps,
        data.frame_index,
    )
    slots = cfg.NUM_GPUS * cfg.NUM_SHARDS * cfg.SOLVER.ACCUMULATION_STEPS
    plan = TrainPlan(
        len(data.train),
        slots,
        cfg.TRAIN.BATCH_SIZE // cfg.NUM_GPUS,
        cfg.RNG_SEED,
        sampling_weights(data.train, cfg.DATA.BALANCE),
        repeats=cfg.AUG.REPEATED if cfg.AUG.ENABLE else 1,
        noun=data.medium.name,
    )
    workers = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
    own_slots = ranks.own_slots(slots)
    return TrainLoader(dataset, plan, own_slots, workers, cfg.DATA_LOADER.TIMEOUT)


def build_augmentation(
    cfg: CfgNode, class_names: Sequence[str]
) -> TrainAugmentation | MaskedAugmentation:
    """What training does to clips."""
    on = cfg.AUG.ENABLE
    if holds_masks(cfg.TRAIN.DATASET):
        settings, mode = cfg.SEGMENTATION, cfg.DATA.FLIP
        return MaskedAugmentation(
            crop_size=cfg.DATA.TRAIN_CROP_SIZE,
            scale=tuple(settings.SCALE),
            ratio_range=tuple(settings.RATIO_RANGE),
            max_class_share=settings.MAX_CLASS_SHARE,
            flip=cfg.DATA.RANDOM_FLIP if mode == "auto" else mode == "all",
            photometric=settings.PHOTOMETRIC,
            normalise=Protocol.from_cfg(cfg).views.normalise,
            on_device=cfg.AUG.ON_DEVICE,
        )
    relative = cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE
    augmentation = ImageAugmentation if is_of_images(cfg) else TrainAugmentation
    if cfg.TOKEN_LABELS.ENABLE:
        augmentation = TokenLabelledAugmentation
    return augmentation(
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
        policy=cfg.AUG.AA_TYPE if on else "",
        interpolation=cfg.AUG.INTERPOLATION,
        color_jitter=cfg.AUG.COLOR_JITTER if on else 0.0,
        area=tuple(relative) if relative else None,
        ratio=tuple(cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE),
        scales=tuple(cfg.DATA.TRAIN_JITTER_SCALES),
        **_flips(cfg, class_names),
        erasing=cfg.AUG.RE_PROB if on else 0.0,
        normalise=Protocol.from_cfg(cfg).views.normalise,
        on_device=cfg.AUG.ON_DEVICE,
    )


def clip_shape(cfg: CfgNode, batch: int = 1) -> tuple[int, ...]:
    """What a model is given in training: so many clips `[B, 3, T, H, W]`, or images `[B, 3, H, W]`."""
    side = cfg.DATA.TRAIN_CROP_SIZE
    frames = () if find_model(cfg.MODEL.MODEL_NAME).takes_images else (cfg.DATA.NUM_FRAMES,)
    return (batch, 3, *frames, side, side)


def _flips(cfg: CfgNode, class_names: Sequence[str]) -> dict[str, Any]:
    """Which clips may be mirrored, and what that does to their classes."""
    mode, exchange = mirroring(cfg, class_names)
    if mode in ("off", "all"):
        return {"flip": mode == "all"}
    if mode == "skip-directional":
        return {"flip": True, "flip_skipped": tuple(exchange)}
    alone = one_sided(class_names) if mode == "by-names" else []
    skipped = {class_names.index(name) for name in alone} - exchange.keys()
    return {
        "flip": True,
        "flip_labels": tuple(exchange.items()),
        "flip_skipped": tuple(sorted(skipped)),
    }


def mirroring(cfg: CfgNode, class_names: Sequence[str]) -> tuple[str, dict[int, int]]:
    """What DATA.FLIP comes to, no "auto" any more, and `{class: the class of its mirrored videos}`, both
    ways; {} where mirrored videos keep their classes.
    """
    given, mode = cfg.DATA.FLIP_CLASS_PAIRS, cfg.DATA.FLIP
    exchange = class_exchange(given, class_names, "DATA.FLIP_CLASS_PAIRS")
    if mode == "auto":
        flipped = "swap-labels" if given else "all"
        mode = flipped if cfg.DATA.RANDOM_FLIP else "off"
    if mode in ("off", "all"):
        return mode, {}
    exchange = exchange or class_exchange(mirror_pairs(class_names), class_names, "DATA.FLIP")
    if not exchange and mode != "by-names":
        raise ConfigError(
            f"DATA.FLIP is {mode}, and no two classes differ in left and right alone; set "
            "DATA.FLIP_CLASS_PAIRS [[class, class], ...], name the classes, or set DATA.FLIP all or off"
        )
    return mode, exchange


def build_test_dataset(
    cfg: CfgNode,
    records: Sequence[VideoRecord],
    protocol: Protocol,
    playback: str = "forward",
    faults: dict[str, str] | None = None,
    strips: bool = False,
    frame_index: IndexStore | None = None,
) -> EvalDataset:
    """All views of each video; `faults` and `frame_index` as in `Data`, `strips` as in `EvalDataset`."""
    return EvalDataset(
        records,
        protocol.sampling,
        protocol.views,
        protocol.num_clips,
        playback,
        backend=protocol.decoder,
        faults=faults,
        decode_short_side=protocol.decode_short_side,
        strips=strips,
        frame_index=frame_index,
    )


def opposite_classes(cfg: CfgNode, class_names: Sequence[str]) -> dict[int, int]:
    """`{class: the class of its videos played backwards}`, both ways; {} where none are named."""
    return class_exchange(cfg.DATA.OPPOSITE_CLASS_PAIRS, class_names, "DATA.OPPOSITE_CLASS_PAIRS")


def class_exchange(
    pairs: Sequence[Sequence[str | int]], class_names: Sequence[str], key: str
) -> dict[int, int]:
    """`{class: its counterpart}` both ways, from pairs of class names or indices."""
    exchange: dict[int, int] = {}
    for pair in pairs:
        a, b = (_class_index(entry, class_names, key) for entry in pair)
        if a == b or a in exchange or b in exchange:
            raise ConfigError(
                f"{key} names a class of {pair} twice; each stands in one pair at most"
            )
        exchange |= {a: b, b: a}
    return exchange


def _class_index(entry: str | int, class_names: Sequence[str], key: str) -> int:
    if type(entry) is int and 0 <= entry < len(class_names):
        return entry
    if entry in class_names:
        return class_names.index(entry)
    raise ConfigError(
        f"{key} names {entry!r}, which is not a class; the classes are {', '.join(class_names[:8])}"
        + (" ..." if len(class_names) > 8 else "")
    )
