"""Datasets as Parquet shards with a manifest, written and read as a stream.

    part-00000.parquet ...      rows, zstd but for the images, at most `rows_per_shard` each
    rejected/part-00000.parquet rejected rows: qid, the row as JSON, the reason
    manifest.json               written last: schema version, kind, row counts, shards with digests, rejects by reason

Rows are written and read in small row groups. Their pages have checksums, so that a damaged shard is an error and does
not return other rows. The same rows give the same bytes.
"""

import json
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex, overload

import pyarrow as pa
import pyarrow.parquet as pq

from pebr.data.records import REJECTED_SCHEMA, RejectedRow, Row
from pebr.errors import InputError
from pebr.files import atomic_file, sha256

SCHEMA_VERSION = 1
ROWS_PER_GROUP = 16  # rows per Parquet row group, the unit of writing and of random access
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One Parquet file: its name in the directory, its number of rows, the SHA-256 of its bytes."""

    file: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of a dataset directory."""

    schema_version: int
    kind: str
    rows: int
    shards: list[Shard]
    rejected: dict[str, int] = field(default_factory=dict)  # reason -> rows
    extra: dict[str, Any] = field(default_factory=dict)


class ShardWriter:
    """Writes a dataset directory shard by shard; the manifest is written when the block ends without an error.

    Args:
        directory: to write; created if it does not exist.
        schema: of the rows.
        kind: of the rows, for the manifest: sft, rl, rollouts, ...
        rows_per_shard: maximum number of rows per shard.
    """

    def __init__(self, directory: Path | str, schema: pa.Schema, kind: str, rows_per_shard: int = 512) -> None:
        self.directory, self.schema, self.kind, self.rows_per_shard = Path(directory), schema, kind, rows_per_shard
        self.extra: dict[str, Any] = {}  # additional facts for the manifest
        self._group: list[Mapping[str, object]] = []
        self._rows = 0  # of the open shard
        self._open = ExitStack()
        self._file: pq.ParquetWriter | None = None
        self._rejected_rows: list[RejectedRow] = []
        self._shards: list[Shard] = []
        self._rejected_shards = 0
        self._rejected: Counter[str] = Counter()

    def __enter__(self) -> Self:
        if self.rows_per_shard < 1:
            raise InputError(f"{self.rows_per_shard} rows per shard: give at least 1")
        self.directory.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, row: Mapping[str, object]) -> None:
        """Add a row with the keys of the schema."""
        self._group.append(row)
        self._rows += 1
        if len(self._group) >= ROWS_PER_GROUP or self._rows >= self.rows_per_shard:
            self._flush_group()
        if self._rows >= self.rows_per_shard:
            self._close_shard()

    def reject(self, row: Mapping[str, object], reason: str, group: str = "") -> None:
        """Add a rejected row.

        Args:
            row: as it was read; bytes are replaced by their number.
            reason: why the row is rejected, with the value.
            group: the name under which the manifest counts the row; empty for the reason itself.
        """
        self._rejected[group or reason] += 1
        text = json.dumps(row, default=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else str(value))
        self._rejected_rows.append({"qid": str(row.get("qid", "")), "row": text, "reason": reason})
        if len(self._rejected_rows) >= self.rows_per_shard:
            self._flush_rejected()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._open.__exit__(kind, error, trace)  # removes the open shard
            return
        if self._rows or not self._shards:  # an empty dataset has one empty shard, which stores the schema
            self._flush_group()
            self._close_shard()
        self._flush_rejected()
        rejected = dict(sorted(self._rejected.items()))
        rows = sum(shard.rows for shard in self._shards)
        write_manifest(self.directory, Manifest(SCHEMA_VERSION, self.kind, rows, self._shards, rejected, self.extra))

    def _path(self) -> Path:
        return self.directory / f"part-{len(self._shards):05d}.parquet"

    def _flush_group(self) -> None:
        if self._file is None:
            self._file = self._open.enter_context(open_shard(self._path(), self.schema))
        self._file.write_table(pa.Table.from_pylist([dict(row) for row in self._group], schema=self.schema))
        self._group = []

    def _close_shard(self) -> None:
        path = self._path()
        self._open.close()
        self._file = None
        self._shards.append(Shard(path.name, self._rows, sha256(path)))
        self._rows = 0

    def _flush_rejected(self) -> None:
        if self._rejected_rows:
            name = f"part-{self._rejected_shards:05d}.parquet"
            write_shard(self.directory / "rejected" / name, self._rejected_rows, REJECTED_SCHEMA)
            self._rejected_shards += 1
            self._rejected_rows = []


@contextmanager
def open_shard(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of one Parquet file, which appears when the block ends without an error. Each table is a row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    leaves = {name: kind for field in schema for name, kind in _leaves(field.name, field.type)}
    options = {
        "compression": {name: "none" if kind == pa.binary() else "zstd" for name, kind in leaves.items()},
        "use_dictionary": [name for name, kind in leaves.items() if kind != pa.binary()],
        "write_page_checksum": True,
    }
    with atomic_file(path) as partial, pq.ParquetWriter(partial, schema, **options) as writer:
        yield writer


def _leaves(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """The columns of a Parquet file that hold an Arrow column, with their types."""
    if pa.types.is_list(kind):
        yield from _leaves(f"{name}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type)
    else:
        yield name, kind


def write_shard(path: Path, rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> Shard:
    """Write one Parquet file, completely or not at all."""
    with open_shard(path, schema) as writer:
        for start in range(0, max(len(rows), 1), ROWS_PER_GROUP):
            group = [dict(row) for row in rows[start : start + ROWS_PER_GROUP]]
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return Shard(path.name, len(rows), sha256(path))


@contextmanager
def read_shard(directory: Path, shard: Shard) -> Iterator[pq.ParquetFile]:
    """An open shard.

    Raises:
        InputError: the file is not the one that the manifest describes, or the part that is read is damaged.
    """
    path = directory / shard.file
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.metadata.num_rows != shard.rows:
                raise InputError(
                    f"{path}: {file.metadata.num_rows} rows, the manifest says {shard.rows}: copy it again"
                )
            yield file
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # an error of the disk, not of the file's content
            raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: a damaged shard ({reason}): copy or write the dataset again") from error


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest of a dataset, the last file of the directory."""
    with atomic_file(directory / MANIFEST) as path:
        path.write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n")


def read_manifest(directory: Path | str) -> Manifest:
    """The manifest of a dataset directory.

    Raises:
        InputError: the manifest is missing or has another version, or a shard is missing.
    """
    path = Path(directory) / MANIFEST
    if not path.is_file():
        raise InputError(f"{directory}: no {MANIFEST} here: give a dataset that a step of this pipeline has written")
    try:
        content = json.loads(path.read_text())
        shards = [Shard(**shard) for shard in content.pop("shards")]
        manifest = Manifest(shards=shards, **content)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not a manifest ({error}): write the dataset again") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema version {manifest.schema_version}, this code reads {SCHEMA_VERSION}: write it again"
        )
    for shard in manifest.shards:
        if not (Path(directory) / shard.file).is_file():
            raise InputError(f"{directory}: {shard.file} is missing: copy the whole directory again")
    return manifest


def iter_rows(directory: Path | str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a dataset in order, with one row group in memory at a time.

    Args:
        directory: of the dataset.
        columns: to read; None for all.

    Raises:
        InputError: see `read_manifest`.
    """
    for shard in read_manifest(directory).shards:
        with read_shard(Path(directory), shard) as file:
            for batch in file.iter_batches(ROWS_PER_GROUP, columns=columns):
                yield from batch.to_pylist()


class ShardedDataset(Sequence[Row]):
    """Random access to the rows of a dataset.

    Args:
        directory: of the dataset.
        groups_in_memory: maximum number of row groups to keep in memory.
        columns: to read; None for all.

    Raises:
        InputError: see `read_manifest` and `read_shard`.
    """

    def __init__(self, directory: Path | str, groups_in_memory: int = 16, columns: Sequence[str] | None = None) -> None:
        self.directory = Path(directory)
        self.manifest = read_manifest(directory)
        self.columns = columns
        self._groups: list[tuple[Shard, int]] = []  # (shard, number of a row group in it)
        sizes: list[int] = []
        for shard in self.manifest.shards:
            with read_shard(self.directory, shard) as file:
                numbers = range(file.metadata.num_row_groups)
                self._groups += [(shard, number) for number in numbers]
                sizes += [file.metadata.row_group(number).num_rows for number in numbers]
        self._starts = [0, *accumulate(sizes)]  # the first row of each group, then the number of rows
        self._cache: OrderedDict[int, pa.Table] = OrderedDict()
        self._capacity = groups_in_memory

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: SupportsIndex) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        group = bisect_right(self._starts, row) - 1
        if group not in self._cache:
            shard, number = self._groups[group]
            with read_shard(self.directory, shard) as file:
                self._cache[group] = file.read_row_group(number, columns=self.columns)
            if len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        self._cache.move_to_end(group)
        return self._cache[group].slice(row - self._starts[group], 1).to_pylist()[0]
