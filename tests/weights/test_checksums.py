import errno
import io
import zipfile

import pytest
import torch

from uniformer_video.errors import CheckpointError, DamagedError
from uniformer_video.weights import unpickle
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint
from uniformer_video.weights.container import FORMAT, read_content

STATE = {
    "norm.weight": torch.arange(5.0),
    "head.weight": torch.arange(6.0).view(2, 3),
    "head.bias": torch.ones(2),
}


def state_file(path):
    torch.save(STATE, path)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


def legacy_bytes(content):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def refused(path, data):
    """The one line with which a file of these bytes is refused as damaged."""
    path.write_bytes(data)
    with pytest.raises(DamagedError) as error:
        read_content(path, "w.pt")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("w.pt ")
    assert "get it again" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("content", [STATE, {"epoch": 3}, {"empty": torch.zeros(0)}])
def test_legacy_files_end_where_their_last_tensor_does(tmp_path, content):
    path, whole = tmp_path / "w.pt", legacy_bytes(content)
    path.write_bytes(whole)
    assert same(read_content(path, "w.pt"), content)
    for size in range(len(whole)):
        refused(path, whole[:size])
    for more in (b"\0", b"x", bytes(8), b"x" * 5000, whole):
        refused(path, whole + more)


def test_safetensors_files_end_where_their_last_tensor_does(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "w.safetensors"
    write_checkpoint(path, STATE, {"epoch": 3})
    whole = path.read_bytes()
    assert same(dict(sorted(STATE.items())), read_weights(path).state)
    for size in range(2, len(whole)):  # one byte may be a text
        refused(path, whole[:size])
    for more in (b"\0", b"x", bytes(8), b"x" * 5000, whole):
        refused(path, whole + more)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: ..."),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_too_little_memory_is_no_damage(tmp_path, monkeypatch, error, suffix):
    def fail(*arguments):
        raise error

    if suffix == "safetensors":
        library = pytest.importorskip("safetensors.torch")
        monkeypatch.setattr(library, "load_file", fail)
    monkeypatch.setattr(unpickle, "load", fail)
    path = tmp_path / f"w.{suffix}"
    write_checkpoint(path, STATE, {})
    with pytest.raises(CheckpointError, match=r"^not enough memory to read .*w\.\w+$") as caught:
        read_weights(path)
    assert not isinstance(caught.value, DamagedError)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": FORMAT, "version": 9, "metadata": {}, "model": STATE}, "newer uniformer-video"),
        ({"model": torch.nn.Linear(2, 2)}, "wants to load"),
        ({"epoch": 3}, "holds no tensors"),
    ],
)
def test_whole_files_that_do_not_serve_are_no_damage(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        read_weights(tmp_path / "w.pt")
    assert not isinstance(caught.value, DamagedError)


def test_other_archives_are_no_damage(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("read\nme", "hello")
    with pytest.raises(CheckpointError, match=r"did not write \(it holds 'read\\nme'\)") as caught:
        read_content(tmp_path / "w.pt", "w.pt")
    assert not isinstance(caught.value, DamagedError)


def test_metadata_that_is_none_is_damage(tmp_path):
    torch.save({"format": FORMAT, "version": 1, "metadata": 3, "model": STATE}, tmp_path / "w.pt")
    with pytest.raises(DamagedError, match="what it says about its model is damaged"):
        read_weights(tmp_path / "w.pt")
