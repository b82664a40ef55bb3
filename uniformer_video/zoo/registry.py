"""The registry of models by name: found, recognised in weights files, and added to from outside."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from typing import Any

from torch import nn

from uniformer_video.config.foreign.absent import take_name
from uniformer_video.config.rows import DEFAULTS
from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.plugins import check_registered, hint_at_plugins, is_defined_again
from uniformer_video.program import command
from uniformer_video.weights.architectures import DENSE as DENSE_ARCHITECTURE
from uniformer_video.weights.architectures import is_known_here, name_architecture
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.words import name_some
from uniformer_video.zoo.dense import DENSE
from uniformer_video.zoo.family import Family, NamedModel, read_model_name
from uniformer_video.zoo.peers import PEERS
from uniformer_video.zoo.uniformers import UNIFORMERS

# By name, in the order of lists.
MODELS: dict[str, NamedModel] = {model.name: model for model in (*UNIFORMERS, *DENSE, *PEERS)}

_CLIP_SETTINGS = {"DATA.NUM_FRAMES": "num_frames", "DATA.TRAIN_CROP_SIZE": "crop_size"}


def register_model(
    name: str,
    build: Callable[..., nn.Module] | Family,
    *,
    num_frames: int,
    crop_size: int = 224,
    arguments: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
    classifier: str = "head",
    gflops: float | None = None,
    replace: bool = False,
) -> NamedModel:
    """Make a model known by `name`: to `create_model`, and to configs, checkpoints and commands.

    Args:
        build: a function or class, `build(num_classes, **options)`, whose model keeps the contract of
            `RecognitionModel`. Or a `Family`: `zoo.uniformers.UNIFORMER` for another size of UniFormer,
            or one of your own that recognises its weights.
        num_frames, crop_size: the native input, in frames (0 for images) and pixels a side.
        arguments: the options of `build` that make this model.
        settings: `{config key: option}`, what a run hands on to `build`; without it `DATA.NUM_FRAMES`
            and `DATA.TRAIN_CROP_SIZE`, if `build` has the options `num_frames` and `crop_size`.
        classifier: the state-dict name of the linear layer that gives the logits.
        gflops: multiply-adds of a view, in 1e9, for lists.
        replace: whether the name may be in use; it may anyway where the same code is run again.

    Raises `ConfigError` for a name in use, and for arguments and settings that `build` does not take.
    """
    check_registered("model", name, build if not isinstance(build, Family) else build.build)
    known_model = MODELS.get(name)
    again = known_model is not None and is_defined_again(known_model.family.build, build)
    if known_model and not (replace or again):
        raise ConfigError(
            f"there is a model {name!r} already; choose another name, or give replace=True"
        )
    if isinstance(build, Family):
        family = build
    else:
        family = Family(name, build, settings or {}, classifier)
        if settings is None:
            known = {
                key: option for key, option in _CLIP_SETTINGS.items() if option in family.options
            }
            family = Family(name, build, known, classifier)
    if unknown := [key for key in family.settings if key not in DEFAULTS]:
        raise ConfigError(
            f"the model {name!r} reads {', '.join(unknown)}, which is no setting; "
            f"`{command('config --keys')}` lists them"
        )
    model = NamedModel(name, family, dict(arguments or {}), num_frames, crop_size, gflops=gflops)
    check_options(model, [*model.arguments, *family.settings.values()])
    MODELS[name] = model
    take_name(name)
    return model


def find_model(name: str) -> NamedModel:
    """The model called `name`; an unknown name is a `ConfigError` that lists the known ones."""
    if name not in MODELS:
        near = difflib.get_close_matches(str(name), MODELS, n=1)
        raise ConfigError(
            f"unknown model {name!r}; known models: {', '.join(MODELS)} (and those of your own, from "
            "PLUGINS, --plugins or uniformer_video.register_model)"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    return MODELS[name]


def identify_model(weights: Weights, options: Mapping[str, Any] | tuple[()] = ()) -> NamedModel:
    """The model that `weights` hold: what they record, or else what their tensors show.

    options: what is known beside them, such as `{"head_dim": 64}`. Raises `CheckpointError` for
    no known architecture, and where the weights do not tell which of several it is.
    """
    if recorded := read_model_name(weights):
        if recorded not in MODELS:
            raise CheckpointError(
                f"{weights.path} holds the model {recorded!r}, which is not known here; "
                f"{hint_at_plugins(weights.metadata.get('plugins'))}"
            )
        return MODELS[recorded]
    for family in dict.fromkeys(model.family for model in MODELS.values()):
        if name := family.recognise(weights, models_of(family), dict(options)):
            return MODELS[name]
    what = name_architecture(weights.state)
    if what == DENSE_ARCHITECTURE:
        raise CheckpointError(
            f"{weights.path} holds the weights of {what}, without a head of segmentation that is known here; "
            "create_backbone takes its backbone (and neck)"
        )
    held = f"holds the weights of {what}" if what else "is of no known architecture"
    if what and not is_known_here(what):
        raise CheckpointError(
            f"{weights.path} {held}, not of a UniFormer or another model that is known here; see "
            f"`{command('models')}`"
        )
    raise CheckpointError(
        f"{weights.path} {held}; name the model it belongs to, see `{command('models')}`"
    )


def matching_models(pattern: str = "*") -> list[NamedModel]:
    """The registered models whose name fits a shell pattern, or holds it where it has no such sign."""
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return [model for name, model in MODELS.items() if fnmatch(name, pattern)]


def models_of(family: Family) -> list[NamedModel]:
    """The registered models of one family."""
    return [model for model in MODELS.values() if model.family is family]


def recorded_class_names(weights: Weights, outputs: int | None) -> list[str]:
    """The class names that a checkpoint records for its `outputs`, in their order; empty without any.

    Raises `CheckpointError` for names that are not one for each of them.
    """
    names = list(weights.metadata.get("class_names") or ())
    if names and not len(names) == len(set(names)) == outputs:
        raise CheckpointError(
            f"{weights.path} tells {outputs} classes apart and records {len(names)} names "
            f"for them, {len(set(names))} of them different; get it again, or convert it again"
        )
    return names


def name_by_sizes(name: str, options: Mapping[str, Any]) -> str:
    """The name of the registered model that `name` is with `options`, which may be sizes of another.

    `name` itself where no model of its family has these sizes.
    """
    model = find_model(name)
    family = model.family

    def sizes(arguments: Mapping[str, Any]) -> list[Any]:
        return [{**family.defaults, **arguments}.get(key) for key in family.sizes]

    wanted = sizes({**model.arguments, **options})
    same = [other.name for other in models_of(family) if sizes(other.arguments) == wanted]
    return name if name in same or not same else same[0]


def check_options(model: NamedModel, options: Iterable[str]) -> None:
    """Raise `ConfigError` for an option that `model` does not have, with the nearest that it has."""
    family = model.family
    if family.is_open:
        return
    for option in options:
        if option in family.options:
            continue
        near = difflib.get_close_matches(option, [*family.options, "num_classes"], n=1)
        having = models_with(option)
        raise ConfigError(
            f"{model.name} has no option {option!r}"
            + (f", which {name_some(having, 4)} have" if having else "")
            + (f"; did you mean {near[0]}?" if near else f"; it has {', '.join(family.options)}")
        )


def models_with(option: str) -> list[str]:
    """The names of the registered models that have an option of this name."""
    return [name for name, model in MODELS.items() if option in model.family.options]


def count_classes(weights: Weights, name: str | None = None) -> int | None:
    """The rows of the classifier in `weights`, of the model `name` or as they record; None without one.

    Where nobody says which model it is, every classifier of the registry is looked for.
    """
    name = name or read_model_name(weights)
    models = [MODELS[name]] if name in MODELS else MODELS.values()
    for classifier in dict.fromkeys(model.family.classifier for model in models):
        if (rows := weights.state.get(f"{classifier}.weight")) is not None:
            return rows.shape[0]
    return None
