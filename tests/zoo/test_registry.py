"""Models of one's own, options that a model lacks, and the settings that a family reads."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import uniformer_video as uv
from uniformer_video.config.settings import load_config
from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.runs import build_model
from uniformer_video.runs.check import settings_of_other_models
from uniformer_video.runs.run import run
from uniformer_video.weights.checkpoint import write_checkpoint
from uniformer_video.zoo.create import build_network, create_model
from uniformer_video.zoo.listing import as_markdown, as_text, list_entries
from uniformer_video.zoo.registry import MODELS, name_by_sizes
from uniformer_video.zoo.uniformers import UNIFORMER

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("own_registries")


class Narrow(uv.RecognitionModel):
    """Two convolutions, for tests."""

    def __init__(self, num_classes, width=4, drop=0.0):
        super().__init__(num_classes, width=width)
        self.drop = drop
        self.stem = nn.Conv3d(3, width, 3, (1, 4, 4), 1)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.stem(x).relu().mean((2, 3, 4)))


def test_the_example_of_the_readme_trains_and_predicts(tiny, tmp_path, make_video, call):
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Plugins")[2]
    plugin = tmp_path / "my_net.py"
    plugin.write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    config = tmp_path / "tiny.yaml"
    config.write_text("SOLVER: {MAX_EPOCH: 1, WARMUP_EPOCHS: 0.0, WARMUP_START_LR: 0.0}\n")
    settings = tiny(MODEL__MODEL_NAME="my_net", SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0)
    pairs = dict(zip(settings[::2], settings[1::2], strict=True)) | {"MYNET.WIDTH": "6"}
    given = [word for key in pairs if "UNIFORMER" not in key for word in (key, pairs[key])]
    assert call("run", "--cfg", config, "--plugins", plugin, *given)[0] == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["model"]["name"] == "my_net"
    predictor = uv.Predictor.from_checkpoint(tmp_path / "run" / "last.pt")
    assert predictor(make_video(frames=12)).probabilities.shape == (8,)
    assert predictor.model.head.in_features == 6
    assert "my_net" in as_text(list_entries("my_net"))


def test_a_model_of_ones_own_is_made_kept_and_listed(tmp_path):
    uv.register_model("narrow", Narrow, num_frames=4, crop_size=32, arguments={"width": 6})
    assert create_model("narrow", num_classes=3).stem.out_channels == 6
    assert create_model("narrow", num_classes=3, width=2).stem.out_channels == 2
    assert as_markdown(list_entries("narrow")).splitlines()[2] == (
        "| `narrow` | 0.00 M | 4x32x32 | ? | none | 0 |"
    )
    with pytest.raises(ConfigError, match="narrow has no option 'wide'; did you mean width"):
        create_model("narrow", num_classes=3, wide=2)
    with pytest.raises(ConfigError, match="there is a model 'narrow' already"):
        uv.register_model("narrow", Narrow, num_frames=4)
    uv.register_model("narrow", Narrow, num_frames=8, replace=True)
    assert MODELS["narrow"].num_frames == 8


def test_another_size_of_a_family_has_all_that_the_family_has():
    sizes = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_dim": 8, "ndim": 3}
    uv.register_model("uniformer_n", UNIFORMER, num_frames=4, crop_size=32, arguments=sizes)
    model = create_model("uniformer_n", num_classes=3, split=True)
    assert model.arguments["split"] and model.arguments["embed_dims"] == [8, 8, 16, 16]
    told = ["MODEL.MODEL_NAME", "uniformer_s", "UNIFORMER.EMBED_DIM", "[8, 8, 16, 16]"]
    told += ["UNIFORMER.DEPTH", "[1, 1, 1, 1]", "UNIFORMER.HEAD_DIM", "8"]
    assert build_model.name_model(load_config(overrides=told)).MODEL.MODEL_NAME == "uniformer_n"


def test_settings_reach_the_options_that_they_are_registered_for():
    uv.register_model(
        "narrow", Narrow, num_frames=4, settings={"UNIFORMER.DROP_DEPTH_RATE": "drop"}
    )
    pairs = ["MODEL.MODEL_NAME", "narrow", "UNIFORMER.DROP_DEPTH_RATE"]
    for rate in (0.3, 0.0):
        model, _ = build_model.build_model(load_config(overrides=[*pairs, str(rate)]), 3)
        assert model.drop == rate


class Forgetful(Narrow):
    """Records none of its options."""

    def __init__(self, num_classes, width=4):
        super().__init__(num_classes, width)
        self.arguments = {}


def headless(num_classes):
    return nn.Linear(2, num_classes)


def renamed(num_classes):
    model = Narrow(num_classes)
    model.fc, model.classifiers = model.head, lambda: ["fc"]
    return model


@pytest.mark.parametrize(
    ("builder", "more", "message"),
    [
        (headless, {}, "no num_classes, arguments, .*derive Linear from uniformer_video.Recog"),
        (renamed, {}, r"begin with 'fc'; register it with classifier='fc'"),
        (Narrow, {"arguments": {"widht": 3}}, "no option 'widht'; did you mean width"),
        (Narrow, {"settings": {"UNIFORMER.SPLIT": "split"}}, "no option 'split', which uniformer_"),
        (Narrow, {"settings": {"MY.WIDTH": "width"}}, r"reads MY\.WIDTH, which is no setting"),
        (Forgetful, {"arguments": {"width": 3}}, "built with width and records nothing"),
    ],
)
def test_what_keeps_no_contract_is_told(builder, more, message):
    with pytest.raises(ConfigError, match=message):
        uv.register_model("mine", builder, num_frames=4, **more)
        create_model("mine", num_classes=3)


def test_options_of_a_builder_that_takes_any_are_not_checked():
    uv.register_model("open", lambda num_classes, **more: Narrow(num_classes, **more), num_frames=4)
    assert create_model("open", num_classes=3, width=5).stem.out_channels == 5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "x3d_s",
            {"split": True},
            "no option 'split', which uniformer_xxs, .*num_frames, crop_size",
        ),
        ("x3d_s", {"local_kernel": (5, 5, 5)}, "no option 'local_kernel', which uniformer_xxs"),
        ("x3d_s", {"crop": 5}, "did you mean crop_size"),
        (
            "uniformer_s",
            {"prune_ratio": [[1], [1]]},
            "'prune_ratio', which uniformer_xxs, uniformer_xs",
        ),
        ("uniformer_s", {"num_frames": 8}, "no option 'num_frames', which x3d_xs"),
        ("uniformer_s", {"layer_scal": True}, "did you mean layer_scale"),
        ("uniformer_s", {"adapt_kernel": True}, "about a checkpoint"),
        ("uniformer_s", {"weights": "ema"}, "about a checkpoint"),
        ("uniformer_s", {"out_stages": (1,)}, "features_only=True"),
    ],
)
def test_an_option_that_a_model_lacks_is_an_error(name, options, message):
    with pytest.raises(ConfigError, match=message):
        create_model(name, num_classes=3, **options)


def test_a_checkpoint_of_a_model_that_nobody_registered(tmp_path):
    metadata = {"model": {"name": "narrow", "arguments": {"width": 4}}}
    write_checkpoint(tmp_path / "own.pt", Narrow(3).state_dict(), metadata)
    with pytest.raises(
        CheckpointError, match=r"own.pt holds the model 'narrow', .*register it first"
    ):
        create_model(checkpoint=tmp_path / "own.pt")
    uv.register_model("narrow", Narrow, num_frames=4)
    assert create_model(checkpoint=tmp_path / "own.pt").num_classes == 3


def test_a_checkpoint_of_a_model_without_local_kernels_adapts_none(tmp_path):
    uv.register_model("narrow", Narrow, num_frames=4)
    torch.save(Narrow(3).state_dict(), tmp_path / "w.pth")
    assert create_model("narrow", checkpoint=tmp_path / "w.pth").num_classes == 3
    with pytest.raises(ConfigError, match="narrow has no local kernel to adapt"):
        create_model("narrow", checkpoint=tmp_path / "w.pth", adapt_kernel=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flops", "x3d_xs", "--local-kernel", "5,5,5"], "x3d_xs has no option 'local_kernel'"),
        (["flops", "image_uniformer_xxs", "--local-kernel", "5,5,5"], "has 2 odd sides"),
        (["flops", "image_uniformer_xxs", "--frames", "8"], "takes images"),
        (
            ["flops", "uniformer_s", "--frames", "10000", "--size", "10000"],
            "1,000,000,000,000 pixels",
        ),
        (["flops", "uniformer_s", "--frames", "9" * 30], "--frames is 9999"),
        (["flops", "image_uniformer_s", "--size", "999999"], "an input of 999999x999999 has"),
        (["flops", "uniformer_s", "--size", "0"], "--size is '0'; its sides are from 1 to"),
        (["flops", "uniformer_s", "--size", "512x0"], "--size is '512x0'; its sides are from 1 to"),
        (["flops", "uniformer_s", "--size", "1x2x3"], "or HEIGHTxWIDTH, such as 512x2048"),
        (["flops", "uniformer_s", "--size", "-4"], "or HEIGHTxWIDTH, such as 512x2048"),
        (["flops", "x3d_xs", "--size", "160x200"], "x3d_xs takes squares; give --size one side"),
        (["flops", "uniformer_s", "--window", "14"], "uniformer_s has no option 'window'"),
        (["flops", "semantic_fpn_uniformer_xxs", "--hybrid"], "has no option 'hybrid'"),
        (["flops", "semantic_fpn_uniformer_s", "--window", "0"], "--window is 0; it is from 1 to"),
        (["flops", "upernet_uniformer_s", "--frames", "4"], "takes images"),
        (["flops", "uniformer_s", "--classes", "9999999"], "--classes is 9999999; it is from 1 to"),
        (["flops", "uniformer_s", "--local-kernel", "99999,5,5"], "its sides are from 1 to 99"),
        (["flops", "x3d_xss"], "unknown model 'x3d_xss'; known models: uniformer_xxs"),
    ],
)
def test_commands_drop_no_option(call, arguments, message):
    status, _, errors = call(*arguments)
    assert status == 2 and message in errors


def test_the_classes_of_a_count_are_those_of_the_published_weights(call):
    for name, parameters in (("image_uniformer_xxs", "10,215,280"), ("uniformer_xxs", "9,833,896")):
        _, output, _ = call("flops", name, "--size", "32", *(["--frames", "2"] * (name[0] == "u")))
        assert f"{parameters} parameters" in output


def test_a_want_of_memory_is_one_line(call, monkeypatch):
    def fail(model, shape):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("uniformer_video.models.flops.count_by_part", fail)
    status, _, errors = call("flops", "uniformer_xxs")
    assert status == 2
    assert "not enough memory to run uniformer_xxs on 16x128x128 once" in errors


def test_conversion_drops_no_option(call, tmp_path):
    pytest.importorskip("pytorchvideo")
    torch.save(build_network("x3d_xs", 3).state_dict(), tmp_path / "w.pth")
    convert = ["convert", tmp_path / "w.pth", "--out", tmp_path / "ours.pt", "--model", "x3d_xs"]
    status, _, errors = call(*convert, "--head-dim", "8")
    assert status == 2 and "x3d_xs has no option 'head_dim'" in errors
    assert call(*convert)[0] == 0


def unread(name, *overrides):
    return settings_of_other_models(load_config(overrides=["MODEL.MODEL_NAME", name, *overrides]))


def test_settings_that_a_model_does_not_have():
    of_windows = {"UNIFORMER.WINDOW", "UNIFORMER.HYBRID"}
    of_pixels = {*of_windows, "UNIFORMER.NECK_CHANNELS", "UNIFORMER.HEAD_CHANNELS"}
    assert set(unread("uniformer_xxs")) == of_pixels
    assert of_windows < set(unread("semantic_fpn_uniformer_xs"))
    assert not of_pixels & set(unread("semantic_fpn_uniformer_b"))
    having = "semantic_fpn_uniformer_s, semantic_fpn_uniformer_b, upernet_uniformer_s"
    assert f"it is one of {having}" in unread("uniformer_xxs")["UNIFORMER.WINDOW"]
    plain = unread("uniformer_s", "UNIFORMER.PRUNE_RATIO", "[[1.0], [0.5]]")
    reason = "uniformer_s has no such setting, it is one of uniformer_xxs, uniformer_xs"
    assert {key: plain[key] for key in plain if key not in of_pixels} == {
        "UNIFORMER.PRUNE_RATIO": reason,
        "UNIFORMER.TRADE_OFF": reason,
    }
    peer = unread("x3d_s")
    assert {"UNIFORMER.DEPTH", "UNIFORMER.ADAPT_KERNEL", "UNIFORMER.DROP_DEPTH_RATE"} < set(peer)
    assert {"MODEL.USE_CHECKPOINT", "MODEL.CHECKPOINT_NUM", *plain} < set(peer)
    assert not {"UNIFORMER.PRETRAIN_NAME", "UNIFORMER.INFLATE_MODE"} & set(peer)
    assert not [key for key in peer if key.startswith("DATA.")]


def test_sizes_tell_the_name():
    depths = MODELS["uniformer_b"].arguments["depths"]
    assert name_by_sizes("uniformer_s", {"depths": depths}) == "uniformer_b"
    assert name_by_sizes("uniformer_s", {"depths": [1, 1, 1, 1]}) == "uniformer_s"
    assert name_by_sizes("uniformer_s", {"split": True}) == "uniformer_s"
    assert name_by_sizes("x3d_xs", {"num_frames": 13, "crop_size": 160}) == "x3d_xs"


def test_a_run_goes_under_the_name_that_its_sizes_have(tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "uniformer_video.runs.run.build_data", lambda cfg: seen.append(cfg) or 1 / 0
    )
    sizes = {"EMBED_DIM": [], "DEPTH": [5, 8, 20, 7], "HEAD_DIM": 0}
    cfg = load_config(overrides=tiny(**{f"UNIFORMER__{key}": sizes[key] for key in sizes}))
    with pytest.raises(ZeroDivisionError):
        run(cfg, "b")
    assert seen[0].MODEL.MODEL_NAME == "uniformer_b"
    assert cfg.MODEL.MODEL_NAME == "uniformer_s"
