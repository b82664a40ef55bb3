"""Settings against what is registered: models, tasks, formats of lists, decoders; and those without effect.

`load_config` knows no names of these, since anybody may add one.
"""

from contextlib import suppress

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config.register import plugin_of
from uniformer_video.config.rows import DEFAULTS
from uniformer_video.config.setting import TEST, TRAINING
from uniformer_video.config.settings import unmet_settings
from uniformer_video.config.unused import Unused, report_unused, unused_settings
from uniformer_video.data.clips.auto_augment import policy_of
from uniformer_video.data.clips.images import check_on_device
from uniformer_video.data.clips.variants import ABOUT_TIME, STRENGTHS
from uniformer_video.data.decoding.decoders import find_decoder
from uniformer_video.data.lists.formats import (
    ListFormat,
    find_format,
    holds_masks,
    list_formats,
    medium_of,
)
from uniformer_video.data.lists.media import IMAGE, MEDIA, VIDEO, Medium
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_task import build_task
from uniformer_video.runs.build_token_labels import check_maps_named, check_token_labels
from uniformer_video.tasks.segmentation import Segmentation
from uniformer_video.tasks.task import Task
from uniformer_video.training.precision import choose_precision
from uniformer_video.zoo.family import NamedModel
from uniformer_video.zoo.registry import MODELS, find_model

_FORMAT_SWITCHES = ("TRAIN.DATASET", "TEST.DATASET")
# What the build of a run reads for a model of any family: the weights to start from.
_READ_FOR_ANY_MODEL = ("UNIFORMER.PRETRAIN_NAME", "UNIFORMER.INFLATE_MODE")
_ABOUT_THE_MODEL = ("UNIFORMER.", "MODEL.USE_CHECKPOINT", "MODEL.CHECKPOINT_NUM")
# What is about time, and what is about images alone.
_OF_VIDEOS: tuple[str, ...] = (
    "DATA.NUM_FRAMES",
    "DATA.SAMPLING_RATE",
    "DATA.TARGET_FPS",
    "DATA.SAMPLING",
    "DATA.USE_OFFSET_SAMPLING",
    "DATA.REVERSE_FRAMES",
    "DATA.OPPOSITE_CLASS_PAIRS",
    "DATA.CACHE_GB",
    "DATA.CACHE_DIR",
    "DATA.FRAME_INDEX",
    "TEST.NUM_ENSEMBLE_VIEWS",
    "TEST.NUM_SPATIAL_CROPS",
    "TEST.MOTION_CHECK",
)
_OF_IMAGES: tuple[str, ...] = ("DATA.TEST_CROP_RATIO",)
# What whole pictures with masks do without, and what no others have.
_OF_CLASSES: tuple[str, ...] = (
    *(key for key in DEFAULTS if key.startswith("MIXUP.") and key != "MIXUP.LABEL_SMOOTH_VALUE"),
    "AUG.AA_TYPE",
    "AUG.COLOR_JITTER",
    "AUG.INTERPOLATION",
    "AUG.RE_PROB",
    "DATA.BALANCE",
    "DATA.FLIP_CLASS_PAIRS",
    "DATA.TRAIN_JITTER_SCALES",
    "DATA.TRAIN_JITTER_SCALES_RELATIVE",
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE",
    "DATA.TEST_CROP_SIZE",
    "DATA.TEST_SCALE",
    "DATA.TEST_CROP_RATIO",
    "TEST.BATCH_SIZE",
)
_OF_MASKS = tuple(key for key in DEFAULTS if key.startswith("SEGMENTATION."))
# What only some models have, and configs of other projects set for all of them.
_RATES = ("MODEL.DROPOUT_RATE", "MVIT.DROPPATH_RATE")


def check_precisions(cfg: CfgNode, device: torch.device) -> None:
    """Raises `ConfigError` where the device does not compute as the training or the test is to: a test comes
    after hours of training.
    """
    if cfg.TRAIN.ENABLE:
        choose_precision(cfg.TRAIN.PRECISION, device)
    if cfg.TEST.ENABLE:
        choose_precision(Protocol.from_cfg(cfg).precision, device)


def check_settings(cfg: CfgNode) -> None:
    """What can be said before any list is read: errors, and one warning of settings without effect.

    Raises `ConfigError`.
    """
    check_data_settings(cfg)
    _check_medium(cfg)
    _check_local_kernel(cfg)
    check_token_labels(cfg)
    _check_robustness(cfg)
    task = build_task(cfg)
    _check_answers(cfg, task)
    if cfg.TRAIN.ENABLE and cfg.AUG.ENABLE and cfg.AUG.AA_TYPE:
        policy_of(cfg.AUG.AA_TYPE)  # raises for one that is not known
    if cfg.TRAIN.ENABLE:
        _check_slots(cfg)
    if cfg.TRAIN.ENABLE and is_of_images(cfg):
        check_on_device(cfg.AUG.ON_DEVICE)
    unused = {
        **unused_settings(cfg),
        **settings_of_other_formats(cfg),
        **settings_of_other_media(cfg),
        **rates_of_other_models(cfg),
    }
    if cfg.TEST.ENABLE and not task.has_analyses:
        reason = f"TRAIN.TASK {task.name} has no check of motion"
        unused["DATA.OPPOSITE_CLASS_PAIRS"] = Unused(reason, ("TRAIN.TASK",))
    report_unused(cfg, unused, settings_of_other_models(cfg))


def check_phases(cfg: CfgNode) -> None:
    """Raise `ConfigError` where another project's settings ask a phase of the run for what is not here, and
    where it lacks the label maps that its recipe leaves to whoever has them.
    """
    check_maps_named(cfg)
    for phase, wanted in ((TRAINING, cfg.TRAIN.ENABLE), (TEST, cfg.TEST.ENABLE)):
        unmet = unmet_settings(cfg, phase)
        if wanted and unmet:
            raise ConfigError(f"{unmet}; or set {phase} False")


def settings_without_effect(cfg: CfgNode) -> set[str]:
    """The keys of the settings that other settings, the formats of lists or the model put aside.

    Where a name is not registered (any more), its part is left out.
    """
    keys = set(unused_settings(cfg))
    for part in (
        settings_of_other_formats,
        settings_of_other_media,
        rates_of_other_models,
        settings_of_other_models,
    ):
        with suppress(ConfigError):
            keys |= part(cfg).keys()
    return keys


def check_data_settings(cfg: CfgNode) -> None:
    """Raise `ConfigError` for an unknown format or decoder, and for what these cannot do."""
    decoder = find_decoder(cfg.DATA.DECODING_BACKEND)
    for used in _used_formats(cfg):
        if cfg.DATA.TARGET_FPS and not used.times_known:
            raise ConfigError(
                f"DATA.TARGET_FPS {cfg.DATA.TARGET_FPS:g} needs the times of frames, and the format "
                f"{used.name} (TRAIN.DATASET or TEST.DATASET) knows none; set it to 0"
            )
        if decoder.of_images and used.medium != IMAGE.name:
            raise ConfigError(
                f"DATA.DECODING_BACKEND {decoder.name} reads images, and the format {used.name} lists "
                "videos; set it to auto"
            )
        if used.in_shards and used.medium == VIDEO.name and not decoder.reads_shards:
            raise ConfigError(
                f"DATA.DECODING_BACKEND {decoder.name} cannot read videos in shards (TRAIN.DATASET or "
                f"TEST.DATASET {used.name}); set it to auto"
            )


def medium_of_lists(cfg: CfgNode) -> Medium:
    """What the lists of a run hold: videos or images."""
    return MEDIA[medium_of(cfg.TRAIN.DATASET)]


def is_of_images(cfg: CfgNode) -> bool:
    """Whether the lists of a run hold images, and not videos."""
    return medium_of_lists(cfg) is IMAGE


def _check_medium(cfg: CfgNode) -> None:
    """Raise `ConfigError` where the model, the training and the test are not all about videos, or images."""
    model = find_model(cfg.MODEL.MODEL_NAME)
    for setting, used in zip(_FORMAT_SWITCHES, _used_formats(cfg), strict=False):
        if used.medium == (IMAGE if model.takes_images else VIDEO).name:
            continue
        same = [each.name for each in list_formats() if each.medium != used.medium]
        mend = f"{setting} to one of {', '.join(same)}"
        if model.takes_images:
            raise ConfigError(
                f"MODEL.MODEL_NAME {model.name} takes images, and {setting} {used.name} lists videos; set "
                f"{mend}; or take {model.video_model or 'a video model'}, with image weights as "
                "UNIFORMER.PRETRAIN_NAME"
            )
        raise ConfigError(
            f"MODEL.MODEL_NAME {model.name} takes videos, and {setting} {used.name} lists images; set "
            f"{mend}; or take a model of images, such as image_uniformer_s"
        )


def _check_answers(cfg: CfgNode, task: Task) -> None:
    """Raise `ConfigError` where a model of pixels meets a task of whole videos or images, or the reverse, and
    for settings that ask for classes of whole pictures where there are masks.
    """
    model = find_model(cfg.MODEL.MODEL_NAME)
    of_pixels = [known.name for known in MODELS.values() if known.family.labels_pixels]
    if model.family.labels_pixels and task.scoring != "pixels":
        raise ConfigError(
            f"MODEL.MODEL_NAME {model.name} classifies pixels, and TRAIN.TASK is {task.name}; set it to "
            f"{Segmentation.name}, with lists of masks, or take a classifier of videos or images"
        )
    if task.scoring == "pixels" and not model.family.labels_pixels:
        raise ConfigError(
            f"TRAIN.TASK {task.name} needs a model that classifies pixels, and MODEL.MODEL_NAME {model.name} "
            f"classifies {'images' if model.takes_images else 'videos'}; take one of {', '.join(of_pixels)}"
        )
    if not (holds_masks(cfg.TRAIN.DATASET) and cfg.TRAIN.ENABLE):
        return
    if cfg.DATA.FLIP not in ("auto", "off", "all"):
        raise ConfigError(
            f"DATA.FLIP {cfg.DATA.FLIP} goes by the class of a whole picture, and the lists hold masks; set "
            "it to off or all"
        )
    if cfg.SOLVER.CLASS_BALANCE:
        raise ConfigError(
            f"SOLVER.CLASS_BALANCE {cfg.SOLVER.CLASS_BALANCE:g} goes by how often a list names a class, and "
            "the lists hold masks; give SOLVER.CLASS_WEIGHTS"
        )


def _check_local_kernel(cfg: CfgNode) -> None:
    """Raise `ConfigError` for a kernel over time in a model of images, or without it in one of videos."""
    model, kernel = find_model(cfg.MODEL.MODEL_NAME), cfg.UNIFORMER.LOCAL_KERNEL
    sides = ("height", "width") if model.takes_images else ("time", "height", "width")
    if kernel and len(kernel) != len(sides):
        medium, example = ("images", "[5, 5]") if model.takes_images else ("videos", "[3, 5, 5]")
        raise ConfigError(
            f"UNIFORMER.LOCAL_KERNEL is {kernel}, and MODEL.MODEL_NAME {model.name} takes {medium}; it must "
            f"be [{', '.join(sides)}], such as {example}, or [] for that of the weights"
        )


def _check_slots(cfg: CfgNode) -> None:
    """Raise `ConfigError` where a slot has fewer pictures than the model's BatchNorm can take."""
    name, least = cfg.MODEL.MODEL_NAME, find_model(cfg.MODEL.MODEL_NAME).family.least_batch
    size = cfg.TRAIN.BATCH_SIZE // cfg.NUM_GPUS
    if size < least:
        raise ConfigError(
            f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE} in {cfg.NUM_GPUS} parts (NUM_GPUS) is {size} a part, "
            f"and {name} has BatchNorm on means of whole images, which takes {least} or more; set "
            f"TRAIN.BATCH_SIZE {least * cfg.NUM_GPUS} or more, or a lower NUM_GPUS"
        )


def _check_robustness(cfg: CfgNode) -> None:
    """Raise `ConfigError` where a test of images is to be made worse as only videos can be."""
    about_time = [kind for kind in cfg.TEST.ROBUSTNESS if kind in ABOUT_TIME]
    if cfg.TEST.ENABLE and is_of_images(cfg) and about_time:
        of_images = [kind for kind in STRENGTHS if kind not in ABOUT_TIME]
        raise ConfigError(
            f"TEST.ROBUSTNESS {about_time[0]} is about the frames of a video, and the test is of images; "
            f"these take {', '.join(of_images)}, or all"
        )


def settings_of_other_media(cfg: CfgNode) -> dict[str, Unused]:
    """`{key: Unused}` of the settings about videos, where the lists hold images, and the reverse; likewise of
    those about classes of whole images, and about masks.
    """
    keys, noun = (_OF_VIDEOS, "images") if is_of_images(cfg) else (_OF_IMAGES, "videos")
    reason = f"the format {cfg.TRAIN.DATASET} lists {noun}, which have no such thing"
    found = {key: Unused(reason, ("TRAIN.DATASET",), gives_way=True) for key in keys}
    keys, listed = (_OF_MASKS, "no masks")
    if holds_masks(cfg.TRAIN.DATASET):
        keys, listed = (_OF_CLASSES, "pictures with masks, which have no such thing")
    reason = f"the format {cfg.TRAIN.DATASET} lists {listed}"
    found |= {key: Unused(reason, ("TRAIN.DATASET",), gives_way=True) for key in keys}
    if is_of_images(cfg) and not find_decoder(cfg.DATA.DECODING_BACKEND).of_images:
        reads = Unused("images are read by Pillow alone", ("TRAIN.DATASET",), gives_way=True)
        found["DATA.DECODING_BACKEND"] = reads
    return found


def settings_of_other_formats(cfg: CfgNode) -> dict[str, Unused]:
    """`{key: Unused}` of the settings that formats of lists read, but not those that are used."""
    used = _used_formats(cfg)
    read = {key for each in used for key in each.settings}
    of_any = {key for each in list_formats() for key in each.settings if key.startswith("DATA.")}
    names = " and ".join(dict.fromkeys(each.name for each in used))
    of_any -= {
        "DATA.GROUP_PATTERN",
        *(["DATA.VAL_RATIO"] if cfg.DATA.FOLDS else []),
    }  # whatever reads them
    unread = dict.fromkeys(sorted(of_any - read), f"the format {names} reads no such setting")
    if not any(each.needs_decoder for each in used):
        unread["DATA.DECODING_BACKEND"] = f"the format {names} holds no videos to decode"
    return {key: Unused(reason, _FORMAT_SWITCHES, gives_way=True) for key, reason in unread.items()}


def settings_of_other_models(cfg: CfgNode) -> dict[str, str]:
    """`{key: reason}` of the settings about the model that the chosen one does not have, set or not.

    The keys are those of `UNIFORMER`, those of recomputed activations, and those of plugins. Raises
    `ConfigError` for a model that nobody knows.
    """
    model = find_model(cfg.MODEL.MODEL_NAME)
    unread = {}
    of_plugins = {
        key
        for other in MODELS.values()
        for key in other.family.settings
        if plugin_of(key) is not None
    }
    for key in DEFAULTS:
        if not (key.startswith(_ABOUT_THE_MODEL) or key in of_plugins):
            continue
        if key not in model.family.settings and key not in _READ_FOR_ANY_MODEL:
            unread[key] = _has_no_such(model, key)
    return unread


def rates_of_other_models(cfg: CfgNode) -> dict[str, Unused]:
    """`{key: Unused}` of the rates of dropout that the chosen model does not have."""
    model = find_model(cfg.MODEL.MODEL_NAME)
    return {
        key: Unused(_has_no_such(model, key), ("MODEL.MODEL_NAME",))
        for key in _RATES
        if key not in model.family.settings
    }


def _has_no_such(model: NamedModel, key: str) -> str:
    having = [
        name
        for name, other in MODELS.items()
        if key in other.family.settings and other.takes_images == model.takes_images
    ] or [name for name, other in MODELS.items() if key in other.family.settings]
    return f"{model.name} has no such setting, it is one of {', '.join(having)}"


def _used_formats(cfg: CfgNode) -> list[ListFormat]:
    """Of the training, and of a test that has its own."""
    formats = [find_format(cfg.TRAIN.DATASET, "TRAIN.DATASET")]
    if cfg.TEST.DATASET and cfg.TEST.ENABLE:
        formats.append(find_format(cfg.TEST.DATASET, "TEST.DATASET"))
    return formats
