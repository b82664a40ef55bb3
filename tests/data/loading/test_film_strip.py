"""The small pictures of tested videos."""

import io

import numpy as np
import pytest
from PIL import Image

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset, decode_test_clips
from uniformer_video.data.loading.film_strip import film_strip
from uniformer_video.data.sampling import ClipSampling


def shades(clips, frames, size=(90, 120)):
    """Clips of which each pixel of a frame is 10 times the clip's place plus the frame's."""
    shade = 10 * np.arange(clips)[:, None] + np.arange(frames)
    picture = shade[..., None, None, None].astype(np.uint8)
    return np.broadcast_to(picture, (clips, frames, *size, 3))


def parts_of(jpeg):
    """The shade of each of the four frames in a strip."""
    picture = np.asarray(Image.open(io.BytesIO(jpeg)))
    return [part.mean().round() for part in np.split(picture, 4, axis=1)]


@pytest.mark.parametrize(
    ("clips", "frames", "expected"),
    [(1, 8, [0, 2, 5, 7]), (4, 8, [0, 12, 25, 37]), (2, 3, [0, 1, 11, 12]), (2, 1, [0, 0, 10, 10])],
)
def test_frames_are_spread_over_clips_and_over_a_clip(clips, frames, expected):
    assert parts_of(film_strip(shades(clips, frames))) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((90, 120), (64, 85)),
        ((32, 48), (64, 96)),
        ((1080, 1920), (64, 114)),
        ((640, 10), (64, 1)),
        ((10, 4000), (1, 256)),
    ],
)
def test_a_frame_is_64_pixels_high(size, expected):
    with Image.open(io.BytesIO(film_strip(shades(1, 4, size)))) as picture:
        assert picture.format == "JPEG" and picture.size == (4 * expected[1], expected[0])


@pytest.mark.parametrize(
    ("size", "expected"),
    [((90, 120), (128, 171)), ((200, 4000), (13, 256)), ((50, 50), (128, 128))],
)
def test_the_only_frame_of_an_image_stands_there_once_and_larger(size, expected):
    with Image.open(io.BytesIO(film_strip(shades(1, 1, size)))) as picture:
        assert picture.size == expected[::-1]


def test_a_dataset_makes_strips_of_the_frames_that_it_has_decoded(make_video):
    path = str(make_video(frames=40))
    sampling, views = ClipSampling(4, 2), EvalViews(32, 32, 1)
    clips, _ = decode_test_clips(path, sampling, 2)
    records = [VideoRecord(path, "a", (0,)), VideoRecord("absent.mp4", "b", (0,))]
    dataset = EvalDataset(records, sampling, views, num_clips=2, strips=True)
    assert dataset[0].strip == film_strip(clips)
    assert dataset[1].strip == b"" and dataset[1].views is None
    assert EvalDataset(records, sampling, views, num_clips=2)[0].strip == b""
