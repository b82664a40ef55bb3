"""Weights of models for pixels: recognised, loaded whole, begun with, converted; refused with a reason."""

import logging
from dataclasses import replace

import pytest
import torch

import uniformer_video as uv
from uniformer_video.advice.start import find_start
from uniformer_video.cli import main
from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.models.dense.backbone import Pyramid
from uniformer_video.models.dense.neck import PyramidWithNeck
from uniformer_video.weights.checkpoint import fit_weights, read_weights, write_checkpoint
from uniformer_video.zoo.convert import convert_file, export_file
from uniformer_video.zoo.create import build_for_weights
from uniformer_video.zoo.dense import DENSE
from uniformer_video.zoo.inflate import inflate_file
from uniformer_video.zoo.published_dense import published_pixels
from uniformer_video.zoo.registry import MODELS, find_model, identify_model
from uniformer_video.zoo.uniformers import UNIFORMERS

NAMES = [model.name for model in DENSE]
FPN, UPERNET, LIGHT = (
    "semantic_fpn_uniformer_s",
    "upernet_uniformer_s",
    "semantic_fpn_uniformer_xxs",
)
NORMS = [f"backbone.norm{stage}.{part}" for stage in range(1, 5) for part in ("weight", "bias")]
X = torch.linspace(-1, 1, 3 * 64 * 96).view(1, 3, 64, 96)


@pytest.fixture(autouse=True)
def narrow_zoo(monkeypatch):
    """The named models with few channels; depths and kinds tell them apart as before."""
    for known in (*UNIFORMERS, *DENSE):
        head_dim = max(4, known.arguments["head_dim"] // 8)
        narrow = {**known.arguments, "embed_dims": [8, 8, 16, 16], "head_dim": head_dim}
        if known in DENSE:
            narrow["head_channels"] = 8
        monkeypatch.setitem(MODELS, known.name, replace(known, arguments=narrow))


def fresh(name, num_classes=5, **options):
    torch.manual_seed(0)
    return uv.create_model(name, num_classes, **options).eval()


def save(path, state, **beside):
    """As their trainings write it."""
    torch.save({"state_dict": state, "meta": {}, "optimizer": {}, **beside}, path)
    return path


def image_file(path, name="image_uniformer_s", **more):
    torch.save({"model": {**fresh(name, 7).state_dict(), **more}}, path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_published_files_load_whole_by_themselves(tmp_path, name):
    model = fresh(name)
    path = save(tmp_path / "iter_80000.pth", model.state_dict())
    weights = read_weights(path)
    assert weights.state.keys() == model.state_dict().keys()
    assert identify_model(weights).name == name
    loaded = uv.create_model(checkpoint=path)
    assert (type(loaded), loaded.num_classes) == (type(model), 5)
    with torch.no_grad():
        assert torch.equal(loaded(X), model(X))


@pytest.mark.parametrize("prefix", ["module.", "model.", "net."])
def test_their_wrappings(tmp_path, prefix):
    model = fresh(UPERNET)
    state = {prefix + key: value for key, value in model.state_dict().items()}
    loaded = uv.create_model(checkpoint=save(tmp_path / "theirs.pth", state))
    with torch.no_grad():
        assert torch.equal(loaded(X), model(X))


def test_attention_can_be_chosen_for_the_same_weights(tmp_path):
    model = fresh(FPN)
    path = save(tmp_path / "theirs.pth", model.state_dict())
    found = [
        uv.create_model(checkpoint=path, **options)
        for options in ({}, {"window": 2}, {"window": 2, "hybrid": True}, {"hybrid": True})
    ]
    assert [(each.backbone.window, each.backbone.hybrid) for each in found] == [
        (0, False),
        (2, False),
        (2, True),
        (14, True),
    ]
    with torch.no_grad():
        logits = [each(X) for each in found]
    assert torch.equal(logits[0], model(X))
    assert all((logits[0] - each).abs().max() > 1e-7 for each in logits[1:])


def test_a_head_that_lacks_a_tensor_or_has_one_too_many_is_refused(tmp_path):
    state = fresh(FPN).state_dict()
    lacking = {key: v for key, v in state.items() if key != "neck.fpn_convs.3.conv.bias"}
    with pytest.raises(CheckpointError, match=r"lacks neck\.fpn_convs\.3\.conv\.bias"):
        uv.create_model(checkpoint=save(tmp_path / "lacking.pth", lacking))
    more = {**state, "decode_head.extra.weight": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"the model has no decode_head\.extra\.weight"):
        uv.create_model(checkpoint=save(tmp_path / "more.pth", more))


@pytest.mark.parametrize(("name", "image"), [(UPERNET, "s"), (FPN, "s"), (LIGHT, "xxs")])
def test_image_weights_start_the_backbone(tmp_path, name, image, caplog):
    path = image_file(tmp_path / "in1k.pth", f"image_uniformer_{image}")
    theirs = read_weights(path).state
    model = uv.create_model(name, num_classes=5, checkpoint=path)
    own = model.state_dict()
    for key, value in theirs.items():
        if not key.startswith(("norm.", "head.", "norm_cls.", "head_cls.")):
            assert torch.equal(own[f"backbone.{key}"], value), key
    weights = read_weights(path)
    report = fit_weights(build_for_weights(weights, name, 5), weights, replace_head=True)
    behind = [key for key in own if not key.startswith("backbone.")]
    assert sorted(report.missing) == sorted([*NORMS, *behind])
    assert all(
        key.startswith(("norm.", "head.", "norm_cls.", "head_cls.")) for key in report.skipped
    )
    said = "new in the model: the norms behind the backbone's stages, "
    said += "decode_head, auxiliary_head" if name == UPERNET else "neck, decode_head"
    assert said in caplog.text
    assert all(torch.equal(own[key], torch.ones(own[key].shape)) for key in NORMS[::2])


def test_a_trained_segmentation_model_starts_another_one(tmp_path, caplog):
    model = fresh(FPN)
    path = save(tmp_path / "ade20k.pth", model.state_dict())
    other = uv.create_model(FPN, num_classes=9, checkpoint=path).state_dict()
    for key, value in model.state_dict().items():
        same = value.shape == other[key].shape and torch.equal(value, other[key])
        assert same != key.startswith("decode_head.conv_seg."), key
    assert "decode_head.conv_seg.weight 5 -> 9 classes" in caplog.text


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (
            {"aux_head.weight": torch.ones(7, 16), "aux_head.bias": torch.ones(7)},
            r"aux_head\.weight",
        ),
        ({"blocks3.0.adapter.weight": torch.ones(2)}, r"blocks3\.0\.adapter\.weight"),
    ],
)
def test_image_weights_with_more_than_a_backbone_has(tmp_path, more, named):
    path = image_file(tmp_path / "more.pth", **more)
    for begin in (
        lambda: uv.create_model(FPN, num_classes=5, checkpoint=path),
        lambda: uv.create_backbone("uniformer_s", checkpoint=path),
        lambda: uv.create_backbone("uniformer_s", out="fpn", checkpoint=path),
    ):
        with pytest.raises(CheckpointError, match=rf"{named}.*the backbone has no such thing"):
            begin()


def test_image_weights_that_lack_something_of_the_backbone(tmp_path):
    state = fresh("image_uniformer_s").state_dict()
    del state["blocks3.2.attn.qkv.bias"]
    path = save(tmp_path / "lacking.pth", state)
    with pytest.raises(CheckpointError, match=r"lacks backbone\.blocks3\.2\.attn\.qkv\.bias"):
        uv.create_model(FPN, num_classes=5, checkpoint=path)


def test_a_whole_model_is_not_made_of_image_weights(tmp_path):
    path = image_file(tmp_path / "in1k.pth")
    with pytest.raises(
        CheckpointError, match="holds the weights of a UniFormer, not of a UniFormer for"
    ):
        uv.create_model(FPN, checkpoint=path)


def test_weights_of_other_networks_are_called_what_they_are(tmp_path):
    path = save(tmp_path / "r50.pth", {"layer1.0.conv1.weight": torch.ones(4, 4, 1, 1)})
    with pytest.raises(CheckpointError, match="holds the weights of a ResNet"):
        uv.create_model(FPN, num_classes=5, checkpoint=path)


def detection_file(path, **beside):
    """Of a detector: five maps from the neck, heads that are not here."""
    model = PyramidWithNeck(Pyramid(**sizes()))
    heads = {
        "rpn_head.rpn_conv.weight": torch.ones(2),
        "roi_head.bbox_head.fc_cls.weight": torch.ones(2),
    }
    return save(path, {**model.state_dict(), **heads}, **beside), model


def sizes(name=FPN):
    arguments = find_model(name).arguments
    return {key: arguments[key] for key in ("embed_dims", "depths", "head_dim")}


def test_backbone_and_neck_of_detectors_load_whole(tmp_path, caplog):
    path, theirs = detection_file(tmp_path / "mask_rcnn.pth")
    with caplog.at_level(logging.INFO):
        fpn = uv.create_backbone("uniformer_s", out="fpn", checkpoint=path)
    assert "left out, no part of the model: rpn_head.rpn_conv.weight" in caplog.text
    assert "new in the model" not in caplog.text
    pyramid = uv.create_backbone("uniformer_s", checkpoint=path)
    assert not fpn.training and not pyramid.training
    with torch.no_grad():
        for ours, expected in zip(fpn(X).values(), theirs.eval()(X).values(), strict=True):
            assert torch.equal(ours, expected)
        for ours, expected in zip(pyramid(X), theirs.backbone(X), strict=True):
            assert torch.equal(ours, expected)


def test_backbone_of_pose_models_loads_whole(tmp_path):
    theirs = Pyramid(**sizes())
    state = {f"backbone.{key}": value for key, value in theirs.state_dict().items()}
    path = save(tmp_path / "pose.pth", {**state, "keypoint_head.final_layer.weight": torch.ones(2)})
    pyramid = uv.create_backbone("uniformer_s", checkpoint=path)
    own = pyramid.state_dict()
    assert own.keys() == theirs.state_dict().keys()
    assert all(torch.equal(own[key], value) for key, value in theirs.state_dict().items())


def test_what_is_new_in_a_backbone_is_said(tmp_path, caplog):
    pyramid = uv.create_backbone("uniformer_s", checkpoint=image_file(tmp_path / "in1k.pth"))
    assert "new in the model: the norms behind the backbone's stages" in caplog.text
    caplog.clear()
    path = tmp_path / "pyramid.pth"
    torch.save(pyramid.state_dict(), path)  # of a detector of one's own, without a prefix
    uv.create_backbone("uniformer_s", checkpoint=path)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    uv.create_backbone("uniformer_s", out="fpn", checkpoint=path)
    assert "new in the model: neck" in caplog.text


def test_a_segmentation_model_gives_its_backbone_and_neck(tmp_path):
    model = fresh(FPN, window=2, hybrid=True)
    path = save(tmp_path / "fpn.pth", model.state_dict())
    fpn = uv.create_backbone("uniformer_s", out="fpn", checkpoint=path, window=2, hybrid=True)
    with torch.no_grad():
        maps = list(fpn(X).values())
        for ours, expected in zip(maps[:4], model.neck(model.backbone(X)), strict=True):
            assert torch.equal(ours, expected)


def test_backbones_by_name():
    pyramid = uv.create_backbone("uniformer_s", out="pyramid", window=14, hybrid=True)
    assert (pyramid.window, pyramid.hybrid) == (14, True)
    assert pyramid.channels == [8, 8, 16, 16]
    assert (
        pyramid.state_dict().keys() == uv.create_backbone("image_uniformer_s").state_dict().keys()
    )
    light = uv.create_backbone("uniformer_xxs", out="fpn", neck_channels=12, drop_path_rate=0.1)
    assert (light.out_channels, light.strides) == (12, [4, 8, 16, 32, 64])


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("uniformer_s", {"widow": 14}, "has no option 'widow'; did you mean window"),
        ("uniformer_s", {"split": True}, "has no option 'split'"),
        ("uniformer_s", {"neck_channels": 4}, "has no option 'neck_channels'"),
        ("uniformer_s", {"out": "maps"}, "out is 'maps'; allowed: 'pyramid', 'fpn'"),
        ("uniformer_xxs", {"window": 14}, "light models .* leave window and hybrid out"),
        ("x3d_s", {}, "x3d_s is no backbone for images; these are: uniformer_xxs"),
        ("uniformer_s_tl", {}, "uniformer_s_tl is no backbone for images"),
        ("unifromer_s", {}, "unknown model 'unifromer_s'"),
    ],
)
def test_refused_backbones(name, options, said):
    with pytest.raises(ConfigError, match=said):
        uv.create_backbone(name, **options)


def test_files_without_a_head_that_is_known_here(tmp_path):
    path, _ = detection_file(tmp_path / "mask_rcnn.pth")
    with pytest.raises(CheckpointError, match="create_backbone takes its backbone"):
        uv.create_model(checkpoint=path)
    with pytest.raises(
        CheckpointError, match="for segmentation, detection or pose, not of a UniFormer"
    ):
        uv.create_model("image_uniformer_s", num_classes=5, checkpoint=path)
    state = fresh(FPN, depths=[1, 1, 1, 1]).state_dict()
    with pytest.raises(CheckpointError, match=r"no known architecture: depths \[1, 1, 1, 1\]"):
        uv.create_model(checkpoint=save(tmp_path / "other.pth", state))


def test_converted_files_record_attention_and_classes(tmp_path):
    names = ("wall", "sky", "tree", "road", "grass")
    model = fresh(UPERNET)
    path = save(
        tmp_path / "theirs.pth", model.state_dict(), meta={"CLASSES": names, "PALETTE": [[0]]}
    )
    ours = tmp_path / "ours.pt"
    lines = convert_file(path, ours)
    assert lines[0].endswith(f": {UPERNET}")
    assert any("classes: 5, output 0 is 'wall'" in line for line in lines)
    assert not any("prediction needs it" in line for line in lines)
    metadata = read_weights(ours).metadata
    assert metadata["class_names"] == list(names)
    assert metadata["model"]["name"] == UPERNET
    hybrid = uv.create_model(checkpoint=ours, window=2, hybrid=True)
    with torch.no_grad():
        assert torch.equal(uv.create_model(checkpoint=ours)(X), model(X))
    back = tmp_path / "back.pth"
    lines = export_file(ours, back, "published")
    assert any("head_dim 8" in line for line in lines)
    content = torch.load(back)
    assert content["meta"]["CLASSES"] == list(names)
    assert content["state_dict"].keys() == hybrid.state_dict().keys()
    for layout in ("mmaction2", "openmixup"):
        with pytest.raises(CheckpointError, match=f"has no layout {layout}"):
            export_file(ours, tmp_path / "no.pth", layout)


def test_a_file_in_the_published_layout_keeps_classes_and_colours(tmp_path):
    names, colours = ["wall", "sky", "tree"], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    model = fresh(FPN, 3)
    protocol = published_pixels(FPN)
    for wide, said in ((2048, False), (640, True)):
        views = replace(protocol.views, long_side=wide)
        metadata = {
            "model": {"name": FPN, "arguments": model.arguments},
            "class_names": names,
            "palette": colours,
            "protocol": replace(protocol, views=views).to_dict(),
        }
        ours, back = tmp_path / f"{wide}.pt", tmp_path / f"{wide}.pth"
        write_checkpoint(ours, model.state_dict(), metadata)
        lines = export_file(ours, back, "published")
        assert any(f"fit into {wide} x 512 pixels" in line for line in lines) == said
        again = tmp_path / f"again{wide}.pth"  # from a file that is in that layout already
        export_file(back, again, "published")
        for path in (back, again):
            assert torch.load(path)["meta"] == {"CLASSES": names, "PALETTE": colours}


def test_the_attention_of_a_checkpoint_of_ours_is_kept(tmp_path):
    model = fresh(FPN, window=2, hybrid=True)
    metadata = {"model": {"name": FPN, "arguments": model.arguments}}
    path = tmp_path / "ours.pt"
    write_checkpoint(path, model.state_dict(), metadata)
    assert uv.create_model(checkpoint=path).backbone.window == 2
    assert uv.create_backbone("uniformer_s", checkpoint=path).hybrid
    other = uv.create_backbone("uniformer_s", checkpoint=path, window=0, hybrid=False)
    assert (other.window, other.hybrid) == (0, False)


@pytest.mark.parametrize(
    ("settings", "attention"),
    [
        ({}, {}),
        ({"UNIFORMER.WINDOW": 32}, {"window": 32, "hybrid": False}),
        ({"UNIFORMER.WINDOW": 32, "UNIFORMER.HYBRID": True}, {"window": 32, "hybrid": True}),
        ({"UNIFORMER.HYBRID": True}, {"hybrid": True}),
        ({"UNIFORMER.WINDOW": -1}, {"window": 0, "hybrid": False}),
    ],
)
def test_attention_by_settings(settings, attention):
    known = find_model(FPN)
    assert known.family.options_from_settings(known, settings) == attention


def test_commands_refuse_them_in_one_line(tmp_path, capsys):
    path = save(tmp_path / "fpn.pth", fresh(FPN).state_dict())
    with pytest.raises(CheckpointError, match=r"detection or pose; Segmenter and .* take"):
        uv.Predictor.from_checkpoint(path)
    with pytest.raises(CheckpointError, match="inflation takes 2D"):
        inflate_file(path, tmp_path / "video.pt", "average", (3, 5, 5))
    image = image_file(tmp_path / "in1k.pth")
    with pytest.raises(ConfigError, match="inflation takes the weights of image classifiers"):
        inflate_file(image, tmp_path / "video.pt", "average", (3, 5, 5), name=FPN)
    with pytest.raises(ConfigError, match=r"of segmentation .*; advice is for classifiers"):
        find_start(str(path))
    run = ["run", "--cfg", "demo/uniformer_demo"]
    assert main([*run, "MODEL.MODEL_NAME", UPERNET, "OUTPUT_DIR", str(tmp_path / "run")]) == 2
    assert "takes images, and TRAIN.DATASET kinetics lists videos" in capsys.readouterr().err
