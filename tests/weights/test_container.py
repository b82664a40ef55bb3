import contextlib
import errno
import io
import os
import pickle
import random
import sys
import tarfile
import zipfile

import pytest
import torch
from hostile import attacks

from uniformer_video.errors import CheckpointError, MissingLibraryError
from uniformer_video.weights import container
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint
from uniformer_video.weights.container import write_content

STATE = {"head.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.zeros(2)}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


def zip_of(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def torch_bytes(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\).*get it again"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page.*login or a confirmation"),
        (b"\xef\xbb\xbf\n <!-- x --> <HTML lang=en>", "is a web page"),
        (POINTER, "is a Git LFS pointer.*git lfs pull"),
        (b"just some text, not weights\n", "is a text file"),
        (b"xy" + ("aü" * 5000).encode(), "is a text file"),  # cut within a character
        (b'{"model": [1, 2]}', "is a text file"),
        (b"abandon\nbeat\nclap\n", "is a text file"),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00", "is a video, not a weights file"),
        (b"\x1aE\xdf\xa3\x01\x00", "is a video"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "is a video"),
        (b"\x89PNG\r\n\x1a\n", "is an image"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b"\x1f\x8b\x08\x00\x00", r"is compressed \(gzip\); unpack"),
        (zip_of(readme="hello"), "zip archive that torch.save did not write .it holds readme"),
        (zip_of(), "zip archive that torch.save did not write .it is empty"),
        (torch_bytes(STATE)[:400], "is incomplete, 400 bytes"),
        (torch_bytes(STATE, _use_new_zipfile_serialization=False)[:400], "damaged, incomplete"),
        (os.urandom(16) + b"\x00\x01\xff" * 99, "damaged, incomplete, or not one at all"),
        (b"\x80", "damaged, incomplete"),
        (bytes(4096), "damaged, incomplete"),
        (pickle.dumps([1, 2], protocol=2), "not a readable weights file"),
        (pickle.dumps([1, 2]), "is in pickle protocol 4, of which only 2"),
        (torch_bytes(torch.zeros(2)), "holds a single tensor, not a model"),
        (torch_bytes([torch.zeros(2)]), "holds a list, not a model"),
        (torch_bytes({}), "holds no tensors.*it has nothing"),
        (torch_bytes({"model": {}, "epoch": 3}), "holds no tensors.*it has model, epoch"),
        (torch_bytes({"a\nb": 3}), r"it has 'a\\nb'"),
        ((100).to_bytes(8, "little") + b'{"head.weight": ', "damaged, incomplete"),
        (b"\xff\xff\xff\x00\x00\x00\x00\x00" + b'{"x":1}' + b"\xff" * 99, "damaged, incomplete"),
    ],
)
def test_wrong_files_are_one_clear_line(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_weights(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no weights file .*absent\.pth"):
        read_weights(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="is a directory"):
        read_weights(tmp_path)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_weights("a\0b.pth")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_weights("x" * 5000)
    with pytest.raises(CheckpointError, match="local path, an https:// address or hf://"):
        read_weights("s3://bucket/weights.pth")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    (tmp_path / "w.pth").write_bytes(torch_bytes(STATE))
    (tmp_path / "w.pth").chmod(0)
    with pytest.raises(CheckpointError, match="Permission denied"):
        read_weights(tmp_path / "w.pth")


def test_a_refused_open_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "w.pth").write_bytes(torch_bytes(STATE))
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(CheckpointError, match=r"cannot read .*w\.pth: Permission denied"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_of_pickles_is_not_opened(tmp_path, form):
    marker, path = tmp_path / "it ran", tmp_path / "weights.pth"
    hostile = pickle.dumps(attacks(marker)["shell"][0], protocol=2)
    with tarfile.open(path, "w", format=form) as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(hostile)
            archive.addfile(member, io.BytesIO(hostile))
    with pytest.raises(CheckpointError, match="is a tar archive; unpack it"):
        read_weights(path)
    assert not marker.exists()


def test_a_torchscript_archive_is_not_run(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"model/{name}", "")
    with pytest.raises(CheckpointError, match="is a TorchScript archive, a program"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(2).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8),
        lambda: torch.empty(2, device="meta"),
    ],
)
def test_odd_tensors_are_named(tmp_path, make):
    torch.save({**STATE, "norm.weight": make()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"norm\.weight is sparse, quantised or without"):
        read_weights(tmp_path / "w.pth")


def test_values_that_are_no_floats_are_fine(tmp_path):
    state = {**STATE, "norm.num_batches_tracked": torch.tensor(7), "mask": torch.tensor([True])}
    torch.save({**state, "version": 3, "note": "text"}, tmp_path / "w.pth")
    assert list(read_weights(tmp_path / "w.pth").state) == list(state)


def test_legacy_torch_files_are_read(tmp_path):
    (tmp_path / "w.pth").write_bytes(torch_bytes(STATE, _use_new_zipfile_serialization=False))
    assert torch.equal(read_weights(tmp_path / "w.pth").state["head.weight"], STATE["head.weight"])


@pytest.mark.parametrize("room", [0, 100, 5_000, 200_000])
def test_a_full_disk_is_told_wherever_it_fills(tmp_path, monkeypatch, room):
    class Filling(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    @contextlib.contextmanager
    def filling(path):
        with Filling(path, "w") as file:
            yield file

    monkeypatch.setattr(container, "atomic_write", filling)
    with pytest.raises(OSError, match="No space left"):
        container.write_content(tmp_path / "a.pt", {"model": {"w": torch.zeros(100_000)}})


def test_safetensors_there_and_back(tmp_path):
    pytest.importorskip("safetensors")
    metadata = {"model": {"name": "uniformer_s", "arguments": {"depths": [1, 2]}}, "names": ["ü"]}
    state = {**STATE, "tied": STATE["head.bias"], "strided": torch.arange(6.0).view(2, 3).T}
    write_checkpoint(tmp_path / "w.safetensors", state, metadata)
    weights = read_weights(tmp_path / "w.safetensors")
    assert weights.metadata == metadata
    assert weights.training == {}
    assert set(weights.state) == set(state)
    assert all(torch.equal(weights.state[key], value) for key, value in state.items())
    (tmp_path / "w.safetensors").rename(tmp_path / "renamed.pth")
    assert read_weights(tmp_path / "renamed.pth").metadata == metadata
    with pytest.raises(CheckpointError, match="no training state"):
        write_checkpoint(tmp_path / "x.safetensors", STATE, {}, training={"epoch": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["renamed.pth"]


@pytest.mark.parametrize("wrap", [dict, lambda state: {"model_state": state}])
def test_safetensors_for_other_projects(tmp_path, wrap):
    library = pytest.importorskip("safetensors.torch")
    write_content(tmp_path / "w.safetensors", wrap(STATE))
    assert set(library.load_file(tmp_path / "w.safetensors")) == set(STATE)
    assert read_weights(tmp_path / "w.safetensors").metadata == {}


def test_safetensors_of_other_projects(tmp_path):
    library = pytest.importorskip("safetensors.torch")
    library.save_file(STATE, tmp_path / "w.safetensors", {"format": "pt", "author": "x"})
    weights = read_weights(tmp_path / "w.safetensors")
    assert (set(weights.state), weights.metadata) == (set(STATE), {})
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-5])
    with pytest.raises(CheckpointError, match="damaged, incomplete"):
        read_weights(tmp_path / "w.safetensors")
    for header in ("not json", "[1]", '{"format": "uniformer-video checkpoint", "metadata": 3}'):
        library.save_file(STATE, tmp_path / "w.safetensors", {"uniformer-video": header})
        with pytest.raises(CheckpointError, match="what it says about its model is damaged"):
            read_weights(tmp_path / "w.safetensors")


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingLibraryError, match=r'pip install "uniformer-video\[hub\]"'):
        read_weights(tmp_path / "w.safetensors")
    with pytest.raises(MissingLibraryError, match=r"uniformer-video\[hub\]"):
        write_checkpoint(tmp_path / "out.safetensors", STATE, {})
    assert not (tmp_path / "out.safetensors").exists()


def test_damage_anywhere_is_one_line(tmp_path):
    draw = random.Random(0)
    path = tmp_path / "w.pth"
    for _ in range(300):
        damaged = bytearray(torch_bytes(STATE, _use_new_zipfile_serialization=draw.random() < 0.7))
        for _ in range(4):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            read_weights(path)
