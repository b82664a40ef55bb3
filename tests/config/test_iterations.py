"""Settings that count iterations stand in place of those that count epochs."""

import pytest

from uniformer_video.config.recorded import config_from_text, config_text
from uniformer_video.config.settings import differences, load_config, with_settings
from uniformer_video.errors import ConfigError

PAIRS = [
    ("SOLVER.MAX_ITER", "SOLVER.MAX_EPOCH"),
    ("SOLVER.WARMUP_ITERS", "SOLVER.WARMUP_EPOCHS"),
    ("TRAIN.EVAL_ITERS", "TRAIN.EVAL_PERIOD"),
    ("TRAIN.CHECKPOINT_ITERS", "TRAIN.CHECKPOINT_PERIOD"),
]


@pytest.mark.parametrize(("iterations", "epochs"), PAIRS)
def test_both_are_an_error_that_says_where_they_stand(tmp_path, iterations, epochs):
    section, _, name = epochs.partition(".")
    file = tmp_path / "recipe.yaml"
    file.write_text(f"{section}: {{{name}: 20}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, [iterations, "40"])
    message = str(caught.value)
    assert message.startswith(f"{iterations} 40 (on the command line) and {epochs} 20")
    assert f"(in {file}) are both given" in message and f"{iterations} 0 counts epochs" in message
    with pytest.raises(ConfigError, match="are both given"):
        load_config(overrides=[iterations, "40", epochs, "20"])
    assert load_config(file, [iterations, "0"])  # off: as by default


def test_what_a_run_records_can_be_read_again(tmp_path):
    given = {iterations: 40 - n for n, (iterations, _) in enumerate(PAIRS)}
    cfg = load_config(**given)
    text = config_text(cfg)
    assert not any(f"{epochs.rpartition('.')[2]}:" in text for _, epochs in PAIRS)
    (tmp_path / "config.yaml").write_text(text)
    assert not differences(cfg, load_config(tmp_path / "config.yaml"))
    assert not differences(cfg, config_from_text(text))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"SOLVER.MAX_ITER": 9, "SOLVER.WARMUP_ITERS": 9},
            r"WARMUP_ITERS 9 does not end before SOLVER\.MAX_ITER 9",
        ),
        (
            {"SOLVER.MAX_ITER": 9, "TRAIN.EVAL_ITERS": 9, "TRAIN.PATIENCE": 1},
            r"after the last iteration \(TRAIN\.EVAL_ITERS 9, SOLVER\.MAX_ITER 9\)",
        ),
        ({"SOLVER.MAX_ITER": -1}, "MAX_ITER is -1; it must be a whole number from 0"),
        ({"SOLVER.WARMUP_RATIO": 1.0}, "WARMUP_RATIO is 1.0; it must be a number of at least 0"),
        ({"SOLVER.POWER": 0.0}, "POWER is 0.0; it must be a number above 0"),
        ({"SOLVER.LR_POLICY": "linear"}, "'linear'"),
    ],
)
def test_what_cannot_be(given, words):
    with pytest.raises(ConfigError, match=words):
        load_config(**given)


def test_a_run_of_an_earlier_version_has_the_same_decay():
    """BN.WEIGHT_DECAY 0 was its default, and is now no decay whatever SOLVER.ZERO_WD_1D_PARAM says."""
    text = config_text(load_config())
    earlier = text.replace("  NO_DECAY_PATTERNS: []\n", "")
    earlier = earlier.replace("WEIGHT_DECAY: -1.0", "WEIGHT_DECAY: 0.0")
    assert earlier != text and not differences(load_config(), config_from_text(earlier))
    off = earlier.replace("ZERO_WD_1D_PARAM: true", "ZERO_WD_1D_PARAM: false")
    now = with_settings(load_config(), {"SOLVER.ZERO_WD_1D_PARAM": False})
    assert differences(now, config_from_text(off)) == {"BN.WEIGHT_DECAY": (-1.0, 0.0)}
