"""Configs of the published UniFormer and of PySlowFast load as they are, and mean what they meant."""

import pytest
import yaml

from uniformer_video.config.foreign import keys
from uniformer_video.config.settings import DEFAULTS, load_config
from uniformer_video.errors import ConfigError
from uniformer_video.models.shapes import shapes_only
from uniformer_video.runs import build_model

B = "UNIFORMER: {DEPTH: [5, 8, 20, 7]}\n"


def published(**changes):
    """A file with every key of the published ones, `SECTION__KEY` changed or, with None, left out."""
    values = {
        "TRAIN": "ENABLE: True, DATASET: kinetics, BATCH_SIZE: 8, EVAL_PERIOD: 10, "
        "CHECKPOINT_PERIOD: 10, AUTO_RESUME: True",
        "DATA": "USE_OFFSET_SAMPLING: True, DECODING_BACKEND: decord, NUM_FRAMES: 16, "
        "SAMPLING_RATE: 4, TRAIN_JITTER_SCALES: [256, 320], TRAIN_CROP_SIZE: 224, "
        "TEST_CROP_SIZE: 256, INPUT_CHANNEL_NUM: [3], "
        "TRAIN_JITTER_SCALES_RELATIVE: [0.08, 1.0], "
        "TRAIN_JITTER_ASPECT_RELATIVE: [0.75, 1.3333]",
        "UNIFORMER": "EMBED_DIM: [64, 128, 320, 512], DEPTH: [3, 4, 8, 3], HEAD_DIM: 64, "
        "MLP_RATIO: 4, DROPOUT_RATE: 0, ATTENTION_DROPOUT_RATE: 0, DROP_DEPTH_RATE: 0.1, "
        "SPLIT: False, PRETRAIN_NAME: uniformer_small_in1k",
        "AUG": "NUM_SAMPLE: 2, ENABLE: True, COLOR_JITTER: 0.4, "
        "AA_TYPE: rand-m7-n4-mstd0.5-inc1, INTERPOLATION: bicubic, RE_PROB: 0.25, "
        "RE_MODE: pixel, RE_COUNT: 1, RE_SPLIT: False",
        "MIXUP": "ENABLE: True, ALPHA: 0.8, CUTMIX_ALPHA: 1.0, PROB: 1.0, SWITCH_PROB: 0.5, "
        "LABEL_SMOOTH_VALUE: 0.1",
        "BN": "USE_PRECISE_STATS: False, NUM_BATCHES_PRECISE: 200",
        "SOLVER": "ZERO_WD_1D_PARAM: True, BASE_LR_SCALE_NUM_SHARDS: True, BASE_LR: 0.0001, "
        "COSINE_AFTER_WARMUP: True, COSINE_END_LR: 1e-6, WARMUP_START_LR: 1e-6, "
        "WARMUP_EPOCHS: 30.0, LR_POLICY: cosine, MAX_EPOCH: 200, MOMENTUM: 0.9, "
        "WEIGHT_DECAY: 0.05, OPTIMIZING_METHOD: adamw, COSINE_AFTER_WARMUP: True",
        "MODEL": "NUM_CLASSES: 400, ARCH: uniformer, MODEL_NAME: Uniformer, "
        "LOSS_FUNC: soft_cross_entropy, DROPOUT_RATE: 0.5",
        "TEST": "ENABLE: True, DATASET: kinetics, BATCH_SIZE: 64, NUM_SPATIAL_CROPS: 1",
        "DATA_LOADER": "NUM_WORKERS: 8, PIN_MEMORY: True",
        "TENSORBOARD": "ENABLE: True",
    }
    lines = [f"{section}: {{{pairs}}}" for section, pairs in values.items()]
    for name, value in changes.items():
        section, key = name.split("__")
        at = list(values).index(section)
        tree = yaml.safe_load(lines[at])
        tree[section].pop(key, None)
        if value is not None:
            tree[section][key] = value
        lines[at] = yaml.safe_dump(tree, default_flow_style=True, width=10_000).strip()[1:-1]
    return "\n".join([*lines, "NUM_GPUS: 8", "NUM_SHARDS: 1", "RNG_SEED: 0", "OUTPUT_DIR: ."])


LIGHT = {
    "TRAIN__DATASET": "kinetics_sparse",
    "TEST__DATASET": "kinetics_sparse",
    "DATA__NUM_FRAMES": 4,
    "DATA__SAMPLING_RATE": 32,
    "DATA__TRAIN_JITTER_SCALES": [160, 192],
    "DATA__TRAIN_CROP_SIZE": 128,
    "DATA__TEST_CROP_SIZE": 128,
    "UNIFORMER__EMBED_DIM": [56, 112, 224, 448],
    "UNIFORMER__DEPTH": [2, 5, 8, 2],
    "UNIFORMER__HEAD_DIM": 28,
    "UNIFORMER__MLP_RATIO": 3,
    "UNIFORMER__PRETRAIN_NAME": "uniformer_xxs_128_in1k",
    "UNIFORMER__INIT_VALUE": 0.1,
    "AUG__AA_TYPE": "rand",
    "MODEL__MODEL_NAME": "Uniformer_light_ls_fp32",
    "MODEL__USE_CHECKPOINT": True,
    "MODEL__CHECKPOINT_NUM": [0, 0, 4, 0],
}
EXTRA_SMALL = {
    **LIGHT,
    "UNIFORMER__EMBED_DIM": [64, 128, 256, 512],
    "UNIFORMER__DEPTH": [3, 5, 9, 3],
    "UNIFORMER__HEAD_DIM": 32,
    "UNIFORMER__PRUNE_RATIO": [[], [], [1] + [0.5] * 8, [0.5] * 3],
    "UNIFORMER__TRADE_OFF": [[], [], [1] + [0.5] * 8, [0.5] * 3],
    "MODEL__MODEL_NAME": "Uniformer_light_fp32",
}
UCF = {
    "UNIFORMER__MLP_RATIO": [4.0, 4.0, 4.0, 4.0],
    "UNIFORMER__HEAD_DROPOUT_RATE": 0,
    "MODEL__NUM_CLASSES": 101,
    "MODEL__USE_CHECKPOINT": False,
    "MODEL__CHECKPOINT_NUM": [0, 0, 0, 0],
}
PICTURES = {"DATA__USE_OFFSET_SAMPLING": None, "DATA__DECODING_BACKEND": None}


def expect(flat, **wanted):
    wanted = {key.replace("__", "."): value for key, value in wanted.items()}
    assert {key: flat[key] for key in wanted} == wanted


def test_kinetics(load):
    flat, said, ignored = load(published())
    expect(
        flat,
        MODEL__MODEL_NAME="uniformer_s",
        UNIFORMER__LOCAL_KERNEL=[5, 5, 5],
        UNIFORMER__PRETRAIN_NAME="uniformer_small_in1k",
        UNIFORMER__MLP_RATIO=4.0,
        TRAIN__DATASET="kinetics",
        DATA__SAMPLING="dense",
        DATA__CHANNEL_ORDER="RGB",
        SOLVER__COSINE_END_LR=1e-6,
        OUTPUT_DIR=".",
    )
    assert said == (
        "Taken from other projects' names: MODEL.MODEL_NAME Uniformer -> uniformer_s, "
        "UNIFORMER.LOCAL_KERNEL [5, 5, 5]"
    )
    listed = ignored.partition("ignored: ")[2].split(", ")
    assert set(listed) == {
        "TRAIN.AUTO_RESUME",
        "DATA.INPUT_CHANNEL_NUM",
        "AUG.RE_MODE",
        "AUG.RE_COUNT",
        "AUG.RE_SPLIT",
        "MODEL.ARCH",
        "MODEL.LOSS_FUNC",
        "MODEL.DROPOUT_RATE",
        "DATA_LOADER.PIN_MEMORY",
    }


# What the published files change of our defaults: every line of them, and nothing that follows beside it.
PUBLISHED = {
    "UNIFORMER.EMBED_DIM": [64, 128, 320, 512],
    "UNIFORMER.DEPTH": [3, 4, 8, 3],
    "UNIFORMER.HEAD_DIM": 64,
    "UNIFORMER.MLP_RATIO": 4.0,
    "UNIFORMER.LOCAL_KERNEL": [5, 5, 5],
    "UNIFORMER.PRETRAIN_NAME": "uniformer_small_in1k",
    "MODEL.NUM_CLASSES": 400,
    "DATA.DECODING_BACKEND": "decord",
    "DATA.TEST_CROP_SIZE": 256,
    "AUG.NUM_SAMPLE": 2,
    "TRAIN.BATCH_SIZE": 8,
    "TRAIN.EVAL_PERIOD": 10,
    "TRAIN.CHECKPOINT_PERIOD": 10,
    "TEST.DATASET": "kinetics",
    "TEST.BATCH_SIZE": 64,
    "SOLVER.BASE_LR_SCALE_NUM_SHARDS": True,
    "SOLVER.WARMUP_EPOCHS": 30.0,
    "SOLVER.MAX_EPOCH": 200,
    "DATA_LOADER.NUM_WORKERS": 8,
    "NUM_GPUS": 8,
    "OUTPUT_DIR": ".",
}
FRAMES = {
    "TRAIN.DATASET": "frames",
    "TEST.DATASET": "frames",
    "DATA.CHANNEL_ORDER": "BGR",
    "DATA.LABEL_PATH_TEMPLATE": "somesomev1_rgb_{}_split.txt",
    "DATA.IMAGE_TEMPLATE": "{:05d}.jpg",
}
LIGHT_SETTINGS = {
    "MODEL.MODEL_NAME": "uniformer_xxs",
    "MODEL.USE_CHECKPOINT": True,
    "MODEL.CHECKPOINT_NUM": [0, 0, 4, 0],
    "UNIFORMER.EMBED_DIM": [56, 112, 224, 448],
    "UNIFORMER.DEPTH": [2, 5, 8, 2],
    "UNIFORMER.HEAD_DIM": 28,
    "UNIFORMER.MLP_RATIO": 3.0,
    "UNIFORMER.LAYER_SCALE": True,
    "UNIFORMER.PRETRAIN_NAME": "uniformer_xxs_128_in1k",
    "DATA.NUM_FRAMES": 4,
    "DATA.SAMPLING_RATE": 32,
    "DATA.SAMPLING": "segment",
    "DATA.TRAIN_JITTER_SCALES": [160, 192],
    "DATA.TRAIN_CROP_SIZE": 128,
    "DATA.TEST_CROP_SIZE": 128,
    "AUG.AA_TYPE": "rand",
    "TRAIN.PRECISION": "fp32",
}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {}),
        (
            {"UNIFORMER__DEPTH": [5, 8, 20, 7], "DATA__NUM_FRAMES": 32},
            {
                "MODEL.MODEL_NAME": "uniformer_b",
                "UNIFORMER.DEPTH": [5, 8, 20, 7],
                "DATA.NUM_FRAMES": 32,
            },
        ),
        (
            {"TRAIN__DATASET": "sth", "TEST__DATASET": "sth", "DATA__RANDOM_FLIP": False},
            {**FRAMES, "DATA.SAMPLING": "segment", "DATA.RANDOM_FLIP": False},
        ),
        (
            {**UCF, "TRAIN__DATASET": "hmdb", "TEST__DATASET": "hmdb"},
            {**FRAMES, "MODEL.NUM_CLASSES": 101},
        ),
        (LIGHT, LIGHT_SETTINGS),
    ],
    ids=["kinetics", "base", "something", "hmdb51", "light"],
)
def test_published_files_are_these_settings_to_the_last(load, theirs, ours):
    flat, _, ignored = load(published(**theirs))
    assert flat == {**DEFAULTS, **PUBLISHED, **ours}
    assert "MODEL.DROPOUT_RATE" in ignored


def test_something_something(load):
    sth = {"TRAIN__DATASET": "sth", "TEST__DATASET": "sth", "DATA__RANDOM_FLIP": False}
    depth = {"UNIFORMER__DEPTH": [5, 8, 20, 7]}
    flat, said, _ = load(published(**sth, **depth, **PICTURES))
    pictures = {"DATA__CHANNEL_ORDER": "BGR", "DATA__SAMPLING": "segment"}
    expect(
        flat,
        MODEL__MODEL_NAME="uniformer_b",
        TRAIN__DATASET="frames",
        TEST__DATASET="frames",
        DATA__LABEL_PATH_TEMPLATE="somesomev1_rgb_{}_split.txt",
        DATA__IMAGE_TEMPLATE="{:05d}.jpg",
        **pictures,
    )
    assert "TRAIN.DATASET sth -> frames, DATA.SAMPLING segment, DATA.CHANNEL_ORDER BGR" in said

    own = ["DATA.LABEL_PATH_TEMPLATE", "somesomev2_rgb_{}_split.txt"]
    own += ["DATA.IMAGE_TEMPLATE", "img_{:05d}.jpg", "DATA.CHANNEL_ORDER", "RGB", "DATA.MC", "True"]
    flat, _, ignored = load(published(**sth), *own)
    expect(flat, DATA__LABEL_PATH_TEMPLATE=own[1], DATA__IMAGE_TEMPLATE=own[3])
    expect(flat, DATA__CHANNEL_ORDER="RGB", DATA__SAMPLING="segment")
    assert "DATA.MC" in ignored


def test_ucf101_and_hmdb51(load):
    flat, said, ignored = load(published(**UCF), "TRAIN.SAVE_LATEST", "False")
    expect(flat, UNIFORMER__MLP_RATIO=4.0, DATA__CHANNEL_ORDER="RGB", MODEL__NUM_CLASSES=101)
    assert "UNIFORMER.MLP_RATIO [4.0, 4.0, 4.0, 4.0] -> 4.0" in said
    expect(flat, UNIFORMER__HEAD_DROPOUT_RATE=0.0)
    assert "UNIFORMER" not in ignored and "TRAIN.SAVE_LATEST" in ignored

    hmdb = published(**UCF, TRAIN__DATASET="hmdb", TEST__DATASET="hmdb")
    flat, _, _ = load(hmdb, "DATA.LABEL_PATH_TEMPLATE", "{}.txt", "TEST.TEST_BEST", "True")
    expect(
        flat,
        TRAIN__DATASET="frames",
        DATA__SAMPLING="dense",
        DATA__CHANNEL_ORDER="BGR",
        DATA__LABEL_PATH_TEMPLATE="{}.txt",
        TEST__WEIGHTS="best",
    )


def test_light(load):
    flat, said, _ = load(published(**LIGHT))
    expect(
        flat,
        MODEL__MODEL_NAME="uniformer_xxs",
        UNIFORMER__LOCAL_KERNEL=[5, 5, 5],
        UNIFORMER__LAYER_SCALE=True,
        UNIFORMER__INIT_VALUE=0.1,
        UNIFORMER__PRUNE_RATIO=[],
        TRAIN__PRECISION="fp32",
        TRAIN__DATASET="kinetics",
        DATA__SAMPLING="segment",
        DATA__CHANNEL_ORDER="RGB",
    )
    assert "MODEL.MODEL_NAME Uniformer_light_ls_fp32 -> uniformer_xxs" in said

    flat, _, _ = load(published(**EXTRA_SMALL))
    expect(flat, MODEL__MODEL_NAME="uniformer_xs", UNIFORMER__LAYER_SCALE=False)
    expect(flat, UNIFORMER__PRUNE_RATIO=[[1] + [0.5] * 8, [0.5] * 3])
    expect(flat, UNIFORMER__TRADE_OFF=[[1] + [0.5] * 8, [0.5] * 3])

    flat, _, _ = load(published(**{**LIGHT, "MODEL__MODEL_NAME": "Uniformer_light"}))
    expect(flat, MODEL__MODEL_NAME="uniformer_xxs", UNIFORMER__LAYER_SCALE=False)
    expect(flat, TRAIN__PRECISION="auto")


@pytest.mark.parametrize(
    ("several", "loss", "remark"),
    [
        (True, "bce", ""),
        (True, "bce_logit", ""),
        (True, "cross_entropy", "binary cross-entropy is used, as TRAIN.TASK is multi-label"),
        (False, "soft_cross_entropy", ""),
        (False, "bce", "the loss follows from TRAIN.TASK; multi-label trains by binary"),
        (None, "bce_logit", "the loss follows from TRAIN.TASK; multi-label trains by binary"),
    ],
)
def test_the_loss_follows_from_the_labels(load, several, loss, remark):
    given = published(DATA__MULTI_LABEL=several, MODEL__LOSS_FUNC=loss, MODEL__HEAD_ACT="sigmoid")
    flat, _, ignored = load(given)
    expect(flat, TRAIN__TASK="multi-label" if several else "single-label")
    assert ("MODEL.LOSS_FUNC" + (f" {loss}: {remark}" if remark else ",")) in f"{ignored},"
    assert "DATA.MULTI_LABEL" not in ignored


PYSLOWFAST = """
TASK: ""
BN: {USE_PRECISE_STATS: False, NORM_TYPE: batchnorm, NUM_SYNC_DEVICES: null, EPSILON: 1e-5}
CONTRASTIVE: {T: 0.07, DELTA_CLIPS_MIN: -.inf, MOCO_MULTI_VIEW_QUEUE: False}
TRAIN: {ENABLE: True, DATASET: kinetics, BATCH_SIZE: 64, EVAL_PERIOD: 10, CHECKPOINT_PERIOD: 10,
  AUTO_RESUME: True, CHECKPOINT_FILE_PATH: "", CHECKPOINT_TYPE: pytorch, CHECKPOINT_INFLATE: False,
  CHECKPOINT_EPOCH_RESET: False, CHECKPOINT_CLEAR_NAME_PATTERN: "()", CHECKPOINT_IN_INIT: False,
  MIXED_PRECISION: False, KILL_LOSS_EXPLOSION_FACTOR: 0.0}
AUG: {ENABLE: False, NUM_SAMPLE: 1, COLOR_JITTER: 0.4, AA_TYPE: rand-m9-mstd0.5-inc1,
  INTERPOLATION: bicubic, RE_PROB: 0.25, RE_MODE: pixel, RE_COUNT: 1, RE_SPLIT: False,
  GEN_MASK_LOADER: False, MASK_TUBE: False, MASK_FRAMES: False, MASK_WINDOW_SIZE: "(8, 7, 7)",
  MASK_RATIO: 0.0, MAX_MASK_PATCHES_PER_BLOCK: null}
MASK: {ENABLE: False, MAE_ON: False}
VIS_MASK: {ENABLE: False}
MIXUP: {ENABLE: False, ALPHA: 0.8, CUTMIX_ALPHA: 1.0, PROB: 1.0, SWITCH_PROB: 0.5,
  LABEL_SMOOTH_VALUE: 0.1}
TEST: {ENABLE: True, DATASET: kinetics, BATCH_SIZE: 8, CHECKPOINT_FILE_PATH: "",
  NUM_ENSEMBLE_VIEWS: 10, NUM_SPATIAL_CROPS: 3, CHECKPOINT_TYPE: pytorch, SAVE_RESULTS_PATH: "",
  NUM_TEMPORAL_CLIPS: []}
RESNET: {DEPTH: 50, SPATIAL_STRIDES: [[1], [2], [2], [2]]}
X3D: {WIDTH_FACTOR: 1.0}
NONLOCAL: {LOCATION: [[[]], [[]], [[]], [[]]]}
SLOWFAST: {ALPHA: 8}
MVIT: {MODE: conv, POOL_KVQ_KERNEL: null, REV: {ENABLE: False}}
MODEL: {ARCH: uniformer, MODEL_NAME: UniFormer, NUM_CLASSES: 400, LOSS_FUNC: cross_entropy,
  SINGLE_PATHWAY_ARCH: [2d, uniformer], MULTI_PATHWAY_ARCH: [slowfast], DROPOUT_RATE: 0.5,
  DROPCONNECT_RATE: 0.0, FC_INIT_STD: 0.01, HEAD_ACT: softmax, ACT_CHECKPOINT: False,
  DETACH_FINAL_FC: False, FROZEN_BN: False, FP16_ALLREDUCE: False}
UNIFORMER: {EMBED_DIM: "(64, 128, 320, 512)", DEPTH: "(3, 4, 8, 3)", QKV_BIAS: True, QKV_SCALE: null,
  REPRESENTATION_SIZE: null, STAGE_TYPE: [0, 0, 1, 1], PRETRAIN_NAME: None, STD: False,
  PRUNE_RATIO: [[], [], [1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5]],
  TRADE_OFF: [[], [], [1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]}
DATA: {PATH_TO_DATA_DIR: "", PATH_LABEL_SEPARATOR: " ", PATH_PREFIX: "", NUM_FRAMES: 8,
  SAMPLING_RATE: 8, TRAIN_PCA_EIGVAL: [0.225, 0.224, 0.229], TRAIN_PCA_EIGVEC: [[-0.5675]],
  PATH_TO_PRELOAD_IMDB: "", MEAN: "(0.45, 0.45, 0.45)", INPUT_CHANNEL_NUM: [3, 3],
  STD: [0.225, 0.225, 0.225], TRAIN_JITTER_SCALES: [256, 320], TRAIN_JITTER_SCALES_RELATIVE: [],
  TRAIN_JITTER_ASPECT_RELATIVE: [], USE_OFFSET_SAMPLING: False, TRAIN_JITTER_MOTION_SHIFT: False,
  TRAIN_JITTER_FPS: 0.0, TRAIN_CROP_SIZE: 224, TRAIN_CROP_NUM_TEMPORAL: 1,
  TRAIN_CROP_NUM_SPATIAL: 1, TEST_CROP_SIZE: 256, TARGET_FPS: 30, DECODING_BACKEND: torchvision,
  DECODING_SHORT_SIZE: 256, INV_UNIFORM_SAMPLE: False, RANDOM_FLIP: True, MULTI_LABEL: False,
  ENSEMBLE_METHOD: sum, REVERSE_INPUT_CHANNEL: False, COLOR_RND_GRAYSCALE: 0.0,
  LOADER_CHUNK_SIZE: 0, LOADER_CHUNK_OVERALL_SIZE: 0, SKIP_ROWS: 0, TIME_DIFF_PROB: 0.0,
  SSL_COLOR_JITTER: False, SSL_COLOR_BRI_CON_SAT: [0.4, 0.4, 0.4], SSL_COLOR_HUE: 0.1,
  SSL_MOCOV2_AUG: False, SSL_BLUR_SIGMA_MIN: [0.0, 0.1], SSL_BLUR_SIGMA_MAX: [0.0, 2.0],
  IN22K_TRAINVAL: False, IN22k_VAL_IN1K: "", IN_VAL_CROP_RATIO: 0.875, DUMMY_LOAD: False}
SOLVER: {BASE_LR: 0.1, LR_POLICY: cosine, COSINE_END_LR: 0.0, GAMMA: 0.1, STEP_SIZE: 1, STEPS: [],
  LRS: [], MAX_EPOCH: 300, MOMENTUM: 0.9, DAMPENING: 0.0, NESTEROV: True, WEIGHT_DECAY: 1e-4,
  WARMUP_FACTOR: 0.1, WARMUP_EPOCHS: 0.0, WARMUP_START_LR: 0.01, OPTIMIZING_METHOD: sgd,
  BASE_LR_SCALE_NUM_SHARDS: False, COSINE_AFTER_WARMUP: False, ZERO_WD_1D_PARAM: False,
  CLIP_GRAD_VAL: null, CLIP_GRAD_L2NORM: 1.0, LARS_ON: False, LAYER_DECAY: 1.0,
  BETAS: "(0.9, 0.999)"}
NUM_GPUS: 0
NUM_SHARDS: 1
SHARD_ID: 0
OUTPUT_DIR: .
RNG_SEED: 1
LOG_PERIOD: 10
LOG_MODEL_INFO: True
DIST_BACKEND: nccl
BENCHMARK: {NUM_EPOCHS: 5}
DATA_LOADER: {NUM_WORKERS: 8, PIN_MEMORY: True, ENABLE_MULTI_THREAD_DECODE: False}
DETECTION: {ENABLE: False}
AVA: {BGR: False}
MULTIGRID: {EPOCH_FACTOR: 1.5}
TENSORBOARD: {ENABLE: False, MODEL_VIS: {ENABLE: False, GRAD_CAM: {ENABLE: True}}}
DEMO: {ENABLE: False, THREAD_ENABLE: False}
"""


def test_pyslowfast_with_every_section(load):
    flat, said, ignored = load(PYSLOWFAST)
    expect(
        flat,
        MODEL__MODEL_NAME="uniformer_s",
        UNIFORMER__DEPTH=[3, 4, 8, 3],
        UNIFORMER__LOCAL_KERNEL=[5, 5, 5],
        UNIFORMER__PRETRAIN_NAME="",
        UNIFORMER__PRUNE_RATIO=[],
        DATA__MEAN=[0.45, 0.45, 0.45],
        DATA__DECODING_BACKEND="auto",
        DATA__TRAIN_JITTER_ASPECT_RELATIVE=DEFAULTS["DATA.TRAIN_JITTER_ASPECT_RELATIVE"],
        DATA__CHANNEL_ORDER="RGB",
        TRAIN__PRECISION="fp32",
        SOLVER__CLIP_GRADIENT=1.0,
        SOLVER__OPTIMIZING_METHOD="sgd",
        SOLVER__COSINE_AFTER_WARMUP=False,
        SOLVER__ZERO_WD_1D_PARAM=False,
        NUM_GPUS=1,
        DATA__TARGET_FPS=0.0,
    )
    for words in (
        "MODEL.MODEL_NAME UniFormer -> uniformer_s",
        "TRAIN.MIXED_PRECISION False -> TRAIN.PRECISION fp32",
        "SOLVER.CLIP_GRAD_L2NORM 1.0 -> SOLVER.CLIP_GRADIENT 1.0",
        "DATA.DECODING_BACKEND torchvision -> auto",
        "NUM_GPUS 0 -> 1",
    ):
        assert words in said
    for words in (
        "MODEL.DROPOUT_RATE",
        "DATA.TARGET_FPS 30: strides count the frames of the video",
        "AUG.MASK_TUBE, AUG.MASK_FRAMES",
        "TENSORBOARD.MODEL_VIS.GRAD_CAM.ENABLE",
        "DATA.IN22k_VAL_IN1K",
        "VIS_MASK.ENABLE",
    ):
        assert words in ignored
    assert "TENSORBOARD.ENABLE" not in ignored and "DATA.ENSEMBLE_METHOD" not in ignored


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "uniformer_s"),
        ("UNIFORMER: {DEPTH: [3, 4, 8, 3]}\n", "uniformer_s"),
        (B, "uniformer_b"),
        ("UNIFORMER:\n  DEPTH: (5, 8, 20, 7)\n", "uniformer_b"),
        ("UNIFORMER: {DEPTH: [1, 1, 1, 1]}\n", "uniformer_s"),
    ],
)
def test_models_are_told_by_their_depths(load, text, name):
    flat, _, _ = load(f"MODEL: {{MODEL_NAME: Uniformer}}\n{text}")
    assert flat["MODEL.MODEL_NAME"] == name


def test_sizes_that_no_named_model_has_are_kept(load):
    flat, said, _ = load("MODEL: {MODEL_NAME: Uniformer_light}\nUNIFORMER: {HEAD_DIM: 32}\n")
    expect(
        flat,
        MODEL__MODEL_NAME="uniformer_xxs",
        UNIFORMER__EMBED_DIM=[64, 128, 320, 512],
        UNIFORMER__DEPTH=[3, 4, 8, 3],
        UNIFORMER__HEAD_DIM=32,
        UNIFORMER__MLP_RATIO=4.0,
    )
    assert "UNIFORMER.EMBED_DIM [64, 128, 320, 512]" in said


def test_sizes_that_they_leave_out_are_theirs(tmp_path):
    (tmp_path / "theirs.yaml").write_text("MODEL: {MODEL_NAME: Uniformer}\n")
    with shapes_only():
        model, _ = build_model.build_model(load_config(tmp_path / "theirs.yaml"), 400)
    sizes = {"embed_dims": [64, 128, 320, 512], "depths": [3, 4, 8, 3], "head_dim": 64}
    sizes["mlp_ratio"] = 4.0
    assert {key: model.arguments[key] for key in sizes} == sizes


def test_what_is_set_wins_over_what_follows(load):
    text = f"MODEL: {{MODEL_NAME: Uniformer}}\n{B}"
    flat, _, _ = load(text, "UNIFORMER.LOCAL_KERNEL", "3,5,5")
    assert flat["UNIFORMER.LOCAL_KERNEL"] == [3, 5, 5]
    flat, said, _ = load(text, "MODEL.MODEL_NAME", "uniformer_b")
    assert (flat["UNIFORMER.LOCAL_KERNEL"], said) == ([], "")
    flat, _, _ = load("TRAIN: {PRECISION: bf16}\n", "TRAIN.MIXED_PRECISION", "False")
    assert flat["TRAIN.PRECISION"] == "fp32"
    flat, _, ignored = load("TRAIN: {PRECISION: bf16, MIXED_PRECISION: False}\n")
    assert flat["TRAIN.PRECISION"] == "bf16"
    assert "TRAIN.MIXED_PRECISION False: TRAIN.PRECISION bf16 is given" in ignored


def test_weights_to_start_from(load):
    key = "UNIFORMER.PRETRAIN_NAME"
    assert load("TRAIN: {CHECKPOINT_FILE_PATH: a.pyth}\n")[0][key] == "a.pyth"
    flat, _, _ = load("TRAIN: {CHECKPOINT_FILE_PATH: a.pyth}\nUNIFORMER: {PRETRAIN_NAME: null}\n")
    assert flat[key] == "a.pyth"
    both = "TRAIN: {CHECKPOINT_FILE_PATH: a.pyth}\nUNIFORMER: {PRETRAIN_NAME: b}\n"
    flat, _, ignored = load(both)
    assert flat[key] == "b"
    assert f"TRAIN.CHECKPOINT_FILE_PATH a.pyth: {key} b is given" in ignored
    own = "UNIFORMER: {PRETRAIN_NAME: b}\n"
    assert load(own, "TRAIN.CHECKPOINT_FILE_PATH", "a.pyth")[0][key] == "a.pyth"
    flat, said, ignored = load("TRAIN: {CHECKPOINT_FILE_PATH: ''}\n")
    assert (flat[key], said, ignored) == ("", "", "")


@pytest.mark.parametrize(
    ("tree", "told", "warned"),
    [
        (
            "{CHECKPOINT_FILE_PATH: a.pyth, CHECKPOINT_EPOCH_RESET: True}",
            "epoch 0, with the we",
            "",
        ),
        (
            "{CHECKPOINT_FILE_PATH: a.pyth, CHECKPOINT_EPOCH_RESET: False}",
            "a.pyth",
            "CHECKPOINT_EPOCH_RESET False: a run starts from the weights of another one at epoch 0; to go on",
        ),
        ("{CHECKPOINT_EPOCH_RESET: True}", "", "True: there is no TRAIN.CHECKPOINT_FILE_PATH"),
        ("{CHECKPOINT_EPOCH_RESET: False}", "", "CHECKPOINT_EPOCH_RESET"),
    ],
)
def test_whether_a_run_from_weights_begins_at_epoch_0(load, tree, told, warned):
    _, said, ignored = load(f"TRAIN: {tree}\n")
    assert told in said and warned in ignored
    assert bool(ignored) == bool(warned)


@pytest.mark.parametrize(
    ("dataset", "reverse", "order"),
    [
        ("kinetics", True, "BGR"),
        ("kinetics", False, "RGB"),
        ("kinetics_sparse", True, "BGR"),
        ("sth", True, "RGB"),
        ("ssv2", False, "BGR"),
        ("Kinetics", False, "RGB"),
    ],
)
def test_channel_order(load, dataset, reverse, order):
    text = f"TRAIN: {{DATASET: {dataset}}}\nDATA: {{REVERSE_INPUT_CHANNEL: {reverse}}}\n"
    flat, _, ignored = load(text)
    assert (flat["DATA.CHANNEL_ORDER"], ignored) == (order, "")


def test_data_sets_that_a_run_cannot_join(load):
    text = "TRAIN: {DATASET: kinetics}\nTEST: {DATASET: kinetics_sparse}\n"
    message = r"kinetics and TEST\.DATASET kinetics_sparse differ in DATA\.SAMPLING"
    with pytest.raises(ConfigError, match=message):
        load(text)
    assert load(text, "TRAIN.ENABLE", "False")[0]["DATA.SAMPLING"] == "segment"
    assert load(text, "DATA.SAMPLING", "dense")[0]["DATA.SAMPLING"] == "dense"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DATA: {ENSEMBLE_METHOD: max}", "'max'; the scores of views are summed"),
        ("UNIFORMER: {MLP_RATIO: [4, 4, 3, 3]}", "all stages have one ratio"),
        ("TRAIN: {MIXED_PRECISION: 1}", "must be True or False"),
        ("UNIFORMER: {PRUNE_RATIO: [[1], [], [1], [1]]}", "two lists"),
        ("AUG: {MASKS: 1}", r"unknown setting AUG\.MASKS in .*did you mean AUG\."),
        ("MODEL: {DEPT: 1}", r"unknown setting MODEL\.DEPT in .*did you mean UNIFORMER\.DEPTH"),
    ],
)
def test_what_cannot_be_had(load, text, message):
    with pytest.raises(ConfigError, match=message):
        load(text)


@pytest.mark.parametrize(
    ("typo", "near"),
    [("WEIGHT_DECY", "SOLVER.WEIGHT_DECAY"), ("MAX_EPOCHS", "SOLVER.MAX_EPOCH")],
)
def test_a_typo_among_their_keys_is_an_error(load, typo, near):
    with pytest.raises(ConfigError, match=rf"unknown setting SOLVER\.{typo} .*mean {near}\?"):
        load(published(**{f"SOLVER__{typo}": 1}))


@pytest.mark.parametrize(
    ("changes", "blocks"),
    [
        ({}, 8),
        (LIGHT, 8),
        ({**LIGHT, "UNIFORMER__PRUNE_RATIO": [[], [], [1] + [0.5] * 7, [0.5] * 3]}, 8),
        (EXTRA_SMALL, 9),
    ],
)
def test_their_files_build(tmp_path, changes, blocks):
    path = tmp_path / "theirs.yaml"
    path.write_text(published(**changes))
    cfg = load_config(path, ["UNIFORMER.PRETRAIN_NAME", "None"])
    with shapes_only():
        model, _ = build_model.build_model(cfg, cfg.MODEL.NUM_CLASSES)
    assert len(model.blocks3) == blocks
    assert model.blocks1[0].attn.weight.shape[2:] == (5, 5, 5)
    assert any(key.endswith("gamma_1") for key in model.state_dict()) == cfg.UNIFORMER.LAYER_SCALE


def test_no_key_is_both_ours_and_ignored():
    own = [key for key in DEFAULTS if keys.is_foreign(key)]
    assert own == [
        "MVIT.DROPPATH_RATE",
        "TENSORBOARD.ENABLE",
    ]  # the rest of the sections is ignored


def test_a_frame_rate_counts_where_it_is_asked_for_here(load):
    flat, _, ignored = load("MODEL: {MODEL_NAME: uniformer_s}\nDATA: {TARGET_FPS: 15}\n")
    assert flat["DATA.TARGET_FPS"] == 15.0 and not ignored
    flat, _, _ = load("MODEL: {MODEL_NAME: Uniformer}\n", "DATA.TARGET_FPS", "12.5")
    assert flat["DATA.TARGET_FPS"] == 12.5
