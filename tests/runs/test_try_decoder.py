"""A decoder that reads none of a list's videos is refused before the run, not video by video."""

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
from uniformer_video.runs.try_decoder import try_decoder

needs_fork = pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork",
    reason="a decoder of a test is known by fork alone",
)


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
