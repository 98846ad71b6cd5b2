"""The work of filter: write each usable row of public datasets to Parquet with its images, and reject the others.

Rows are streamed; images are read and decoded in threads, a limited number of rows ahead. An image that several rows
name is decoded once.
"""

import hashlib
import logging
import os
import pickle
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pebr.data.column_names import columns_of
from pebr.data.columns import Picture
from pebr.data.images import ImageError, decode, size_of
from pebr.data.pictures import INSIDE, MISSING, UNREADABLE, PictureError, Pictures, Place
from pebr.data.read_ahead import read_ahead
from pebr.data.readers import SourceRow
from pebr.data.records import RL_SCHEMA, SFT_SCHEMA, Fault, ImageFile
from pebr.data.shards import ShardWriter
from pebr.data.sources import Source, find_sources
from pebr.data.tables import WEB_DATASET
from pebr.errors import InputError
from pebr.files import atomic_directory
from pebr.filter.rules import Openings, cleaned, question_of
from pebr.filter.settings import Settings
from pebr.telemetry import metrics
from pebr.telemetry.logs import progress
from pebr.vlm.prompt import PUBLISHED

log = logging.getLogger("pebr")

TOO_SMALL, ELSEWHERE = "image too small", "row of another source"
AHEAD = 64  # rows whose images are being read
MOST_BLOCKS = 1000  # different blocks of instructions that are counted


class Checked(NamedTuple):
    """A row with its images; with none if it has a fault."""

    row: SourceRow
    images: list[ImageFile]
    found: list[str]  # how each image was found
    digest: bytes  # of question and images


@dataclass
class Tally:
    """What is counted of a source."""

    read: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    changes: Counter[str] = field(default_factory=Counter)  # rows by what was changed
    images: Counter[str] = field(default_factory=Counter)  # by how they were found
    duplicates: int = 0  # rows that another source has, too
    instructions: Counter[str] = field(default_factory=Counter)  # blocks that were removed from questions
    missing: str = ""  # the first image that is missing

    def add(self, checked: Checked) -> None:
        """Count a row."""
        self.read += 1
        self.changes.update(checked.row.changes)
        self.images.update(checked.found)
        block = checked.row.instructions
        if block in self.instructions or (block and len(self.instructions) < MOST_BLOCKS):
            self.instructions[block] += 1
        if fault := checked.row.fault:
            self.rejected[fault.kind] += 1
            if fault.kind == MISSING:
                self.missing = self.missing or fault.detail
        else:
            self.kept += 1


def work(settings: Settings) -> dict[str, float]:
    """Filter datasets; returns how many rows were read, kept, and rejected for each reason.

    Raises:
        InputError: the source or its image root is missing or wrong, or no row can be used.
    """
    names = columns_of(settings.columns)
    sources = find_sources(Path(settings.source), settings.kind, settings.image_root, settings.files, names)
    schema = SFT_SCHEMA if settings.kind == "sft" else RL_SCHEMA
    tallies = {source.name: Tally() for source in sources}
    seen: dict[bytes, str] = {}  # digest of a row -> its source
    layouts: dict[str, dict[str, Any]] = {}
    with atomic_directory(settings.output) as output:
        with ShardWriter(output, schema, settings.kind, settings.rows_per_shard) as writer:
            for source in sources:
                layouts[source.name] = {"form": source.form, "columns": source.layout(settings.kind, names)}
                files = ", ".join(file.name for file in source.files)[:200]
                log.info(
                    "%s: %s rows in %s, columns %s", source.name, source.form, files, _columns(layouts[source.name])
                )
                rows = source.rows(settings.kind, names)
                if len(sources) > 1:
                    rows = (row._replace(row=row.row | {"qid": f"{source.name}/{row.row['qid']}"}) for row in rows)
                for checked in progress(check(rows, source, settings.min_side), 0, f"filter {source.name}"):
                    _write(checked, source.name, tallies[source.name], seen, writer, settings.duplicates == "reject")
                _report(source, tallies[source.name], settings)
            total = _total(tallies.values())
            writer.extra = {
                "source": ", ".join(tallies),
                "read": total.read,
                PUBLISHED: next((block for block, _ in total.instructions.most_common(1)), ""),
                "sources": {name: layouts[name] | _facts(tally) for name, tally in tallies.items()},
            }
        if not total.kept:
            reasons = dict(total.rejected) or "it is empty"
            raise InputError(
                f"{settings.source}: none of {total.read} rows can be used ({reasons}): fix the dataset, or name its"
                " columns with --columns (python -m pebr.inspect shows them)"
            )
    return _metrics(total, tallies)


def _write(
    checked: Checked, source: str, tally: Tally, seen: dict[bytes, str], writer: ShardWriter, reject_duplicates: bool
) -> None:
    """Count and write a row, kept or rejected."""
    if not checked.row.fault and seen.setdefault(checked.digest, source) != source:
        tally.duplicates += 1
        if reject_duplicates:
            again = Fault(ELSEWHERE, f"{seen[checked.digest]} has the same question with the same images")
            checked = checked._replace(row=checked.row._replace(fault=again))
    row, fault = checked.row, checked.row.fault
    tally.add(checked)
    metrics.record_row(fault.kind if fault else "")
    if not fault:
        writer.write(row.row | {"images": checked.images, "source": source})
        return
    source_row = row.source if isinstance(row.source, dict) else {"value": row.source}
    reason = f"{fault.kind}: {fault.detail}" if fault.detail else fault.kind
    writer.reject(source_row | {"qid": row.row["qid"]}, reason, fault.kind)


def _report(source: Source, tally: Tally, settings: Settings) -> None:
    """Log what was counted of a source.

    Raises:
        InputError: no image is where the rows say.
    """
    if tally.missing and not tally.images:
        raise InputError(
            f"{Path(settings.source) / settings.image_root}: none of the images is here (first {tally.missing}): give"
            " the right --image-root, or put the images or their archive into the source"
        )
    facts = {name: value for name, value in _facts(tally).items() if isinstance(value, dict) and value}
    log.info("filter %s: %d of %d rows kept; %s", source.name, tally.kept, tally.read, facts or "none rejected")
    if tally.duplicates:
        log.warning("%s: %d rows have question and images of another source", source.name, tally.duplicates)


def _facts(tally: Tally) -> dict[str, Any]:
    """The counts of a source for the manifest."""
    counters = {"rejected": tally.rejected, "changes": tally.changes, "images": tally.images}
    return {"read": tally.read, "kept": tally.kept, "duplicates": tally.duplicates} | {
        name: dict(sorted(counter.items())) for name, counter in counters.items()
    }


def _columns(layout: dict[str, Any]) -> str:
    return ", ".join(f"{what}={column}" for what, column in layout["columns"].items()) or "not recognised"


def _total(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.read += tally.read
        total.kept += tally.kept
        total.duplicates += tally.duplicates
        total.rejected += tally.rejected
        total.changes += tally.changes
        total.images += tally.images
        total.instructions += tally.instructions
    return total


def _metrics(total: Tally, tallies: dict[str, Tally]) -> dict[str, float]:
    """The counts as scalars: of all sources, and rows per source if there are several."""
    metrics: dict[str, float] = {"read": total.read, "kept": total.kept}
    for name, counter in (("rejected/", total.rejected), ("", total.changes), ("images ", total.images)):
        metrics |= {f"{name}{key}": count for key, count in sorted(counter.items())}
    if len(tallies) > 1:
        metrics["duplicates"] = total.duplicates
        metrics |= {f"{key} of {name}": getattr(t, key) for name, t in tallies.items() for key in ("read", "kept")}
    return metrics


def check(rows: Iterator[SourceRow], source: Source, min_side: int) -> Iterator[Checked]:
    """Rows with their images' bytes, in order; a row that cannot be used has a fault."""
    checker = Checker(source.pictures, min_side)
    openings = Openings()
    if source.pictures.sequential and source.form != WEB_DATASET:  # whose rows are in this order
        rows = in_archive_order(rows, source.pictures)
    for checked in read_ahead(checker.check, rows, AHEAD, len(os.sched_getaffinity(0))):
        if not checked.row.fault:
            openings.add(question_of(checked.row.row))
        yield checked
    if common := openings.most_common():
        text, count = common
        advice = "remove it if it is an instruction"
        log.warning("%s: %d questions begin with the same text, %r: %s", source.name, count, text[:300], advice)


def in_archive_order(rows: Iterable[SourceRow], pictures: Pictures) -> Iterator[SourceRow]:
    """The rows in the order of their images in archives that can only be read forward.

    The rows are kept in a temporary file meanwhile, without their images.
    """
    with tempfile.TemporaryFile() as file:
        places: list[tuple[tuple[int, int], int]] = []  # (position of the first image, offset of the row in the file)
        for row in rows:
            places.append((min(map(pictures.position, row.pictures), default=(0, 0)), file.tell()))
            pickle.dump(row, file)
        for _, offset in sorted(places):
            file.seek(offset)
            yield pickle.load(file)  # noqa: S301 - written above


class Checker:
    """Checks rows in threads.

    Args:
        pictures: of the source.
        min_side: in pixels, of an image.
    """

    def __init__(self, pictures: Pictures, min_side: int) -> None:
        self._pictures, self._min_side = pictures, min_side
        self._verdicts: dict[Place, tuple[Fault | None, bytes]] = {}  # of images that were decoded, with their digests

    def check(self, row: SourceRow) -> Checked:
        """A row with its images, or with its fault and no images."""
        row = cleaned(row)
        images: list[ImageFile] = []
        found: list[str] = []
        digest = hashlib.blake2b(digest_size=16)
        if row.fault:
            return Checked(row, [], [], b"")
        digest.update(question_of(row.row).encode())
        try:
            for picture in row.pictures:
                data, of_image = self._read(picture, found)
                images.append({"bytes": data, "path": picture.path})
                digest.update(of_image)
        except PictureError as error:
            return Checked(row._replace(fault=error.fault), [], found, b"")
        return Checked(row, images, found, digest.digest())

    def _read(self, picture: Picture, found: list[str]) -> tuple[bytes, bytes]:
        """The bytes of an image, and a digest of them; `found` gets how it was found.

        Raises:
            PictureError: it cannot be used.
        """
        if picture.data is not None:
            found.append(INSIDE)
            data, (fault, digest) = picture.data, self._judge(picture.data, picture.path or INSIDE)
        else:
            place = self._pictures.place(picture)
            found.append(place.how)
            data = self._pictures.read(place)
            if place not in self._verdicts:
                self._verdicts[place] = self._judge(data, picture.path)
            fault, digest = self._verdicts[place]
        if fault:
            raise PictureError(*fault)
        return data, digest

    def _judge(self, data: bytes, path: str) -> tuple[Fault | None, bytes]:
        """The fault of an image or None, and its digest."""
        digest = hashlib.blake2b(data, digest_size=16).digest()
        try:
            width, height = size_of(data)
            if min(width, height) < self._min_side:
                return Fault(TOO_SMALL, f"{path}: {width} x {height} px, at least {self._min_side} are needed"), digest
            decode(data)
        except ImageError as error:
            return Fault(UNREADABLE, f"{path}: {error}"), digest
        return None, digest
