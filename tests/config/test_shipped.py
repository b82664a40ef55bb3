"""The configs and guides that come with the toolkit, by name."""

import shutil
from pathlib import Path

import pytest

from uniformer_video.config import shipped
from uniformer_video.config.settings import differences, load_config
from uniformer_video.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_the_list_holds_every_config_of_a_run():
    files = [path.relative_to(ROOT / "configs") for path in ROOT.glob("configs/*/*.yaml")]
    runs = {path.with_suffix("").as_posix() for path in files if path.parts[0] != "_base_"}
    assert set(shipped.list_configs()) == runs
    assert shipped.list_configs("ssv2") == shipped.list_configs("ssv2/*") != []
    assert shipped.list_configs("ssv?/*_b_32_k600") == [
        "ssv1/uniformer_b_32_k600",
        "ssv2/uniformer_b_32_k600",
    ]
    assert shipped.list_configs("nothing") == []


@pytest.mark.parametrize("ending", ["", ".yaml"])
@pytest.mark.parametrize("folder", ["", "configs/"])
def test_a_name_is_found_from_anywhere(ending, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config(f"{folder}k400/uniformer_s_16x4_published{ending}")
    assert (cfg.MODEL.MODEL_NAME, cfg.UNIFORMER.LOCAL_KERNEL) == ("uniformer_s", [5, 5, 5])
    assert cfg.DATA.PATH_TO_DATA_DIR == "datasets/k400"  # of the last of its three bases


def test_a_file_of_that_path_goes_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k400").mkdir()
    (tmp_path / "k400/uniformer_s_16x4").write_text("DATA: {NUM_FRAMES: 4}")
    assert load_config("k400/uniformer_s_16x4").DATA.NUM_FRAMES == 4
    assert load_config("k400/uniformer_s_16x4.yaml").DATA.NUM_FRAMES == 16


def test_a_folder_of_that_name_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k400/uniformer_s_16x4").mkdir(parents=True)  # such as the output of a run
    assert load_config("k400/uniformer_s_16x4").DATA.NUM_FRAMES == 16
    with pytest.raises(ConfigError, match=r"cannot read the config file k400: Is a directory"):
        load_config("k400")


def test_a_config_of_ones_own_starts_from_a_shipped_one(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("_BASE_: k400/uniformer_s_32x4\nSOLVER: {MAX_EPOCH: 30}")
    differ = differences(load_config("k400/uniformer_s_32x4"), load_config(own))
    assert {key: other for key, (_, other) in differ.items()} == {"SOLVER.MAX_EPOCH": 30}
    beside = tmp_path / "k400/uniformer_s_32x4"
    beside.parent.mkdir()
    beside.write_text("DATA: {NUM_FRAMES: 4}")
    assert load_config(own).DATA.NUM_FRAMES == 4


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("k400/uniformer_xs_32x4_129", "k400/uniformer_xs_32x4_192"),
        ("uniformer_xs_32x4_192", "k400/uniformer_xs_32x4_192"),
        ("configs/ssv2/uniformer_s_16_k40.yaml", "ssv2/uniformer_s_16_k400"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(given, near):
    with pytest.raises(ConfigError, match=rf"{given}: No such file .*did you mean {near}\?"):
        load_config(given)


def test_what_is_inside_the_package_goes_before_the_check_out(tmp_path, monkeypatch):
    inside = tmp_path / "package/shipped"
    shutil.copytree(ROOT / "configs/demo", inside / "configs/demo")
    monkeypatch.setattr(shipped, "_INSTALLED", inside)
    assert shipped.list_configs() == [
        "demo/dense",
        "demo/inflate",
        "demo/inflate_images",
        "demo/overfit",
        "demo/uniformer_demo",
    ]
    assert shipped.shipped_folder("datasets") == ROOT / "datasets"


def test_every_config_says_what_it_is():
    assert all(len(shipped.first_line(name)) > 20 for name in shipped.list_configs())


def test_guides():
    assert "k400" in shipped.list_guides() and "README" not in shipped.list_guides()
    assert shipped.read_guide("ucf101").startswith("# UCF101")
    assert "TRAIN.DATASET" in shipped.read_guide()
    with pytest.raises(ConfigError, match="did you mean 'k400'"):
        shipped.read_guide("k40")
