"""The learning-rate finder: what it reads off a curve, what it leaves, and a loss that diverges."""

import json
import math

import numpy as np
import pytest
from charts import charts
from processes import by_hand

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.runs import find_rate, rehearsal
from uniformer_video.runs.find_rate import RateCurve

RATES = [10 ** (-7 + 0.07 * step) for step in range(101)]  # 1e-7 to 1


def curve_of(loss_at):
    """The curve of a test that ends where it diverges; `loss_at(rate)` gives the losses."""
    curve = RateCurve()
    for rate in RATES:
        curve.add(rate, loss_at(rate))
        if curve.diverged:
            break
    return curve


def valley(rate):
    """Flat at 2, falling from about 1e-4 on, lowest near 1e-2, then rising without end."""
    fall = 1 / (1 + (1e-3 / rate) ** 2)
    return 2 - fall + (rate / 2e-2) ** 3


def test_a_valley_gives_a_tenth_of_the_rate_at_its_lowest():
    curve = curve_of(valley)
    assert curve.diverged and curve.rates[-1] < 0.2 and curve.has_fallen
    assert 5e-3 < curve.rates[curve.lowest] < 2e-2
    assert curve.suggestion == pytest.approx(curve.rates[curve.lowest] / 10)
    assert 5e-4 < curve.rates[curve.steepest] < 3e-3  # smoothing lags behind


def test_smoothing_starts_at_the_first_loss_and_lets_it_fade():
    curve = curve_of(lambda rate: 2.0)
    assert curve.smoothed == pytest.approx([2.0] * 101) and not curve.diverged
    curve.add(1.0, 3.0)
    assert curve.smoothed[-1] == pytest.approx(2.1, abs=1e-3)


@pytest.mark.parametrize(
    ("loss_at", "diverged"),
    [
        (lambda rate: 2.0, False),
        (lambda rate: 2 + rate, False),
        (lambda rate: 2 + 1e9 * rate, True),
        (lambda rate: math.nan, True),
    ],
    ids=["flat", "rising", "diverging", "nan at once"],
)
def test_without_a_fall_there_is_no_suggestion(loss_at, diverged):
    curve = curve_of(loss_at)
    assert curve.diverged == diverged and curve.to_dict()["suggestion"] is None


def test_noise_is_no_fall_and_hides_none():
    rng = np.random.default_rng(0)
    flat = [curve_of(lambda rate: 2 + 0.2 * rng.normal()).has_fallen for _ in range(200)]
    assert sum(flat) < 10
    noisy = [curve_of(lambda rate: valley(rate) + 0.2 * rng.normal()) for _ in range(50)]
    assert all(curve.has_fallen for curve in noisy)
    assert all(2e-4 < curve.suggestion < 3e-3 for curve in noisy)


def test_a_loss_that_is_not_finite_ends_the_curve_before_it():
    curve = curve_of(lambda rate: math.inf if rate > 1e-2 else valley(rate))
    assert curve.diverged and max(curve.rates) <= 1e-2 and max(curve.losses) < 3
    assert curve.has_fallen and curve.suggestion == pytest.approx(1e-3, rel=0.5)


@pytest.fixture
def command(tiny, tmp_path):
    """A function: the words of a command with settings of a tiny run."""
    (tmp_path / "empty.yaml").write_text("")

    def words(*more, **changes):
        return ["find-lr", "--cfg", tmp_path / "empty.yaml", *more, *tiny(**changes)]

    return words


@charts(drawn=True)
def test_the_command_writes_and_says_what_it_found(command, tmp_path, call, monkeypatch):
    monkeypatch.setattr(find_rate, "_measure", lambda *rest: curve_of(valley))
    (tmp_path / "run").mkdir()
    status, text, errors = call(*command())
    suggestion = curve_of(valley).suggestion
    assert status == 0 and text == f"SOLVER.BASE_LR {suggestion:.2g}\n"
    load_config(overrides=text.split())  # ready to be typed
    assert "it diverges at" in errors and "Suggested is a tenth of the rate" in errors
    found = json.loads((tmp_path / "run/find_lr.json").read_text())
    assert found["suggestion"] == suggestion and found["diverged"]
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"])
    drawing = (tmp_path / "run/find_lr.svg").read_text()
    assert "learning rate (SOLVER.BASE_LR)" in drawing and f"suggested: {suggestion:.2g}" in drawing


def test_no_curve_of_an_earlier_search_stays(command, tmp_path, call, monkeypatch):
    monkeypatch.setattr(find_rate, "_measure", lambda *rest: curve_of(lambda rate: math.inf))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/find_lr.svg").write_text("of an earlier search")
    assert call(*command())[0] == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["find_lr.json"]


def test_a_finder_that_diverges_is_an_error_in_a_line(command, tmp_path, call):
    status, text, errors = call(*command("--steps", 30, "--lowest", 50, "--highest", 1000))
    assert status == 2 and not text and "Traceback" not in errors
    line = errors.splitlines()[-1]
    assert (
        "the loss diverges at a learning rate of" in line and "begin lower, with --lowest" in line
    )
    found = json.loads((tmp_path / "run/find_lr.json").read_text())
    assert found["suggestion"] is None and found["diverged"] and len(found["losses"]) < 30
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"find_lr.json", "find_lr.svg"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigError("no such model")])
def test_what_stops_early_leaves_no_empty_folder(command, tmp_path, call, monkeypatch, error):
    def stop(*_, **__):
        assert (tmp_path / "new/run/.rehearsal").is_dir()
        raise error

    monkeypatch.setattr(rehearsal, "fit", stop)
    words = command(OUTPUT_DIR=tmp_path / "new/run")
    assert call(*words)[0] != 0 and not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()  # somebody's own stays
    assert call(*words)[0] != 0 and not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", 3], "--steps is 3; a curve takes at least 20"),
        (["--lowest", 0], "--lowest 0 and --highest 1 are no range of learning rates"),
        (["--lowest", 2], "--lowest 2 and --highest 1 are no range"),
        (["--highest", "nan"], "--highest nan are no range"),
        (["TRAIN.ENABLE", "False"], "TRAIN.ENABLE is False: set it to True"),
    ],
)
def test_what_cannot_be_looked_for(command, call, options, message):
    status, _, errors = call(*command(*options))
    assert status == 2 and message in errors.splitlines()[-1]


def test_rates_are_values_of_the_setting(tiny):
    """Whatever the recipe makes of SOLVER.BASE_LR."""
    machines = {"NUM_SHARDS": 4, "SOLVER__BASE_LR_SCALE_NUM_SHARDS": True}
    assert find_rate._peak_of_one(load_config(overrides=tiny())) == 1
    assert find_rate._peak_of_one(load_config(overrides=tiny(**machines))) == 4
    steps = ["SOLVER.LR_POLICY", "steps_with_relative_lrs", "SOLVER.STEPS", "[0, 1]"]
    given = [*tiny(), *steps, "SOLVER.LRS", "[0.5, 2]"]
    assert find_rate._peak_of_one(load_config(overrides=given)) == 2


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_any_number_of_processes_measures_the_same(command, tmp_path, call, size):
    shared = {"NUM_GPUS": 2 * size, "TRAIN__BATCH_SIZE": 2 * size, "SOLVER__CLIP_GRADIENT": 1}
    options = ["--steps", 20, "--highest", 1e-3]
    many = command(*options, **shared)
    launches = by_hand(size, ["-m", "uniformer_video", *many], tmp_path / "log")
    statuses = {launch.wait() for launch in launches}
    found = json.loads((tmp_path / "run/find_lr.json").read_text())
    status, _, _ = call(*command(*options, **shared))
    alone = json.loads((tmp_path / "run/find_lr.json").read_text())
    assert statuses == {status}, launches[0].text
    assert found["rates"] == alone["rates"] and len(alone["losses"]) == 20
    assert found["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert not (tmp_path / "run/.rehearsal").exists()
