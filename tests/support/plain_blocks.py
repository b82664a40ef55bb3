"""UniFormer in all its forms in plain steps: one sample, one head, one sorted list at a time.

Functions of a state dict, which share the checkpoint keys of `uniformer_video` and none of its code.
Features are channels-first, `[C, *grid]` for a sample and `[B, C, *grid]` for a batch.
"""

import math

import torch
from torch.nn import functional as F

from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer

_SIZES = {"embed_dims": [4, 8, 8, 16], "depths": [1, 1, 2, 1], "head_dim": 4, "mlp_ratio": 2.0}
_LIGHT = {"family": LightUniFormer, "depths": [1, 1, 3, 2]}
KINDS = {
    "joint": {},
    "divided": {"split": True, "depths": [1, 1, 1, 1]},
    "std": {"std": True},
    "layer_scale": {"layer_scale": True},
    "global_scale": {"layer_scale": "global"},
    "divided_scale_std": {"split": True, "std": True, "layer_scale": True},
    "stem": {"conv_embeds": 1},
    "stems_aux": {"conv_embeds": 4, "aux_head": True},
    "light": _LIGHT,
    "light_scale": {**_LIGHT, "layer_scale": True},
    "light_std": {**_LIGHT, "std": True, "trade_off": [[1, 0.3, 0], [0.2, 0.9]]},
    "image": {"ndim": 2},
    "image_stems_aux": {"ndim": 2, "conv_embeds": 4, "aux_head": True},
    "image_light": {**_LIGHT, "ndim": 2},
    "image_light_scale": {**_LIGHT, "ndim": 2, "layer_scale": True},
}


def small_model(kind, num_classes=5, seed=0, **options):
    """A float64 model of a `kind` of `KINDS` whose every parameter and buffer is random."""
    options = {**_SIZES, **KINDS[kind], **options}
    family = options.pop("family", UniFormer)
    torch.manual_seed(seed)
    return randomised(family(num_classes, **options).double())


def randomised(module):
    """`module` with random weights of such a size that no branch vanishes."""
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            tensor.normal_().mul_(1 / math.sqrt(tensor[0].numel()) if tensor.dim() > 1 else 0.5)
            if tensor.dim() == 1 and name.endswith("weight"):
                tensor.add_(1)
    return module


def small_input(kind, batch=2, frames=4, size=(64, 32)):
    """A random clip, or image, for `small_model(kind)`."""
    generator = torch.Generator().manual_seed(1)
    time = () if KINDS[kind].get("ndim") == 2 else (frames,)
    return torch.randn(batch, 3, *time, *size, dtype=torch.float64, generator=generator)


def sub(state, prefix):
    """The part of a state dict below `prefix`."""
    prefix += "."
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}


def linear(state, x):
    return x @ state["weight"].flatten(1).T + state["bias"]


def layer_norm(state, x, eps):
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return centred / scale * state["weight"] + state["bias"]


def mlp(state, x):
    hidden = linear(sub(state, "fc1"), x)
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return linear(sub(state, "fc2"), hidden)


def conv(state, x, stride=1, padding=None, groups=1):
    """A convolution of a batch; "same" padding by default."""
    weight = state["weight"]
    padding = [side // 2 for side in weight.shape[2:]] if padding is None else padding
    function = F.conv3d if weight.dim() == 5 else F.conv2d
    return function(x, weight, state["bias"], stride, padding, groups=groups)


def depthwise(state, x):
    return conv(state, x, groups=x.shape[1])


def as_rows(x):
    """`[C, *grid]` -> `[N, C]`, in the order T, H, W."""
    return x.flatten(1).T


def batch_norm(state, x, training, updated):
    """eps 1e-5, momentum 0.1; training writes the new running statistics into `updated`."""
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, var = state["running_mean"], state["running_var"]
    if training:
        values = x.transpose(0, 1).flatten(1)
        count = values.shape[1]
        mean, var = values.mean(1), values.var(1, unbiased=False)
        unbiased = var * count / (count - 1)
        updated["running_mean"] = 0.9 * state["running_mean"] + 0.1 * mean.detach()
        updated["running_var"] = 0.9 * state["running_var"] + 0.1 * unbiased.detach()
    x = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
    return x * state["weight"].view(shape) + state["bias"].view(shape)


def attention(state, x, head_dim):
    """`[N, C]` -> (`[N, C]`, a map `[N, N]` for each head)."""
    channels = x.shape[1]
    qkv = linear(sub(state, "qkv"), x)
    mixed, maps = [], []
    for start in range(0, channels, head_dim):
        query = qkv[:, start : start + head_dim]
        key = qkv[:, channels + start : channels + start + head_dim]
        value = qkv[:, 2 * channels + start : 2 * channels + start + head_dim]
        scores = (query @ key.T / math.sqrt(head_dim)).exp()
        maps.append(scores / scores.sum(1, keepdim=True))
        mixed.append(maps[-1] @ value)
    return linear(sub(state, "proj"), torch.cat(mixed, 1)), maps


def gamma(state, number):
    return state[f"gamma_{number}"].flatten() if f"gamma_{number}" in state else 1.0


def with_position(state, x):
    return x + depthwise(sub(state, "pos_embed"), x[None])[0]


def local_block(state, x, training, updated):
    """`[B, C, *grid]`; `updated` as in `batch_norm`, with the keys of the block."""

    def norm(name, x):
        new = {}
        out = batch_norm(sub(state, name), x, training, new)
        updated.update({f"{name}.{key}": value for key, value in new.items()})
        return out

    x = x + depthwise(sub(state, "pos_embed"), x)
    branch = conv(sub(state, "conv1"), norm("norm1", x))
    branch = conv(sub(state, "conv2"), depthwise(sub(state, "attn"), branch))
    x = x + (branch.movedim(1, -1) * gamma(state, 1)).movedim(-1, 1)
    branch = mlp(sub(state, "mlp"), norm("norm2", x).movedim(1, -1))
    return x + (branch * gamma(state, 2)).movedim(-1, 1)


def global_block(state, x, head_dim):
    """`[C, *grid]` -> `[C, *grid]`."""
    grid = x.shape[1:]
    rows, *_ = updates(state, as_rows(with_position(state, x)), head_dim)
    return rows.T.unflatten(1, grid)


def updates(state, rows, head_dim):
    """Both branches on `[N, C]`: (the result, what a dropped token gets of them, the maps)."""
    branch, maps = attention(
        sub(state, "attn"), layer_norm(sub(state, "norm1"), rows, 1e-6), head_dim
    )
    first = branch * gamma(state, 1)
    fed = mlp(sub(state, "mlp"), layer_norm(sub(state, "norm2"), rows + first, 1e-6))
    second = fed * gamma(state, 2)
    dropped = (branch + fed) * gamma(state, 3) if "gamma_3" in state else first + second
    return rows + first + second, dropped, maps


def divided_block(state, x, head_dim):
    """`[C, T, H, W]` -> (the same, the spatial maps of each frame, heads inside)."""
    x = with_position(state, x)
    channels, frames, height, width = x.shape
    after_time = x.clone()
    for row in range(height):
        for column in range(width):
            track = x[:, :, row, column].T  # [T, C]
            normed = layer_norm(sub(state, "t_norm"), track, 1e-6)
            track = track + attention(sub(state, "t_attn"), normed, head_dim)[0]
            after_time[:, :, row, column] = track.T
    spatial, maps = [], []
    for frame in range(frames):
        normed = layer_norm(sub(state, "norm1"), as_rows(after_time[:, frame]), 1e-6)
        branch, heads = attention(sub(state, "attn"), normed, head_dim)
        spatial.append((branch * gamma(state, 1)).T.view(channels, height, width))
        maps.append(heads)
    rows = as_rows(x + torch.stack(spatial, 1))
    rows = rows + mlp(sub(state, "mlp"), layer_norm(sub(state, "norm2"), rows, 1e-6)) * gamma(
        state, 2
    )
    return rows.T.view_as(x), maps


def hourglass_block(state, x, cls, importance, head_dim, keep, blend):
    """`[C, *grid]`, class token `[C]` and importance, a list (or None) -> the same and the maps.

    The maps are those of the full grid, class token first, `[heads, 1 + N, 1 + N]`.
    """
    x = with_position(state, x)
    rows = list(as_rows(x))
    everyone = list(range(len(rows)))
    if keep == 1:
        chosen, dropped = everyone, []
        short = [cls, *rows]
    else:
        ranking = sorted(everyone, key=lambda index: -importance[index].item())
        chosen = ranking[: math.floor(len(rows) * keep)]
        dropped = ranking[len(chosen) :]
        total = sum(importance[index] for index in dropped)
        shares = {index: importance[index] / total for index in dropped}
        merged = sum(shares[index] * rows[index] for index in dropped)
        short = [cls, *[rows[index] for index in chosen], merged]
    out, update, maps = updates(state, torch.stack(short), head_dim)
    paid = sum(maps)[0] / len(maps)  # by the class token
    result, new = list(rows), [None] * len(rows) if importance is None else list(importance)
    for place, index in enumerate(chosen, start=1):
        result[index] = out[place]
        old = new[index]
        new[index] = paid[place] if old is None else (1 - blend) * old + blend * paid[place]
    for index in dropped:
        result[index] = rows[index] + update[-1]
    where = {index: (place, 1.0) for place, index in enumerate(chosen, start=1)}
    where |= {index: (len(short) - 1, shares[index]) for index in dropped}
    places = [(0, 1.0), *[where[index] for index in everyone]]
    full = torch.stack(
        [
            torch.stack([torch.stack([m[i, j] * share for j, share in places]) for i, _ in places])
            for m in maps
        ]
    )
    return torch.stack(result, 1).view_as(x), out[0], new, full


def pooled_importance(importance, grid):
    """Means of 2x2 neighbours, with the old sum; `grid` is (T, H, W) or (H, W)."""
    *time, height, width = grid
    pooled = []
    for frame in range(time[0] if time else 1):
        for row in range(height // 2):
            for column in range(width // 2):
                first = frame * height * width + 2 * row * width + 2 * column
                square = [first, first + 1, first + width, first + width + 1]
                pooled.append(sum(importance[index] for index in square) / 4)
    scale = sum(importance) / sum(pooled)
    return [value * scale for value in pooled]


def embed(state, stage, x, std, training, updated):
    """The beginning of a stage, for a batch `[B, C, *grid]`."""
    ndim = x.dim() - 2
    if "proj.0.weight" not in state:
        frames = 3 if stage == 1 or std else 1
        side = 4 if stage == 1 else 2
        stride = [2 if stage == 1 else 1, side, side][-ndim:]
        padding = [frames // 2, 0, 0][-ndim:]
        x = conv(sub(state, "proj"), x, stride, padding)
        return layer_norm(sub(state, "norm"), x.movedim(1, -1), 1e-5).movedim(-1, 1)

    def norm(number, x):
        new = {}
        out = batch_norm(sub(state, f"proj.{number}"), x, training, new)
        updated.update({f"proj.{number}.{key}": value for key, value in new.items()})
        return out

    x = norm(1, conv(sub(state, "proj.0"), x, [1, 2, 2][-ndim:]))
    if stage == 1:
        x = x * (1 + torch.erf(x / math.sqrt(2))) / 2
        x = norm(4, conv(sub(state, "proj.3"), x, 2))
    return x


def plain_outputs(state, arguments, x, training=False):
    """(logits, class-token logits or None, running statistics after a training step).

    `arguments` are the model's; there is no stochastic depth.
    """
    updated, light, grid = {}, "cls_token" in state, ()
    cls = importance = [None] * len(x)
    for stage in range(1, 5):
        new, name = {}, f"patch_embed{stage}"
        x = embed(sub(state, name), stage, x, arguments["std"], training, new)
        updated.update({f"{name}.{key}": value for key, value in new.items()})
        if light and stage == 3:
            cls = [state["cls_token"][0, 0]] * len(x)
        if light and stage == 4:
            cls = [linear(sub(state, "cls_upsample"), token) for token in cls]
            importance = [pooled_importance(values, grid) for values in importance]
        for index in range(arguments["depths"][stage - 1]):
            new, name = {}, f"blocks{stage}.{index}"
            block = sub(state, name)
            if stage <= 2:
                x = local_block(block, x, training, new)
                updated.update({f"{name}.{key}": value for key, value in new.items()})
            elif light:
                settings = [
                    arguments[key][stage - 3][index] for key in ("prune_ratio", "trade_off")
                ]
                found = [
                    hourglass_block(block, *sample, arguments["head_dim"], *settings)
                    for sample in zip(x, cls, importance, strict=True)
                ]
                x = torch.stack([sample[0] for sample in found])
                cls, importance = ([sample[i] for sample in found] for i in (1, 2))
            elif arguments["split"]:
                x = torch.stack([divided_block(block, s, arguments["head_dim"])[0] for s in x])
            else:
                x = torch.stack([global_block(block, s, arguments["head_dim"]) for s in x])
        grid = x.shape[2:]
    new = {}
    x = batch_norm(sub(state, "norm"), x, training, new)
    updated.update({f"norm.{key}": value for key, value in new.items()})
    logits = linear(sub(state, "head"), x.flatten(2).mean(2))
    if arguments["aux_head"]:
        tokens = linear(sub(state, "aux_head"), x.movedim(1, -1).flatten(1, -2))
        logits = logits + 0.5 * tokens.max(1).values
    if not light:
        return logits, None, updated
    normed = layer_norm(sub(state, "norm_cls"), torch.stack(cls), 1e-5)
    return logits, linear(sub(state, "head_cls"), normed), updated
