"""The limits of settings, alone and side by side."""

import math

from uniformer_video.errors import ConfigError

CHOICES = {
    "UNIFORMER.INFLATE_MODE": ("average", "center"),
    "DATA.SAMPLING": ("dense", "segment"),
    "DATA.CHANNEL_ORDER": ("RGB", "BGR"),
    "DATA.FLIP": ("auto", "off", "all", "skip-directional", "swap-labels"),
    "AUG.INTERPOLATION": ("bicubic", "bilinear"),
    "AUG.ON_DEVICE": ("off", "normalise", "all"),
    "TRAIN.PRECISION": ("auto", "fp32", "bf16", "fp16"),
    "DATA.SPLIT_NUMBER": (1, 2, 3),
    "TEST.NUM_SPATIAL_CROPS": (1, 3),
    "TEST.WEIGHTS": ("best", "last"),
}


def check(flat):
    """Raise `ConfigError` for values outside their range or impossible side by side."""
    for key, allowed in CHOICES.items():
        if flat[key] not in allowed:
            shown = ", ".join(repr(value) for value in allowed)
            raise ConfigError(f"{key} is {flat[key]!r}; allowed: {shown}")
    for key, minimum in _MINIMUM.items():
        if not flat[key] >= minimum:
            raise ConfigError(f"{key} is {flat[key]!r}; it must be at least {minimum}")
    for key in _PROBABILITIES:
        if not 0 <= flat[key] <= 1:
            raise ConfigError(f"{key} is {flat[key]!r}; it must lie between 0 and 1")
    for key, length in _LENGTHS.items():
        if len(flat[key]) not in length:
            shown = " or ".join(str(n) for n in length)
            raise ConfigError(f"{key} is {flat[key]!r}; it takes {shown} values")
    _check_together(flat)


_MINIMUM = {
    "MODEL.NUM_CLASSES": 0,
    "DATA.DECODE_SHORT_SIDE": 0,
    "DATA.NUM_FRAMES": 1,
    "DATA.SAMPLING_RATE": 1,
    "DATA.TARGET_FPS": 0,
    "DATA.TRAIN_CROP_SIZE": 32,
    "DATA.TEST_CROP_SIZE": 32,
    "DATA.TEST_SCALE": 0,
    "AUG.NUM_SAMPLE": 1,
    "UNIFORMER.HEAD_DIM": 0,
    "UNIFORMER.MLP_RATIO": 0,
    "AUG.COLOR_JITTER": 0,
    "MIXUP.ALPHA": 0,
    "MIXUP.CUTMIX_ALPHA": 0,
    "TRAIN.BATCH_SIZE": 1,
    "TRAIN.EVAL_PERIOD": 0,
    "TRAIN.CHECKPOINT_PERIOD": 1,
    "TRAIN.CHECKPOINT_MINUTES": 0,
    "TRAIN.MAX_NONFINITE": 1,
    "TEST.BATCH_SIZE": 1,
    "TEST.NUM_ENSEMBLE_VIEWS": 1,
    "SOLVER.BASE_LR": 0,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.WARMUP_START_LR": 0,
    "SOLVER.COSINE_END_LR": 0,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WEIGHT_DECAY": 0,
    "SOLVER.CLIP_GRADIENT": 0,
    "DATA_LOADER.NUM_WORKERS": -1,
    "DATA_LOADER.TIMEOUT": 0,
    "DISTRIBUTED.TIMEOUT": 1,
    "NUM_GPUS": 1,
    "NUM_SHARDS": 1,
    "RNG_SEED": 0,
    "LOG_PERIOD": 1,
}
_PROBABILITIES = (
    "UNIFORMER.DROP_DEPTH_RATE",
    "DATA.VAL_RATIO",
    "DATA.BALANCE",
    "DATA.MAX_BAD_RATIO",
    "AUG.RE_PROB",
    "MIXUP.PROB",
    "MIXUP.SWITCH_PROB",
    "MIXUP.LABEL_SMOOTH_VALUE",
    "SOLVER.CLASS_BALANCE",
)
_LENGTHS = {
    "MODEL.CHECKPOINT_NUM": (4,),
    "UNIFORMER.EMBED_DIM": (0, 4),
    "UNIFORMER.DEPTH": (0, 4),
    "UNIFORMER.LOCAL_KERNEL": (0, 3),
    "DATA.MEAN": (3,),
    "DATA.STD": (3,),
    "DATA.TRAIN_JITTER_SCALES": (2,),
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": (0, 2),
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": (2,),
}


def _check_together(flat):
    weights = flat["SOLVER.CLASS_WEIGHTS"]
    if wrong := [weight for weight in weights if not (math.isfinite(weight) and weight > 0)]:
        raise ConfigError(
            f"SOLVER.CLASS_WEIGHTS holds {wrong[0]}; every weight is a number above 0"
        )
    if weights and flat["SOLVER.CLASS_BALANCE"]:
        raise ConfigError(
            "SOLVER.CLASS_WEIGHTS and SOLVER.CLASS_BALANCE both say how much a class counts in the loss; "
            "set one of them"
        )
    scale, crop = flat["DATA.TEST_SCALE"], flat["DATA.TEST_CROP_SIZE"]
    if scale and crop > scale:
        raise ConfigError(
            f"DATA.TEST_CROP_SIZE {crop} is larger than DATA.TEST_SCALE {scale}; "
            "lower the crop or raise the scale (0 = as large as the crop)"
        )
    least, decoded = scale or crop, flat["DATA.DECODE_SHORT_SIDE"]
    if 0 < decoded < least:
        raise ConfigError(
            f"DATA.DECODE_SHORT_SIDE {decoded} is smaller than the short side of the test, {least} "
            "(DATA.TEST_SCALE, or else DATA.TEST_CROP_SIZE), which would scale it up again; raise it, or "
            "set it to 0"
        )
    low, high = flat["DATA.TRAIN_JITTER_SCALES"]
    crop = flat["DATA.TRAIN_CROP_SIZE"]
    if low > high:
        raise ConfigError(
            f"DATA.TRAIN_JITTER_SCALES {[low, high]} has its minimum above its maximum"
        )
    if crop > low:
        raise ConfigError(
            f"DATA.TRAIN_CROP_SIZE {crop} is larger than the smallest of "
            f"DATA.TRAIN_JITTER_SCALES {[low, high]}; lower the crop or raise the scales"
        )
    warmup, epochs = flat["SOLVER.WARMUP_EPOCHS"], flat["SOLVER.MAX_EPOCH"]
    if flat["TRAIN.ENABLE"] and warmup >= epochs:
        raise ConfigError(
            f"SOLVER.WARMUP_EPOCHS {warmup:g} does not end before SOLVER.MAX_EPOCH {epochs}; "
            "shorten the warm-up or train longer"
        )
    if not (flat["TRAIN.ENABLE"] or flat["TEST.ENABLE"]):
        raise ConfigError("TRAIN.ENABLE and TEST.ENABLE are both False, so there is nothing to do")
    if flat["UNIFORMER.DROP_DEPTH_RATE"] == 1:
        raise ConfigError("UNIFORMER.DROP_DEPTH_RATE is 1.0, which drops everything; it is below 1")
    area = flat["DATA.TRAIN_JITTER_SCALES_RELATIVE"]
    if area and not 0 < area[0] <= area[1] <= 1:
        raise ConfigError(
            f"DATA.TRAIN_JITTER_SCALES_RELATIVE is {area}; it takes [smallest, largest] share of the "
            "area, above 0 and at most 1, or []"
        )
    ratio = flat["DATA.TRAIN_JITTER_ASPECT_RELATIVE"]
    if not 0 < ratio[0] <= ratio[1]:
        raise ConfigError(
            f"DATA.TRAIN_JITTER_ASPECT_RELATIVE is {ratio}; it takes [smallest, largest] width / "
            "height, above 0"
        )
    if min(flat["MODEL.CHECKPOINT_NUM"]) < 0:
        raise ConfigError(
            f"MODEL.CHECKPOINT_NUM is {flat['MODEL.CHECKPOINT_NUM']}; none is below 0"
        )
    if any(side < 1 or side % 2 == 0 for side in flat["UNIFORMER.LOCAL_KERNEL"]):
        raise ConfigError(
            f"UNIFORMER.LOCAL_KERNEL is {flat['UNIFORMER.LOCAL_KERNEL']}; its sides must be odd, "
            "such as [3, 5, 5] or [5, 5, 5]"
        )
    for key in ("UNIFORMER.PRUNE_RATIO", "UNIFORMER.TRADE_OFF"):
        _check_stages(key, flat[key])
    _check_templates(flat)
    if min(flat["DATA.STD"]) <= 0:
        raise ConfigError(f"DATA.STD is {flat['DATA.STD']}; every value must be above 0")
    if flat["MIXUP.ENABLE"] and not (flat["MIXUP.ALPHA"] or flat["MIXUP.CUTMIX_ALPHA"]):
        raise ConfigError(
            "MIXUP.ENABLE is True while MIXUP.ALPHA and MIXUP.CUTMIX_ALPHA are both 0; "
            "set one above 0, or MIXUP.ENABLE False"
        )
    if flat["TRAIN.BATCH_SIZE"] % flat["NUM_GPUS"]:
        raise ConfigError(
            f"TRAIN.BATCH_SIZE {flat['TRAIN.BATCH_SIZE']} is not a multiple of "
            f"NUM_GPUS {flat['NUM_GPUS']}; change one of them"
        )
    for key in ("DATA.FLIP_CLASS_PAIRS", "DATA.OPPOSITE_CLASS_PAIRS"):
        if any(not isinstance(pair, list) or len(pair) != 2 for pair in flat[key]):
            raise ConfigError(f"{key} is {flat[key]!r}; it takes pairs, [[class, class], ...]")
    if flat["TEST.MOTION_CHECK"] and not flat["DATA.OPPOSITE_CLASS_PAIRS"]:
        raise ConfigError(
            "TEST.MOTION_CHECK needs DATA.OPPOSITE_CLASS_PAIRS: which classes a reversed video exchanges"
        )


def _check_stages(key, stages):
    """Two lists of shares, or none."""
    lists = [stage for stage in stages if isinstance(stage, list)]
    shares = [share for stage in lists for share in stage]
    if stages and not (
        len(lists) == len(stages) == 2
        and all(type(share) in (int, float) and 0 <= share <= 1 for share in shares)
    ):
        raise ConfigError(
            f"{key} is {stages!r}; it takes two lists, for the blocks of stages 3 and 4, of numbers "
            "between 0 and 1, or [] for the named model's"
        )


def _check_templates(flat):
    """A name without its placeholder would be the same for all."""
    for key, values, example in (
        ("DATA.LABEL_PATH_TEMPLATE", ("train", "val"), "{}.txt"),
        ("DATA.IMAGE_TEMPLATE", (1, 2), "img_{:05d}.jpg"),
    ):
        template = flat[key]
        if not template and key == "DATA.LABEL_PATH_TEMPLATE":
            continue
        try:
            names = {template.format(value) for value in values}
        except (ValueError, IndexError, KeyError, AttributeError):
            names = set()
        if len(names) != len(values):
            raise ConfigError(f"{key} is {template!r}; it needs a placeholder, such as {example}")
