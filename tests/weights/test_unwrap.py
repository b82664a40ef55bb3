import argparse
import itertools
import re

import numpy as np
import pytest
import torch

from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint

STATE = {
    "patch_embed1.proj.weight": torch.arange(3.0),
    "blocks1.0.attn.weight": torch.arange(4.0).view(2, 2),
    "head.weight": torch.arange(6.0).view(3, 2),
}
AVERAGE = {key: value + 100 for key, value in STATE.items()}


def prefixed(prefix, state=STATE):
    return {prefix + key: value for key, value in state.items()}


def read(tmp_path, content, select="model"):
    torch.save(content, tmp_path / "w.pth")
    return read_weights(tmp_path / "w.pth", select)


def assert_state(weights, expected=STATE):
    assert list(weights.state) == list(expected)
    assert all(torch.equal(weights.state[key], value) for key, value in expected.items())


WRAPPINGS = [
    lambda state: state,
    lambda state: {"model": state},
    lambda state: {"model_state": state, "epoch": 3, "cfg": "text", "optimizer_state": {}},
    lambda state: {"state_dict": state},
    lambda state: {"model_state_dict": state},
    lambda state: {"module": state},
    lambda state: {"state_dict": {"module": state}},
    lambda state: {"model": {"name": "uniformer_s"}, "state_dict": state},
    *(
        lambda state, name=name: {name: state, "epoch": 3, "optimizer": {"m": torch.ones(1)}}
        for name in ("net", "network", "params", "weights", "student", "teacher", "ema", "my_model")
    ),
    lambda state: {"student": state, "teacher": AVERAGE},
    lambda state: {"params": state, "params_ema": AVERAGE},
    lambda state: {"trainer": {"net": {"module": state}}, "optimizer": {"m": torch.ones(1)}},
    lambda state: {"state_dict": prefixed("model.", state), "cfg": {"model": {"weights": "x"}}},
]


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_every_wrapping(tmp_path, wrap):
    assert_state(read(tmp_path, wrap(STATE)))


@pytest.mark.parametrize(
    "prefix",
    ["".join(parts) for parts in itertools.permutations(["module.", "_orig_mod.", "model."])]
    + ["module.", "_orig_mod.", "model.", "module.module.", "_fsdp_wrapped_module."],
)
def test_every_prefix(tmp_path, prefix):
    assert_state(read(tmp_path, {"model": prefixed(prefix)}))


def test_prefixes_of_inner_modules_and_of_some_keys(tmp_path):
    inner = {
        key.replace("blocks1.0.", "blocks1.0._orig_mod._checkpoint_wrapped_module."): value
        for key, value in STATE.items()
    }
    assert_state(read(tmp_path, inner))
    some = {"module.norm.weight": torch.ones(1), "head.bias": torch.ones(1)}
    assert_state(read(tmp_path, some), some)
    twice = {"head.weight": torch.ones(1), "_orig_mod.head.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="under two names"):
        read(tmp_path, twice)


AVERAGES = {
    "timm": {"state_dict": STATE, "state_dict_ema": AVERAGE},
    "deit": {"model": STATE, "model_ema": AVERAGE},
    "ddp": {"model": STATE, "model_ema": prefixed("module.", AVERAGE)},
    "torch": {
        "model": STATE,
        "ema": {"n_averaged": torch.tensor(3), **prefixed("module.", AVERAGE)},
    },
    "nested": {"model": STATE, "ema": {"module": AVERAGE, "decay": 0.99}},
    "nested twice": {"model": STATE, "ema_state": {"state_dict": prefixed("module.", AVERAGE)}},
    "pyslowfast": {"model_state": STATE, "model_ema_state": AVERAGE},
    "other": {"model": STATE, "ema_state_dict": AVERAGE},
    # MMEngine exchanges the two when it saves
    "mmengine": {
        "meta": {"mmengine_version": "0.10.0"},
        "state_dict": AVERAGE,
        "ema_state_dict": {"steps": torch.tensor(3), **prefixed("module.")},
    },
}


def larger(prefix, state=STATE, **beside):
    """`state` under a prefix among tensors that are no part of the model."""
    return {**prefixed(prefix, state), **{key.replace("__", "."): v for key, v in beside.items()}}


PROGRAMS = [
    larger("net.", criterion__weight=torch.ones(3)),
    larger("model.", criterion__weight=torch.ones(3)),
    larger("", criterion__weight=torch.ones(3), train_acc__tp=torch.ones(1)),
    larger("model.net.", loss_fn__weight=torch.ones(3)),
    larger("uniformer.encoder."),
    {
        "uniformer.embeddings.patch_embed1.proj.weight": STATE["patch_embed1.proj.weight"],
        "uniformer.encoder.blocks1.0.attn.weight": STATE["blocks1.0.attn.weight"],
        "classifier.weight": STATE["head.weight"],
    },
    larger("backbone."),
    larger("student.", teacher__norm__weight=torch.ones(1)),
    {**larger("net."), **prefixed("net_ema.", AVERAGE)},
    {**larger("model."), **prefixed("ema_model.module.", AVERAGE)},
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_model_inside_a_larger_program(tmp_path, program, caplog):
    weights = read(tmp_path, {"state_dict": program})
    assert set(weights.state) == set(STATE)
    assert all(torch.equal(weights.state[key], value) for key, value in STATE.items())
    left_out = len(program) - len(STATE)
    assert ("left out, no part of the model" in caplog.text) == bool(left_out)


@pytest.mark.parametrize(
    "head", ["classifier.", "uniformer.head.", "head.fc.", "model.classifier.", "cls_head.fc_cls."]
)
def test_the_classifier_may_stand_outside(tmp_path, head):
    state = {key: value for key, value in STATE.items() if not key.startswith("head")}
    program = {
        **prefixed("uniformer.encoder.", state),
        "uniformer.norm.weight": torch.ones(2),
        f"{head}weight": STATE["head.weight"],
        f"{head}bias": torch.zeros(3),
        "criterion.head.weight": torch.ones(3, 2),
    }
    found = read(tmp_path, program).state
    expected = {**STATE, "norm.weight": torch.ones(2), "head.bias": torch.zeros(3)}
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_backbone_and_a_head_saved_apart_are_one_model(tmp_path):
    body = {key: value for key, value in STATE.items() if not key.startswith("head")}
    head = {"weight": STATE["head.weight"]}
    weights = read(tmp_path, {"backbone": body, "head": head, "epoch": 1})
    assert set(weights.state) == set(STATE)


def test_averaged_weights_beside_the_others_by_prefix(tmp_path):
    program = {"state_dict": {**prefixed("net."), **prefixed("ema.net.", AVERAGE)}}
    assert_state(read(tmp_path, program, "ema"), AVERAGE)
    assert_state(read(tmp_path, program), STATE)


def test_several_models_are_not_chosen_from(tmp_path):
    two = {**prefixed("first."), **prefixed("second.")}
    with pytest.raises(CheckpointError, match=r"holds several UniFormers \(first\., second\.\)"):
        read(tmp_path, {"state_dict": two})
    with pytest.raises(CheckpointError, match=r"several sets of tensors \(first, second\)"):
        read(tmp_path, {"first": STATE, "second": STATE})


def test_weights_of_other_kinds_beside_a_loss(tmp_path, caplog):
    state = {"blocks.0.conv.conv_t.weight": torch.ones(1), "blocks.5.proj.weight": torch.ones(2, 2)}
    weights = read(tmp_path, larger("net.", state, criterion__weight=torch.ones(1)))
    assert_state(weights, state)
    assert "criterion.weight" in caplog.text


def test_options_of_a_run_of_lightning_are_hints(tmp_path):
    content = {"state_dict": prefixed("net."), "hyper_parameters": {"head_dim": 32, "lr": 1e-3}}
    assert read(tmp_path, content).hints == {"args": {"head_dim": 32, "lr": 1e-3}}


@pytest.mark.parametrize("name", list(AVERAGES))
def test_averaged_weights(tmp_path, name):
    assert_state(read(tmp_path, AVERAGES[name], "ema"), AVERAGE)
    if name != "mmengine":
        assert_state(read(tmp_path, AVERAGES[name]), STATE)


BESIDE = [
    (
        {"student": STATE, "teacher": AVERAGE},
        r'student and .* of teacher; weights="ema" .*takes teacher',
    ),
    ({"net": STATE, "ema": AVERAGE, "loss": STATE}, r'takes .* net and .* of ema; weights="ema"'),
    (
        {"state_dict": {"model": STATE, "model_ema": AVERAGE}},
        "model and .* of model_ema; for others",
    ),
    ({"model": STATE, "best_model": AVERAGE}, "model and .* of best_model; for others, save them"),
    ({**STATE, "model_ema": AVERAGE}, "takes .* the top level and .* of model_ema; weights="),
]


@pytest.mark.parametrize(("content", "said"), BESIDE)
def test_several_sets_of_tensors_are_told(tmp_path, caplog, content, said):
    assert_state(read(tmp_path, content))
    (line,) = caplog.messages
    assert re.search(said, line)


def test_several_averages_are_told_and_one_set_is_not(tmp_path, caplog):
    content = {"model": STATE, "ema": AVERAGE, "optimizer": {"m": torch.ones(1)}}
    assert_state(read(tmp_path, content, "ema"), AVERAGE)
    assert_state(read(tmp_path, {"model": STATE, "optimizer": {"m": torch.ones(1)}}))
    write_checkpoint(tmp_path / "own.pt", STATE, {}, training={"ema": AVERAGE})
    read_weights(tmp_path / "own.pt")
    assert not caplog.messages
    assert_state(read(tmp_path, {**content, "teacher": STATE}, "ema"), AVERAGE)
    assert "takes the tensors of ema and leaves out those of teacher" in caplog.text


def test_averaged_weights_of_our_own_training_state(tmp_path):
    write_checkpoint(tmp_path / "own.pt", STATE, {"a": 1}, training={"ema": AVERAGE})
    weights = read_weights(tmp_path / "own.pt", "ema")
    assert_state(weights, AVERAGE)
    assert weights.metadata == {"a": 1, "weights": {"chosen": "ema"}}


def test_a_file_without_averaged_weights_says_what_it_has(tmp_path):
    with pytest.raises(CheckpointError, match=r"no EMA.*it has model, epoch"):
        read(tmp_path, {"model": STATE, "epoch": 3}, "ema")
    with pytest.raises(CheckpointError, match=r"no EMA.*k7 and 12 more"):
        read(tmp_path, {f"k{i}": torch.ones(1) for i in range(20)}, "ema")
    with pytest.raises(ConfigError, match="model, ema, raw, got 'average'"):
        read(tmp_path, STATE, "average")


def test_mmaction2_files_have_our_keys(tmp_path):
    body = {key: value for key, value in STATE.items() if not key.startswith("head")}
    state = {
        **prefixed("backbone.", body),
        "cls_head.fc_cls.weight": STATE["head.weight"],
        "cls_head.fc_cls.bias": torch.arange(3.0),
        "data_preprocessor.mean": torch.ones(3),
    }
    meta = {"epoch": 9, "dataset_meta": {"classes": ["a", "b", "c"]}, "cfg": "model = dict()"}
    weights = read(tmp_path, {"state_dict": prefixed("module.", state), "meta": meta})
    assert_state(weights, {**STATE, "head.bias": torch.arange(3.0)})
    assert weights.hints == {"meta": meta, "layout": "mmaction2"}


@pytest.mark.parametrize(
    "state",
    [
        {"blocks.0.conv.weight": torch.ones(1), "blocks.5.proj.weight": torch.ones(4, 2)},
        {"blocks.0.proj.weight": torch.ones(1), "head.proj.weight": torch.ones(4, 2)},
        {"backbone.conv.weight": torch.ones(1), "head.weight": torch.ones(4, 2)},
        {"net.conv.weight": torch.ones(1), "metric_fc.weight": torch.ones(4, 2)},
    ],
)
def test_other_architectures_keep_their_keys(tmp_path, state):
    weights = read(tmp_path, {"model_state": state})
    assert_state(weights, state)


def test_a_structure_that_contains_itself(tmp_path):
    endless = {"epoch": 3}
    endless["model"] = endless
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read(tmp_path, endless)


def test_hints_of_other_projects(tmp_path):
    text = "UNIFORMER:\n  HEAD_DIM: 64\n  DEPTH: [3, 4, 8, 3]\nTRAIN:\n  ENABLE: true\n"
    weights = read(tmp_path, {"model_state": STATE, "epoch": np.int64(109), "cfg": text})
    config = {"UNIFORMER": {"HEAD_DIM": 64, "DEPTH": [3, 4, 8, 3]}, "TRAIN": {"ENABLE": True}}
    assert weights.hints == {"config": config, "epoch": 109}
    assert weights.metadata == {}

    options = argparse.Namespace(model="uniformer_small", lr=np.float64(1e-3), drop=None)
    weights = read(tmp_path, {"model": STATE, "args": options, "epoch": 299})
    args = {"model": "uniformer_small", "lr": 1e-3, "drop": None}
    assert weights.hints == {"args": args, "epoch": 299}


@pytest.mark.parametrize(
    "text",
    ["just text", "a: [", "!!python/object/apply:os.system ['touch x']", "- 1\n- 2", "[" * 1500],
)
def test_settings_that_cannot_be_parsed_are_left_out(tmp_path, text):
    assert read(tmp_path, {"model_state": STATE, "cfg": text}).hints == {}


@pytest.mark.parametrize(
    "damage",
    [{"metadata": 3}, {"model": 3}, {"training": []}, {"metadata": None}],
)
def test_our_own_checkpoint_made_wrong(tmp_path, damage):
    own = {"format": "uniformer-video checkpoint", "version": 1, "metadata": {}, "model": STATE}
    assert_state(read(tmp_path, own))
    with pytest.raises(CheckpointError, match="damaged"):
        read(tmp_path, {**own, **damage})
    with pytest.raises(CheckpointError, match=r"newer uniformer-video \(format 9\); upgrade"):
        read(tmp_path, {**own, "version": 9})
