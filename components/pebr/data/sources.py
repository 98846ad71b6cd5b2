"""The sources in a folder: which files hold rows, in which form, and the pictures that belong to them.

What a file holds, its content says: conversations (SFT) or questions with answers (RL). All files that hold rows of the
kind are read; others are left out with a warning.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from pebr.data.archives import open_archives
from pebr.data.columns import find, is_empty
from pebr.data.pictures import Pictures
from pebr.data.readers import RL_FILE, SFT_FILE, Names, SourceRow, rl_rows, sft_rows
from pebr.data.streams import whole_files
from pebr.data.tables import NotRowsError, RowFile, is_table, is_web_dataset
from pebr.errors import InputError
from pebr.store.listing import files_of

log = logging.getLogger("pebr")

Kind = Literal["sft", "rl"]
SOURCES = "sources.json"  # written by ingest if there are several: a list of objects with the keys `LISTED`
LISTED = {"folder", "name", "share", "limit"}
USUAL = {"sft": SFT_FILE, "rl": RL_FILE}
FIRST_ROWS = 20  # rows that are read to recognise a file
MOST_FILES = 200  # JSON files of one folder that are looked at: more are annotations, one per image
_TESTS = re.compile(r"(?:^|[/_.-])(?:test|val|valid|validation|dev)(?:[/_.-]|$)", re.IGNORECASE)
_UNREAD = re.compile(r"\.(?:7z|rar|z\d\d|lz4|tar\.br)(?:\.\d+)?$", re.IGNORECASE)
_SHARD = re.compile(r"[-_.]?\d{3,}(?:-of-\d{3,})?$")


@dataclass(frozen=True)
class Source:
    """Rows of one kind with their pictures."""

    name: str
    files: tuple[RowFile, ...]
    pictures: Pictures
    share: float = 1.0  # of the rows; 0.5 for every second row, 2 for every row twice
    limit: int = 0  # rows to read at most; 0 for all

    @property
    def form(self) -> str:
        """How the rows are written."""
        return self.files[0].form

    def layout(self, kind: Kind, names: Names) -> dict[str, str]:
        """Which column is read as what, by the first row of the kind; {} if none of the first rows is."""
        first = (row for file in self.files for row in islice(file.rows(), FIRST_ROWS) if fits(row, kind, names))
        row: dict[str, Any] = next(first, {})
        wanted = ("messages", "images") if kind == "sft" else tuple(what for what in names if what != "messages")
        return {what: column for what in wanted if (column := find(row, names[what])[0])}

    def count(self, most: int) -> int:
        """The number of rows, counted up to `most`."""
        return sum(1 for _ in islice(chain.from_iterable(file.rows() for file in self.files), most))

    def rows(self, kind: Kind, names: Names) -> Iterator[SourceRow]:
        """The rows that are asked for, in order."""
        items: Iterator[Any] = chain.from_iterable(file.rows() for file in self.files)
        read = (sft_rows if kind == "sft" else rl_rows)(islice(items, self.limit or None), names)
        for number, row in enumerate(read):
            copies = int((number + 1) * self.share) - int(number * self.share)
            for copy in range(copies):
                yield row if not copy else row._replace(row=row.row | {"qid": f"{row.row['qid']}~{copy + 1}"})


def find_sources(path: Path, kind: Kind, image_root: str, pattern: str, names: Names) -> list[Source]:
    """The sources of a folder or of one file; those of several folders if ingest has brought several.

    Args:
        path: a folder, a table, or an archive.
        kind: of the rows.
        image_root: the folder that image paths are relative to, itself relative to the source.
        pattern: of the files with rows; "" to recognise them.
        names: of the columns.

    Raises:
        InputError: there are no such rows, or an archive cannot be read.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder: give --source the dataset's folder")
    listed = _listed(path)
    if not listed:
        return _sources_in(path, kind, image_root, pattern, names)
    found: list[Source] = []
    for entry in listed:
        inside = _sources_in(path / entry["folder"], kind, image_root, pattern, names)
        for source in _limited(inside, entry["limit"]):
            name = entry["name"] if len(inside) == 1 else f"{entry['name']}/{source.name}"
            found.append(replace(source, name=name, share=entry["share"]))
    return found


def _listed(path: Path) -> list[dict[str, Any]]:
    """The sources that ingest has listed in a folder; [] if it has not: a file of this name may be a user's data."""
    try:
        entries = json.loads((path / SOURCES).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return []
    is_ours = isinstance(entries, list) and all(isinstance(entry, dict) and entry.keys() == LISTED for entry in entries)
    return entries if is_ours else []


def _limited(sources: list[Source], limit: int) -> list[Source]:
    """The sources with the first `limit` rows of all; 0 for all rows. Those after these rows are left out."""
    if not limit or len(sources) < 2:
        return [replace(source, limit=limit) for source in sources]
    found = []
    for source in sources:
        if not limit:
            log.warning("%s: not read: the limit of rows is reached before it", source.name)
            continue
        found.append(replace(source, limit=limit))
        limit -= source.count(limit)
    return found


def _sources_in(path: Path, kind: Kind, image_root: str, pattern: str, names: Names) -> list[Source]:
    """The sources of one folder."""
    folder = path if path.is_dir() else path.parent
    root = folder / image_root
    files = {name: full for name, full in files_of(folder).items() if not re.search(r"(?:^|/)\.", name)}
    if broken := next((n for n, f in files.items() if is_table(n) and not f.exists()), ""):
        raise InputError(f"{folder}: {broken} is a link that leads nowhere: fix or remove it")
    archives = open_archives(list(files.values()))
    in_archive = any(name.startswith(f"{image_root}/") for archive in archives for name in archive.names())
    if not root.is_dir() and not in_archive:
        raise InputError(f"{root}: no such folder: give --image-root relative to {folder}")
    if unread := [name for name in files if _UNREAD.search(name)]:
        log.warning("archives of a kind that is not read: %s: give tar or zip", ", ".join(unread)[:300])
    pictures = Pictures(folder, root, archives)

    tables = [
        RowFile(_name(whole, folder), tuple(parts)) for whole, parts in whole_files(_few(files), is_table).items()
    ]
    web_archives = [archive for archive in archives if is_web_dataset(archive)]
    web = [RowFile(_name(archive.path, folder), archive=archive) for archive in web_archives]
    inside = [
        RowFile(f"{_name(archive.path, folder)}/{member}", archive=archive, member=member)
        for archive in archives
        if archive not in web_archives
        for member in archive.names()
        if is_table(member)
    ]
    if path.is_file() or pattern:
        wanted = path.name if path.is_file() else pattern
        chosen = [
            file
            for file in (*tables, *web, *inside)
            if fnmatch(file.name, wanted) or file.name.startswith(f"{wanted}/")
        ]
        if not chosen:
            raise InputError(f"{folder}: no file of rows {wanted}: it holds {_named(tables) or 'none'}")
    else:
        chosen = next((fit for group in (tables, [*web, *inside]) if (fit := _fitting(group, kind, names))), [])
        chosen = chosen or _usual(tables, folder, kind, names)
    groups: dict[str, list[RowFile]] = {}
    for file in chosen:
        groups.setdefault(_group(file.name), []).append(file)
    return [Source(name, tuple(group), pictures) for name, group in groups.items()]


def _few(files: Mapping[str, Path]) -> list[Path]:
    """The files, without the tables of folders that have very many."""
    counts: dict[Path, int] = {}
    for path in files.values():
        counts[path.parent] = counts.get(path.parent, 0) + (is_table(path.name) and not path.name.endswith(".parquet"))
    return [path for path in files.values() if counts[path.parent] <= MOST_FILES]


def _fitting(files: list[RowFile], kind: Kind, names: Names) -> list[RowFile]:
    """The files with rows of a kind, without test data if there is other data."""
    fitting = [file for file in files if _fits(file, kind, names)]
    training = [file for file in fitting if not _TESTS.search(file.name)]
    kept = training or fitting
    if left := [file for file in files if file not in kept]:
        log.warning("not read as %s rows: %s: if this is wrong, give --files a pattern", kind, _named(left))
    return kept


def _fits(file: RowFile, kind: Kind, names: Names) -> bool:
    """Whether one of the first rows of a file is of a kind."""
    try:
        return any(fits(row, kind, names) for row in islice(file.rows(), FIRST_ROWS))
    except NotRowsError:
        return False


def fits(row: object, kind: Kind, names: Names) -> bool:
    """Whether a row has what a kind needs: a list of messages, or a question and an answer."""
    if not isinstance(row, dict):
        return False
    if kind == "sft":
        messages = find(row, names["messages"])[1]
        return isinstance(messages, list) and bool(messages) and isinstance(messages[0], dict)
    return not any(is_empty(find(row, names[column])[1]) for column in ("question", "answer"))


def _usual(tables: list[RowFile], folder: Path, kind: Kind, names: Names) -> list[RowFile]:
    """The file with the usual name, or the only table: its rows are read, and rejected one by one.

    Raises:
        InputError: there is no such file, or its rows are of the other kind.
    """
    tables = [file for file in tables if file.name == USUAL[kind]] or tables
    if len(tables) != 1:
        if not tables:
            raise InputError(f"{folder}: no table of rows: give JSON, JSON Lines or Parquet (CSV is not read)")
        raise InputError(f"{folder}: several tables ({_named(tables)}), none of {kind} rows: give --files or --columns")
    other: Kind = "rl" if kind == "sft" else "sft"
    if _fits(tables[0], other, names):
        raise InputError(f"{folder}: {tables[0].name} holds {other} rows: give --kind {other}, or the {kind} data")
    return tables


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _group(name: str) -> str:
    """The name that the shards of a table share.

    >>> [_group(name) for name in ("data/train-00001-of-00003.parquet", "mulberry_sft.json", "00012.tar")]
    ['data/train', 'mulberry_sft', 'rows']
    """
    folder, base = os.path.split(name)
    stem = _SHARD.sub("", re.sub(r"(?:\.[A-Za-z][A-Za-z0-9]*)+$", "", base))
    return "/".join(filter(None, (folder, stem))) or "rows"


def _named(files: list[RowFile]) -> str:
    return ", ".join(file.name for file in files)[:300]
