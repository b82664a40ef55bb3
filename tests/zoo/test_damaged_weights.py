"""A damaged weights file is refused by name of the tensor, by whatever reads weights."""

import zipfile
from dataclasses import replace

import pytest
import torch

import uniformer_video as uv
from uniformer_video.errors import CheckpointError, DamagedError
from uniformer_video.weights.checkpoint import write_checkpoint
from uniformer_video.zoo.create import build_network, create_model
from uniformer_video.zoo.registry import MODELS

KEY = "blocks3.0.mlp.fc1.weight"


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """A function: a weights file of a small model, one bit of one tensor flipped."""
    for name in ("uniformer_s", "image_uniformer_s"):
        small = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_dim": 8}
        known = MODELS[name]
        arguments = {**known.arguments, **small}
        monkeypatch.setitem(MODELS, name, replace(known, arguments=arguments))

    def write(name, own):
        path = tmp_path / f"{name}.pth"
        model = build_network(name, 3)
        if own:
            metadata = {"model": {"name": name, "arguments": model.arguments}}
            write_checkpoint(path, model.state_dict(), metadata)
        else:
            torch.save({"model_state": model.state_dict()}, path)
        whole = path.read_bytes()
        start = whole.index(model.state_dict()[KEY].numpy().tobytes())
        path.write_bytes(whole[: start + 9] + bytes([whole[start + 9] ^ 16]) + whole[start + 10 :])
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip()
        return path

    return write


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        ["convert", "FILE", "--out", "OUT.pt"],
        ["convert", "FILE", "--out", "OUT.pt", "--to", "published"],
        ["convert", "FILE", "--out", "OUT.pt", "--to", "mmaction2"],
        ["inflate", "FILE", "--out", "OUT.pt"],
        ["predict", "VIDEO", "--checkpoint", "FILE"],
        ["remap-labels", "LIST", "--from", "FILE", "--to", "k400", "--out", "OUT.csv"],
        ["run", "TRAIN"],
        ["run", "TEST"],
    ],
    ids=lambda words: " ".join(words),
)
def test_every_command_refuses_it_by_the_tensor(
    damaged, command, own, call, tiny, tmp_path, make_video
):
    file = damaged("image_uniformer_s" if command[0] == "inflate" else "uniformer_s", own)
    (tmp_path / "list.csv").write_text("a.mp4,0\n")
    (tmp_path / "c.yaml").write_text("TENSORBOARD: {ENABLE: False}\n")
    words = {"FILE": file, "VIDEO": make_video(frames=4), "LIST": tmp_path / "list.csv"}
    if command[0] == "run":
        train = tiny(UNIFORMER__PRETRAIN_NAME=file)
        test = tiny(TRAIN__ENABLE=False, TEST__CHECKPOINT_FILE_PATH=file)
        given = ["--cfg", tmp_path / "c.yaml", *(train if command[1] == "TRAIN" else test)]
    else:
        given = [
            tmp_path / word if word.startswith("OUT.") else words.get(word, word)
            for word in command[1:]
        ]
    status, _, errors = call(command[0], *given)
    assert status == 2
    last = errors.strip().splitlines()[-1]
    assert f"is damaged: the tensor {KEY} (" in last and str(file) in last
    assert not list(tmp_path.glob("OUT.*"))


def test_python_refuses_it_alike(damaged):
    file = damaged("uniformer_s", True)
    for read in (
        lambda: create_model(checkpoint=file),
        lambda: uv.Predictor.from_checkpoint(file),
    ):
        with pytest.raises(DamagedError, match=f"the tensor {KEY}"):
            read()


@pytest.mark.parametrize("shape", [(), (3,), (2, 0)])
@pytest.mark.parametrize(
    "key", ["patch_embed1.proj.weight", "patch_embed3.proj.weight", "blocks1.0.mlp.fc1.weight"]
)
def test_what_has_no_shape_of_a_weight_tells_no_model(tmp_path, key, shape):
    small = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_dim": 8}
    state = build_network("image_uniformer_s", 3, **small).state_dict()
    path = tmp_path / "odd.pth"
    torch.save({**state, key: torch.zeros(shape)}, path)
    with pytest.raises(CheckpointError, match="name the model it belongs to"):
        create_model(checkpoint=path)


def test_a_stem_without_its_first_convolution_tells_no_model(tmp_path):
    small = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_dim": 8}
    state = build_network("image_uniformer_s", 3, **small, conv_embeds=4).state_dict()
    path = tmp_path / "odd.pth"
    del state["patch_embed1.proj.0.weight"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="name the model it belongs to"):
        create_model(checkpoint=path)
