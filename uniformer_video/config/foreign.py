"""Keys and values of other projects' configs: the published UniFormer's and PySlowFast's.

Three things happen to them. What means the same here under another name is translated, by the rules
in `_RULES`, and one log line says all of it. What means nothing here (`SECTIONS`, `KEYS`)
is ignored, and one warning lists it, with a word where another value than ours was asked for
(`_OURS`). What cannot be had here is an error.

What a file of theirs leaves out takes *our* default, not theirs. The exceptions follow from a name
of theirs that is given: a model class brings the 5x5x5 kernel and the sizes of their default model, a
data set class its sampling, its channel order and its names of lists and frames.
"""

import logging

from uniformer_video.errors import ConfigError

log = logging.getLogger(__name__)

# Whole sections, with all that is nested in them.
SECTIONS = (
    "AVA",
    "BENCHMARK",
    "BN",
    "CONTRASTIVE",
    "DEMO",
    "DETECTION",
    "MASK",
    "MULTIGRID",
    "MVIT",
    "NONLOCAL",
    "RESNET",
    "SLOWFAST",
    "TENSORBOARD",
    "VIS_MASK",
    "X3D",
)
# Keys by section, "" at the top; a trailing underscore covers all that begin so.
KEYS = {
    "": "DIST_BACKEND LOG_MODEL_INFO SHARD_ID TASK",
    "AUG": "GEN_MASK_LOADER MASK_ MAX_MASK_ RE_COUNT RE_MODE RE_SPLIT",
    "DATA": "COLOR_RND_GRAYSCALE CROP_SIZE DECODING_SHORT_SIZE DUMMY_LOAD IN22K_TRAINVAL "
    "IN22k_VAL_IN1K IN_VAL_CROP_RATIO INPUT_CHANNEL_NUM INV_UNIFORM_SAMPLE LOADER_CHUNK_ MC "
    "PATH_TO_PRELOAD_IMDB SKIP_ROWS SSL_ TIME_DIFF_PROB TRAIN_CROP_NUM_ "
    "TRAIN_JITTER_FPS TRAIN_JITTER_MOTION_SHIFT TRAIN_PCA_EIGVAL TRAIN_PCA_EIGVEC",
    "DATA_LOADER": "ENABLE_MULTI_THREAD_DECODE PIN_MEMORY",
    "MODEL": "ACT_CHECKPOINT ARCH DETACH_FINAL_FC DROPCONNECT_RATE DROPOUT_RATE FC_INIT_STD "
    "FP16_ALLREDUCE FROZEN_BN HEAD_ACT LOSS_FUNC MULTI_PATHWAY_ARCH SINGLE_PATHWAY_ARCH",
    "SOLVER": "BETAS CLIP_GRAD_VAL COSINE_AFTER_WARMUP DAMPENING GAMMA LARS_ON LAYER_DECAY "
    "LR_POLICY LRS MOMENTUM NESTEROV OPTIMIZING_METHOD STEP_SIZE STEPS WARMUP_FACTOR "
    "ZERO_WD_1D_PARAM",
    "TEST": "CHECKPOINT_TYPE NUM_TEMPORAL_CLIPS SAVE_RESULTS_PATH",
    "TRAIN": "AUTO_RESUME CHECKPOINT_CLEAR_NAME_PATTERN CHECKPOINT_EPOCH_RESET CHECKPOINT_IN_INIT "
    "CHECKPOINT_INFLATE CHECKPOINT_TYPE KILL_LOSS_EXPLOSION_FACTOR SAVE_LATEST",
    "UNIFORMER": "ATTENTION_DROPOUT_RATE DROPOUT_RATE HEAD_DROPOUT_RATE QKV_BIAS QKV_SCALE "
    "REPRESENTATION_SIZE STAGE_TYPE",
}
# Keys that have a rule below.
TRANSLATED = (
    "DATA.ENSEMBLE_METHOD",
    "DATA.MULTI_LABEL",
    "DATA.REVERSE_INPUT_CHANNEL",
    "SOLVER.CLIP_GRAD_L2NORM",
    "TEST.TEST_BEST",
    "TRAIN.CHECKPOINT_FILE_PATH",
    "TRAIN.MIXED_PRECISION",
)

# What is always done here, in their words, and what to say to somebody who asked for another thing.
_OURS = {
    "AUG.RE_COUNT": ((1,), "one box is erased"),
    "AUG.RE_MODE": (("pixel",), "the erased box is filled with noise"),
    "AUG.RE_SPLIT": ((False,), "every copy may be erased"),
    "BN.USE_PRECISE_STATS": ((False,), "BatchNorm keeps its running statistics"),
    "DATA.INV_UNIFORM_SAMPLE": ((False,), "see DATA.SAMPLING"),
    "MODEL.DETACH_FINAL_FC": ((False,), "the whole model is trained"),
    "MODEL.FROZEN_BN": ((False,), "the whole model is trained"),
    "SOLVER.BETAS": (([0.9, 0.999],), "AdamW has betas 0.9 and 0.999"),
    "SOLVER.CLIP_GRAD_VAL": ((None, 0), "gradients are clipped by their norm"),
    "SOLVER.COSINE_AFTER_WARMUP": ((True,), "the cosine begins after the warm-up"),
    "SOLVER.LARS_ON": ((False,), "AdamW is used"),
    "SOLVER.LAYER_DECAY": ((1,), "all layers learn at one rate"),
    "SOLVER.LR_POLICY": (("cosine",), "a cosine is used"),
    "SOLVER.OPTIMIZING_METHOD": (("adamw",), "AdamW is used"),
    "SOLVER.ZERO_WD_1D_PARAM": ((True,), "parameters of one dimension do not decay"),
    "TRAIN.AUTO_RESUME": ((True,), "a run goes on from what its OUTPUT_DIR holds"),
    "UNIFORMER.ATTENTION_DROPOUT_RATE": ((0,), "there is no such dropout"),
    "UNIFORMER.DROPOUT_RATE": ((0,), "there is no such dropout"),
    "UNIFORMER.HEAD_DROPOUT_RATE": ((0,), "there is no such dropout"),
    "UNIFORMER.QKV_BIAS": ((True,), "the attention has this bias"),
    "UNIFORMER.QKV_SCALE": ((None,), "it follows from the head's width"),
    "UNIFORMER.REPRESENTATION_SIZE": ((None,), "the head is one linear layer"),
}


# The sizes that their models have where a config leaves them out, those of our uniformer_s.
_THEIR_SIZES = {
    "UNIFORMER.EMBED_DIM": [64, 128, 320, 512],
    "UNIFORMER.DEPTH": [3, 4, 8, 3],
    "UNIFORMER.HEAD_DIM": 64,
    "UNIFORMER.MLP_RATIO": 4.0,
}
_LIGHT_CLASSES = ("uniformer_light", "uniformer_light_fp32", "uniformer_light_ls_fp32")


# Their data set classes: the format here, and what else each of them fixes. Frames read as pictures
# come in BGR order. The names of lists and pictures are their defaults, whatever the data set.
_PICTURES = {
    "DATA.CHANNEL_ORDER": "BGR",
    "DATA.LABEL_PATH_TEMPLATE": "somesomev1_rgb_{}_split.txt",
    "DATA.IMAGE_TEMPLATE": "{:05d}.jpg",
}
_DATASETS = {
    "kinetics": ("kinetics", {}),
    "kinetics_sparse": ("kinetics", {"DATA.SAMPLING": "segment"}),
    "sth": ("frames", {"DATA.SAMPLING": "segment", **_PICTURES}),
    "hmdb": ("frames", _PICTURES),
    "ssv2": ("frames", {"DATA.SAMPLING": "segment", "DATA.CHANNEL_ORDER": "BGR"}),
}


def is_foreign(key):
    """Whether `key` is a key of the other projects that this one does not have."""
    section, dot, name = key.partition(".")
    if (dot and section in SECTIONS) or key in TRANSLATED:
        return True
    section, name = (section, name) if dot else ("", key)
    return any(
        name == known or (known[-1] == "_" and name.startswith(known))
        for known in KEYS.get(section, "").split()
    )


def translate(given, known):
    """`{our key: value}` and `{our key: source}` of settings in any of the projects' words.

    given: `{key: (value, source)}`; a larger source number overrides a smaller one, and the settings
    of one file have one number. What only follows from a setting has no source. known: our keys. Says
    in one log line what was translated, and in one warning what was ignored. Raises `ConfigError` for
    what cannot be had here.
    """
    words = _Words(given)
    for rule in _RULES:
        rule(words)
    for key in [key for key in words.values if key not in known]:
        words.ignored.append(_remark(key, words.values.pop(key)))
    if words.said:
        log.info("Taken from other projects' names: %s", "; ".join(words.said))
    if words.ignored:
        log.warning(
            "These settings have no meaning here and are ignored: %s", ", ".join(words.ignored)
        )
    return words.values, {key: words.sources[key] for key in words.values if key in words.sources}


class _Words:
    """The settings under way, and what is to be said about them."""

    def __init__(self, given):
        # PySlowFast's reader takes the text None for no value.
        self.values = {k: None if value == "None" else value for k, (value, _) in given.items()}
        self.sources = {key: source for key, (_, source) in given.items()}
        self.said = []
        self.ignored = []

    def get(self, key):
        return self.values.get(key)

    def flag(self, key):
        """A switch of theirs; None where it is not given."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise ConfigError(f"{key} is {value!r}; it must be True or False")
        return value

    def replace(self, key, value, with_it=()):
        """Give `key` another value, and the settings in `with_it` theirs unless they are given."""
        new = {k: v for k, v in dict(with_it).items() if k not in self.values}
        shown = "".join(f", {k} {v}" for k, v in new.items())
        self.said.append(f"{key} {self.values[key]} -> {value}{shown}")
        self.values |= {key: value, **new}

    def move(self, key, target, value):
        """Take `key` out and set `target`, unless that is given beside it or later."""
        old = self.values.pop(key)
        if self.get(target) and self.sources.get(target, -1) >= self.sources[key]:
            self.ignored.append(f"{key} {old}: {target} {self.get(target)} is given")
            return
        self.values[target] = value
        self.sources[target] = self.sources[key]
        self.said.append(f"{key} {old} -> {target} {value}")


def _stage_lists(words):
    """Theirs have a list for each of the four stages, though only the last two shrink tokens."""
    for key in ("UNIFORMER.PRUNE_RATIO", "UNIFORMER.TRADE_OFF"):
        value = words.get(key)
        if isinstance(value, list) and len(value) == 4 and value[:2] == [[], []]:
            words.values[key] = value[2:]


def _mlp_ratio(words):
    """Theirs may be a list, one number a stage; here all stages have one."""
    value = words.get("UNIFORMER.MLP_RATIO")
    if not isinstance(value, list):
        return
    if len(value) != 4 or any(ratio != value[0] for ratio in value):
        raise ConfigError(
            f"UNIFORMER.MLP_RATIO is {value!r}; all stages have one ratio here: give one number"
        )
    words.replace("UNIFORMER.MLP_RATIO", value[0])


def _model_name(words):
    """Their classes take their size from other keys, and their local kernel is always 5x5x5.

    A model of each kind stands for them here, whatever the sizes; a run goes under the name of the one
    that has these sizes.
    """
    theirs = str(words.get("MODEL.MODEL_NAME")).lower()
    light = theirs in _LIGHT_CLASSES
    if theirs != "uniformer" and not light:
        return
    with_it = {"UNIFORMER.LOCAL_KERNEL": [5, 5, 5], **(_THEIR_SIZES if light else {})}
    if "_ls" in theirs:
        with_it["UNIFORMER.LAYER_SCALE"] = True
    if "_fp32" in theirs:
        with_it["TRAIN.PRECISION"] = "fp32"  # that of their attention
    if not light:  # their defaults set these for every model
        for key in ("UNIFORMER.PRUNE_RATIO", "UNIFORMER.TRADE_OFF"):
            if words.values.pop(key, None):
                words.ignored.append(key)
    words.replace("MODEL.MODEL_NAME", "uniformer_xxs" if light else "uniformer_s", with_it)


def _target_fps(words):
    """Beside a model class of theirs it is a default that changes no published number."""
    key, name = "DATA.TARGET_FPS", "MODEL.MODEL_NAME"
    theirs = str(words.get(name)).lower() in ("uniformer", *_LIGHT_CLASSES)
    if theirs and words.get(key) and words.sources[key] == words.sources[name]:
        value = words.values.pop(key)
        words.ignored.append(f"{key} {value}: strides count the frames of the video, as published")


def _dataset(words):
    """Their data set classes fix the sampling, the channel order and the names of files."""
    used = {}
    for part in ("TRAIN", "TEST"):
        name = str(words.get(f"{part}.DATASET")).lower()
        if name not in _DATASETS:
            continue
        ours, with_it = _DATASETS[name]
        if words.get(f"{part}.ENABLE") is False:
            with_it = {}
        else:
            used[f"{part}.DATASET {name}"] = with_it
        if words.get(f"{part}.DATASET") != ours:
            words.replace(f"{part}.DATASET", ours, with_it)
    _check_alike(used, words.sources)
    if words.flag("DATA.REVERSE_INPUT_CHANNEL"):
        pictures = any("DATA.CHANNEL_ORDER" in with_it for with_it in used.values())
        order = "RGB" if pictures else "BGR"
        words.move("DATA.REVERSE_INPUT_CHANNEL", "DATA.CHANNEL_ORDER", order)
    words.values.pop("DATA.REVERSE_INPUT_CHANNEL", None)


def _check_alike(used, explicit):
    """A run has one sampling and one channel order."""
    for key in ("DATA.SAMPLING", "DATA.CHANNEL_ORDER"):
        if key not in explicit and len({with_it.get(key) for with_it in used.values()}) > 1:
            raise ConfigError(
                f"{' and '.join(used)} differ in {key}, and a run has only one: set it, or make the "
                "data sets alike"
            )


def _precision(words):
    """Mixed precision is float16 there; here it is what suits the device."""
    mixed = words.flag("TRAIN.MIXED_PRECISION")
    if mixed is not None:
        words.move("TRAIN.MIXED_PRECISION", "TRAIN.PRECISION", "auto" if mixed else "fp32")


def _start_weights(words):
    """Weights to start from have two keys there, one of them for whole checkpoints."""
    path = words.get("TRAIN.CHECKPOINT_FILE_PATH")
    if path:
        words.move("TRAIN.CHECKPOINT_FILE_PATH", "UNIFORMER.PRETRAIN_NAME", path)
    words.values.pop("TRAIN.CHECKPOINT_FILE_PATH", None)


def _tested_weights(words):
    """Their switch is a choice here."""
    best = words.flag("TEST.TEST_BEST")
    if best is not None:
        words.move("TEST.TEST_BEST", "TEST.WEIGHTS", "best" if best else "last")


def _ensemble(words):
    """Views are summed here; their other way, the largest score, is not built."""
    method = words.values.pop("DATA.ENSEMBLE_METHOD", None)
    if method not in (None, "sum"):
        raise ConfigError(
            f"DATA.ENSEMBLE_METHOD is {method!r}; the scores of views are summed here: set it to "
            "sum, or leave it out (TEST.SCORE says which scores)"
        )


def _clipping(words):
    """PySlowFast's name for the largest gradient norm."""
    norm = words.get("SOLVER.CLIP_GRAD_L2NORM")
    if norm:
        words.move("SOLVER.CLIP_GRAD_L2NORM", "SOLVER.CLIP_GRADIENT", norm)


def _machine(words):
    """A decoder that is not here, and no GPU, which here is one process too."""
    if words.get("DATA.DECODING_BACKEND") == "torchvision":
        words.replace("DATA.DECODING_BACKEND", "auto")
    if words.get("NUM_GPUS") == 0:
        words.replace("NUM_GPUS", 1)


def _aspect(words):
    """Empty where the resized crop is off; here the empty area alone tells that."""
    if words.get("DATA.TRAIN_JITTER_ASPECT_RELATIVE") == []:
        del words.values["DATA.TRAIN_JITTER_ASPECT_RELATIVE"]


def with_task(values):
    """`values`, a dict of settings, with TRAIN.TASK in place of DATA.MULTI_LABEL, its other name.

    Raises `ConfigError` where both are given and contradict each other.
    """
    key, task, named = "DATA.MULTI_LABEL", values.get("TRAIN.TASK"), "multi-label"
    several = values.get(key)
    values = {known: value for known, value in values.items() if known != key}
    if several is None or several == (task == named):
        return values
    if task is None:
        return {**values, "TRAIN.TASK": named}
    raise ConfigError(
        f"{key} is {several} and TRAIN.TASK is {task}, which contradict each other: {key} True is "
        f"another name of TRAIN.TASK {named}; set one of them"
    )


def _task(words):
    """PySlowFast says with a switch what a model is trained for."""
    key, name = "DATA.MULTI_LABEL", "TRAIN.TASK"
    if key in words.values and name in words.values:
        first, last = sorted((key, name), key=lambda given: words.sources[given])
        if words.sources[first] < words.sources[last]:
            del words.values[first]  # as everywhere, what comes later counts
    if words.flag(key):
        words.sources.setdefault("TRAIN.TASK", words.sources[key])
    words.values = with_task(words.values)


def _loss(words):
    """Here the loss follows from the task."""
    key = "MODEL.LOSS_FUNC"
    several = words.get("TRAIN.TASK") == "multi-label"
    fitting = ("bce", "bce_logit") if several else ("soft_cross_entropy", "cross_entropy")
    if words.get(key) in (None, *fitting):
        return
    done = "binary cross-entropy is used, as TRAIN.TASK is multi-label"
    if not several:
        done = "the loss follows from TRAIN.TASK; multi-label trains by binary cross-entropy"
    words.ignored.append(f"{key} {words.values.pop(key)}: {done}")


_RULES = (
    _stage_lists,
    _mlp_ratio,
    _target_fps,
    _model_name,
    _dataset,
    _precision,
    _start_weights,
    _tested_weights,
    _ensemble,
    _clipping,
    _machine,
    _aspect,
    _task,
    _loss,
)


def _remark(key, value):
    """`key`, and where its value asks for another thing than what is done: the value and what is."""
    accepted, done = _OURS.get(key, ((value,), ""))
    return key if value in accepted else f"{key} {value}: {done}"
