"""What each row of the table of settings keeps out, and what it says of runs that go on and of tests."""

import pytest

from uniformer_video.config.recorded import config_from_text
from uniformer_video.config.rows import SETTINGS
from uniformer_video.config.setting import FREE, MATCHES_UNLESS_FROM_BEST, Setting
from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError

NUMBERS = [key for key, row in SETTINGS.items() if not isinstance(row.default, (str, bool))]
ABSURD = [".inf", "-.inf", ".nan", str(10**30), "-7", "1e300", "0x" + "f" * 5000]


def with_value(key, value):
    """The text of a value for the setting that holds `value`, once where it is a list."""
    row = SETTINGS[key]
    if not isinstance(row.default, list):
        return value
    if row.nested:
        return f"[[{value}, 1]]" if str in row.elements else f"[[{value}], [1]]"
    others = ["1"] * (max(row.lengths, default=2) - 1)
    return f"[{', '.join([value, *others])}]"


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: value[:12])
@pytest.mark.parametrize("key", NUMBERS)
def test_no_number_is_infinite_or_absurd(key, value):
    with pytest.raises(ConfigError) as error:
        load_config(overrides=[key, with_value(key, value)])
    message = str(error.value)
    assert message.startswith(f"{key} is ")
    assert "it must be " in message or "allowed: " in message
    shown = {".inf": "inf", "-.inf": "-inf", ".nan": "nan", "1e300": "1e+300", "-7": "-7"}
    assert shown.get(value, "") in message
    assert value != str(10**30) or value in message or "1e+30" in message
    assert "\n" not in message and len(message) < 500


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("RNG_SEED", str(2**63 - 1)),
        ("DATA_LOADER.NUM_WORKERS", "256"),
        ("DATA_LOADER.TIMEOUT", "86400"),
        ("TEST.BATCH_SIZE", "4096"),
        ("SOLVER.MAX_EPOCH", "10000"),
        ("TRAIN.EVAL_PERIOD", "1000000"),
        ("TRAIN.EVAL_ITERS", "16000"),
        ("SOLVER.MAX_ITER", "160000"),
        ("SOLVER.NO_DECAY_PATTERNS", "[norm]"),
        ("MODEL.NUM_CLASSES", "21841"),
        ("DATA.NUM_FRAMES", "512"),
        ("DATA.TARGET_FPS", "240"),
        ("UNIFORMER.PRUNE_RATIO", "[[0, 1], [0.5]]"),
        ("DATA.MEAN", "[0, 0, 0]"),
        ("DATA.STD", "[0.00392156862745098, 1, 1]"),
        ("DATA.FLIP_CLASS_PAIRS", "[[left, right], [0, 1]]"),
    ],
)
def test_what_people_want_is_allowed(key, value):
    load_config(overrides=[key, value])


@pytest.mark.parametrize(("elements", "words"), [((str,), "texts"), ((int, float), "values")])
def test_a_list_from_outside_says_what_it_takes(elements, words):
    row = Setting("MYNET.LAYERS", [], "which layers", elements=elements)
    with pytest.raises(ConfigError, match=f"MYNET.LAYERS is 3; it must be a list of {words}$"):
        row.accept(3)


def test_stored_values_outside_the_limits_are_read_or_refused_in_a_line():
    stored = config_from_text("DATA_LOADER: {NUM_WORKERS: 100000000000}\nDATA: {STD: [.inf, 1, 1]}")
    assert stored.DATA_LOADER.NUM_WORKERS == 100000000000
    for text in ("SOLVER: {BASE_LR: 1" + "0" * 400 + "}", "DATA: {STD: [0xf, a, 1]}"):
        with pytest.raises(ConfigError, match="it must be a"):
            config_from_text(text)
    with pytest.raises(ConfigError, match="are damaged"):
        config_from_text("NUM_GPUS: 1" + "0" * 5000)


def test_what_may_change_while_a_training_goes_on():
    free = {key for key, row in SETTINGS.items() if row.on_resume == FREE}
    outside = {key for key in free if not key.startswith(("TEST.", "DATA_LOADER."))}
    assert outside == {
        "MODEL.NUM_CLASSES",
        "DATA.PATH_TO_DATA_DIR",
        "DATA.PATH_PREFIX",
        "DATA.PATH_LABEL_SEPARATOR",
        "DATA.MAX_BAD_RATIO",
        "DATA.USE_OFFSET_SAMPLING",
        "DATA.REVERSE_FRAMES",
        "DATA.TEST_CROP_SIZE",
        "DATA.TEST_SCALE",
        "DATA.TEST_CROP_RATIO",
        "DATA.OPPOSITE_CLASS_PAIRS",
        "TRAIN.ENABLE",
        "TRAIN.CHECKPOINT_PERIOD",
        "TRAIN.CHECKPOINT_ITERS",
        "TRAIN.CHECKPOINT_KEEP",
        "TRAIN.CHECKPOINT_MINUTES",
        "TRAIN.MAX_NONFINITE",
        "TRAIN.PATIENCE",
        "TOKEN_LABELS.PATH",
        "SEGMENTATION.ALIGN",
        "SEGMENTATION.RATIOS",
        "SEGMENTATION.FLIP",
        "SEGMENTATION.CROP_SIZE",
        "SEGMENTATION.CROP_STRIDE",
        "DISTRIBUTED.TIMEOUT",
        "TENSORBOARD.ENABLE",
        "WANDB.ENABLE",
        "WANDB.PROJECT",
        "WANDB.MODE",
        "MODEL.COMPILE",
        "MODEL.DEPTHWISE",
        "TRAIN.PROFILE",
        "DATA.CACHE_DIR",
        "DATA.CACHE_GB",
        "DATA.FRAME_INDEX",
        "DATA.LICENSE",
        "DATA.PUBLISHED_LISTS",
        "LOG_PERIOD",
        "OUTPUT_DIR",
        "PLUGINS",
    }
    assert {key for key in SETTINGS if key.startswith(("TEST.", "DATA_LOADER."))} <= free
    from_best = {key for key, row in SETTINGS.items() if row.on_resume == MATCHES_UNLESS_FROM_BEST}
    frozen = {
        f"MODEL.{key}" for key in ("FREEZE", "DETACH_FINAL_FC", "FROZEN_BN", "FROZEN_BN_AFFINE")
    }
    of_the_optimiser = {key for key in SETTINGS if key.startswith(("SOLVER.", "EMA."))}
    assert from_best == of_the_optimiser | {"TRAIN.PRECISION", "TRAIN.MINUTES"} | frozen


def test_what_tells_two_tests_apart():
    """Whatever changes a number of the results, the architecture and the arithmetic included."""
    tested = {key for key, row in SETTINGS.items() if row.affects_test}
    assert {key for key in tested if not key.startswith(("DATA.", "TEST."))} == {
        "MODEL.MODEL_NAME",
        "UNIFORMER.EMBED_DIM",
        "UNIFORMER.DEPTH",
        "UNIFORMER.HEAD_DIM",
        "UNIFORMER.MLP_RATIO",
        "UNIFORMER.LOCAL_KERNEL",
        "UNIFORMER.ADAPT_KERNEL",
        "UNIFORMER.SPLIT",
        "UNIFORMER.STD",
        "UNIFORMER.QKV_BIAS",
        "UNIFORMER.QKV_SCALE",
        "UNIFORMER.REPRESENTATION_SIZE",
        "UNIFORMER.LAYER_SCALE",
        "UNIFORMER.PRUNE_RATIO",
        "UNIFORMER.TRADE_OFF",
        "UNIFORMER.WINDOW",
        "UNIFORMER.HYBRID",
        "UNIFORMER.NECK_CHANNELS",
        "UNIFORMER.HEAD_CHANNELS",
        "SEGMENTATION.REDUCE_ZERO_LABEL",
        "SEGMENTATION.IGNORE_LABEL",
        "SEGMENTATION.SCALE",
        "SEGMENTATION.ALIGN",
        "SEGMENTATION.RATIOS",
        "SEGMENTATION.FLIP",
        "SEGMENTATION.CROP_SIZE",
        "SEGMENTATION.CROP_STRIDE",
        "TRAIN.TASK",
        "TRAIN.PRECISION",
    }
    assert {key for key in SETTINGS if key.startswith(("DATA.", "TEST."))} - tested == {
        "DATA.BALANCE",
        "DATA.JOIN_WEIGHTS",
        "DATA.MAX_BAD_RATIO",
        "DATA.CACHE_DIR",
        "DATA.CACHE_GB",
        "DATA.FRAME_INDEX",
        "DATA.LICENSE",
        "DATA.PUBLISHED_LISTS",
        "DATA.TRAIN_JITTER_SCALES",
        "DATA.TRAIN_JITTER_SCALES_RELATIVE",
        "DATA.TRAIN_JITTER_ASPECT_RELATIVE",
        "DATA.TRAIN_CROP_SIZE",
        "DATA.RANDOM_FLIP",
        "DATA.FLIP",
        "DATA.FLIP_CLASS_PAIRS",
        "TEST.BATCH_SIZE",
        "TEST.STRIPS",
        # what is asked beside, and added to the results of a test
        "TEST.MOTION_CHECK",
        "TEST.ROBUSTNESS",
    }
