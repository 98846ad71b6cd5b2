"""Safetensors files as streams, written and read in pieces.

The safetensors library writes a file from tensors that are all in memory, and reads by mapping files into memory. Here
a file of any size passes through a small buffer. Format: 8 bytes of header length, little-endian; a JSON object with
dtype, shape and byte range of each tensor; then the bytes (https://github.com/huggingface/safetensors).
"""

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}
DTYPES |= {"I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Entry(NamedTuple):
    """A tensor's place in a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # first byte, counted from the start of the file
    stop: int


class Header(NamedTuple):
    """The header of a file."""

    entries: dict[str, Entry]  # in the order of their bytes
    metadata: dict[str, str]


def read_header(path: Path | str) -> Header:
    """Read the header of a file.

    Raises:
        ValueError: the file is not a safetensors file, or is cut short.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 + length:
            raise ValueError(f"{path}: {size} bytes, cut short in its header")
        try:
            raw: dict[str, Any] = json.loads(file.read(length))
        except ValueError as error:
            raise ValueError(f"{path}: not a safetensors file") from error
    metadata = raw.pop("__metadata__", {})
    base = 8 + length
    entries = {
        name: Entry(DTYPES[item["dtype"]], tuple(item["shape"]), *(base + offset for offset in item["data_offsets"]))
        for name, item in sorted(raw.items(), key=lambda pair: pair[1]["data_offsets"])
    }
    if entries and size != max(entry.stop for entry in entries.values()):
        raise ValueError(f"{path}: {size} bytes, cut short in its tensors")
    return Header(entries, metadata)


def read_elements(path: Path | str, entry: Entry, start: int, stop: int) -> Tensor:
    """Elements `start` to `stop` of a flattened tensor of a file, (stop - start,); nothing else is read.

    Raises:
        ValueError: the file is cut short.
    """
    values = torch.empty(stop - start, dtype=entry.dtype)
    if stop == start:
        return values
    buffer = memoryview(values.view(torch.uint8).numpy())  # type: ignore[arg-type]
    with Path(path).open("rb", buffering=0) as file:
        file.seek(entry.start + start * entry.dtype.itemsize)
        while buffer:
            count = file.readinto(buffer)
            if not count:
                raise ValueError(f"{path}: cut short in its tensors")
            buffer = buffer[count:]
    return values


class TensorFileWriter:
    """Writes one file of tensors, each given as (name, dtype, shape), with `metadata` in its header.

    The constructor writes the header; tensors follow in its order, whole or in pieces.
    """

    def __init__(
        self,
        path: Path | str,
        tensors: Iterable[tuple[str, torch.dtype, tuple[int, ...]]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
        offset = 0
        for name, dtype, shape in tensors:
            size = dtype.itemsize * torch.Size(shape).numel()
            header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
        self.path = Path(path)
        self.checksum = 0  # CRC-32 of everything written
        self.size = 8 + len(text) + offset
        self._written = 0
        self._file = self.path.open("wb")
        self._write(len(text).to_bytes(8, "little"))
        self._write(text)

    def write(self, values: Tensor) -> None:
        """Append a tensor or the next piece of one; any shape, on the CPU."""
        self._write(memoryview(values.contiguous().view(-1).view(torch.uint8).numpy()))  # type: ignore[arg-type]

    def __enter__(self) -> "TensorFileWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._written != self.size:
            raise ValueError(f"{self.path}: {self._written} bytes written of {self.size} announced")

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.checksum = zlib.crc32(data, self.checksum)
        self._written += len(data)


def checksum(path: Path | str, buffer_bytes: int = 1 << 22) -> int:
    """CRC-32 of a whole file."""
    value = 0
    with Path(path).open("rb", buffering=0) as file:
        while block := file.read(buffer_bytes):
            value = zlib.crc32(block, value)
    return value
