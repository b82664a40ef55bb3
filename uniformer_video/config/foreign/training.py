"""What their settings of a training are here, and which of them nobody can honour.

What changes the network stops at once. What only bends a training, or a test, stops that: everything else,
such as showing the settings or counting a model's cost, can be done with the same file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uniformer_video.config.foreign.words import Words
from uniformer_video.config.setting import TEST, TRAINING
from uniformer_video.errors import ConfigError


def _always(words: Words) -> bool:
    return True


def _erases(words: Words) -> bool:
    return bool(words.get("AUG.ENABLE", True)) and words.get("AUG.RE_PROB", 0.25) != 0


def _crops_plainly(words: Words) -> bool:
    """Their data sets from pytorchvideo have one way to scale, whatever this says."""
    plain = not words.get("DATA.TRAIN_JITTER_SCALES_RELATIVE", [0.08, 1.0])
    return plain and not str(words.get("TRAIN.DATASET")).lower().startswith("ptv")


def _reads_norms(words: Words) -> bool:
    """The published UniFormer takes torch's BatchNorm whatever is said of it, MViT has none."""
    return words.theirs not in ("uniformer", "mvit")


def _is_uniformer(words: Words) -> bool:
    return words.theirs in ("uniformer", "")


def _is_convolutional(words: Words) -> bool:
    """One of PySlowFast's own classes, not those from pytorchvideo; or the peer that stands for it."""
    own = words.theirs or str(words.get("MODEL.MODEL_NAME")).startswith(("x3d", "slow"))
    return bool(own) and words.theirs not in ("uniformer", "mvit") and not words.from_pytorchvideo


def _may_drop_blocks(words: Words) -> bool:
    return words.theirs == "" or _is_convolutional(words)


def _is_mvit(words: Words) -> bool:
    return words.theirs == "mvit"


def _is_caffe2_read(key: str) -> Callable[[Words], bool]:
    return lambda words: bool(words.get(key))


@dataclass(frozen=True)
class Bend:
    """A setting of theirs that asks a phase of a run for something that is not here.

    ours: the values that ask for what is done anyway. way_on: what is done, and what to set. used: Words ->
    whether their code would have used it; else it is ignored like what has no meaning.
    """

    ours: Callable[[Any], bool]
    way_on: str
    used: Callable[[Words], bool] = _always
    phase: str = TRAINING


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


_NOTHING = _one_of(None, False, 0)
BENDS = {
    "AUG.RE_COUNT": Bend(_one_of(1), "one box is erased: set it to 1", _erases),
    "AUG.RE_MODE": Bend(
        _one_of("pixel"), "the erased box is filled with noise: set it to pixel", _erases
    ),
    "BN.NORM_TYPE": Bend(
        _one_of("batchnorm", "sync_batchnorm"),
        "statistics are those of a part of a step, or of all parts: set it to batchnorm or sync_batchnorm",
    ),
    "DATA.COLOR_RND_GRAYSCALE": Bend(_NOTHING, "no clip is made grey: set it to 0"),
    "DATA.INV_UNIFORM_SAMPLE": Bend(
        _NOTHING, "a plain crop's scale is drawn uniformly: set it to False", _crops_plainly
    ),
    "DATA.LOADER_CHUNK_SIZE": Bend(_NOTHING, "an epoch takes all of a list: set it to 0"),
    "DATA.SKIP_ROWS": Bend(_NOTHING, "all rows of a list are read: set it to 0"),
    "DATA.SSL_COLOR_JITTER": Bend(_NOTHING, "there is AUG.COLOR_JITTER: set it to False"),
    "DATA.TIME_DIFF_PROB": Bend(_NOTHING, "clips are pictures as they are: set it to 0"),
    "DATA.TRAIN_CROP_NUM_SPATIAL": Bend(_one_of(1), "see AUG.NUM_SAMPLE, and set it to 1"),
    "DATA.TRAIN_CROP_NUM_TEMPORAL": Bend(_one_of(1), "see AUG.NUM_SAMPLE, and set it to 1"),
    "DATA.TRAIN_JITTER_FPS": Bend(_NOTHING, "a clip's stride is not jittered: set it to 0"),
    "DATA.TRAIN_JITTER_MOTION_SHIFT": Bend(_NOTHING, "all frames have one crop: set it to False"),
    "MODEL.DROPCONNECT_RATE": Bend(
        _NOTHING,
        "set it to 0 (UniFormers have UNIFORMER.DROP_DEPTH_RATE)",
        _may_drop_blocks,
    ),
    "MODEL.FC_INIT_STD": Bend(
        _one_of(0.01),
        "classifiers start from a deviation of 0.01: set it to that",
        _is_convolutional,
    ),
    "MULTIGRID.LONG_CYCLE": Bend(_NOTHING, "all steps have clips of one size: set it to False"),
    "MULTIGRID.SHORT_CYCLE": Bend(_NOTHING, "all steps have clips of one size: set it to False"),
    "MVIT.DROPOUT_RATE": Bend(_NOTHING, "blocks have no such dropout: set it to 0", _is_mvit),
    "MVIT.HEAD_INIT_SCALE": Bend(
        _one_of(1), "a fresh classifier is not scaled: set it to 1", _is_mvit
    ),
    "RESNET.ZERO_INIT_FINAL_BN": Bend(
        _one_of(True), "residual branches start at zero: set it to True", _is_convolutional
    ),
    "SOLVER.CLIP_GRAD_VAL": Bend(
        _NOTHING, "gradients are clipped by their norm: set SOLVER.CLIP_GRADIENT, and this to 0"
    ),
    "SOLVER.LARS_ON": Bend(_NOTHING, "there is no LARS: set it to False"),
    "TEST.CHECKPOINT_TYPE": Bend(
        _one_of("pytorch"),
        "Caffe2's weights are not read: give pytorch's, and set it to pytorch",
        _is_caffe2_read("TEST.CHECKPOINT_FILE_PATH"),
        TEST,
    ),
    "TEST.NUM_TEMPORAL_CLIPS": Bend(
        _one_of([], None), "a run tests one number of clips: give one, such as [10]", phase=TEST
    ),
    "TRAIN.CHECKPOINT_TYPE": Bend(
        _one_of("pytorch"),
        "Caffe2's weights are not read: give pytorch's, and set it to pytorch",
        _is_caffe2_read("TRAIN.CHECKPOINT_FILE_PATH"),
    ),
}
# What makes another network: (is it ours?, what is here, would their code have used it?)
_NETWORK = {
    "BN.EPSILON": (_one_of(1e-5), "BatchNorm's epsilon is 1e-5 here", _reads_norms),
    "UNIFORMER.STAGE_TYPE": (
        _one_of([0, 0, 1, 1]),
        "two stages are local, then two global",
        _is_uniformer,
    ),
}


def network(words: Words) -> None:
    """`ConfigError` for what makes another network than the one that is here."""
    for key, (is_ours, here, used) in _NETWORK.items():
        if key in words.values and used(words) and not is_ours(words.get(key)):
            raise ConfigError(
                f"{key} is {words.get(key)!r}, and {here}; no other network can be built: leave it out"
            )
    _channels(words)


def _channels(words: Words) -> None:
    """Clips have three channels, on each of SlowFast's pathways; some classes read the first number alone."""
    key = "DATA.INPUT_CHANNEL_NUM"
    value = words.get(key)
    slowfast = words.theirs == "slowfast" or words.get("MODEL.MODEL_NAME") == "slowfast_r50"
    allowed = [[3], [3, 3]] if slowfast else [[3]]
    if key not in words.values or value in allowed:
        return
    if words.theirs in ("uniformer", "mvit") and isinstance(value, list) and value[:1] == [3]:
        return
    raise ConfigError(
        f"{key} is {value!r}; the models here take clips of 3 channels: set it to "
        f"{' or '.join(map(str, allowed))}, or leave it out"
    )


def norms(words: Words) -> None:
    """Kinds of BatchNorm that come to the plain one, or that their code does not read."""
    key = "BN.NORM_TYPE"
    kind = words.get(key)
    if words.theirs == "mvit":
        words.ignore(key, "the model has no BatchNorm")
    elif not _reads_norms(words) and (kind != "sync_batchnorm" or _is_in_their_file(words, key)):
        words.ignore(key)
    elif kind == "sub_batchnorm" and words.get("BN.NUM_SPLITS") in (None, 1):
        words.replace(key, "batchnorm")
    elif kind == "sync_batchnorm" and not words.get("BN.GLOBAL_SYNC"):
        _synchronised_groups(words)


def _is_in_their_file(words: Words, key: str) -> bool:
    """Whether `key` stands where the model of theirs is named, and not in what somebody adds to it."""
    named = [words.sources.get(f"MODEL.{name}") for name in ("MODEL_NAME", "ARCH")]
    return bool(words.theirs) and words.sources.get(key) in named


def _synchronised_groups(words: Words) -> None:
    """PySlowFast synchronises groups of so many devices, None for those of a machine; here all processes.

    A file of theirs that does not say how many means groups of one.
    """
    key = "BN.NUM_SYNC_DEVICES"
    by_them = _is_in_their_file(words, "BN.NORM_TYPE")
    if key not in words.values and not by_them:
        return
    gpus, machines = (words.get(name, 1) for name in ("NUM_GPUS", "NUM_SHARDS"))
    devices = words.get(key, gpus if key in words.values else 1)
    devices = gpus if devices is None else devices
    if devices == 1:
        words.values["BN.NORM_TYPE"] = "batchnorm"
        words.ignored.append(
            f"BN.NORM_TYPE sync_batchnorm: groups of one device, {key} 1, have nothing to synchronise; "
            "BN.GLOBAL_SYNC True synchronises all"
        )
    elif devices != gpus * machines:
        words.leave_unmet(key, "all processes are one group: set BN.GLOBAL_SYNC True")


def layers(words: Words) -> None:
    """PySlowFast takes any decay that is not between 0 and 1 for none; MViT has no BatchNorm to freeze."""
    key = "SOLVER.LAYER_DECAY"
    decay = words.get(key)
    if words.theirs and isinstance(decay, int | float) and not 0 < decay <= 1:
        words.replace(key, 1.0)
    if words.theirs == "mvit":
        for name in ("MODEL.FROZEN_BN", "BN.USE_PRECISE_STATS", "BN.NUM_BATCHES_PRECISE"):
            words.ignore(name, "the model has no BatchNorm")


def clipping(words: Words) -> None:
    """PySlowFast's name for the largest gradient norm, without which nothing is clipped."""
    key = "SOLVER.CLIP_GRAD_L2NORM"
    if key in words.values:
        words.move(key, "SOLVER.CLIP_GRADIENT", words.get(key) or 0.0)


def optimizer(words: Words) -> None:
    """AdamW in one step is AdamW; what is neither that nor SGD cannot be had."""
    key = "SOLVER.OPTIMIZING_METHOD"
    method = words.get(key)
    if method == "mt_adamw":
        words.replace(key, "adamw")
    elif method == "adam":
        words.leave_unmet(key, "Adam adds its decay to the gradients: set it to adamw or sgd")
    lrs, steps = words.get("SOLVER.LRS"), words.get("SOLVER.STEPS")
    if isinstance(lrs, list) and isinstance(steps, list) and len(lrs) > len(steps) > 0:
        surplus = ", ".join(map(str, lrs[len(steps) :]))
        words.replace("SOLVER.LRS", lrs[: len(steps)])
        words.ignored.append(f"{surplus} of SOLVER.LRS: SOLVER.STEPS has no step for it")


def loss(words: Words) -> None:
    """Here the loss follows from the task."""
    key = "MODEL.LOSS_FUNC"
    several = words.several_labels
    crossed, binary = ("soft_cross_entropy", "cross_entropy"), ("bce", "bce_logit")
    given = words.get(key)
    if given in (None, *(binary if several else crossed)):
        return
    if given not in crossed + binary:
        words.leave_unmet(
            key,
            "models are trained by cross entropy, with TRAIN.TASK multi-label by binary cross entropy: "
            f"set it to {'bce' if several else 'cross_entropy'}",
        )
    elif several:
        words.ignore(key, "binary cross-entropy is used, as TRAIN.TASK is multi-label")
    else:
        words.ignore(
            key, "the loss follows from TRAIN.TASK; multi-label trains by binary cross-entropy"
        )


def bends(words: Words) -> None:
    """Leave unmet what asks for another training or test than can be had."""
    for key, bend in BENDS.items():
        if key in words.values and bend.used(words) and not bend.ours(words.get(key)):
            words.leave_unmet(key, bend.way_on, bend.phase)
