"""The one value that says how a model is tested, and the records of it."""

import json

import pytest

from uniformer_video.config.recorded import config_text
from uniformer_video.config.settings import load_config
from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.protocol import Protocol, recorded_protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import ConfigError, DataError

SETTINGS = {
    "DATA.NUM_FRAMES": 32,
    "DATA.SAMPLING_RATE": 2,
    "DATA.SAMPLING": "segment",
    "DATA.USE_OFFSET_SAMPLING": False,
    "DATA.TARGET_FPS": 30.0,
    "DATA.TEST_SCALE": 256,
    "DATA.TEST_CROP_SIZE": 224,
    "DATA.MEAN": "[0.1, 0.2, 0.3]",
    "DATA.STD": "[0.4, 0.5, 0.6]",
    "DATA.CHANNEL_ORDER": "BGR",
    "DATA.DECODE_SHORT_SIDE": 256,
    "DATA.DECODING_BACKEND": "pyav",
    "TEST.NUM_ENSEMBLE_VIEWS": 5,
    "TEST.NUM_SPATIAL_CROPS": 3,
    "TEST.SCORE": "softmax",
    "TRAIN.PRECISION": "bf16",
}
PROTOCOL = Protocol(
    ClipSampling(32, 2, "segment", offset=False, target_fps=30.0),
    EvalViews(256, 224, 3, Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "BGR")),
    num_clips=5,
    score="softmax",
    precision="bf16",
    decode_short_side=256,
    decoder="pyav",
)
# What checkpoints held before there was a `Protocol`.
EARLIER = {
    "input": {
        "num_frames": 32,
        "frame_stride": 2,
        "rule": "segment",
        "offset": False,
        "target_fps": 30.0,
        "decode_short_side": 256,
        "short_side": 256,
        "crop_size": 224,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "channel_order": "BGR",
    },
    "test": {"num_clips": 5, "num_crops": 3, "score": "softmax"},
}


def config(**changes):
    settings = {**SETTINGS, **changes}
    return load_config(overrides=[str(word) for pair in settings.items() for word in pair])


def test_every_setting_of_a_test_is_in_it_and_survives_a_file():
    protocol = Protocol.from_cfg(config())
    assert protocol == PROTOCOL and protocol.num_views == 15
    assert Protocol.from_dict(json.loads(json.dumps(protocol.to_dict()))) == PROTOCOL
    assert Protocol.from_cfg(config(**{"DATA.TEST_SCALE": 0})).views.short_side == 224


def test_a_test_computes_as_the_training_unless_it_says_otherwise():
    assert Protocol.from_cfg(config(**{"TEST.PRECISION": "fp32"})).precision == "fp32"
    both = {"TEST.PRECISION": "auto", "TRAIN.PRECISION": "auto"}
    assert Protocol.from_cfg(config(**both)).precision == "auto"


@pytest.mark.parametrize(
    "damaged", [{"protocol": 7}, {"protocol": ["a"]}, {"input": 1, "test": {}}]
)
def test_a_record_of_another_kind_is_damaged(damaged):
    with pytest.raises(DataError, match=r"the test protocol in a\.pt is damaged: it is "):
        recorded_protocol(damaged, "a.pt")


def test_other_numbers_of_views_change_nothing_else():
    other = PROTOCOL.with_views(2, 1)
    assert (other.num_clips, other.views.num_crops) == (2, 1)
    assert other.with_views(5, 3) == PROTOCOL.with_views() == PROTOCOL


def test_earlier_checkpoints_are_read():
    settings = {"config": config_text(config())}
    assert recorded_protocol({**EARLIER, **settings}, "a.pt") == PROTOCOL
    first = {**EARLIER["input"]}
    del first["target_fps"], first["decode_short_side"]  # older still
    found = recorded_protocol({**EARLIER, "input": first}, "a.pt")
    assert (found.sampling.target_fps, found.decode_short_side, found.precision) == (0.0, 0, "auto")
    assert recorded_protocol({"model": {}}, "a.pt") is None


# Earlier files lack them.
OPTIONAL = {"target_fps", "precision", "decode_short_side", "decoder", "medium"}


@pytest.mark.parametrize("key", sorted(PROTOCOL.to_dict().keys() - OPTIONAL))
def test_what_is_missing_is_named(key):
    record = PROTOCOL.to_dict()
    del record[key]
    with pytest.raises(DataError, match=rf"protocol in a\.pt is damaged: it lacks '{key}'"):
        recorded_protocol({"protocol": record}, "a.pt")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("std", [0, 0, 0]),
        ("mean", [1]),
        ("rule", "x"),
        ("channel_order", 7),
        ("frame_stride", -3),
        ("num_clips", 0),
        ("num_crops", 2),
        ("short_side", 0),
        ("crop_size", None),
        ("target_fps", float("nan")),
        ("offset", "x"),
        ("precision", "fp7"),
        ("decode_short_side", -1),
    ],
)
def test_values_that_no_test_can_have_are_damage(name, value):
    with pytest.raises(
        DataError, match=rf"the test protocol in a\.pt is damaged: {name} stands for"
    ):
        Protocol.from_dict({**PROTOCOL.to_dict(), name: value}, "a.pt")


@pytest.mark.parametrize("views", [(-1, 1), (0, 1), ("a", 1), (1, 2)])
def test_views_that_no_test_can_have_are_refused(views):
    with pytest.raises(ConfigError, match=r"TEST\.NUM_"):
        PROTOCOL.with_views(*views)
