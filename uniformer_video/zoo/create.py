"""Named models. `create_model` makes them by name, by weights file, or both."""

import difflib
import inspect
import logging
import re
from dataclasses import dataclass

from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.models.features import FeatureExtractor
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.peers import PEERS, build_peer
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.weights.checkpoint import fit_weights, read_weights
from uniformer_video.zoo.architecture import is_light, read_architecture
from uniformer_video.zoo.published import PUBLISHED, file_stem, local_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """One named architecture: a class, its arguments, and its figures.

    gflops: multiply-adds of a view of `num_frames` (0 for images) and `crop_size` with the 5x5x5 local
    kernel and the `num_classes` of the published weights, norms included, in 1e9.
    """

    family: type
    arguments: dict
    gflops: float
    num_frames: int = 0
    crop_size: int = 224
    num_classes: int = 400


_SMALL = {"embed_dims": [64, 128, 320, 512], "depths": [3, 4, 8, 3], "head_dim": 64}
_PLUS = {**_SMALL, "depths": [3, 5, 9, 3], "head_dim": 32, "conv_embeds": 4}
_BASE = {**_SMALL, "depths": [5, 8, 20, 7]}
_XXS = {"embed_dims": [56, 112, 224, 448], "depths": [2, 5, 8, 2], "head_dim": 28, "mlp_ratio": 3.0}
_XS = {"embed_dims": [64, 128, 256, 512], "depths": [3, 5, 9, 3], "head_dim": 32, "mlp_ratio": 3.0}
# Token labelling adds a second head, and the first such weights have narrower attention heads.
_LABELLED = {"aux_head": True, "head_dim": 32}


def _video(arguments, gflops, family=UniFormer, num_frames=16, crop_size=224):
    return Variant(family, {**arguments, "ndim": 3}, gflops, num_frames, crop_size)


def _image(arguments, gflops, family=UniFormer, **more):
    return Variant(family, {**arguments, "ndim": 2, **more}, gflops, num_classes=1000)


VARIANTS = {
    "uniformer_xxs": _video(_XXS, 4.21, LightUniFormer, 16, 128),
    "uniformer_xs": _video(_XS, 33.91, LightUniFormer, 32, 192),
    "uniformer_s": _video(_SMALL, 41.76),
    "uniformer_s_plus": _video(_PLUS, 49.01),
    "uniformer_b": _video(_BASE, 96.74),
    "image_uniformer_xxs": _image(_XXS, 1.31, LightUniFormer),
    "image_uniformer_xs": _image(_XS, 1.94, LightUniFormer),
    "image_uniformer_s": _image(_SMALL, 3.64),
    "image_uniformer_s_plus": _image(_PLUS, 4.21),
    "image_uniformer_s_plus_dim64": _image(_PLUS, 4.21, head_dim=64),
    "image_uniformer_b": _image(_BASE, 8.27),
    "image_uniformer_b_ls": _image(_BASE, 8.27, layer_scale="global", init_value=1e-6),
    "image_uniformer_s_tl": _image(_SMALL, 3.67, **_LABELLED),
    "image_uniformer_s_tl_dim64": _image(_SMALL, 3.67, aux_head=True),
    "image_uniformer_s_plus_tl": _image(_PLUS, 4.24, **_LABELLED),
    "image_uniformer_s_plus_tl_dim64": _image(_PLUS, 4.24, aux_head=True, head_dim=64),
    "image_uniformer_b_tl": _image(_BASE, 8.3, **_LABELLED),
    "image_uniformer_b_tl_dim64": _image(_BASE, 8.3, aux_head=True),
}


def model_names():
    """Every name that `create_model` knows."""
    return [*VARIANTS, *PEERS]


def is_peer(name):
    """Whether `name` is a model of another family, from pytorchvideo."""
    return name in PEERS


def variant(name):
    """The `Variant` called `name`; an unknown name is an error that lists the known ones."""
    if name not in VARIANTS:
        raise ConfigError(f"unknown model {name!r}; known models: {', '.join(model_names())}")
    return VARIANTS[name]


def input_size(name):
    """(frames, side in pixels) that the named model's figures are for; 0 frames for images."""
    known = PEERS[name] if is_peer(name) else variant(name)
    return known.num_frames, known.crop_size


def build_network(name, num_classes, **options):
    """A fresh model called `name`; `options` override its arguments."""
    if is_peer(name):
        _check_option_names(name, build_peer, options)
        return build_peer(name, num_classes, **options)
    known = variant(name)
    _check_option_names(name, known.family, options)
    return known.family(num_classes, **{**known.arguments, **options})


def _check_option_names(name, builder, options):
    known = [*inspect.signature(builder).parameters]
    if builder is LightUniFormer:
        known += [*inspect.signature(UniFormer).parameters]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            raise ConfigError(
                f"{name} has no option {option!r}"
                + (f"; did you mean {near[0]}?" if near else f"; it has {', '.join(known)}")
            )


def create_model(
    name=None,
    num_classes=None,
    checkpoint=None,
    weights="model",
    local_kernel=None,
    adapt_kernel=False,
    features_only=False,
    out_stages=(1, 2, 3, 4),
    **options,
):
    """A model by name, by weights file, or both; in evaluation mode when weights were loaded.

    Args:
        name: see `uniformer-video models`; may be left out for a checkpoint that tells its own.
        num_classes: rows of the head; left out, the checkpoint's. Another number than the checkpoint's
            gives a fresh head, with a warning; 0 gives no head: pooled features.
        checkpoint: a weights file of any project: a path, `https://...[#sha256=...]`,
            `hf://owner/repo/file`, or a published name. Nothing else may be missing or left over.
        weights: "model", or "ema" for the averaged weights of a checkpoint that has them.
        local_kernel: sides of the local kernel; left out, the checkpoint's, else 3x5x5.
        adapt_kernel: allow a checkpoint whose local kernel has another length in time.
        features_only: return the feature maps of `out_stages` in place of logits.
        options: further arguments of `UniFormer` (`split`, `layer_scale`, `drop_path_rate`, ...), or
            `num_frames` and `crop_size` for models of pytorchvideo.
    """
    if checkpoint is None:
        if name is None or (num_classes is None and not features_only):
            raise ConfigError("create_model needs a name and num_classes, or a checkpoint")
        if local_kernel:
            options["local_kernel"] = local_kernel
        model = build_network(name, num_classes or 1, **options)
    else:
        found = read_weights(local_file(checkpoint), weights)
        own = found.num_classes
        wanted = num_classes or own or (1 if features_only or num_classes == 0 else None)
        model = build_for_weights(found, name, wanted, local_kernel, adapt_kernel, **options)
        report = fit_weights(model, found, adapt_kernel=adapt_kernel, replace_head=wanted != own)
        if report.inflated or (num_classes and wanted != own):
            log.warning("\n".join(report.lines()))
        model.eval()
    if features_only:
        return FeatureExtractor(model, out_stages)
    if num_classes == 0:
        model.reset_classifier(0)
    return model


def build_for_weights(
    weights, name=None, num_classes=None, local_kernel=None, adapt_kernel=False, **options
):
    """A fresh model whose architecture suits `weights`; loading is left to `fit_weights`.

    What the weights record or show (shapes) is taken from them; `options` win where both speak, so
    that a conflict shows when the weights are fitted. Inflating weights keep the ndim of `name`.
    """
    recorded = weights.metadata.get("model", {})
    name = name or recorded.get("name") or find_variant(weights)
    num_classes = num_classes or weights.num_classes
    if num_classes is None:
        raise CheckpointError(
            f"{weights.path} has no classifier: train from it (UNIFORMER.PRETRAIN_NAME), or give "
            "num_classes"
        )
    if is_peer(name):
        return build_network(name, num_classes, **{**recorded.get("arguments", {}), **options})
    ndim = variant(name).arguments["ndim"]
    own = recorded.get("arguments") or shown_arguments(weights)
    _check_head_dim(weights, name, own, options)
    kept = own if name == recorded.get("name") else _TOLD_BY_FILE
    if own and own["ndim"] != ndim:
        kept = ("head_dim",)
        told = "head_dim" in own or "head_dim" in options
        if not told and _matching_variants(weights):
            own["head_dim"] = VARIANTS[find_variant(weights)].arguments["head_dim"]
    options = {**{key: own[key] for key in kept if key in own}, **options}
    options["local_kernel"] = choose_kernel(weights, local_kernel, adapt_kernel, ndim)
    return build_network(name, num_classes, **options)


# What a file may decide about a model that is named beside it; the name decides all else.
_TOLD_BY_FILE = ("head_dim", "split", "std", "layer_scale", "aux_head", "in_channels")


def shown_arguments(weights):
    """What a file of another project shows of its architecture; {} for another kind of model."""
    shown = read_architecture(weights.state) or {}
    settings = weights.hints.get("config", {}).get("UNIFORMER", {})
    if shown and isinstance(settings, dict) and settings.get("HEAD_DIM"):
        shown["head_dim"] = settings["HEAD_DIM"]
    return shown


def choose_kernel(weights, explicit, adapt_kernel, ndim):
    """The local kernel to build: the file decides, unless one is set; a conflict is an error."""
    explicit = tuple(explicit) if explicit else None
    found = weights.local_kernel
    if found is None or len(found) != ndim:
        return explicit
    if explicit and explicit != found and not adapt_kernel:
        raise CheckpointError(
            f"{weights.path} has local kernels {list(found)} and UNIFORMER.LOCAL_KERNEL is "
            f"{list(explicit)}; set UNIFORMER.LOCAL_KERNEL to {list(found)}, or "
            "UNIFORMER.ADAPT_KERNEL True to fit the weights"
        )
    return explicit or found


def find_variant(weights, head_dim=None):
    """The name of the variant that `weights` shows.

    Raises `CheckpointError` for no known architecture, and where only `head_dim`, which no file of
    another project shows, tells two variants apart.
    """
    names = _matching_variants(weights, head_dim)
    if not names:
        shown = shown_arguments(weights)
        raise CheckpointError(
            f"{weights.path} is of no known architecture"
            + (f": depths {shown['depths']}, channels {shown['embed_dims']}" if shown else "")
            + "; name the model it belongs to, see `uniformer-video models`"
        )
    if len(names) > 1:
        dims = ", ".join(f"{VARIANTS[name].arguments['head_dim']} ({name})" for name in names)
        raise CheckpointError(
            f"{weights.path} does not tell the width of its attention heads: head_dim changes no "
            "tensor's shape, and a wrong one loads silently and ruins the accuracy. Give the one that "
            f"it was trained with, by model name or head_dim (UNIFORMER.HEAD_DIM): {dims}"
        )
    return names[0]


def _matching_variants(weights, head_dim=None):
    """The names of the variants that a file may hold; several where only `head_dim` is open."""
    shown = shown_arguments(weights)
    head_dim = head_dim or shown.get("head_dim")
    light = is_light(weights.state)
    names = [name for name, known in VARIANTS.items() if _agrees(known, shown, light)]
    # The variant that has layer scale is the better match for a file that has it.
    names = [name for name in names if VARIANTS[name].arguments.get("layer_scale")] or names
    published = PUBLISHED.get(file_stem(weights.path))
    if published and published.model in names and not head_dim:
        return [published.model]
    chosen = [name for name in names if head_dim in (None, VARIANTS[name].arguments["head_dim"])]
    return chosen or names[:1]


def video_counterpart(name):
    """The video model that takes the inflated weights of the image model `name`."""
    return re.sub(r"^image_|_tl|_dim64|_ls", "", name)


def _agrees(known, shown, light):
    """Whether a variant has the shapes of a file, layer scale aside if the variant has none."""
    arguments = {"conv_embeds": int(light), "aux_head": False, **known.arguments}
    same = ("embed_dims", "depths", "ndim", "conv_embeds", "aux_head")
    return (
        (known.family is LightUniFormer) == light
        and all(arguments[key] == shown.get(key) for key in same)
        and arguments.get("layer_scale", False) in (False, shown["layer_scale"])
    )


def _check_head_dim(weights, name, own, options):
    """Attention heads of another width would load without a word and compute something else."""
    recorded, wanted = own.get("head_dim"), options.get("head_dim")
    if recorded and wanted and recorded != wanted:
        raise CheckpointError(
            f"{weights.path} was made with head_dim {recorded}, and head_dim {wanted} is asked for "
            f"({name}); leave head_dim (UNIFORMER.HEAD_DIM) out, or choose the weights that fit"
        )


def count_parameters(model):
    """How many numbers a model learns."""
    return sum(parameter.numel() for parameter in model.parameters())
