"""How much memory a prediction takes: of a 4K video hardly more than of a small one."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uniformer_video.data.clips.transforms import (
    resize_short_side,
    shrink_frames,
    to_channels_first,
)
from uniformer_video.data.decoding.pyav import PyAVReader
from uniformer_video.models import layers

PREDICT = """
import re, sys
from uniformer_video.cli import main

status = main(["predict", sys.argv[1], "--checkpoint", sys.argv[2], "--json"])
assert "torch._dynamo" not in sys.modules, "the compiler takes 70 MB"
print("peak", re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
sys.exit(status)
"""


def write_video(path, width, height, frames=24):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
    picture = np.kron(small, np.ones((16, 16, 1), np.uint8))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for shift in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 8 * shift, axis=1), "rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def peak_megabytes(video, checkpoint):
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(video), str(checkpoint)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition("peak ")[2]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak")
def test_a_4k_video_takes_little_more_than_a_small_one(untrained, tmp_path):
    """The decoder's pictures, 12 MB each, one frame as RGB, 25 MB, and its rows that count."""
    checkpoint = untrained()
    small = peak_megabytes(write_video(tmp_path / "small.mp4", 320, 192), checkpoint)
    large = peak_megabytes(write_video(tmp_path / "4k.mp4", 3840, 2160), checkpoint)
    assert large - small < 140, (small, large)


def test_large_frames_are_scaled_to_the_same_bits(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (2, 480, 500, 3), dtype=np.uint8)
    expected = resize_short_side(to_channels_first(frames), 60)
    assert torch.equal(shrink_frames(frames, 60), expected)


def test_frames_are_those_of_pyav_whatever_the_width_of_their_rows(tmp_path):
    """Rows may have bytes between them; the memory of a frame stays when the reader is closed."""
    path = write_video(tmp_path / "odd.mp4", 176, 144, frames=4)
    for short_side in (0, 37):
        with PyAVReader(str(path)) as reader:
            found = [
                reader._to_picture(frame, short_side)[0] for frame in reader._packets.decode_all()
            ]
        with av.open(str(path)) as file:
            for picture, frame in zip(found, file.decode(video=0), strict=True):
                height, width = picture.shape[:2]
                assert (height, width) == ((144, 176) if not short_side else (37, 45))
                expected = frame.reformat(width, height, "rgb24").to_ndarray()
                assert np.abs(picture.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("bias", [True, False])
def test_a_prediction_takes_the_tokens_of_wide_layers_in_parts(monkeypatch, bias):
    """To the same numbers; training and tracing see one layer."""
    monkeypatch.setattr(layers, "_ROWS_AT_ONCE", 50)
    sizes = []

    def linear(inputs, outputs):
        layer = torch.nn.Linear(inputs, outputs, bias=bias)
        layer.register_forward_hook(lambda _layer, given, _output: sizes.append(given[0].shape))
        return layer

    mlp = layers.Mlp(8, 32, linear).double()
    tokens = torch.randn(2, 3, 4, 5, 8, dtype=torch.float64)
    expected = mlp.fc2(F.gelu(mlp.fc1(tokens))).detach()
    sizes.clear()
    with torch.inference_mode():
        torch.testing.assert_close(mlp(tokens), expected, rtol=0, atol=1e-14)
    assert [tuple(size) for size in sizes[::2]] == [(50, 8), (50, 8), (20, 8)]
    sizes.clear()
    mlp(tokens).sum().backward()
    assert tuple(sizes[0]) == tokens.shape
