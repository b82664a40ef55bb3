"""The only place, with `build_data.py`, that turns a config into objects."""

import torch

from uniformer_video.config.settings import config_text
from uniformer_video.config.unused import report_unused, unused_settings
from uniformer_video.data.clips.augment import parse_policy
from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.lists.balance import class_weights
from uniformer_video.data.lists.flips import mirror_pairs
from uniformer_video.data.loading.dataset import EvalDataset, TrainAugmentation, TrainDataset
from uniformer_video.data.loading.loader import (
    TrainLoader,
    TrainPlan,
    resolve_workers,
    sampling_weights,
)
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import ConfigError
from uniformer_video.runs.class_order import arrange_head, check_label_kind
from uniformer_video.training.mixup import Mixup
from uniformer_video.training.objective import AnyLabels, OneLabel
from uniformer_video.training.optim import CosineSchedule, adamw
from uniformer_video.training.state import TrainState
from uniformer_video.training.trainer import TrainSettings
from uniformer_video.versions import versions
from uniformer_video.weights.checkpoint import fit_weights, read_weights
from uniformer_video.zoo.create import (
    build_for_weights,
    build_network,
    is_peer,
    variant,
    video_counterpart,
)
from uniformer_video.zoo.published import local_file


def check_settings(cfg):
    """What can be said of settings before any list is read: errors, and a warning of those without effect.

    Raises `ConfigError`.
    """
    if cfg.TRAIN.ENABLE and cfg.AUG.ENABLE and cfg.AUG.AA_TYPE:
        parse_policy(cfg.AUG.AA_TYPE)
    report_unused(cfg, unused_settings(cfg))


def build_model(cfg, num_classes, class_names=()):
    """The model to train, and the `LoadReport` of the weights that it starts from, or None.

    `class_names` are the data's: a classifier that the weights bring is put into their order.
    """
    start = cfg.UNIFORMER.PRETRAIN_NAME
    if not start:
        options = _model_options(cfg)
        if cfg.UNIFORMER.LOCAL_KERNEL and not is_peer(cfg.MODEL.MODEL_NAME):
            options["local_kernel"] = cfg.UNIFORMER.LOCAL_KERNEL
        return build_network(cfg.MODEL.MODEL_NAME, num_classes, **options), None
    weights = read_weights(local_file(start))
    model = _model_for(cfg, weights, num_classes)
    weights, line = arrange_head(weights, model.head_keys, list(class_names))
    report = fit_weights(
        model,
        weights,
        inflate_mode=cfg.UNIFORMER.INFLATE_MODE,
        adapt_kernel=cfg.UNIFORMER.ADAPT_KERNEL,
        replace_head=True,
    )
    report.notes += [line] if line else []
    return model, report


def fetch_weights(source, ranks):
    """The local file of weights given as a path, an address or a published name; one rank downloads."""
    ranks.on_main(lambda: str(local_file(source)))
    return local_file(source)


def load_tested_model(cfg, path):
    """The model in the checkpoint at `path`, complete, and its `Weights`."""
    weights = read_weights(path)
    check_label_kind(weights, cfg.DATA.MULTI_LABEL)
    model = _model_for(cfg, weights, weights.num_classes)
    fit_weights(model, weights, adapt_kernel=cfg.UNIFORMER.ADAPT_KERNEL)
    return model.eval(), weights


def build_train_dataset(cfg, records, class_names, faults=None):
    """Random augmented clips; `faults` as in `Data`."""
    return TrainDataset(
        records,
        build_sampling(cfg),
        build_augmentation(cfg, class_names),
        cfg.RNG_SEED,
        copies=cfg.AUG.NUM_SAMPLE if cfg.AUG.ENABLE else 1,
        backend=cfg.DATA.DECODING_BACKEND,
        columns=len(class_names) if cfg.DATA.MULTI_LABEL else 0,
        faults=faults,
        short_side=cfg.DATA.DECODE_SHORT_SIDE,
    )


def build_train_loader(cfg, data, ranks):
    """Batches of augmented clips for this process."""
    dataset = build_train_dataset(cfg, data.train, data.class_names, data.faults)
    slots = cfg.NUM_GPUS * cfg.NUM_SHARDS
    plan = TrainPlan(
        len(data.train),
        slots,
        cfg.TRAIN.BATCH_SIZE // cfg.NUM_GPUS,
        cfg.RNG_SEED,
        sampling_weights(data.train, cfg.DATA.BALANCE),
    )
    workers = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
    own_slots = ranks.own_slots(slots)
    return TrainLoader(dataset, plan, own_slots, workers, cfg.DATA_LOADER.TIMEOUT)


def build_sampling(cfg):
    """How clips are taken from videos."""
    return ClipSampling(
        cfg.DATA.NUM_FRAMES,
        cfg.DATA.SAMPLING_RATE,
        cfg.DATA.SAMPLING,
        cfg.DATA.USE_OFFSET_SAMPLING,
        cfg.DATA.TARGET_FPS,
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
        **_flips(cfg, class_names),
        erasing=cfg.AUG.RE_PROB if on else 0.0,
        normalise=build_normalisation(cfg),
        on_device=cfg.AUG.ON_DEVICE,
    )


def _flips(cfg, class_names):
    """Which clips may be mirrored, and what that does to their classes."""
    given, mode = cfg.DATA.FLIP_CLASS_PAIRS, cfg.DATA.FLIP
    exchange = class_exchange(given, class_names, "DATA.FLIP_CLASS_PAIRS")
    if mode == "auto":
        flipped = "swap-labels" if given else "all"
        mode = flipped if cfg.DATA.RANDOM_FLIP else "off"
    if mode in ("off", "all"):
        return {"flip": mode == "all"}
    exchange = exchange or class_exchange(mirror_pairs(class_names), class_names, "DATA.FLIP")
    if not exchange:
        raise ConfigError(
            f"DATA.FLIP is {mode}, and no two classes differ in left and right alone; set "
            "DATA.FLIP_CLASS_PAIRS [[class, class], ...], name the classes, or set DATA.FLIP all or off"
        )
    if mode == "skip-directional":
        return {"flip": True, "flip_skipped": tuple(exchange)}
    return {"flip": True, "flip_labels": tuple(exchange.items())}


def build_normalisation(cfg):
    """From bytes to what the model sees."""
    return Normalisation(tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD), cfg.DATA.CHANNEL_ORDER)


def build_test_dataset(cfg, records, num_clips, num_crops, playback="forward", faults=None):
    """All views of each video; `faults` as in `Data`."""
    crop = cfg.DATA.TEST_CROP_SIZE
    views = EvalViews(cfg.DATA.TEST_SCALE or crop, crop, num_crops, build_normalisation(cfg))
    return EvalDataset(
        records,
        build_sampling(cfg),
        views,
        num_clips,
        playback,
        backend=cfg.DATA.DECODING_BACKEND,
        faults=faults,
        short_side=cfg.DATA.DECODE_SHORT_SIDE,
    )


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


def build_objective(cfg, data, device):
    """The loss, with the weights of the classes on `device`, and what training counts."""
    weights, count = cfg.SOLVER.CLASS_WEIGHTS, data.num_classes
    if weights and len(weights) != count:
        raise ConfigError(
            f"SOLVER.CLASS_WEIGHTS has {len(weights)} weights and there are {count} classes; give one "
            "for each class, in the order of their names, or [] for none"
        )
    if cfg.SOLVER.CLASS_BALANCE:
        weights = class_weights(data.train, count, cfg.SOLVER.CLASS_BALANCE)
    weights = torch.tensor(weights, dtype=torch.float32, device=device) if len(weights) else None
    if cfg.DATA.MULTI_LABEL:
        return AnyLabels(weights, cfg.MIXUP.LABEL_SMOOTH_VALUE)
    return OneLabel(weights)


def build_optimizer(cfg, model):
    """AdamW with the published parameter groups."""
    return adamw(model, cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.ZERO_WD_POS_EMBED)


def build_train_state(cfg, model, precision, device):
    """The `TrainState` at the beginning, of a model on its device."""
    optimizer = build_optimizer(cfg, model)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    return TrainState(model, optimizer, scaler, device)


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
        **({"multi_label": True} if cfg.DATA.MULTI_LABEL else {}),
        **build_protocol(cfg),
        "config": config_text(cfg),
        "versions": versions(),
    }


def build_protocol(cfg):
    """How videos are prepared and which views are tested, as checkpoints record it."""
    return {
        "input": {
            "num_frames": cfg.DATA.NUM_FRAMES,
            "frame_stride": cfg.DATA.SAMPLING_RATE,
            "rule": cfg.DATA.SAMPLING,
            "offset": cfg.DATA.USE_OFFSET_SAMPLING,
            "target_fps": cfg.DATA.TARGET_FPS,
            "decode_short_side": cfg.DATA.DECODE_SHORT_SIDE,
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
    }


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
    """The arguments of the model that the config sets; what it leaves open is left out."""
    name = cfg.MODEL.MODEL_NAME
    if is_peer(name):
        return {"num_frames": cfg.DATA.NUM_FRAMES, "crop_size": cfg.DATA.TRAIN_CROP_SIZE}
    if variant(name).arguments["ndim"] != 3:
        raise ConfigError(
            f"MODEL.MODEL_NAME {name} takes images, and a run is about videos; take "
            f"{video_counterpart(name)}, and the image weights as UNIFORMER.PRETRAIN_NAME"
        )
    options = {
        "embed_dims": cfg.UNIFORMER.EMBED_DIM,
        "depths": cfg.UNIFORMER.DEPTH,
        "head_dim": cfg.UNIFORMER.HEAD_DIM,
        "mlp_ratio": cfg.UNIFORMER.MLP_RATIO,
        "split": cfg.UNIFORMER.SPLIT,
        "std": cfg.UNIFORMER.STD,
    }
    if cfg.UNIFORMER.LAYER_SCALE:
        options |= {"layer_scale": True, "init_value": cfg.UNIFORMER.INIT_VALUE}
    depths = cfg.UNIFORMER.DEPTH or variant(name).arguments["depths"]
    for key, values in (
        ("prune_ratio", cfg.UNIFORMER.PRUNE_RATIO),
        ("trade_off", cfg.UNIFORMER.TRADE_OFF),
    ):  # published files list more blocks than some models have
        options[key] = [stage[:depth] for stage, depth in zip(values, depths[2:], strict=False)]
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
