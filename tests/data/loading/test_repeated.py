"""Repeated augmentation: each drawn video several times in a row, dealt out to the slots as published."""

import math

import numpy as np
import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.loader import TrainPlan
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.randomness import permutation
from uniformer_video.runs import build_clips
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.run import run


def plan_of(videos, slots=1, slot_size=4, repeats=3, weights=None, seed=5):
    return TrainPlan(videos, slots, slot_size, seed, weights, repeats)


def published_shares(shuffled, ranks, repeats=3):
    """What each rank of the published training sees in an epoch, from a shuffled list."""
    n = len(shuffled)
    repeated = [index for index in shuffled for _ in range(repeats)]
    total = math.ceil(n * repeats / ranks) * ranks
    repeated += repeated[: total - len(repeated)]
    kept = math.floor(math.floor(n / 256) * 256 / ranks)
    return [repeated[rank:total:ranks][:kept] for rank in range(ranks)]


@pytest.mark.parametrize(("videos", "ranks"), [(1000, 1), (1000, 8), (256, 3), (511, 5), (2600, 7)])
def test_each_slot_sees_what_a_published_rank_sees(videos, ranks):
    plan = plan_of(videos, ranks, slot_size=4)
    shares = published_shares(permutation(5, 2, videos).tolist(), ranks)
    assert plan.steps_per_epoch == len(shares[0]) // 4  # the last incomplete batch is dropped
    for rank, share in enumerate(shares):
        batches = list(plan.batches(2, 0, (rank,)))
        assert [key.index for batch in batches for key in batch] == share[: 4 * len(batches)]
        assert len(batches) == plan.steps_per_epoch


def test_an_epoch_is_so_many_views_of_a_third():
    plan = plan_of(1000, 2, slot_size=8)
    keys = [key for batch in plan.batches(0, 0, (0, 1)) for key in batch]
    assert len(keys) == 768
    assert len({key.index for key in keys}) == plan.distinct == 256
    # each repeat has a place of its own, which its augmentation is drawn by
    assert sorted(key.position for key in keys) == list(range(768))
    others = {key.index for batch in plan.batches(1, 0, (0, 1)) for key in batch}
    assert len(others - {key.index for key in keys}) > 100


def test_one_two_and_three_processes_and_any_first_step_see_the_same():
    plan = plan_of(600, 6, slot_size=4)
    whole = [list(plan.batches(3, 0, (slot,))) for slot in range(6)]
    for processes in (1, 2, 3):
        for rank in range(processes):
            own = Ranks(rank, processes, torch.device("cpu")).own_slots(6)
            seen = list(plan.batches(3, 0, own))
            expected = [whole[slot][step] for step in range(plan.steps_per_epoch) for slot in own]
            assert seen == expected
            assert list(plan.batches(3, 7, own)) == expected[7 * len(own) :]


def test_a_step_that_processes_cannot_share_names_the_setting():
    with pytest.raises(ConfigError, match=r"that divides 3, or set NUM_GPUS .*: 2 on one"):
        Ranks(0, 2, torch.device("cpu")).own_slots(3)


def test_copies_of_a_video_reach_different_slots():
    first_step = [next(plan_of(600, 3, 4).batches(0, 0, (slot,))) for slot in range(3)]
    assert len({tuple(key.index for key in batch) for batch in first_step}) == 1
    assert all(len({key.index for key in batch}) == 4 for batch in first_step)


def test_a_short_list_is_not_cut_to_nothing():
    plan = plan_of(30, 2, slot_size=4)
    keys = [key for batch in plan.batches(0, 0, (0, 1)) for key in batch]
    assert len(keys) == 24 and len({key.index for key in keys}) == plan.distinct == 8
    assert plan.repeats_line() == (
        "AUG.REPEATED 3: an epoch is 24 views of 8 of the 30 of the training list; 6 views left out by the "
        "cut to whole steps; for that to whole 256s it is too short."
    )
    assert plan_of(700, 2, slot_size=5).repeats_line() == (
        "AUG.REPEATED 3: an epoch is 510 views of 170 of the 700 of the training list; 190 views left out by "
        "cuts to whole 256s and to whole steps."
    )
    assert plan_of(24, 2, slot_size=4).repeats_line() == (
        "AUG.REPEATED 3: an epoch is 24 views of 8 of the 24 of the training list; none is left out."
    )
    assert plan_of(30, repeats=1).repeats_line() == ""


def test_without_repeats_nothing_changes():
    plan = plan_of(1000, 2, slot_size=8, repeats=1)
    keys = [key for batch in plan.batches(0, 0, (0, 1)) for key in batch]
    assert [key.index for key in keys] == permutation(5, 0, 1000)[: len(keys)].tolist()
    assert len(keys) == 992 and [key.position for key in keys] == list(range(992))


def test_a_step_larger_than_what_is_kept_says_so():
    with pytest.raises(ConfigError) as error:
        plan_of(300, 1, slot_size=280)
    message = str(error.value)
    assert "takes 280 videos" in message and "has 300, of which AUG.REPEATED keeps 256" in message
    assert "TRAIN.BATCH_SIZE 256 or less" in message


def test_weights_hold_for_what_is_repeated():
    weights = np.repeat([1.0, 3.0], 300)
    plan = plan_of(600, 2, slot_size=8, weights=weights)
    for epoch in range(3):
        order = plan.order(epoch)
        assert len(order) == 600
        assert np.array_equal(order[::3], order[1::3]) and np.array_equal(order[::3], order[2::3])
        assert np.count_nonzero(order[::3] >= 300) == 150  # three quarters of 200
    assert " draws by weight from the 600 of the training list" in plan.repeats_line()


def test_the_config_repeats(tiny):
    data = Data(["a", "b"], train=[VideoRecord(f"{i}", f"{i}", (i % 2,)) for i in range(40)])
    for settings, repeats in (
        ({}, 1),
        ({"AUG__REPEATED": 3}, 3),
        ({"AUG__REPEATED": 3, "AUG__ENABLE": False}, 1),
    ):
        cfg = load_config(overrides=tiny(**settings))
        plan = build_clips.build_train_loader(cfg, data, Ranks(0, 1, torch.device("cpu"))).plan
        assert plan.repeats == repeats


def test_a_run_says_what_an_epoch_is(tiny, caplog):
    caplog.set_level("INFO")
    cfg = load_config(overrides=tiny(AUG__REPEATED=3, TRAIN__EVAL_PERIOD=0, TEST__ENABLE=False))
    run(cfg, "tiny")
    assert any("AUG.REPEATED 3: an epoch is" in record.getMessage() for record in caplog.records)
