"""Reads VLMEvalKit's benchmark tables: one TSV per benchmark, with base64 images inside, or with paths to images.

Paths in the column `image_path` are relative to the table's folder, or to `images/` or `images/TABLE/` in it. If any
row has an image, rows without one are set aside.

The table is read as a stream, several times: a row may use the image of any other row, also of a later one, and only
such shared images are kept in memory. As in `pebr.data.readers`, every row is yielded, an unusable one with its fault;
only a file that is not such a table raises.
"""

import ast
import base64
import binascii
import csv
import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pebr.data.readers import Fault
from pebr.errors import InputError

# An image cell of at most this many characters is the index of another row, whose image is used.
LONGEST_INDEX = 64
NEEDED = ("index", "question", "answer")
_KNOWN = {*NEEDED, "image", "image_path", "hint", "category", "split", "choices"}  # in any case
_OPTION = re.compile(r"[A-Z]")
_ABSENT = {"", "nan", "NaN", "None"}
_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM", b"RIFF")


@dataclass(frozen=True)
class BenchmarkRow:
    """One question of a benchmark; `images` are encoded, `extra` has the columns without a field here.

    A row with a `fault` cannot be asked or scored, and has no images.
    """

    index: str
    question: str
    answer: str
    images: list[bytes] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)  # letter -> text
    category: str = ""
    split: str = ""
    answer_type: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    fault: Fault | None = None


class _BadImageError(Exception):
    """An image cell that cannot be read; the message is the kind of fault."""


def tables(directory: Path) -> dict[str, Path]:
    """The benchmark tables of a directory by name, in alphabetical order.

    Raises:
        InputError: there are none.
    """
    if found := {path.stem: path for path in sorted(directory.glob("*.tsv"))}:
        return found
    raise InputError(f"{directory}: no *.tsv here: give --benchmarks a directory of VLMEvalKit TSV files")


def read_tsv(path: Path | str) -> Iterator[BenchmarkRow]:
    """The rows of a benchmark, in order.

    Raises:
        InputError: the file is not a benchmark table, or a required column is missing.
    """
    path = Path(path)
    shared = _shared_images(path)
    has_images = any(cell.get("image") or cell.get("image_path") for _, cell in _cells(path))
    seen: set[str] = set()
    for where, cell in _cells(path):
        index, images, fault = cell["index"], list[bytes](), None
        if absent := next((column for column in NEEDED if not cell[column].strip()), None):
            fault = Fault(f"no {absent}", where)
        elif index in seen:
            fault = Fault("index occurs twice", where)
        else:
            try:
                images = _images_of(cell, shared, path)
            except _BadImageError as error:
                fault = Fault(str(error), where)
            if has_images and not images and not fault:
                fault = Fault("no image", where)
        if fault is None:
            seen.add(index)
        yield _row(cell, images, fault)


def check_table(path: Path) -> None:
    """Check the header and first row of a benchmark file.

    Raises:
        InputError: the file is not a benchmark table, or a required column is missing.
    """
    next(_cells(path), None)


def _images_of(cell: dict[str, str], shared: dict[str, list[bytes]], table: Path) -> list[bytes]:
    value = cell.get("image", "")
    if not value and (paths := cell.get("image_path", "")):
        return [_read(name, table) for name in (_list(paths) if paths.startswith("[") else [paths])]
    if not _is_index(value):
        return _images(value)
    if _key(value) in shared:
        return shared[_key(value)]
    raise _BadImageError("image is that of a row without one")


def _read(name: str, table: Path) -> bytes:
    """The image file of this name, beside the table or in its folder of images.

    Raises:
        _BadImageError: there is none.
    """
    for folder in (table.parent, table.parent / "images", table.parent / "images" / table.stem):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise _BadImageError("image file is missing")


def _is_index(value: str) -> bool:
    """Whether an image cell is short enough for the index of a row, and is no tiny image."""
    if not 0 < len(value) <= LONGEST_INDEX or value.startswith("["):
        return False
    try:
        return not _image(value).startswith(_IMAGE_STARTS)
    except _BadImageError:
        return True


def _key(index: str) -> str:
    """An index in one spelling: some tables write 1 as 1.0."""
    return index.removesuffix(".0")


def _shared_images(path: Path) -> dict[str, list[bytes]]:
    """The images that other rows use, by the index of a row that has them, of its own or from another row."""
    used_by: dict[str, str] = {}  # index of a row -> index of the row whose image it uses
    for _, cell in _cells(path):
        if _is_index(value := cell.get("image", "")):
            used_by.setdefault(_key(cell["index"]), _key(value))
    roots = {index: _root(index, used_by) for index in {*used_by, *used_by.values()}}
    owners = set(roots.values())
    own: dict[str, list[bytes]] = {}
    for _, cell in _cells(path) if used_by else ():
        index, value = _key(cell["index"]), cell.get("image", "")
        if index in owners and index not in own and value and not _is_index(value):
            with suppress(_BadImageError):  # becomes the fault of this row and of the rows that use its image
                own[index] = _images(value)
    return {index: own[root] for index, root in roots.items() if root in own}


def _root(index: str, used_by: dict[str, str]) -> str:
    """The row whose own image a row uses in the end; "" if rows use each other's in a circle."""
    seen: set[str] = set()
    while index in used_by:
        if index in seen:
            return ""
        seen.add(index)
        index = used_by[index]
    return index


def _cells(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table as (place in the file, column name -> cell); absent cells are ""."""
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, delimiter="\t")
            columns = [name.lower() if name.lower() in _KNOWN else name for name in table.fieldnames or []]
            table.fieldnames = columns
            for needed in NEEDED:
                if needed not in columns:
                    named = ", ".join(columns)[:200]
                    raise InputError(f"{path}: no column {needed!r} among {named}: give a VLMEvalKit TSV")
            for cells in table:
                cell = {
                    k: "" if v is None or (v in _ABSENT and not (v == "None" and _OPTION.fullmatch(k))) else v
                    for k, v in cells.items()
                    if k is not None
                }
                yield f"line {table.line_num}, index {cell['index']!r}", cell
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: give an existing VLMEvalKit TSV") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table in UTF-8 ({error}): copy the file again") from error


def _row(cell: dict[str, str], images: list[bytes], fault: Fault | None) -> BenchmarkRow:
    options = {name: text for name, text in sorted(cell.items()) if _OPTION.fullmatch(name) and text}
    if list(options.values()).count("None") > 1 or list(options.values())[-1:] != ["None"]:
        options = {name: text for name, text in options.items() if text != "None"}  # a single last one is a text
    named = {*NEEDED, "image", "image_path", "category", "split", "answer_type", *filter(_OPTION.fullmatch, cell)}
    return BenchmarkRow(
        index=cell["index"],
        question=cell["question"],
        answer=cell["answer"],
        images=images,
        options=options,
        category=cell.get("category", ""),
        split=cell.get("split", ""),
        answer_type=cell.get("answer_type", ""),
        extra={name: text for name, text in cell.items() if name not in named and text},
        fault=fault,
    )


def _images(value: str) -> list[bytes]:
    """The images of a cell: base64, or a JSON or Python list of base64; [] for an empty cell.

    Raises:
        _BadImageError: the cell is neither.
    """
    if not value:
        return []
    return [_image(item) for item in _list(value)] if value.startswith("[") else [_image(value)]


def _list(value: str) -> list[str]:
    """The items of a JSON or Python list.

    Raises:
        _BadImageError: the cell is none.
    """
    try:
        items = json.loads(value) if value.startswith('["') else ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise _BadImageError("image list is none") from error
    return [str(item) for item in items]


def _image(text: str) -> bytes:
    """The bytes of base64, also of a data URI, of the URL alphabet, or without padding."""
    if text.startswith("data:"):
        text = text.partition("base64,")[2]
    plain = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _BadImageError("image is not base64") from error
