"""Settings that name a format of lists or a decoder, against what these can."""

import multiprocessing
import os

import pytest
from videos import encode, need, numbered_frames

from uniformer_video.config.settings import load_config
from uniformer_video.data.decoding import decoders
from uniformer_video.data.decoding.pyav import PyAVReader
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DecodeError
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.check import check_data_settings
from uniformer_video.runs.folder import RunFolder
from uniformer_video.runs.try_decoder import try_decoder

needs_fork = pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork",
    reason="a decoder of a test is known by fork alone",
)
PARTS = ("TRAIN.DATASET", "TEST.DATASET")


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
        "'ucf101', 'hmdb51'; did you mean 'kinetics'?"
    )
    assert refusal(key, "imagenet").endswith("'hmdb51'")


def test_an_unknown_decoder():
    assert refusal("DATA.DECODING_BACKEND", "torchcodecs") == (
        "DATA.DECODING_BACKEND is 'torchcodecs'; allowed: 'auto', 'pyav', 'decord', 'torchcodec'; "
        "did you mean 'torchcodec'?"
    )


@pytest.mark.parametrize("key", PARTS)
def test_what_a_format_cannot_do(key):
    message = refusal("DATA.TARGET_FPS", "15", key, "frames")
    assert "DATA.TARGET_FPS 15 needs the times of frames, and the format frames" in message
    for backend in ("decord", "torchcodec"):
        message = refusal("DATA.DECODING_BACKEND", backend, key, "shards")
        assert f"DATA.DECODING_BACKEND {backend} cannot read videos in shards" in message


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


@needs_fork
def test_a_decoder_that_reads_none_of_the_videos_is_refused_before_the_run(
    make_video, tmp_path, monkeypatch
):
    """Nor is it where it reads some, or where nothing reads them."""
    monkeypatch.setattr(decoders, "_DECODERS", dict(decoders._DECODERS))

    def open_large(path):
        reader = PyAVReader(path)
        if reader.size[1] < 64:
            raise DecodeError(f"{path} is too small")
        return reader

    decoders.register_decoder(decoders.Decoder("large", open_large, refuses_some=True))
    for split in ("train", "val", "test"):
        for number in range(9):
            make_video(f"{split}{number}.mp4", frames=3, size=(48, 32))
        lines = [f"{tmp_path}/{split}{number}.mp4,{number % 2}\n" for number in range(9)]
        (tmp_path / f"{split}.csv").write_text("".join(lines))
    cfg = load_config(
        overrides=["DATA.PATH_TO_DATA_DIR", str(tmp_path), "DATA.DECODING_BACKEND", "large"]
    )
    with pytest.raises(
        ConfigError, match=r"large reads none of 3 videos tried of the split train.*train0\.mp4 is"
    ):
        build_data(cfg)
    for split in ("train", "val", "test"):
        make_video(f"{split}3.mp4", frames=3)
        (tmp_path / f"{split}0.mp4").write_bytes(b"no video")
    assert len(build_data(cfg).train) == 9


@needs_fork
def test_a_video_that_crashes_the_decoder_does_not_end_the_check(make_video, tmp_path, monkeypatch):
    monkeypatch.setattr(decoders, "_DECODERS", dict(decoders._DECODERS))
    crashing = decoders.Decoder("crashing", lambda path: os._exit(1), refuses_some=True)
    decoders.register_decoder(crashing)
    records = [VideoRecord(str(make_video(frames=3)), "a", (0,))]
    try_decoder(load_config(overrides=["DATA.DECODING_BACKEND", "crashing"]), {"test": records})


@pytest.mark.parametrize("width", [1, 8, 48])
def test_decord_with_small_pictures(tmp_path, width):
    need("decord")
    frames = numbered_frames(4, (64, width))
    for split in ("train", "val", "test"):
        encode(tmp_path / f"{split}.mp4", frames, pix_fmt="yuv444p")
        (tmp_path / f"{split}.csv").write_text(f"{tmp_path}/{split}.mp4,0\n")
    cfg = ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "DATA.DECODING_BACKEND", "decord"]
    with pytest.raises(ConfigError, match=r"decord reads none of 1 video.*small pictures"):
        build_data(load_config(overrides=[*cfg, "MODEL.NUM_CLASSES", "2"]))
