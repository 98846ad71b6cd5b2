"""A directory of tensors, written by several ranks: GRPO's output, and every training checkpoint.

    rank-00000-of-00002.safetensors   flat runs of elements, at most one per tensor
    rank-00000-of-00002.json          description of the runs; written after the file that it describes
    ...
    index.json                        shapes, dtypes and runs of all tensors; written last: the directory is complete

The runs of a tensor cover it without gap or overlap, so any number of ranks can read exactly the elements that they
need.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from pebr.errors import InputError
from pebr.files import atomic_file
from pebr.training.tensorfile import DTYPES, NAMES, TensorFileWriter, checksum, read_header

INDEX = "index.json"
FORMAT = 1


class Run(NamedTuple):
    """A run of a tensor's elements, to be written by one rank."""

    name: str
    shape: tuple[int, ...]  # of the whole tensor
    start: int  # first element, in the flattened tensor
    values: Tensor  # (length,) on the CPU


class Part(NamedTuple):
    """A run of a tensor's elements on disk."""

    file: str
    start: int
    length: int


class _Entry(TypedDict):
    """A tensor in the index."""

    shape: list[int]
    dtype: str
    parts: list[tuple[str, int, int]]  # see `Part`


class Sharded(NamedTuple):
    """One tensor of the directory."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    parts: tuple[Part, ...]  # in the order of their elements


def share(count: int, rank: int, world_size: int) -> slice:
    """A rank's part of `count` elements that all ranks hold."""
    size = -(-count // world_size)
    return slice(min(rank * size, count), min((rank + 1) * size, count))


def write_shard(
    directory: Path, rank: int, world_size: int, runs: Sequence[Run], extra: Mapping[str, object] | None = None
) -> list[Path]:
    """Write one rank's file and its description, with `extra` JSON entries, to `directory`. Returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = _stem(rank, world_size)
    path = directory / f"{stem}.safetensors"
    with TensorFileWriter(path, [(run.name, run.values.dtype, (len(run.values),)) for run in runs]) as file:
        for run in runs:
            file.write(run.values)
    description = {
        "file": path.name,
        "bytes": file.size,
        "crc32": file.checksum,
        "runs": [[run.name, list(run.shape), NAMES[run.values.dtype], run.start, len(run.values)] for run in runs],
        **(extra or {}),
    }
    with atomic_file(directory / f"{stem}.json") as beside:
        beside.write_text(json.dumps(description))
    return [path, directory / f"{stem}.json"]


def description_names(world_size: int) -> list[str]:
    """Names of all ranks' descriptions. When all of them exist, the index can be written."""
    return [f"{_stem(rank, world_size)}.json" for rank in range(world_size)]


def write_index(directory: Path, world_size: int, extra: Mapping[str, object] | None = None) -> Path:
    """Join the ranks' descriptions into the index, which completes the directory. Returns the index's path.

    Raises:
        ValueError: the runs of a tensor have a gap or overlap.
    """
    tensors: dict[str, _Entry] = {}
    files = {}
    for name in description_names(world_size):
        raw = (directory / name).read_bytes()
        description = json.loads(raw)
        files[description["file"]] = {"bytes": description["bytes"], "crc32": description["crc32"]}
        files[name] = {"bytes": len(raw), "crc32": zlib.crc32(raw)}
        for tensor, shape, dtype, start, length in description["runs"]:
            entry = tensors.setdefault(tensor, {"shape": shape, "dtype": dtype, "parts": []})
            entry["parts"].append((description["file"], start, length))
    for tensor, entry in tensors.items():
        entry["parts"].sort(key=lambda part: part[1])
        covered = 0
        for _, start, length in entry["parts"]:
            if start != covered:
                raise ValueError(f"{directory}: {tensor}: elements {covered} to {start} come from no rank or from two")
            covered = start + length
        if covered != torch.Size(entry["shape"]).numel():
            raise ValueError(f"{directory}: {tensor}: the last elements, from {covered} on, come from no rank")
    index = {"format": FORMAT, "world_size": world_size, "files": files, "tensors": tensors, **(extra or {})}
    with atomic_file(directory / INDEX) as beside:
        beside.write_text(json.dumps(index))
    return directory / INDEX


class ShardedTensors:
    """Reads a complete directory of shards.

    Raises:
        InputError: the index is missing or has another format.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        path = self.directory / INDEX
        if not path.is_file():
            raise InputError(f"{path}: not there: give the directory of sharded weights that a finished step wrote")
        self.index: dict[str, Any] = json.loads(path.read_text())
        if self.index.get("format") != FORMAT:
            raise InputError(
                f"{path}: format {self.index.get('format')}, this version reads {FORMAT}: continue with the version"
                " that wrote it, or remove it"
            )
        self.tensors = {
            name: Sharded(tuple(item["shape"]), DTYPES[item["dtype"]], tuple(Part(*part) for part in item["parts"]))
            for name, item in self.index["tensors"].items()
        }
        self._places: dict[str, dict[str, tuple[int, int]]] = {}
        self._open: dict[str, int] = {}

    def rank_state(self, rank: int) -> Any:
        """What a rank added to its description. If there are more ranks than descriptions, ranks share them."""
        name = description_names(self.index["world_size"])[rank % self.index["world_size"]]
        return json.loads((self.directory / name).read_text())["rank_state"]

    def damage(self, files: Iterable[str] | None = None) -> list[str]:
        """Check files (None: all) for existence, size and checksum. Returns the errors."""
        found = []
        for name in self.index["files"] if files is None else files:
            path, expected = self.directory / name, self.index["files"][name]
            if not path.is_file():
                found.append(f"{path}: not there")
            elif path.stat().st_size != expected["bytes"]:
                found.append(f"{path}: {path.stat().st_size} bytes, {expected['bytes']} were written")
            elif checksum(path) != expected["crc32"]:
                found.append(f"{path}: its bytes have changed since they were written")
        return found

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """Read elements `start` to `stop` of a flattened tensor: (stop - start,)."""
        dtype = self.tensors[name].dtype
        values = torch.empty(stop - start, dtype=dtype)
        buffer = memoryview(values.view(torch.uint8).numpy())  # type: ignore[arg-type]
        for part in self.tensors[name].parts:
            first, last = max(part.start, start), min(part.start + part.length, stop)
            if first < last:
                at = self._place(part.file, name) + (first - part.start) * dtype.itemsize
                self._read_into(
                    part.file, at, buffer[(first - start) * dtype.itemsize : (last - start) * dtype.itemsize]
                )
        return values

    def pieces(self, name: str, elements: int) -> Iterator[Tensor]:
        """Read a whole tensor, flattened, in pieces of at most `elements` elements."""
        count = torch.Size(self.tensors[name].shape).numel()
        for start in range(0, count, elements):
            yield self.read(name, start, min(start + elements, count))

    def close(self) -> None:
        """Close the files that were opened for reading."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _place(self, file: str, name: str) -> int:
        """Offset in bytes of a tensor's run in a file."""
        if file not in self._places:
            entries = read_header(self.directory / file).entries
            self._places[file] = {key: (entry.start, entry.stop) for key, entry in entries.items()}
        return self._places[file][name][0]

    def _read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        if file not in self._open:
            self._open[file] = os.open(self.directory / file, os.O_RDONLY)
        while len(buffer):
            count = os.preadv(self._open[file], [buffer], offset)
            if not count:
                raise InputError(f"{self.directory / file}: cut short at byte {offset}: write it again")
            buffer, offset = buffer[count:], offset + count


def _stem(rank: int, world_size: int) -> str:
    return f"rank-{rank:05d}-of-{world_size:05d}"
