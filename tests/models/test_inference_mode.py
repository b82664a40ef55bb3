"""Models for inference alone: which BatchNorm is folded, and that outputs stay what they are."""

import copy

import pytest
import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.zoo.test_contract import CLASSES, FORMS, SMALL, inputs
from uniformer_video.errors import ConfigError
from uniformer_video.models.among import AmongClasses
from uniformer_video.models.dense.layers import ConvNorm
from uniformer_video.models.inference_mode import (
    _pairs,
    for_inference,
    is_folded,
    prepare_for_inference,
)
from uniformer_video.models.layers import Mlp, PointwiseConv, TokenBatchNorm
from uniformer_video.zoo.create import build_network
from uniformer_video.zoo.registry import find_model

pytest.importorskip("pytorchvideo")

# By family: BatchNorm layers that have no neighbour to take them over.
LEFT = {
    "uniformer": 1,  # the last one, before the mean over the tokens
    "uniformer_light": 1,
    "semantic_fpn": 0,
    "semantic_fpn_light": 0,
    "upernet": 0,
    "x3d": 0,
    "slow": 0,
    "slowfast": 0,
    "r2plus1d": 0,
    "mvit": 0,
}


def norms(model):
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]


def measured(model):
    """The model with statistics and affine of BatchNorm as if it had been trained, in evaluation mode."""
    generator = torch.Generator().manual_seed(2)
    for norm in norms(model):
        for name in ("running_mean", "bias"):
            if (values := getattr(norm, name)) is not None:
                values.data.normal_(0, 0.3, generator=generator)
        for name in ("running_var", "weight"):
            if (values := getattr(norm, name)) is not None:
                values.data.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def assert_same(model, x, left, rtol=1e-12):
    """Folding leaves so many BatchNorm layers and changes the outputs by `rtol` of the largest at most."""
    with torch.no_grad():
        expected = model(x)
        assert for_inference(model) is model
        found = model(x)
    assert len(norms(model)) == left
    assert (found - expected).abs().max() <= rtol * expected.abs().max()


def outputs_of_layers(model, x):
    """What each layer gives when it is run the last time, {name: tensor}, where it gives one tensor."""
    found, hooks = {}, []

    def keep(name):
        def hook(_, __, output):
            if isinstance(output, torch.Tensor):
                found[name] = output.clone()  # activations may be computed in place

        return hook

    for name, layer in model.named_modules():
        hooks.append(layer.register_forward_hook(keep(name)))
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()  # a layer that is watched is not folded
    return found


@pytest.mark.parametrize("name", FORMS)
def test_every_registered_family(name):
    """Outputs stay; layers inside that give something else, and no others, are marked for Grad-CAM."""
    family = find_model(name).family.name
    torch.manual_seed(0)
    model = measured(build_network(name, CLASSES, **SMALL[family]))
    precise, x = copy.deepcopy(model).double(), inputs(name, batch=1)
    assert_same(model, x, LEFT[family], rtol=1e-5)
    before = outputs_of_layers(precise, x.double())
    for_inference(precise)
    after = outputs_of_layers(precise, x.double())
    assert before.keys() == after.keys() and before[""].std() > 0
    assert (after[""] - before[""]).abs().max() <= 1e-12 * before[""].abs().max()
    assert len(norms(precise)) == LEFT[family]
    changed = {key for key in after if not torch.allclose(after[key], before[key], rtol=1e-9)}
    assert changed == {key for key in after if is_folded(precise.get_submodule(key))}
    assert bool(changed) == (family != "mvit")
    assert precise.for_inference() is precise and not precise.training
    with pytest.raises(ConfigError, match="inference alone"):
        precise.train()
    assert precise.eval() is precise


class EachChildOnItsOwn(fx.Tracer):
    """Shows how the children of one module hand tensors to each other."""

    def is_leaf_module(self, module, name):
        return True


@pytest.mark.parametrize("name", FORMS)
def test_pairs_that_classes_name_follow_each_other(name):
    """As each `forward` runs: the second alone reads what the first gives, and each runs once."""
    model = build_network(name, CLASSES, **SMALL[find_model(name).family.name]).eval()
    of_kinds = {type(module): module for module in model.modules()}
    for module in of_kinds.values():
        pairs = list(_pairs(module))
        if not pairs:
            continue
        steps = [
            node for node in EachChildOnItsOwn().trace(module).nodes if node.op == "call_module"
        ]
        for first, second in pairs:
            (one,) = [node for node in steps if node.target == first]
            (other,) = [node for node in steps if node.target == second]
            assert list(one.users) == [other] and other.args == (one,) and not other.kwargs


def test_a_model_inside_another_is_not_trained_either():
    options = SMALL["uniformer"]
    among = AmongClasses(build_network("uniformer_s", CLASSES, **options), [2, 0])
    assert len(norms(for_inference(among))) == LEFT["uniformer"]
    with pytest.raises(ConfigError, match="inference alone"):
        among.train()


def test_a_model_is_prepared_by_a_method_of_its_own_if_it_has_one(caplog):
    caplog.set_level("DEBUG", logger="uniformer_video")
    plain = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    assert prepare_for_inference(plain) is plain and not plain.training and len(norms(plain)) == 1
    assert caplog.messages == ["Sequential has no for_inference() and predicts as it was trained."]
    among = AmongClasses(build_network("uniformer_s", CLASSES, **SMALL["uniformer"]), [2, 0])
    assert prepare_for_inference(among) is among and among.model.only_predicts

    class Forgetful(nn.Module):
        def for_inference(self):
            self.eval()

    with pytest.raises(ConfigError, match="of Forgetful gives NoneType; it returns the model"):
        prepare_for_inference(Forgetful())


def sequential(*layers):
    torch.manual_seed(0)
    return measured(nn.Sequential(*layers).double())


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_before(groups, ndim, bias):
    conv, norm = [(nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d)][ndim - 2]
    layers = conv(4, 8, 3, stride=2, padding=1, groups=groups, bias=bias), norm(8)
    assert_same(sequential(*layers), torch.randn(2, 4, *[5] * ndim).double(), 0)


@pytest.mark.parametrize("affine", [True, False])
def test_pointwise_layer_behind(affine):
    maps, tokens = torch.randn(2, 4, 5, 5).double(), torch.randn(2, 5, 5, 4).double()
    conv = nn.Conv2d(4, 6, 1, stride=2, bias=False)
    assert_same(sequential(nn.BatchNorm2d(4, affine=affine), conv), maps, 0)
    for layer in (PointwiseConv(4, 6, 2), nn.Linear(4, 6, bias=False), Mlp(4, 6, nn.Linear)):
        assert_same(sequential(TokenBatchNorm(4, affine=affine), layer), tokens, 0)


def test_far_means_stay_so_that_half_precision_is_as_exact():
    """The larger the means of channels, the more of a sum is lost, unless they are taken off before."""
    errors = {}
    for mean, left in ((1, 0), (30, 1)):
        model = sequential(TokenBatchNorm(64), PointwiseConv(64, 8, 2)).float()
        model[0].running_mean.fill_(mean)
        x = mean + torch.randn(4, 5, 5, 64)
        with torch.no_grad():
            exact = model.double()(x.double())
            for_inference(model.float())
            with torch.autocast("cpu", torch.bfloat16):
                errors[mean] = float((model(x) - exact).norm() / exact.norm())
        assert len(norms(model)) == left
    assert errors[30] < 2 * errors[1] < 0.02


def test_layers_inside_sequences_are_neighbours():
    inner = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
    model = sequential(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3)), inner)
    assert_same(model, torch.randn(2, 4, 5, 5).double(), 0)


@pytest.mark.parametrize(
    "between",
    [
        [nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)],
        [nn.Conv2d(4, 4, 1), nn.Dropout(), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)],
        [nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)],
        [nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, padding=1)],
        [nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)],
        [nn.BatchNorm2d(4), nn.Linear(4, 4)],  # which mixes columns, not channels
    ],
)
def test_what_is_no_neighbour_stays(between):
    assert_same(sequential(*between), torch.randn(2, 4, 4, 4).double(), 1)


def test_a_shared_or_watched_layer_stays():
    conv, x = nn.Conv2d(4, 4, 1), torch.randn(2, 4, 4, 4).double()
    assert_same(sequential(conv, nn.BatchNorm2d(4), nn.ReLU(), conv), x, 1)
    norm = nn.BatchNorm2d(4)
    assert_same(sequential(nn.Conv2d(4, 4, 1), norm, nn.ReLU(), norm), x, 1)
    watched = sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    watched[0].register_forward_hook(lambda layer, args, out: 2 * out)
    assert_same(watched, x, 1)


class OtherOrder(nn.Module):
    """Registered as if the norm were behind the convolution, which it is not."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x).relu()) + self.conv(x)


def test_order_of_registration_says_nothing():
    torch.manual_seed(0)
    model = measured(OtherOrder().double())
    assert_same(model, torch.randn(2, 4, 4, 4).double(), 1)


def test_a_subclass_says_its_own_pairs():
    """It may run the layers of its base class in another order."""

    class ReluFirst(ConvNorm):
        def forward(self, x):
            return self.bn(self.conv(x).relu())

    torch.manual_seed(0)
    x = torch.randn(2, 4, 4, 4).double()
    assert_same(measured(ConvNorm(4, 4, 3).double()), x, 0)
    assert_same(measured(ReluFirst(4, 4, 3).double()), x, 1)
