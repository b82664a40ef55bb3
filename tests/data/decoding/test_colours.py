"""Colour matrices: all are shown as FFmpeg's command line shows them, and survive a resize."""

import av
import numpy as np
import pytest
from videos import all_frames, encode, numbered_frames, other_backends

from uniformer_video.data.decoding import open_video
from uniformer_video.prepare.check import check_video
from uniformer_video.prepare.frames import Pictures, extract_video
from uniformer_video.prepare.resize import Encoding, resize_video

# ITU-T H.273, table 4: number -> (red of V, green of U, green of V, blue of U), by which it is shown
BT601, BT709, BT2020 = (
    (1.402, 0.344, 0.714, 1.772),
    (1.575, 0.187, 0.468, 1.856),
    (1.475, 0.165, 0.571, 1.881),
)
MATRICES = {
    **dict.fromkeys((2, 5, 6, 8, 11, 12, 13, 14), BT601),
    1: BT709,
    **dict.fromkeys((9, 10), BT2020),
}


def converted(planes, matrix):
    """uint8 yuv444p planes [3, H, W] of limited range -> float [H, W, 3]: BT.601, 2.5.3."""
    red, green_u, green_v, blue = matrix
    y = (planes[0].astype(float) - 16) * 255 / 219
    u, v = (planes[1:].astype(float) - 128) * 255 / 224
    return np.stack([y + red * v, y - green_u * u - green_v * v, y + blue * u], -1).clip(0, 255)


@pytest.mark.parametrize("number", MATRICES)
def test_every_matrix_is_shown(tmp_path, number):
    frames = numbered_frames(10, (64, 96))
    path = encode(
        tmp_path / "a.mp4", frames, pix_fmt="yuv444p", context={"colorspace": number}, crf="5"
    )
    with av.open(str(path)) as container:
        planes = [frame.to_ndarray() for frame in container.decode(video=0)]
    with open_video(path) as video:
        assert video.num_frames == 10
        pixels = video.frames(range(10))
        small = video.frames([9], short_side=32)
    wanted = np.stack([converted(plane, MATRICES[number]) for plane in planes])
    assert np.abs(pixels - wanted).mean() < 1.5
    assert small.shape == (1, 32, 48, 3)
    np.testing.assert_array_equal(pixels, all_frames(path))
    assert not check_video((str(path), 0), strict=True).reason
    for backend in other_backends():
        with open_video(path, backend) as video:
            np.testing.assert_array_equal(video.frames(range(10)), pixels)

    assert extract_video((path, tmp_path / "out"), Pictures("{:d}.png")) == 10
    with open_video(tmp_path / "out" / "{:d}.png") as taken:
        np.testing.assert_array_equal(taken.frames(range(10)), pixels)
    target = tmp_path / "small.mp4"
    assert resize_video((path, target), Encoding(short_side=32, crf=5)) == "resized"
    halved = pixels.reshape(10, 32, 2, 48, 2, 3).mean((2, 4))
    with open_video(target) as video:
        assert np.abs(video.frames(range(10)) - halved).mean() < 9
    assert len(all_frames(target)) == 10  # tools that know no stand-in read it, too
    with av.open(str(target)) as container:
        assert container.decode(video=0).__next__().reformat(format="rgb24")
