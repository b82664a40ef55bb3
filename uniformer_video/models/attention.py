"""Attention by the best way on this device, `softmax(Q K^T * scale) V` for each head.

Nearly always that is torch's fused form. Not so for bfloat16 on processors with instructions for it: there
two matrix products with a softmax between them, for a few heads after each other so that their weights stay
in the processor's cache, take about two thirds of the time, and their gradients between a third and three
quarters. The backward pass computes the weights of attention again, as the fused form does; none are kept.

Scores are then rounded to bfloat16 before the softmax, as by autocast where attention is written out; the
fused form does not round them. Of attention alone the errors are about twice as large while scores are a few
units, and grow with them. In the output and the gradients of a whole model no difference is seen, since
queries and keys have been rounded before.

After each product all threads wait for each other, within the fused form hardly ever. So where other
processes take turns with them on their cores, the gain is lost, and with many of them more than that.
`benchmarks/README.md` has what was measured.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Weights, queries times keys, that are in memory together: 5 MB, and as much for their gradient.
_WEIGHTS_AT_ONCE = 2_500_000
# Where a single head has more, 32 MB, as in large pictures, the fused form is used: it needs no such memory.
_MOST_OF_A_HEAD = 16_000_000


def attend(
    query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0, scale: float | None = None
) -> Tensor:
    """Values mixed by attention, `[B, heads, N, D]`.

    query: `[B, heads, N, D]`. key, value: `[B, heads, M, D]`. dropout: its rate on the weights of attention.
    scale: what products of queries and keys are multiplied by; None for `D ** -0.5`.
    """
    # A product times zero, with oneDNN, leaves the memory for its result as it was.
    if dropout == 0.0 and scale != 0.0 and _products_are_faster(query, key):
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return AttentionByProducts.apply(query, key, value, scale)
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scale)


def _products_are_faster(query: Tensor, key: Tensor) -> bool:
    if query.dtype != torch.bfloat16 or query.device.type != "cpu":
        return False
    # A trace, as it is made to count FLOPs or to export, and a compiler have forms of their own for torch's.
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    return query.shape[-2] * key.shape[-2] <= _MOST_OF_A_HEAD and _has_bfloat16_instructions()


@functools.cache
def _has_bfloat16_instructions() -> bool:
    """Whether the processor is of the kind on which the products were measured to be faster: AVX-512 with
    bfloat16. Not with AMX, where the fused form has kernels of its own that nobody has compared.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older releases lack it
    return bool(has.get("avx512_bf16")) and not has.get("amx_tile")


class AttentionByProducts(torch.autograd.Function):
    """`apply(query, key, value, scale)`: as `attend` says. There is no second derivative.

    All operations write into memory that is there, which autocast leaves as they are.

    With W = softmax(S) and S = scale Q K^T, a row a query, and G the gradient of the output W V (`of_mixed`):

        gradient of V = W^T G,   of W = G V^T,   of S = W * (of W - row sums of (W * of W)),
        of Q = scale (of S) K,   of K = scale (of S)^T Q.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        queries, keys, values = (part.flatten(0, 1) for part in (query, key, value))
        mixed = _memory_like(queries)
        for heads, (weights,) in _some_heads(queries, keys):
            _attention_weights(queries[heads], keys[heads], scale, weights)
            _product(weights, values[heads], mixed[heads])
        return mixed.unflatten(0, query.shape[:2])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parts = (*ctx.saved_tensors, gradient)
        queries, keys, values, of_mixed = (part.flatten(0, 1) for part in parts)
        gradients = of_queries, of_keys, of_values = [
            _memory_like(part) for part in (queries, keys, values)
        ]
        for heads, (weights, of_weights) in _some_heads(queries, keys, tensors=2):
            _attention_weights(queries[heads], keys[heads], ctx.scale, weights)
            _product(weights.transpose(-2, -1), of_mixed[heads], of_values[heads])
            _product(of_mixed[heads], values[heads].transpose(-2, -1), of_weights)
            # in the memory of its operand
            of_scores = torch.ops.aten._softmax_backward_data.out(
                of_weights, weights, -1, weights.dtype, grad_input=of_weights
            )
            _product(of_scores, keys[heads], of_queries[heads], ctx.scale)
            _product(of_scores.transpose(-2, -1), queries[heads], of_keys[heads], ctx.scale)
        return *(part.unflatten(0, gradient.shape[:2]) for part in gradients), None


def _memory_like(part: Tensor) -> Tensor:
    return torch.empty_like(part, memory_format=torch.contiguous_format)


def _some_heads(
    queries: Tensor, keys: Tensor, tensors: int = 1
) -> Iterator[tuple[slice, list[Tensor]]]:
    """Which heads, of all samples, are computed together, and so many `tensors` of the size of their weights,
    `[heads, N, M]`, in memory that all use after each other. queries: `[heads, N, D]`; keys: `[heads, M, D]`.
    """
    heads, *weights = len(queries), queries.shape[1], keys.shape[1]
    most = max(1, _WEIGHTS_AT_ONCE // max(1, math.prod(weights)))
    groups = max(1, math.ceil(heads / most))
    size = max(1, math.ceil(heads / groups))  # 1 without any samples, too
    memory = [queries.new_empty(size, *weights) for _ in range(tensors)]
    for first in range(0, heads, size):
        own = slice(first, min(first + size, heads))
        yield own, [tensor[: own.stop - first] for tensor in memory]


def _attention_weights(queries: Tensor, keys: Tensor, scale: float, weights: Tensor) -> None:
    """Into `weights`, `[heads, N, M]`."""
    _product(queries, keys.transpose(-2, -1), weights, scale)
    torch.softmax(weights, -1, out=weights)


def _product(left: Tensor, right: Tensor, out: Tensor, factor: float = 1.0) -> None:
    """Matrix products of the heads times `factor`, rounded once, into `out`; what is there does not count.

    Of one head without `baddbmm`, which is slower for one.
    """
    if len(left) == 1:
        torch.addmm(out[0], left[0], right[0], beta=0, alpha=factor, out=out[0])
    else:
        torch.baddbmm(out, left, right, beta=0, alpha=factor, out=out)
