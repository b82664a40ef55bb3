"""Heat of trained weights on the demo's videos, whose moving shape is known."""

import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest

from uniformer_video.explain.explainer import Explainer
from uniformer_video.inference.predictor import Predictor
from uniformer_video.prepare import demo

ROOT = Path(__file__).parents[2]


def test_the_generator_knows_where_the_shape_is(tmp_path):
    """Its file shows these frames, and only where the shape passes do pixels change by more than noise."""
    demo.generate_demo(tmp_path, train=0, val=0, test=3, processes=1)
    with av.open(str(tmp_path / "test/00002.mp4")) as file:
        rate = file.streams.video[0].average_rate
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    video = demo.demo_video("test", 2)
    assert rate == video.fps
    assert read.shape == video.frames.shape and video.inside.shape == read.shape[:3]
    assert abs(read.astype(float) - video.frames).mean() < 12  # it was encoded
    changes = video.frames.std(0).mean(-1)
    ever, never = video.inside.max(0) == 1, video.inside.max(0) == 0
    assert 0.05 < ever.mean() < 0.5
    assert changes[never].max() < changes[ever].mean() / 2
    rows = (video.inside.sum(2) @ np.arange(demo.SIDE)) / video.inside.sum((1, 2))
    assert (np.diff(rows) < 0).all()  # it moves up


@pytest.mark.slow
def test_heat_means_something(call, tmp_path, two_threads):
    """The recipe of the demo, and its first 100 test videos."""
    spec = importlib.util.spec_from_file_location("sanity", ROOT / "benchmarks/explain_sanity.py")
    sanity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sanity)
    data, run = tmp_path / "demo", tmp_path / "run"
    demo.generate_demo(data, train=1600, val=16, test=100)
    words = ["DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", run, "TEST.ENABLE", "False"]
    words += ["TRAIN.EVAL_PERIOD", "12", "TENSORBOARD.ENABLE", "False"]
    config = ROOT / "configs/demo/uniformer_demo.yaml"
    assert call("run", "--cfg", config, *words, "DATA_LOADER.NUM_WORKERS", "2")[0] == 0
    predictor = Predictor.from_checkpoint(run / "last.pt")
    assert Explainer(predictor).check() == "blocks1.0"  # of 64 pixels, 16 places a side
    found = sanity.measure(predictor, data, 100, ["gradcam, stage 1", "occlusion", "rollout"])
    usual = found["gradcam, stage 1"]
    assert usual["heat"] >= 1.5 * usual["area"]  # 1.9 and 2.7 times in two trainings
    assert all(abs(figures["correlation"]) < 0.3 for figures in found.values())
    assert sanity.moving_half(predictor, 24) >= 0.8
