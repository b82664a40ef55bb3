"""Models made by name, by weights file, or both."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, cast, overload

from torch import nn

from uniformer_video.errors import CheckpointError, ConfigError, quote
from uniformer_video.models.contract import RecognitionModel, check_contract
from uniformer_video.models.features import FeatureExtractor
from uniformer_video.plugins import import_installed
from uniformer_video.program import command
from uniformer_video.weights.architectures import check_architecture
from uniformer_video.weights.checkpoint import Weights, fit_weights, read_weights
from uniformer_video.words import one_line
from uniformer_video.zoo.published import local_file
from uniformer_video.zoo.registry import (
    check_options,
    count_classes,
    find_model,
    identify_model,
    models_of,
)

log = logging.getLogger(__name__)


@overload
def create_model(
    name: str | None = None,
    num_classes: int | None = None,
    checkpoint: Path | str | None = None,
    weights: str = "model",
    adapt_kernel: bool = False,
    features_only: Literal[False] = False,
    out_stages: None = None,
    **options: Any,
) -> RecognitionModel: ...


@overload
def create_model(
    name: str | None = None,
    num_classes: int | None = None,
    checkpoint: Path | str | None = None,
    weights: str = "model",
    adapt_kernel: bool = False,
    *,
    features_only: Literal[True],
    out_stages: Collection[int] | None = None,
    **options: Any,
) -> FeatureExtractor: ...


def create_model(
    name: str | None = None,
    num_classes: int | None = None,
    checkpoint: Path | str | None = None,
    weights: str = "model",
    adapt_kernel: bool = False,
    features_only: bool = False,
    out_stages: Collection[int] | None = None,
    **options: Any,
) -> RecognitionModel | FeatureExtractor:
    """A model by name, by weights file, or both; in evaluation mode when weights were loaded.

    Args:
        name: see `uniformer-video models`; may be left out for a checkpoint that tells its own.
        num_classes: rows of the head; left out, the checkpoint's. Another number than the checkpoint's
            gives a fresh head, with a warning; 0 gives no head: pooled features.
        checkpoint: a weights file of any project: a path, `https://...[#sha256=...]`,
            `hf://owner/repo/file`, or a published name. Nothing else may be missing or left over.
        weights: "model", or "ema" for the averaged weights of a checkpoint that has them.
        adapt_kernel: allow a checkpoint whose local kernel has another length in time.
        features_only: return the feature maps of `out_stages` (left out: of all) in place of logits.
        options: the arguments of the model's family: of `UniFormer` (`local_kernel`, `split`,
            `layer_scale`, `drop_path_rate`, ...), or `num_frames`, `crop_size` and `head_dropout` for
            models of pytorchvideo. A local kernel that is left out is the checkpoint's, else 3x5x5.

    Raises `ConfigError` for an option that the model does not have.
    """
    import_installed()
    if "pretrained" in options:
        raise ConfigError(_no_pretrained(name))
    if name is not None:
        check_options(find_model(name), options)
    if checkpoint is None and (name is None or (num_classes is None and not features_only)):
        raise ConfigError("create_model needs a name and num_classes, or a checkpoint")
    if checkpoint is None and (adapt_kernel or weights != "model"):
        raise ConfigError("adapt_kernel and weights are about a checkpoint; give one")
    if out_stages is not None and not features_only:
        raise ConfigError("out_stages are those of feature maps; give features_only=True too")
    if checkpoint is None:
        assert name is not None  # as asked for above
        model = build_network(name, num_classes or 1, **options)
    else:
        found = read_weights(local_file(checkpoint), weights)
        name = name or identify_model(found, options).name
        own = count_classes(found, name)
        wanted = num_classes or own or (1 if features_only or num_classes == 0 else None)
        model = build_for_weights(found, name, wanted, adapt_kernel, **options)
        report = fit_weights(model, found, adapt_kernel=adapt_kernel, replace_head=wanted != own)
        if report.inflated or (num_classes and wanted != own):
            log.warning("\n".join(report.lines()))
        model.eval()
    if features_only:
        return FeatureExtractor(model, out_stages)
    if num_classes == 0:
        model.reset_classifier(0)
    return model


def _no_pretrained(name: str | None) -> str:
    """What to say to `pretrained=True`: which weights there are."""
    known = find_model(name) if name else None
    sources = [weights.source for weights in known.weights if weights.source] if known else []
    if not sources:
        return (
            "there is no argument pretrained; give the weights themselves: checkpoint= a path or a published "
            f"name (`{command('models')}` lists them)"
        )
    return (
        f"there is no argument pretrained, as there are several weights; for {name} give checkpoint= one of "
        f"{', '.join(map(repr, dict.fromkeys(sources)))}, or a path"
    )


def build_network(name: str, num_classes: int, **options: Any) -> RecognitionModel:
    """A fresh model called `name`; `options` override its arguments.

    Raises `ConfigError` for an unknown name, and for an option that the model does not have.
    """
    known = find_model(name)
    check_options(known, options)
    options = {**known.arguments, **options}
    model = known.family.build(num_classes, **options)
    check_contract(model, name, known.family.classifier, options)
    made = cast(RecognitionModel, model)  # of whatever class, it keeps the contract
    made.registered_name = name
    return made


def build_for_weights(
    weights: Weights,
    name: str | None = None,
    num_classes: int | None = None,
    adapt_kernel: bool = False,
    **options: Any,
) -> RecognitionModel:
    """A fresh model whose architecture suits `weights`; loading is left to `fit_weights`.

    What the weights record or show (shapes) is taken from them; `options` win where both speak, so
    that a conflict shows when the weights are fitted.
    """
    known = find_model(name) if name else identify_model(weights, options)
    check_options(known, options)
    if adapt_kernel and "local_kernel" not in known.family.options:
        raise ConfigError(f"{known.name} has no local kernel to adapt; leave adapt_kernel out")
    num_classes = num_classes or count_classes(weights, known.name)
    if num_classes is None:
        check_architecture(weights.path, weights.state, build_network(known.name, 1).state_dict())
        raise CheckpointError(
            f"{weights.path} has no classifier: train from it (UNIFORMER.PRETRAIN_NAME), or give "
            "num_classes"
        )
    options = known.family.options_for_weights(
        known, weights, models_of(known.family), options, adapt_kernel
    )
    if not (weights.metadata.get("model", {}).get("arguments") or weights.hints):
        return build_network(known.name, num_classes, **options)
    # What a file records may be anything, and a constructor need not check its types.
    try:
        return build_network(known.name, num_classes, **options)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise CheckpointError(
            f"{weights.path} does not tell a model that can be built ({one_line(error)}): "
            f"{known.name} with {', '.join(f'{key} {quote(value)}' for key, value in options.items())}"
        ) from error


def count_parameters(model: nn.Module) -> int:
    """How many numbers a model learns."""
    return sum(parameter.numel() for parameter in model.parameters())
