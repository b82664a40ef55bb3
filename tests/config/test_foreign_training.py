"""What bends a training of PySlowFast's is honoured, or stops the training, and nothing else."""

import pytest
import torch

from uniformer_video.config.foreign.training import BENDS
from uniformer_video.config.recorded import config_text
from uniformer_video.config.setting import TEST, TRAINING
from uniformer_video.config.settings import load_config, unmet_settings, with_settings
from uniformer_video.errors import ConfigError
from uniformer_video.runs import build_model, build_training
from uniformer_video.runs.check import check_phases
from uniformer_video.runs.run import run

X3D = """
MODEL: {MODEL_NAME: X3D, ARCH: x3d}
X3D: {WIDTH_FACTOR: 2.0, DEPTH_FACTOR: 2.2, BOTTLENECK_FACTOR: 2.25}
RESNET: {TRANS_FUNC: x3d_transform}
"""
MVIT = """
MODEL: {MODEL_NAME: MViT, ARCH: mvit}
MVIT: {PATCH_PADDING: [1, 3, 3], SEP_POS_EMBED: True, POOL_KV_STRIDE_ADAPTIVE: [1, 8, 8],
  DIM_MUL: [[1, 2.0], [3, 2.0], [14, 2.0]], HEAD_MUL: [[1, 2.0], [3, 2.0], [14, 2.0]],
  POOL_KVQ_KERNEL: [3, 3, 3], POOL_Q_STRIDE: [[1, 1, 2, 2], [3, 1, 2, 2], [14, 1, 2, 2]]}
"""
FILES = {
    "x3d": X3D,
    "pytorchvideo's": X3D.replace("MODEL_NAME: X3D", "MODEL_NAME: PTVX3D"),
    "mvit": MVIT,
    "uniformer": "MODEL: {MODEL_NAME: Uniformer}\n",
    "ours": "",
}


@pytest.fixture
def resolve(tmp_path):
    """A function: kind of file, overrides -> the config."""

    def read(kind, *overrides):
        path = tmp_path / "theirs.yaml"
        path.write_text(FILES[kind])
        return load_config(path, [str(word) for word in overrides])

    return read


EVERYBODY = set(FILES)
# key, a value that cannot be had, the value to set instead, and beside which models their code reads it
STOPS = [
    ("MODEL.LOSS_FUNC", "multi_mse", "cross_entropy", EVERYBODY),
    ("MODEL.LOSS_FUNC", "contrastive_loss", "soft_cross_entropy", EVERYBODY),
    ("BN.NORM_TYPE", "sub_batchnorm", "batchnorm", {"x3d", "pytorchvideo's", "ours"}),
    ("BN.NORM_TYPE", "sub_batchnorm", "sync_batchnorm", {"x3d", "pytorchvideo's", "ours"}),
    ("MODEL.DROPCONNECT_RATE", "0.2", "0", {"x3d", "ours"}),
    ("MODEL.FC_INIT_STD", "0.1", "0.01", {"x3d"}),
    ("RESNET.ZERO_INIT_FINAL_BN", "False", "True", {"x3d"}),
    ("MVIT.DROPOUT_RATE", "0.1", "0.0", {"mvit"}),
    ("SOLVER.CLIP_GRAD_VAL", "1.0", "0", EVERYBODY),
    ("SOLVER.LARS_ON", "True", "False", EVERYBODY),
    ("SOLVER.OPTIMIZING_METHOD", "adam", "adamw", EVERYBODY),
    ("MULTIGRID.SHORT_CYCLE", "True", "False", EVERYBODY),
    ("AUG.RE_COUNT", "3", "1", {"uniformer", "ours"}),  # PySlowFast's default is no augmentation
    ("DATA.SKIP_ROWS", "5", "0", EVERYBODY),
    ("DATA.TRAIN_CROP_NUM_TEMPORAL", "4", "1", EVERYBODY),
    ("DATA.INV_UNIFORM_SAMPLE", "True", "False", EVERYBODY - {"uniformer", "ours"}),
]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(("key", "bent", "straight", "readers"), STOPS)
def test_what_bends_a_training_stops_it_where_their_code_would_have_read_it(
    resolve, kind, key, bent, straight, readers
):
    splits = ["BN.NUM_SPLITS", "2"]
    cfg = resolve(kind, key, bent, *splits)
    unmet = unmet_settings(cfg, TRAINING)
    assert not unmet_settings(cfg, TEST)
    assert f"{key} {bent} (" in unmet if kind in readers else not unmet
    if unmet:
        with pytest.raises(ConfigError, match=rf"{key} {bent} \(.*set .*or set TRAIN.ENABLE False"):
            check_phases(cfg)
    check_phases(resolve(kind, key, bent, "TRAIN.ENABLE", "False"))
    assert not unmet_settings(resolve(kind, key, straight, *splits), TRAINING)


def test_a_run_stops_before_anything_is_read_and_the_rest_goes_on(tiny, tmp_path, call):
    given = tiny(SOLVER__LARS_ON=True)
    with pytest.raises(ConfigError, match=r"^a training cannot .*SOLVER.LARS_ON True \("):
        run(load_config(overrides=given), "tiny")
    assert not (tmp_path / "run").exists()

    path = tmp_path / "theirs.yaml"
    path.write_text(X3D + "SOLVER: {LARS_ON: True, CLIP_GRAD_VAL: 0.5}\n")
    status, text, errors = call("config", "--cfg", path)
    assert status == 0 and "LARS_ON: true" in text
    assert "a training cannot be what these settings ask for: SOLVER." in errors
    status, _, errors = call("run", "--cfg", path)
    line = errors.strip().splitlines()[-1]
    assert status == 2 and "SOLVER.LARS_ON True" in line and "SOLVER.CLIP_GRAD_VAL 0.5" in line


def test_settings_that_are_printed_still_stop_a_training(resolve, tmp_path):
    cfg = resolve("x3d", "SOLVER.LARS_ON", "True", "SOLVER.OPTIMIZING_METHOD", "adam")
    (tmp_path / "printed.yaml").write_text(config_text(cfg))
    again = load_config(tmp_path / "printed.yaml")
    assert unmet_settings(again, TRAINING) == unmet_settings(cfg, TRAINING) != ""
    assert config_text(again) == config_text(cfg)
    assert unmet_settings(build_model.name_model(again), TRAINING)  # a copy knows it too
    changed = with_settings(again, {"SOLVER.OPTIMIZING_METHOD": "sgd", "TEST.ENABLE": False})
    unmet = unmet_settings(changed, TRAINING)
    assert "SOLVER.LARS_ON" in unmet and "OPTIMIZING_METHOD" not in unmet


@pytest.mark.parametrize(
    ("given", "unmet"),
    [
        (["TEST.NUM_TEMPORAL_CLIPS", "[5, 10]"], "TEST.NUM_TEMPORAL_CLIPS"),
        (["TEST.CHECKPOINT_TYPE", "caffe2", "TEST.CHECKPOINT_FILE_PATH", "a.pkl"], "Caffe2"),
        (["TEST.CHECKPOINT_TYPE", "caffe2"], ""),
        (["TEST.NUM_TEMPORAL_CLIPS", "[]"], ""),
    ],
)
def test_what_bends_a_test_stops_the_test(resolve, given, unmet):
    cfg = resolve("uniformer", *given)
    assert not unmet_settings(cfg, TRAINING)
    assert unmet in unmet_settings(cfg, TEST) and bool(unmet) == bool(unmet_settings(cfg, TEST))


@pytest.mark.parametrize("kind", FILES)
def test_what_freezes_a_model_and_its_batch_norms_is_honoured(resolve, kind, caplog):
    norms = {
        "MODEL.FROZEN_BN": "True",
        "BN.USE_PRECISE_STATS": "True",
        "BN.NUM_BATCHES_PRECISE": "7",
    }
    given = {**norms, "MODEL.DETACH_FINAL_FC": "True", "SOLVER.LAYER_DECAY": "0.75"}
    cfg = resolve(kind, *(word for pair in given.items() for word in pair))
    assert not unmet_settings(cfg, TRAINING)
    assert cfg.MODEL.DETACH_FINAL_FC is True and cfg.SOLVER.LAYER_DECAY == 0.75
    found = cfg.MODEL.FROZEN_BN, cfg.BN.USE_PRECISE_STATS, cfg.BN.NUM_BATCHES_PRECISE
    assert found == ((False, False, 200) if kind == "mvit" else (True, True, 7))
    assert caplog.text.count("the model has no BatchNorm") == (3 if kind == "mvit" else 0)


@pytest.mark.parametrize("decay", ["0", "1.5"])
def test_a_decay_that_is_none_to_them_is_none_here(resolve, decay):
    assert resolve("x3d", "SOLVER.LAYER_DECAY", decay).SOLVER.LAYER_DECAY == 1
    with pytest.raises(
        ConfigError, match=r"SOLVER\.LAYER_DECAY is .*a number above 0 and at most 1"
    ):
        resolve("ours", "SOLVER.LAYER_DECAY", decay)


def test_every_way_on_says_what_to_set():
    assert all("set " in bend.way_on or "give " in bend.way_on for bend in BENDS.values())


@pytest.mark.parametrize(
    ("kind", "key", "value", "stops"),
    [
        ("x3d", "BN.EPSILON", "1e-3", True),
        ("x3d", "BN.EPSILON", "1e-5", False),
        ("ours", "BN.EPSILON", "1e-3", True),
        ("uniformer", "BN.EPSILON", "1e-3", False),
        ("mvit", "BN.EPSILON", "1e-3", False),
        ("uniformer", "UNIFORMER.QKV_BIAS", "False", False),
        ("uniformer", "UNIFORMER.STAGE_TYPE", "[1, 1, 1, 1]", True),
        ("uniformer", "UNIFORMER.REPRESENTATION_SIZE", "64", False),
        ("uniformer", "UNIFORMER.QKV_SCALE", "0.1", False),
        ("ours", "BN.MOMENTM", "0.1", True),
        ("ours", "BN.NUM_BATCHES_PRECISE", "100", False),
    ],
)
def test_what_makes_another_network_is_an_error(resolve, kind, key, value, stops):
    if stops:
        with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
            resolve(kind, key, value)
    else:
        resolve(kind, key, value)


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (["BN.NORM_TYPE", "sub_batchnorm"], True),
        (["BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", "4"], False),
        (["BN.NORM_TYPE", "sync_batchnorm"], True),
        (["BN.NORM_TYPE", "sync_batchnorm", "BN.NUM_SYNC_DEVICES", "4"], False),
        (["BN.NORM_TYPE", "sync_batchnorm", "BN.GLOBAL_SYNC", "True"], True),
    ],
)
def test_kinds_of_batch_norm_that_can_be_had(resolve, given, ours):
    assert bool(unmet_settings(resolve("x3d", *given), TRAINING)) != ours


@pytest.mark.parametrize(
    ("model", "theirs", "more", "kind"),
    [
        (X3D, "NORM_TYPE: sync_batchnorm", "", "batchnorm"),  # groups of one device
        (X3D, "NORM_TYPE: sync_batchnorm, NUM_SYNC_DEVICES: 1", "", "batchnorm"),
        (X3D, "NORM_TYPE: sync_batchnorm, NUM_SYNC_DEVICES: 4", "NUM_GPUS: 4", "sync_batchnorm"),
        (X3D, "NORM_TYPE: sync_batchnorm, NUM_SYNC_DEVICES: null", "NUM_GPUS: 4", "sync_batchnorm"),
        (X3D, "NORM_TYPE: sync_batchnorm, GLOBAL_SYNC: True", "", "sync_batchnorm"),
        (MVIT, "NORM_TYPE: sync_batchnorm, GLOBAL_SYNC: True", "", "batchnorm"),
        (FILES["uniformer"], "NORM_TYPE: sync_batchnorm, GLOBAL_SYNC: True", "", "batchnorm"),
        ("MODEL: {ARCH: uniformer}\n", "NORM_TYPE: sync_batchnorm", "", "batchnorm"),
        ("", "NORM_TYPE: sync_batchnorm", "", "sync_batchnorm"),
    ],
)
def test_what_their_files_synchronise_is_what_their_code_would(load, model, theirs, more, kind):
    """PySlowFast's default is groups of one device; the published UniFormer does not read the key."""
    flat, _, ignored = load(f"{model}BN: {{{theirs}}}\n{more}\n")
    assert flat.get("BN.NORM_TYPE", "batchnorm") == kind
    assert ("BN.NORM_TYPE" in ignored) == (kind == "batchnorm")


@pytest.mark.parametrize("kind", ["x3d", "uniformer"])
def test_who_adds_synchronised_norms_to_a_file_of_theirs_gets_them(resolve, kind):
    cfg = resolve(kind, "BN.NORM_TYPE", "sync_batchnorm")
    assert cfg.BN.NORM_TYPE == "sync_batchnorm" and not unmet_settings(cfg, TRAINING)


def test_batch_norms_momentum_reaches_the_layers(tiny):
    class Ranks:
        device = torch.device("cpu")

        def wrap(self, network):
            return network

    for given, expected in (("0.1", {0.1}), ("0.03", {0.03})):
        cfg = load_config(overrides=tiny(BN__MOMENTUM=given))
        model, _ = build_model.build_model(cfg, 3)
        build_training.build_train_state(cfg, model, "fp32", Ranks())
        norms = torch.nn.modules.batchnorm._BatchNorm
        assert {m.momentum for m in model.modules() if isinstance(m, norms)} == expected


def test_settings_of_theirs_that_are_honoured_under_their_names(load):
    flat, _, ignored = load(
        X3D + "SOLVER: {OPTIMIZING_METHOD: sgd, MOMENTUM: 0.8, DAMPENING: 0.1, NESTEROV: False, "
        "LR_POLICY: steps_with_relative_lrs, STEPS: [0, 94, 154], LRS: [1, 0.1, 0.01, 0.001], "
        'MAX_EPOCH: 239, BETAS: "(0.9, 0.95)", ZERO_WD_1D_PARAM: True}\n'
        "BN: {MOMENTUM: 0.2, WEIGHT_DECAY: 0.001}\n"
    )
    expected = {
        "SOLVER.OPTIMIZING_METHOD": "sgd",
        "SOLVER.MOMENTUM": 0.8,
        "SOLVER.DAMPENING": 0.1,
        "SOLVER.NESTEROV": False,
        "SOLVER.BETAS": [0.9, 0.95],
        "SOLVER.LR_POLICY": "steps_with_relative_lrs",
        "SOLVER.STEPS": [0.0, 94.0, 154.0],
        "SOLVER.LRS": [1.0, 0.1, 0.01],
        "SOLVER.ZERO_WD_1D_PARAM": True,
        "BN.MOMENTUM": 0.2,
        "BN.WEIGHT_DECAY": 0.001,
    }
    assert {key: flat[key] for key in expected} == expected
    assert "0.001 of SOLVER.LRS: SOLVER.STEPS has no step for it" in ignored
    assert load("SOLVER: {OPTIMIZING_METHOD: mt_adamw}")[0]["SOLVER.OPTIMIZING_METHOD"] == "adamw"
    flat, _, ignored = load(
        "MODEL: {MODEL_NAME: Uniformer}\nBN: {MOMENTUM: 0.2, WEIGHT_DECAY: 0.1}\n"
    )
    assert (flat["BN.MOMENTUM"], flat["BN.WEIGHT_DECAY"]) == (0.1, 0.1) and "BN.MOMENTUM" in ignored


@pytest.mark.parametrize(("decays", "expected"), [("True", -1.0), ("False", 0.0)])
@pytest.mark.parametrize("model", ["UniFormer", "ResNet"])
def test_their_switch_of_the_decay_has_no_say_about_batch_norm(tmp_path, model, decays, expected):
    """Ours has, unless BN.WEIGHT_DECAY tells it."""
    file = tmp_path / "theirs.yaml"
    arch = "" if model == "UniFormer" else ", ARCH: slow"
    file.write_text(
        f"MODEL: {{MODEL_NAME: {model}{arch}}}\nSOLVER: {{ZERO_WD_1D_PARAM: {decays}}}\n"
    )
    decay = load_config(file).BN.WEIGHT_DECAY
    assert decay == expected
