"""Named models: architecture only. `create_model` adds the number of classes and the options."""

import re
from dataclasses import dataclass

from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.models.checkpoint import fit_weights, read_weights
from uniformer_video.models.uniformer import UniFormer


@dataclass(frozen=True)
class Variant:
    """One named architecture: the arguments of `UniFormer` and what they are good for."""

    ndim: int
    embed_dims: tuple = (64, 128, 320, 512)
    depths: tuple = (3, 4, 8, 3)
    head_dim: int = 64
    mlp_ratio: float = 4.0

    def arguments(self):
        """The architecture as keyword arguments of `UniFormer`."""
        return {
            "ndim": self.ndim,
            "embed_dims": list(self.embed_dims),
            "depths": list(self.depths),
            "head_dim": self.head_dim,
            "mlp_ratio": self.mlp_ratio,
        }


VARIANTS = {
    "uniformer_s": Variant(ndim=3),
    "uniformer_b": Variant(ndim=3, depths=(5, 8, 20, 7)),
    "image_uniformer_s": Variant(ndim=2),
    "image_uniformer_b": Variant(ndim=2, depths=(5, 8, 20, 7)),
}


def variant(name):
    """The `Variant` called `name`; an unknown name is an error that lists the known ones."""
    if name not in VARIANTS:
        raise ConfigError(f"unknown model {name!r}; known models: {', '.join(VARIANTS)}")
    return VARIANTS[name]


def build_uniformer(name, num_classes, **options):
    """A fresh `UniFormer` of the variant `name`; `options` override its arguments."""
    return UniFormer(num_classes, **{**variant(name).arguments(), **options})


def create_model(
    name=None, num_classes=None, checkpoint=None, local_kernel=None, adapt_kernel=False, **options
):
    """A model by name, by weights file, or both; in evaluation mode when weights were loaded.

    Args:
        name: a name from `VARIANTS`; may be left out for a checkpoint that records its own.
        num_classes: rows of the head; left out, the checkpoint's.
        checkpoint: a weights file. Nothing may be missing or left over.
        local_kernel: sides of the local kernel; left out, the checkpoint's, else 3x5x5.
        adapt_kernel: allow a checkpoint whose local kernel has another length in time.
        options: further arguments of `UniFormer`, such as `drop_path_rate`.
    """
    if checkpoint is None:
        if name is None or num_classes is None:
            raise ConfigError("create_model needs a name and num_classes, or a checkpoint")
        return build_uniformer(name, num_classes, local_kernel=local_kernel, **options)
    weights = read_weights(checkpoint)
    model = build_for_weights(weights, name, num_classes, local_kernel, adapt_kernel, **options)
    fit_weights(model, weights, adapt_kernel=adapt_kernel)
    return model.eval()


def build_for_weights(
    weights, name=None, num_classes=None, local_kernel=None, adapt_kernel=False, **options
):
    """A fresh model whose architecture suits `weights`; loading is left to `fit_weights`."""
    recorded = weights.metadata.get("model", {})
    name = name or recorded.get("name")
    if name is None:
        raise CheckpointError(
            f"{weights.path} does not record its architecture; name it, one of "
            f"{', '.join(VARIANTS)}"
        )
    num_classes = num_classes or weights.num_classes
    if num_classes is None:
        raise CheckpointError(
            f"{weights.path} has no classifier: train from it (UNIFORMER.PRETRAIN_NAME), or give "
            "num_classes"
        )
    if name == recorded.get("name"):
        options = {**recorded["arguments"], **options}
    options["local_kernel"] = choose_kernel(
        weights, local_kernel, adapt_kernel, options.get("ndim", variant(name).ndim)
    )
    return build_uniformer(name, num_classes, **options)


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


def find_variant(weights, ndim):
    """The name of the variant with the depths and channels that `weights` shows."""
    depths = [0] * 4
    for key in weights.state:
        if match := re.match(r"blocks([1-4])\.(\d+)\.", key):
            stage = int(match[1]) - 1
            depths[stage] = max(depths[stage], int(match[2]) + 1)
    kernels = [weights.state.get(f"patch_embed{stage}.proj.weight") for stage in range(1, 5)]
    dims = [0 if kernel is None else kernel.shape[0] for kernel in kernels]
    for name, known in VARIANTS.items():
        if known.ndim == ndim and (list(known.depths), list(known.embed_dims)) == (depths, dims):
            return name
    raise CheckpointError(
        f"{weights.path} is of no known architecture: depths {depths}, channels {dims}; "
        f"known: {', '.join(name for name, known in VARIANTS.items() if known.ndim == ndim)}"
    )
