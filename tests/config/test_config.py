import logging
import os

import pytest

from uniformer_video.config.recorded import config_text
from uniformer_video.config.settings import (
    DEFAULTS,
    changed_settings,
    describe,
    flat_config,
    load_config,
    with_settings,
)
from uniformer_video.errors import ConfigError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_pass_their_own_checks():
    assert flat_config(load_config()) == DEFAULTS


def test_files_build_on_each_other_and_overrides_come_last(tmp_path):
    write(tmp_path / "base" / "a.yaml", "DATA: {NUM_FRAMES: 8}\nSOLVER:\n  BASE_LR: 1e-3\n")
    write(tmp_path / "base" / "b.yaml", "_BASE_: a.yaml\nDATA: {SAMPLING_RATE: 2}\n")
    path = write(tmp_path / "c.yaml", "_BASE_: base/b.yaml\nDATA: {NUM_FRAMES: 32}\n")
    cfg = load_config(path, ["SOLVER.MAX_EPOCH", "50"])
    assert (cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE) == (32, 2)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH) == (1e-3, 50)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this platform")
def test_named_pipes_and_devices_are_no_configs_but_what_a_shell_pipes_is(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    base = write(tmp_path / "b.yaml", "_BASE_: a.yaml\n")
    for path in (tmp_path / "a.yaml", base):
        with pytest.raises(ConfigError, match=r"config file .*a\.yaml is a named pipe; write"):
            load_config(path)
    with pytest.raises(ConfigError, match="/dev/zero is a device"):
        load_config("/dev/zero")
    reading, writing = os.pipe()
    os.write(writing, b"DATA: {NUM_FRAMES: 8}\n")
    os.close(writing)
    assert load_config(f"/dev/fd/{reading}").DATA.NUM_FRAMES == 8
    os.close(reading)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.e-4", "1.0e-4", "0.0001", ".1e-3", "+1e-4"])
def test_scientific_notation_is_a_number_everywhere(tmp_path, text):
    path = write(tmp_path / "a.yaml", f"SOLVER:\n  BASE_LR: {text}\n")
    assert load_config(path).SOLVER.BASE_LR == 1e-4
    assert load_config(overrides=["SOLVER.BASE_LR", text]).SOLVER.BASE_LR == 1e-4


@pytest.mark.parametrize("text", ["[5,5,5]", "[5, 5, 5]", "(5,5,5)", "5,5,5"])
def test_lists_on_the_command_line(text):
    cfg = load_config(overrides=["UNIFORMER.LOCAL_KERNEL", text])
    assert cfg.UNIFORMER.LOCAL_KERNEL == [5, 5, 5]


def test_windows_that_slide_over_a_picture_leave_nothing_out():
    with pytest.raises(
        ConfigError, match="no window would see what lies between two; set it to 64"
    ):
        load_config(overrides=["SEGMENTATION.CROP_SIZE", "64", "SEGMENTATION.CROP_STRIDE", "65"])
    load_config(overrides=["SEGMENTATION.CROP_SIZE", "64", "SEGMENTATION.CROP_STRIDE", "64"])


def test_lists_for_the_blocks_of_two_stages():
    cfg = load_config(overrides=["UNIFORMER.PRUNE_RATIO", "[[1, 0.5], [0.25]]"])
    assert cfg.UNIFORMER.PRUNE_RATIO == [[1, 0.5], [0.25]]


def test_text_settings_take_any_text():
    cfg = load_config(overrides=["OUTPUT_DIR", "123", "DATA.PATH_PREFIX", "True"])
    assert (cfg.OUTPUT_DIR, cfg.DATA.PATH_PREFIX) == ("123", "True")


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("DATA.NUM_FRAME", "DATA.NUM_FRAMES"),
        ("SOLVER.BASELR", "SOLVER.BASE_LR"),
        ("NUM_FRAMES", "DATA.NUM_FRAMES"),
        ("data.sampling_rate", "DATA.SAMPLING_RATE"),
        ("TRAIN.BASE_LR", "SOLVER.BASE_LR"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path, key, near):
    with pytest.raises(ConfigError, match=f"unknown setting {key}.*did you mean {near}\\?"):
        load_config(overrides=[key, "3"])
    section, _, name = key.rpartition(".")
    text = f"{section}:\n  {name}: 3\n" if section else f"{name}: 3\n"
    with pytest.raises(ConfigError, match=rf"in .*typo\.yaml; did you mean {near}\?"):
        load_config(write(tmp_path / "typo.yaml", text))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DATA.NUM_FRAMES", "many", "a whole number"),
        ("DATA.NUM_FRAMES", "8.5", "a whole number"),
        ("DATA.NUM_FRAMES", "True", "a whole number"),
        ("SOLVER.BASE_LR", "fast", "a number"),
        ("TRAIN.ENABLE", "1", "True or False"),
        ("TRAIN.ENABLE", "yess", "True or False"),
        (
            "DATA.TRAIN_JITTER_SCALES",
            "256",
            "must be a list of 2 whole numbers, each from 1 to 16384",
        ),
        ("DATA.TRAIN_JITTER_SCALES", "a,b", "a list of 2 whole numbers"),
        ("TEST.NUM_SPATIAL_CROPS", "2", "allowed: 1, 3"),
        ("TRAIN.PRECISION", "fp8", "allowed: 'auto', 'fp32'"),
        ("AUG.RE_PROB", "1.5", "must be a number from 0 to 1"),
        ("UNIFORMER.LOCAL_KERNEL", "4,5,5", "must be odd"),
        (
            "UNIFORMER.LOCAL_KERNEL",
            "5,",
            r"a list of 2 or 3 whole numbers, each from 1 to 99, or \[\]",
        ),
        ("UNIFORMER.DEPTH", "3,4,8", "a list of 4 whole numbers"),
        ("DATA.TEST_SCALE", "200", "TEST_CROP_SIZE 224 is larger than DATA.TEST_SCALE 200"),
        ("SOLVER.WARMUP_EPOCHS", "110", "does not end before SOLVER.MAX_EPOCH 110"),
        ("DATA.STD", "0,1,1", "each from 0.0001 to 1"),
        ("SEGMENTATION.RATIOS", "[]", r"in one size at least; \[1.0\]"),
        ("SEGMENTATION.SCALE", "[512, 2048]", r"takes \[long, short\], such as \[2048, 512\]"),
        ("SEGMENTATION.RATIO_RANGE", "[2, 0.5]", r"takes \[smallest, largest\]"),
        ("SEGMENTATION.CROP_SIZE", "31", "less than 32 pixels"),
        ("NUM_GPUS", "5", "not a multiple of NUM_GPUS 5"),
        ("TEST.ROBUSTNESS", "[nois]", r"is 'nois'; allowed: 'drop', .*did you mean 'noise'"),
        ("TEST.ROBUSTNESS", "[[jpeg]]", r"it must be a list of kinds, such as \[drop, jpeg"),
        ("DATA.FLIP_CLASS_PAIRS", "a,b", "pairs of class names or numbers"),
        ("UNIFORMER.EMBED_DIM", "a,b,c,d", "a list of 4 whole numbers"),
        ("UNIFORMER.DROP_DEPTH_RATE", "1.0", "a number of at least 0 and below 1"),
        ("DATA.TRAIN_JITTER_SCALES_RELATIVE", "[1.0, 0.1]", "share of the area"),
        ("DATA.TRAIN_JITTER_ASPECT_RELATIVE", "[0, 1]", "each from 0.01 to 100"),
        ("UNIFORMER.PRUNE_RATIO", "[1, 0.5]", "two lists"),
        ("UNIFORMER.PRUNE_RATIO", "[[1], [0.5], [0.5]]", "two lists"),
        ("UNIFORMER.TRADE_OFF", "[[1, 2], [1]]", "numbers from 0 to 1"),
        ("UNIFORMER.SPLIT", "both", "True or False"),
        ("DATA.IMAGE_TEMPLATE", "img.jpg", "needs a placeholder"),
        ("DATA.IMAGE_TEMPLATE", "", "needs a placeholder"),
        ("DATA.LABEL_PATH_TEMPLATE", "{:05d}.txt", "needs a placeholder"),
        ("DATA.IMAGE_TEMPLATE", "{:0999999999d}.jpg", "needs a placeholder"),
        ("DATA.FLIP_CLASS_PAIRS", "[[a, b, c]]", "pairs of class names or numbers"),
        ("DATA.NUM_FRAMES", "2026-01-32", "a whole number"),
        ("DATA.NUM_FRAMES", "9" * 5000, "a whole number"),
        ("SOLVER.CLASS_WEIGHTS", "[1, 0]", "a list of numbers, each above 0"),
        ("SOLVER.CLASS_WEIGHTS", "[a, b]", "a list of numbers"),
        ("DATA.MULTI_LABEL", "2", "True or False"),
    ],
)
def test_wrong_and_impossible_values(key, value, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_config(overrides=[key, value])
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_that_exclude_each_other():
    weights = ["SOLVER.CLASS_WEIGHTS", "[1, 2]", "SOLVER.CLASS_BALANCE", "0.5"]
    with pytest.raises(ConfigError, match=r"CLASS_WEIGHTS and SOLVER\.CLASS_BALANCE both"):
        load_config(overrides=weights)
    assert load_config(overrides=weights[:2]).SOLVER.CLASS_WEIGHTS == [1.0, 2.0]


PLAIN = ["DATA.TRAIN_JITTER_SCALES_RELATIVE", "[]"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["DATA.TRAIN_CROP_SIZE", "288"], "288 is larger than the smallest of"),
        (["DATA.TRAIN_JITTER_SCALES", "320,256"], "minimum above its maximum"),
    ],
)
def test_rules_count_where_their_settings_have_an_effect(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(overrides=[*overrides, *PLAIN])
    load_config(overrides=overrides)  # the resized crop looks at no scales
    load_config(overrides=[*overrides, *PLAIN, "TRAIN.ENABLE", "False"])


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.yaml: No such file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"cannot read .*base\.yaml"):
        load_config(write(tmp_path / "a.yaml", "_BASE_: base.yaml\n"))
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(write(tmp_path / "b.yaml", "DATA: [1, 2\n"))
    with pytest.raises(ConfigError, match="not valid YAML: day is out of range"):
        load_config(write(tmp_path / "f.yaml", "DATA: {NUM_FRAMES: 2026-02-30}\n"))
    with pytest.raises(ConfigError, match="is not a config"):
        load_config(write(tmp_path / "c.yaml", "hello\n"))
    write(tmp_path / "d.yaml", "_BASE_: e.yaml\n")
    with pytest.raises(ConfigError, match="in a circle"):
        load_config(write(tmp_path / "e.yaml", "_BASE_: d.yaml\n"))
    with pytest.raises(ConfigError, match="pairs"):
        load_config(overrides=["DATA.NUM_FRAMES"])
    with pytest.raises(ConfigError, match="nothing to do"):
        load_config(overrides=["TRAIN.ENABLE", "False", "TEST.ENABLE", "False"])


def test_keys_of_pyslowfast_give_one_warning(tmp_path, caplog):
    text = "MODEL: {ARCH: uniformer}\nBN: {NORM_TYPE: sync}\nAUG: {RE_MODE: pixel, RE_PROB: 0.5}\n"
    with caplog.at_level(logging.WARNING):
        cfg = load_config(write(tmp_path / "a.yaml", text))
    assert cfg.AUG.RE_PROB == 0.5
    (record,) = caplog.records
    assert record.getMessage().endswith("BN.NORM_TYPE, MODEL.ARCH, AUG.RE_MODE")


def test_the_resolved_config_reads_back(tmp_path):
    cfg = load_config(overrides=["SOLVER.BASE_LR", "3e-5", "DATA.FLIP_CLASS_PAIRS", "[[a b, c]]"])
    assert load_config(write(tmp_path / "a.yaml", config_text(cfg))) == cfg


def test_keys_are_described_with_what_they_allow():
    lines = {line.split()[0]: line for line in describe().splitlines()}
    assert len(lines) == len(DEFAULTS) == len(describe().splitlines())
    assert lines["TEST.NUM_SPATIAL_CROPS"].endswith("along the longer side [1 or 3]")
    assert lines["DATA.SAMPLING"].endswith("['dense' or 'segment']")
    assert "  16 " in lines["DATA.NUM_FRAMES"] and "frames of a clip" in lines["DATA.NUM_FRAMES"]
    assert lines["DATA.NUM_FRAMES"].endswith("[a whole number from 1 to 10000]")
    assert lines["DATA.STD"].endswith("[a list of 3 numbers, each from 0.0001 to 1]")
    assert lines["OUTPUT_DIR"].endswith("empty = runs/<config name>")


def test_where_to_augment():
    assert load_config().AUG.ON_DEVICE == "off"
    assert load_config(overrides=["AUG.ON_DEVICE", "off"]).AUG.ON_DEVICE == "off"
    with pytest.raises(
        ConfigError, match=r"AUG\.ON_DEVICE is 'gpu'; allowed: 'off', 'normalise', 'all'"
    ):
        load_config(overrides=["AUG.ON_DEVICE", "gpu"])


@pytest.mark.parametrize("text", ["off", "'off'", "False"])
def test_off_is_a_word_in_a_file_too(tmp_path, text):
    cfg = load_config(write(tmp_path / "a.yaml", f"DATA: {{FLIP: {text}}}\n"))
    assert cfg.DATA.FLIP == "off"
    assert load_config(overrides=["DATA.FLIP", "off"]).DATA.FLIP == "off"
    with pytest.raises(ConfigError, match=r"DATA\.FLIP is 'no'; allowed: 'auto', 'off'"):
        load_config(overrides=["DATA.FLIP", "no"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DATA: {NUM_FRAMES: 8}\nDATA: {SAMPLING_RATE: 2}\n", "DATA stands in it twice"),
        ("DATA: {NUM_FRAMES: 8, NUM_FRAMES: 4}\n", "NUM_FRAMES stands in it twice"),
        ("DATA: {NUM_FRAMES: 8}\nDATA.NUM_FRAMES: 4\n", r"sets DATA\.NUM_FRAMES twice"),
        ("_BASE_: [a.yaml]\n", r"_BASE_ is \['a.yaml'\] in .*; it is the path of one other file"),
        ("_BASE_: 5\n", "_BASE_ is 5 in "),
        ("DATA: &a {x: *a}\n", "not a config: it refers to itself|not valid YAML"),
        ("DATA: 5\n", "DATA is a section in .*; it holds settings"),
        ("DATA: {MEAN: {}}\n", r"DATA\.MEAN is \{\} in "),
        ("SOLVER: {MAX_EPOCH: !!int ''}\n", "not valid YAML"),
        (f"SOLVER: {'[' * 3000}\n", "not valid YAML: it is nested too deeply"),
        ("OUTPUT_DIR: http://host/x\n", "OUTPUT_DIR is .*a folder of this computer"),
    ],
)
def test_files_that_would_lose_a_setting_or_break(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "a.yaml")


def test_an_empty_section_and_a_setting_said_twice_alike_are_fine(tmp_path):
    (tmp_path / "a.yaml").write_text("DATA:\nSOLVER: {MAX_EPOCH: 20, MAX_EPOCH: 20}\n")
    assert load_config(tmp_path / "a.yaml").SOLVER.MAX_EPOCH == 20


def test_what_was_changed_is_told_apart_by_who_changed_it(tmp_path):
    (tmp_path / "base.yaml").write_text("SOLVER: {BASE_LR: 4e-4, MAX_EPOCH: 50}")
    file = tmp_path / "recipe.yaml"
    file.write_text("_BASE_: base.yaml\nDATA: {NUM_FRAMES: 8}\nSOLVER: {MAX_EPOCH: 30}")
    given = ["SOLVER.MAX_EPOCH", "20", "RNG_SEED", "3", "DATA.NUM_FRAMES", "8"]  # the last as it is
    changed = changed_settings(load_config(file, given))
    assert changed["command_line"] == [
        {"key": "SOLVER.MAX_EPOCH", "value": 20, "recipe": 30},
        {"key": "RNG_SEED", "value": 3, "recipe": 0},
    ]
    assert changed["recipe"] == [
        {"key": "DATA.NUM_FRAMES", "value": 8, "default": 16},
        {"key": "SOLVER.BASE_LR", "value": 4e-4, "default": 1e-4},
    ]
    assert changed_settings(load_config()) == {"command_line": [], "recipe": []}
    later = with_settings(load_config(file, given), {"OUTPUT_DIR": "fold0"})
    assert changed_settings(later)["command_line"] == changed["command_line"]
