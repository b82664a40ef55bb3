"""A file of features: one row a video, a view or a window, as npz, safetensors or parquet."""

import json
import os
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.errors import AbsentError, ConfigError, DataError, MissingLibraryError
from uniformer_video.evaluation.predictions import check_parquet
from uniformer_video.files import atomic_write
from uniformer_video.program import install
from uniformer_video.words import one_line

KIND = "features"
SUFFIXES = (".npz", ".safetensors", ".parquet")
MEAN_OF_VIEWS = -1
_ROWS_AT_ONCE = 4096
_BYTES_AT_ONCE = 2**20
_ODD_PATHS = b"paths that are no UTF-8"  # of a parquet file: {row: path}, beside the columns
_VECTORS = "vectors.npy"  # the member of an npz file
_ZIP_HEADER, _ZIP_LENGTHS_AT = 30, 26  # bytes of a local header, and where it has its lengths


@dataclass(frozen=True, repr=False)
class FeatureTable:
    """Features of N videos, views or windows.

    vectors: float32 `[N, D]`, or whole maps `[N, T', H', W', C]` (images: `[N, H', W', C]`). paths: of the
    videos. starts, ends: float64 `[N]`, seconds; NaN where a whole video counts. views: int64 `[N]`, the
    number of the view, clip by clip and crop by crop, or `MEAN_OF_VIEWS`. made_by: plain data that say by
    what they were made; features of two files compare where these are equal. failed: {name of a video: why
    it has none}.
    """

    vectors: np.ndarray
    paths: Sequence[str]
    starts: np.ndarray
    ends: np.ndarray
    views: np.ndarray
    made_by: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"<FeatureTable: {len(self)} x {list(self.vectors.shape[1:])}>"

    def flat(self) -> np.ndarray:
        """One vector a row, `[N, D]`: the mean over the places of maps."""
        vectors = np.asarray(self.vectors)
        places = tuple(range(1, vectors.ndim - 1))
        return vectors.mean(axis=places) if places else vectors

    def name_of(self, row: int) -> str:
        """A row in words: the path, its seconds and its view, where it has such."""
        name = self.paths[row]
        if not np.isnan(self.starts[row]):
            end = self.ends[row]
            name += f" {self.starts[row]:.3f} s to {'the end' if np.isnan(end) else f'{end:.3f} s'}"
        return name if self.views[row] == MEAN_OF_VIEWS else f"{name}, view {self.views[row]}"


def file_of(path: str) -> str:
    """The file that a path of a video leads to, by which two are one however they are spelt or linked."""
    return os.path.realpath(path)


def check_form(path: Path) -> None:
    """Raise `ConfigError` for a name that tells no form of features, and where no file can be."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{str(path)!r} tells no form of features by its name; call it {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}"
        )
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give a file in it")
    if path.suffix.lower() == ".parquet":
        check_parquet()
    if path.suffix.lower() == ".safetensors":
        _safetensors()


def write_features(table: FeatureTable, path: Path | str) -> None:
    """Write a table as the name of `path` says, whole or not at all.

    An npz file takes vectors that lie on the disk (`numpy.memmap`) without reading them all; so does parquet,
    which has one row a vector and its shape beside it.
    """
    path = Path(path)
    check_form(path)
    facts = json.dumps({"kind": KIND, "made_by": table.made_by, "failed": table.failed})
    columns = {
        "paths": np.array(list(table.paths), np.str_),
        "starts": np.asarray(table.starts, np.float64),
        "ends": np.asarray(table.ends, np.float64),
        "views": np.asarray(table.views, np.int64),
    }
    if path.suffix.lower() == ".npz":
        with atomic_write(path) as file:
            np.savez(
                file,
                vectors=table.vectors,
                paths=columns["paths"],
                starts=columns["starts"],
                ends=columns["ends"],
                views=columns["views"],
                facts=np.array(facts),
            )
    elif path.suffix.lower() == ".parquet":
        _write_parquet(path, table, columns, facts)
    else:
        names = json.dumps(list(table.paths))  # ASCII: a path may be no UTF-8
        numbers = {name: columns[name] for name in ("starts", "ends", "views")}
        tensors = {"vectors": np.ascontiguousarray(table.vectors), **numbers}
        data = _safetensors().save(tensors, metadata={"facts": facts, "paths": names})
        with atomic_write(path) as file:
            file.write(data)


def read_features(path: Path | str, mapped: bool = False) -> FeatureTable:
    """The table in a file. Raises `AbsentError`, `DataError` for one that is damaged or of another kind.

    mapped: leave the vectors of an npz file on the disk (`numpy.memmap`), so that maps of thousands of videos
    need no memory; the other forms are read whole.
    """
    path = Path(path)
    check_form(path)
    if not path.is_file():
        raise AbsentError(f"there is no file of features {path}")
    npz = _read_mapped_npz if mapped else _read_npz
    reader = {".npz": npz, ".parquet": _read_parquet, ".safetensors": _read_safetensors}
    try:
        columns, facts = reader[path.suffix.lower()](path)
        told = json.loads(facts)
        if told["kind"] != KIND:
            raise ValueError(f"it is of the kind {told['kind']!r}")
        table = FeatureTable(
            **{name: columns[name] for name in ("vectors", "starts", "ends", "views")},
            paths=[str(name) for name in columns["paths"]],
            made_by=dict(told["made_by"]),
            failed=dict(told["failed"]),
        )
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1 or table.vectors.ndim < 2:
            raise ValueError(f"its columns have {sorted(lengths)} rows")
    except MissingLibraryError:
        raise
    except Exception as error:  # of three libraries, of what may be anything
        raise DataError(
            f"{path} is no file of features, or a damaged one ({one_line(error)}); make it again"
        ) from None
    return table


def _read_npz(path: Path) -> tuple[dict[str, Any], str]:
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files if name != "facts"}
            return columns, str(file["facts"])
    except zipfile.BadZipFile as error:
        raise ValueError(f"it is no npz file: {error}") from None


def _read_mapped_npz(path: Path) -> tuple[dict[str, Any], str]:
    """As `_read_npz`, with the vectors where they are in the file; their checksum is verified."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(_VECTORS)
        if info.compress_type != zipfile.ZIP_STORED:  # somebody packed it anew
            return _read_npz(path)
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, kind = read_header(member)
            header_bytes = member.tell()
            if 0 in shape:  # nothing cannot be mapped
                return _read_npz(path)
            while member.read(_BYTES_AT_ONCE):
                pass  # the end of a member is where zipfile compares its checksum
    with open(path, "rb") as file:
        # the local header's own extra field may differ in length from that of the directory
        file.seek(info.header_offset + _ZIP_LENGTHS_AT)
        name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
    begin = info.header_offset + _ZIP_HEADER + name_bytes + extra_bytes + header_bytes
    vectors = np.memmap(path, kind, "r", begin, shape, "F" if fortran else "C")
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files if name not in ("facts", "vectors")}
        return {**columns, "vectors": vectors}, str(file["facts"])


def _read_safetensors(path: Path) -> tuple[dict[str, Any], str]:
    from safetensors import safe_open

    _safetensors()
    with safe_open(os.fspath(path), "numpy") as file:
        told = file.metadata() or {}
        columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return {**columns, "paths": json.loads(told["paths"])}, told["facts"]


def _safetensors() -> Any:
    try:
        from safetensors import numpy
    except ImportError as error:
        raise MissingLibraryError(
            f"a safetensors file needs a library that cannot be imported; run: {install('hub')}"
        ) from error
    return numpy


def _write_parquet(
    path: Path, table: FeatureTable, columns: Mapping[str, np.ndarray], facts: str
) -> None:
    import pyarrow
    from pyarrow import parquet

    shape = table.vectors.shape[1:]
    fields = [
        ("path", pyarrow.string()),
        ("start", pyarrow.float64()),
        ("end", pyarrow.float64()),
        ("view", pyarrow.int64()),
        ("vector", pyarrow.list_(pyarrow.float32(), int(np.prod(shape)))),
    ]
    paths = [_as_utf_8(path) for path in columns["paths"].tolist()]
    told = {"facts": facts, "shape": json.dumps(shape)}
    odd = {row: path for row, path in enumerate(table.paths) if path != paths[row]}
    if odd:
        told[_ODD_PATHS.decode()] = json.dumps(odd)  # ASCII, by rows
    schema = pyarrow.schema(fields, metadata=told)
    with atomic_write(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for first in range(0, max(len(table), 1), _ROWS_AT_ONCE):
            part = slice(first, first + _ROWS_AT_ONCE)
            flat = np.ascontiguousarray(table.vectors[part]).reshape(-1)
            vectors = pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(flat, pyarrow.float32()), int(np.prod(shape))
            )
            numbers = [columns[name][part] for name in ("starts", "ends", "views")]
            arrays = [pyarrow.array(values) for values in (paths[part], *numbers)]
            arrays = [array.cast(kind) for array, (_, kind) in zip(arrays, fields, strict=False)]
            writer.write_table(pyarrow.Table.from_arrays([*arrays, vectors], schema=schema))


def _as_utf_8(path: str) -> str:
    """A path as text that parquet takes: bytes that are no UTF-8 are spelt out."""
    return path.encode("utf-8", "backslashreplace").decode()


def _read_parquet(path: Path) -> tuple[dict[str, Any], str]:
    check_parquet()
    from pyarrow import parquet

    table = parquet.read_table(path)
    told = table.schema.metadata or {}
    shape = json.loads(told[b"shape"])
    vectors = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    paths = table["path"].to_pylist()
    for row, path in json.loads(told.get(_ODD_PATHS, "{}")).items():
        paths[int(row)] = path
    columns = {
        "vectors": vectors.reshape(-1, *shape),
        "paths": paths,
        **{f"{name}s": table[name].to_numpy() for name in ("start", "end", "view")},
    }
    return columns, told[b"facts"].decode()
