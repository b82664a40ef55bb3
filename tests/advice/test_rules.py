"""The rules of advice: which of them holds for which videos, and that the table in the docs is this one."""

from dataclasses import replace
from pathlib import Path

import pytest

from uniformer_video.advice import rules
from uniformer_video.advice.rules import Situation, decide
from uniformer_video.advice.start import Start
from uniformer_video.advice.videos import Spread, VideoFacts
from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.flips import one_sided
from uniformer_video.runs.check import check_settings

DOCS = Path(__file__).parents[2] / "docs/advise.md"


def same(value):
    return Spread(value, value, value)


FACTS = VideoFacts(
    300, 300, frames=same(300.0), seconds=same(10.0), fps=same(30.0), short_side=same(240.0)
)
KINETICS = Start("k400.pth", "uniformer_s", "here")
USUAL = Situation(
    train=300,
    counts={"run": 150, "walk": 150},
    facts=FACTS,
    start=KINETICS,
    has_gpu=True,
    has_scratch_recipe=True,
    step=8,
)


def settings_of(situation, pinned=()):
    return {
        key: value for choice in decide(situation, pinned) for key, value in choice.settings.items()
    }


def with_facts(**changes):
    return replace(USUAL, facts=replace(FACTS, **changes))


def test_usual_videos_are_taken_as_the_weights_were_trained():
    assert decide(USUAL)[0].recipe == "finetune/small"
    assert settings_of(USUAL) == {
        "DATA.NUM_FRAMES": 16,
        "DATA.SAMPLING_RATE": 4,
        "DATA.TRAIN_CROP_SIZE": 224,
        "DATA.TEST_CROP_SIZE": 224,
    }


@pytest.mark.parametrize(
    ("train", "recipe"),
    [(99, "tiny"), (100, "small"), (999, "small"), (1000, "medium"), (50_000, "medium")],
)
def test_the_recipe_by_the_number_of_videos(train, recipe):
    choice = decide(replace(USUAL, train=train))[0]
    assert choice.recipe == f"finetune/{recipe}" and f"{train} videos" in choice.why
    load_config(choice.recipe)  # is shipped


CASES = [
    ({"frames": same(60.0)}, {"DATA.SAMPLING": "segment", "DATA.SAMPLING_RATE": None}),
    ({"frames": Spread(40, 60, 190)}, {"DATA.SAMPLING": "segment"}),
    ({"frames": Spread(40, 60, 200)}, {"DATA.SAMPLING": None}),  # some are much longer
    ({"frames": same(96.0)}, {"DATA.SAMPLING": None, "DATA.SAMPLING_RATE": 4}),
    ({"fps": Spread(24, 25, 60)}, {"DATA.TARGET_FPS": 30, "DATA.SAMPLING_RATE": 4}),
    ({"fps": Spread(10, 12, 60)}, {"DATA.TARGET_FPS": 12, "DATA.SAMPLING_RATE": 2}),
    ({"fps": Spread(24, 25, 60), "without_times": 1}, {"DATA.TARGET_FPS": None}),
    ({"fps": Spread(25, 30, 30)}, {"DATA.TARGET_FPS": None, "DATA.SAMPLING_RATE": 4}),
    ({"fps": same(60.0)}, {"DATA.SAMPLING_RATE": 8, "DATA.TARGET_FPS": None}),
    ({"fps": same(10.0)}, {"DATA.SAMPLING_RATE": 1}),
    ({"fps": None, "seconds": None}, {"DATA.SAMPLING_RATE": 4}),
    ({"short_side": same(199.0)}, {"DATA.TRAIN_CROP_SIZE": 160, "DATA.TEST_CROP_SIZE": 160}),
    ({"short_side": same(120.0)}, {"DATA.TRAIN_CROP_SIZE": 128}),
    ({"short_side": same(1080.0)}, {"DATA.TRAIN_CROP_SIZE": 224}),
]


@pytest.mark.parametrize(("facts", "expected"), CASES, ids=str)
def test_sampling_and_size(facts, expected):
    found = settings_of(with_facts(**facts))
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize("has_gpu", [True, False])
@pytest.mark.parametrize("facts", [facts for facts, _ in CASES], ids=str)
def test_what_is_chosen_goes_together(facts, has_gpu, caplog):
    """On the command line, where one setting that puts another aside is an error."""
    counts = {"turn left": 90, "turn right": 9, "spin clockwise": 50}
    found = settings_of(replace(with_facts(**facts), has_gpu=has_gpu, counts=counts))
    words = [word for pair in found.items() for word in map(str, pair)]
    check_settings(load_config("finetune/small", words))
    assert not caplog.records


def test_without_a_gpu_a_clip_is_smaller():
    assert settings_of(replace(USUAL, has_gpu=False)) == {
        "DATA.NUM_FRAMES": 8,
        "DATA.SAMPLING_RATE": 8,  # it spans the same time
        "DATA.TRAIN_CROP_SIZE": 160,
        "DATA.TEST_CROP_SIZE": 160,
        "AUG.NUM_SAMPLE": 1,
        "TEST.NUM_ENSEMBLE_VIEWS": 4,
        "TEST.NUM_SPATIAL_CROPS": 1,
    }
    fixed = replace(USUAL, has_gpu=False, resizable=False)
    assert settings_of(fixed) == settings_of(USUAL)


def test_weights_decide_how_frames_are_taken():
    something = replace(KINETICS, rule="segment", channel_order="BGR", num_frames=32)
    found = settings_of(replace(USUAL, start=something))
    assert found["DATA.SAMPLING"] == "segment" and found["DATA.NUM_FRAMES"] == 32
    assert found["DATA.CHANNEL_ORDER"] == "BGR" and "DATA.SAMPLING_RATE" not in found


def test_from_scratch():
    scratch = replace(USUAL, start=replace(KINETICS, name=""))
    assert decide(scratch)[0].recipe == "scratch/small" and settings_of(scratch) == {}
    without = replace(scratch, has_scratch_recipe=False)
    assert decide(without)[0].recipe == "finetune/small"
    assert settings_of(without)["SOLVER.BASE_LR"] == 1e-3
    for pinned in ((), ("SOLVER.BASE_LR",)):
        assert settings_of(without, pinned)["SOLVER.LAYER_DECAY"] == 1
    assert "SOLVER.LAYER_DECAY" not in settings_of(without, ["SOLVER.LAYER_DECAY"])
    assert "SOLVER.LAYER_DECAY" not in settings_of(replace(USUAL, has_scratch_recipe=False))


@pytest.mark.parametrize(
    ("counts", "balance"), [((30, 11), None), ((30, 10), 0.5), ((30, 0), None), ((30, 1), 0.5)]
)
def test_rare_classes(counts, balance):
    named = dict(zip(("run", "walk"), counts, strict=True))
    assert settings_of(replace(USUAL, counts=named)).get("DATA.BALANCE") == balance


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        (("run", "walk"), None),
        (("turn left", "turn right"), "swap-labels"),
        (("TurnLeft", "TurnRight", "walk"), "swap-labels"),
        (("turn left", "walk"), "off"),
        (("turn left", "turn right", "spin clockwise"), "off"),
        (("leftovers", "rightful"), None),
    ],
)
def test_left_and_right(names, flip):
    assert settings_of(replace(USUAL, counts=dict.fromkeys(names, 9))).get("DATA.FLIP") == flip


def test_directions_without_a_counterpart():
    assert one_sided(["push left", "push right", "spin CCW", "run"]) == ["spin CCW"]


def test_a_step_takes_no_more_than_there_are():
    assert settings_of(replace(USUAL, train=8)).get("TRAIN.BATCH_SIZE") is None
    assert settings_of(replace(USUAL, train=7))["TRAIN.BATCH_SIZE"] == 7


def test_what_is_pinned_is_left_alone():
    short = with_facts(frames=same(60.0))
    found = settings_of(short, ["DATA.SAMPLING_RATE", "DATA.TEST_CROP_SIZE", "DATA.NUM_FRAMES"])
    assert found == {}
    assert "DATA.NUM_FRAMES" not in settings_of(short, ["DATA.NUM_FRAMES"])


def test_each_reason_states_its_numbers():
    odd = replace(
        with_facts(frames=Spread(40, 61, 90), short_side=same(120.0)),
        counts={"turn left": 30, "walk": 3},
        train=5,
    )
    choices = decide(odd)
    assert len(choices) == 6
    for choice in choices:
        assert any(letter.isdigit() for letter in choice.why), choice


def test_the_docs_show_this_table():
    assert rules.as_markdown() in DOCS.read_text(encoding="utf-8")
