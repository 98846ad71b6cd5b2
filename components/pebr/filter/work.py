"""Filter: a row of a public dataset is written to Parquet with its images inside, or set aside with the reason.

The rules for warm-up data are the released code's: no reflective answers ("let me rethink it"), no image that is
missing, cannot be opened, or is less than 28 pixels on a side. Rows are read, checked and written one at a time; images
are decoded side by side, a bounded number ahead.
"""

import errno
import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pebr.data.images import ImageError, decode, size_of
from pebr.data.readers import RL_FILE, SFT_FILE, Fault, SourceRow, read_rl, read_sft
from pebr.data.records import RL_SCHEMA, SFT_SCHEMA
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

Checked = tuple[SourceRow, list[dict[str, Any]]]


def work(settings: Settings) -> dict[str, float]:
    """Filter a dataset; returns how many rows were read, kept, and set aside for each reason.

    Raises:
        InputError: the source's file or image root is not what it must be.
    """
    source = find_source(Path(settings.source), SFT_FILE if settings.kind == "sft" else RL_FILE)
    root = source.parent / settings.image_root
    if not root.is_dir():
        raise InputError(f"{root}: no such folder: give --image-root relative to {source.parent}")
    rows = read_sft(source) if settings.kind == "sft" else read_rl(source)
    schema = SFT_SCHEMA if settings.kind == "sft" else RL_SCHEMA
    read = kept = 0
    reasons: Counter[str] = Counter()
    here, example = False, ""  # whether any image is, and one that is not
    with atomic_directory(settings.output) as output:
        with ShardWriter(output, schema, settings.kind, settings.rows_per_shard) as writer:
            for row, images in progress(check(rows, root, settings.min_side), 0, f"filter {settings.kind}"):
                read += 1
                if row.fault is None:
                    kept += 1
                    here = here or bool(images)
                    writer.write(row.row | {"images": images})
                    continue
                kind, detail = row.fault
                reasons[kind] += 1
                here = here or kind in IMAGE_IS_THERE
                example = example or (detail if kind == MISSING else "")
                source_row = row.source if isinstance(row.source, dict) else {"value": row.source}
                writer.reject(source_row | {"qid": row.row["qid"]}, f"{kind}: {detail}" if detail else kind, kind)
            writer.extra = {"source": source.name, "read": read}
        if example and not here:
            raise InputError(f"{root}: none of the images is here (first {example}): give the right --image-root")
        if not kept:
            raise InputError(
                f"{source}: none of {read} rows can be used ({dict(reasons) or 'it is empty'}): mend the dataset"
            )
    log.info("filter %s: %d of %d rows kept; set aside: %s", settings.kind, kept, read, dict(reasons) or "none")
    return {"read": read, "kept": kept, **{f"rejected/{kind}": count for kind, count in sorted(reasons.items())}}


def find_source(directory: Path, name: str) -> Path:
    """The JSON file of a source: the one of the usual name, or the only one there, or the source itself if it is one.

    Raises:
        InputError: there is none, or more than one and none has the usual name.
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
    pending: deque[Future[Checked]] = deque()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for row in rows:
            pending.append(pool.submit(check_row, row, root, min_side))
            if len(pending) >= AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def check_row(row: SourceRow, root: Path, min_side: int) -> Checked:
    """A row with its images' bytes, or with its fault and none."""
    fault = row.fault or next(filter(None, (rule(row.row) for rule in RULES)), None)
    if fault:
        return row._replace(fault=fault), []
    try:
        return row, [{"bytes": read_image(root, path, min_side), "path": path} for path in row.image_paths]
    except Refused as refused:
        return row._replace(fault=refused.fault), []


class Refused(Exception):  # noqa: N818 - an outcome
    """An image cannot be used; the fault says why."""

    def __init__(self, kind: str, detail: str) -> None:
        self.fault = Fault(kind, detail)
        super().__init__(f"{kind}: {detail}")


def read_image(root: Path, path: str, min_side: int) -> bytes:
    """An image file's bytes. Links in the root are followed wherever they lead; a path cannot leave it by `..`.

    Raises:
        Refused: it is not there or cannot be used.
        OSError: the disk fails: no reason to leave a row out.
    """
    full = os.path.normpath(root / path)
    if not Path(full).is_relative_to(os.path.normpath(root)):
        raise Refused("image outside the root", path)
    try:
        data = Path(full).read_bytes()
        width, height = size_of(data)
        if min(width, height) < min_side:
            raise Refused(TOO_SMALL, f"{path}: {width} x {height} px, at least {min_side} are needed")
        decode(data)
    except ImageError as error:
        raise Refused(UNREADABLE, f"{path}: {error}") from error
    except ValueError as error:  # a zero byte in the path
        raise Refused(MISSING, repr(path)) from error
    except OSError as error:
        if error.errno in NOT_THERE:
            raise Refused(MISSING, path[:200]) from error
        if error.errno == errno.EACCES:
            raise Refused(UNREADABLE, f"{path}: no permission") from error
        raise
    return data


def reflective(row: dict[str, Any]) -> Fault | None:
    """The teacher changes its mind in the answer: a habit that the warm-up must not teach."""
    for message in row.get("messages", []):
        if message["role"] == "assistant" and REFLECTION in message["content"].lower():
            return Fault("reflective", f"holds {REFLECTION!r}")
    return None


def unanswered(row: dict[str, Any]) -> Fault | None:
    """An answer without a final answer teaches to give none."""
    answers = [message["content"] for message in row.get("messages", []) if message["role"] == "assistant"]
    if answers and not parse(answers[-1]).answer:
        return Fault("no final answer", "the assistant's turn has no final-answer section")
    return None


RULES: tuple[Callable[[dict[str, Any]], Fault | None], ...] = (reflective, unanswered)
