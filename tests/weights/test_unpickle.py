import argparse
import collections
import pathlib
import re
import sys
import threading
import types

import numpy as np
import pytest
import torch
import yacs.config
from fvcore.common.config import CfgNode
from hostile import WRITERS, CallBySetstate, attacks, torch_file, torch_file_of_opcodes
from torch.serialization import get_safe_globals, safe_globals

from uniformer_video.errors import CheckpointError
from uniformer_video.weights import stand_ins, unpickle
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.weights.container import read_content


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("attack", list(attacks("")))
def test_nothing_in_a_hostile_file_runs(tmp_path, write, attack):
    marker, path = tmp_path / "it ran", tmp_path / "weights.pth"
    hostile, name = attacks(marker)[attack]
    write(path, {"model": {"head.weight": torch.zeros(2, 2)}, "epoch": hostile})
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    assert not marker.exists()
    assert "\n" not in str(error.value)
    if "pickle_of" not in write.__name__:  # there, parts of tensors may be refused before
        assert re.search(f"wants to load {name},", str(error.value))


@pytest.mark.parametrize("attack", list(attacks("")))
def test_a_pickle_without_tensors_is_refused_by_name(tmp_path, attack):
    marker, path = tmp_path / "it ran", tmp_path / "weights.pth"
    hostile, name = attacks(marker)[attack]
    for write in WRITERS:
        write(path, hostile)
        with pytest.raises(
            CheckpointError, match=rf"wants to load {name}, .*could run any program"
        ):
            read_weights(path)
    assert not marker.exists()


@pytest.mark.parametrize("attack", list(attacks("")))
@pytest.mark.parametrize("kind", [argparse.Namespace, types.SimpleNamespace, CfgNode])
def test_nothing_runs_from_the_state_of_an_allowed_object(tmp_path, kind, attack):
    marker, path = tmp_path / "it ran", tmp_path / "weights.pth"
    hostile, name = attacks(marker)[attack]
    torch_file(path, {"args": CallBySetstate(kind, hostile)})
    with pytest.raises(CheckpointError, match=f"wants to load {name},"):
        read_weights(path)
    assert not marker.exists()


def test_a_planted_setstate_is_not_called(tmp_path):
    # Namespace(), then its state {"__setstate__": getattr}, then a second state ("abc", "upper")
    planted = (
        b"\x80\x02cargparse\nNamespace\n)\x81"
        b"}X\x0c\x00\x00\x00__setstate__c__builtin__\ngetattr\nsb"
        b"X\x03\x00\x00\x00abcX\x05\x00\x00\x00upper\x86b."
    )
    torch_file_of_opcodes(tmp_path / "w.pth", planted)
    options = unpickle.load(tmp_path / "w.pth")
    assert isinstance(options, stand_ins.Options)
    assert list(options.values) == ["__setstate__"]
    assert issubclass(options.values["__setstate__"], stand_ins.Inert)
    assert not hasattr(options, "__dict__")


def test_getattr_is_never_the_real_one(tmp_path):
    torch_file_of_opcodes(
        tmp_path / "w.pth",
        b"\x80\x02c__builtin__\ngetattr\nctorch\nTensor\nX\x05\x00\x00\x00numpy\x86R.",
    )
    assert isinstance(unpickle.load(tmp_path / "w.pth"), stand_ins.Inert)


def test_inert_types_of_other_projects_become_plain_data(tmp_path):
    path = tmp_path / "w.pth"
    nested = CfgNode({"MODEL": CfgNode({"DEPTH": [3, 4, 8, 3]})})
    other = yacs.config.CfgNode({"A": 1})
    content = {
        "args": argparse.Namespace(lr=1e-3, names=("a", "b"), inner=types.SimpleNamespace(x=None)),
        "cfg": nested,
        "yacs": other,
        "numbers": [np.float64(0.5), np.float32(0.25), np.int64(7), np.bool_(True), np.str_("hé")],
        "arrays": [np.arange(3), np.array([[1.5, 2.5]]), np.array([object()], dtype=object)],
        "big_endian": np.array([1, 2], dtype=">i4"),
        "dtype": np.dtype("float32"),
        "kinds": [torch.float16, torch.device("cpu")],
        "path": pathlib.Path("/a") / "b.txt",
        "default": collections.defaultdict(list, {"k": [1]}),
        "queue": collections.deque([1, 2], maxlen=5),
        "count": collections.Counter("aab"),
        "loss": torch.tensor(0.5),
        "set": {3},
    }
    torch.save(content, path)
    assert unpickle.plain(unpickle.load(path)) == {
        "args": {"lr": 1e-3, "names": ["a", "b"], "inner": {"x": None}},
        "cfg": {"MODEL": {"DEPTH": [3, 4, 8, 3]}},
        "yacs": {"A": 1},
        "numbers": [0.5, 0.25, 7, True, "hé"],
        "arrays": [[0, 1, 2], [1.5, 2.5]],
        "big_endian": [1, 2],
        "kinds": ["torch.float16", "cpu"],
        "path": "/a/b.txt",
        "default": {"k": [1]},
        "queue": [1, 2],
        "count": {"a": 2, "b": 1},
        "loss": 0.5,
        "set": [3],
    }


def test_logs_of_mmengine_are_read_without_it(tmp_path, monkeypatch):
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def mean(self):
            return 0

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    HistoryBuffer.mean.__module__ = module.__name__
    HistoryBuffer.mean.__qualname__ = "HistoryBuffer.mean"
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    log = HistoryBuffer()
    log._log_history, log._statistics_methods = np.arange(4.0), {"mean": HistoryBuffer.mean}
    state = {"backbone.blocks1.0.norm1.weight": torch.ones(2)}
    torch.save({"state_dict": state, "message_hub": {"log": log}}, tmp_path / "w.pth")
    monkeypatch.undo()
    assert list(read_weights(tmp_path / "w.pth").state) == ["blocks1.0.norm1.weight"]


def test_options_of_lightning_and_hydra_are_read_without_them(tmp_path, monkeypatch):
    made = {}
    for full, base in (
        ("pytorch_lightning.utilities.parsing.AttributeDict", dict),
        ("omegaconf.dictconfig.DictConfig", object),
        ("omegaconf.nodes.AnyNode", object),
    ):
        module, _, name = full.rpartition(".")
        made[name] = type(name, (base,), {"__module__": module})
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
        setattr(sys.modules[module], name, made[name])
    config, node = made["DictConfig"](), made["AnyNode"]()
    config._content, node._val = {"lr": node}, 1e-3
    options = made["AttributeDict"](head_dim=32, inner=config)
    content = {"state_dict": {"net.blocks1.0.norm1.weight": torch.ones(2)}}
    torch.save({**content, "hyper_parameters": options}, tmp_path / "w.ckpt")
    monkeypatch.undo()
    weights = read_weights(tmp_path / "w.ckpt")
    assert list(weights.state) == ["blocks1.0.norm1.weight"]
    assert weights.hints == {"args": {"head_dim": 32}}


def test_the_programs_own_allowances_are_as_before(tmp_path):
    torch.save({"args": argparse.Namespace(a=1)}, tmp_path / "w.pth")
    before = set(get_safe_globals())
    with safe_globals([argparse.Namespace, np.dtype]):
        assert isinstance(unpickle.load(tmp_path / "w.pth")["args"], stand_ins.Options)
        assert set(get_safe_globals()) == before | {argparse.Namespace, np.dtype}
        content = torch.load(tmp_path / "w.pth", weights_only=True)
        assert type(content["args"]) is argparse.Namespace
    (tmp_path / "bad.pth").write_bytes(b"\x80\x02}q\x00")
    with pytest.raises(CheckpointError):
        read_content(tmp_path / "bad.pth", "bad")
    assert set(get_safe_globals()) == before


def test_many_threads_read_at_once(tmp_path):
    torch.save({"args": argparse.Namespace(a=1)}, tmp_path / "w.pth")
    failures = []

    def read():
        try:
            for _ in range(20):
                unpickle.load(tmp_path / "w.pth")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_plain_is_bounded():
    endless = {"a": 1}
    endless["self"] = [endless, endless]
    assert unpickle.plain(endless)["a"] == 1
    bomb = ["x"] * 10
    for _ in range(12):
        bomb = [bomb] * 10
    assert isinstance(unpickle.plain(bomb), list)
    assert unpickle.plain(object()) is None


def test_a_whole_pickled_model_is_refused_with_the_remedy(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        read_weights(tmp_path / "w.pth")


def test_a_harmless_file_of_a_newer_protocol_says_so(tmp_path):
    torch.save({"head.weight": torch.zeros(2, 2)}, tmp_path / "w.pth", pickle_protocol=4)
    with pytest.raises(CheckpointError, match="is in pickle protocol 4, of which only 2"):
        read_weights(tmp_path / "w.pth")
