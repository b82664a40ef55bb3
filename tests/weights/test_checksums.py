import errno
import io
import logging
import random
import struct
import tracemalloc
import zipfile

import pytest
import torch
from torch.serialization import get_crc32_options, set_crc32_options

from uniformer_video.errors import CheckpointError, DamagedError
from uniformer_video.weights import unpickle
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint
from uniformer_video.weights.container import FORMAT, read_content, write_content

STATE = {
    "norm.weight": torch.arange(5.0),
    "head.weight": torch.arange(6.0).view(2, 3),
    "head.bias": torch.ones(2),
}
MOMENTS = {0: {"step": torch.tensor(3.0), "exp_avg": torch.full((2, 3), 0.5)}}
DIRECTORY = 0x10
ENTRY = b"PK\x01\x02"  # of the list at the end of an archive
WITHOUT_SUMS = "was saved without checksums, so damage inside it would not be noticed"


@pytest.fixture
def sums_off():
    """A program that has told torch to write no checksums."""
    set_crc32_options(False)
    yield
    set_crc32_options(True)


def own_file(path):
    training = {"optimizer": {"state": MOMENTS}, "progress": {"epoch": 3}}
    write_checkpoint(path, STATE, {"class_names": ["a", "b"]}, training)


def state_file(path):
    torch.save(STATE, path)


def repacked(path, **options):
    """The file of `state_file`, written by Python's zipfile instead of torch."""
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w", **options) as new:
        for member in old.namelist():
            with new.open(member, "w", force_zip64=True) as file:
                file.write(old.read(member))


def spans(data):
    """(first byte, number of bytes) by name of each member of the archive `data`."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            at = member.header_offset
            names = sum(struct.unpack_from("<HH", data, at + 26))
            found[member.filename] = (at + 30 + names, member.compress_size)
    return found


def entry(data, name):
    """Where the archive's list has the member `name`."""
    return data.rindex(name.encode(), data.index(ENTRY)) - 46


def flipped(data, at, bit=0):
    damaged = bytearray(data)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


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


@pytest.mark.parametrize("write", [own_file, state_file])
def test_a_flipped_bit_in_any_tensor_is_refused_by_name(tmp_path, write):
    path = tmp_path / "w.pt"
    write(path)
    whole, draw = path.read_bytes(), random.Random(0)
    tensors = {name: span for name, span in spans(whole).items() if "/data/" in name}
    keys = [*STATE, "step", "exp_avg"][: len(tensors)]
    assert len(tensors) == len(keys)
    for key, (name, (start, size)) in zip(keys, tensors.items(), strict=True):
        line = refused(path, flipped(whole, start + draw.randrange(size), draw.randrange(8)))
        assert f"is damaged: the tensor {key} ({name}) is not what was saved" in line


@pytest.mark.parametrize("write", [own_file, state_file])
def test_damage_in_the_pickle_is_found_before_anything_is_unpickled(tmp_path, write, monkeypatch):
    path = tmp_path / "w.pt"
    write(path)
    whole = path.read_bytes()
    monkeypatch.setattr(unpickle, "load", lambda path: pytest.fail("unpickled"))
    name, (start, size) = next(item for item in spans(whole).items() if "data.pkl" in item[0])
    for at in range(start, start + size, 7):
        assert f"its part {name} is not what" in refused(path, flipped(whole, at, at % 8))


def test_tensors_are_named_whatever_their_keys_are(tmp_path):
    """Pickle writes a text of one letter once: the key "1" and the storage "1" are one text in it."""
    path = tmp_path / "w.pt"
    torch.save({"1": torch.ones(2), "0": torch.ones(3), "a\nb": torch.ones(4)}, path)
    for number, shown in enumerate(["1", "0", r"'a\nb'"]):
        whole = path.read_bytes()
        start, _ = spans(whole)[f"w/data/{number}"]
        line = refused(tmp_path / "x.pt", flipped(whole, start))
        assert f"the tensor {shown} (w/data/{number})" in line


def test_a_tensor_without_a_key_is_named_by_its_part(tmp_path):
    path = tmp_path / "w.pt"
    torch.save([torch.ones(2), torch.ones(3)], path)
    whole = path.read_bytes()
    line = refused(path, flipped(whole, spans(whole)["w/data/1"][0]))
    assert "its part w/data/1 is not" in line


def test_a_flip_anywhere_is_refused_or_changes_nothing(tmp_path):
    path, draw = tmp_path / "w.pt", random.Random(0)
    state_file(path)
    whole, loaded = path.read_bytes(), 0
    for at in range(len(whole)):
        path.write_bytes(flipped(whole, at, draw.randrange(8)))
        try:
            content = read_content(path, "w.pt")
        except DamagedError:
            continue
        assert same(content, STATE)
        loaded += 1
    assert 0 < loaded < len(whole) / 2  # padding, dates


@pytest.mark.parametrize("write", [own_file, state_file])
def test_cut_off_and_zeroed_files_are_refused(tmp_path, write):
    path = tmp_path / "w.pt"
    write(path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 37):
        refused(path, whole[:size])
    for start in range(0, len(whole), 512):
        zeroed = bytearray(whole)
        zeroed[start : start + 512] = bytes(len(zeroed[start : start + 512]))
        refused(path, zeroed)


@pytest.mark.parametrize("summed", [True, False])
def test_a_member_that_became_a_directory_is_refused(tmp_path, summed):
    """torch reads nothing into its tensor, which is then whatever the memory held."""
    set_crc32_options(summed)
    try:
        state_file(tmp_path / "w.pt")
    finally:
        set_crc32_options(True)
    whole = bytearray((tmp_path / "w.pt").read_bytes())
    whole[entry(whole, "w/data/1") + 38] |= DIRECTORY
    assert "w/data/1" in refused(tmp_path / "w.pt", whole)


def test_a_list_that_disagrees_with_its_members_is_refused(tmp_path):
    path = tmp_path / "w.pt"
    state_file(path)
    whole = path.read_bytes()
    for name in ("w/data.pkl", "w/data/1"):
        at = entry(whole, name)
        refused(path, flipped(whole, at + 46 + len(name) - 1))  # its name
        refused(path, flipped(whole, at + 24, 2))  # its size
        refused(path, whole[: at + 16] + bytes(4) + whole[at + 20 :])  # its sum, as if unsummed
        refused(path, flipped(whole, whole.index(name.encode())))  # its name at the member itself


@pytest.mark.parametrize("content", [STATE, {"format": FORMAT, "metadata": {}, "model": STATE}])
def test_a_file_without_sums_is_read_with_one_line(tmp_path, caplog, sums_off, content):
    torch.save(content, tmp_path / "w.pt")
    with caplog.at_level(logging.WARNING):
        weights = read_weights(tmp_path / "w.pt")
    assert same(weights.state, STATE)
    assert caplog.messages == [f"{tmp_path / 'w.pt'} {WITHOUT_SUMS}"]
    assert caplog.records[0].name == "uniformer_video.weights.container"


def test_our_files_always_have_sums(tmp_path, caplog, sums_off):
    own_file(tmp_path / "w.pt")
    assert not get_crc32_options()
    with zipfile.ZipFile(tmp_path / "w.pt") as archive:
        assert archive.testzip() is None
        assert all(member.CRC for member in archive.infolist())
    read_weights(tmp_path / "w.pt")
    assert not caplog.messages
    with pytest.raises(Exception, match="pickle"):
        write_content(tmp_path / "x.pt", {"model": lambda: None})
    assert not get_crc32_options()


@pytest.mark.parametrize("limit", [None, 3])  # 3: as if every size were beyond 4 GB
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_of_other_programs(tmp_path, monkeypatch, limit, packing):
    path = tmp_path / "w.pt"
    if limit is not None:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    repacked(path, compression=packing)
    whole = path.read_bytes()
    assert (b"PK\x06\x06" in whole) == (limit is not None)
    assert same(read_content(path, "w.pt"), STATE)
    start, size = spans(whole)["archive/data/1"]
    line = refused(path, flipped(whole, start + size // 2))
    assert "the tensor head.weight (archive/data/1)" in line


def test_files_are_checked_in_pieces(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"head.weight": torch.ones(4_000_000)}, path)
    read_content(path, "w.pt")
    assert python_memory(read_content, path, "w.pt") < 4_000_000  # the tensors are torch's


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_torch_cannot_read_is_not_unpacked(tmp_path, packing):
    """Python would unpack the whole of such a member at once."""
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("archive/data.pkl", bytes(8_000_000))
    whole = path.read_bytes()
    assert len(whole) < 10_000
    assert python_memory(refused, path, whole) < 4_000_000


def python_memory(function, *arguments):
    """Bytes that Python held at most at one time during a call."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


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


def test_a_disk_that_fails_is_no_damage(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    state_file(tmp_path / "w.pt")
    monkeypatch.setattr(zipfile.ZipExtFile, "read", fail)
    with pytest.raises(CheckpointError, match=r"cannot read w\.pt: Input/output error") as caught:
        read_content(tmp_path / "w.pt", "w.pt")
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
