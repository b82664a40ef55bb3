"""Attention by matrix products against the formula in float64, and where torch's fused form is used."""

import pytest
import torch

from uniformer_video.models import attention
from uniformer_video.models.attention import AttentionByProducts, attend


def formula(query, key, value, scale):
    return (query @ key.transpose(-2, -1) * scale).softmax(-1) @ value


def tensors(samples=3, heads=3, queries=4, keys=4, width=2, dtype=torch.float64):
    """Query, key and value that learn, laid out as the model has them where there are as many keys."""
    generator = torch.Generator().manual_seed(0)

    def randn(count, length):
        shape = (samples, length, count, heads, width)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    if queries == keys:
        parts = randn(3, queries).permute(2, 0, 3, 1, 4).unbind(0)
    else:
        both = randn(2, keys).permute(2, 0, 3, 1, 4).unbind(0)
        parts = (randn(1, queries)[:, :, 0].transpose(1, 2), *both)
    return [part.requires_grad_() for part in parts]


@pytest.fixture
def in_groups(monkeypatch):
    """`attend` by products on any processor, so many weights together."""

    def use(weights=attention._WEIGHTS_AT_ONCE):
        monkeypatch.setattr(attention, "_has_bfloat16_instructions", lambda: True)
        monkeypatch.setattr(attention, "_WEIGHTS_AT_ONCE", weights)

    return use


# All nine heads together, two by two, one by one.
@pytest.mark.parametrize("weights", [1000, 33, 1])
@pytest.mark.parametrize("keys", [4, 3])
def test_gradients_are_those_of_the_formula(in_groups, weights, keys):
    in_groups(weights)
    qkv = tensors(keys=keys)
    scale = 0.3  # no power of two
    out = AttentionByProducts.apply(*qkv, scale)
    assert torch.allclose(out, formula(*qkv, scale), atol=1e-13, rtol=0)
    assert torch.autograd.gradcheck(AttentionByProducts.apply, (*qkv, scale))


@pytest.mark.parametrize("queries, heads", [(150, 3), (33, 5)])
def test_bfloat16_is_as_exact_as_the_formula_in_it(in_groups, queries, heads):
    in_groups()
    qkv = tensors(1, heads, queries, queries, 64, torch.bfloat16)
    scale = 64**-0.5
    gradient = torch.linspace(-1, 1, 64)

    def passes(function, dtype):
        parts = [part.detach().to(dtype).requires_grad_() for part in qkv]
        out = function(*parts)
        return out, *torch.autograd.grad(out, parts, gradient.to(dtype).expand_as(out))

    exact = passes(lambda *parts: formula(*parts, scale), torch.float64)
    written = passes(lambda *parts: formula(*parts, scale), torch.bfloat16)
    ours = passes(attend, torch.bfloat16)
    for true, plain, own in zip(exact, written, ours, strict=True):
        assert own.dtype == torch.bfloat16
        error = (own - true).norm() / true.norm()
        assert error < 0.01
        assert error < 1.3 * ((plain - true).norm() / true.norm())


def test_autocast_does_not_change_what_is_computed(in_groups):
    in_groups()
    qkv = tensors(dtype=torch.bfloat16)
    plain = attend(*qkv)
    with torch.autocast("cpu", torch.float16):
        assert torch.equal(attend(*qkv), plain)
    with torch.inference_mode():
        assert torch.equal(attend(*qkv), plain)


def is_ours(query, key, value, dropout=0.0):
    return type(attend(query, key, value, dropout).grad_fn).__name__.startswith(
        "AttentionByProducts"
    )


def test_where_products_are_used(in_groups, monkeypatch):
    in_groups()
    half, single = tensors(dtype=torch.bfloat16), tensors(dtype=torch.float32)
    assert is_ours(*half)
    assert not is_ours(*half, dropout=0.1)
    assert not is_ours(*single)
    monkeypatch.setattr(attention, "_MOST_OF_A_HEAD", 15)  # of 4 x 4
    assert not is_ours(*half)
    monkeypatch.undo()
    monkeypatch.setattr(attention, "_has_bfloat16_instructions", lambda: False)
    assert not is_ours(*half)


def test_a_trace_has_torchs_own_operation(in_groups):
    in_groups()
    qkv = [part.detach() for part in tensors(dtype=torch.bfloat16)]
    assert "scaled_dot_product_attention" in str(
        torch.jit.trace(attend, qkv, check_trace=False).graph
    )


@pytest.mark.parametrize(
    "capability, has, faster",
    [
        ("AVX512", {"avx512_bf16": True, "amx_tile": False}, True),
        ("AVX512", {"avx512_bf16": True, "amx_tile": True}, False),
        ("AVX512", {"avx512_bf16": False}, False),
        ("AVX512", {}, False),  # another architecture names other things
        ("AVX2", {"avx512_bf16": True}, False),  # held to AVX2 by ATEN_CPU_CAPABILITY
    ],
)
def test_the_kind_of_processor(monkeypatch, capability, has, faster):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert attention._has_bfloat16_instructions.__wrapped__() is faster
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert attention._has_bfloat16_instructions.__wrapped__() is False
