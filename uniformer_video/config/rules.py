"""The rules between settings. What a setting alone may be stands in its row."""

import os
import re
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from uniformer_video.config.rows import SETTINGS
from uniformer_video.config.setting import TEST, TRAINING
from uniformer_video.errors import ConfigError, quote

_TOKEN_SIDE = 32  # pixels of a token of the last stage
_BY_MAPS = "label maps are what a teacher has said"
_SAME_CLASSES = "the classes in a label map stay as they are"
# What token labelling needs of other settings: the values that they may have, and why.
_BESIDE_TOKEN_LABELS: dict[str, tuple[tuple[Any, ...], str]] = {
    "MIXUP.ENABLE": ((False,), "MixToken mixes pictures, and their label maps with them"),
    "TEACHER.CHECKPOINT": (("",), _BY_MAPS),
    "TEACHER.SCORES": (("",), _BY_MAPS),
    "DATA.FLIP": (("auto", "off", "all", "skip-directional"), _SAME_CLASSES),
    "DATA.FLIP_CLASS_PAIRS": (([],), _SAME_CLASSES),
}


def check(flat: dict[str, Any]) -> None:
    """Raise `ConfigError` for values that are not allowed, alone or side by side.

    The rules of a phase, training or test, count where the run has it.
    """
    for key, setting in SETTINGS.items():
        setting.check(flat[key])
    for switch, rules in _RULES.items():
        if not switch or flat[switch]:
            for rule in rules:
                rule(flat)


def _something_to_do(flat: dict[str, Any]) -> None:
    if not (flat[TRAINING] or flat[TEST]):
        raise ConfigError(f"{TRAINING} and {TEST} are both False, so there is nothing to do")


def _output_folder(flat: dict[str, Any]) -> None:
    if "://" in flat["OUTPUT_DIR"]:
        raise ConfigError(
            f"OUTPUT_DIR is {quote(flat['OUTPUT_DIR'])}; it is a folder of this computer, not an address"
        )


def _names_of_files(flat: dict[str, Any]) -> None:
    """A name without its placeholder would be the same for all."""
    for key, values, example in (
        ("DATA.LABEL_PATH_TEMPLATE", ("train", "val"), "{}.txt"),
        ("DATA.IMAGE_TEMPLATE", (1, 2), "img_{:05d}.jpg"),
    ):
        template = flat[key]
        if not template and key == "DATA.LABEL_PATH_TEMPLATE":
            continue
        too_wide = re.search(r"\{[^}]*\d{3}", template)  # a name of 100 digits and more
        try:
            names = set() if too_wide else {template.format(value) for value in values}
        except (ValueError, IndexError, KeyError, AttributeError):
            names = set()
        if len(names) != len(values):
            raise ConfigError(f"{key} is {template!r}; it needs a placeholder, such as {example}")


def _folds(flat: dict[str, Any]) -> None:
    fold, folds = flat["DATA.FOLD"], flat["DATA.FOLDS"]
    if folds == 1:
        raise ConfigError(
            "DATA.FOLDS is 1, which leaves nothing to train on; set it to 2 or more, or to 0 for the lists "
            "as they are"
        )
    if fold and not folds:
        raise ConfigError(
            f"DATA.FOLD is {fold} and DATA.FOLDS is 0, so there are no folds; set DATA.FOLDS, such as 5"
        )
    if folds and fold >= folds:
        raise ConfigError(
            f"DATA.FOLD is {fold}; with DATA.FOLDS {folds} it is a whole number from 0 to {folds - 1}"
        )
    other = flat["TEST.DATASET"]
    if folds and flat[TEST] and other not in ("", flat["TRAIN.DATASET"]):
        raise ConfigError(
            f"DATA.FOLDS cuts the videos of one format into parts, and TEST.DATASET {other} is not "
            f"TRAIN.DATASET {flat['TRAIN.DATASET']}; leave TEST.DATASET empty, or set DATA.FOLDS 0"
        )


def _group_pattern(flat: dict[str, Any]) -> None:
    pattern = flat["DATA.GROUP_PATTERN"]
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"DATA.GROUP_PATTERN is {quote(pattern)}, which is no regular expression: {error}; such as "
            r"'(person\d+)_', whose brackets hold the group"
        ) from None


def _joined_folders(flat: dict[str, Any]) -> None:
    given, weights = flat["DATA.PATH_TO_DATA_DIR"], flat["DATA.JOIN_WEIGHTS"]
    folders = [given] if isinstance(given, str) else given
    if twice := [folder for folder in folders if folders.count(folder) > 1]:
        raise ConfigError(
            f"DATA.PATH_TO_DATA_DIR names {twice[0]} twice; name each folder once, and say by "
            "DATA.JOIN_WEIGHTS how much it counts"
        )
    if flat[TRAINING] and weights and len(weights) != len(folders):
        raise ConfigError(
            f"DATA.JOIN_WEIGHTS {weights} holds {len(weights)} weights and DATA.PATH_TO_DATA_DIR "
            f"{len(folders)} {'folder' if len(folders) == 1 else 'folders'}; give one weight a folder"
        )


def _frame_index(flat: dict[str, Any]) -> None:
    given, words = flat["DATA.FRAME_INDEX"], ("auto", "off")
    near = get_close_matches(given.lower(), words, 1, 0.7)
    if given not in words and near and not os.path.exists(given):
        raise ConfigError(
            f"DATA.FRAME_INDEX is {given!r}; it is auto, off or a folder; did you mean {near[0]!r}?"
        )


def _test_sizes(flat: dict[str, Any]) -> None:
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


def _local_kernel(flat: dict[str, Any]) -> None:
    kernel = flat["UNIFORMER.LOCAL_KERNEL"]
    if any(side % 2 == 0 for side in kernel):
        raise ConfigError(
            f"UNIFORMER.LOCAL_KERNEL is {kernel}; its sides must be odd, such as [3, 5, 5], for images [5, 5]"
        )


def _attention_windows(flat: dict[str, Any]) -> None:
    if flat["UNIFORMER.WINDOW"] < 0 and flat["UNIFORMER.HYBRID"]:
        raise ConfigError(
            "UNIFORMER.WINDOW -1 is attention without windows, and UNIFORMER.HYBRID True has them in three "
            "of four blocks; set UNIFORMER.HYBRID False for attention over the whole map, or a window, such "
            "as 14"
        )


def _tested_pictures(flat: dict[str, Any]) -> None:
    """What the pictures of segmentation are scaled to, and the window that slides over them."""
    long, short = flat["SEGMENTATION.SCALE"]
    if short > long:
        raise ConfigError(
            f"SEGMENTATION.SCALE {[long, short]} has its short side first; it takes [long, short], such as "
            f"{[short, long]}"
        )
    if not flat["SEGMENTATION.RATIOS"]:
        raise ConfigError(
            "SEGMENTATION.RATIOS is [], and pictures are tested in one size at least; [1.0] is "
            "SEGMENTATION.SCALE"
        )
    side, stride = flat["SEGMENTATION.CROP_SIZE"], flat["SEGMENTATION.CROP_STRIDE"]
    if 0 < side < _TOKEN_SIDE:
        raise ConfigError(
            f"SEGMENTATION.CROP_SIZE {side} is less than {_TOKEN_SIDE} pixels, of which the last stage of a "
            f"model sees nothing; set it to {_TOKEN_SIDE} or more, or to 0 for whole pictures"
        )
    if side and stride > side:
        raise ConfigError(
            f"SEGMENTATION.CROP_STRIDE {stride} is more than SEGMENTATION.CROP_SIZE {side}, so no window "
            f"would see what lies between two; set it to {side} or less (0 = two thirds of the window)"
        )


def _ratio_range(flat: dict[str, Any]) -> None:
    low, high = flat["SEGMENTATION.RATIO_RANGE"]
    if low > high:
        raise ConfigError(
            f"SEGMENTATION.RATIO_RANGE is {[low, high]}; it takes [smallest, largest] factor"
        )


def _plain_crop(flat: dict[str, Any]) -> None:
    if flat["DATA.TRAIN_JITTER_SCALES_RELATIVE"]:
        return
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


def _resized_crop(flat: dict[str, Any]) -> None:
    if not flat["DATA.TRAIN_JITTER_SCALES_RELATIVE"]:
        return
    for key, what in (
        ("DATA.TRAIN_JITTER_SCALES_RELATIVE", "share of the area"),
        ("DATA.TRAIN_JITTER_ASPECT_RELATIVE", "width / height"),
    ):
        smallest, largest = flat[key]
        if smallest > largest:
            raise ConfigError(f"{key} is {flat[key]}; it takes [smallest, largest] {what}")


def _mixing(flat: dict[str, Any]) -> None:
    if flat["MIXUP.ENABLE"] and not (flat["MIXUP.ALPHA"] or flat["MIXUP.CUTMIX_ALPHA"]):
        raise ConfigError(
            "MIXUP.ENABLE is True while MIXUP.ALPHA and MIXUP.CUTMIX_ALPHA are both 0; "
            "set one above 0, or MIXUP.ENABLE False"
        )


def _class_weights(flat: dict[str, Any]) -> None:
    if flat["SOLVER.CLASS_WEIGHTS"] and flat["SOLVER.CLASS_BALANCE"]:
        raise ConfigError(
            "SOLVER.CLASS_WEIGHTS and SOLVER.CLASS_BALANCE both say how much a class counts in the loss; "
            "set one of them"
        )


def _one_teacher(flat: dict[str, Any]) -> None:
    if flat["TEACHER.CHECKPOINT"] and flat["TEACHER.SCORES"]:
        raise ConfigError(
            "TEACHER.CHECKPOINT and TEACHER.SCORES are both set, and a training has one teacher: a model, or "
            "what one has said before; leave one of them empty"
        )


def _token_labels(flat: dict[str, Any]) -> None:
    if not flat["TOKEN_LABELS.ENABLE"]:
        return
    if not (flat["TOKEN_LABELS.CLASS_WEIGHT"] or flat["TOKEN_LABELS.DENSE_WEIGHT"]):
        raise ConfigError(
            "TOKEN_LABELS.CLASS_WEIGHT and TOKEN_LABELS.DENSE_WEIGHT are both 0, so nothing would be learnt; "
            "set one above 0"
        )
    side = flat["DATA.TRAIN_CROP_SIZE"]
    if side % _TOKEN_SIDE:
        raise ConfigError(
            f"TOKEN_LABELS.ENABLE is True and DATA.TRAIN_CROP_SIZE {side} is not a whole number of tokens; "
            f"set it to a multiple of {_TOKEN_SIDE}, such as 224"
        )
    for key, (allowed, why) in _BESIDE_TOKEN_LABELS.items():
        if flat[key] not in allowed:
            raise ConfigError(
                f"TOKEN_LABELS.ENABLE is True and {key} is {quote(flat[key])}: {why}; set it to "
                f"{' or '.join(str(value) or 'empty' for value in allowed)}"
            )
    if not flat["DATA.TRAIN_JITTER_SCALES_RELATIVE"]:
        raise ConfigError(
            "TOKEN_LABELS.ENABLE is True and DATA.TRAIN_JITTER_SCALES_RELATIVE is []: label maps follow a "
            "resized crop; set it, such as [0.08, 1.0]"
        )


def _warm_up(flat: dict[str, Any]) -> None:
    """What is counted in different units is compared once the steps of an epoch are known."""
    warmup, epochs = flat["SOLVER.WARMUP_EPOCHS"], flat["SOLVER.MAX_EPOCH"]
    in_iterations, steps = flat["SOLVER.WARMUP_ITERS"], flat["SOLVER.MAX_ITER"]
    if in_iterations and steps and in_iterations >= steps:
        raise ConfigError(
            f"SOLVER.WARMUP_ITERS {in_iterations} does not end before SOLVER.MAX_ITER {steps}; "
            "shorten the warm-up or train longer"
        )
    if in_iterations or steps:
        return
    if warmup >= epochs:
        raise ConfigError(
            f"SOLVER.WARMUP_EPOCHS {warmup:g} does not end before SOLVER.MAX_EPOCH {epochs}; "
            "shorten the warm-up or train longer"
        )
    cooldown = flat["SOLVER.COOLDOWN_EPOCHS"]
    if flat["SOLVER.LR_POLICY"] == "cosine" and cooldown and warmup + cooldown >= epochs:
        raise ConfigError(
            f"SOLVER.COOLDOWN_EPOCHS {cooldown:g} are the last of SOLVER.MAX_EPOCH {epochs}, and with "
            f"SOLVER.WARMUP_EPOCHS {warmup:g} nothing is left between; shorten them or train longer"
        )


def _patience(flat: dict[str, Any]) -> None:
    patience, period = flat["TRAIN.PATIENCE"], flat["TRAIN.EVAL_PERIOD"]
    if patience and not period:
        raise ConfigError(
            f"TRAIN.PATIENCE {patience} counts validations, and there are none (TRAIN.EVAL_PERIOD 0); set "
            "TRAIN.EVAL_PERIOD 1, or TRAIN.PATIENCE 0"
        )
    if patience and flat["DATA.FOLDS"] and not flat["DATA.VAL_RATIO"]:
        raise ConfigError(
            f"TRAIN.PATIENCE {patience} counts validations, and with DATA.VAL_RATIO 0 a fold has none; set "
            "DATA.VAL_RATIO, such as 0.2, or TRAIN.PATIENCE 0"
        )
    if not patience or flat["TRAIN.MINUTES"]:
        return
    if bool(flat["TRAIN.EVAL_ITERS"]) != bool(flat["SOLVER.MAX_ITER"]):
        return  # which of them is longer, the steps of an epoch tell
    pairs = ("TRAIN.EVAL_ITERS", "SOLVER.MAX_ITER"), ("TRAIN.EVAL_PERIOD", "SOLVER.MAX_EPOCH")
    often, length = pairs[0] if flat["TRAIN.EVAL_ITERS"] else pairs[1]
    if flat[often] >= flat[length]:
        last = "iteration" if flat["TRAIN.EVAL_ITERS"] else "epoch"
        raise ConfigError(
            f"TRAIN.PATIENCE {patience} counts validations, and the only one is after the last {last} "
            f"({often} {flat[often]}, {length} {flat[length]}); lower {often}, or set TRAIN.PATIENCE 0"
        )


def _steps(flat: dict[str, Any]) -> None:
    if flat["SOLVER.LR_POLICY"] != "steps_with_relative_lrs":
        return
    steps, factors = flat["SOLVER.STEPS"], flat["SOLVER.LRS"]
    if not steps or steps[0] or any(b <= a for a, b in pairwise(steps)):
        raise ConfigError(
            f"SOLVER.STEPS is {steps}; SOLVER.LR_POLICY steps_with_relative_lrs needs rising epochs "
            "from 0 on, such as [0, 30, 60]"
        )
    if len(factors) != len(steps):
        raise ConfigError(
            f"SOLVER.LRS {factors} does not have a factor of SOLVER.BASE_LR for each of SOLVER.STEPS "
            f"{steps}, such as [1, 0.1, 0.01] for [0, 30, 60]"
        )


def _no_decay_patterns(flat: dict[str, Any]) -> None:
    patterns = flat["SOLVER.NO_DECAY_PATTERNS"]
    if not all(patterns):
        raise ConfigError(
            f"SOLVER.NO_DECAY_PATTERNS is {patterns}, and every name contains the empty text; for no decay "
            "at all set SOLVER.WEIGHT_DECAY 0"
        )


def _nesterov(flat: dict[str, Any]) -> None:
    if flat["SOLVER.OPTIMIZING_METHOD"] != "sgd" or not flat["SOLVER.NESTEROV"]:
        return
    momentum, dampening = flat["SOLVER.MOMENTUM"], flat["SOLVER.DAMPENING"]
    if not momentum or dampening:
        raise ConfigError(
            f"SOLVER.NESTEROV True needs a momentum without dampening, and SOLVER.MOMENTUM is "
            f"{momentum:g}, SOLVER.DAMPENING {dampening:g}; set SOLVER.NESTEROV False, or change them"
        )


def _rate_scaling(flat: dict[str, Any]) -> None:
    if flat["SOLVER.BASE_LR_BATCH_SIZE"] and flat["SOLVER.BASE_LR_SCALE_NUM_SHARDS"]:
        raise ConfigError(
            f"SOLVER.BASE_LR_BATCH_SIZE {flat['SOLVER.BASE_LR_BATCH_SIZE']} and "
            "SOLVER.BASE_LR_SCALE_NUM_SHARDS True both scale the learning rates; set one of them"
        )


def _slots(flat: dict[str, Any]) -> None:
    if flat["TRAIN.BATCH_SIZE"] % flat["NUM_GPUS"]:
        raise ConfigError(
            f"TRAIN.BATCH_SIZE {flat['TRAIN.BATCH_SIZE']} is not a multiple of "
            f"NUM_GPUS {flat['NUM_GPUS']}; change one of them"
        )


def _averaged_weights(flat: dict[str, Any]) -> None:
    wanted, own = flat["TEST.WEIGHTS"], not flat["TEST.CHECKPOINT_FILE_PATH"]
    if flat[TRAINING] and own and wanted.endswith("-ema") and not flat["EMA.ENABLE"]:
        raise ConfigError(
            f"TEST.WEIGHTS {wanted} are averaged weights, and the run keeps none; set EMA.ENABLE True, or "
            f"TEST.WEIGHTS {wanted.removesuffix('-ema')}"
        )


_RULES = {
    "": (
        _something_to_do,
        _output_folder,
        _names_of_files,
        _test_sizes,
        _local_kernel,
        _attention_windows,
        _tested_pictures,
        _folds,
        _group_pattern,
        _joined_folders,
        _frame_index,
    ),
    TRAINING: (
        _ratio_range,
        _plain_crop,
        _resized_crop,
        _mixing,
        _class_weights,
        _one_teacher,
        _token_labels,
        _warm_up,
        _patience,
        _steps,
        _no_decay_patterns,
        _nesterov,
        _rate_scaling,
        _slots,
    ),
    TEST: (_averaged_weights,),
}
