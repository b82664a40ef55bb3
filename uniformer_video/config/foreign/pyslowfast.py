"""The model classes of PySlowFast: the peer that each of them is here, or why there is none.

A class takes its network from its config. `ARCHITECTURES` has the keys that it reads for that, with
PySlowFast's default and the value of our peer: any other value makes another network, which is refused
with the nearest peer.
"""

from typing import Any

from uniformer_video.config.foreign.absent import refuse_network
from uniformer_video.config.foreign.architectures import ARCHITECTURES
from uniformer_video.config.foreign.words import Words
from uniformer_video.config.setting import TEST, TRAINING
from uniformer_video.errors import ConfigError, quote
from uniformer_video.program import command

_NAME, _ARCH = "MODEL.MODEL_NAME", "MODEL.ARCH"
_PEERS = ("x3d_xs", "x3d_s", "x3d_m", "slow_r50", "slowfast_r50", "r2plus1d_r50", "mvit_base_16x4")
# Where a config names no class, the architecture tells it.
_CLASS_OF = {
    "2d": "ResNet",
    "c2d": "ResNet",
    "c2d_nopool": "ResNet",
    "csn": "PTVCSN",
    "i3d": "ResNet",
    "i3d_nopool": "ResNet",
    "mvit": "MViT",
    "r2plus1d": "PTVR2plus1D",
    "slow": "ResNet",
    "slow_c2d": "ResNet",
    "slowfast": "SlowFast",
    "uniformer": "Uniformer",
    "x3d": "X3D",
}
_NEAREST = {
    "resnet": "slow_r50",
    "slowfast": "slowfast_r50",
    "x3d": "x3d_m",
    "r2plus1d": "r2plus1d_r50",
    "mvit": "mvit_base_16x4",
    "csn": "r2plus1d_r50",
}
_NATIVE = {"X3D": "x3d", "SlowFast": "slowfast", "ResNet": "resnet", "MViT": "mvit"}
_FROM_PYTORCHVIDEO = {
    "PTVX3D": "x3d",
    "PTVSlowFast": "slowfast",
    "PTVResNet": "resnet",
    "PTVMViT": "mvit",
    "PTVR2plus1D": "r2plus1d",
    "PTVCSN": "csn",
}
_PICTURES = {"frames", "ssv2", "ptvssv2"}  # data sets without times of frames
# What a config of theirs means where it leaves these out.
_DEFAULTS = {
    "AUG.ENABLE": False,
    "AUG.AA_TYPE": "rand-m9-mstd0.5-inc1",
    "MIXUP.ENABLE": False,
    "DATA.NUM_FRAMES": 8,
    "DATA.SAMPLING_RATE": 8,
    "DATA.TEST_CROP_SIZE": 256,
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [],
    "DATA.USE_OFFSET_SAMPLING": False,
    "SOLVER.BASE_LR": 0.1,
    "SOLVER.CLIP_GRADIENT": 0.0,
    "SOLVER.COSINE_AFTER_WARMUP": False,
    "SOLVER.COSINE_END_LR": 0.0,
    "SOLVER.MAX_EPOCH": 300,
    "SOLVER.OPTIMIZING_METHOD": "sgd",
    "SOLVER.WARMUP_EPOCHS": 0.0,
    "SOLVER.WARMUP_START_LR": 0.01,
    "SOLVER.WEIGHT_DECAY": 1e-4,
    "SOLVER.ZERO_WD_1D_PARAM": False,
    "TEST.NUM_ENSEMBLE_VIEWS": 10,
    "TEST.NUM_SPATIAL_CROPS": 3,
    "TRAIN.BATCH_SIZE": 64,
}


def refuse_other_trades(settings: dict[str, Any]) -> None:
    """Raise `ConfigError` for configs of what is not done here at all: `settings` by key, in any words.

    By what they are about, before any of their keys is found to be unknown.
    """
    name, arch = str(settings.get(_NAME)).lower(), str(settings.get(_ARCH)).lower()
    unlabelled = "models are trained on labels here, from scratch or from published weights"
    trades = {
        "an audio model": (
            settings.get("DATA.USE_AUDIO") is True or "avslowfast" in (name, arch),
            "models here see pictures alone; the nearest is slowfast_r50",
        ),
        "masked pre-training (MAE, MaskFeat)": (
            settings.get("MASK.ENABLE") is True
            or settings.get("AUG.GEN_MASK_LOADER") is True
            or "maskmvit" in (name, arch),
            unlabelled,
        ),
        "self-supervised pre-training": (
            name == "contrastivemodel" or settings.get("TASK") == "ssl",
            unlabelled,
        ),
        "detection": (settings.get("DETECTION.ENABLE") is True, "only whole videos are recognised"),
    }
    for trade, (asked, instead) in trades.items():
        if asked:
            raise ConfigError(f"the settings are those of {trade}, which is not here: {instead}")
    if _NAME in settings:
        refuse_network(settings[_NAME], _NAME)
    elif _ARCH in settings and settings[_ARCH] not in _CLASS_OF:
        refuse_network(settings[_ARCH], _ARCH)


def name_by_architecture(words: Words) -> None:
    """Where no class is named, MODEL.ARCH tells it."""
    arch = words.get(_ARCH)
    if _NAME in words.values or arch is None:
        return
    if arch not in _CLASS_OF:
        raise ConfigError(
            f"{_ARCH} is {arch!r}, and no {_NAME} is given; set {_NAME}, which "
            f"`{command('models')}` lists, or {_ARCH} to one of {', '.join(_CLASS_OF)}"
        )
    words.values[_NAME] = _CLASS_OF[arch]
    words.sources[_NAME] = words.sources[_ARCH]
    words.said.append(f"{_ARCH} {arch} -> {_NAME} {_CLASS_OF[arch]}")


def model_class(words: Words) -> None:
    """The peer that stands for a class of PySlowFast, with PySlowFast's defaults for what is left out."""
    name = words.get(_NAME)
    if name in _FROM_PYTORCHVIDEO:
        words.theirs, words.from_pytorchvideo = _FROM_PYTORCHVIDEO[name], True
    elif name in _NATIVE:
        words.theirs = _NATIVE[name]
    else:
        _take_peer_instead(words)
        return
    _check_architecture(words, name)
    _leave_out_what_it_does_not_read(words)
    peer = _peer(words)
    shown = words.complete(_defaults(words, peer))
    words.said.append(f"{_NAME} {name} -> {peer}{shown}")
    words.values[_NAME] = peer
    _set_label_smoothing(words)


def _take_peer_instead(words: Words) -> None:
    """A peer's name that was set beside a config of PySlowFast, on the command line: its recipe is meant."""
    name, arch = words.get(_NAME), words.get(_ARCH)
    if name not in _PEERS or arch not in _CLASS_OF or arch == "uniformer":
        return
    if words.sources[_NAME] > words.sources[_ARCH]:
        shown = words.complete(_defaults(words, name))
        words.said.append(f"{_ARCH} {arch}, in place of which {_NAME} {name} is set{shown}")
        _set_label_smoothing(words)


def _check_architecture(words: Words, name: str) -> None:
    """Take out the keys that the class reads; `ConfigError` where they make another network."""
    nearest = _peer(words)
    way_on = f"set {_NAME} {nearest} to take that, or see `{command('models')}`"
    missing = "is a model of PySlowFast that is not here"
    if words.theirs not in ARCHITECTURES:
        raise ConfigError(f"{_NAME} {name} {missing}; the nearest one is {nearest}: {way_on}")
    for key, known in ARCHITECTURES[words.theirs].items():
        given = words.values.pop(key, known.theirs)
        read = not (known.native and words.from_pytorchvideo)
        if read and _per_stage(given) != _per_stage(known.ours):
            left_out = "" if key in words.sources else " (PySlowFast's default)"
            raise ConfigError(
                f"{_NAME} {name} with {key} {quote(given)}{left_out} {missing}; the nearest one is "
                f"{nearest}, with {quote(known.ours)}: {way_on}"
            )


def _per_stage(value: Any) -> Any:
    """`[[3, 3], [4, 4]]`, of two pathways that are alike, as `[[3], [4]]`; anything else as it is."""
    if not isinstance(value, list) or not all(isinstance(stage, list) for stage in value):
        return value
    alike = [stage[:1] if all(entry == stage[0] for entry in stage) else stage for stage in value]
    return alike if len(value) == 4 else value


def _leave_out_what_it_does_not_read(words: Words) -> None:
    """Settings of ours that their class does not look at."""
    if words.theirs != "mvit":
        words.ignore("MVIT.DROPPATH_RATE", "the model has no such setting")
    if words.theirs == "mvit" or words.from_pytorchvideo:
        words.ignore("BN.MOMENTUM", "the model does not read it")
    zero_decay = words.values.pop("MVIT.ZERO_DECAY_POS_CLS", True)
    if words.theirs == "mvit":
        words.complete({"SOLVER.ZERO_WD_POS_EMBED": zero_decay})


def _peer(words: Words) -> str:
    """The named model; X3D's differ in the size of their clips alone."""
    sizes = words.get("DATA.NUM_FRAMES", 8), words.get("DATA.TRAIN_CROP_SIZE", 224)
    if words.theirs == "x3d":
        return {(4, 160): "x3d_xs", (13, 160): "x3d_s"}.get(sizes, "x3d_m")
    return _NEAREST[words.theirs]


def _defaults(words: Words, peer: str) -> dict[str, Any]:
    """PySlowFast's defaults, and how its tests scale a video."""
    found = dict(_DEFAULTS)
    if not words.get("SOLVER.ZERO_WD_1D_PARAM", False):
        found["BN.WEIGHT_DECAY"] = 0.0  # which for them has no say about BatchNorm
    if peer == "mvit_base_16x4":
        found["MVIT.DROPPATH_RATE"] = 0.1
    # their heads give probabilities outside of training, and those are summed over views
    act = words.get("MODEL.HEAD_ACT", "softmax")
    if act == ("sigmoid" if words.several_labels else "softmax"):
        found["TEST.SCORE"] = act
    crops = words.get("TEST.NUM_SPATIAL_CROPS", found["TEST.NUM_SPATIAL_CROPS"])
    scales = words.get("DATA.TRAIN_JITTER_SCALES", [256, 320])
    side = words.get("DATA.TEST_CROP_SIZE", found["DATA.TEST_CROP_SIZE"])
    test_set = str(words.get("TEST.DATASET", "kinetics")).lower()
    scaled = test_set == "ptvkinetics" or (crops == 1 and not test_set.startswith("ptv"))
    if scaled and isinstance(scales, list) and scales and scales[0] >= side:
        found["DATA.TEST_SCALE"] = scales[0]
    datasets = {
        str(words.get(f"{part.partition('.')[0]}.DATASET", "kinetics")).lower()
        for part in (TRAINING, TEST)
        if words.get(part) is not False
    }
    if not datasets & _PICTURES:
        found["DATA.TARGET_FPS"] = 30.0
    elif words.get("DATA.TARGET_FPS"):
        words.ignore("DATA.TARGET_FPS", "lists of pictures know no times")
    return found


def _set_label_smoothing(words: Words) -> None:
    """Theirs is part of mixup, and only there."""
    key = "MIXUP.LABEL_SMOOTH_VALUE"
    if words.get("MIXUP.ENABLE"):
        return
    if words.sources.get(key, -1) <= words.sources[_NAME]:
        words.values[key] = 0.0
