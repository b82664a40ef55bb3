"""Files of features: what is written is read back, and nothing else is taken for one."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest

from uniformer_video.errors import AbsentError, ConfigError, DataError
from uniformer_video.features.table import (
    MEAN_OF_VIEWS,
    SUFFIXES,
    FeatureTable,
    read_features,
    write_features,
)

FORMS = [
    pytest.param(
        suffix,
        marks=pytest.mark.skipif(
            suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None,
            reason="needs pyarrow (the extra `parquet`)",
        ),
    )
    for suffix in SUFFIXES
]


def table(shape=(5,), count=3):
    vectors = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    return FeatureTable(
        vectors,
        [f"vidéo {row}.mp4" for row in range(count)],
        np.array([np.nan, 0.0, 1.5][:count]),
        np.array([np.nan, 1.0, np.nan][:count]),
        np.array([MEAN_OF_VIEWS, 0, 3][:count]),
        {"layer": "head", "protocol": {"mean": [0.5]}},
        {"broken.mp4": "it breaks"},
    )


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 3, 4)], ids=["vectors", "maps"])
def test_what_is_written_is_read_back(tmp_path, suffix, shape):
    given, path = table(shape), tmp_path / f"features{suffix}"
    write_features(given, path)
    found = read_features(path)
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, given.vectors)
    for name in ("starts", "ends", "views"):
        np.testing.assert_array_equal(getattr(found, name), getattr(given, name))
    assert (found.paths, found.made_by, found.failed) == (given.paths, given.made_by, given.failed)


@pytest.mark.parametrize("suffix", FORMS)
def test_a_path_that_is_no_utf_8_is_written_and_read_back(tmp_path, suffix):
    given, path = replace(table(), paths=["a\udcff.mp4", "b.mp4", "c.mp4"]), tmp_path / f"f{suffix}"
    given = replace(given, failed={"d\udcff.mp4": "it breaks"})
    write_features(given, path)
    found = read_features(path)
    assert (found.paths, found.failed) == (given.paths, given.failed)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 3, 4)], ids=["vectors", "maps"])
def test_vectors_of_an_npz_may_stay_on_the_disk(tmp_path, shape):
    given, path = table(shape), tmp_path / "features.npz"
    write_features(given, path)
    found = read_features(path, mapped=True)
    assert isinstance(found.vectors, np.memmap)
    np.testing.assert_array_equal(found.vectors, given.vectors)
    assert (found.paths, found.made_by, found.failed) == (given.paths, given.made_by, given.failed)


def test_a_packed_npz_is_read_whole(tmp_path):
    given, path = table(), tmp_path / "features.npz"
    write_features(given, path)
    with np.load(path) as file:
        np.savez_compressed(path, **file)
    np.testing.assert_array_equal(read_features(path, mapped=True).vectors, given.vectors)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_changed_number_inside_an_npz_is_damage(tmp_path, mapped):
    path = tmp_path / "features.npz"
    write_features(table(), path)
    data = bytearray(path.read_bytes())
    data[data.index(table().vectors.tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a damaged one .*CRC"):
        read_features(path, mapped)


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("damage", ["cut", "other", "empty"])
def test_a_damaged_or_foreign_file_is_one_line(tmp_path, suffix, damage):
    path = tmp_path / f"features{suffix}"
    write_features(table(), path)
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "other": b"no features", "empty": b""}[damage])
    with pytest.raises(DataError, match="no file of features, or a damaged one") as error:
        read_features(path)
    assert "\n" not in str(error.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "heat.npz"
    facts = json.dumps({"kind": "explanation", "made_by": {}, "failed": {}})
    np.savez(path, vectors=np.zeros((1, 2), np.float32), facts=np.array(facts))
    with pytest.raises(DataError, match="kind 'explanation'"):
        read_features(path)
    with pytest.raises(AbsentError):
        read_features(tmp_path / "nowhere.npz")
    with pytest.raises(ConfigError, match=r"call it \.npz, \.safetensors or \.parquet"):
        read_features(tmp_path / "features.txt")


def test_maps_become_vectors_by_the_mean_over_places():
    given = table((2, 3, 3, 4))
    np.testing.assert_allclose(given.flat(), given.vectors.reshape(3, -1, 4).mean(1), rtol=1e-5)
    assert table().flat().shape == (3, 5)


def test_a_row_is_named_by_its_time_and_view():
    given = table()
    assert [given.name_of(row) for row in range(3)] == [
        "vidéo 0.mp4",
        "vidéo 1.mp4 0.000 s to 1.000 s, view 0",
        "vidéo 2.mp4 1.500 s to the end, view 3",
    ]
