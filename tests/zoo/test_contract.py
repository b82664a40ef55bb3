"""The contract of `RecognitionModel`, over every registered model; in small forms where numbers count."""

import copy
import json

import pytest
import torch

from uniformer_video.config.settings import DEFAULTS
from uniformer_video.errors import ConfigError
from uniformer_video.models.features import FeatureExtractor
from uniformer_video.models.layer_groups import layer_groups, model_parts
from uniformer_video.models.shapes import shapes_only
from uniformer_video.weights.checkpoint import Weights, fit_weights
from uniformer_video.zoo.create import build_for_weights, build_network, create_model
from uniformer_video.zoo.registry import MODELS, count_classes, find_model

pytest.importorskip("pytorchvideo")

_DENSE = {"embed_dims": [8, 8, 16, 16], "head_dim": 8, "head_channels": 16}
# By family: the options of a small form, and its input without the batch, [C, (T,) H, W].
SMALL = {
    "uniformer": {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 2, 1], "head_dim": 8},
    "uniformer_light": {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 3, 2], "head_dim": 8},
    "semantic_fpn": {**_DENSE, "depths": [1, 1, 2, 1], "neck_channels": 16},
    "semantic_fpn_light": {**_DENSE, "depths": [1, 1, 3, 2], "neck_channels": 16},
    "upernet": {**_DENSE, "depths": [1, 1, 2, 1], "auxiliary_channels": 16},
    "x3d": {"num_frames": 3, "crop_size": 32},
    "slow": {"num_frames": 2, "crop_size": 32},
    "slowfast": {"num_frames": 8, "crop_size": 32},
    "r2plus1d": {"num_frames": 5, "crop_size": 32},
    "mvit": {"num_frames": 4, "crop_size": 64},
}
CLASSES = 5


def small_forms():
    """Names of models whose small forms differ: most named models differ in their sizes alone."""
    found = {}
    for name, known in MODELS.items():
        options = {**known.arguments, **SMALL[known.family.name]}
        found.setdefault(json.dumps([known.family.name, options], sort_keys=True), name)
    return list(found.values())


FORMS = small_forms()


@pytest.fixture(scope="module")
def small():
    """A function: the small form of a named model, to be left unchanged; built once."""
    built = {}

    def get(name):
        if name not in built:
            torch.manual_seed(0)
            model = build_network(name, CLASSES, **SMALL[find_model(name).family.name])
            for key, value in model.state_dict().items():
                # Fresh residual branches may end in a zero scale, which would hide most of the network.
                if value.is_floating_point() and "weight" in key and not value.any():
                    value.fill_(0.5)
            built[name] = model
        return built[name]

    return get


def inputs(name, batch=2):
    """A random clip, or image, for the small form."""
    model, generator = find_model(name), torch.Generator().manual_seed(1)
    options = SMALL[model.family.name]
    side = options.get("crop_size", 64)
    time = () if model.takes_images else (options.get("num_frames", 4),)
    return torch.randn(batch, 3, *time, side, side, generator=generator)


def logits_shape(name, x):
    """Of `CLASSES`, for clips or images `x`: of each of them, or of positions of a quarter of their sides."""
    pixels = find_model(name).family.labels_pixels
    return (len(x), CLASSES, *[side // 4 for side in x.shape[2:] if pixels])


@pytest.mark.parametrize("name", MODELS)
def test_native_form(name):
    """At full size, without memory: what the registry says of a model, and what the model says."""
    known = find_model(name)
    with shapes_only():
        model = build_network(name, CLASSES)
        again = known.family.build(CLASSES, **json.loads(json.dumps(model.arguments)))
        sides = [known.num_frames, known.crop_size, known.crop_size]
        x = torch.zeros(2, 3, *sides[known.takes_images :])
        assert model.eval()(x).shape == logits_shape(name, x)
    state, other = model.state_dict(), again.state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in other.items()}
    assert again.arguments == model.arguments
    assert model.num_classes == CLASSES
    assert model.head_keys[0] == f"{known.family.classifier}.weight"
    assert all(state[key].shape[0] == CLASSES for key in model.head_keys)
    parameters = dict(model.named_parameters())
    assert set(model.head_keys) <= set(parameters)
    assert model.no_weight_decay() <= set(parameters)


@pytest.mark.parametrize("name", MODELS)
def test_what_the_registry_says_goes_together(name):
    known = find_model(name)
    family = known.family
    assert known.name == name
    assert {*known.arguments, *known.figure_arguments, *family.sizes} <= set(family.options)
    assert set(family.settings) <= set(DEFAULTS)
    assert set(family.settings.values()) <= set(family.options)
    assert known.gflops and known.crop_size
    if known.video_model:
        assert known.takes_images and not find_model(known.video_model).takes_images


@pytest.mark.parametrize("name", FORMS)
def test_logits_do_not_depend_on_the_batch(name, small):
    model, x = copy.deepcopy(small(name)).eval(), inputs(name)
    with torch.no_grad():
        logits = model(x)
        alone = torch.cat([model(x[:1]), model(x[1:])])
        outputs = model.training_outputs(x)
    assert logits.shape == logits_shape(name, x)
    assert torch.equal(outputs[0], logits)
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)
    assert (logits[0] - logits[1]).abs().max() > 1e-6


@pytest.mark.parametrize("name", FORMS)
def test_training_reaches_every_parameter(name, small):
    model = copy.deepcopy(small(name)).train()
    outputs = model.training_outputs(inputs(name))
    assert all(
        logits.shape[:2] == (2, CLASSES) and logits.dim() == len(logits_shape(name, inputs(name)))
        for logits in outputs
    )
    sum(logits.square().sum() for logits in outputs).backward()
    assert not [key for key, value in model.named_parameters() if value.grad is None]


@pytest.mark.parametrize("name", FORMS)
def test_no_softmax_in_any_mode(name, small):
    """Also: `head_keys` are all that depends on the classes, and the classifiers are the last step."""
    model, bias = copy.deepcopy(small(name)), torch.tensor([-3.0, -1.0, 0.0, 2.0, 7.0])
    state = model.state_dict()
    for key in model.head_keys:
        state[key].zero_()
    state[model.head_keys[1]].copy_(bias)
    for mode in (True, False):
        with torch.no_grad():
            logits = model.train(mode)(inputs(name)).movedim(1, -1)
        torch.testing.assert_close(logits, bias.expand_as(logits))


@pytest.mark.parametrize("name", FORMS)
def test_fresh_classifier(name, small):
    model = copy.deepcopy(small(name)).double().eval()
    model.reset_classifier(200)
    state = model.state_dict()
    assert model.num_classes == 200
    assert model(inputs(name).double()).shape[:2] == (2, 200)
    for weight, bias in zip(model.head_keys[::2], model.head_keys[1::2], strict=True):
        assert state[weight].shape[0] == 200 and state[bias].shape == (200,)
        assert state[weight].dtype == torch.float64
        assert state[weight].std().item() == pytest.approx(model.head_std, rel=0.1)
        assert not state[bias].any()
    with pytest.raises(ConfigError, match="num_classes is"):
        model.reset_classifier(-1)


@pytest.mark.parametrize("name", FORMS)
def test_a_checkpoint_carries_everything(name, small):
    model = copy.deepcopy(small(name)).eval()
    metadata = {"model": {"name": name, "arguments": model.arguments}}
    weights = Weights("own.pt", model.state_dict(), metadata)
    rebuilt = build_for_weights(weights).eval()
    fit_weights(rebuilt, weights)
    assert type(rebuilt) is type(model)
    assert rebuilt.arguments == model.arguments
    with torch.no_grad():
        assert torch.equal(rebuilt(inputs(name)), model(inputs(name)))


@pytest.mark.parametrize("name", FORMS)
def test_stages_are_there_or_refused(name, small):
    model = copy.deepcopy(small(name)).eval()
    if not hasattr(model, "forward_stages"):
        with pytest.raises(ConfigError, match=f"models with stages.*{name} has none"):
            FeatureExtractor(model)
        return
    extractor, x = FeatureExtractor(model), inputs(name)
    assert not any(key in extractor.state_dict() for key in model.head_keys)
    for features, channels, strides in zip(
        extractor(x), extractor.channels, extractor.strides, strict=True
    ):
        sides = zip(x.shape[2:], strides, strict=True)
        assert list(features.shape) == [2, channels, *(side // stride for side, stride in sides)]


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_in_one_layer_the_classifiers_alone_in_the_last(name):
    with shapes_only():
        model = build_network(name, CLASSES)
    names = [key for key, _ in model.named_parameters()]
    fine, coarse = layer_groups(model), layer_groups(model, coarse=True)
    for groups in (fine, coarse):
        assert sorted(key for group in groups for key in group) == sorted(names)
        assert set(model.head_keys) <= set(groups[-1])
        if find_model(name).family.labels_pixels:
            assert set(groups[-1]) == {key for key in names if not key.startswith("backbone.")}
        else:
            assert set(groups[-1]) == set(model.head_keys)
    # a stage is made of whole layers, in their order
    stage_of = {key: number for number, group in enumerate(coarse) for key in group}
    order = [{stage_of[key] for key in group} for group in fine]
    assert all(len(stages) == 1 for stages in order)
    assert [min(stages) for stages in order] == sorted(min(stages) for stages in order)
    assert list(model_parts(model)) == ["stem", "stage1", "stage2", "stage3", "stage4", "head"]


@pytest.mark.parametrize("name", FORMS)
def test_layers_are_in_the_order_in_which_a_clip_meets_them(name, small):
    model, met = copy.deepcopy(small(name)).eval(), {}

    def note(keys):
        def hook(_module, _inputs):
            for key in keys:
                met.setdefault(key, len(met))

        return hook

    for path, module in model.named_modules():
        keys = [key for key, _ in module.named_parameters(path, recurse=False)]
        # what a whole network holds itself, a class token, is used later than the network is called
        module.register_forward_pre_hook(note([] if path in ("", "backbone") else keys))
    with torch.no_grad():
        model.training_outputs(inputs(name))
    for coarse in (False, True):
        first = [
            min([met[key] for key in group if key in met], default=None)
            for group in layer_groups(model, coarse)
        ]
        assert first[0] == 0 and first == sorted(first)


@pytest.mark.parametrize("name", MODELS)
def test_no_option_is_dropped(name):
    for option in ("no_such_option", "num_clases"):
        with pytest.raises(ConfigError, match=f"{name} has no option '{option}'"):
            create_model(name, num_classes=CLASSES, **{option: 3})


@pytest.mark.parametrize("name", FORMS)
def test_classes_are_counted(name, small):
    weights = Weights("theirs.pth", small(name).state_dict())
    assert count_classes(weights) == count_classes(weights, name) == CLASSES
