"""Classes of pixels of pictures and videos: by themselves, steady over time, drawn, and in published files."""

import numpy as np
import pytest
import torch
from moving_shape import NAME, NAMES, moving_shape, write_shape_model
from PIL import Image
from videos import encode

import uniformer_video as uv
from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.errors import CheckpointError, DecodeError, UserError
from uniformer_video.evaluation.areas import mean_iou
from uniformer_video.inference.segmenter import Segmenter
from uniformer_video.inference.steady import CUT, SteadyMean, is_cut, thumbnail
from uniformer_video.tasks.prediction import PixelPrediction
from uniformer_video.weights.checkpoint import write_checkpoint

LOSSLESS = {"codec": "libx264rgb", "pix_fmt": "rgb24", "qp": "0"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_shape_model(tmp_path_factory.mktemp("model") / "shapes.pt")


@pytest.fixture(scope="module")
def segmenter(checkpoint):
    return Segmenter.from_checkpoint(checkpoint, device="cpu")


def miou(predicted, truth):
    areas = [
        [
            np.sum((predicted == number) & (truth == number)),
            np.sum(predicted == number),
            np.sum(truth == number),
        ]
        for number in range(len(NAMES))
    ]
    return mean_iou(np.array(areas).T)


def flicker(predicted, truth):
    """The share of pixels that show one thing all the time and change their class between two frames."""
    still = (truth == truth[0]).all(axis=0)
    return float(np.mean((predicted[1:] != predicted[:-1])[:, still]))


def classes_of(segmenter, path, **options):
    with segmenter.video(path, **options) as frames:
        return np.array([frame.found.classes for frame in frames])


def test_a_steady_video_flickers_half_as_much_and_is_as_right(segmenter, tmp_path):
    plain, steady = [], []
    for seed in (100, 101, 102):
        frames, masks = moving_shape(24, seed)
        path = encode(tmp_path / f"{seed}.mkv", frames, codec="ffv1", pix_fmt="bgr0")
        for found, options in ((plain, {}), (steady, {"steady": True})):
            predicted = classes_of(segmenter, path, **options)
            found.append((flicker(predicted, masks), miou(predicted, masks)))
    (before, right), (after, still_right) = (np.mean(each, axis=0) for each in (plain, steady))
    print(before, after, right, still_right)
    assert right > 0.75
    assert after < before / 2
    assert still_right >= right
