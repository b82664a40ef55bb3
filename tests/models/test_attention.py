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
def by_products(monkeypatch):
    """`attend` by products on any processor, so many weights together."""

    def use(weights=attention._WEIGHTS_AT_ONCE):
        monkeypatch.setattr(attention, "_has_bfloat16_instructions", lambda: True)
        monkeypatch.setattr(attention, "_WEIGHTS_AT_ONCE", weights)

    return use


# All nine heads together, two by two, one by one.
@pytest.mark.parametrize("weights", [1000, 33, 1])
@pytest.mark.parametrize("keys", [4, 3])
def test_gradients_are_those_of_the_formula(by_products, weights, keys):
    by_products(weights)
    qkv = tensors(keys=keys)
    scale = 0.3  # no power of two
    out = AttentionByProducts.apply(*qkv, scale)
    assert torch.allclose(out, formula(*qkv, scale), atol=1e-13, rtol=0)
    assert torch.autograd.gradcheck(AttentionByProducts.apply, (*qkv, scale))


@pytest.mark.parametrize("queries, heads", [(150, 3), (33, 5)])
def test_bfloat16_is_as_exact_as_the_formula_in_it(by_products, queries, heads):
    by_products()
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


@pytest.mark.parametrize("scale", [0.3, -1.7])
def test_a_scale_that_is_no_power_of_two_is_not_rounded_by_itself(by_products, scale):
    """As exact as with scores that are rounded once; queries that are scaled first are a sixth less so."""
    by_products()
    qkv = tensors(2, 2, 200, 200, 32, torch.bfloat16)
    wide = [part.detach().double() for part in qkv]
    scores = (wide[0] @ wide[1].transpose(-2, -1) * scale).bfloat16()
    once, exact = scores.softmax(-1) @ qkv[2], formula(*wide, scale)
    ours = attend(*qkv, scale=scale)
    assert (ours - exact).norm() < 1.02 * (once - exact).norm()


@pytest.mark.parametrize("samples, queries", [(0, 4), (2, 0)])
def test_nothing_in_gives_nothing(by_products, samples, queries):
    by_products()
    qkv = tensors(samples, queries=queries, keys=queries, dtype=torch.bfloat16)
    out = attend(*qkv)
    assert out.shape == qkv[0].shape
    assert all(part.shape == out.shape for part in torch.autograd.grad(out.sum(), qkv))


def test_of_scale_zero_all_values_weigh_the_same(by_products):
    by_products()
    query, key, value = tensors(2, 2, 40, 40, 32, torch.bfloat16)
    mean = value.double().mean(-2, keepdim=True).expand_as(value)
    assert torch.allclose(attend(query, key, value, scale=0.0).double(), mean, atol=0.01)


def test_what_is_not_finite_stays_in_its_head(by_products):
    by_products(40)  # two of nine heads together
    qkv, bad = tensors(dtype=torch.bfloat16), (1, 2)
    for part in range(3):
        parts = [tensor.detach().clone() for tensor in qkv]
        parts[part][bad][3, 1] = torch.nan
        for tensor in parts:
            tensor.requires_grad_()
        out = attend(*parts)
        for values in (out, *torch.autograd.grad(out.sum(), parts)):
            broken = {
                tuple(place[:2]) for place in values.isfinite().logical_not().nonzero().tolist()
            }
            assert broken <= {bad}
        assert not out[bad].isfinite().all()


def test_autocast_does_not_change_what_is_computed(by_products):
    by_products()
    qkv = tensors(dtype=torch.bfloat16)
    plain = attend(*qkv)
    gradients = torch.autograd.grad(attend(*qkv).sum(), qkv)
    with torch.autocast("cpu", torch.float16):
        assert torch.equal(attend(*qkv), plain)
        assert all(map(torch.equal, torch.autograd.grad(attend(*qkv).sum(), qkv), gradients))
    with torch.inference_mode():
        assert torch.equal(attend(*qkv), plain)


def test_a_second_derivative_is_refused(by_products):
    by_products()
    qkv = tensors(dtype=torch.bfloat16)
    first = torch.autograd.grad(attend(*qkv).square().sum(), qkv, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        first[0].sum().backward()


def is_ours(query, key, value, dropout=0.0):
    return type(attend(query, key, value, dropout).grad_fn).__name__.startswith(
        "AttentionByProducts"
    )


def test_where_products_are_used(by_products, monkeypatch):
    by_products()
    half, single = tensors(dtype=torch.bfloat16), tensors(dtype=torch.float32)
    assert is_ours(*half)
    assert not is_ours(*half, dropout=0.1)
    assert not is_ours(*single)
    monkeypatch.setattr(attention, "_MOST_OF_A_HEAD", 15)  # of 4 x 4
    assert not is_ours(*half)
    monkeypatch.undo()
    monkeypatch.setattr(attention, "_has_bfloat16_instructions", lambda: False)
    assert not is_ours(*half)


def test_a_trace_has_torchs_own_operation(by_products):
    by_products()
    qkv = [part.detach() for part in tensors(dtype=torch.bfloat16)]
    assert "scaled_dot_product_attention" in str(
        torch.jit.trace(attend, qkv, check_trace=False).graph
    )


def test_so_has_an_exported_program(by_products):
    class Attend(torch.nn.Module):
        def forward(self, query, key, value):
            return attend(query, key, value)

    by_products()
    qkv = tuple(part.detach() for part in tensors(dtype=torch.bfloat16))
    program = torch.export.export(Attend(), qkv)
    assert "scaled_dot_product_attention" in str(program.graph)


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
