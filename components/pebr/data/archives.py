"""Archives read in place: tar (plain, gz, bz2, xz, zstd), zip, and archives cut in parts. Nothing is unpacked to disk.

An archive is an index, from a member's name to its place. The index of a tar is kept beside it, `.NAME.index`, and used
again while size and time of the archive are the same. Only regular files with a relative name count as members; all
others are skipped and counted by kind: an archive is data from the net, and may be made to do harm.
"""

import io
import json
import logging
import posixpath
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pebr.data.streams import Inflated, Joined, Readable, Section, open_readable, whole_files
from pebr.errors import InputError
from pebr.files import atomic_file, index_of

log = logging.getLogger("pebr")

BLOCK = 512  # bytes of a tar block
LARGEST_MEMBER = 2**28  # bytes of a member that is read whole
LARGEST_HEADER = 2**20  # bytes of a tar's extended header
UNSAFE, LINK, DEVICE, DUPLICATE, SPARSE = "unsafe name", "link", "device", "duplicate", "sparse file"
ENCRYPTED, UNKNOWN = "encrypted", "unknown type"
_ENDING = r"\.(?:tar|tgz|tbz2?|txz|tzst|tar\.(?:gz|bz2|xz|zst)|zip)"
_NAME = re.compile(rf".+{_ENDING}", re.IGNORECASE)
_TAR_TYPES = {  # why a type of entry is not read; None for a regular file
    **dict.fromkeys((b"0", b"\0", b"7")),
    **dict.fromkeys((b"1", b"2"), LINK),
    **dict.fromkeys((b"3", b"4", b"6"), DEVICE),
    b"S": SPARSE,
}
_ZIP_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError, RuntimeError)


class MemberError(ValueError):
    """A member that cannot be read; the message is the reason."""


class Archive(Protocol):
    """An open archive.

    Attributes:
        path: of the archive; without the part's name if it is cut in parts.
        skipped: members that are not read, by kind.
        sequential: whether reading out of order is slow.
    """

    path: Path
    skipped: Mapping[str, int]
    sequential: bool

    def names(self) -> Sequence[str]:
        """The members' names, in the order of the archive."""
        ...

    def position(self, name: str) -> int | None:
        """A number that grows in the order of the archive; None if there is no such member."""
        ...

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            MemberError: the member is damaged or too large.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """A member as a file."""
        ...


class Member(NamedTuple):
    """The place of a tar's member: offset and size of its content in bytes."""

    offset: int
    size: int


class TarArchive:
    """A tar; see `Archive`.

    Args:
        path: names the archive.
        parts: the file, or its parts in order.

    Raises:
        InputError: it is not a tar, damaged or cut off.
    """

    def __init__(self, path: Path, parts: Sequence[Path]) -> None:
        self.path = path
        self._source = open_readable(parts)
        self.sequential = isinstance(self._source, Inflated)
        state = [[part.name, part.stat().st_size, part.stat().st_mtime_ns] for part in parts]
        self.skipped: Mapping[str, int]
        self._members, self.skipped = _kept_index(path, state) or _index(path, self._source, state)

    def names(self) -> Sequence[str]:
        return list(self._members)

    def position(self, name: str) -> int | None:
        return self._members[name].offset if name in self._members else None

    def read(self, name: str) -> bytes:
        member = self._members[name]
        if member.size > LARGEST_MEMBER:
            raise MemberError(f"{name} has {member.size} bytes, at most {LARGEST_MEMBER} are read")
        data = self._source.pread(member.size, member.offset)
        if len(data) < member.size:
            raise MemberError(f"{name} is cut off")
        return data

    def open(self, name: str) -> BinaryIO:
        return io.BufferedReader(Section(self._source, *self._members[name]))


class ZipArchive:
    """A zip; see `Archive`.

    Raises:
        InputError: it is not a zip, or damaged.
    """

    def __init__(self, path: Path, parts: Sequence[Path]) -> None:
        self.path, self.sequential = path, False
        try:
            self._zip = zipfile.ZipFile(Joined(parts))
        except _ZIP_DAMAGED as error:
            raise InputError(f"{path}: not a complete zip ({_line(error)}): copy it again") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        skipped: Counter[str] = Counter()
        for member in self._zip.infolist():
            name, kind = clean_name(member.filename), member.external_attr >> 16
            if member.is_dir():
                continue
            if wrong := (
                UNSAFE if not name
                else LINK if stat.S_ISLNK(kind)
                else DEVICE if stat.S_IFMT(kind) not in {0, stat.S_IFREG}
                else ENCRYPTED if member.flag_bits & 1
                else None
            ):  # fmt: skip
                skipped[wrong] += 1
                continue
            skipped[DUPLICATE] += name in self._members
            self._members[name] = member
        self.skipped: Mapping[str, int] = dict(+skipped)

    def names(self) -> Sequence[str]:
        return list(self._members)

    def position(self, name: str) -> int | None:
        return self._members[name].header_offset if name in self._members else None

    def read(self, name: str) -> bytes:
        member = self._members[name]
        if member.file_size > LARGEST_MEMBER:
            raise MemberError(f"{name} has {member.file_size} bytes, at most {LARGEST_MEMBER} are read")
        try:
            with self._zip.open(member) as file:  # gives at most the size that the header says
                return file.read()
        except (*_ZIP_DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise MemberError(f"{name} is damaged ({_line(error)})") from error

    def open(self, name: str) -> BinaryIO:
        return self._zip.open(self._members[name])  # type: ignore[return-value]


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return bool(_NAME.fullmatch(name))


def open_archives(files: Sequence[Path]) -> list[Archive]:
    """The archives among files, in the order of their names.

    Raises:
        InputError: an archive is damaged, cut off, a bomb, or a part of it is missing.
    """
    return [open_archive(path, parts) for path, parts in whole_files(files, is_archive).items()]


def open_archive(path: Path, parts: Sequence[Path]) -> Archive:
    """Open an archive by its content, whatever its name."""
    with Joined(parts) as file:
        is_zip = file.pread(2, 0) == b"PK"
    made: Archive = ZipArchive(path, parts) if is_zip else TarArchive(path, parts)
    if made.skipped:
        log.warning("%s: members skipped: %s", path.name, made.skipped)
    return made


def without_ending(name: str) -> str:
    """An archive's name without its ending, and that of its parts.

    >>> [without_ending(name) for name in ("v1.0_train.tar", "a.b.tar.gz", "c.tar.part_aa", "d.zip.001")]
    ['v1.0_train', 'a.b', 'c', 'd']
    """
    return re.sub(rf"{_ENDING}(?:\.[^.]*)?$", "", name, flags=re.IGNORECASE)


def clean_name(name: str) -> str:
    """A member's name with `/` between its parts, or "" if it is absolute, leads out of the archive, or names nothing.

    >>> [clean_name(name) for name in ("./a/b.png", "a\\\\b.png", "Q:1.png", "/etc/passwd", "a/../../b", "C:/a", ".")]
    ['a/b.png', 'a/b.png', 'Q:1.png', '', '', '', '']
    """
    name = name.replace("\\", "/")
    if name.startswith("/") or re.match(r"[A-Za-z]:/", name) or ".." in name.split("/") or "\0" in name:
        return ""
    return "" if (clean := posixpath.normpath(name)) == "." else clean


def _index(path: Path, source: Readable, state: object) -> tuple[dict[str, Member], dict[str, int]]:
    """The members of a tar and what is skipped; the index is written beside the tar if its folder allows it."""
    members: dict[str, Member] = {}
    skipped: Counter[str] = Counter()
    for name, kind, member in _headers(path, source):
        clean = clean_name(name)
        wrong = kind or (None if clean else UNSAFE)
        if wrong:
            skipped[wrong] += 1
        else:
            skipped[DUPLICATE] += clean in members  # the last one counts, as when a tar is unpacked
            members[clean] = member
    counts = dict(+skipped)
    table = pa.table(
        {"name": list(members), **{key: [getattr(m, key) for m in members.values()] for key in Member._fields}}
    )
    meta = json.dumps({"of": state, "skipped": counts})
    try:
        with atomic_file(index_of(path)) as target:
            pq.write_table(table.replace_schema_metadata({"pebr": meta}), target, compression="zstd")
    except OSError as error:  # a read-only volume: the index is made again next time
        log.debug("%s: the index is not kept: %s", path, error)
    return members, counts


def _kept_index(path: Path, state: object) -> tuple[dict[str, Member], dict[str, int]] | None:
    """The index beside a tar, or None if there is none or it is of another state of the tar."""
    try:
        table = pq.read_table(index_of(path))
        kept = json.loads((table.schema.metadata or {})[b"pebr"])
        if kept["of"] != state:
            return None
        places = zip(table["offset"].to_pylist(), table["size"].to_pylist(), strict=True)
        return dict(zip(table["name"].to_pylist(), (Member(*place) for place in places), strict=True)), kept["skipped"]
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None


def _headers(path: Path, source: Readable) -> Iterator[tuple[str, str | None, Member]]:
    """The entries of a tar except folders: name, why it is skipped or None, and place.

    Raises:
        InputError: not a tar, damaged or cut off.
    """
    offset = end = 0
    extended: dict[str, str] = {}
    closed = False  # after an empty block
    while len(header := source.pread(BLOCK, offset)) == BLOCK:
        start, offset = offset, offset + BLOCK
        if not any(header):
            closed = True  # an end mark; another tar may follow
            continue
        kind, size = header[156:157], _decimal(extended.pop("size", "")) or _number(header[124:136])
        if size < 0 or not _is_header(header):
            if closed:
                return
            what = f"damaged at byte {start}" if start else "not a tar"
            raise InputError(f"{path}: {what}: copy it again")
        end = offset + size
        offset += -(-size // BLOCK) * BLOCK
        if kind in {b"L", b"K", b"x", b"g"}:
            if size > LARGEST_HEADER:
                raise InputError(f"{path}: a header of {size} bytes at byte {start}: not read")
            content = source.pread(size, start + BLOCK)
            extended |= {"path": _text(content)} if kind == b"L" else _records(content) if kind == b"x" else {}
            continue
        name = extended.pop("path", "") or _header_name(header)
        wrong = SPARSE if any(key.startswith("GNU.sparse") for key in extended) else _TAR_TYPES.get(kind, UNKNOWN)
        extended = {}
        if not name.endswith("/") and kind != b"5":
            yield name, wrong, Member(start + BLOCK, size)
    if not closed and (header or (end and not source.pread(1, end - 1)) or not offset):
        raise InputError(f"{path}: cut off after byte {offset}, or not a tar: copy it again")


def _is_header(header: bytes) -> bool:
    """Whether the check sum of a header is right, as unsigned or, by some old programs, as signed bytes."""
    stored = _number(header[148:156])
    blank = header[:148] + b" " * 8 + header[156:]
    return stored == sum(blank) or stored == sum(blank) - 256 * sum(byte > 127 for byte in blank)


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or base 256 after a byte 0x80; -1 if it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else 0 if not digits else -1


def _decimal(value: str) -> int:
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else 0


def _header_name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return "/".join(filter(None, (prefix, _text(header[:100]))))


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def _records(content: bytes) -> dict[str, str]:
    """The records of a pax header, `length key=value`; what is no record ends them."""
    found = {}
    while match := re.match(rb"([0-9]{1,7}) ([^=\n]+)=", content):
        length = int(match[1])
        value = content[match.end() : length - 1]
        found[match[2].decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        content = content[max(length, match.end()) :]
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
