"""The number of processes changes nothing: in float64 to the last digits, in float32 through the command."""

import json

import numpy as np
import pytest
import torch
from agreement import assert_agree, one_and_many
from masked_pictures import write_masked_pictures
from PIL import Image
from processes import ROOT, torchrun
from tiny_run import tiny_image_overrides, tiny_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.runs.check import settings_of_other_models
from uniformer_video.runs.run import run
from uniformer_video.weights.checkpoint import read_weights

# Softmax cancels the keys' bias and the next BatchNorm a convolution's: their gradients are rounding
# noise, which Adam turns into steps of full size.
CANCELLED = ("attn.qkv.bias",)


@pytest.fixture
def six_slots(tiny):
    """12 steps of 6 slots with mixup, stochastic depth and dropout."""
    return tiny(
        NUM_GPUS=6,
        TRAIN__BATCH_SIZE=6,
        AUG__NUM_SAMPLE=2,
        UNIFORMER__DROP_DEPTH_RATE=0.3,
        UNIFORMER__DROPOUT_RATE=0.1,
        UNIFORMER__ATTENTION_DROPOUT_RATE=0.1,
        UNIFORMER__HEAD_DROPOUT_RATE=0.1,
        SOLVER__MAX_EPOCH=6,
        TRAIN__EVAL_PERIOD=3,
        EMA__ENABLE=True,
        EMA__DECAY=0.8,
    )


DAMPENED_SGD = "SOLVER.OPTIMIZING_METHOD sgd SOLVER.NESTEROV False SOLVER.DAMPENING 0.2"


@pytest.mark.parametrize(
    ("size", "optimiser"),
    [
        (2, ""),
        pytest.param(3, "", marks=pytest.mark.slow),
        pytest.param(6, "", marks=pytest.mark.slow),
        pytest.param(2, DAMPENED_SGD, marks=pytest.mark.slow),
    ],
    ids=lambda value: f"{value} processes" if isinstance(value, int) else value[:30],
)
def test_in_float64_weights_buffers_losses_and_validation_agree(
    six_slots, tmp_path, size, optimiser
):
    one, many = one_and_many(tmp_path, size, [*six_slots, *optimiser.split()])
    assert len(one["losses"]) == 12
    assert_agree(one, many)
    assert one["state"]["norm.num_batches_tracked"] == 72
    assert one["parts"]["ema"]["steps"] == many["parts"]["ema"]["steps"] == 12
    for key, value in one["parts"]["ema"]["weights"].items():
        assert value.dtype == one["state"][key].dtype
        torch.testing.assert_close(
            many["parts"]["ema"]["weights"][key], value, rtol=0, atol=1e-9, msg=key
        )
    for found, expected in zip(many["scores"], one["scores"], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # scores are kept in float32


def test_of_a_run_that_counts_iterations(tiny, tmp_path):
    """7 steps in epochs of 4, validated after 3, 6 and 7, with BatchNorm's statistics measured there."""
    given = tiny(
        NUM_GPUS=2,
        SOLVER__MAX_EPOCH=None,
        SOLVER__WARMUP_EPOCHS=None,
        SOLVER__MAX_ITER=7,
        SOLVER__WARMUP_ITERS=2,
        TRAIN__EVAL_ITERS=3,
        TRAIN__CHECKPOINT_ITERS=2,
        BN__USE_PRECISE_STATS=True,
        BN__NUM_BATCHES_PRECISE=2,
    )
    one, many = one_and_many(tmp_path, 2, given)
    assert len(one["losses"]) == 7 and len(many["scores"]) == len(one["scores"]) == 3
    assert_agree(one, many)
    for found, expected in zip(many["scores"], one["scores"], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_of_images_too(tmp_path):
    """12 steps of RandAugment, erasing, repeats, mixup and stochastic depth, on 27 pictures of noise."""
    rng = np.random.default_rng(0)
    for number in range(36):
        folder = tmp_path / "pictures" / f"class {number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (40, 36, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    given = tiny_image_overrides(
        tmp_path / "pictures",
        tmp_path / "out",
        DATA__VAL_RATIO=0.25,
        NUM_GPUS=2,
        SOLVER__MAX_EPOCH=2,
        AUG__AA_TYPE="rand-m9-mstd0.5-inc1",
        AUG__RE_PROB=0.25,
        AUG__REPEATED=3,
        UNIFORMER__DROP_DEPTH_RATE=0.2,
    )
    one, many = one_and_many(tmp_path, 2, given)
    assert len(one["losses"]) == 12
    assert_agree(one, many)


def test_of_masks_too(tmp_path):
    """12 steps of UperNet, whose auxiliary head has a loss of its own, on pictures that are not all read."""
    data = write_masked_pictures(tmp_path / "pictures", train=12, val=3, side=40)
    (data / "val" / "masks" / "val001.png").write_bytes(b"broken")
    sizes = {"UNIFORMER__HEAD_CHANNELS": 8, "UNIFORMER__DROP_DEPTH_RATE": 0.2}
    given = tiny_image_overrides(
        data,
        tmp_path / "out",
        MODEL__MODEL_NAME="upernet_uniformer_s",
        TRAIN__TASK="segmentation",
        TRAIN__DATASET="masks",
        SEGMENTATION__SCALE="[64,48]",
        NUM_GPUS=2,
        SOLVER__MAX_EPOCH=4,
        **sizes,
    )
    one, many = one_and_many(tmp_path, 2, given)
    assert len(one["losses"]) == 12 and len(one["scores"]) == 4
    assert_agree(one, many)
    for found, expected in zip(many["scores"], one["scores"], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def teachers(demo, tmp_path_factory):
    """A function: settings that name a teacher, a model or its test over the training list."""
    folder = tmp_path_factory.mktemp("teachers")
    given = tiny_overrides(demo, folder, SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0)
    run(load_config(overrides=[*given, "TEST.SPLIT", "train"]), "teacher")
    return {
        "a model": ["TEACHER.CHECKPOINT", str(folder / "best.pt")],
        "stored logits": ["TEACHER.SCORES", str(folder)],
    }


@pytest.mark.parametrize(
    ("size", "teacher"),
    [
        (2, "a model"),
        pytest.param(3, "a model", marks=pytest.mark.slow),
        pytest.param(2, "stored logits", marks=pytest.mark.slow),
        pytest.param(3, "stored logits", marks=pytest.mark.slow),
    ],
)
def test_with_a_teacher_they_agree_too(six_slots, teachers, tmp_path, size, teacher):
    given = [*six_slots, *teachers[teacher], "SOLVER.MAX_EPOCH", "4", "TRAIN.EVAL_PERIOD", "0"]
    assert_agree(*one_and_many(tmp_path, size, given))


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("size", "model"),
    [
        (2, "uniformer_s"),
        pytest.param(3, "uniformer_s", marks=pytest.mark.slow),
        pytest.param(6, "uniformer_s", marks=pytest.mark.slow),
        pytest.param(2, "x3d_s", marks=pytest.mark.slow),
    ],
)
def test_through_the_command_everything_agrees(tiny, tmp_path, size, model):
    slots = max(size, 2)
    options = {"NUM_GPUS": slots, "TRAIN__BATCH_SIZE": 2 * slots, "MODEL__MODEL_NAME": model}
    given = tiny(**options, SOLVER__MAX_EPOCH=3, EMA__ENABLE=True, TRAIN__CHECKPOINT_KEEP="all")
    unread = settings_of_other_models(load_config(overrides=given))
    pairs = zip(given[::2], given[1::2], strict=True)
    overrides = [word for pair in pairs if pair[0] not in unread for word in pair]
    (tmp_path / "empty.yaml").write_text("")
    command = [ROOT / "tools/run_net.py", "--cfg", tmp_path / "empty.yaml", *overrides]
    launch = torchrun(size, [*command, "OUTPUT_DIR", tmp_path / "many"], tmp_path / "log")
    # while they start
    run(load_config(overrides=[*overrides, "OUTPUT_DIR", str(tmp_path / "one")]), "tiny")
    assert launch.wait() == 0, launch.text
    assert "strides" not in launch.text
    assert launch.text.count("Trained in") == 1
    one, many = lines(tmp_path / "one"), lines(tmp_path / "many")
    assert [line["kind"] for line in many] == [line["kind"] for line in one]
    for found, expected in zip(many, one, strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        assert found["top1"] == expected["top1"]
    scores = [np.load(tmp_path / name / "scores.npz")["scores"] for name in ("one", "many")]
    assert np.abs(scores[1] - scores[0]).max() < 1e-4 * np.abs(scores[0]).max()
    for name, select in (("last.pt", "model"), ("last.pt", "ema"), ("epoch_0002.pt", "ema")):
        weights = [read_weights(tmp_path / run / name, select).state for run in ("one", "many")]
        for key, value in weights[0].items():
            if not key.endswith(CANCELLED):
                torch.testing.assert_close(weights[1][key], value, rtol=1e-4, atol=2e-4, msg=key)
