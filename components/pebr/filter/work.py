"""The work of filter: write each usable row of a public dataset to Parquet with its images, and reject the others.

The rules for warm-up data are those of the released code: no reflective answers ("let me rethink it"), and no image
that is missing, unreadable, or less than 28 pixels on a side. Rows are streamed; images are decoded in threads, a
limited number of rows ahead.
"""

import errno
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pebr.data.images import ImageError, decode, size_of
from pebr.data.read_ahead import read_ahead
from pebr.data.readers import RL_FILE, SFT_FILE, Fault, SourceRow, read_rl, read_sft
from pebr.data.records import RL_SCHEMA, SFT_SCHEMA, ImageFile, Row
from pebr.data.shards import ShardWriter
from pebr.errors import InputError
from pebr.files import atomic_directory
from pebr.filter.settings import Settings
from pebr.telemetry.logs import progress
from pebr.vlm.response import parse

log = logging.getLogger("pebr")

REFLECTION = "let me rethink it"
MISSING, UNREADABLE, TOO_SMALL = "image missing", "image unreadable", "image too small"
IMAGE_IS_THERE = {UNREADABLE, TOO_SMALL}
NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
AHEAD = 64  # rows whose images are being read

Checked = tuple[SourceRow, list[ImageFile]]


def work(settings: Settings) -> dict[str, float]:
    """Filter a dataset; returns how many rows were read, kept, and rejected for each reason.

    Raises:
        InputError: the source or its image root is missing or wrong, or no row can be used.
    """
    source = find_source(Path(settings.source), SFT_FILE if settings.kind == "sft" else RL_FILE)
    root = source.parent / settings.image_root
    if not root.is_dir():
        raise InputError(f"{root}: no such folder: give --image-root relative to {source.parent}")
    rows = read_sft(source) if settings.kind == "sft" else read_rl(source)
    schema = SFT_SCHEMA if settings.kind == "sft" else RL_SCHEMA
    read = kept = 0
    reasons: Counter[str] = Counter()
    any_image, missing = False, ""  # whether any image exists, and the first missing one
    with atomic_directory(settings.output) as output:
        with ShardWriter(output, schema, settings.kind, settings.rows_per_shard) as writer:
            for row, images in progress(check(rows, root, settings.min_side), 0, f"filter {settings.kind}"):
                read += 1
                if row.fault is None:
                    kept += 1
                    any_image = any_image or bool(images)
                    writer.write(row.row | {"images": images})
                    continue
                kind, detail = row.fault
                reasons[kind] += 1
                any_image = any_image or kind in IMAGE_IS_THERE
                missing = missing or (detail if kind == MISSING else "")
                source_row = row.source if isinstance(row.source, dict) else {"value": row.source}
                writer.reject(source_row | {"qid": row.row["qid"]}, f"{kind}: {detail}" if detail else kind, kind)
            writer.extra = {"source": source.name, "read": read}
        if missing and not any_image:
            raise InputError(f"{root}: none of the images is here (first {missing}): give the right --image-root")
        if not kept:
            raise InputError(
                f"{source}: none of {read} rows can be used ({dict(reasons) or 'it is empty'}): fix the dataset"
            )
    log.info("filter %s: %d of %d rows kept; rejected: %s", settings.kind, kept, read, dict(reasons) or "none")
    return {"read": read, "kept": kept, **{f"rejected/{kind}": count for kind, count in sorted(reasons.items())}}


def find_source(directory: Path, name: str) -> Path:
    """The JSON file of a source: the source itself, or in a folder the file with the usual name or the only JSON file.

    Raises:
        InputError: there is no such file, or several and none has the usual name.
    """
    if directory.is_file():
        return directory
    if not directory.is_dir():
        raise InputError(f"{directory}: no such file or folder: give --source the dataset's folder")
    if (directory / name).is_file():
        return directory / name
    found = sorted(directory.glob("*.json"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "no JSON file"
        raise InputError(f"{directory}: holds {names}: put the dataset there as {name}")
    return found[0]


def check(rows: Iterator[SourceRow], root: Path, min_side: int) -> Iterator[Checked]:
    """Rows with their images' bytes, in order; a row that cannot be used has a fault."""
    return read_ahead(partial(check_row, root=root, min_side=min_side), rows, AHEAD, len(os.sched_getaffinity(0)))


def check_row(row: SourceRow, root: Path, min_side: int) -> Checked:
    """A row with its images, or with its fault and no images."""
    fault = row.fault or next(filter(None, (rule(row.row) for rule in RULES)), None)
    if fault:
        return row._replace(fault=fault), []
    try:
        return row, [{"bytes": read_image(root, path, min_side), "path": path} for path in row.image_paths]
    except Rejected as rejected:
        return row._replace(fault=rejected.fault), []


class Rejected(Exception):  # noqa: N818 - an outcome
    """An image cannot be used; the fault is the reason."""

    def __init__(self, kind: str, detail: str) -> None:
        self.fault = Fault(kind, detail)
        super().__init__(f"{kind}: {detail}")


def read_image(root: Path, path: str, min_side: int) -> bytes:
    """The bytes of an image file. Links inside the root are followed, but a path cannot leave the root by `..`.

    Raises:
        Rejected: the image is missing or cannot be used.
        OSError: the disk fails, which is no reason to reject a row.
    """
    full = os.path.normpath(root / path)
    if not Path(full).is_relative_to(os.path.normpath(root)):
        raise Rejected("image outside the root", path)
    try:
        data = Path(full).read_bytes()
        width, height = size_of(data)
        if min(width, height) < min_side:
            raise Rejected(TOO_SMALL, f"{path}: {width} x {height} px, at least {min_side} are needed")
        decode(data)
    except ImageError as error:
        raise Rejected(UNREADABLE, f"{path}: {error}") from error
    except ValueError as error:  # a zero byte in the path
        raise Rejected(MISSING, repr(path)) from error
    except OSError as error:
        if error.errno in NOT_THERE:
            raise Rejected(MISSING, path[:200]) from error
        if error.errno == errno.EACCES:
            raise Rejected(UNREADABLE, f"{path}: no permission") from error
        raise
    return data


def reflective(row: Row) -> Fault | None:
    """The fault of an answer in which the teacher reconsiders: the warm-up must not teach this habit."""
    for message in row.get("messages", []):
        if message["role"] == "assistant" and REFLECTION in message["content"].lower():
            return Fault("reflective", f"holds {REFLECTION!r}")
    return None


def unanswered(row: Row) -> Fault | None:
    """The fault of a response without a final answer: it would teach the model to give none."""
    answers = [message["content"] for message in row.get("messages", []) if message["role"] == "assistant"]
    if answers and not parse(answers[-1]).answer:
        return Fault("no final answer", "the assistant's turn has no final-answer section")
    return None


RULES: tuple[Callable[[Row], Fault | None], ...] = (reflective, unanswered)
