"""Weights files: reading, fitting to a model, and writing. Nothing is loaded silently."""

import hashlib
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch

from uniformer_video.errors import CheckpointError
from uniformer_video.files import atomic_write
from uniformer_video.models.inflate import fit_kernel_in_time, inflate_kernel

FORMAT = "uniformer-video checkpoint"
FORMAT_VERSION = 1
_WRAPPERS = ("model", "model_state", "state_dict")
HEAD_KEYS = ("head.weight", "head.bias")
_LOCAL_KERNEL = "blocks1.0.attn.weight"


@dataclass(frozen=True)
class Weights:
    """What a file holds: tensors by key, and what it says about itself.

    metadata: {} for files of other projects. training: the state that resuming needs, or {}.
    """

    path: str
    state: dict
    metadata: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)

    @property
    def is_image(self):
        """True for 2D weights."""
        kernel = self.state.get(_LOCAL_KERNEL)
        return kernel is not None and kernel.dim() == 4

    @property
    def local_kernel(self):
        """Sides of the local blocks' kernel, such as (5, 5, 5); None when the file has none."""
        kernel = self.state.get(_LOCAL_KERNEL)
        return None if kernel is None else tuple(kernel.shape[2:])

    @property
    def num_classes(self):
        """Rows of the classifier; None without one."""
        head = self.state.get("head.weight")
        return None if head is None else head.shape[0]


@dataclass
class LoadReport:
    """Which keys went where when weights were fitted to a model."""

    source: str
    loaded: list = field(default_factory=list)
    inflated: list = field(default_factory=list)  # 2D -> 3D
    adapted: list = field(default_factory=list)  # local kernel to another length in time
    replaced: list = field(default_factory=list)  # head of another class count, left as initialised
    skipped: list = field(default_factory=list)  # in the file only
    missing: list = field(default_factory=list)  # in the model only

    def lines(self):
        """The report for people, one fact a line."""
        facts = [
            f"weights from {self.source}: {len(self.loaded)} tensors copied as they are",
            self.inflated and f"inflated from 2D to 3D: {len(self.inflated)} tensors",
            self.adapted and f"local kernels fitted to another length: {_some(self.adapted)}",
            self.replaced and f"classifier replaced, it has other classes: {_some(self.replaced)}",
            self.skipped and f"dropped, the model has no such tensor: {_some(self.skipped)}",
            self.missing and f"missing in the file, freshly initialised: {_some(self.missing)}",
        ]
        return [fact for fact in facts if fact]


def read_weights(path):
    """The `Weights` of a file, in any of the wrappings in use.

    Only tensors and plain types are unpickled; a file that needs more is refused.
    """
    path = Path(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no weights file {path}") from None
    except (IsADirectoryError, PermissionError) as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, error)) from None
    except Exception:  # on other files the unpickler raises whatever it stumbles on
        raise CheckpointError(
            f"{path} is not a readable weights file: it is damaged, incomplete, or not one at all; "
            "get it again from where it came"
        ) from None
    return _unwrap(path, content)


def write_checkpoint(path, state, metadata, training=None):
    """Write the tensors `state` with `metadata` (plain types), atomically; `training` for resuming."""
    content = {"format": FORMAT, "version": FORMAT_VERSION, "metadata": metadata}
    content["model"] = {key: value.detach().cpu() for key, value in state.items()}
    if training is not None:
        content["training"] = training
    with atomic_write(path) as file:
        torch.save(content, file)


def fit_weights(model, weights, inflate_mode="average", adapt_kernel=False, replace_head=False):
    """Load `weights` into `model` and return the `LoadReport`.

    2D weights are inflated into a video model. A head of another class count is left as initialised
    with `replace_head`, else it is an error; `adapt_kernel` allows local kernels of another length in
    time. Any other difference in shape is an error, and so is a missing tensor outside the head.
    """
    report = LoadReport(weights.path)
    broken = [key for key, value in weights.state.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"{weights.path} holds values that are not finite, in {_some(broken)}: its training failed"
        )
    target = model.state_dict()
    state = {}
    for key, value in weights.state.items():
        if key not in target:
            report.skipped.append(key)
            continue
        state[key] = _fit(key, value, target[key], report, inflate_mode, adapt_kernel, replace_head)
    report.missing = [key for key in target if key not in state]
    allowed = HEAD_KEYS if replace_head else ()
    lost = [key for key in report.missing if key not in allowed and "num_batches" not in key]
    if lost:
        raise CheckpointError(
            f"{weights.path} does not fit the model: it lacks {_some(lost)}"
            + (f" and has {_some(report.skipped)} instead" if report.skipped else "")
        )
    if report.skipped and not replace_head:
        raise CheckpointError(
            f"{weights.path} does not fit the model: the model has no {_some(report.skipped)}"
        )
    model.load_state_dict(state, strict=False)
    return report


def file_sha256(path):
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _fit(key, value, target, report, inflate_mode, adapt_kernel, replace_head):
    """The tensor to load at `key`, entered into the report."""
    if key in HEAD_KEYS and replace_head and value.shape[0] != target.shape[0]:
        report.replaced.append(f"{key} {value.shape[0]} -> {target.shape[0]} classes")
        return target
    if value.dim() == 4 and target.dim() == 5:
        inflated = inflate_kernel(value, target.shape[2], inflate_mode)
        if inflated.shape == target.shape:
            report.inflated.append(key)
            return inflated
    same_but_time = value.dim() == target.dim() == 5 and (
        value.shape[:2] + value.shape[3:] == target.shape[:2] + target.shape[3:]
    )
    if value.shape != target.shape and adapt_kernel and same_but_time and ".attn." in key:
        report.adapted.append(f"{key} {list(value.shape[2:])} -> {list(target.shape[2:])}")
        return fit_kernel_in_time(value, target.shape[2])
    if value.shape != target.shape:
        raise CheckpointError(
            f"{report.source} does not fit the model: {key} is {list(value.shape)} in the file and "
            f"{list(target.shape)} in the model{_hint(key)}"
        )
    report.loaded.append(key)
    return value


def _hint(key):
    if key in HEAD_KEYS:
        return "; it was trained for other classes (training replaces the head, a test cannot)"
    return "; it belongs to another architecture"


def _unwrap(path, content):
    """Find the state dict, strip a DDP prefix, and take along what our own files say."""
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a model's weights")
    own = content.get("format") == FORMAT
    if own and content.get("version", 0) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} was written by a newer uniformer-video (format {content['version']}); upgrade"
        )
    state = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), dict)), content)
    state = {
        key.removeprefix("module."): value
        for key, value in state.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    if not state:
        raise CheckpointError(f"{path} holds no tensors, so it is not a model's weights")
    metadata = content["metadata"] if own else {}
    return Weights(str(path), state, metadata, content.get("training", {}) if own else {})


def _refusal(path, error):
    text = str(error)
    if "GLOBAL " in text:
        name = text.split("GLOBAL ")[1].split()[0]
        return (
            f"{path} wants to load {name}, which is not plain data; it is refused because it "
            "could run any program. Ask its author for a file of tensors only"
        )
    return f"{path} is not a readable weights file; it is damaged or not one at all"


def _some(items, most=3):
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
