import parity
import pytest
import torch
from naive_uniformer import NaiveUniFormer
from plain_blocks import KINDS, plain_outputs, small_input, small_model

from uniformer_video.errors import ConfigError
from uniformer_video.models.layers import DropPath
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.weights.checkpoint import Weights, fit_weights, read_weights
from uniformer_video.zoo.architecture import read_arguments
from uniformer_video.zoo.create import create_model

SMALL = {"embed_dims": [8, 16, 24, 32], "depths": [1, 2, 2, 1], "head_dim": 8}


def relative_error(logits, reference):
    reference = torch.from_numpy(reference)
    return float((logits.double() - reference).norm() / reference.norm())


def published(name):
    """(facts, logits, our model without weights)."""
    facts, logits = parity.case(name)
    with torch.device("meta"):
        model = create_model(
            name.removesuffix("_split"),
            num_classes=facts["num_classes"],
            local_kernel=(5,) * (len(facts["input"]) - 2),
            **({"split": True} if facts.get("split") else {}),
        )
    return facts, logits, model.eval()


@pytest.mark.parametrize("name", parity.CASES)
def test_published_keys_and_sizes(name):
    facts, _, model = published(name)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == facts["keys"]
    assert sum(p.numel() for p in model.parameters()) == facts["params"]


@pytest.mark.parametrize(
    "name",
    [  # its kind is that of uniformer_xxs, on a quarter of the pixels
        pytest.param(name, marks=[pytest.mark.slow] if name == "uniformer_s" else [])
        for name in parity.CASES
    ],
)
def test_published_logits(name, two_threads):
    facts, logits, model = published(name)
    clip = parity.clip(facts["input"])
    with torch.no_grad():
        model.load_state_dict(parity.state(facts["keys"]), assign=True)  # in float64
        assert relative_error(model(clip), logits) < 1e-10
        assert relative_error(model.float()(clip.float()), logits) < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "large" in name else [])
        for name in parity.IMAGE_CASES
    ],
)
def test_published_logits_of_images(name, tmp_path, two_threads):
    """Through a file as each project leaves it, which OpenMixup's keys alone tell all about."""
    facts, logits = parity.case(name)
    state = parity.state(facts["keys"])
    torch.save({"state_dict": state}, tmp_path / "theirs.pth")
    model_name = parity.IMAGE_CASES[name] if facts["source"] == "token_labeling" else None
    model = create_model(model_name, checkpoint=tmp_path / "theirs.pth").double()
    assert sum(p.numel() for p in model.parameters()) == facts["params"]
    clip = parity.clip(facts["input"])
    with torch.no_grad():
        fit_weights(model, read_weights(tmp_path / "theirs.pth"))  # in float64
        assert relative_error(model(clip), logits) < 1e-10
        assert relative_error(model.float()(clip.float()), logits) < 2e-5


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_equals_plain_steps(kind, training):
    """Outputs, gradients and running statistics, against one sample and one head at a time."""
    model, clip = small_model(kind).train(training), small_input(kind)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    leaves = {name: state[name].requires_grad_() for name, _ in model.named_parameters()}
    *expected, updated = plain_outputs(state, model.arguments, clip, training)
    outputs = model.training_outputs(clip)
    assert len(outputs) == (1 if expected[1] is None else 2)
    for ours, theirs in zip(outputs, expected, strict=False):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    sum(out.square().sum() for out in outputs).backward()
    sum(out.square().sum() for out in expected if out is not None).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, leaves[name].grad, rtol=1e-8, atol=1e-9)
    buffers = {key: value for key, value in model.named_buffers() if "running" in key}
    assert set(updated) == (set(buffers) if training else set())
    for key, value in buffers.items():
        torch.testing.assert_close(value, updated.get(key, state[key]), rtol=1e-12, atol=1e-12)


def small_pair(kernel=(3, 5, 5)):
    torch.manual_seed(0)
    ours = UniFormer(7, **SMALL, local_kernel=kernel).double()
    naive = NaiveUniFormer(7, SMALL["embed_dims"], SMALL["depths"], SMALL["head_dim"], kernel)
    naive.double().load_state_dict(ours.state_dict())
    return ours, naive


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 64, 64), (3, 3, 5, 32, 77), (2, 3, 1, 50, 34)])
def test_equals_the_plain_implementation(mode, shape):
    ours, naive = small_pair()
    clip = torch.randn(shape, dtype=torch.float64)
    for model in (ours, naive):
        model.train(mode == "train")
        model(clip).square().sum().backward()
    torch.testing.assert_close(ours(clip), naive(clip), rtol=1e-9, atol=1e-9)
    expected = dict(naive.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-7, atol=1e-9)
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(buffer, dict(naive.named_buffers())[name])


def test_short_kernel_equals_the_long_one_padded_with_zeros():
    torch.manual_seed(0)
    short = UniFormer(5, **SMALL, local_kernel=(3, 5, 5)).double().eval()
    long = UniFormer(5, **SMALL, local_kernel=(5, 5, 5)).double().eval()
    state = short.state_dict()
    for key, value in state.items():
        if key.endswith("attn.weight") and value.dim() == 5:
            state[key] = torch.nn.functional.pad(value, (0, 0, 0, 0, 1, 1))
    long.load_state_dict(state)
    clip = torch.randn(1, 3, 8, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(short(clip), long(clip), rtol=1e-10, atol=1e-12)


def test_activation_checkpointing_changes_no_gradient():
    torch.manual_seed(0)
    rates = {"drop_path_rate": 0.5, "dropout_rate": 0.3, "attention_dropout_rate": 0.2}
    plain = UniFormer(5, **SMALL, **rates).train()
    saving = UniFormer(5, **SMALL, **rates, checkpoint_blocks=(1, 1, 2, 1)).train()
    saving.load_state_dict(plain.state_dict())
    clip = torch.randn(4, 3, 4, 32, 32)
    for model in (plain, saving):
        torch.manual_seed(1)
        model(clip).square().sum().backward()
    for ours, theirs in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_tokens_stay_channels_last():
    model = UniFormer(5, **SMALL).eval()
    seen = []
    for block in (*model.blocks1, *model.blocks3):
        block.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    model(torch.randn(2, 3, 4, 64, 64))
    assert len(seen) == 3
    assert all(tokens.is_contiguous() for pair in seen for tokens in pair)


def test_stochastic_depth_grows_linearly():
    model = UniFormer(5, **SMALL, drop_path_rate=0.3)
    rates = [module.rate for module in model.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0, 0.06, 0.12, 0.18, 0.24, 0.3])


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = DropPath(0.25).train()
    out = layer(torch.ones(4000, 2, 3))
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(out.amax((1, 2)), out.amin((1, 2)))
    assert out.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(layer.eval()(out), out)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 4, 31, 64), "at least 32"),
        ((1, 3, 4, 64), r"\[B, C, T, H, W\]"),
        ((1, 3, 0, 64, 64), "at least one frame"),
    ],
)
def test_inputs_that_are_too_small(shape, message):
    with pytest.raises(ValueError, match=message):
        UniFormer(5, **SMALL)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"local_kernel": (4, 5, 5)}, "odd"),
        ({"local_kernel": (5, 5)}, "3 odd sides"),
        ({"head_dim": 7}, "does not divide"),
        ({"depths": [1, 1, 1]}, "four entries"),
        ({"ndim": 1}, "2 .images. or 3"),
        ({"conv_embeds": 2}, "0, 1 .stage 1. or 4"),
        ({"layer_scale": "local"}, 'True, False or "global"'),
        ({"ndim": 2, "split": True}, "image models .ndim 2. have none"),
        ({"ndim": 2, "std": True}, "image models .ndim 2. have none"),
        ({"conv_embeds": 4, "std": True}, "drop one"),
        ({"mlp_ratio": 0.01}, "no hidden channels"),
        ({"embed_dims": [8, 16, 24, 0]}, "at least 1"),
    ],
)
def test_impossible_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        UniFormer(5, **{**SMALL, **change})


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="known models: uniformer_xxs, uniformer_xs, uniformer_t,"):
        create_model("uniformer_x", num_classes=3)


def test_initialisation():
    torch.manual_seed(0)
    model = UniFormer(50, **SMALL)
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.15)
    assert model.blocks3[0].attn.qkv.bias.abs().max() == 0
    conv = model.blocks1[0].conv1
    assert conv.weight.abs().max() <= 8**-0.5
    assert conv.weight.abs().max() > 0.9 * 8**-0.5


@pytest.mark.parametrize(("layer_scale", "stages"), [(True, "1234"), ("global", "34"), (False, "")])
@pytest.mark.parametrize("ndim", [2, 3])
def test_layer_scale_has_its_place_its_shape_and_its_start(layer_scale, stages, ndim):
    model = UniFormer(5, **SMALL, ndim=ndim, layer_scale=layer_scale, init_value=0.3)
    found = {k: list(v.shape) for k, v in model.named_parameters() if "gamma_" in k}
    expected = {}
    for stage in stages:
        dim, depth = (SMALL[key][int(stage) - 1] for key in ("embed_dims", "depths"))
        shape = [1, dim, *[1] * ndim] if stage in "12" else [dim]
        for block in range(depth):
            expected |= {f"blocks{stage}.{block}.gamma_{number}": shape for number in (1, 2)}
    assert found == expected
    for name in found:
        torch.testing.assert_close(
            model.get_parameter(name), torch.full(found[name], 0.3), rtol=0, atol=0
        )


@pytest.mark.parametrize("kind", ["joint", "divided", "light", "image"])
def test_attention_without_bias_and_with_a_scale_of_its_own(kind):
    """No bias is a bias of 0, and another scale is another length of the queries."""
    model = small_model(kind, qkv_bias=False, qk_scale=0.3).eval()
    plain = small_model(kind).eval()
    state = model.state_dict()
    for key, value in plain.state_dict().items():
        if "qkv" not in key:
            continue
        dim = len(value) // 3
        if key.endswith("bias"):
            assert key not in state
            state[key] = torch.zeros_like(value)
        else:
            state[key] = state[key].clone()
            state[key][:dim] *= 0.3 * 4**0.5  # heads have 4 channels
    plain.load_state_dict(state)
    clip = small_input(kind)
    torch.testing.assert_close(model(clip), plain(clip), rtol=1e-10, atol=1e-10)
    ours, theirs = (each.get_attention(clip, stage=3) for each in (model, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_a_layer_before_the_heads():
    model = small_model("image_stems_aux", representation_size=6).eval()
    tokens = model.forward_features(small_input("image_stems_aux"))
    found = torch.tanh(model.pre_logits.fc(tokens)).flatten(1, -2)
    expected = model.head(found.mean(1)) + 0.5 * model.aux_head(found).amax(1)
    torch.testing.assert_close(model(small_input("image_stems_aux")), expected)
    model.reset_classifier(3)
    assert model.head.in_features == model.aux_head.in_features == 6
    shown = read_arguments(Weights("theirs.pth", model.state_dict()))
    assert (shown["representation_size"], shown["qkv_bias"]) == (6, True)
    bare = small_model("image", qkv_bias=False)
    shown = read_arguments(Weights("theirs.pth", bare.state_dict()))
    assert (shown["representation_size"], shown["qkv_bias"]) == (0, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"representation_size": -1}, "representation_size is 0"),
        ({"qk_scale": 0}, "qk_scale is above 0"),
        ({"embed_norm_eps": 0}, "embed_norm_eps is above 0"),
    ],
)
def test_options_that_make_no_network(options, message):
    with pytest.raises(ConfigError, match=message):
        UniFormer(7, **SMALL, **options)
    with pytest.raises(ConfigError, match="two plain heads; leave representation_size out"):
        small_model("light", representation_size=4)
