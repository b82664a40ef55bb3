"""Settings that name a format of lists or a decoder, against what these can."""

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.build_task import build_task
from uniformer_video.runs.check import check_data_settings, check_precisions, check_settings
from uniformer_video.runs.folder import RunFolder
from uniformer_video.runs.run import run

PARTS = ("TRAIN.DATASET", "TEST.DATASET")
CPU = torch.device("cpu")


def refusal(*overrides):
    """What is said of these settings before any list is read."""
    cfg = load_config(overrides=["DATA.PATH_TO_DATA_DIR", "nowhere", *overrides])
    with pytest.raises(ConfigError) as error:
        check_data_settings(cfg)
    with pytest.raises(ConfigError) as of_run:
        build_data(cfg)
    assert str(of_run.value) == str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("key", PARTS)
def test_an_unknown_format_names_the_nearest(key):
    assert refusal(key, "kinetcs") == (
        f"{key} is 'kinetcs'; allowed: 'kinetics', 'folder', 'frames', 'shards', 'ssv2-json', "
        "'ucf101', 'hmdb51', 'imagefolder', 'image-csv', 'image-shards', 'masks', "
        "'mask-csv', 'ade20k'; did you mean 'kinetics'?"
    )
    assert refusal(key, "nothing-like-it").endswith("'ade20k'")


def test_an_unknown_decoder():
    assert refusal("DATA.DECODING_BACKEND", "torchcodecs") == (
        "DATA.DECODING_BACKEND is 'torchcodecs'; allowed: 'auto', 'pyav', 'decord', 'torchcodec', 'pillow'; "
        "did you mean 'torchcodec'?"
    )


@pytest.mark.parametrize("key", PARTS)
def test_what_a_format_cannot_do(key):
    message = refusal("DATA.TARGET_FPS", "15", key, "frames")
    assert "DATA.TARGET_FPS 15 needs the times of frames, and the format frames" in message
    for backend in ("decord", "torchcodec"):
        message = refusal("DATA.DECODING_BACKEND", backend, key, "shards")
        assert f"DATA.DECODING_BACKEND {backend} cannot read videos in shards" in message


def test_a_precision_of_the_test_that_the_device_lacks_is_said_before_any_training():
    settings = ["DATA.PATH_TO_DATA_DIR", "nowhere", "TEST.PRECISION", "fp16"]
    with pytest.raises(ConfigError, match="fp16 needs a CUDA device"):
        run(load_config(overrides=settings), "any")
    check_precisions(load_config(overrides=[*settings, "TEST.ENABLE", "False"]), CPU)
    with pytest.raises(ConfigError, match="fp16 needs a CUDA device"):
        check_precisions(
            load_config(overrides=["TRAIN.PRECISION", "fp16", "TEST.ENABLE", "False"]), CPU
        )


@pytest.mark.parametrize(
    ("model", "dataset", "kernel", "said"),
    [
        (
            "uniformer_s",
            "folder",
            "5,5",
            "is [5, 5], and MODEL.MODEL_NAME uniformer_s takes videos",
        ),
        (
            "image_uniformer_s",
            "imagefolder",
            "3,5,5",
            "is [3, 5, 5], and MODEL.MODEL_NAME image_uniformer_s",
        ),
    ],
)
def test_a_local_kernel_has_the_sides_that_its_medium_has(model, dataset, kernel, said):
    words = ["MODEL.MODEL_NAME", model, "TRAIN.DATASET", dataset, "UNIFORMER.LOCAL_KERNEL", kernel]
    with pytest.raises(ConfigError) as error:
        check_settings(load_config(overrides=words))
    assert said in str(error.value)
    allowed = "[height, width]" if dataset == "imagefolder" else "[time, height, width]"
    assert allowed in str(error.value)


def test_what_the_formats_can_do():
    for overrides in (
        ["DATA.TARGET_FPS", "15", "TRAIN.DATASET", "folder"],
        ["DATA.DECODING_BACKEND", "pyav", "TRAIN.DATASET", "shards"],
        ["DATA.DECODING_BACKEND", "decord", "TRAIN.DATASET", "ucf101"],
    ):
        check_data_settings(load_config(overrides=overrides))


def test_the_commands_say_it_at_once(call, monkeypatch, tmp_path):
    """Neither is a process group joined nor a folder made before."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "a.yaml"
    config.write_text("TRAIN: {DATASET: kinetic}\n")
    monkeypatch.setattr(
        "uniformer_video.runs.run.join_ranks", lambda *args: pytest.fail("it joined")
    )
    for command in ("config", "run"):
        status, out, errors = call(command, "--cfg", config)
        assert (status, out) == (2, "")
        assert errors.startswith("error: TRAIN.DATASET is 'kinetic'; allowed: 'kinetics', ")
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_what_has_no_effect_in_a_run_does_not_stop_its_resume(tmp_path):
    """Whoever follows the warning and takes such a setting out goes on with the same run."""
    folder = RunFolder(tmp_path)
    for kept in (["MODEL.MODEL_NAME", "x3d_s"], ["TRAIN.DATASET", "kinetics"]):
        idle = ["UNIFORMER.DEPTH", "[1, 1, 1, 1]"] if "x3d_s" in kept else ["DATA.VAL_RATIO", "0.5"]
        folder.check(load_config(overrides=kept), load_config(overrides=[*kept, *idle]))
    with pytest.raises(ConfigError, match=r"UNIFORMER\.DEPTH was \[1, 1, 1, 1\]"):
        folder.check(load_config(), load_config(overrides=["UNIFORMER.DEPTH", "[1, 1, 1, 1]"]))


def test_what_no_test_reads_is_not_checked(tmp_path):
    idle = ["TEST.ENABLE", "False", "TEST.DATASET", "nonsense"]
    check_data_settings(load_config(overrides=idle))
    build_task(load_config(overrides=[*idle, "TRAIN.TASK", "multi-label"]))
    timed = ["DATA.TARGET_FPS", "15", "TRAIN.DATASET", "folder", "TEST.DATASET", "frames"]
    check_data_settings(load_config(overrides=[*timed, "TEST.ENABLE", "False"]))
