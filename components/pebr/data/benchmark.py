"""Reads VLMEvalKit's benchmark tables: one TSV per benchmark, with base64 images inside.

The table is read as a stream, up to three times: a row may use the image of any other row, also of a later one, and
only such shared images are kept in memory. As in `pebr.data.readers`, every row is yielded, an unusable one with its
fault; only a file that is not such a table raises.
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
_OPTION = re.compile(r"[A-Z]")
_ABSENT = {"", "nan", "NaN", "None"}


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


def read_tsv(path: Path | str) -> Iterator[BenchmarkRow]:
    """The rows of a benchmark, in order.

    Raises:
        InputError: the file is not a benchmark table, or a required column is missing.
    """
    path = Path(path)
    shared = _shared_images(path)
    seen: set[str] = set()
    for where, cell in _cells(path):
        index, images, fault = cell["index"], list[bytes](), None
        if absent := next((column for column in NEEDED if not cell[column].strip()), None):
            fault = Fault(f"no {absent}", where)
        elif index in seen:
            fault = Fault("index occurs twice", where)
        else:
            try:
                images = _images_of(cell, shared)
            except _BadImageError as error:
                fault = Fault(str(error), where)
        if fault is None:
            seen.add(index)
        yield _row(cell, images, fault)


def check_table(path: Path) -> None:
    """Check the header and first row of a benchmark file.

    Raises:
        InputError: the file is not a benchmark table, or a required column is missing.
    """
    next(_cells(path), None)


def _images_of(cell: dict[str, str], shared: dict[str, list[bytes]]) -> list[bytes]:
    value = cell.get("image", "")
    if _is_index(value):
        if value not in shared:
            raise _BadImageError("image is that of a row without one")
        return shared[value]
    return _images(value)


def _is_index(value: str) -> bool:
    return 0 < len(value) <= LONGEST_INDEX and not value.startswith("[")


def _shared_images(path: Path) -> dict[str, list[bytes]]:
    """The images that other rows use, by the index of the row that contains them."""
    used = {value for _, cell in _cells(path) if _is_index(value := cell.get("image", ""))}
    shared: dict[str, list[bytes]] = {}
    for _, cell in _cells(path) if used else ():
        index, value = cell["index"], cell.get("image", "")
        if index in used and index not in shared and len(value) > LONGEST_INDEX:
            with suppress(_BadImageError):  # becomes the fault of this row and of the rows that use its image
                shared[index] = _images(value)
    return shared


def _cells(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table as (place in the file, column name -> cell); absent cells are ""."""
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, delimiter="\t")
            columns = table.fieldnames or []
            for needed in NEEDED:
                if needed not in columns:
                    named = ", ".join(columns)[:200]
                    raise InputError(f"{path}: no column {needed!r} among {named}: give a VLMEvalKit TSV")
            for cells in table:
                cell = {k: "" if v is None or v in _ABSENT else v for k, v in cells.items() if k is not None}
                yield f"line {table.line_num}, index {cell['index']!r}", cell
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: give an existing VLMEvalKit TSV") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table in UTF-8 ({error}): copy the file again") from error


def _row(cell: dict[str, str], images: list[bytes], fault: Fault | None) -> BenchmarkRow:
    options = {name: text for name, text in cell.items() if _OPTION.fullmatch(name) and text}
    named = {*NEEDED, "image", "category", "split", "answer_type", *options}
    return BenchmarkRow(
        index=cell["index"],
        question=cell["question"],
        answer=cell["answer"],
        images=images,
        options=dict(sorted(options.items())),
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
    if not value.startswith("["):
        return [_image(value)]
    try:
        items = json.loads(value) if value.startswith('["') else ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise _BadImageError("image list is none") from error
    return [_image(str(item)) for item in items]


def _image(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _BadImageError("image is not base64") from error
