"""The state of a training as one object, and who saves it."""

import copy

import pytest
import torch
from same import assert_same
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_module
from toy_average import ToyAverage

from uniformer_video.config.settings import load_config
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.runs import build_training
from uniformer_video.training.optim import adamw
from uniformer_video.training.saver import Saver
from uniformer_video.training.state import Progress, TrainingOutputs, TrainState
from uniformer_video.zoo.create import build_network

CPU = torch.device("cpu")


def small_state(**parts):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    return TrainState(
        model=model,
        network=model,
        optimizer=adamw(model, 0.1),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        parts={name: make(model) for name, make in parts.items()},
    )


def take_step(state, taken=True):
    state.model(torch.randn(4, 2)).square().sum().backward()
    for group in state.optimizer.param_groups:
        group["lr"] = 0.1
    if taken:
        state.optimizer.step()
    state.optimizer.zero_grad()
    state.after_step(torch.tensor(taken))


def test_a_state_is_handed_over_as_one_object():
    state, other = small_state(average=ToyAverage), small_state(average=ToyAverage)
    for _ in range(3):
        take_step(state)
    state.progress = Progress(epoch=1)
    state.progress.note_scores({"raw": 0.25, "average": 0.5}, 1)
    state.progress.epoch, state.progress.step = 2, 1
    assert other.load_state_dict(copy.deepcopy(state.state_dict())) == []
    assert_same(other.state_dict(), state.state_dict())
    torch.manual_seed(1)
    take_step(state)
    torch.manual_seed(1)
    take_step(other)
    assert_same(other.state_dict(), state.state_dict())


def test_a_part_that_was_not_saved_starts_from_the_weights_and_one_that_is_not_kept_is_told():
    with_average, without = small_state(average=ToyAverage), small_state()
    take_step(with_average)
    saved = copy.deepcopy(with_average.state_dict())
    assert without.load_state_dict(saved) == [
        "holds 'average', which this run does not keep: left out"
    ]
    assert_same(without.model.state_dict(), with_average.model.state_dict())
    del saved["parts"]  # as in a checkpoint from before there were any
    assert with_average.load_state_dict(saved) == [
        "holds no 'average', which starts from its weights"
    ]
    assert_same(with_average.tested_weights()["average"], without.model.state_dict())
    assert with_average.parts["average"].steps == 0


def test_weights_alone_start_the_parts_too():
    state, other = small_state(average=ToyAverage), small_state()
    take_step(state)
    take_step(other)
    state.start_from(copy.deepcopy(other.model.state_dict()), Progress(epoch=1))
    assert_same(state.tested_weights()["average"], other.model.state_dict())
    assert state.progress.epoch == 1


@pytest.mark.parametrize("where", ["model", "optimizer", "average"])
def test_a_number_that_is_not_finite_is_found_wherever_it_is(where):
    state = small_state(average=ToyAverage)
    take_step(state)
    assert state.is_finite()
    tensor = {
        "model": state.model[0].weight.data,
        "optimizer": next(iter(state.optimizer.state.values()))["exp_avg"],
        "average": state.tested_models["average"][0].weight.data,
    }[where]
    tensor.view(-1)[1] = float("nan")
    assert not state.is_finite()


def test_the_optimiser_holds_the_parameters_that_a_wrapper_puts_in_place(tiny):
    """As wrappers that shard a model do."""

    class Sharding(Ranks):
        def wrap(self, model):
            assert isinstance(model, TrainingOutputs)
            for module in model.modules():
                for name, parameter in list(module.named_parameters(recurse=False)):
                    setattr(module, name, torch.nn.Parameter(parameter.detach().clone()))
            return model

    model = build_network(
        "uniformer_s", 4, embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1], head_dim=8
    )
    state = build_training.build_train_state(
        load_config(overrides=tiny()), model, "fp32", Sharding(0, 1, CPU)
    )
    held = {id(p) for group in state.optimizer.param_groups for p in group["params"]}
    assert held == {id(parameter) for parameter in model.parameters()}


class Others:
    """Ranks of which this process is not the main one, or is a lone survivor, who may ask nobody."""

    device = CPU

    def __init__(self, alone=False):
        self.alone = alone

    def on_main(self, action):
        assert not self.alone


def saver(state, ranks, write):
    cfg = load_config(overrides=["SOLVER.MAX_EPOCH", "2", "SOLVER.WARMUP_EPOCHS", "0"])
    return Saver(
        state=state,
        settings=build_training.build_train_settings(cfg),
        timetable=build_training.build_timetable(cfg, 4),
        ranks=ranks,
        write=write,
        remedy=str,
    )


def test_all_processes_give_their_state_and_only_the_main_one_writes(monkeypatch):
    state, asked, written = small_state(average=ToyAverage), [], []
    for name in ("state_dict", "tested_weights"):
        monkeypatch.setattr(TrainState, name, lambda self, name=name: asked.append(name))
    other = saver(state, Others(), lambda *args: written.append(args))
    state.progress.step = 1
    other.save()
    assert asked == ["state_dict", "tested_weights"]
    assert not written
    assert other.rescue(False).startswith("all up to step 1 is saved")


def test_a_lone_survivor_saves_without_asking_anybody():
    state, written = small_state(average=ToyAverage), []
    take_step(state)
    lone = saver(state, Others(alone=True), lambda *args: written.append(args))
    state.progress.step = 3
    assert lone.position() == 3
    assert lone.rescue(True).startswith("all up to step 3 is saved")
    ((saved, weights, improved),) = written
    assert_same(saved, state.state_dict())
    assert_same(weights, state.tested_weights())
    assert not improved


def test_of_a_sharded_state_a_lone_survivor_can_save_nothing(monkeypatch):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        state = small_state()
        lone = saver(state, Others(alone=True), None)
        assert lone.position() == 0
        distribute_module(state.model, init_device_mesh("cpu", (1,)))
        assert lone.position() is None
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": None},
        {"epoch": -5},
        {"epoch": 1.5},
        {"step": "x"},
        {"step": 10**13},
        {"best_score": None},
        {"best_score": 1e9},
        {"seconds": float("nan")},
        {"bad_videos": []},
        {"best_weights": 1},
        {"best_of": []},
        {"best_of": {"raw": 0.5}},
        {"best_of": {"raw": [0.5, "x"]}},
        {"best_of": {"raw": [float("nan"), 1]}},
        {"unknown": 1},
    ],
)
def test_progress_that_no_run_can_have_is_damage(changes):
    with pytest.raises((TypeError, ValueError)):
        Progress.from_dict({**vars(Progress()), **changes})
    with pytest.raises(ValueError):
        Progress.from_dict({})
