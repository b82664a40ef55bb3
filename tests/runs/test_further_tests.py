"""Where a further test of a run goes: a folder whose name tells which test it is."""

import re

import pytest

from uniformer_video.config.recorded import config_text
from uniformer_video.config.settings import load_config
from uniformer_video.runs.folder import RecordedTest, RunFolder

FIVE = "TEST.NUM_ENSEMBLE_VIEWS 7 TEST.NUM_SPATIAL_CROPS 3 TEST.SPLIT val TEST.SCORE softmax"
FIVE = [*FIVE.split(), "TRAIN.PRECISION", "fp32"]


def own_test(cfg):
    return RecordedTest("own weights", "own videos", config_text(cfg))


def further(folder, cfg, weights="own weights", videos="own videos", tested=None):
    """Where the test of `cfg` goes; tested: {folder: RecordedTest} beside the run's own of the defaults."""
    known = {folder: own_test(load_config()), **(tested or {})}
    return RunFolder(folder).results_folder(cfg, weights, videos, known.get)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (["TEST.NUM_SPATIAL_CROPS", "3"], "test-crops3"),
        (["TEST.NUM_ENSEMBLE_VIEWS", "7", "TEST.NUM_SPATIAL_CROPS", "3"], "test-clips7-crops3"),
        (["TEST.SPLIT", "val"], "test-val"),
        (["TEST.SCORE", "softmax"], "test-softmax"),
        (["TEST.PRECISION", "bf16"], "test-bf16"),
        (["DATA.REVERSE_FRAMES", "True"], "test-reverse_frames"),
        (["DATA.TARGET_FPS", "12.5"], "test-fps12.5"),
        (["TEST.CHECKPOINT_FILE_PATH", "/my files/k400 base.pth"], "test-k400-base"),
        (FIVE, None),
    ],
)
def test_the_name_tells_the_difference(tmp_path, settings, name):
    found = further(tmp_path, load_config(None, settings))
    assert not found.is_done
    stem, _, digest = found.path.name.rpartition("-")
    assert re.fullmatch("[0-9a-f]{8}", digest)
    if name:
        assert stem.replace("_", "-") == name.replace("_", "-")
        assert len(found.differs) == len(settings) // 2
    else:
        assert (
            stem.endswith("-2-more") and len(found.differs) == 5
        )  # all are told, three in the name


def test_what_is_other_is_told_in_words(tmp_path):
    found = further(tmp_path, load_config(None, ["TEST.NUM_SPATIAL_CROPS", "3"]))
    assert found.differs == ["TEST.NUM_SPATIAL_CROPS is 3, not 1."]
    found = further(tmp_path, load_config(), videos="others")
    assert found.path.name.startswith("test-videos-")
    assert found.differs == ["The list of videos is another."]
    found = further(tmp_path, load_config(None, ["TRAIN.ENABLE", "False"]), weights="others")
    assert found.path.name.startswith("test-weights-") and "weights" in found.differs[0]


def test_the_runs_own_test_is_in_its_folder(tmp_path):
    found = further(tmp_path, load_config())
    assert (found.path, found.is_done, list(found.differs)) == (tmp_path, True, [])


@pytest.mark.parametrize("words", ["crops3-", "", "as-another-version-called-it-"])
def test_a_finished_test_is_found_by_its_digest(tmp_path, words):
    """Also one of an earlier version, whose folder is called by the digest alone."""
    cfg = load_config(None, ["TEST.NUM_SPATIAL_CROPS", "3"])
    digest = further(tmp_path, cfg).path.name.rpartition("-")[2]
    folder = tmp_path / f"test-{words}{digest}"
    folder.mkdir()
    assert not further(tmp_path, cfg).is_done  # nothing is recorded in it
    found = further(tmp_path, cfg, tested={folder: own_test(cfg)})
    assert (found.path, found.is_done) == (folder, True)
    assert found.differs == ["TEST.NUM_SPATIAL_CROPS is 3, not 1."]
