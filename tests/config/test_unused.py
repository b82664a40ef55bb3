"""Settings that a run does not use: named once where they come from a file, refused beside their switch."""

import pickle

import pytest

from uniformer_video.config.recorded import config_from_text, config_text
from uniformer_video.config.settings import COMMAND_LINE, DEFAULT, FILE, load_config, origin
from uniformer_video.config.unused import report_unused, unused_settings
from uniformer_video.errors import ConfigError
from uniformer_video.runs.check import check_settings


@pytest.fixture
def warning(tmp_path, caplog):
    """A function: text of a file and overrides -> what is warned of, without the words before it."""

    def read(text="", *overrides):
        path = tmp_path / "given.yaml"
        path.write_text(text)
        cfg = load_config(path, overrides)
        caplog.clear()
        check_settings(cfg)
        assert len(caplog.records) <= 1
        return "".join(caplog.messages).removeprefix("These settings have no effect: ")

    return read


CASES = [
    (
        "MODEL: {CHECKPOINT_NUM: [0, 0, 4, 0]}",
        "MODEL.CHECKPOINT_NUM [0, 0, 4, 0] (MODEL.USE_CHECKPOINT is False)",
    ),
    (
        "MODEL: {USE_CHECKPOINT: True}",
        "MODEL.USE_CHECKPOINT True (MODEL.CHECKPOINT_NUM is [0, 0, 0, 0])",
    ),
    (
        "UNIFORMER: {INIT_VALUE: 0.5}",
        "UNIFORMER.INIT_VALUE 0.5 (UNIFORMER.LAYER_SCALE is False)",
    ),
    (
        "UNIFORMER: {INFLATE_MODE: center}",
        "UNIFORMER.INFLATE_MODE center (UNIFORMER.PRETRAIN_NAME is empty)",
    ),
    (
        "UNIFORMER: {ADAPT_KERNEL: True, PRETRAIN_NAME: a.pt}",
        "UNIFORMER.ADAPT_KERNEL True (UNIFORMER.LOCAL_KERNEL is [])",
    ),
    (
        "UNIFORMER: {ADAPT_KERNEL: True, LOCAL_KERNEL: [3, 5, 5]}",
        "UNIFORMER.ADAPT_KERNEL True (UNIFORMER.PRETRAIN_NAME is empty and "
        "TEST.CHECKPOINT_FILE_PATH is empty and TRAIN.ENABLE is True)",
    ),
    (
        "{DATA: {PATH_PREFIX: a}, TRAIN: {DATASET: folder}}",
        "DATA.PATH_PREFIX a (the format folder reads no such setting)",
    ),
    (
        "{DATA: {PATH_PREFIX: a}, TRAIN: {DATASET: shards}}",
        "DATA.PATH_PREFIX a (the format shards reads no such setting)",
    ),
    (
        "{DATA: {PATH_LABEL_SEPARATOR: ;}, TRAIN: {DATASET: ucf101}}",
        "DATA.PATH_LABEL_SEPARATOR ; (the format ucf101 reads no such setting)",
    ),
    (
        "DATA: {LABEL_PATH_TEMPLATE: 'a{}.txt'}",
        "DATA.LABEL_PATH_TEMPLATE a{}.txt (the format kinetics reads no such setting)",
    ),
    (
        "DATA: {IMAGE_TEMPLATE: '{}.jpg'}",
        "DATA.IMAGE_TEMPLATE {}.jpg (the format kinetics reads no such setting)",
    ),
    (
        "{DATA: {SPLIT_NUMBER: 2}, TRAIN: {DATASET: ssv2-json}}",
        "DATA.SPLIT_NUMBER 2 (the format ssv2-json reads no such setting)",
    ),
    (
        "DATA: {VAL_RATIO: 0.3}",
        "DATA.VAL_RATIO 0.3 (the format kinetics reads no such setting)",
    ),
    (
        "{DATA: {DECODING_BACKEND: decord}, TRAIN: {DATASET: frames}}",
        "DATA.DECODING_BACKEND decord (the format frames holds no videos to decode)",
    ),
    (
        "DATA: {SAMPLING_RATE: 8, SAMPLING: segment}",
        "DATA.SAMPLING_RATE 8 (DATA.SAMPLING is segment)",
    ),
    (
        "DATA: {USE_OFFSET_SAMPLING: False, SAMPLING: segment}",
        "DATA.USE_OFFSET_SAMPLING False (DATA.SAMPLING is segment)",
    ),
    (
        "DATA: {TRAIN_JITTER_SCALES: [288, 320]}",
        "DATA.TRAIN_JITTER_SCALES [288, 320] (DATA.TRAIN_JITTER_SCALES_RELATIVE is [0.08, 1.0])",
    ),
    (
        "DATA: {TRAIN_JITTER_ASPECT_RELATIVE: [1, 1], TRAIN_JITTER_SCALES_RELATIVE: []}",
        "DATA.TRAIN_JITTER_ASPECT_RELATIVE [1.0, 1.0] (DATA.TRAIN_JITTER_SCALES_RELATIVE is [])",
    ),
    (
        "DATA: {RANDOM_FLIP: False, FLIP: all}",
        "DATA.RANDOM_FLIP False (DATA.FLIP is all)",
    ),
    (
        "DATA: {FLIP_CLASS_PAIRS: [[0, 1]], FLIP: all}",
        "DATA.FLIP_CLASS_PAIRS [[0, 1]] (DATA.FLIP is all and DATA.RANDOM_FLIP is True)",
    ),
    (
        "DATA: {FLIP_CLASS_PAIRS: [[0, 1]], FLIP: 'off'}",
        "DATA.FLIP_CLASS_PAIRS [[0, 1]] (DATA.FLIP is off and DATA.RANDOM_FLIP is True)",
    ),
    (
        "DATA: {OPPOSITE_CLASS_PAIRS: [[0, 1]]}",
        "DATA.OPPOSITE_CLASS_PAIRS [[0, 1]] (TEST.MOTION_CHECK is False and DATA.REVERSE_FRAMES is False)",
    ),
    (
        "AUG: {NUM_SAMPLE: 2, ENABLE: False}",
        "AUG.NUM_SAMPLE 2 (AUG.ENABLE is False)",
    ),
    (
        "AUG: {AA_TYPE: rand, ENABLE: False}",
        "AUG.AA_TYPE rand (AUG.ENABLE is False)",
    ),
    (
        "AUG: {COLOR_JITTER: 0.1, ENABLE: False}",
        "AUG.COLOR_JITTER 0.1 (AUG.ENABLE is False)",
    ),
    (
        "AUG: {COLOR_JITTER: 0.1}",
        "AUG.COLOR_JITTER 0.1 (AUG.AA_TYPE is rand-m7-n4-mstd0.5-inc1)",
    ),
    (
        "AUG: {INTERPOLATION: bilinear, AA_TYPE: ''}",
        "AUG.INTERPOLATION bilinear (AUG.AA_TYPE is empty)",
    ),
    (
        "AUG: {RE_PROB: 0.5, ENABLE: False}",
        "AUG.RE_PROB 0.5 (AUG.ENABLE is False)",
    ),
    (
        "MIXUP: {ALPHA: 0.2, ENABLE: False}",
        "MIXUP.ALPHA 0.2 (MIXUP.ENABLE is False)",
    ),
    (
        "MIXUP: {CUTMIX_ALPHA: 0.2, PROB: 0.0}",
        "MIXUP.CUTMIX_ALPHA 0.2 (MIXUP.PROB is 0.0)",
    ),
    (
        "MIXUP: {PROB: 0.5, ENABLE: False}",
        "MIXUP.PROB 0.5 (MIXUP.ENABLE is False)",
    ),
    (
        "MIXUP: {SWITCH_PROB: 0.2, CUTMIX_ALPHA: 0.0}",
        "MIXUP.SWITCH_PROB 0.2 (MIXUP.CUTMIX_ALPHA is 0.0)",
    ),
    (
        "TEST: {WEIGHTS: last, CHECKPOINT_FILE_PATH: a.pt}",
        "TEST.WEIGHTS last (TEST.CHECKPOINT_FILE_PATH is a.pt)",
    ),
    (
        "SOLVER: {WARMUP_START_LR: 1e-5, WARMUP_EPOCHS: 0}",
        "SOLVER.WARMUP_START_LR 1e-05 (SOLVER.WARMUP_EPOCHS is 0.0 and SOLVER.WARMUP_ITERS is 0)",
    ),
    (
        "SOLVER: {ZERO_WD_POS_EMBED: True, WEIGHT_DECAY: 0}",
        "SOLVER.ZERO_WD_POS_EMBED True (SOLVER.WEIGHT_DECAY is 0.0)",
    ),
    (
        "SOLVER: {WARMUP_TO_BASE_LR: True}",
        "SOLVER.WARMUP_TO_BASE_LR True (SOLVER.COSINE_AFTER_WARMUP is True)",
    ),
]


@pytest.mark.parametrize(("text", "said"), CASES)
def test_what_a_file_says_for_nothing_is_named(warning, text, said):
    assert warning(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{AUG: {ENABLE: False}, MIXUP: {ENABLE: False, LABEL_SMOOTH_VALUE: 0.2}}",
        "AUG: {COLOR_JITTER: 0.1, AA_TYPE: '', ON_DEVICE: all}",
        "DATA: {FLIP_CLASS_PAIRS: [[0, 1]]}",
        "DATA: {FLIP_CLASS_PAIRS: [[0, 1]], FLIP: skip-directional}",
        "DATA: {OPPOSITE_CLASS_PAIRS: [[0, 1]], REVERSE_FRAMES: True}",
        "DATA: {TRAIN_JITTER_SCALES: [288, 320], TRAIN_JITTER_SCALES_RELATIVE: []}",
        "{DATA: {IMAGE_TEMPLATE: '{}.jpg', TARGET_FPS: 0}, TEST: {DATASET: frames}}",
        "{DATA: {VAL_RATIO: 0.3, DECODING_BACKEND: decord}, TRAIN: {DATASET: folder}}",
        "UNIFORMER: {ADAPT_KERNEL: True, LOCAL_KERNEL: [3, 5, 5], PRETRAIN_NAME: a.pt}",
        # off beside off
        "{AUG: {ENABLE: False, AA_TYPE: '', RE_PROB: 0}, MIXUP: {ENABLE: False, ALPHA: 0}}",
        "SOLVER: {WARMUP_EPOCHS: 0, WARMUP_START_LR: 0}",
        # of a phase that the run does not have
        "{TRAIN: {ENABLE: False}, AUG: {NUM_SAMPLE: 2, ENABLE: False}, MIXUP: {ALPHA: 0}}",
        "{TEST: {ENABLE: False, WEIGHTS: last, CHECKPOINT_FILE_PATH: a.pt}}",
    ],
)
def test_what_has_an_effect_is_not(warning, text):
    assert warning(text) == ""


def test_all_are_named_in_one_warning(warning):
    said = warning("{AUG: {ENABLE: False, NUM_SAMPLE: 2}, DATA: {VAL_RATIO: 0.3}}", "NUM_GPUS", "2")
    ours = "DATA.VAL_RATIO 0.3 (the format kinetics reads no such setting)"
    assert said == f"{ours}, AUG.NUM_SAMPLE 2 (AUG.ENABLE is False)"


def test_a_run_s_own_config_names_what_was_set(warning, tmp_path):
    text = config_text(load_config(overrides=["AUG.ENABLE", "False"]))
    assert warning(text) == ""
    text = config_text(load_config(overrides=["AUG.ENABLE", "False", "AUG.NUM_SAMPLE", "2"]))
    assert warning(text) == "AUG.NUM_SAMPLE 2 (AUG.ENABLE is False)"


def test_on_the_command_line_beside_the_switch_it_is_refused(warning):
    off = ["AUG.ENABLE", "False"]
    with pytest.raises(ConfigError, match=r"AUG.NUM_SAMPLE 2 \(AUG.ENABLE is False\); leave out"):
        warning("", *off, "AUG.NUM_SAMPLE", "2")
    assert warning("", *off, "AUG.NUM_SAMPLE", "1") == ""  # as it is anyway
    named = "AUG.NUM_SAMPLE 2 (AUG.ENABLE is False)"
    assert warning("AUG: {ENABLE: False}", "AUG.NUM_SAMPLE", "2") == named
    assert warning("AUG: {NUM_SAMPLE: 2}", *off) == named
    assert warning("", *off, "AUG.RE_PROB", "0") == ""
    assert warning("", "TRAIN.ENABLE", "False", *off, "AUG.NUM_SAMPLE", "2") == ""


def test_what_is_meant_to_put_a_file_s_settings_aside_says_nothing(warning):
    frames = "{TRAIN: {DATASET: frames}, DATA: {LABEL_PATH_TEMPLATE: 'a_{}.txt'}}"
    assert warning(frames, "TRAIN.DATASET", "ssv2-json") == ""
    tested = ["TEST.CHECKPOINT_FILE_PATH", "a.pt"]
    assert warning("TEST: {WEIGHTS: last}", *tested) == ""
    assert warning("DATA: {RANDOM_FLIP: False}", "DATA.FLIP", "all") == ""
    with pytest.raises(ConfigError, match=r"TEST\.WEIGHTS last \(TEST\.CHECKPOINT_FILE_PATH is"):
        warning("", *tested, "TEST.WEIGHTS", "last")


def test_what_the_model_lacks(tmp_path, caplog):
    path = tmp_path / "a.yaml"
    path.write_text("{UNIFORMER: {SPLIT: True, STD: False}, AUG: {ENABLE: False, NUM_SAMPLE: 2}}")
    lacking = dict.fromkeys(("UNIFORMER.SPLIT", "UNIFORMER.STD"), "x3d_m has no such setting")

    def report(*overrides):
        cfg = load_config(path, overrides)
        report_unused(cfg, unused_settings(cfg), lacking)

    report()
    assert caplog.messages == [
        "These settings have no effect: UNIFORMER.SPLIT True (x3d_m has no such setting), "
        "AUG.NUM_SAMPLE 2 (AUG.ENABLE is False)"
    ]
    with pytest.raises(ConfigError, match=r"UNIFORMER\.STD False \(x3d_m has no such setting\)"):
        report("UNIFORMER.STD", "False")


def test_where_each_value_comes_from_is_kept(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("{AUG: {NUM_SAMPLE: 2, RE_PROB: 0.1}, SOLVER: {CLIP_GRAD_L2NORM: 5}}")
    cfg = load_config(path, ["AUG.RE_PROB", "0.2", "TEST.TEST_BEST", "False"])
    for same in (cfg, cfg.clone(), pickle.loads(pickle.dumps(cfg))):
        assert origin(same, "AUG.NUM_SAMPLE") == FILE
        assert origin(same, "AUG.RE_PROB") == origin(same, "TEST.WEIGHTS") == COMMAND_LINE
        assert origin(same, "SOLVER.CLIP_GRADIENT") == FILE  # under PySlowFast's name
        assert origin(same, "AUG.ENABLE") == DEFAULT
        assert same == cfg
    cfg = cfg.clone()
    cfg.defrost()
    assert origin(cfg, "AUG.NUM_SAMPLE") == FILE
    assert origin(config_from_text(config_text(cfg)), "AUG.NUM_SAMPLE") == DEFAULT


def test_what_follows_from_another_project_s_word_is_nobody_s_wish(warning):
    theirs = "{MODEL: {MODEL_NAME: Uniformer}, DATA: {SAMPLING_RATE: 8}}"
    assert warning(theirs, "TRAIN.DATASET", "Kinetics_sparse") == (
        "DATA.SAMPLING_RATE 8 (DATA.SAMPLING is segment)"
    )
    assert warning("{TRAIN: {DATASET: Sth}, TEST: {DATASET: Sth}}") == ""
