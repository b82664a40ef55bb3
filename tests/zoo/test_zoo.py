"""Names, and what weights files tell about the model to build."""

from functools import cache

import pytest
import torch
from plain_blocks import KINDS, small_input, small_model

from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.shapes import shapes_only
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.weights.checkpoint import Weights, write_checkpoint
from uniformer_video.zoo.create import build_for_weights, build_network, create_model
from uniformer_video.zoo.published import PUBLISHED
from uniformer_video.zoo.registry import MODELS, find_model, identify_model
from uniformer_video.zoo.uniformers import UNIFORMERS

NAMES = [model.name for model in UNIFORMERS]
SIZES = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_dim": 8}
AUX_HEAD = 512 * 1000 + 1000
# With 5x5x5 local kernels and 400 classes, or 1000 for images.
PARAMETERS = {
    "uniformer_xxs": 9_833_896,
    "uniformer_xs": 16_099_552,
    "uniformer_t": 5_480_752,
    "uniformer_s": 21_400_400,
    "uniformer_b": 49_813_200,
    "image_uniformer_t": 5_553_480,
    "image_uniformer_l": 99_462_888,
    "image_uniformer_l_ls_tl": 100_103_888,
    "image_uniformer_s": 21_545_256,
    "image_uniformer_s_plus": 24_032_552,
    "image_uniformer_s_plus_dim64": 24_032_552,
    "image_uniformer_b": 49_776_552,
    "image_uniformer_b_ls": 49_796_520,
    "image_uniformer_xxs": 10_215_280,
    "image_uniformer_xs": 16_509_264,
    "image_uniformer_s_tl": 21_545_256 + AUX_HEAD,
    "image_uniformer_s_tl_dim64": 21_545_256 + AUX_HEAD,
    "image_uniformer_s_plus_tl": 24_032_552 + AUX_HEAD,
    "image_uniformer_s_plus_tl_dim64": 24_032_552 + AUX_HEAD,
    "image_uniformer_b_tl": 49_776_552 + AUX_HEAD,
    "image_uniformer_b_tl_dim64": 49_776_552 + AUX_HEAD,
}
HEAD_DIMS = {
    **dict.fromkeys(("uniformer_xxs", "image_uniformer_xxs"), 28),
    **dict.fromkeys(("uniformer_xs", "image_uniformer_xs", "uniformer_s_plus"), 32),
    **dict.fromkeys(("image_uniformer_s_plus", "image_uniformer_s_tl"), 32),
    **dict.fromkeys(("uniformer_t", "image_uniformer_t"), 32),
    **dict.fromkeys(("image_uniformer_s_plus_tl", "image_uniformer_b_tl"), 32),
}
# Models that `head_dim` alone tells apart.
TWINS = [
    {"image_uniformer_s_plus", "image_uniformer_s_plus_dim64"},
    {"image_uniformer_s_tl", "image_uniformer_s_tl_dim64"},
    {"image_uniformer_s_plus_tl", "image_uniformer_s_plus_tl_dim64"},
    {"image_uniformer_b_tl", "image_uniformer_b_tl_dim64"},
]
TWIN_OF = {name: (pair - {name}).pop() for pair in TWINS for name in pair}


@cache
def meta_model(name):
    known = find_model(name)
    with shapes_only():
        return build_network(name, known.num_classes, **known.figure_arguments)


def foreign(name, path="weights.pth", hints=None):
    """`Weights` of another project that hold the model `name`."""
    return Weights(path, meta_model(name).state_dict(), hints=hints or {})


@pytest.mark.parametrize("name", NAMES)
def test_named_models(name):
    model = meta_model(name)
    if name in PARAMETERS:
        assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    assert model.arguments["head_dim"] == HEAD_DIMS.get(name, 64)
    assert isinstance(model, LightUniFormer) == name.endswith("xs")
    assert model.ndim == (2 if name.startswith("image_") else 3)


def test_layer_scale_of_the_image_model_starts_small_and_deep():
    arguments = find_model("image_uniformer_b_ls").arguments
    assert arguments["layer_scale"] == "global"
    assert arguments["init_value"] == 1e-6


def test_every_name_has_an_input():
    sizes = {name: (model.num_frames, model.crop_size) for name, model in MODELS.items()}
    assert sizes["uniformer_xxs"] == (16, 128)
    assert sizes["uniformer_xs"] == (32, 192)
    assert sizes["uniformer_b"] == (16, 224)
    assert sizes["image_uniformer_b"] == (0, 224)
    assert sizes["x3d_m"] == (16, 224)
    assert sizes["upernet_uniformer_s"] == (0, 512)
    assert len(sizes) == 36


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_recognised(name):
    if name not in TWIN_OF:
        assert identify_model(foreign(name)).name == name
        return
    with pytest.raises(CheckpointError, match="head_dim changes no") as caught:
        identify_model(foreign(name))
    for twin in (name, TWIN_OF[name]):
        head_dim = find_model(twin).arguments["head_dim"]
        assert f"{head_dim} ({twin})" in str(caught.value)
    assert identify_model(foreign(name), {"head_dim": HEAD_DIMS.get(name, 64)}).name == name


@pytest.mark.parametrize("head_dim", [32, 64])
def test_the_config_in_a_file_tells_the_head_dim(head_dim):
    hints = {"config": {"UNIFORMER": {"HEAD_DIM": head_dim}}}
    found = identify_model(foreign("image_uniformer_s_plus", hints=hints))
    assert found.arguments["head_dim"] == head_dim


@pytest.mark.parametrize("config", [{"UNIFORMER": None}, {"UNIFORMER": "x"}, {}])
def test_a_config_without_head_dim_tells_nothing(config):
    assert identify_model(foreign("uniformer_s", hints={"config": config})).name == "uniformer_s"


@pytest.mark.parametrize("stem", [name for name, w in PUBLISHED.items() if w.model in TWIN_OF])
def test_the_name_of_a_published_file_tells_the_model(stem):
    model = PUBLISHED[stem].model
    for path in (f"folder/{stem}.pth", f"https://host/{stem}.pth#sha256=00", f"{stem}.pth.tar"):
        assert identify_model(foreign(model, path)).name == model


def test_a_published_name_of_another_model_tells_nothing():
    misnamed = foreign("image_uniformer_s_tl", "uniformer_small_plus_in1k.pth")
    with pytest.raises(CheckpointError, match="image_uniformer_s_tl_dim64"):
        identify_model(misnamed)


def test_options_of_a_named_model_do_not_hide_it():
    with torch.device("meta"):
        for options in ({"split": True}, {"std": True}, {"layer_scale": True}):
            model = build_network("uniformer_s", 7, **options)
            weights = Weights("w.pth", model.state_dict())
            assert identify_model(weights).name == "uniformer_s"
            rebuilt = build_for_weights(weights)
            assert rebuilt.arguments == model.arguments
            assert rebuilt.num_classes == 7


@pytest.mark.parametrize("layer_scale", [True, False])
@pytest.mark.parametrize("name", ["t", "s", "b", "l"])
def test_openmixup_s_files_with_and_without_layer_scale(name, layer_scale):
    """It can be switched off there for every size, also where the model of that name has it."""
    name = f"image_uniformer_{name}"
    with torch.device("meta"):
        model = build_network(name, 7, layer_scale=layer_scale, local_kernel=(5, 5))
        weights = Weights("w.pth", model.state_dict())
        assert identify_model(weights).name == name
        assert build_for_weights(weights).arguments == model.arguments


def test_layer_scale_of_light_models_is_found():
    with torch.device("meta"):
        model = build_network("uniformer_xxs", 7, layer_scale=True, local_kernel=(5, 5, 5))
        rebuilt = build_for_weights(Weights("w.pth", model.state_dict()))
    assert isinstance(rebuilt, LightUniFormer)
    assert rebuilt.arguments == model.arguments


def test_unknown_architectures_show_what_they_are():
    weights = Weights("w.pth", small_model("joint").state_dict())
    with pytest.raises(CheckpointError, match=r"depths \[1, 1, 2, 1\], channels \[4, 8, 8, 16\]"):
        identify_model(weights)
    with pytest.raises(CheckpointError, match="is of no known architecture; name the model"):
        identify_model(Weights("w.pth", {"weight": torch.zeros(2, 2)}))


def test_inflated_names():
    expected = {
        "image_uniformer_s": "uniformer_s",
        "image_uniformer_s_tl_dim64": "uniformer_s",
        "image_uniformer_s_plus_dim64": "uniformer_s_plus",
        "image_uniformer_b_ls": "uniformer_b",
        "image_uniformer_t": "uniformer_t",
        "image_uniformer_l": "uniformer_l",
        "image_uniformer_l_ls_tl": "uniformer_l",
        "image_uniformer_xxs": "uniformer_xxs",
        "uniformer_s": "",
    }
    assert {name: find_model(name).video_model for name in expected} == expected


def saved(folder, model, name, **more):
    """A checkpoint of this toolkit; returns its path."""
    metadata = {"model": {"name": name, "arguments": model.arguments}}
    write_checkpoint(folder / "own.pt", model.state_dict(), {**metadata, **more})
    return folder / "own.pt"


@pytest.mark.parametrize("kind", KINDS)
def test_own_checkpoints_tell_everything(kind, tmp_path):
    model = small_model(kind).float().eval()
    image = "image_" if model.ndim == 2 else ""
    name = f"{image}uniformer_{'xxs' if 'light' in kind else 's'}"
    rebuilt = create_model(checkpoint=saved(tmp_path, model, name))
    assert type(rebuilt) is type(model)
    assert rebuilt.arguments == model.arguments
    assert not rebuilt.training
    clip = small_input(kind).float()
    for ours, theirs in zip(
        rebuilt.training_outputs(clip), model.training_outputs(clip), strict=True
    ):
        assert torch.equal(ours, theirs)
    extractor = create_model(checkpoint=tmp_path / "own.pt", features_only=True)
    assert torch.equal(extractor(clip)[-1].movedim(1, -1), model.forward_stages(clip)[-1][0])


def small_checkpoint(folder, wrap=lambda state: state, **options):
    torch.manual_seed(0)
    model = UniFormer(5, **SIZES, **options).eval()
    torch.save(wrap(model.state_dict()), folder / "theirs.pth")
    return model, folder / "theirs.pth"


def test_averaged_weights(tmp_path):
    def wrap(state):
        return {"model": state, "model_ema": {key: value + 1 for key, value in state.items()}}

    model, path = small_checkpoint(tmp_path, wrap)
    for weights, shift in (("model", 0), ("ema", 1)):
        loaded = create_model("uniformer_s", checkpoint=path, weights=weights, **SIZES)
        assert torch.equal(loaded.head.bias, model.head.bias + shift)
    with pytest.raises(ConfigError, match="model, ema"):
        create_model("uniformer_s", checkpoint=path, weights="best", **SIZES)


def test_a_file_of_another_architecture_than_the_name(tmp_path):
    _, path = small_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="belongs to another architecture"):
        create_model("uniformer_s", checkpoint=path)
    light = saved(tmp_path, small_model("light").float(), "uniformer_xxs")
    with pytest.raises(CheckpointError, match="does not fit the model"):
        create_model("uniformer_s", checkpoint=light)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        create_model("uniformer_xxs", checkpoint=path)


def test_another_head_dim_than_recorded(tmp_path):
    path = saved(tmp_path, small_model("joint").float(), "uniformer_s")
    with pytest.raises(CheckpointError, match="made with head_dim 4, and head_dim 8 is asked for"):
        create_model(checkpoint=path, head_dim=8)
    assert create_model(checkpoint=path, head_dim=4).arguments["head_dim"] == 4


def test_local_kernels_come_from_the_file(tmp_path):
    _, path = small_checkpoint(tmp_path, local_kernel=(5, 5, 5))
    model = create_model("uniformer_s", checkpoint=path, **SIZES)
    assert model.arguments["local_kernel"] == [5, 5, 5]
    with pytest.raises(CheckpointError, match="ADAPT_KERNEL"):
        create_model("uniformer_s", checkpoint=path, local_kernel=(3, 5, 5), **SIZES)
    adapted = create_model(
        "uniformer_s", checkpoint=path, local_kernel=(3, 5, 5), adapt_kernel=True, **SIZES
    )
    kernel = adapted.blocks1[0].attn.weight
    torch.testing.assert_close(kernel, model.blocks1[0].attn.weight[:, :, 1:4])


def test_file_without_classifier(tmp_path):
    def wrap(state):
        return {key: value for key, value in state.items() if not key.startswith("head.")}

    _, path = small_checkpoint(tmp_path, wrap)
    with pytest.raises(
        CheckpointError, match=r"no classifier: train from it.* or give num_classes"
    ):
        create_model("uniformer_s", checkpoint=path, **SIZES)


def test_another_number_of_classes_gives_a_fresh_head_and_says_so(tmp_path, caplog):
    source, path = small_checkpoint(tmp_path)
    same = create_model("uniformer_s", num_classes=5, checkpoint=path, **SIZES)
    assert torch.equal(same.head.weight, source.head.weight)
    assert caplog.text == ""
    fresh = create_model("uniformer_s", num_classes=7, checkpoint=path, **SIZES)
    assert fresh.head.weight.shape == (7, 16)
    assert torch.equal(fresh.norm.running_mean, source.norm.running_mean)
    assert torch.equal(fresh.blocks4[0].attn.qkv.weight, source.blocks4[0].attn.qkv.weight)
    assert "head.weight 5 -> 7 classes" in caplog.text


@pytest.mark.parametrize("arguments", [(), ("uniformer_s",), (None, 5)])
def test_too_little_to_build_from(arguments):
    with pytest.raises(ConfigError, match="needs a name and num_classes, or a checkpoint"):
        create_model(*arguments)


def test_a_file_of_pytorchvideo_by_name(tmp_path):
    pytest.importorskip("pytorchvideo")
    torch.manual_seed(0)
    model = create_model("x3d_xs", num_classes=3, crop_size=64).eval()
    clip = torch.randn(1, 3, 4, 64, 64)
    torch.save({"model_state": model.state_dict()}, tmp_path / "X3D_XS.pyth")
    loaded = create_model("x3d_xs", checkpoint=tmp_path / "X3D_XS.pyth", crop_size=64)
    assert torch.equal(loaded(clip), model(clip))
    with pytest.raises(CheckpointError, match="holds the weights of an X3D; name the model"):
        create_model(checkpoint=tmp_path / "X3D_XS.pyth")
