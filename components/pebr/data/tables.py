"""The rows of files as they are written: JSON, JSON Lines, Parquet, all maybe compressed, and WebDataset archives.

Which of them a file is, its content says. Rows are read as a stream.
"""

import codecs
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pebr.data.archives import Archive
from pebr.data.column_names import NAMES
from pebr.data.columns import Picture, find, is_empty
from pebr.data.streams import open_file
from pebr.errors import InputError

JSON, LINES, PARQUET, WEB_DATASET = "JSON", "JSON Lines", "Parquet", "WebDataset"
BATCH = 16  # rows of a Parquet file that are in memory
LONGEST_START = 2**18  # bytes that are read to recognise a table
CHUNK, LONGEST_ROW = 2**18, 2**26  # bytes of JSON that are read at a time; characters of a row
_EXTENSION = re.compile(r".+\.(?:jsonl?|ndjson|parquet)(?:\.(?:gz|bz2|xz|zst))?", re.IGNORECASE)
_LIST_OF_OBJECTS = re.compile(rb'"(?:[^"\\]|\\.)*"\s*:\s*(\[)\s*\{')
_IMAGES = frozenset(("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif"))


log = logging.getLogger("pebr")


class NotRowsError(InputError):
    """A file that is complete, but no table of rows."""


class RowFile(NamedTuple):
    """A file of rows: on disk, maybe in parts, or a member of an archive, or a WebDataset archive itself."""

    name: str  # for messages
    parts: tuple[Path, ...] = ()
    archive: Archive | None = None
    member: str = ""  # of the archive; "" for a WebDataset

    def rows(self) -> Iterator[Any]:
        """The rows in order.

        Raises:
            InputError: the file is damaged, or no table.
        """
        if self.archive is not None and not self.member:
            yield from web_rows(self.archive)
        else:
            yield from rows_of(self._open, self.name)

    @property
    def form(self) -> str:
        """How the rows are written: `JSON`, `LINES`, `PARQUET` or `WEB_DATASET`.

        Raises:
            NotRowsError: the file is no table.
        """
        return WEB_DATASET if self.archive and not self.member else form_of(self._open, self.name)[0]

    def _open(self) -> BinaryIO:
        return self.archive.open(self.member) if self.archive else open_file(self.parts)


def is_table(name: str) -> bool:
    """Whether a file's name is that of a table of rows."""
    return bool(_EXTENSION.fullmatch(name))


def rows_of(open_table: Callable[[], BinaryIO], name: str) -> Iterator[Any]:
    """The rows of a table.

    Args:
        open_table: opens it at its beginning; a Parquet file must be seekable.
        name: for messages.

    Raises:
        InputError: broken, cut off, or no table.
    """
    form, offset = form_of(open_table, name)
    if form == PARQUET:
        return _parquet_rows(open_table, name)
    return _lines(open_table, name) if form == LINES else _items(open_table, name, offset)


def form_of(open_table: Callable[[], BinaryIO], name: str) -> tuple[str, int]:
    """The form of a table, and in JSON the offset of the list of its rows.

    Raises:
        NotRowsError: it is no table.
    """
    with open_table() as file:
        start = file.read(LONGEST_START)
    if start.startswith(b"PAR1"):
        return PARQUET, 0
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    before = len(start) - len(text)
    if text[:1] == b"[":
        return JSON, before
    if text[:1] == b"{" and _has_lines(open_table, name):
        return LINES, before
    if text[:1] == b"{" and (found := _LIST_OF_OBJECTS.search(text)):
        return JSON, before + found.start(1)
    what = (
        "is empty" if not text
        else "is UTF-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        else "is an object without a list of rows" if text[:1] == b"{"
        else f"starts with {text[:1]!r}"
    )  # fmt: skip
    raise NotRowsError(f"{name}: {what}: give a JSON array of rows, JSON Lines or Parquet, in UTF-8")


def web_rows(archive: Archive) -> Iterator[Any]:
    """The rows of a WebDataset: KEY.json has the columns, members with the same name up to the first dot are images.

    Raises:
        InputError: a member KEY.json is not JSON.
    """
    for members in _samples(archive).values():
        images = [Picture(name, archive=archive) for end, name in sorted(members.items()) if _is_image(end)]
        row: Any = {}
        if "json" in members:
            try:
                row = json.loads(archive.read(members["json"]))
            except (ValueError, RecursionError) as error:
                raise InputError(f"{archive.path}: {members['json']}: broken JSON ({_line(error)}): fix it") from error
        if images or "json" in members:
            yield row | {"images": images} if isinstance(row, dict) and images else row


def is_web_dataset(archive: Archive) -> bool:
    """Whether an archive has a member KEY.json beside an image KEY.png."""
    if not any(name.endswith(".json") for name in archive.names()):
        return False
    return any("json" in members and any(map(_is_image, members)) for members in _samples(archive).values())


def _is_image(extension: str) -> bool:
    return extension.rpartition(".")[2] in _IMAGES


def _samples(archive: Archive) -> dict[str, dict[str, str]]:
    """The members of an archive by key, then by extension."""
    found: dict[str, dict[str, str]] = {}
    for name in archive.names():
        folder, _, base = name.rpartition("/")
        key, _, extension = base.partition(".")
        found.setdefault(f"{folder}/{key}" if folder else key, {})[extension.lower()] = name
    return found


@contextmanager
def _reading(name: str, where: Callable[[], str]) -> Iterator[None]:
    """Turns the errors of broken JSON into one that names the file and the place."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # also no UTF-8, or a number of 5,000 digits
        raise InputError(f"{name}: broken JSON {where()}: {_line(error)}: copy the file again") from error


def _items(open_table: Callable[[], BinaryIO], name: str, offset: int) -> Iterator[Any]:
    """The items of the JSON array at an offset, one at a time."""
    count = 0
    with open_table() as file, _reading(name, lambda: f"after row {count}"):
        is_whole = not file.read(offset).strip(codecs.BOM_UTF8)  # the file is the array, and nothing else
        file.read(1)
        text = _Text(file)
        while text.next_character("\n\r\t ,") != "]":
            yield text.value()
            count += 1
            if text.next_character("\n\r\t ") not in ",]":
                raise ValueError(f"{text.next_character('')!r} in place of a comma")
        text.skip()
        if is_whole and (more := text.next_character("\n\r\t ")):
            raise ValueError(f"{more!r} after the end")
        if not is_whole and (unread := _further_lists(text)):
            log.warning("%s: only its first list is read, not %s: give them as files of their own", name, unread)


def _further_lists(text: "_Text") -> str:
    """The names of the lists of objects that follow in an object, with their sizes; "" if there are none."""
    found = []
    while text.next_character("\n\r\t ,") == '"':
        key = text.value()
        if text.next_character("\n\r\t ") != ":":
            break
        text.skip()
        if text.next_character("\n\r\t ") != "[":
            text.value()
            continue
        text.skip()
        count = 0
        while text.next_character("\n\r\t ,") not in ("]", ""):
            count += isinstance(text.value(), dict)
        text.skip()
        if count:
            found.append(f"{key} ({count} objects)")
    return ", ".join(found)


_NUMBER_PART = re.compile(r"[-+.eE0-9]*")  # of which "0" and "." and "5" may come in three chunks


class _Text:
    """A file of JSON, of which a few values at a time are in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._parse = json.JSONDecoder().raw_decode
        self._text, self._at = "", 0

    def next_character(self, skipped: str) -> str:
        """The next character that is none of these; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in skipped:
                self._at += 1
            if self._at < len(self._text) or not self._read():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """Go on by one character."""
        self._at += 1

    def value(self) -> Any:
        """The next value.

        Raises:
            ValueError: broken JSON.
            RecursionError: nested too deeply.
        """
        while True:
            try:
                value, end = self._parse(self._text, self._at)
            except json.JSONDecodeError:
                if len(self._text) - self._at > LONGEST_ROW or not self._read():
                    raise
                continue
            if not _NUMBER_PART.fullmatch(self._text, end) or not self._read():  # a number may go on in the next chunk
                self._at = end
                return value

    def _read(self) -> bool:
        """Read as much again as there is, at least a chunk; False at the end of the file."""
        data = self._file.read(max(CHUNK, len(self._text) - self._at))
        self._text = self._text[self._at :] + self._decode(data, final=not data)
        self._at = 0
        return bool(data)


def _lines(open_table: Callable[[], BinaryIO], name: str) -> Iterator[Any]:
    """The values of JSON Lines; empty lines are skipped."""
    number = 0
    with open_table() as file, _reading(name, lambda: f"in line {number}"):
        while line := file.readline(LONGEST_ROW):
            number += 1
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):
                if not text.endswith("\n"):  # the file is cut off, or a line is too long
                    raise
                row = f"broken JSON in line {number}"  # rejected, as it is no object
            yield row


def _has_lines(open_table: Callable[[], BinaryIO], name: str) -> bool:
    """Whether a file that starts with a brace is JSON Lines: by its name, or as its first line is an object.

    If nothing follows this line, the object must be a row: it may also be one object with a list of rows.
    """
    if re.search(r"\.(?:jsonl|ndjson)\b", name, re.IGNORECASE):
        return True
    with open_table() as file:
        lines = (line for line in iter(lambda: file.readline(LONGEST_ROW), b"") if line.strip(codecs.BOM_UTF8).strip())
        try:
            first = json.loads(next(lines, b"").decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return False
        return isinstance(first, dict) and (next(lines, None) is not None or _is_row(first))


def _is_row(value: Mapping[str, Any]) -> bool:
    """Whether an object has messages, each with its role, or a question and its answer."""
    messages = find(value, NAMES["messages"])[1]
    if isinstance(messages, list) and messages and isinstance(messages[0], dict):
        return not {"role", "from"}.isdisjoint(messages[0])
    return not any(is_empty(find(value, NAMES[what])[1]) for what in ("question", "answer"))


def _parquet_rows(open_table: Callable[[], BinaryIO], name: str) -> Iterator[Any]:
    try:
        with open_table() as file, pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20) as table:
            for batch in table.iter_batches(BATCH):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, InputError) or (isinstance(error, OSError) and error.errno):
            raise
        raise InputError(f"{name}: broken Parquet ({_line(error)}): copy the file again") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
