"""Settings that count iterations stand in place of those that count epochs."""

import re

import pytest

from uniformer_video.config.recorded import config_from_text, config_text
from uniformer_video.config.settings import (
    COMMAND_LINE,
    DEFAULT,
    differences,
    load_config,
    origin,
    with_settings,
)
from uniformer_video.errors import ConfigError

PAIRS = [
    ("SOLVER.MAX_ITER", "SOLVER.MAX_EPOCH"),
    ("SOLVER.WARMUP_ITERS", "SOLVER.WARMUP_EPOCHS"),
    ("TRAIN.EVAL_ITERS", "TRAIN.EVAL_PERIOD"),
    ("TRAIN.CHECKPOINT_ITERS", "TRAIN.CHECKPOINT_PERIOD"),
]


@pytest.fixture
def recipe(tmp_path):
    """A function that writes a config of such settings; its path."""

    def write(name, base=None, **settings):
        lines = [f"_BASE_: {base}"] if base else []
        for key, value in settings.items():
            section, _, own = key.partition(".")
            lines.append(f"{section}: {{{own}: {value}}}")
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return write


@pytest.mark.parametrize(("iterations", "epochs"), PAIRS)
def test_both_on_one_level_are_an_error_that_says_where_they_stand(recipe, iterations, epochs):
    section, given = (
        epochs.partition(".")[0],
        [key.partition(".")[2] for key in (iterations, epochs)],
    )
    file = recipe("recipe.yaml", **{f"{section}.{given[0]}": f"40, {given[1]}: 20"})
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    message = str(caught.value)
    assert re.match(
        rf"{iterations} 40 \(in {file}\) and {epochs} 20(\.0)? \(in {file}\) are both", message
    )
    assert f"{iterations} 0 counts epochs" in message
    for words, settings in (
        ([iterations, "40", epochs, "20"], {}),
        ([iterations, "4"], {epochs: 2}),
    ):
        with pytest.raises(ConfigError, match="are both given"):
            load_config(None, words, **settings)
    assert load_config(file, [iterations, "0"])  # off: as by default


@pytest.mark.parametrize(("iterations", "epochs"), PAIRS)
def test_the_command_line_counts_in_place_of_the_file(recipe, caplog, iterations, epochs):
    caplog.set_level("INFO", "uniformer_video")
    for own, other in ((iterations, epochs), (epochs, iterations)):
        caplog.clear()
        file = recipe("recipe.yaml", **{other: 20})
        cfg = load_config(file, [own, "40"])
        [told] = caplog.messages
        assert told.replace(".0 ", " ") == (
            f"{own} 40 (on the command line) counts, in place of {other} 20 (in {file})."
        )
        # as if the file had said nothing of it: so a run goes on, also by what it has recorded
        assert not differences(cfg, load_config(overrides=[own, "40"]))
        assert not differences(cfg, config_from_text(config_text(cfg)))
        assert (origin(cfg, own), origin(cfg, other)) == (COMMAND_LINE, DEFAULT)


def test_a_file_counts_in_place_of_its_base(recipe):
    recipe("base.yaml", **{"SOLVER.MAX_ITER": 100})
    middle = recipe("middle.yaml", "base.yaml", **{"SOLVER.MAX_EPOCH": 20})
    cfg = load_config(middle)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.MAX_EPOCH) == (0, 20)
    cfg = load_config(recipe("top.yaml", "middle.yaml", **{"SOLVER.MAX_ITER": 50}))
    assert cfg.SOLVER.MAX_ITER == 50
    assert load_config(middle, ["SOLVER.MAX_ITER", "7"]).SOLVER.MAX_ITER == 7


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
