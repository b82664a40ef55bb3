"""BatchNorm's running statistics of a run: those of torch where it is right, and what it leaves out."""

import copy

import pytest
import torch
from torch import distributed as dist
from torch import nn
from torch.utils.checkpoint import checkpoint

from uniformer_video.training.batch_statistics import BatchStatistics
from uniformer_video.zoo.create import build_network

TAKEN, LEFT_OUT = torch.tensor(True), torch.tensor(False)


class Norms(nn.Module):
    """A layer of each kind: called once, with a momentum of its own twice, by count, frozen, a teacher."""

    def __init__(self):
        super().__init__()
        self.once = nn.BatchNorm1d(4)
        self.by_count = nn.BatchNorm1d(4, momentum=None)
        self.twice = nn.BatchNorm1d(4, momentum=0.3)
        self.frozen = nn.BatchNorm1d(4)
        self.without = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, x, recompute=None):
        def stem(x):
            return self.by_count(self.once(x)).tanh()

        x = stem(x) if recompute is None else checkpoint(stem, x, use_reentrant=recompute)
        self.frozen.eval()
        return self.without(self.twice(self.twice(x) ** 2 + self.frozen(x))).sum()


def slots(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(6, 4, dtype=torch.float64, generator=generator, requires_grad=True)
        for _ in range(count)
    ]


def step(statistics, model, inputs, taken=TAKEN, **options):
    rows = []
    for x in inputs:
        with statistics.record_pass():
            loss = model(x, **options)
            rows.append(statistics.row(torch.float64, "cpu"))
        loss.backward()
    statistics.fold(torch.stack(rows), taken)


def assert_equal(model, expected):
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=1e-14, msg=key)


@pytest.mark.parametrize("recompute", [None, False, True], ids=["plain", "recomputed", "reentrant"])
def test_folded_notes_are_what_torch_writes_on_the_spot(recompute):
    model = Norms().double()
    expected, statistics = copy.deepcopy(model), BatchStatistics(model)
    with statistics.attach():
        for seed in range(3):
            step(statistics, model, slots(seed=seed), recompute=recompute)
    for seed in range(3):
        for x in slots(seed=seed):
            expected(x.detach())
    assert_equal(model, expected)
    assert model.once.num_batches_tracked == 9
    assert model.twice.num_batches_tracked == 18
    assert model.frozen.num_batches_tracked == 0


def test_slots_on_other_processes_are_folded_in_their_order():
    model = Norms().double()
    expected, statistics = copy.deepcopy(model), BatchStatistics(model)
    parts = []
    with statistics.attach():
        for x in slots():
            with statistics.record_pass():
                model(x)
                parts.append(statistics.row(torch.float64, "cpu"))
    statistics.fold(torch.stack(parts), TAKEN)
    for x in slots():
        expected(x.detach())
    assert_equal(model, expected)
    statistics.fold(torch.stack(parts[::-1]), TAKEN)
    with pytest.raises(AssertionError):
        assert_equal(model, expected)


def test_a_step_that_is_left_out_leaves_no_trace_nor_does_the_next_remember_it():
    model = Norms().double()
    expected, statistics = copy.deepcopy(model), BatchStatistics(model)
    with statistics.attach():
        step(statistics, model, slots())
        before = copy.deepcopy(model.state_dict())
        poisoned = slots(seed=1)
        poisoned[1].data[0, 0] = float("inf")
        step(statistics, model, poisoned, LEFT_OUT)
        for key, value in model.state_dict().items():
            assert torch.equal(value, before[key]), key
        step(statistics, model, slots(seed=2))
    for seed in (0, 2):
        for x in slots(seed=seed):
            expected(x.detach())
    assert_equal(model, expected)


def test_whoever_saves_the_model_in_the_middle_of_a_pass_saves_the_true_statistics():
    """As the thread does that saves a run whose other process is lost."""
    model = Norms().double()
    statistics, saved = BatchStatistics(model), []
    with statistics.attach():
        step(statistics, model, slots())
        before = copy.deepcopy(model.state_dict())
        watcher = model.once.register_forward_pre_hook(
            lambda *_args: saved.append(copy.deepcopy(model.state_dict()))
        )
        with statistics.record_pass():
            model(slots(1, seed=1)[0])
        watcher.remove()
    (found,) = saved
    assert found.keys() == before.keys()
    for key, value in found.items():
        assert torch.equal(value, before[key]), key


def test_passes_that_nobody_notes_change_nothing_and_afterwards_torch_is_as_it_was():
    model = Norms().double()
    before, statistics = copy.deepcopy(model), BatchStatistics(model)
    with statistics.attach():
        model(slots(1)[0])
        assert_equal(model, before)
    model(slots(1)[0])
    assert model.once.num_batches_tracked == 1
    assert not model.once._forward_hooks and not model.once._forward_pre_hooks


def test_a_momentum_that_is_changed_on_the_way_counts_from_then_on():
    model = Norms().double()
    expected, statistics = copy.deepcopy(model), BatchStatistics(model)
    with statistics.attach():
        step(statistics, model, slots())
        model.once.momentum = 0.7
        step(statistics, model, slots(seed=1))
    for seed, momentum in ((0, 0.1), (1, 0.7)):
        expected.once.momentum = momentum
        for x in slots(seed=seed):
            expected(x.detach())
    assert_equal(model, expected)


def test_a_synchronised_layer_is_folded_once(monkeypatch):
    """Its statistics are those of all processes of its group, so the first one's note counts."""

    class Synchronised(nn.SyncBatchNorm):
        def forward(self, x):  # torch's own needs a GPU; it asks for the count too
            assert self.num_batches_tracked is not None
            return nn.BatchNorm1d.forward(self, x)

        def _check_input_dim(self, x):
            pass

    notes = {}
    for rank in (0, 1):
        model = nn.Sequential(Synchronised(4), nn.BatchNorm1d(4))
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_process_group_ranks", lambda group: [0, 1])
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        model[0].process_group = "the whole run"
        statistics = BatchStatistics(model)
        with statistics.attach(), statistics.record_pass():
            model(torch.randn(6, 4))
            notes[rank] = statistics.row(torch.float32, "cpu")
    half = len(notes[0]) // 2
    assert notes[0][0] == notes[0][half] == notes[1][half] == 1
    assert not notes[1][:half].any()
    statistics.fold(torch.stack([notes[0], notes[1]]), TAKEN)
    assert model[0].num_batches_tracked == 1
    assert model[1].num_batches_tracked == 2


@pytest.mark.parametrize("recomputed", [(0, 0, 0, 0), (1, 1, 0, 0)])
def test_a_uniformer_that_recomputes_counts_each_batch_once(recomputed):
    torch.manual_seed(0)
    options = {"embed_dims": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "head_dim": 8}
    model = build_network("uniformer_s", 4, checkpoint_blocks=recomputed, **options).train()
    statistics, clips = BatchStatistics(model), torch.randn(2, 3, 4, 32, 32)
    assert len(statistics.layers) == 5
    with statistics.attach():
        with statistics.record_pass():
            loss = model(clips).sum()
            row = statistics.row(torch.float32, "cpu")
        loss.backward()
        statistics.fold(row[None], TAKEN)
    assert [int(layer.num_batches_tracked) for layer in statistics.layers] == [1] * 5
    torch.manual_seed(0)
    plain = build_network("uniformer_s", 4, **options).train()
    plain(clips)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, msg=key)
