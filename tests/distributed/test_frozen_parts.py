"""Frozen parts, decay by layer, accumulation, precise statistics: on many processes, and after a kill."""

import pytest
from agreement import assert_agree, one_and_many
from processes import ROOT, alone
from same import assert_same

from uniformer_video.config.settings import load_config
from uniformer_video.runs.run import run
from uniformer_video.weights.checkpoint import read_weights

FROZEN = {
    "MODEL__FREEZE": "[stem,stage1]",
    "SOLVER__LAYER_DECAY": 0.7,
    "SOLVER__ACCUMULATION_STEPS": 3,
    "BN__USE_PRECISE_STATS": True,
    "BN__NUM_BATCHES_PRECISE": 1,
    "NUM_GPUS": 2,
    "TRAIN__BATCH_SIZE": 2,
    "UNIFORMER__DROP_DEPTH_RATE": 0.3,
    "SOLVER__MAX_EPOCH": 3,
}
NORMS = {"MODEL__FROZEN_BN": True, "MODEL__FROZEN_BN_AFFINE": True, "BN__USE_PRECISE_STATS": False}
CLASSIFIER = {"MODEL__DETACH_FINAL_FC": True, "MODEL__FREEZE": "[stem]"}
SHARDED = {"TRAIN__EVAL_PERIOD": 0}  # a validation would go round the wrapper


@pytest.mark.parametrize(
    ("size", "script", "changes"),
    [
        (2, "train_float64.py", {}),
        (2, "train_sharded.py", SHARDED),
        pytest.param(3, "train_float64.py", {}, marks=pytest.mark.slow),
        pytest.param(2, "train_float64.py", NORMS, marks=pytest.mark.slow),
        pytest.param(3, "train_float64.py", CLASSIFIER, marks=pytest.mark.slow),
        pytest.param(2, "train_sharded.py", {**SHARDED, **CLASSIFIER}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_any_number_of_processes_trains_what_is_not_frozen_alike(
    tiny, tmp_path, size, script, changes
):
    words = tiny(**{**FROZEN, **changes})
    one, many = one_and_many(tmp_path, size, words, script)
    assert len(one["losses"]) == 6
    assert_agree(one, many, atol=1e-7)  # Adam makes much of the last digits of small gradients


@pytest.mark.parametrize("step", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_killed_with_frozen_parts_a_run_loses_nothing(tiny, tmp_path, step):
    words = tiny(**FROZEN, TRAIN__CHECKPOINT_MINUTES=0, TEST__ENABLE=False)
    (tmp_path / "empty.yaml").write_text("")
    command = [ROOT / "tools/run_net.py", "--cfg", tmp_path / "empty.yaml", *words]
    launch = alone(command, tmp_path / "log")
    launch.wait_for(rf"step {step}/6")
    launch.kill()
    run(load_config(overrides=[*words, "OUTPUT_DIR", str(tmp_path / "undisturbed")]), "tiny")
    run(load_config(overrides=words), "tiny")
    found, expected = (read_weights(tmp_path / name / "last.pt") for name in ("run", "undisturbed"))
    assert_same(found.state, expected.state)
    assert_same(found.training, expected.training)
    assert found.training["progress"]["epoch"] == 3
    frozen = [key for key in found.state if key.startswith(("patch_embed1", "blocks1"))]
    assert len(found.training["optimizer"]["state"]) < len(found.state) - len(frozen)
