"""DATA.CACHE_GB: the run is the same with it, to the bit, and leaves nothing behind in its own folder."""

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.runs.run import run


@pytest.fixture
def go(tiny, tmp_path, caplog):
    """A function: train with these settings, in a folder of that name; the weights, what was said."""
    caplog.set_level("INFO")

    def train(name, *settings):
        folder = tmp_path / name
        caplog.clear()
        overrides = [*tiny(), "OUTPUT_DIR", str(folder), "TEST.ENABLE", "False", *settings]
        run(load_config(overrides=overrides), "tiny")
        weights = torch.load(folder / "last.pt", weights_only=True)["model"]
        return weights, caplog.text

    return train


def test_a_run_is_the_same_with_and_without(go, tmp_path):
    short_side = ("DATA.DECODE_SHORT_SIDE", "40")
    plain, said = go("plain", *short_side)
    assert "CACHE" not in said
    cached, said = go("cached", *short_side, "DATA.CACHE_GB", "1", "DATA_LOADER.NUM_WORKERS", "2")
    assert plain.keys() == cached.keys()
    assert all(torch.equal(plain[name], cached[name]) for name in plain)
    assert said.count("the frames of 16 of 16 training videos are kept") == 1
    assert not (tmp_path / "cached" / "frames").exists()
    _, said = go("cached", *short_side, "DATA.CACHE_GB", "1")
    assert "Training is finished" in said and "are kept" not in said


def test_a_named_folder_stays_and_serves_other_runs(go, tmp_path):
    kept = tmp_path / "kept"
    settings = ("DATA.CACHE_GB", "0.0005", "DATA.CACHE_DIR", str(kept), "SOLVER.MAX_EPOCH", "1")
    settings += ("SOLVER.WARMUP_EPOCHS", "0")
    _, said = go("first", *settings)
    count = len([*kept.iterdir()])
    assert 0 < count < 16
    assert (
        f"{16 - count} training videos not kept, and decoded each time: the limit is reached"
        in said
    )
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    go("second", *settings)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before


def test_a_folder_that_cannot_be_made(go, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"DATA\.CACHE_GB .*choose another by DATA\.CACHE_DIR"):
        go("run", "DATA.CACHE_GB", "1", "DATA.CACHE_DIR", str(tmp_path / "file" / "frames"))


def test_a_time_budget_decodes_first_and_counts_it(go):
    _, said = go("run", "DATA.CACHE_GB", "1", "TRAIN.MINUTES", "0.01")
    assert said.index("are kept in") < said.index("timing steps") < said.index("An epoch takes")
    assert said.count("are kept in") == 1
