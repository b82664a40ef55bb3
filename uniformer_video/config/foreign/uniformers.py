"""The model classes of the published UniFormer, and what is special beside them."""

from uniformer_video.config.foreign.words import Words
from uniformer_video.errors import ConfigError

# The sizes that their models have where a config leaves them out, those of our uniformer_s.
_SIZES = {
    "UNIFORMER.EMBED_DIM": [64, 128, 320, 512],
    "UNIFORMER.DEPTH": [3, 4, 8, 3],
    "UNIFORMER.HEAD_DIM": 64,
    "UNIFORMER.MLP_RATIO": 4.0,
}
_LIGHT_CLASSES = ("uniformer_light", "uniformer_light_fp32", "uniformer_light_ls_fp32")


def stage_lists(words: Words) -> None:
    """Theirs have a list for each of the four stages, though only the last two shrink tokens."""
    for key in ("UNIFORMER.PRUNE_RATIO", "UNIFORMER.TRADE_OFF"):
        value = words.get(key)
        if isinstance(value, list) and len(value) == 4 and value[:2] == [[], []]:
            words.values[key] = value[2:]


def mlp_ratio(words: Words) -> None:
    """Theirs may be a list, one number a stage; here all stages have one."""
    value = words.get("UNIFORMER.MLP_RATIO")
    if not isinstance(value, list):
        return
    if len(value) != 4 or any(ratio != value[0] for ratio in value):
        raise ConfigError(
            f"UNIFORMER.MLP_RATIO is {value!r}; all stages have one ratio here: give one number"
        )
    words.replace("UNIFORMER.MLP_RATIO", value[0])


def attention(words: Words) -> None:
    """None stands for the default there."""
    for key in ("UNIFORMER.QKV_BIAS", "UNIFORMER.QKV_SCALE", "UNIFORMER.REPRESENTATION_SIZE"):
        if key in words.values and words.get(key) is None:
            words.values.pop(key)


def model_class(words: Words) -> None:
    """Their classes take their size from other keys, and their local kernel is always 5x5x5.

    A model of each kind stands for them here, whatever the sizes; a run goes under the name of the one
    that has these sizes.
    """
    theirs = str(words.get("MODEL.MODEL_NAME")).lower()
    light = theirs in _LIGHT_CLASSES
    if theirs != "uniformer" and not light:
        return
    words.theirs = "uniformer"
    with_it = {"UNIFORMER.LOCAL_KERNEL": [5, 5, 5], **(_SIZES if light else {})}
    if "_ls" in theirs:
        with_it["UNIFORMER.LAYER_SCALE"] = True
    if "_fp32" in theirs:
        with_it["TRAIN.PRECISION"] = "fp32"  # that of their attention
    if not light:  # their defaults set these for every model
        for key in ("UNIFORMER.PRUNE_RATIO", "UNIFORMER.TRADE_OFF"):
            if words.values.pop(key, None):
                words.ignored.append(key)
    # They have no such dropout, and their BatchNorm is torch's, whatever these say.
    words.ignore("MODEL.DROPOUT_RATE")
    words.ignore("BN.MOMENTUM")
    if words.get("SOLVER.ZERO_WD_1D_PARAM") is False:  # which for them has no say about BatchNorm
        words.complete({"BN.WEIGHT_DECAY": 0.0})
    words.replace("MODEL.MODEL_NAME", "uniformer_xxs" if light else "uniformer_s", with_it)


def target_fps(words: Words) -> None:
    """Beside a model class of theirs it is a default that changes no published number."""
    key, name = "DATA.TARGET_FPS", "MODEL.MODEL_NAME"
    theirs = str(words.get(name)).lower() in ("uniformer", *_LIGHT_CLASSES)
    if theirs and words.get(key) and words.sources[key] == words.sources[name]:
        words.ignore(key, "strides count the frames of the video, as published")
