"""The only place that turns a config into objects."""

import platform
from dataclasses import dataclass, field, replace
from importlib import metadata as installed
from pathlib import Path

import torch

from uniformer_video.config import config_text
from uniformer_video.data import records as lists
from uniformer_video.data.dataset import EvalDataset, TrainAugmentation, TrainDataset
from uniformer_video.data.loader import TrainLoader, TrainPlan, resolve_workers
from uniformer_video.data.mixup import Mixup
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.data.transforms import EvalViews, Normalisation
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.models.checkpoint import fit_weights, read_weights
from uniformer_video.models.zoo import build_for_weights, build_uniformer
from uniformer_video.training.optim import CosineSchedule, adamw
from uniformer_video.training.trainer import TrainSettings


@dataclass
class Data:
    """The lists of a run. `notes` are facts that belong in the log and on the report page."""

    class_names: list
    train: list = field(default_factory=list)
    val: list = field(default_factory=list)
    test: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    @property
    def num_classes(self):
        """How many classes the model tells apart."""
        return len(self.class_names)


def build_data(cfg):
    """The `Data` that the config asks for: what it will train, validate and test on, and no more."""
    if not cfg.DATA.PATH_TO_DATA_DIR:
        raise ConfigError(
            "DATA.PATH_TO_DATA_DIR is not set: give a folder with train.csv, val.csv and test.csv, "
            "or, with TRAIN.DATASET folder, a folder with one sub-folder of videos a class"
        )
    tested = cfg.TEST.CHECKPOINT_FILE_PATH
    if cfg.TEST.ENABLE and tested and not Path(tested).is_file():
        raise CheckpointError(f"TEST.CHECKPOINT_FILE_PATH {tested} is not a file")
    splits, names = {}, None
    for split in _needed_splits(cfg):
        splits[split], found_names = _read_split(cfg, split)
        names = names or found_names
    names = _class_names(cfg, names, splits)
    data = Data(names, **splits)
    if cfg.TRAIN.ENABLE and data.num_classes < 2:
        raise DataError(
            f"there is only one class, {names[0]!r}, so there is nothing to learn; is "
            f"{cfg.DATA.PATH_TO_DATA_DIR} the folder that holds the classes?"
        )
    for split, records in splits.items():
        lists.check_labels(records, data.num_classes)
        data.notes += _note_missing(split, records)
    data.notes += _note_overlaps(data)
    return data


def build_model(cfg, num_classes):
    """The model to train, and the `LoadReport` of the weights that it starts from, or None."""
    options = _model_options(cfg)
    name, start = cfg.MODEL.MODEL_NAME, cfg.UNIFORMER.PRETRAIN_NAME
    if not start:
        kernel = cfg.UNIFORMER.LOCAL_KERNEL or None
        return build_uniformer(name, num_classes, local_kernel=kernel, **options), None
    if not Path(start).is_file():
        raise CheckpointError(
            f"UNIFORMER.PRETRAIN_NAME {start} is not a file; download those weights and set it to "
            'their path, or to "" to train from scratch'
        )
    weights = read_weights(start)
    model = _model_for(cfg, weights, num_classes)
    report = fit_weights(
        model,
        weights,
        inflate_mode=cfg.UNIFORMER.INFLATE_MODE,
        adapt_kernel=cfg.UNIFORMER.ADAPT_KERNEL,
        replace_head=True,
    )
    return model, report


def load_tested_model(cfg, path):
    """The model in the checkpoint at `path`, complete, and its `Weights`."""
    weights = read_weights(path)
    model = _model_for(cfg, weights, weights.num_classes)
    fit_weights(model, weights, adapt_kernel=cfg.UNIFORMER.ADAPT_KERNEL)
    return model.eval(), weights


def match_classes(data, weights, fixed=0):
    """`data` with the class order of the checkpoint's names; refuses when the names differ as sets.

    Data without names takes the checkpoint's, and may lack the last classes unless their number is
    `fixed` by the config.
    """
    own = weights.metadata.get("class_names")
    if _unnamed(data.class_names) and data.num_classes < weights.num_classes and not fixed:
        data = replace(data, class_names=own or _stand_ins(weights.num_classes))
    if weights.num_classes != data.num_classes:
        raise CheckpointError(
            f"{weights.path} tells {weights.num_classes} classes apart and the data has "
            f"{data.num_classes}; test on the data it was trained for, or train first"
        )
    if not own and not _unnamed(data.class_names):
        note = (
            "The checkpoint does not name its classes; its outputs were taken to be in the data's "
            "order. Published Kinetics weights use an order of their own, which the lists must follow."
        )
        return replace(data, notes=[*data.notes, note])
    if not own or own == data.class_names or _unnamed(own):
        return data
    if _unnamed(data.class_names):
        return replace(data, class_names=own)
    differing = [n for n in data.class_names if n not in own]
    if differing:
        raise CheckpointError(
            f"{weights.path} has other classes than the data; the data's "
            f"{', '.join(repr(n) for n in differing[:3])} are unknown to it"
        )
    order = [own.index(name) for name in data.class_names]
    note = "The checkpoint orders the classes differently; labels were mapped by name."
    splits = {
        split: [lists.relabel(record, order) for record in getattr(data, split)]
        for split in ("train", "val", "test")
    }
    return Data(own, **splits, notes=[*data.notes, note])


def build_train_loader(cfg, data, ranks):
    """Batches of augmented clips for this process."""
    dataset = TrainDataset(
        data.train,
        build_sampling(cfg),
        build_augmentation(cfg, data.class_names),
        cfg.RNG_SEED,
        copies=cfg.AUG.NUM_SAMPLE if cfg.AUG.ENABLE else 1,
        backend=cfg.DATA.DECODING_BACKEND,
    )
    slots = cfg.NUM_GPUS * cfg.NUM_SHARDS
    plan = TrainPlan(len(data.train), slots, cfg.TRAIN.BATCH_SIZE // cfg.NUM_GPUS, cfg.RNG_SEED)
    workers = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
    return TrainLoader(dataset, plan, ranks.own_slots(slots), workers)


def build_sampling(cfg):
    """How clips are taken from videos."""
    return ClipSampling(
        cfg.DATA.NUM_FRAMES,
        cfg.DATA.SAMPLING_RATE,
        cfg.DATA.SAMPLING,
        cfg.DATA.USE_OFFSET_SAMPLING,
    )


def build_augmentation(cfg, class_names):
    """What training does to clips."""
    on = cfg.AUG.ENABLE
    relative = cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE
    return TrainAugmentation(
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
        policy=cfg.AUG.AA_TYPE if on else "",
        interpolation=cfg.AUG.INTERPOLATION,
        color_jitter=cfg.AUG.COLOR_JITTER if on else 0.0,
        area=tuple(relative) if relative else None,
        ratio=tuple(cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE),
        scales=tuple(cfg.DATA.TRAIN_JITTER_SCALES),
        flip=cfg.DATA.RANDOM_FLIP,
        flip_labels=tuple(
            class_exchange(cfg.DATA.FLIP_CLASS_PAIRS, class_names, "DATA.FLIP_CLASS_PAIRS").items()
        ),
        erasing=cfg.AUG.RE_PROB if on else 0.0,
        normalise=build_normalisation(cfg),
    )


def build_normalisation(cfg):
    """From bytes to what the model sees."""
    return Normalisation(tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD), cfg.DATA.CHANNEL_ORDER)


def build_test_dataset(cfg, records, num_clips, num_crops, playback="forward"):
    """All views of each video."""
    crop = cfg.DATA.TEST_CROP_SIZE
    views = EvalViews(cfg.DATA.TEST_SCALE or crop, crop, num_crops, build_normalisation(cfg))
    backend = cfg.DATA.DECODING_BACKEND
    return EvalDataset(records, build_sampling(cfg), views, num_clips, playback, backend)


def build_mixup(cfg, num_classes):
    """Mixup and cutmix, or None."""
    if not cfg.MIXUP.ENABLE:
        return None
    return Mixup(
        num_classes,
        cfg.MIXUP.ALPHA,
        cfg.MIXUP.CUTMIX_ALPHA,
        cfg.MIXUP.PROB,
        cfg.MIXUP.SWITCH_PROB,
        cfg.MIXUP.LABEL_SMOOTH_VALUE,
    )


def build_optimizer(cfg, model):
    """AdamW with the published parameter groups."""
    return adamw(model, cfg.SOLVER.WEIGHT_DECAY, not cfg.SOLVER.ZERO_WD_POS_EMBED)


def build_schedule(cfg):
    """The learning rate as a function of the epoch."""
    factor = cfg.NUM_SHARDS if cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS else 1
    return CosineSchedule(
        base_lr=cfg.SOLVER.BASE_LR * factor,
        end_lr=cfg.SOLVER.COSINE_END_LR * factor,
        warmup_start_lr=cfg.SOLVER.WARMUP_START_LR * factor,
        warmup_epochs=cfg.SOLVER.WARMUP_EPOCHS,
        max_epoch=cfg.SOLVER.MAX_EPOCH,
    )


def build_train_settings(cfg, num_classes):
    """The numbers of the training loop."""
    return TrainSettings(
        num_classes=num_classes,
        max_epoch=cfg.SOLVER.MAX_EPOCH,
        seed=cfg.RNG_SEED,
        label_smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE,
        clip_gradient=cfg.SOLVER.CLIP_GRADIENT,
        eval_period=cfg.TRAIN.EVAL_PERIOD,
        checkpoint_period=cfg.TRAIN.CHECKPOINT_PERIOD,
        checkpoint_seconds=cfg.TRAIN.CHECKPOINT_MINUTES * 60,
        max_bad_ratio=cfg.DATA.MAX_BAD_RATIO,
        max_nonfinite=cfg.TRAIN.MAX_NONFINITE,
    )


def build_metadata(cfg, model, class_names):
    """What a checkpoint says about itself, in plain types: enough to predict with it."""
    return {
        "model": {"name": cfg.MODEL.MODEL_NAME, "arguments": dict(model.arguments)},
        "class_names": list(class_names),
        "input": {
            "num_frames": cfg.DATA.NUM_FRAMES,
            "frame_stride": cfg.DATA.SAMPLING_RATE,
            "rule": cfg.DATA.SAMPLING,
            "offset": cfg.DATA.USE_OFFSET_SAMPLING,
            "short_side": cfg.DATA.TEST_SCALE or cfg.DATA.TEST_CROP_SIZE,
            "crop_size": cfg.DATA.TEST_CROP_SIZE,
            "mean": list(cfg.DATA.MEAN),
            "std": list(cfg.DATA.STD),
            "channel_order": cfg.DATA.CHANNEL_ORDER,
        },
        "test": {
            "num_clips": cfg.TEST.NUM_ENSEMBLE_VIEWS,
            "num_crops": cfg.TEST.NUM_SPATIAL_CROPS,
            "score": cfg.TEST.SCORE,
        },
        "config": config_text(cfg),
        "versions": versions(),
    }


def versions():
    """Versions of what the numbers depend on."""
    packages = ("uniformer-video", "torch", "numpy", "av", "decord", "fvcore")
    found = {}
    for package in packages:
        try:
            found[package] = installed.version(package)
        except installed.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), **found, "device": device_name()}


def device_name():
    """The GPU's name, or the processor architecture."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()})"


def opposite_classes(cfg, class_names):
    """`{class: the class of its videos played backwards}`, both ways; {} where none are named."""
    return class_exchange(cfg.DATA.OPPOSITE_CLASS_PAIRS, class_names, "DATA.OPPOSITE_CLASS_PAIRS")


def class_exchange(pairs, class_names, key):
    """`{class: its counterpart}` both ways, from pairs of class names or indices."""
    exchange = {}
    for pair in pairs:
        a, b = (_class_index(entry, class_names, key) for entry in pair)
        if a == b or a in exchange or b in exchange:
            raise ConfigError(
                f"{key} names a class of {pair} twice; each stands in one pair at most"
            )
        exchange |= {a: b, b: a}
    return exchange


def _class_index(entry, class_names, key):
    if type(entry) is int and 0 <= entry < len(class_names):
        return entry
    if entry in class_names:
        return class_names.index(entry)
    raise ConfigError(
        f"{key} names {entry!r}, which is not a class; the classes are {', '.join(class_names[:8])}"
        + (" ..." if len(class_names) > 8 else "")
    )


def _model_options(cfg):
    options = {
        "embed_dims": cfg.UNIFORMER.EMBED_DIM,
        "depths": cfg.UNIFORMER.DEPTH,
        "head_dim": cfg.UNIFORMER.HEAD_DIM,
        "mlp_ratio": cfg.UNIFORMER.MLP_RATIO,
    }
    options = {key: value for key, value in options.items() if value}
    options["drop_path_rate"] = cfg.UNIFORMER.DROP_DEPTH_RATE
    if cfg.MODEL.USE_CHECKPOINT:
        options["checkpoint_blocks"] = cfg.MODEL.CHECKPOINT_NUM
    return options


def _model_for(cfg, weights, num_classes):
    """A video model by the config, with what the checkpoint alone knows taken from it."""
    return build_for_weights(
        weights,
        cfg.MODEL.MODEL_NAME,
        num_classes,
        cfg.UNIFORMER.LOCAL_KERNEL or None,
        cfg.UNIFORMER.ADAPT_KERNEL,
        **_model_options(cfg),
    )


def _needed_splits(cfg):
    splits = []
    if cfg.TRAIN.ENABLE:
        splits += ["train", "val"] if cfg.TRAIN.EVAL_PERIOD else ["train"]
    return [*splits, "test"] if cfg.TEST.ENABLE else splits


def _read_split(cfg, split):
    """(records, class names or None) of one split, in the format that the config names."""
    is_test = split == "test"
    kind = (is_test and cfg.TEST.DATASET) or cfg.TRAIN.DATASET
    root = Path(cfg.DATA.PATH_TO_DATA_DIR)
    return (
        _read_kinetics(cfg, root, split) if kind == "kinetics" else _read_folder(cfg, root, split)
    )


def _read_kinetics(cfg, root, split):
    path = root / f"{split}.csv"
    if split == "test" and not path.is_file():
        path = root / "val.csv"
    if root.is_file():
        raise DataError(
            f"DATA.PATH_TO_DATA_DIR {root} is a file; give the folder that it stands in, {root.parent}"
        )
    if not path.is_file():
        wanted = "val.csv (or test.csv)" if split == "test" else f"{split}.csv"
        raise DataError(
            f"The videos are not prepared: there is no {wanted} in {root}.\n"
            "It lists the videos, one `path,label` a line; set DATA.PATH_TO_DATA_DIR if it is elsewhere.\n"
            f"How to get and prepare them: {_guide(root)}"
        )
    names_file = cfg.DATA.CLASS_NAMES or root / "classes.txt"
    if cfg.DATA.CLASS_NAMES and not Path(names_file).is_file():
        raise DataError(
            f"DATA.CLASS_NAMES {names_file} is not a file; it holds one class name a line"
        )
    names = None
    if cfg.DATA.CLASS_NAMES or Path(names_file).is_file():
        names = lists.read_class_names(names_file)
    prefix, separator = cfg.DATA.PATH_PREFIX, cfg.DATA.PATH_LABEL_SEPARATOR
    return lists.read_csv(path, prefix, separator), names


def _read_folder(cfg, root, split):
    """`root/train`, `root/val`, `root/test` where they exist; else the seed splits off what lacks."""
    divided = (root / "train").is_dir()
    records, names = lists.read_folder(root / "train" if divided else root)
    misnamed = sorted({"test", "val", "valid", "validation"} & {name.lower() for name in names})
    if misnamed and not divided:
        raise DataError(
            f"{root} has a folder {misnamed[0]} and none called train; name the parts train, val and "
            "test, with one sub-folder a class in each, or put the classes side by side"
        )
    if divided and split != "train":
        for part in dict.fromkeys((split, "val")):
            if (root / part).is_dir():
                return lists.read_folder(root / part, names)[0], names
    train, val = lists.split_records(records, cfg.DATA.VAL_RATIO, cfg.RNG_SEED)
    if divided and split == "train" and (root / "val").is_dir():
        return records, names
    chosen = train if split == "train" else val
    if not chosen:
        raise DataError(
            f"{root} leaves no videos for {split}: it holds {len(records)} and DATA.VAL_RATIO is "
            f"{cfg.DATA.VAL_RATIO:g}; add videos or change the ratio"
        )
    return chosen, names


def _guide(root):
    own = root / "README.md"
    return str(own) if own.is_file() else "datasets/README.md"


def _class_names(cfg, names, splits):
    """Names in index order; numbers stand in where nobody named the classes."""
    wanted = cfg.MODEL.NUM_CLASSES
    if names and wanted and len(names) != wanted:
        raise ConfigError(
            f"MODEL.NUM_CLASSES is {wanted} and there are {len(names)} class names; "
            "make them agree, or set MODEL.NUM_CLASSES 0"
        )
    if names:
        return names
    known = wanted or 1 + max(record.label for records in splits.values() for record in records)
    return _stand_ins(max(known, 1))


def _note_overlaps(data):
    """Videos that stand in two lists make figures flatter."""
    paths = {split: {r.path for r in getattr(data, split)} for split in ("train", "val", "test")}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = len(paths[first] & paths[second])
        if shared:
            yield f"{shared} of {len(paths[second])} {second} videos are {first} videos too."


def _stand_ins(count):
    return [f"class {index}" for index in range(count)]


def _unnamed(names):
    return names == _stand_ins(len(names))


def _note_missing(split, records):
    missing = lists.missing_files(records)
    if len(missing) == len(records):
        raise DataError(
            f"none of the {len(records)} {split} videos exist; the first is {missing[0].path} "
            f"(from {missing[0].source}); set DATA.PATH_PREFIX to the folder that the paths start from"
        )
    if not missing:
        return []
    shown = ", ".join(record.path for record in missing[:3])
    return [f"{len(missing)} of {len(records)} {split} videos do not exist: {shown}"]
