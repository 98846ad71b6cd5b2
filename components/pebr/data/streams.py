"""Files read at any offset: the parts of a cut file as one, and what a compressed file unpacks to, never on disk.

A compressed file can only be read forward. What was read last is kept in memory; an offset further back starts again.
"""

import bz2
import gzip
import io
import lzma
import os
import re
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import pyarrow as pa

from pebr.errors import InputError

CHUNK = 2**20  # bytes that are unpacked at a time
WINDOW = 64  # chunks of unpacked bytes that are kept
# A file that unpacks to more than this is a bomb: a share of its size, and a base for small files.
MOST_UNPACKED, MOST_UNPACKED_BASE = 200, 2**28
LFS_POINTER = b"version https://git-lfs"
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {  # first bytes -> reader
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda file: pa.CompressedInputStream(pa.PythonFile(file), "zstd"),
}
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
_PART = re.compile(r"(?P<whole>.+?)[._-]?(?:part)?[._-]?(?P<part>\d{1,6}|[a-z]{2,3})", re.IGNORECASE)


class Readable(io.RawIOBase, ABC):
    """Bytes that can be read at any offset by several threads, and as a file by one.

    Attributes:
        name: for messages.
        size: number of bytes; None if it is not known.
    """

    name: str
    size: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    @abstractmethod
    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes at an offset; fewer at the end only."""

    def readinto(self, buffer: Any) -> int:
        data = self.pread(min(len(buffer), CHUNK), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self.size is None:
            raise io.UnsupportedOperation("seek")
        self._at = max(offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence], 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.size is not None


class Joined(Readable):
    """One or more files as one.

    Args:
        paths: the files in order.

    Raises:
        InputError: a file is a Git LFS pointer, which stands for data that was not fetched.
        OSError: a file cannot be read.
    """

    size: int

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self.name = str(paths[0])
        self._files = [path.open("rb", buffering=0) for path in paths]
        self._starts = [0, *accumulate(os.fstat(file.fileno()).st_size for file in self._files)]
        self.size = self._starts[-1]
        if self.pread(len(LFS_POINTER), 0) == LFS_POINTER:
            raise InputError(f"{self.name}: a Git LFS pointer, not the data: fetch it with git lfs pull")

    def pread(self, size: int, offset: int) -> bytes:
        pieces = []
        while size > 0 and offset < self.size:
            number = bisect_right(self._starts, offset) - 1
            piece = os.pread(self._files[number].fileno(), size, offset - self._starts[number])
            if not piece:  # the file was made shorter while it is read
                break
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Section(Readable):
    """A range of bytes of another file."""

    size: int

    def __init__(self, source: Readable, offset: int, size: int) -> None:
        super().__init__()
        self.name, self.size, self._source, self._offset = source.name, size, source, offset

    def pread(self, size: int, offset: int) -> bytes:
        return self._source.pread(max(min(size, self.size - offset), 0), self._offset + offset)


class Inflated(Readable):
    """What a compressed file unpacks to.

    Args:
        packed: the compressed file.
        open_stream: starts a reader of it.
    """

    def __init__(self, packed: Joined, open_stream: Callable[[Any], Any]) -> None:
        super().__init__()
        self.name = packed.name
        self._packed, self._open_stream = packed, open_stream
        self._most = MOST_UNPACKED * packed.size + MOST_UNPACKED_BASE
        self._lock = Lock()
        self._restart()

    def pread(self, size: int, offset: int) -> bytes:
        """See `Readable`.

        Raises:
            InputError: the compressed file is damaged, cut off or a bomb.
        """
        with self._lock:
            if offset < self._first * CHUNK:
                self._restart()
            while not self._ended and self._end < offset + size:
                self._unpack_chunk()
                while len(self._chunks) > WINDOW and (self._first + 1) * CHUNK <= offset:
                    self._chunks.popleft()
                    self._first += 1
            first, last = offset // CHUNK - self._first, (offset + size - 1) // CHUNK - self._first
            whole = b"".join(self._chunks[i] for i in range(first, min(last + 1, len(self._chunks))))
            return whole[offset % CHUNK : offset % CHUNK + size]

    def _restart(self) -> None:
        self._stream = self._open_stream(Section(self._packed, 0, self._packed.size))
        self._chunks: deque[bytes] = deque()
        self._first = self._end = 0  # number of the first chunk kept; bytes unpacked so far
        self._ended = False

    def _unpack_chunk(self) -> None:
        pieces, left = [], CHUNK
        try:
            while left and (piece := self._stream.read(left)):
                pieces.append(piece)
                left -= len(piece)
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno:
                raise
            where = f"after {self._end} unpacked bytes"
            raise InputError(f"{self.name}: damaged or cut off {where}: copy it again") from error
        self._chunks.append(b"".join(pieces))
        self._end += CHUNK - left
        self._ended = left > 0
        if self._end > self._most:
            raise InputError(f"{self.name}: unpacks to over {self._most} bytes: not read, it looks like a bomb")


def open_readable(paths: Sequence[Path]) -> Readable:
    """A file, or the parts of one, as it is or as it unpacks.

    Raises:
        InputError: see `Joined`.
    """
    packed = Joined(paths)
    start = packed.pread(8, 0)
    open_stream = next((reader for mark, reader in _COMPRESSED.items() if start.startswith(mark)), None)
    return Inflated(packed, open_stream) if open_stream else packed


def open_file(paths: Sequence[Path]) -> BinaryIO:
    """The same as `open_readable`, as a buffered file."""
    return io.BufferedReader(open_readable(paths), 2**16)


def whole_files(paths: Sequence[Path], is_whole: Callable[[str], bool]) -> dict[Path, list[Path]]:
    """Files by name, with the parts of cut files in order under the name of the whole; others are left out.

    Args:
        paths: of files.
        is_whole: whether a name is that of a file that is looked for.

    Raises:
        InputError: a part is missing.
    """
    found: dict[Path, list[Path]] = {path: [path] for path in sorted(paths) if is_whole(path.name)}
    parts: dict[Path, dict[str, Path]] = {}
    for path in sorted(paths):
        match = _PART.fullmatch(path.name)
        if path not in found and match and is_whole(match["whole"]):
            parts.setdefault(path.with_name(match["whole"]), {})[match["part"].lower()] = path
    for whole, named in parts.items():
        numbers = sorted(_number(part) for part in named)
        letters = min(named).isalpha()
        if letters and len(named) == 1 and numbers != [0]:  # a file beside the archive, such as a.tar.sig
            continue
        if numbers[0] > (not letters) or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise InputError(f"{whole}: its parts are {', '.join(sorted(named))}: one is missing, copy it too")
        found[whole] = [named[part] for part in sorted(named, key=_number)]
    return found


def _number(part: str) -> int:
    """The number of a part: 00, 01, ... or aa, ab, ...

    >>> [_number(part) for part in ("007", "aa", "ab", "ba")]
    [7, 0, 1, 26]
    """
    if part.isdigit():
        return int(part)
    number = 0
    for letter in part:
        number = 26 * number + ord(letter) - ord("a")
    return number
