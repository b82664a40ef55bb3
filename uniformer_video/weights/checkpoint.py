"""Weights: read from anywhere, fitted to a model, and written. Nothing is loaded silently."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uniformer_video.errors import CheckpointError, ConfigError, DamagedError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.dense.neck import PyramidWithNeck
from uniformer_video.storage.address import name_for_messages
from uniformer_video.weights import dense
from uniformer_video.weights.architectures import check_architecture
from uniformer_video.weights.container import FORMAT, FORMAT_VERSION, read_content, write_content
from uniformer_video.weights.download import fetch, file_sha256, is_remote
from uniformer_video.weights.file_kinds import EXPORTED
from uniformer_video.weights.inflate import fit_kernel_in_time, inflate_kernel
from uniformer_video.weights.unwrap import find_average, find_state, key_for_messages, read_hints
from uniformer_video.weights.values import check_values
from uniformer_video.words import name_some

__all__ = [
    "LoadReport",
    "Weights",
    "file_sha256",
    "fit_weights",
    "read_weights",
    "write_checkpoint",
]

SELECTIONS = ("model", "ema", "raw")
# The metadata of a temperature, which is of these weights and no others made from them.
CALIBRATION = "calibration"
ITERATION = "iteration"  # in place of "epoch", of runs that count these
TEMPERATURE_LEFT_OUT = (
    "the temperature of the calibrated checkpoint is left out: it holds for those very weights"
)
# What the metadata of a checkpoint of ours are made of, where they are there.
_KINDS: dict[str, tuple[type, ...]] = {
    "model": (dict,),
    "class_names": (list, tuple),
    "palette": (list,),
    "task": (str,),
    "multi_label": (bool,),
    "config": (str,),
    "weights": (dict,),
    CALIBRATION: (dict,),
}
_LOCAL_KERNEL = "blocks1.0.attn.weight"
GAMMAS = ("gamma_1", "gamma_2")  # LayerScale, where its shape has the grid's axes
_OF_DROPPED_TOKENS = (
    ".gamma_3"  # their factor in light models for images; those for videos have none
)
# What training may add to weights that lack it, since it starts as next to nothing: layer scale, and
# the temporal attention of divided blocks.
_ADDED = re.compile(r"\.(gamma_[123]|t_norm\.\w+|t_attn\.\w+\.\w+)$")


@dataclass(frozen=True)
class Weights:
    """What a file holds: tensors by key, and what it says about itself.

    path: the file or its address. metadata: {} for files of other projects. training: the state that
    resuming needs, or {}. hints: what a file of another project tells, see `unwrap.read_hints`.
    """

    path: str
    state: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    hints: dict[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> str:
        """Which set of weights these are, "raw" or "ema", where the training kept several; else ""."""
        return str(self.metadata.get("weights", {}).get("chosen", ""))

    @property
    def place(self) -> tuple[str, int] | None:
        """("epoch", 3), or ("iteration", 400) where the run counted these; None where it is not told."""
        return _place(self.metadata)

    @property
    def choice(self) -> str:
        """Which set of weights these are, and what validation said of each, in words; "" with one set."""
        if not self.chosen:
            return ""
        scores = [
            f"{name} {entry['score']:.1%} after {' '.join(map(str, _place(entry) or ()))}"
            for name, entry in self.metadata["weights"].get("sets", {}).items()
            if entry.get("score") is not None
        ]
        return f"the {self.chosen} weights" + (f" ({', '.join(scores)})" if scores else "")

    @property
    def is_image(self) -> bool:
        """True for 2D weights."""
        kernel = self.state.get(_LOCAL_KERNEL)
        return kernel is not None and kernel.dim() == 4

    @property
    def is_token_labelled(self) -> bool:
        """True for weights with a second head on tokens, which token labelling trains."""
        return "aux_head.weight" in self.state

    @property
    def local_kernel(self) -> tuple[int, ...] | None:
        """Sides of the local blocks' kernel, such as (5, 5, 5); None when the file has none."""
        kernel = self.state.get(_LOCAL_KERNEL)
        return None if kernel is None else tuple(kernel.shape[2:])


@dataclass
class LoadReport:
    """Which keys went where when weights were fitted to a model."""

    source: str
    loaded: list[str] = field(default_factory=list)
    inflated: list[str] = field(default_factory=list)  # 2D -> 3D
    inflate_mode: str = ""  # by which rule
    adapted: list[str] = field(default_factory=list)  # local kernel to another length in time
    # head of another class count, left as initialised
    replaced: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # in the file only
    missing: list[str] = field(default_factory=list)  # in the model only
    notes: list[str] = field(default_factory=list)  # sentences about what was done beforehand

    def lines(self) -> list[str]:
        """The report for people, one fact a line."""
        lists = [
            (self.adapted, "local kernels fitted to another length"),
            (self.replaced, "classifier replaced, it has other classes"),
            (self.skipped, "dropped, the model has no such tensor"),
            (self.missing, "missing in the file, freshly initialised"),
        ]
        facts = [f"weights from {self.source}: {len(self.loaded)} tensors copied as they are"]
        if self.inflated:
            facts.append(
                f"inflated from 2D to 3D ({self.inflate_mode}): {len(self.inflated)} tensors"
            )
        facts += [f"{fact}: {name_some(keys)}" for keys, fact in lists if keys]
        return facts + self.notes


def read_weights(source: Path | str, select: str = "model") -> Weights:
    """The `Weights` in a file of torch or safetensors, in any of the wrappings in use.

    Args:
        source: a local path, or an address as `download.fetch` takes it: `https://host/file`,
            `hf://owner/repo/file`, with `#sha256=<digest>` if wanted.
        select: "model", the better ones where a training of ours kept several; "ema", the averaged weights
            beside them; "raw", those without an average.

    Only tensors and plain types are unpickled; a file that needs more is refused. Raises
    `CheckpointError` with one line.
    """
    if str(source).lower().endswith(EXPORTED):
        raise CheckpointError(
            f"{name_for_messages(source)} is an exported model by its name: predictions and tests run it, "
            "and it holds no weights that could be loaded; give the checkpoint that it was made of"
        )
    path, name = fetch(source), name_for_messages(source)
    in_messages = f"{name} (kept at {path})" if is_remote(source) else name
    content = read_content(path, in_messages)
    if not isinstance(content, dict):
        kind = "single tensor" if isinstance(content, torch.Tensor) else type(content).__name__
        raise CheckpointError(f"{in_messages} holds a {kind}, not a model's weights")
    own = isinstance(content.get("format"), str) and content["format"] == FORMAT
    if select not in SELECTIONS and not (own and f"model_{select}" in content):
        raise ConfigError(f"weights are one of {', '.join(SELECTIONS)}, got {select!r}")
    if own:
        _check_own(content, in_messages)
        content, select = _take_set(content, select, in_messages)
    state, layout = find_state(content, select, in_messages, own)
    if own:
        return Weights(name, state, content["metadata"], content.get("training", {}))
    return Weights(name, state, hints=read_hints(content, layout))


def write_checkpoint(
    path: Path | str,
    state: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    sets: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write the tensors `state` with `metadata` (plain types), atomically; `training` for resuming.

    sets: {name: tensors} of weights beside those, such as "raw" and "ema", which `read_weights` selects.
    A path that ends in .safetensors gives such a file, which has no place for `training`.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "metadata": metadata,
    }
    content["model"] = {key: value.detach().cpu() for key, value in state.items()}
    for name, tensors in (sets or {}).items():
        # the same tensors, where they are the ones above: they are written once
        content[f"model_{name}"] = (
            content["model"]
            if tensors is state
            else {key: value.detach().cpu() for key, value in tensors.items()}
        )
    if training is not None:
        content["training"] = training
    write_content(path, content)


def fit_weights(
    model: RecognitionModel | PyramidWithNeck,
    weights: Weights,
    inflate_mode: str = "average",
    adapt_kernel: bool = False,
    replace_head: bool = False,
) -> LoadReport:
    """Load `weights` into `model` and return the `LoadReport`.

    2D weights are inflated into a video model. With `replace_head`, a head of another class count, or
    one that the file lacks, is left as initialised; else both are errors. `model.head_keys` names
    the tensors of its heads; layer scale and temporal attention may then be new too, and of a model with
    a backbone all that `dense.begin_with` says.
    `adapt_kernel` allows local kernels of another length in time. Any other difference in shape is an
    error, and so is another missing tensor.
    """
    notes = [f"taken: {weights.choice}"] if weights.choice else []
    report = LoadReport(weights.path, inflate_mode=inflate_mode, notes=notes)
    heads = tuple(model.head_keys)
    replaceable = heads if replace_head else ()
    target = model.state_dict()
    check_values(weights.state, weights.path, target)
    begin = dense.begin_with(weights.state, target if replace_head else ())
    state: dict[str, Tensor] = {}
    for key, value in begin.state.items():
        if key not in target:
            report.skipped.append(key_for_messages(key))
            continue
        if key in replaceable and value.shape[:1] != target[key].shape[:1]:
            report.replaced.append(_class_counts(key, value, target[key]))
            state[key] = target[key]
            continue
        fitted = _fit(key, value, target[key], report, inflate_mode, adapt_kernel)
        if fitted is None:
            check_architecture(weights.path, [*begin.state, *begin.new_keys], target)
            raise CheckpointError(
                f"{report.source} does not fit the model: {key} is {list(value.shape)} in the file and "
                f"{list(target[key].shape)} in the model{_hint(key in heads)}"
            )
        state[key] = fitted
    report.missing = [key for key in target if key not in state]
    lost = [
        key
        for key in report.missing
        if key not in replaceable
        and key not in begin.new_keys
        and "num_batches" not in key
        and not (replace_head and _ADDED.search(key))
    ]
    if lost:
        check_architecture(weights.path, [*begin.state, *begin.new_keys], target)
        raise CheckpointError(
            f"{weights.path} does not fit the model: it lacks {name_some(lost)}"
            + (f" and has {name_some(report.skipped)} instead" if report.skipped else "")
        )
    if report.skipped and not replace_head:
        raise CheckpointError(
            f"{weights.path} does not fit the model: the model has no {name_some(report.skipped)}"
        )
    begin.check_backbone(report.skipped, weights.path)
    report.skipped += begin.left_out
    report.notes += begin.notes()
    model.load_state_dict(state, strict=False)
    return report


def is_of_images_alone(key: str) -> bool:
    """Whether a tensor of image weights has no counterpart in video models, though its block has one."""
    return key.endswith(_OF_DROPPED_TOKENS)


def _fit(
    key: str,
    value: Tensor,
    target: Tensor,
    report: LoadReport,
    inflate_mode: str,
    adapt_kernel: bool,
) -> Tensor | None:
    """The tensor to load at `key`, entered into the report; None when it does not fit."""
    if value.shape == target.shape:
        report.loaded.append(key)
        return value
    if value.dim() == 4 and target.dim() == 5:
        if key.rpartition(".")[2] in GAMMAS:
            inflated = value.unsqueeze(2)  # a factor, not a sum over frames: nothing to divide
        else:
            inflated = inflate_kernel(value, target.shape[2], inflate_mode)
        if inflated.shape == target.shape:
            report.inflated.append(key)
            return inflated
    same_but_time = value.dim() == target.dim() == 5 and (
        value.shape[:2] + value.shape[3:] == target.shape[:2] + target.shape[3:]
    )
    if adapt_kernel and same_but_time and ".attn." in key:
        report.adapted.append(f"{key} {list(value.shape[2:])} -> {list(target.shape[2:])}")
        return fit_kernel_in_time(value, target.shape[2])
    return None


def _class_counts(key: str, value: Tensor, target: Tensor) -> str:
    counts = [tensor.shape[0] if tensor.dim() else "no" for tensor in (value, target)]
    return f"{key} {counts[0]} -> {counts[1]} classes"


def _hint(of_head: bool) -> str:
    if of_head:
        return "; it was trained for other classes (training replaces the head, a test cannot)"
    return "; it belongs to another architecture"


def _take_set(content: dict[str, Any], select: str, name: str) -> tuple[dict[str, Any], str]:
    """A checkpoint of ours with the set of weights `select` as its model; what is still to be selected."""
    if select == "model":
        return content, select
    metadata = content["metadata"]
    about, state = metadata.get("weights", {}), content.get(f"model_{select}")
    if state is None and select == "ema":
        state = find_average(content)  # inside the state for resuming
    if state is None and select == about.get("chosen", "raw"):
        return content, "model"
    if state is None and select == "raw":
        raise CheckpointError(f"{name} holds no raw weights, only {about['chosen']}")
    if state is None:
        raise CheckpointError(
            f"{name} holds no averaged (EMA) weights, as its training had EMA.ENABLE False; take the others: "
            'TEST.WEIGHTS best or last, weights="model", a command without --ema'
        )
    if not isinstance(state, dict):
        raise DamagedError(f"{name}: its {select} weights are damaged")
    entry = about.get("sets", {}).get(select, {})
    place = _place(entry)
    own = {**metadata, **dict([place] if place else []), "weights": {"chosen": select}}
    own.pop(CALIBRATION, None)
    return {**content, "model": state, "metadata": own}, "model"


def _check_own(content: dict[Any, Any], name: str) -> None:
    """Raise `CheckpointError` for a checkpoint of ours that is too new, or not as we write them."""
    version = content.get("version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{name} was written by a newer uniformer-video (format {version}); upgrade"
        )
    parts = [content.get("metadata"), content.get("model"), content.get("training", {})]
    if not all(isinstance(part, dict) for part in parts):
        raise DamagedError(f"{name}: what it says about its model is damaged")
    for key, kinds in _KINDS.items():
        if not isinstance(content["metadata"].get(key, kinds[0]()), kinds):
            raise DamagedError(f"{name}: what it says of {key} is damaged")
    model = content["metadata"].get("model", {})
    names = content["metadata"].get("class_names", ())
    if not (
        isinstance(model.get("name", ""), str) and isinstance(model.get("arguments", {}), dict)
    ):
        raise DamagedError(f"{name}: what it says about its model is damaged")
    if not all(isinstance(each, str) for each in names):
        raise DamagedError(f"{name}: what it says of class_names is damaged")
    about = content["metadata"].get("weights", {"chosen": ""})
    if not _tells_its_sets(about):
        raise DamagedError(f"{name}: what it says of weights is damaged")


def _place(told: Mapping[str, Any]) -> tuple[str, int] | None:
    for unit in (ITERATION, "epoch"):
        if isinstance(told.get(unit), int):
            return unit, told[unit]
    return None


def _tells_its_sets(about: dict[Any, Any]) -> bool:
    """Whether metadata of several sets of weights are as `runs/best_weights.py` writes them."""
    sets = about.get("sets", {})
    if not (isinstance(about.get("chosen"), str) and isinstance(sets, dict)):
        return False
    return all(
        isinstance(entry, dict)
        and _place(entry) is not None
        and isinstance(entry.get("score"), int | float | None)
        for entry in sets.values()
    )
