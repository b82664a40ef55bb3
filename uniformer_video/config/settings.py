"""Every setting with its default, type and meaning; loading, overriding and checking.

The tree is fvcore's `CfgNode` with the key names of PySlowFast and UniFormer. Files may start from
another file through `_BASE_`. An unknown key is an error that names the nearest known one; keys of
those projects that are not ours go through `config/foreign.py`.
"""

import difflib
import re
from pathlib import Path

import yaml
from fvcore.common.config import CfgNode

from uniformer_video.config.foreign import is_foreign, translate, with_task
from uniformer_video.config.rules import CHOICES, check
from uniformer_video.errors import ConfigError

# (key, default, meaning). The default's type is the key's type.
SETTINGS = [
    ("MODEL.MODEL_NAME", "uniformer_s", "architecture: a name that `create_model` knows"),
    ("MODEL.NUM_CLASSES", 0, "classes; 0 = as many as the class names or labels say"),
    ("MODEL.USE_CHECKPOINT", False, "recompute activations in the backward pass, to save memory"),
    ("MODEL.CHECKPOINT_NUM", [0, 0, 0, 0], "how many first blocks of each stage recompute"),
    ("UNIFORMER.EMBED_DIM", [], "channels of the four stages; [] = the named model's"),
    ("UNIFORMER.DEPTH", [], "blocks of the four stages; [] = the named model's"),
    ("UNIFORMER.HEAD_DIM", 0, "channels of an attention head; 0 = the named model's"),
    ("UNIFORMER.MLP_RATIO", 0.0, "hidden channels of an FFN over its channels; 0 = the model's"),
    ("UNIFORMER.LOCAL_KERNEL", [], "time, height, width; [] = the weights', else [3, 5, 5]"),
    ("UNIFORMER.ADAPT_KERNEL", False, "fit weights of another temporal kernel, and report it"),
    ("UNIFORMER.SPLIT", False, "attention over time, then over space, in stages 3 and 4"),
    ("UNIFORMER.STD", False, "patch embeddings 2 to 4 look at three frames, 3x2x2"),
    ("UNIFORMER.LAYER_SCALE", False, "learnable factors on both branches of every block"),
    ("UNIFORMER.INIT_VALUE", 0.1, "what these factors start from"),
    ("UNIFORMER.PRUNE_RATIO", [], "light: share of tokens kept, by block of stages 3 and 4"),
    ("UNIFORMER.TRADE_OFF", [], "light: share of a block's own row in the tokens' importance"),
    ("UNIFORMER.DROP_DEPTH_RATE", 0.1, "stochastic depth of the last block"),
    ("UNIFORMER.PRETRAIN_NAME", "", "weights to start from: a path, a URL, a published name"),
    ("UNIFORMER.INFLATE_MODE", "average", "2D weights to 3D: average or center"),
    ("DATA.PATH_TO_DATA_DIR", "", "folder of lists, of videos, or of shards (also an address)"),
    ("DATA.PATH_PREFIX", "", "put before the paths of the csv; empty = the csv's own folder"),
    ("DATA.PATH_LABEL_SEPARATOR", "auto", "between path and label: auto = last comma or blank"),
    ("DATA.LABEL_PATH_TEMPLATE", "", "frames: name of a list, {} for its split; empty = {}.txt"),
    ("DATA.IMAGE_TEMPLATE", "img_{:05d}.jpg", "frames: name of a frame by its number, from 1"),
    ("DATA.SPLIT_NUMBER", 1, "ucf101, hmdb51: which of the three official splits"),
    ("DATA.CLASS_NAMES", "", "file with one class name a line; empty = classes.txt if there"),
    ("DATA.VAL_RATIO", 0.2, "share of a folder of videos that is held out, by RNG_SEED"),
    ("DATA.BALANCE", 0.0, "0 = classes as frequent as they are ... 1 = all equally frequent"),
    ("DATA.MAX_BAD_RATIO", 0.1, "training stops when more of the videos are broken"),
    (
        "DATA.DECODING_BACKEND",
        "auto",
        "auto (pyav, exact on every file), pyav, decord or torchcodec",
    ),
    ("DATA.DECODE_SHORT_SIDE", 0, "larger videos are scaled down to it in decoding; 0 = exact"),
    ("DATA.NUM_FRAMES", 16, "frames of a clip"),
    ("DATA.SAMPLING_RATE", 4, "temporal stride of a clip, in frames of the video"),
    ("DATA.TARGET_FPS", 0.0, "strides count frames of the video at this rate; 0 = its own frames"),
    ("DATA.SAMPLING", "dense", "dense (a window of the video) or segment (over all of it)"),
    ("DATA.USE_OFFSET_SAMPLING", True, "spread test clips from the first frame to the last"),
    ("DATA.REVERSE_FRAMES", False, "play the test videos backwards"),
    ("DATA.MEAN", [0.45, 0.45, 0.45], "subtracted from values in [0, 1], per channel"),
    ("DATA.STD", [0.225, 0.225, 0.225], "divides after that, per channel"),
    ("DATA.CHANNEL_ORDER", "RGB", "RGB or BGR: the order the model sees"),
    ("DATA.TRAIN_JITTER_SCALES", [256, 320], "short side before a plain random crop, min and max"),
    ("DATA.TRAIN_JITTER_SCALES_RELATIVE", [0.08, 1.0], "area of the resized crop; [] = plain crop"),
    ("DATA.TRAIN_JITTER_ASPECT_RELATIVE", [0.75, 1.3333], "aspect ratio of the resized crop"),
    ("DATA.TRAIN_CROP_SIZE", 224, "side of a training clip, in pixels"),
    ("DATA.TEST_CROP_SIZE", 224, "side of a test view, in pixels"),
    ("DATA.TEST_SCALE", 0, "short side before the test crop; 0 = the crop's side"),
    ("DATA.RANDOM_FLIP", True, "mirror half of the training clips left to right"),
    ("DATA.FLIP", "auto", "auto (RANDOM_FLIP decides), off, all, skip-directional or swap-labels"),
    ("DATA.FLIP_CLASS_PAIRS", [], "pairs that a mirrored clip exchanges; [] = by their names"),
    ("DATA.OPPOSITE_CLASS_PAIRS", [], "pairs of classes that a reversed video exchanges"),
    ("AUG.ENABLE", True, "RandAugment, erasing and repeated augmentation in training"),
    ("AUG.NUM_SAMPLE", 1, "copies of each training clip, augmented independently"),
    ("AUG.AA_TYPE", "rand-m7-n4-mstd0.5-inc1", "RandAugment policy; empty = none"),
    ("AUG.COLOR_JITTER", 0.4, "brightness, contrast, saturation; used when AA_TYPE is empty"),
    ("AUG.INTERPOLATION", "bicubic", "of RandAugment's geometry: bicubic or bilinear"),
    ("AUG.RE_PROB", 0.25, "probability of random erasing"),
    ("AUG.ON_DEVICE", "off", "what the training device does: off, normalise (and erase) or all"),
    ("MIXUP.ENABLE", True, "mixup and cutmix"),
    ("MIXUP.ALPHA", 0.8, "Beta parameter of mixup; 0 = cutmix only"),
    ("MIXUP.CUTMIX_ALPHA", 1.0, "Beta parameter of cutmix; 0 = mixup only"),
    ("MIXUP.PROB", 1.0, "probability that a batch is mixed"),
    ("MIXUP.SWITCH_PROB", 0.5, "probability of cutmix where both are on"),
    ("MIXUP.LABEL_SMOOTH_VALUE", 0.1, "label smoothing, with and without mixup"),
    ("TRAIN.ENABLE", True, "train; False = only test"),
    (
        "TRAIN.DATASET",
        "kinetics",
        "kinetics (csv), folder, frames, shards, ssv2-json, ucf101 or hmdb51",
    ),
    ("TRAIN.TASK", "single-label", "or multi-label (as DATA.MULTI_LABEL True), or one registered"),
    ("TRAIN.BATCH_SIZE", 32, "videos of a step on one machine, over its NUM_GPUS"),
    ("TRAIN.EVAL_PERIOD", 1, "epochs between validations; 0 = never"),
    ("TRAIN.CHECKPOINT_PERIOD", 1, "epochs between checkpoints"),
    ("TRAIN.CHECKPOINT_MINUTES", 10.0, "and minutes between checkpoints inside an epoch"),
    ("TRAIN.PRECISION", "auto", "auto (bf16 on CUDA, fp32 on CPU), fp32, bf16 or fp16"),
    ("TRAIN.MAX_NONFINITE", 10, "training stops after so many non-finite losses in a row"),
    ("TEST.ENABLE", True, "run the multi-view test and write the report"),
    ("TEST.DATASET", "", "format of the test data; empty = as TRAIN.DATASET"),
    ("TEST.BATCH_SIZE", 16, "views of a forward pass"),
    ("TEST.NUM_ENSEMBLE_VIEWS", 4, "clips of a video"),
    ("TEST.NUM_SPATIAL_CROPS", 1, "crops of a clip: 1 (centre) or 3 (along the longer side)"),
    ("TEST.SCORE", "logits", "sum of logits (as published), softmax, or sigmoid (multi-label)"),
    ("TEST.CHECKPOINT_FILE_PATH", "", "weights to test; empty = those of OUTPUT_DIR"),
    ("TEST.WEIGHTS", "best", "which of OUTPUT_DIR's weights to test: best or last"),
    ("TEST.MOTION_CHECK", False, "also test backwards and on the still middle frame"),
    ("SOLVER.BASE_LR", 1e-4, "peak learning rate"),
    ("SOLVER.BASE_LR_SCALE_NUM_SHARDS", False, "multiply the learning rates by NUM_SHARDS"),
    ("SOLVER.WARMUP_EPOCHS", 10.0, "linear warm-up"),
    ("SOLVER.WARMUP_START_LR", 1e-6, "learning rate at the start of the warm-up"),
    ("SOLVER.COSINE_END_LR", 1e-6, "learning rate at the end of the cosine"),
    ("SOLVER.MAX_EPOCH", 110, "length of the training"),
    ("SOLVER.WEIGHT_DECAY", 0.05, "AdamW's, on convolution and linear weights"),
    ("SOLVER.ZERO_WD_POS_EMBED", False, "no decay on position kernels too; published runs decay"),
    (
        "SOLVER.CLASS_BALANCE",
        0.0,
        "weight of a class in the loss: its frequency to minus this, 0..1",
    ),
    ("SOLVER.CLASS_WEIGHTS", [], "these weights instead, one a class in the order of their names"),
    ("SOLVER.CLIP_GRADIENT", 20.0, "largest gradient norm; 0 = no clipping"),
    ("DATA_LOADER.NUM_WORKERS", -1, "decoding processes; -1 = one a core, at most 16"),
    (
        "DATA_LOADER.TIMEOUT",
        300.0,
        "seconds to wait for a video before it counts as broken; 0 = for ever, as without workers",
    ),
    (
        "DISTRIBUTED.TIMEOUT",
        120.0,
        "seconds without a heartbeat after which one of many processes is given up",
    ),
    ("TENSORBOARD.ENABLE", True, "write TensorBoard curves where it is installed"),
    ("NUM_GPUS", 1, "processes a machine the recipe was made for"),
    ("NUM_SHARDS", 1, "machines the recipe was made for"),
    ("RNG_SEED", 0, "every random draw follows from it"),
    ("LOG_PERIOD", 10, "steps between log lines"),
    ("OUTPUT_DIR", "", "where everything is written; empty = runs/<config name>"),
]
DEFAULTS = {key: default for key, default, _ in SETTINGS}

# Types of the entries of lists that are empty by default; pairs of classes take names and numbers.
_ELEMENTS = {
    **dict.fromkeys(("UNIFORMER.EMBED_DIM", "UNIFORMER.DEPTH", "UNIFORMER.LOCAL_KERNEL"), int),
    "SOLVER.CLASS_WEIGHTS": float,
}


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-4` is a number, as in Python; YAML 1.1 wants `1.0e-4`."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load_config(path=None, overrides=()):
    """The checked, frozen `CfgNode` of a YAML file and `KEY VALUE` overrides.

    Raises `ConfigError` for a missing file, an unknown key, a wrong type or settings that cannot go
    together.
    """
    entries = [(f"in {file}", key, value) for file, key, value in _read_files(path)] if path else []
    for key, text in _pairs(overrides):
        entries.append(("on the command line", key, _parse_value(key, text)))
    return _build(entries)


def config_from_tree(tree, source):
    """The checked, frozen `CfgNode` of nested settings, in this or another project's words.

    `source` is where they stand, for messages. Raises `ConfigError` as `load_config` does.
    """
    return _build([(f"in {source}", key, value) for key, value in _flatten(tree)])


def _build(entries):
    """The `CfgNode` of (place, key, value) in the order in which they override each other."""
    places = list(dict.fromkeys(where for where, _, _ in entries))
    given, origin = {}, {}
    for where, key, value in entries:
        _check_known(key, where)
        given[key] = (_without_tuples(key, value), places.index(where))
        origin[key] = where
    flat = {key: _copy(value) for key, value in DEFAULTS.items()}
    for key, value in translate(given, DEFAULTS).items():
        flat[key] = _convert(key, value, origin.get(key, "for another project's setting"))
    check(flat)
    cfg = _tree(flat)
    cfg.freeze()
    return cfg


def config_text(cfg):
    """The whole tree as YAML that `load_config` reads back."""
    return yaml.safe_dump(nested(cfg), sort_keys=False, default_flow_style=None, width=100)


def config_from_text(text, source="the checkpoint"):
    """The tree stored as YAML by `config_text`. Keys that this version lacks are left out."""
    flat = {key: _copy(value) for key, value in DEFAULTS.items()}
    try:
        tree = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        tree = None
    if not isinstance(tree, dict):
        raise ConfigError(f"the settings in {source} are damaged; use another OUTPUT_DIR")
    for key, value in with_task(dict(_flatten(tree))).items():
        if key in DEFAULTS:
            flat[key] = _convert(key, value, f"in {source}")
    return _tree(flat)


def flat_config(cfg):
    """`{"DATA.NUM_FRAMES": 16, ...}` in the order of `SETTINGS`."""
    values = {}
    for key in DEFAULTS:
        node = cfg
        for part in key.split("."):
            node = node[part]
        values[key] = node
    return values


def nested(cfg):
    """The tree as plain dicts, lists and scalars."""
    return {k: nested(v) if isinstance(v, CfgNode) else v for k, v in cfg.items()}


def describe():
    """One line a key: name, default, meaning."""
    width = max(len(key) for key in DEFAULTS)
    return "\n".join(f"{key:{width}}  {default!r:28} {text}" for key, default, text in SETTINGS)


def _read_files(path, seen=()):
    """Yield (file, key, value) of a file and its bases, bases first."""
    path = Path(path)
    if path.resolve() in seen:
        chain = " -> ".join(str(p) for p in (*seen, path.resolve()))
        raise ConfigError(f"the _BASE_ files go in a circle: {chain}")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config file {path}: {_reason(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} is not a config: it must hold `KEY: value` lines")
    base = tree.pop("_BASE_", None)
    if base is not None:
        yield from _read_files(path.parent / base, (*seen, path.resolve()))
    for key, value in _flatten(tree):
        yield path, key, value


def _reason(error):
    return getattr(error, "strerror", None) or str(error)


def _flatten(tree, prefix=""):
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{key}.")
        else:
            yield key, value


def _pairs(overrides):
    overrides = list(overrides)
    for word in overrides:
        key, equals, value = str(word).partition("=")
        if equals and key in DEFAULTS:
            raise ConfigError(f"write {key} {value}, with a blank in place of the =")
    if len(overrides) % 2:
        raise ConfigError(
            f"settings come in pairs, KEY VALUE; {overrides[-1]!r} has no value (or no key)"
        )
    return zip(overrides[::2], overrides[1::2], strict=True)


def _check_known(key, where):
    """Raise `ConfigError` for a key that is neither ours nor another project's."""
    if key in DEFAULTS or is_foreign(key):
        return
    near = difflib.get_close_matches(key, DEFAULTS, n=1, cutoff=0.0)[0]
    same_name = [known for known in DEFAULTS if known.split(".")[-1] == key.split(".")[-1].upper()]
    near = same_name[0] if same_name else near
    raise ConfigError(
        f"unknown setting {key} {where}; did you mean {near}? "
        "(`uniformer-video config --keys` lists all)"
    )


def _parse_value(key, text):
    """A value from the command line: YAML, with text kept as it is for text settings."""
    if not isinstance(text, str) or isinstance(DEFAULTS.get(key), str):
        return text
    if isinstance(DEFAULTS.get(key), list):
        return _parse_list(text)
    return _parse_yaml(text)


def _parse_list(text):
    """`[a, b]`, `(a, b)` or `a, b` as a list."""
    text = text.strip()
    if text[:1] == "(":
        text = f"[{text[1:].rstrip(')')}]"
    elif text[:1] != "[":
        text = f"[{text}]"
    return _parse_yaml(text)


def _parse_yaml(text):
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text


def _without_tuples(key, value):
    """A list for the text of a Python tuple, which PySlowFast's files may hold for any list."""
    as_it_is = not isinstance(value, str) or isinstance(DEFAULTS.get(key), str)
    return value if as_it_is or not re.fullmatch(r"\(.*\)", value) else _parse_list(value)


def _convert(key, value, where):
    """`value` in the type of the key's default, or a `ConfigError`."""
    default = DEFAULTS[key]
    if isinstance(default, str) and value is None:
        return ""
    if value is False and "off" in CHOICES.get(key, ()):
        return "off"  # YAML reads a bare `off` as False
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, list) and isinstance(value, (list, tuple)):
        element = type(default[0]) if default else _ELEMENTS.get(key)
        items = [float(v) if element is float and type(v) is int else v for v in value]
        if element is None or all(type(item) is element for item in items):
            return items
    elif type(value) is type(default):
        return value
    kind = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    wanted = kind.get(type(default), f"a list such as {default or [3, 5, 5]}")
    raise ConfigError(f"{key} is {value!r} {where}; it must be {wanted}")


def _copy(value):
    return list(value) if isinstance(value, list) else value


def _tree(flat):
    cfg = CfgNode()
    for key, value in flat.items():
        node = cfg
        *sections, name = key.split(".")
        for section in sections:
            if section not in node:
                node[section] = CfgNode()
            node = node[section]
        node[name] = value
    return cfg
