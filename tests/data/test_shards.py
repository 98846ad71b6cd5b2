"""Datasets are complete or absent, the same rows give the same bytes, and no row is lost."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pebr.data.shards import ShardedDataset, ShardWriter, iter_rows, read_manifest, write_shard
from pebr.errors import InputError

SCHEMA = pa.schema([("qid", pa.string()), ("value", pa.int64())])


def write(directory: Path, rows: int, rows_per_shard: int = 10) -> list[dict[str, Any]]:
    content = [{"qid": f"q{i}", "value": i * i} for i in range(rows)]
    with ShardWriter(directory, SCHEMA, "test", rows_per_shard) as writer:
        for row in content:
            writer.write(row)
        writer.reject({"qid": "bad", "images": [{"bytes": b"xyz", "path": "a"}]}, "no answer: empty", "no answer")
    return content


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(0, 200), rows_per_shard=st.integers(1, 150))
def test_rows_come_back_in_order(tmp_path_factory: pytest.TempPathFactory, rows: int, rows_per_shard: int) -> None:
    directory = tmp_path_factory.mktemp("d")
    content = write(directory, rows, rows_per_shard)
    assert list(iter_rows(directory)) == content
    dataset = ShardedDataset(directory, groups_in_memory=2)
    assert [dataset[i] for i in reversed(range(len(dataset)))] == content[::-1]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", 25)
    write(tmp_path / "b", 25)
    files = {p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert len(files) == 5  # three shards, one of rejected rows, the manifest
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_rows_in_are_rows_kept_and_rows_set_aside(tmp_path: Path) -> None:
    write(tmp_path / "d", 25)
    manifest = read_manifest(tmp_path / "d")
    assert manifest.rows == sum(shard.rows for shard in manifest.shards) == 25
    assert manifest.rejected == {"no answer": 1}
    (rejected,) = pq.read_table(tmp_path / "d" / "rejected").to_pylist()
    assert rejected["reason"] == "no answer: empty"
    assert json.loads(rejected["row"]) == {"qid": "bad", "images": [{"bytes": "3 bytes", "path": "a"}]}


def test_a_shard_written_at_once_has_the_same_bytes(tmp_path: Path) -> None:
    content = write(tmp_path / "d", 50, rows_per_shard=50)
    write_shard(tmp_path / "at-once.parquet", content, SCHEMA)
    assert (tmp_path / "at-once.parquet").read_bytes() == (tmp_path / "d" / "part-00000.parquet").read_bytes()


def test_rows_are_counted_from_both_ends(tmp_path: Path) -> None:
    content = write(tmp_path / "d", 25)
    dataset = ShardedDataset(tmp_path / "d", columns=["value"])
    assert dataset[-1] == {"value": content[-1]["value"]}
    assert dataset[3:5] == [{"value": 9}, {"value": 16}]
    for outside in (25, -26):
        with pytest.raises(IndexError):
            dataset[outside]


def test_an_empty_dataset_has_its_schema(tmp_path: Path) -> None:
    write(tmp_path / "d", 0)
    assert len(ShardedDataset(tmp_path / "d")) == 0
    assert pq.read_schema(tmp_path / "d" / "part-00000.parquet") == SCHEMA


@pytest.mark.parametrize("rows", [1, 40])  # before and after the shard's first row group is on disk
def test_a_dataset_whose_writing_failed_is_not_there(tmp_path: Path, rows: int) -> None:
    def fail() -> None:
        with ShardWriter(tmp_path / "d", SCHEMA, "test", 100) as writer:
            for i in range(rows):
                writer.write({"qid": "q", "value": i})
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "d").iterdir()) == []
    with pytest.raises(InputError, match=r"no manifest\.json"):
        read_manifest(tmp_path / "d")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: (d / "manifest.json").write_text('{"rows": 1'), "not a manifest"),
        (lambda d: (d / "manifest.json").write_text("[]"), "not a manifest"),
        (lambda d: (d / "part-00001.parquet").unlink(), "part-00001.parquet is missing"),
        (lambda d: (d / "part-00001.parquet").write_bytes(b"PAR1"), "part-00001.parquet: a damaged shard"),
        (lambda d: (d / "part-00002.parquet").replace(d / "part-00001.parquet"), "part-00002.parquet is missing"),
        (lambda d: shutil.copy(d / "part-00002.parquet", d / "part-00001.parquet"), "5 rows, the manifest says 10"),
        (
            lambda d: (d / "manifest.json").write_text(
                (d / "manifest.json").read_text().replace('"schema_version": 1', '"schema_version": 99')
            ),
            "schema version 99",
        ),
    ],
)
def test_a_broken_dataset_is_refused_with_the_reason(tmp_path: Path, spoil: Any, said: str) -> None:
    write(tmp_path / "d", 25)
    spoil(tmp_path / "d")
    with pytest.raises(InputError, match=said) as error:
        list(iter_rows(tmp_path / "d"))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=said):
        ShardedDataset(tmp_path / "d")


def test_a_byte_that_changed_on_disk_is_noticed(tmp_path: Path) -> None:
    """The byte is in the middle of an image, where Parquet's structure does not show the change."""
    schema = pa.schema([("image", pa.binary())])
    with ShardWriter(tmp_path / "d", schema, "test") as writer:
        writer.write({"image": b"\0" * 5_000 + random.Random(0).randbytes(50_000)})
    path = tmp_path / "d" / "part-00000.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged shard"):
        list(iter_rows(tmp_path / "d"))
    with pytest.raises(InputError, match="damaged shard"):
        ShardedDataset(tmp_path / "d")[0]
