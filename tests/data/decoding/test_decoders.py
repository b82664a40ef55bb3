"""The registry of decoders."""

import pytest

from uniformer_video.data.decoding import decoders, open_video
from uniformer_video.data.decoding.decoders import Decoder, find_decoder, register_decoder
from uniformer_video.data.decoding.pyav import PyAVReader
from uniformer_video.errors import ConfigError


def test_a_decoder_from_outside_opens_videos(make_video, monkeypatch):
    monkeypatch.setattr(decoders, "_DECODERS", dict(decoders._DECODERS))
    opened = []

    def open_mine(path):
        opened.append(path)
        return PyAVReader(path)

    register_decoder(Decoder("mine", open_mine))
    path = make_video(frames=3)
    with open_video(path, "mine") as video:
        assert video.num_frames == 3
    assert opened == [str(path)]
    with pytest.raises(ConfigError, match="there is a decoder 'mine' already"):
        register_decoder(find_decoder("mine"))


def test_an_unknown_decoder_opens_nothing(make_video):
    with pytest.raises(ConfigError, match=r"is 'decrd'; allowed: .*did you mean 'decord'\?"):
        open_video(make_video(frames=3), "decrd")
