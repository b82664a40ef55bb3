"""What is frozen stays, costs nothing, and is told."""

import copy

import pytest
import torch
from torch import nn

from uniformer_video.config.settings import load_config
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.runs import build_training
from uniformer_video.runs.run import run
from uniformer_video.training.freezing import Freezing
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.zoo.create import build_network

ALONE = Ranks(0, 1, torch.device("cpu"))
ALL_PARTS = ("stem", "stage1", "stage2", "stage3", "stage4", "head")


def small(name="uniformer_s", **options):
    torch.manual_seed(0)
    if not name.startswith("uniformer"):
        return build_network(name, 3, num_frames=4, crop_size=64)
    depths = [1, 1, 3, 2] if name == "uniformer_xxs" else [1, 1, 2, 1]
    return build_network(name, 3, embed_dims=[8, 8, 16, 16], depths=depths, head_dim=8, **options)


def state_of(model, **settings):
    words = [
        str(word) for key, value in settings.items() for word in (key.replace("__", "."), value)
    ]
    return build_training.build_train_state(load_config(overrides=words), model, "fp32", ALONE)


def take_step(state):
    state.network.train()
    outputs = state.network(torch.randn(2, 3, 4, 64, 64))
    sum(logits.square().sum() for logits in outputs).backward()
    for group in state.optimizer.param_groups:
        group["lr"] = 0.1
    state.optimizer.step()


def changed(model, before):
    """The keys of what is not as `before`."""
    return {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}


def parts_of(keys):
    return {key.split(".")[0] for key in keys}


def test_frozen_parts_neither_change_nor_cost():
    model = small(drop_path_rate=0.5)
    state, before = (
        state_of(model, MODEL__FREEZE="[stem,stage1,stage2]"),
        copy.deepcopy(model.state_dict()),
    )
    entered, frozen_outputs = [], []
    model.patch_embed3.register_forward_pre_hook(lambda _, x: entered.append(x[0].requires_grad))
    for module in (model.patch_embed1, *model.blocks1, model.patch_embed2, *model.blocks2):
        module.register_forward_hook(lambda *args: frozen_outputs.append(args[2].grad_fn))
    take_step(state)
    assert entered == [False]  # nothing before it is kept for a backward pass
    assert frozen_outputs == [None] * 4
    later = {"patch_embed3", "blocks3", "patch_embed4", "blocks4", "norm", "head"}
    assert parts_of(changed(model, before)) == later
    trained = [value for key, value in model.named_parameters() if key.split(".")[0] in later]
    held = [value for group in state.optimizer.param_groups for value in group["params"]]
    assert {id(value) for value in held} == {id(value) for value in trained}
    assert set(state.optimizer.state) == set(trained)
    assert all(value.grad is None for value in model.parameters() if not value.requires_grad)
    assert not any(module.training for block in model.blocks2 for module in block.modules())
    assert model.blocks3.training and model.training


@pytest.mark.parametrize("name", ["uniformer_s", "uniformer_xxs", "x3d_s", "mvit_base_16x4"])
def test_a_linear_probe_trains_the_classifiers_alone(name):
    if name.startswith(("x3d", "mvit")):
        pytest.importorskip("pytorchvideo")
    model = small(name)
    state, before = state_of(model, MODEL__FREEZE="all-but-head"), copy.deepcopy(model.state_dict())
    take_step(state)
    assert changed(model, before) == set(model.head_keys)


def test_only_the_classifier_learns_while_all_else_goes_on_as_in_training():
    model = small()
    state, before = state_of(model, MODEL__DETACH_FINAL_FC=True), copy.deepcopy(model.state_dict())
    take_step(state)
    kept = changed(model, before)
    assert {key for key in kept if "running" not in key and "num_batches" not in key} == set(
        model.head_keys
    )
    assert "blocks1.0.norm1.running_mean" in kept and all(m.training for m in model.modules())


@pytest.mark.parametrize("affine", [False, True])
def test_batch_norms_keep_their_statistics_and_by_choice_their_weights(affine):
    model = small()
    before = copy.deepcopy(model.state_dict())
    state = state_of(model, MODEL__FROZEN_BN=True, MODEL__FROZEN_BN_AFFINE=affine)
    take_step(state)
    now = changed(model, before)
    assert not [key for key in now if "running" in key or "num_batches" in key]
    assert ("blocks1.0.norm1.weight" in now) != affine and ("norm.bias" in now) != affine
    assert "blocks3.0.norm1.weight" in now and "blocks1.0.conv1.weight" in now
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert not any(norm.training for norm in norms) and model.blocks1[0].training


@pytest.mark.parametrize(
    "freezing",
    [
        Freezing(ALL_PARTS),
        Freezing(("all-but-head", "head")),
        Freezing(("head",), final_layer_alone=True),
    ],
)
def test_freezing_all_is_an_error(freezing):
    model = small()
    with pytest.raises(
        ConfigError, match="would freeze all of the model, and leave nothing to train"
    ):
        freezing.apply(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_part_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(
        ConfigError, match=r"'stage5'.*some of stem, stage1, .*, head, or all-but-head"
    ):
        Freezing(("stem", "stage5")).apply(small())


def test_what_is_said():
    model, freezing = small(), Freezing(("stage1", "stage2"), batch_norms=True)
    freezing.apply(model)
    counts, norms, detour = freezing.lines(model)
    total = sum(value.numel() for value in model.parameters())
    frozen = sum(value.numel() for value in model.parameters() if not value.requires_grad)
    assert (
        f"{frozen:,} of {total:,} parameters are frozen" in counts and "[stage1, stage2]" in counts
    )
    assert norms.startswith("MODEL.FROZEN_BN: ") and "BatchNorm layers" in norms
    assert "The backward pass goes through stage1, stage2 all the same" in detour
    assert not list(Freezing().lines(small())) and not Freezing().note_without_weights()
    assert "MODEL.FREEZE [stage1, stage2] and MODEL.FROZEN_BN" in freezing.note_without_weights()
    from_the_stem_on = Freezing(("stem", "stage1"))
    from_the_stem_on.apply(model := small())
    assert len(list(from_the_stem_on.lines(model))) == 1


def test_a_model_without_batch_norms_is_told():
    pytest.importorskip("pytorchvideo")
    model, freezing = small("mvit_base_16x4"), Freezing(batch_norms=True)
    freezing.apply(model)
    assert list(freezing.lines(model)) == [
        "MODEL.FROZEN_BN has no effect: the model has no BatchNorm."
    ]


def test_models_of_any_origin():
    class Foreign(nn.Module):
        """Keeps the contract without its base class, and tells no layers."""

        head_keys = ("fc.weight", "fc.bias")

        def __init__(self):
            super().__init__()
            self.body, self.fc = nn.Linear(2, 2), nn.Linear(2, 2)

    with pytest.raises(
        ConfigError, match=r"Foreign has no group_matcher, which SOLVER\.LAYER_DECAY and"
    ):
        Freezing(("stem",)).apply(Foreign())
    assert Freezing(final_layer_alone=True).apply(Foreign()) == []

    class Own(RecognitionModel):
        """One of a plugin that says nothing of its layers."""

        def __init__(self):
            super().__init__(2)
            self.scale = nn.Parameter(torch.ones(2))
            self.first, self.second, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    own = Own()
    assert Freezing(("stem", "stage1")).apply(own) == [own.first, own.second]
    trained = {key for key, value in own.named_parameters() if value.requires_grad}
    assert trained == {"head.weight", "head.bias"}


def test_a_probe_is_thawed_from_its_best_weights_on(tiny, tmp_path):
    probe = {"MODEL__FREEZE": "all-but-head", "SOLVER__WARMUP_EPOCHS": 0, "TEST__ENABLE": False}
    run(load_config(overrides=tiny(**probe, SOLVER__MAX_EPOCH=1)), "tiny")
    first = read_weights(tmp_path / "run/best.pt").state
    thawed = load_config(
        overrides=tiny(**{**probe, "MODEL__FREEZE": "[stem]"}, SOLVER__MAX_EPOCH=2)
    )
    with pytest.raises(ConfigError, match=r"MODEL\.FREEZE"):
        run(thawed, "tiny")
    run(thawed, "tiny", from_best=True)
    last = read_weights(tmp_path / "run/last.pt").state
    same = parts_of(key for key in first if torch.equal(first[key], last[key]) and "num" not in key)
    assert "patch_embed1" in same and not same & {"blocks4", "head"}


def test_without_any_of_it_a_state_is_as_ever():
    state = state_of(small())
    assert len(state.optimizer.param_groups) == 2 and state.network.resting == ()
    assert not any("lr_scale" in group for group in state.optimizer.param_groups)
