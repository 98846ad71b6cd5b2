"""VLMEvalKit's benchmark tables: one TSV a benchmark, images inside as base64.

The table is read as a stream, up to three times: rows may use the image of any other row, also of a later one, and only
images that are used again are kept in memory.
"""

import ast
import base64
import binascii
import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pebr.step import InputError

# A value in the image column that is no longer than this is the index of another row, whose image is used again.
LONGEST_INDEX = 64
NEEDED = ("index", "question", "answer")
_OPTION = re.compile(r"[A-Z]")
_ABSENT = {"", "nan", "NaN", "None"}


@dataclass(frozen=True)
class BenchmarkRow:
    """One question of a benchmark; `images` are encoded pictures, `extra` the columns that have no field here."""

    index: str
    question: str
    answer: str
    images: list[bytes] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)  # letter -> text
    category: str = ""
    split: str = ""
    answer_type: str = ""
    extra: dict[str, str] = field(default_factory=dict)


def read_tsv(path: Path | str) -> Iterator[BenchmarkRow]:
    """The rows of a benchmark, in order.

    Raises:
        InputError: the file is not such a table, a needed column is missing, an index occurs twice, or an image cannot
            be read.
    """
    path = Path(path)
    shared = _shared_images(path)
    seen: set[str] = set()
    for where, cell in _cells(path):
        index, value = cell["index"], cell.get("image", "")
        if index in seen:
            raise InputError(f"{where}: the index occurs twice: make indices differ")
        seen.add(index)
        if 0 < len(value) <= LONGEST_INDEX and not value.startswith("["):
            if not shared.get(value):
                raise InputError(f"{where}: the image is that of row {value}, which has none: give it one")
            images = shared[value]
        else:
            images = shared.get(index) or _images(value, where)
        yield _row(cell, images)


def _shared_images(path: Path) -> dict[str, list[bytes]]:
    """The images that other rows use again, by the index of the row that has them."""
    values = (cell.get("image", "") for _, cell in _cells(path))
    used = {value for value in values if 0 < len(value) <= LONGEST_INDEX}
    shared = {}
    for where, cell in _cells(path) if used else ():
        if cell["index"] in used and len(cell.get("image", "")) > LONGEST_INDEX:
            shared[cell["index"]] = _images(cell["image"], where)
    return shared


def _cells(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A table's rows by their columns' names, "" for what is absent; before each, where it stands."""
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
                yield f"{path} (line {table.line_num}, index {cell['index']})", cell
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: give an existing VLMEvalKit TSV") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table in UTF-8 ({error}): copy the file again") from error


def _row(cell: dict[str, str], images: list[bytes]) -> BenchmarkRow:
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
    )


def _images(value: str, where: str) -> list[bytes]:
    """The pictures of an image cell: base64, or a list of base64 as JSON or Python writes it; [] for an empty cell."""
    if not value:
        return []
    if not value.startswith("["):
        return [_picture(value, where)]
    try:
        items = json.loads(value) if value.startswith('["') else ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise InputError(f"{where}: the image list is not one: write it as JSON") from error
    return [_picture(str(item), where) for item in items]


def _picture(text: str, where: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{where}: the image is not base64: encode the file's bytes") from error
