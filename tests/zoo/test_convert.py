"""Whole weights files from one kind to another: nothing is lost, and what a file cannot tell is asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from uniformer_video import class_names
from uniformer_video.cli import main
from uniformer_video.config.settings import load_config
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.zoo.convert import convert_file, export_file
from uniformer_video.zoo.create import build_network, create_model
from uniformer_video.zoo.frame import read_frame
from uniformer_video.zoo.inflate import inflate_file
from uniformer_video.zoo.published import PUBLISHED
from uniformer_video.zoo.registry import MODELS
from uniformer_video.zoo.uniformers import UNIFORMERS

SMALL = {"embed_dims": [8, 8, 16, 24], "depths": [1, 1, 2, 1], "head_dim": 8}
KERNEL = (5, 5, 5)


def small(family=UniFormer, num_classes=5, **options):
    torch.manual_seed(0)
    return family(num_classes, **{**SMALL, "local_kernel": KERNEL, **options}).eval()


def save(path, state, **beside):
    torch.save({"model_state": state, **beside} if beside else state, path)
    return path


@pytest.fixture(autouse=True)
def narrow_zoo(monkeypatch):
    """The named models with few channels: depths and kinds tell them apart as before."""
    for known in UNIFORMERS:
        head_dim = max(4, known.arguments["head_dim"] // 8)
        narrow = {**known.arguments, "embed_dims": [8, 8, 16, 16], "head_dim": head_dim}
        monkeypatch.setitem(MODELS, known.name, replace(known, arguments=narrow))


@pytest.fixture
def published_xxs(tmp_path):
    """Random weights under the name of published ones."""
    torch.manual_seed(0)
    state = build_network("uniformer_xxs", 400, local_kernel=KERNEL).state_dict()
    return save(tmp_path / "uniformer_xxs16_128_k400.pth", state)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("uniformer_small_plus_in1k", "image_uniformer_s_plus"),
        ("uniformer_xs_192_in1k", "image_uniformer_xs"),
        ("uniformer_base_tl_224", "image_uniformer_b_tl"),
    ],
)
def test_published_image_weights_predict_as_they_are_and_converted(name, model, tmp_path):
    torch.manual_seed(0)
    source = save(tmp_path / f"{name}.pth", build_network(model, 1000).state_dict())
    Image.fromarray(np.full((60, 50, 3), 90, np.uint8)).save(tmp_path / "a.png")
    lines = convert_file(source, tmp_path / "ours.pt")
    side = 192 if "192" in name else 224
    assert any(line.startswith(f"input: images, {side} pixels") for line in lines)
    predictors = [Predictor.from_checkpoint(file) for file in (source, tmp_path / "ours.pt")]
    first, second = (predictor(tmp_path / "a.png") for predictor in predictors)
    assert predictors[0].protocol == predictors[1].protocol == PUBLISHED[name].protocol()
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert first.class_names == second.class_names == tuple(class_names("imagenet"))
    if name.endswith("192_in1k"):
        of_videos = Protocol.from_cfg(load_config("configs/k400/uniformer_b_16x4.yaml"))
        with pytest.raises(ConfigError, match=r"takes images, and the settings .* of videos"):
            convert_file(source, tmp_path / "b.pt", protocol=of_videos)


def test_published_weights_get_all_that_prediction_needs(published_xxs, tmp_path):
    lines = convert_file(published_xxs, tmp_path / "ours.pt")
    assert any("output 0 is 'riding a bike'" in line for line in lines)
    metadata = read_weights(tmp_path / "ours.pt").metadata
    assert metadata["class_names"] == class_names("k400", "published")
    assert metadata["model"]["arguments"]["head_dim"] == 4
    assert metadata["model"]["arguments"]["local_kernel"] == [5, 5, 5]
    assert metadata["protocol"] == PUBLISHED[published_xxs.stem].protocol().to_dict()
    assert metadata["protocol"]["rule"] == "segment" and metadata["protocol"]["crop_size"] == 128
    predictor = Predictor.from_checkpoint(tmp_path / "ours.pt")
    assert predictor.class_names[0] == "riding a bike"
    clip = torch.randn(1, 3, 4, 64, 64)
    theirs = create_model("uniformer_xxs", checkpoint=published_xxs)
    plain = Predictor.from_checkpoint(tmp_path / "ours.pt", fold=False)
    assert torch.equal(plain.model.cpu()(clip), theirs(clip))
    folded = theirs.for_inference()
    assert torch.equal(predictor.model.cpu()(clip), folded(clip))


def test_another_order_and_another_format(published_xxs, tmp_path):
    target = tmp_path / "ours.safetensors"
    convert_file(published_xxs, target, classes="k400")
    weights = read_weights(target)
    assert weights.metadata["class_names"][0] == "abseiling"
    assert torch.equal(weights.state["cls_token"], read_weights(published_xxs).state["cls_token"])
    with pytest.raises(CheckpointError, match="400 classes apart and ucf101 names 101"):
        convert_file(published_xxs, tmp_path / "other.pt", classes="ucf101")
    with pytest.raises(ConfigError, match="no published weights 'xxs'"):
        convert_file(published_xxs, tmp_path / "other.pt", published="xxs")


@pytest.mark.parametrize("kind", ["joint", "divided", "light"])
def test_there_and_back(tmp_path, kind):
    family = LightUniFormer if kind == "light" else UniFormer
    model = small(family, split=kind == "divided", layer_scale=kind == "light")
    source = save(tmp_path / "theirs.pyth", model.state_dict(), epoch=3)
    with pytest.raises(CheckpointError, match="no known architecture"):
        convert_file(source, tmp_path / "ours.pt")
    convert_file(source, tmp_path / "ours.pt", head_dim=8)
    ours = create_model(checkpoint=tmp_path / "ours.pt")
    clip = torch.randn(2, 3, 4, 32, 32)
    assert torch.equal(ours(clip), model(clip))
    lines = export_file(tmp_path / "ours.pt", tmp_path / "back.pyth", "published")
    assert any("UNIFORMER.HEAD_DIM 8" in line for line in lines)
    back = read_weights(tmp_path / "back.pyth")
    assert all(torch.equal(value, back.state[key]) for key, value in model.state_dict().items())
    if kind != "light":  # no shape shows it, so the file says it
        assert back.hints == {"config": {"UNIFORMER": {"HEAD_DIM": 8}}}


@pytest.mark.parametrize("factors", [False, True, "global"])
@pytest.mark.parametrize("stems", [0, 4])
def test_openmixup_there_and_back(tmp_path, factors, stems):
    model = small(ndim=2, conv_embeds=stems, layer_scale=factors, local_kernel=(5, 5)).eval()
    source = save(tmp_path / "theirs.pth", model.state_dict())
    convert_file(source, tmp_path / "ours.pt", head_dim=8)
    lines = export_file(tmp_path / "ours.pt", tmp_path / "om.pth", "openmixup")
    assert any("factors of 1" in line for line in lines) == (factors is not True)
    assert any("epsilon of 1e-6, these were made with 1e-5" in line for line in lines)
    keys = set(torch.load(tmp_path / "om.pth", weights_only=True)["state_dict"])
    embed = "backbone.patch_embed1.projection." + ("0.weight" if stems else "weight")
    assert {embed, "backbone.blocks1.0.bn1.weight", "backbone.blocks3.0.ln2.bias"} <= keys
    assert {"backbone.norm3.running_var", "head.fc.bias", "backbone.blocks4.0.gamma_2"} <= keys
    assert not any("mlp" in key or ".norm1." in key for key in keys)
    convert_file(tmp_path / "om.pth", tmp_path / "back.pt", head_dim=8)
    back = create_model(checkpoint=tmp_path / "back.pt")
    assert back.arguments["embed_norm_eps"] == 1e-6 and back.arguments["layer_scale"] is True
    assert back.arguments["init_value"] == 1e-6  # of every block there, whatever ours began with
    image = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(back(image), model(image), rtol=1e-3, atol=1e-4)
    again = export_file(tmp_path / "back.pt", tmp_path / "again.pth", "openmixup")
    assert not any("epsilon" in line or "factors" in line for line in again)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "video models"),
        ({"ndim": 2, "local_kernel": (5, 5), "aux_head": True}, "second head on tokens"),
        ({"ndim": 2, "local_kernel": (5, 5), "conv_embeds": 1}, "the first stage alone"),
        ({"ndim": 2, "local_kernel": (5, 5), "representation_size": 4}, "layer before the head"),
    ],
)
def test_what_openmixup_does_not_know_is_refused(tmp_path, options, message):
    save(tmp_path / "a.pth", small(**options).state_dict())
    with pytest.raises(CheckpointError, match=message):
        export_file(tmp_path / "a.pth", tmp_path / "b.pth", "openmixup")


def test_the_config_inside_a_training_checkpoint_tells_the_head_dim(tmp_path):
    state = build_network("image_uniformer_s_plus", 10).state_dict()
    config = "UNIFORMER: {HEAD_DIM: 8}\n"
    source = save(tmp_path / "theirs.pyth", state, cfg=config)
    lines = convert_file(source, tmp_path / "ours.pt")
    assert any("head_dim 8" in line for line in lines)


def test_a_file_that_cannot_tell_its_head_dim_asks_for_it(tmp_path):
    state = build_network("image_uniformer_s_plus", 10).state_dict()
    source = save(tmp_path / "theirs.pth", state)
    with pytest.raises(CheckpointError, match=r"changes no tensor's shape.*4 .*8 "):
        convert_file(source, tmp_path / "ours.pt")
    convert_file(source, tmp_path / "a.pt", head_dim=8)
    convert_file(source, tmp_path / "b.pt", name="image_uniformer_s_plus_dim64")
    for name in ("a.pt", "b.pt"):
        model = read_weights(tmp_path / name).metadata["model"]
        assert (model["name"], model["arguments"]["head_dim"]) == (
            "image_uniformer_s_plus_dim64",
            8,
        )


def test_short_kernels_leave_in_zeros_and_compute_the_same(tmp_path):
    model = small(local_kernel=(3, 5, 5))
    save(tmp_path / "a.pth", model.state_dict())
    convert_file(tmp_path / "a.pth", tmp_path / "ours.pt", head_dim=8)
    export_file(tmp_path / "ours.pt", tmp_path / "mm.pth", "mmaction2")
    keys = set(torch.load(tmp_path / "mm.pth", weights_only=True)["state_dict"])
    assert {"backbone.norm.weight", "cls_head.fc_cls.weight"} <= keys
    state = read_weights(tmp_path / "mm.pth").state
    theirs = small()
    theirs.load_state_dict(state)
    clip = torch.randn(1, 3, 6, 32, 32)
    torch.testing.assert_close(theirs(clip), model(clip))


def test_settings_inside_a_training_checkpoint_tell_the_input(tmp_path):
    config = "DATA: {NUM_FRAMES: 8, SAMPLING_RATE: 8}\nUNIFORMER: {HEAD_DIM: 8}\n"
    save(tmp_path / "theirs.pyth", small().state_dict(), cfg=config)
    command = ["convert", str(tmp_path / "theirs.pyth"), "--out", str(tmp_path / "ours.pt")]
    assert main([*command, "--head-dim", "8", "--classes", "demo"]) == 2  # 8 names, 5 outputs
    assert main([*command, "--head-dim", "8"]) == 0
    recorded = read_weights(tmp_path / "ours.pt").metadata["protocol"]
    assert (recorded["num_frames"], recorded["frame_stride"]) == (8, 8)


def test_outputs_without_a_class_are_left_out(tmp_path):
    state = build_network("uniformer_s", 101, local_kernel=KERNEL).state_dict()
    source = save(tmp_path / "uniformer_s16x4_hmdb51_prek400.pth", state)
    convert_file(source, tmp_path / "ours.pt")
    weights = read_weights(tmp_path / "ours.pt")
    assert weights.metadata["class_names"] == class_names("hmdb51")
    assert weights.metadata["protocol"]["channel_order"] == "BGR"
    assert torch.equal(weights.state["head.weight"], state["head.weight"][:51])
    assert create_model(checkpoint=tmp_path / "ours.pt").num_classes == 51
    # In any other file they are of other classes.
    convert_file(
        save(tmp_path / "uniformer_small_k400_8x8.pth", state | wide_head(state)), tmp_path / "b.pt"
    )
    kept = read_weights(tmp_path / "b.pt")
    assert len(kept.state["head.weight"]) == 404 and "class_names" not in kept.metadata


def wide_head(state):
    """The head of `state` with four times the outputs."""
    return {key: torch.cat([state[key]] * 4) for key in ("head.weight", "head.bias")}


@pytest.mark.parametrize(
    ("held", "name", "said"),
    [
        ("image_uniformer_s", "uniformer_small_k400_8x8", r"of uniformer_s, .* image \(2D\)"),
        ("uniformer_s", "uniformer_base_k400_8x8", r"of uniformer_b, .* depths \[3, 4, 8, 3\]"),
        ("uniformer_s", "uniformer_small_tl_224", r"of image_uniformer_s_tl, .* video \(3D\)"),
        ("uniformer_s", "uniformer_xxs16_128_k400", r"of uniformer_xxs, .* depths"),
    ],
)
def test_the_published_name_of_another_network_is_refused(tmp_path, held, name, said):
    state = build_network(held, 1000).state_dict()
    for path, published in ((f"{name}.pth", None), ("mine.pth", name)):
        source = save(tmp_path / path, state)
        with pytest.raises(
            CheckpointError, match=f"the published {name} are weights {said}.*rename"
        ):
            convert_file(source, tmp_path / "ours.pt", published=published)


def test_mmaction2_weights_have_the_usual_order(tmp_path):
    state = build_network("uniformer_s", 400, local_kernel=KERNEL).state_dict()
    state = {
        key.replace("head.", "cls_head.fc_cls.") if key[:5] == "head." else f"backbone.{key}": value
        for key, value in state.items()
    }
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "theirs.pth")
    convert_file(
        tmp_path / "theirs.pth", tmp_path / "ours.pt", published="uniformer_small_k400_16x4"
    )
    assert read_weights(tmp_path / "ours.pt").metadata["class_names"][0] == "abseiling"


def test_files_of_mmaction2_are_known_by_their_own_name(tmp_path, caplog):
    state = build_network("uniformer_s", 400, local_kernel=KERNEL).state_dict()
    save(tmp_path / "ours.pth", state)
    name = "uniformer-small_imagenet1k-pre_16x4x1_kinetics400-rgb_20221219-c630a037.pth"
    export_file(tmp_path / "ours.pth", tmp_path / name, "mmaction2")
    convert_file(tmp_path / name, tmp_path / "back.pt")
    metadata = read_weights(tmp_path / "back.pt").metadata
    assert metadata["class_names"] == class_names("k400")
    assert metadata["protocol"] == PUBLISHED["uniformer_small_k400_16x4"].protocol().to_dict()
    assert caplog.text == ""


def test_what_mmaction2_does_not_know_is_refused(tmp_path):
    save(tmp_path / "a.pth", small(split=True).state_dict())
    with pytest.raises(CheckpointError, match="knows no divided attention"):
        export_file(tmp_path / "a.pth", tmp_path / "b.pth", "mmaction2")
    save(tmp_path / "c.pth", {"weight": torch.zeros(2)})
    with pytest.raises(CheckpointError, match="not a UniFormer's"):
        export_file(tmp_path / "c.pth", tmp_path / "b.pth", "published")
    assert not (tmp_path / "b.pth").exists()


def test_nothing_is_overwritten(tmp_path):
    save(tmp_path / "a.pth", small().state_dict())
    with pytest.raises(CheckpointError, match="exists already"):
        convert_file(tmp_path / "a.pth", tmp_path / "a.pth", head_dim=8)
    with pytest.raises(ConfigError, match="no folder"):
        convert_file(tmp_path / "a.pth", tmp_path / "x/a.pt", head_dim=8)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(model.name, marks=[pytest.mark.slow] if "uniformer_l" in model.name else [])
        for model in UNIFORMERS
        if model.takes_images
    ],
)
def test_every_image_model_inflates_into_its_video_model(tmp_path, name):
    torch.manual_seed(0)
    image = build_network(name, 7)
    save(tmp_path / "image.pth", image.state_dict())
    inflate_file(tmp_path / "image.pth", tmp_path / "video.pt", "center", KERNEL, name)
    weights = read_weights(tmp_path / "video.pt")
    recorded = weights.metadata["model"]
    assert recorded["name"] == MODELS[name].video_model
    assert recorded["arguments"]["head_dim"] == image.arguments["head_dim"]
    assert recorded["arguments"]["local_kernel"] == [5, 5, 5]
    assert not any(key in weights.state for key in image.head_keys)
    if "blocks3.0.gamma_1" in image.state_dict():
        assert torch.equal(weights.state["blocks3.0.gamma_1"], image.blocks3[0].gamma_1)


def test_frames_to_check_on(tmp_path, make_video):
    made_up = read_frame()
    assert made_up.shape == (3, 224, 224) and made_up.std() > 0.5
    assert torch.equal(made_up, read_frame())
    video = make_video(frames=11)
    assert read_frame(video).shape == (3, 224, 224)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"takes a picture, or a video.*text\.jpg cannot be read"):
        read_frame(tmp_path / "text.jpg")


def test_the_pixels_of_published_token_labelling_are_in_doubt_and_both_ways_are_there(
    tmp_path, caplog, call
):
    """0.5 as the library that its code names has it, ImageNet's on demand; and that is said once."""
    name = "uniformer_small_tl_384"
    state = build_network("image_uniformer_s_tl", 1000).state_dict()
    file = save(tmp_path / f"{name}.pth", {"state_dict": state})
    lines = "\n".join(convert_file(file, tmp_path / "half.pt"))
    assert "in doubt" in lines and f"convert {file} --imagenet-pixels --out" in lines
    renamed = save(tmp_path / "my own.pth", {"state_dict": state})
    lines_of_renamed = convert_file(renamed, tmp_path / "renamed.pt", published=name)
    assert f"convert '{renamed}' --published {name} --imagenet-pixels" in "\n".join(
        lines_of_renamed
    )
    facts = read_weights(tmp_path / "half.pt").metadata["protocol"]
    assert facts["mean"] == facts["std"] == [0.5, 0.5, 0.5]
    assert (facts["crop_size"], facts["short_side"]) == (384, 426)
    predictor = Predictor.from_checkpoint(file)  # under its own name
    assert predictor.protocol.views.normalise.mean == (0.5, 0.5, 0.5)
    assert caplog.text.count("in doubt") == 1
    Predictor.from_checkpoint(tmp_path / "half.pt")
    assert caplog.text.count("in doubt") == 1
    status, told, _ = call("convert", file, "--imagenet-pixels", "--out", tmp_path / "imagenet.pt")
    assert status == 0 and "in doubt" not in told and "mean 0.485, 0.456, 0.406" in told
    facts = read_weights(tmp_path / "imagenet.pt").metadata["protocol"]
    assert (facts["mean"], facts["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    other = file.rename(tmp_path / "other.pth")  # the command that is named fits this file, too
    lines = "\n".join(convert_file(other, tmp_path / "other.pt", published=name))
    assert f"convert {other} --published {name} --imagenet-pixels --out" in lines
    plain = build_network("image_uniformer_s", 1000).state_dict()
    lines = convert_file(save(tmp_path / "uniformer_small_in1k.pth", plain), tmp_path / "plain.pt")
    assert "in doubt" not in "\n".join(lines)


def test_pixels_of_an_unknown_protocol_cannot_be_changed(tmp_path):
    state = build_network("image_uniformer_s_tl", 1000).state_dict()
    with pytest.raises(ConfigError, match=r"nothing tells how the input of .*own\.pth is prepared"):
        convert_file(
            save(tmp_path / "own.pth", state),
            tmp_path / "out.pt",
            name="image_uniformer_s_tl",
            imagenet_pixels=True,
        )
