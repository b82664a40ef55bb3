"""PySlowFast's models: the peer that each of them is here, and what is refused by name."""

import pytest
import torch

from uniformer_video.config.foreign import absent
from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.formats import find_format
from uniformer_video.errors import ConfigError
from uniformer_video.models.shapes import shapes_only
from uniformer_video.runs import build_model
from uniformer_video.runs.check import check_settings
from uniformer_video.zoo import registry

BOTTLENECKS = """
RESNET: {ZERO_INIT_FINAL_BN: True, WIDTH_PER_GROUP: 64, NUM_GROUPS: 1, DEPTH: 50,
  TRANS_FUNC: bottleneck_transform, STRIDE_1X1: False, NUM_BLOCK_TEMP_KERNEL: [[3], [4], [6], [3]]}
NONLOCAL: {LOCATION: [[[]], [[]], [[]], [[]]], GROUP: [[1], [1], [1], [1]], INSTANTIATION: softmax}
"""
PATHWAYS = """
SLOWFAST: {ALPHA: 4, BETA_INV: 8, FUSION_CONV_CHANNEL_RATIO: 2, FUSION_KERNEL_SZ: 7}
RESNET: {ZERO_INIT_FINAL_BN: True, DEPTH: 50, NUM_BLOCK_TEMP_KERNEL: [[3, 3], [4, 4], [6, 6], [3, 3]],
  SPATIAL_STRIDES: [[1, 1], [2, 2], [2, 2], [2, 2]], SPATIAL_DILATIONS: [[1, 1], [1, 1], [1, 1], [1, 1]]}
NONLOCAL: {LOCATION: [[[], []], [[], []], [[], []], [[], []]]}
DATA: {NUM_FRAMES: 32, SAMPLING_RATE: 2, INPUT_CHANNEL_NUM: [3, 3]}
"""
X3D = """
X3D: {WIDTH_FACTOR: 2.0, DEPTH_FACTOR: 2.2, BOTTLENECK_FACTOR: 2.25, DIM_C5: 2048, DIM_C1: 12}
RESNET: {ZERO_INIT_FINAL_BN: True, TRANS_FUNC: x3d_transform, STRIDE_1X1: False}
"""
X3D_SIZES = {"x3d_xs": (4, 160), "x3d_s": (13, 160), "x3d_m": (16, 224)}
MVIT = """
MVIT: {DEPTH: 16, NUM_HEADS: 1, EMBED_DIM: 96, PATCH_KERNEL: "(3, 7, 7)", PATCH_STRIDE: "(2, 4, 4)",
  PATCH_PADDING: [1, 3, 3], MLP_RATIO: 4.0, QKV_BIAS: True, DROPPATH_RATE: 0.2, NORM: layernorm,
  MODE: conv, CLS_EMBED_ON: True, SEP_POS_EMBED: True, ZERO_DECAY_POS_CLS: False, DROPOUT_RATE: 0.0,
  DIM_MUL: [[1, 2.0], [3, 2.0], [14, 2.0]], HEAD_MUL: [[1, 2.0], [3, 2.0], [14, 2.0]],
  POOL_KVQ_KERNEL: [3, 3, 3], POOL_KV_STRIDE_ADAPTIVE: [1, 8, 8],
  POOL_Q_STRIDE: [[1, 1, 2, 2], [3, 1, 2, 2], [14, 1, 2, 2]]}
"""


def model(name="", arch="", **more):
    """The section MODEL of a file."""
    values = {"MODEL_NAME": name, "ARCH": arch, "DROPOUT_RATE": 0.4, **more}
    pairs = ", ".join(f"{key}: {value}" for key, value in values.items() if value != "")
    return f"MODEL: {{{pairs}}}\n"


def clips(num_frames, crop_size):
    return f"DATA: {{NUM_FRAMES: {num_frames}, TRAIN_CROP_SIZE: {crop_size}}}\n"


FILES = {
    "slowfast by its architecture": (model(arch="slowfast") + PATHWAYS, "slowfast_r50"),
    "SlowFast": (model("SlowFast", "slowfast") + PATHWAYS, "slowfast_r50"),
    "PTVSlowFast": (model("PTVSlowFast", "slowfast") + PATHWAYS, "slowfast_r50"),
    "slow by its architecture": (model(arch="slow") + BOTTLENECKS, "slow_r50"),
    "ResNet": (model("ResNet", "slow") + BOTTLENECKS, "slow_r50"),
    "ResNet by its defaults": (model("ResNet", "slow"), "slow_r50"),
    "PTVResNet": (model("PTVResNet", "slow") + BOTTLENECKS, "slow_r50"),
    "R(2+1)D": (model("PTVR2plus1D", "r2plus1d"), "r2plus1d_r50"),
    "MViT": (model("MViT", "mvit") + MVIT, "mvit_base_16x4"),
    "MViT by its architecture": (model(arch="mvit") + MVIT, "mvit_base_16x4"),
    "PTVMViT": (model("PTVMViT", "mvit") + MVIT, "mvit_base_16x4"),
    **{
        f"{name} {ours}": (model(name, "x3d") + X3D + clips(*sizes), ours)
        for name in ("X3D", "PTVX3D", "")
        for ours, sizes in X3D_SIZES.items()
    },
    "X3D of other clips": (model("X3D") + X3D + clips(8, 112), "x3d_m"),
}


@pytest.mark.parametrize("text", FILES)
def test_a_class_that_is_here_is_its_peer(load, text):
    given, ours = FILES[text]
    flat, said, ignored = load(given)
    assert flat["MODEL.MODEL_NAME"] == ours and flat["MODEL.DROPOUT_RATE"] == 0.4
    assert f"-> {ours}" in said
    # PySlowFast's recipe, where the file leaves it out
    defaults = {
        "AUG.ENABLE": False,
        "MIXUP.ENABLE": False,
        "MIXUP.LABEL_SMOOTH_VALUE": 0.0,
        "DATA.TRAIN_JITTER_SCALES_RELATIVE": [],
        "DATA.TARGET_FPS": 30.0,
        "SOLVER.OPTIMIZING_METHOD": "sgd",
        "SOLVER.MOMENTUM": 0.9,
        "SOLVER.NESTEROV": True,
        "SOLVER.BASE_LR": 0.1,
        "SOLVER.WEIGHT_DECAY": 1e-4,
        "SOLVER.COSINE_AFTER_WARMUP": False,
        "SOLVER.ZERO_WD_1D_PARAM": False,
        "BN.WEIGHT_DECAY": 0.0,
        "SOLVER.CLIP_GRADIENT": 0.0,
        "TEST.NUM_ENSEMBLE_VIEWS": 10,
        "TEST.NUM_SPATIAL_CROPS": 3,
        "TEST.SCORE": "softmax",
        "DATA.TEST_CROP_SIZE": 256,
    }
    assert {key: flat[key] for key in defaults} == defaults
    assert "DEPTH" not in ignored and "X3D." not in ignored and "SLOWFAST." not in ignored


def test_views_are_summed_as_their_heads_give_them(load):
    for several, act, score in (
        ("True", "sigmoid", "sigmoid"),
        ("True", "softmax", "logits"),
        ("False", "sigmoid", "logits"),
    ):
        labels = f"DATA: {{MULTI_LABEL: {several}}}\n"
        assert load(model("X3D", HEAD_ACT=act) + X3D + labels)[0]["TEST.SCORE"] == score


def test_what_a_file_says_comes_before_the_defaults(load):
    text = model("X3D") + X3D + "AUG: {ENABLE: True}\nSOLVER: {BASE_LR: 0.05, MOMENTUM: 0.8}\n"
    flat, said, _ = load(text + "MIXUP: {ENABLE: True}\nTEST: {NUM_SPATIAL_CROPS: 1}\n")
    assert flat["AUG.ENABLE"] and flat["SOLVER.BASE_LR"] == 0.05 and flat["SOLVER.MOMENTUM"] == 0.8
    assert flat["MIXUP.ENABLE"] and flat["MIXUP.LABEL_SMOOTH_VALUE"] == 0.1
    assert flat["DATA.TEST_SCALE"] == 256  # as their test of one crop scales
    assert "AUG.ENABLE" not in said and "SOLVER.WEIGHT_DECAY 0.0001" in said
    assert load(text, "AUG.ENABLE", "False")[0]["AUG.ENABLE"] is False


@pytest.mark.parametrize(
    "name", ["slow_r50", "slowfast_r50", "x3d_s", "r2plus1d_r50", "mvit_base_16x4"]
)
def test_the_rates_reach_the_model(name, tmp_path):
    pytest.importorskip("pytorchvideo")
    given = next(text for text, ours in FILES.values() if ours == name)
    (tmp_path / "theirs.yaml").write_text(given)
    with shapes_only():
        network, _ = build_model.build_model(load_config(tmp_path / "theirs.yaml"), 5)
    rates = {part.p for part in network.modules() if isinstance(part, torch.nn.Dropout)}
    assert 0.4 in rates and 0.5 not in rates
    assert network.arguments["head_dropout"] == 0.4
    if name == "mvit_base_16x4":
        paths = [part.drop_prob for part in network.modules() if hasattr(part, "drop_prob")]
        assert max(paths) == pytest.approx(0.2)


def test_mvit_says_how_its_blocks_and_positions_are_trained(load):
    flat, _, _ = load(model("MViT") + MVIT)
    assert (flat["MVIT.DROPPATH_RATE"], flat["SOLVER.ZERO_WD_POS_EMBED"]) == (0.2, False)
    bare = MVIT.replace("DROPPATH_RATE: 0.2, ", "").replace("ZERO_DECAY_POS_CLS: False, ", "")
    flat, _, _ = load(model("MViT") + bare)
    assert (flat["MVIT.DROPPATH_RATE"], flat["SOLVER.ZERO_WD_POS_EMBED"]) == (0.1, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            model(arch="slowfast"),
            r"SLOWFAST.ALPHA 8 \(PySlowFast's default\) .*slowfast_r50, with 4",
        ),
        (model("SlowFast"), "set MODEL.MODEL_NAME slowfast_r50"),
        (model(arch="i3d"), "ResNet with MODEL.ARCH 'i3d' .*set MODEL.MODEL_NAME slow_r50"),
        (model("ResNet", "c2d"), "set MODEL.MODEL_NAME slow_r50"),
        (model("ResNet"), "set MODEL.MODEL_NAME slow_r50"),
        (model("PTVResNet", "i3d") + BOTTLENECKS, "set MODEL.MODEL_NAME slow_r50"),
        (model("ResNet", "slow") + "RESNET: {DEPTH: 101}", "RESNET.DEPTH 101 .*slow_r50, with 50"),
        (
            model("ResNet", "slow") + "NONLOCAL: {LOCATION: [[[]], [[1, 3]], [[1, 3, 5]], [[]]]}",
            "NONLOCAL.LOCATION",
        ),
        (
            model("SlowFast") + PATHWAYS.replace("[[], []]]}", "[[3], []]]}"),
            "NONLOCAL.LOCATION",
        ),
        (model("SlowFast") + PATHWAYS.replace("ALPHA: 4", "ALPHA: 8"), "SLOWFAST.ALPHA 8"),
        (model("X3D"), "X3D.WIDTH_FACTOR 1.0 .*set MODEL.MODEL_NAME x3d_m"),
        (model("X3D") + X3D.replace("2.2,", "5.0,"), "X3D.DEPTH_FACTOR 5.0 .*x3d_m, with 2.2"),
        (model("MViT") + MVIT.replace("DEPTH: 16", "DEPTH: 24"), "mvit_base_16x4, with 16"),
        (
            model("MViT") + MVIT.replace("MODE: conv", "MODE: conv, REL_POS_SPATIAL: True"),
            "MVIT.REL_POS_SPATIAL True .*set MODEL.MODEL_NAME mvit_base_16x4",
        ),
        (model("PTVCSN", "csn"), "PTVCSN .*set MODEL.MODEL_NAME r2plus1d_r50"),
        (model(arch="foonet"), "'foonet', and no MODEL.MODEL_NAME is given"),
        (model("MaskMViT", "maskmvit"), "masked pre-training"),
        (model(arch="maskmvit"), "masked pre-training"),
        (model("MViT", "mvit") + MVIT + "MASK: {ENABLE: True}", "masked pre-training"),
        (model("Uniformer") + "AUG: {GEN_MASK_LOADER: True}", "masked pre-training"),
        ("TASK: ssl\n" + model("ContrastiveModel", "slow"), "self-supervised pre-training"),
        (
            model("AVSlowFast", "avslowfast") + "DATA: {USE_AUDIO: True, AUDIO_MEL_NUM: 80}",
            "an audio model",
        ),
        (model(arch="avslowfast") + "SLOWFAST: {AU_ALPHA: 16}", "an audio model"),
        (model("SlowFast", "slowfast") + "DETECTION: {ENABLE: True}", "detection"),
    ],
)
def test_what_is_no_peer_is_refused_by_name(load, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        load(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        (model("VTN", "VIT") + "TRAIN: {EVAL_WHOLE: True}\n", "mvit_base_16x4"),
        (model("RevMViT", "mvit") + "MVIT: {REV: {BUFFER: []}}\nREV: {X: 1}\n", "mvit_base_16x4"),
        (model("TimeSformer") + "TIMESFORMER: {ATTENTION_TYPE: joint}\n", "mvit_base_16x4"),
        (model("vit_base_patch16_224"), "mvit_base_16x4"),
        (model("SwinTransformer3D") + "SWIN: {X: 1}\n", "mvit_base_16x4"),
        (model(arch="Motionformer") + "VIT: {X: 1}\n", "mvit_base_16x4"),
        (model("UniFormerV2") + "VIT: {X: 1}\n", "uniformer_b"),
        (model("TSM") + "TSM: {X: 1}\n", "slow_r50"),
        (model("ir-CSN") + "CSN: {X: 1}\n", "r2plus1d_r50"),
        (model("MoViNet") + "MOVINET: {X: 1}\n", "x3d_m"),
        (model("ConvNeXt") + "CONVNEXT: {X: 1}\n", "image_uniformer_s"),
    ],
)
def test_networks_of_others_are_refused_before_their_keys(load, given, nearest):
    with pytest.raises(ConfigError, match=f"not here; the nearest one is {nearest}: set") as error:
        load(given)
    assert "\n" not in str(error.value)


def test_a_name_of_theirs_may_be_registered(load, monkeypatch):
    monkeypatch.setattr(absent, "_taken", set())
    monkeypatch.setattr(registry, "MODELS", dict(registry.MODELS))
    registry.register_model(
        "TimeSformer", lambda num_classes: torch.nn.Linear(2, num_classes), num_frames=8
    )
    with pytest.raises(ConfigError, match=r"unknown setting TIMES\.X"):
        load(model("TimeSformer") + "TIMES: {X: 1}\n")


def test_our_models_and_near_misses_are_none_of_theirs():
    for name in (*registry.MODELS, "unifromer_s", "mvit", "slow", "TinyNet", "Foo"):
        absent.refuse_network(name, "MODEL.MODEL_NAME")


@pytest.mark.parametrize(
    ("dataset", "instead"),
    [
        ("charades", "csv, .* TEST.DATASET kinetics with TRAIN.TASK multi-label"),
        ("ptvcharades", "TRAIN.TASK multi-label"),
        ("Ava", "detection"),
        ("imagenet", "uniformer-video inflate"),
        ("something-something-v2", "frames, .* ssv2-json"),
        ("SthV2", "frames, .* ssv2-json"),
        ("UCF-101", "format ucf101"),
        ("HMDB", "format hmdb51"),
        ("epickitchens", "`path,label`, and set TEST.DATASET kinetics"),
    ],
)
def test_their_data_sets_that_are_no_formats(dataset, instead):
    with pytest.raises(ConfigError, match=instead) as error:
        find_format(dataset, "TEST.DATASET")
    assert "did you mean" not in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="did you mean 'shards'"):
        find_format("shard")


def test_keys_that_a_class_does_not_read_decide_nothing(load):
    others = "RESNET: {DEPTH: 101, TRANS_FUNC: x3d_transform}\n"
    deeper = X3D.replace("TRANS_FUNC", "DEPTH: 101, TRANS_FUNC")
    assert load(model("X3D") + deeper)[0]["MODEL.MODEL_NAME"] == "x3d_m"
    assert load(model("MViT") + MVIT + others)[0]["MODEL.MODEL_NAME"] == "mvit_base_16x4"
    nonlocal_blocks = "NONLOCAL: {LOCATION: [[[]], [[1]], [[]], [[]]]}\n"
    assert load(model("PTVResNet", "slow") + nonlocal_blocks)[0]["MODEL.MODEL_NAME"] == "slow_r50"
    assert load(model("X3D") + X3D + nonlocal_blocks)[0]["MODEL.MODEL_NAME"] == "x3d_m"


def test_the_suggested_peer_keeps_pyslowfasts_recipe(load):
    text = model(arch="slowfast") + PATHWAYS.replace("ALPHA: 4", "ALPHA: 8")
    flat, said, ignored = load(text, "MODEL.MODEL_NAME", "slowfast_r50")
    assert flat["MODEL.MODEL_NAME"] == "slowfast_r50" and flat["AUG.ENABLE"] is False
    assert "in place of which MODEL.MODEL_NAME slowfast_r50 is set" in said
    assert "SLOWFAST.ALPHA" in ignored
    flat, _, _ = load(text, "MODEL.MODEL_NAME", "uniformer_s", "DATA.INPUT_CHANNEL_NUM", "[3]")
    assert flat["MODEL.MODEL_NAME"] == "uniformer_s" and flat["AUG.ENABLE"]


def test_the_architecture_uniformer_is_their_class(load):
    flat, said, ignored = load(model(arch="uniformer"))
    assert flat["UNIFORMER.LOCAL_KERNEL"] == [5, 5, 5] and "MODEL.ARCH uniformer" in said
    assert flat["MODEL.DROPOUT_RATE"] == 0.5 and "MODEL.DROPOUT_RATE" in ignored
    assert flat["AUG.ENABLE"] and flat["SOLVER.OPTIMIZING_METHOD"] == "adamw"


@pytest.mark.parametrize(
    ("name", "channels", "fine"),
    [
        ("SlowFast", "[3, 3]", True),
        ("SlowFast", "[3]", True),
        ("SlowFast", "[3, 1]", False),
        ("SlowFast", "[3, 3, 1]", False),
        ("X3D", "[3]", True),
        ("X3D", "[3, 3]", False),
        ("X3D", "[1]", False),
        ("Uniformer", "[3]", True),
        ("Uniformer", "[3, 3]", True),  # PySlowFast's default; the first number is read
        ("Uniformer", "[2]", False),
        ("uniformer_s", "[3]", True),
        ("uniformer_s", "[3, 3]", False),
        ("slowfast_r50", "[3, 3]", True),
        ("uniformer_s", "3", False),
    ],
)
def test_clips_have_three_channels(load, name, channels, fine):
    text = {"SlowFast": PATHWAYS.replace(", INPUT_CHANNEL_NUM: [3, 3]", ""), "X3D": X3D}.get(
        name, ""
    )
    overrides = ["DATA.INPUT_CHANNEL_NUM", channels]
    if fine:
        load(model(name, DROPOUT_RATE="") + text, *overrides)
    else:
        with pytest.raises(ConfigError, match="take clips of 3 channels"):
            load(model(name, DROPOUT_RATE="") + text, *overrides)


@pytest.mark.parametrize(
    ("dataset", "ours", "expected"),
    [
        ("ptvkinetics", "kinetics", {"DATA.TARGET_FPS": 30.0, "DATA.TEST_SCALE": 256}),
        ("kinetics", "kinetics", {"DATA.TARGET_FPS": 30.0, "DATA.TEST_SCALE": 0}),
        ("ptvssv2", "frames", {"DATA.SAMPLING": "segment", "DATA.CHANNEL_ORDER": "BGR"}),
        ("ssv2", "frames", {"DATA.SAMPLING": "segment", "DATA.TARGET_FPS": 0.0}),
    ],
)
def test_their_data_sets(load, dataset, ours, expected):
    sets = f"TRAIN: {{DATASET: {dataset}}}\nTEST: {{DATASET: {dataset}}}\n"
    flat, _, _ = load(model("X3D") + X3D + sets)
    assert flat["TRAIN.DATASET"] == flat["TEST.DATASET"] == ours
    assert {key: flat[key] for key in expected} == expected


def test_a_rate_that_a_model_does_not_have_is_named(caplog):
    for name, named in (("uniformer_s", True), ("x3d_s", True), ("mvit_base_16x4", False)):
        caplog.clear()
        words = ["MODEL.DROPOUT_RATE", "0.3", "MVIT.DROPPATH_RATE", "0.2"]
        cfg = load_config(overrides=[*words, "DATA.NUM_FRAMES", "16"])
        cfg.defrost()
        cfg.MODEL.MODEL_NAME = name
        check_settings(cfg)
        assert ("MVIT.DROPPATH_RATE 0.2 (" in caplog.text) == named
        assert ("MODEL.DROPOUT_RATE 0.3 (uniformer_s has" in caplog.text) == (name == "uniformer_s")


def test_small_words_of_theirs(load):
    text = "AUG: {COLOR_JITTER: None, AA_TYPE: ''}\nPREFETCH: {NUM_LOADERS: 3}\n"
    flat, _, ignored = load(text)
    assert flat["AUG.COLOR_JITTER"] == 0.0 and "PREFETCH.NUM_LOADERS" in ignored
    flat, _, _ = load("TEST: {NUM_TEMPORAL_CLIPS: [7], NUM_ENSEMBLE_VIEWS: 10}\n")
    assert flat["TEST.NUM_ENSEMBLE_VIEWS"] == 7
    assert "TRAIN.AUTO_RESUME False: a run goes on" in load("TRAIN: {AUTO_RESUME: False}\n")[2]
    flat, _, _ = load("SOLVER: {CLIP_GRAD_L2NORM: null}\n")
    assert flat["SOLVER.CLIP_GRADIENT"] == 0.0
