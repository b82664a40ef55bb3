"""What stands in place of a weights file is called by its name, not waited for; parts are put together."""

import json
import os
import socket

import pytest
import torch

from uniformer_video.errors import CheckpointError, DamagedError
from uniformer_video.weights.checkpoint import file_sha256, read_weights

STATE = {"norm.weight": torch.arange(5.0), "head.weight": torch.ones(2, 3)}


def refused(path):
    """The one line with which `path` is refused as weights."""
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_sockets_and_devices_do_not_hang(tmp_path, call):
    os.mkfifo(tmp_path / "w.pth")
    assert "is a named pipe, not a weights file" in refused(tmp_path / "w.pth")
    assert "is a device" in refused("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert "is a socket" in refused(tmp_path / "s")
    status, _, errors = call("convert", tmp_path / "w.pth", "--out", tmp_path / "out.pt")
    assert status == 2 and "is a named pipe" in errors


def test_a_distributed_checkpoint_of_torch_is_named(tmp_path):
    dcp = pytest.importorskip("torch.distributed.checkpoint")
    folder = tmp_path / "dcp"
    dcp.save(STATE, checkpoint_id=folder, no_dist=True)
    remedy = f"format_utils dcp_to_torch {folder} weights.pt"
    for place in (folder, folder / "__0_0.distcp"):
        assert "distributed checkpoint of torch" in refused(place) and remedy in refused(place)
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    dcp_to_torch_save(folder, tmp_path / "weights.pt")
    assert read_weights(tmp_path / "weights.pt").state.keys() == STATE.keys()


STEP = "global_step10/mp_rank_00_model_states.pt"
PART = "global_step10/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"


@pytest.mark.parametrize(
    ("files", "place", "message"),
    [
        (["latest", "zero_to_fp32.py", STEP, PART], "", "python {}/zero_to_fp32.py {} weights.pt"),
        (["latest", STEP], "", "python {}/zero_to_fp32.py {} weights.pt"),
        (["latest", "zero_to_fp32.py", STEP, PART], "global_step10", "{}/zero_to_fp32.py {}"),
        (
            ["zero_to_fp32.py", STEP, PART],
            PART,
            "is one part of {}, which is a distributed .* DeepSpeed",
        ),
        (["latest_checkpointed_iteration.txt"], "", "is a checkpoint of Megatron-LM"),
        (["saved_model.pb"], "", "of TensorFlow"),
        ([".metadata", "__0_0.distcp"], "", "is a distributed checkpoint of torch"),
        (["step/.metadata", "step/__0_0.distcp"], "", "is a distributed checkpoint of torch"),
        (
            ["best.pt", "last.pt", "config.yaml"],
            "",
            "give the file in it: {}/best.pt .it holds best.pt",
        ),
        (["model.safetensors", "config.json"], "", "give the file in it: {}/model.safetensors$"),
        (["notes.txt"], "", "is a directory, not a weights file$"),
    ],
)
def test_folders_are_named_with_what_to_do(tmp_path, files, place, message):
    make(tmp_path, *files)
    with pytest.raises(CheckpointError, match=message.replace("{}", str(tmp_path))):
        read_weights(tmp_path / place)


def in_parts(folder, save=torch.save, suffix=".bin"):
    names = {key: f"model-{i:05d}-of-00002{suffix}" for i, key in enumerate(STATE, start=1)}
    for key, name in names.items():
        save({key: STATE[key]}, folder / name)
    index = folder / f"model{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return index


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_weights_in_parts_are_put_together(tmp_path, suffix):
    save = torch.save
    if suffix == ".safetensors":
        save = pytest.importorskip("safetensors.torch").save_file
    index = in_parts(tmp_path, save, suffix)
    for place in (tmp_path, index):
        state = read_weights(place).state
        assert state.keys() == STATE.keys()
        assert all(torch.equal(state[key], STATE[key]) for key in STATE)
    digest = file_sha256(tmp_path)
    assert digest == file_sha256(index)
    last = max(tmp_path.glob(f"model-*{suffix}"))
    save({"head.weight": torch.zeros(2, 3)}, last)
    assert file_sha256(tmp_path) != digest
    last.unlink()
    with pytest.raises(CheckpointError, match=f"of the 2 parts that .* lists, {last.name} is not"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../x.bin"}}', "[" * 99999],
)
def test_a_list_of_parts_that_is_damaged_or_reaches_elsewhere(tmp_path, text):
    (tmp_path / "model.bin.index.json").write_text(text)
    with pytest.raises(DamagedError, match="is not a readable list of the parts"):
        read_weights(tmp_path)


def test_parts_without_tensors_are_named(tmp_path):
    torch.save({"module": {"head.weight": torch.zeros(0)}}, tmp_path / "w.pt")
    assert "tensors of size 0 alone" in refused(tmp_path / "w.pt")
