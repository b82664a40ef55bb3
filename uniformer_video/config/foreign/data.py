"""What their settings of data, tests and machines are here."""

from collections.abc import Container, Mapping
from typing import Any

from uniformer_video.config.foreign.words import Words
from uniformer_video.errors import ConfigError

# Their data set classes: the format here, and what else each of them fixes. Frames read as pictures
# come in BGR order. The names of lists and pictures are their defaults, whatever the data set.
_PICTURES = {
    "DATA.CHANNEL_ORDER": "BGR",
    "DATA.LABEL_PATH_TEMPLATE": "somesomev1_rgb_{}_split.txt",
    "DATA.IMAGE_TEMPLATE": "{:05d}.jpg",
}
_SSV2 = ("frames", {"DATA.SAMPLING": "segment", "DATA.CHANNEL_ORDER": "BGR"})
_DATASETS = {
    "kinetics": ("kinetics", {}),
    "ptvkinetics": ("kinetics", {}),
    "kinetics_sparse": ("kinetics", {"DATA.SAMPLING": "segment"}),
    "sth": ("frames", {"DATA.SAMPLING": "segment", **_PICTURES}),
    "hmdb": ("frames", _PICTURES),
    "ssv2": _SSV2,
    "ptvssv2": _SSV2,
}


def dataset(words: Words) -> None:
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


def _check_alike(used: Mapping[str, Mapping[str, str]], explicit: Container[str]) -> None:
    """A run has one sampling and one channel order."""
    for key in ("DATA.SAMPLING", "DATA.CHANNEL_ORDER"):
        if key not in explicit and len({with_it.get(key) for with_it in used.values()}) > 1:
            raise ConfigError(
                f"{' and '.join(used)} differ in {key}, and a run has only one: set it, or make the "
                "data sets alike"
            )


def precision(words: Words) -> None:
    """Mixed precision is float16 there; here it is what suits the device."""
    mixed = words.flag("TRAIN.MIXED_PRECISION")
    if mixed is not None:
        words.move("TRAIN.MIXED_PRECISION", "TRAIN.PRECISION", "auto" if mixed else "fp32")


def start_weights(words: Words) -> None:
    """Weights to start from have two keys there, one of them for whole checkpoints."""
    path = words.get("TRAIN.CHECKPOINT_FILE_PATH")
    if path:
        words.move("TRAIN.CHECKPOINT_FILE_PATH", "UNIFORMER.PRETRAIN_NAME", path)
    words.values.pop("TRAIN.CHECKPOINT_FILE_PATH", None)
    _epoch_reset(words)


def _epoch_reset(words: Words) -> None:
    """Whether a run with weights to start from begins at epoch 0, which it always does here."""
    key = "TRAIN.CHECKPOINT_EPOCH_RESET"
    reset, start = words.flag(key), words.get("UNIFORMER.PRETRAIN_NAME")
    if reset and start:
        words.values.pop(key)
        words.said.append(f"{key} True -> epoch 0, with the weights of {start} and fresh moments")
    elif reset:
        words.ignore(key, "there is no TRAIN.CHECKPOINT_FILE_PATH to start from")
    elif start:
        words.ignore(
            key,
            "a run starts from the weights of another one at epoch 0; to go on with a training, give its "
            "OUTPUT_DIR",
        )


def tested_weights(words: Words) -> None:
    """Their switch is a choice here."""
    best = words.flag("TEST.TEST_BEST")
    if best is not None:
        words.move("TEST.TEST_BEST", "TEST.WEIGHTS", "best" if best else "last")


def ensemble(words: Words) -> None:
    """Views are summed here; their other way, the largest score, is not built."""
    method = words.values.pop("DATA.ENSEMBLE_METHOD", None)
    if method not in (None, "sum"):
        raise ConfigError(
            f"DATA.ENSEMBLE_METHOD is {method!r}; the scores of views are summed here: set it to "
            "sum, or leave it out (TEST.SCORE says which scores)"
        )


def resuming(words: Words) -> None:
    """What a run here always does."""
    if words.flag("TRAIN.AUTO_RESUME") is False:
        words.ignore("TRAIN.AUTO_RESUME", "a run goes on from what its OUTPUT_DIR holds")


def test_clips(words: Words) -> None:
    """PySlowFast's list of numbers of clips, of a test each, counts before NUM_ENSEMBLE_VIEWS."""
    key = "TEST.NUM_TEMPORAL_CLIPS"
    value = words.get(key)
    if isinstance(value, list) and len(value) == 1:
        words.values.pop("TEST.NUM_ENSEMBLE_VIEWS", None)
        words.move(key, "TEST.NUM_ENSEMBLE_VIEWS", value[0])


def machine(words: Words) -> None:
    """A decoder that is not here, and no GPU, which here is one process too."""
    if words.get("DATA.DECODING_BACKEND") == "torchvision":
        words.replace("DATA.DECODING_BACKEND", "auto")
    if words.get("NUM_GPUS") == 0:
        words.replace("NUM_GPUS", 1)


def augmentation(words: Words) -> None:
    """Empty where the resized crop is off, which here the empty area alone tells; None is no jitter."""
    if words.get("DATA.TRAIN_JITTER_ASPECT_RELATIVE") == []:
        del words.values["DATA.TRAIN_JITTER_ASPECT_RELATIVE"]
    if "AUG.COLOR_JITTER" in words.values and words.get("AUG.COLOR_JITTER") is None:
        words.replace("AUG.COLOR_JITTER", 0.0)


def with_task(values: dict[str, Any]) -> dict[str, Any]:
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


def task(words: Words) -> None:
    """PySlowFast says with a switch what a model is trained for."""
    key, name = "DATA.MULTI_LABEL", "TRAIN.TASK"
    if key in words.values and name in words.values:
        first, last = sorted((key, name), key=lambda given: words.sources[given])
        if words.sources[first] < words.sources[last]:
            del words.values[first]  # as everywhere, what comes later counts
    if words.flag(key):
        words.sources.setdefault("TRAIN.TASK", words.sources[key])
    words.values = with_task(words.values)
