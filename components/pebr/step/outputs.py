"""The outputs of a step: one process at a time writes them, and a step that ends with exit code 0 has made them."""

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pebr.errors import InputError
from pebr.step.ranks import LAUNCHER, is_first_process
from pebr.step.settings import Input, Output, StepSettings, fields

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"  # of a dataset (pebr.data.shards)
_OWN = {  # what a step's folders hold: a dataset nothing else, a model at least one of these
    "Dataset": re.compile(r"part-\d+\.parquet|rejected|manifest\.json|\..*"),
    "Model": re.compile(r"config\.json|index\.json|rank-.*|\..*"),
}


class OutputError(RuntimeError):
    """A step ended without an error, and an output is missing or is not what its manifest says."""


def check_places(settings: StepSettings) -> None:
    """Check that no output of a step replaces what the step reads, or files that no step has written.

    Raises:
        InputError: it would.
    """
    read = [
        (setting.flag, Path(value))
        for setting in fields(type(settings))
        if isinstance(setting.role, Input) and (value := getattr(settings, setting.name))
    ]
    for setting in fields(type(settings)):
        if isinstance(setting.role, Output) and (value := getattr(settings, setting.name)):
            check_apart(f"{setting.flag} {value}", Path(value), read)
            _check_own(f"{setting.flag} {value}", Path(value), setting.role.kind)


def check_apart(name: str, output: Path, read: Iterable[tuple[str, Path]]) -> None:
    """Check that an output neither is nor holds what is read, nor lies in it, where it would be read the next time.

    Args:
        name: of the output, for the message.
        output: its path.
        read: flags and paths.

    Raises:
        InputError: it does.
    """
    target = output.resolve()
    for flag, path in read:
        source = path.resolve()
        if source.is_relative_to(target):
            raise InputError(f"{name}: it would replace what {flag} {path} reads: give another output")
        if path.is_dir() and target.is_relative_to(source):
            raise InputError(f"{name}: it lies in what {flag} {path} reads: give another output")


def check_no_file(name: str, output: Path) -> None:
    """Check that no file is where a folder is to be written.

    Raises:
        InputError: there is one.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{name}: a file is there, and a step writes a folder: give another output, or remove it")


def _check_own(name: str, output: Path, kind: str) -> None:
    """Check that an output replaces only what a step has written."""
    if kind not in _OWN:
        return
    check_no_file(name, output)
    if not output.exists():
        return
    names = [path.name for path in output.iterdir()]
    is_own = all if kind == "Dataset" else any
    if names and not is_own(_OWN[kind].fullmatch(name) for name in names):
        raise InputError(
            f"{name}: it holds files that no step has written ({', '.join(sorted(names)[:3])}): give another output"
        )


@contextmanager
def only_writer(settings: StepSettings) -> Iterator[None]:
    """Hold a lock beside the step's output, which ends with this process. Ranks and other nodes rely on that of node 0.

    Raises:
        InputError: another process holds it.
    """
    output = getattr(settings, "output", "")
    if not output or LAUNCHER in os.environ or not is_first_process():
        yield
        return
    target = Path(output)
    lock = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        error.filename = str(target)
        raise
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"--output {output}: another process is writing it: wait for it, or end it") from None
        except OSError as error:
            log.warning("%s: no lock on this file system: start one process per output only: %s", lock, error)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def check_outputs(settings: StepSettings) -> None:
    """Check every output of a step: it is there and not empty; a dataset has the rows of its manifest.

    Raises:
        OutputError: an output is missing, empty or incomplete.
        InputError: the step's datasets have no row at all; one of several may be empty.
    """
    rows: list[tuple[Path, int]] = []
    for flag, path in _outputs(settings):
        if not path.exists():
            raise OutputError(f"{flag} {path}: the step ended without writing it: run it again")
        if not any(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()):
            raise OutputError(f"{flag} {path}: the step ended, but it is empty: run it again")
        if (path / MANIFEST).is_file():
            rows.append((path, _checked_rows(flag, path)))
    if rows and not any(count for _, count in rows):
        path = rows[0][0]
        rejected = json.loads((path / MANIFEST).read_text()).get("rejected", {})
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items()) or "the input has none"
        raise InputError(f"{path}: no row is left ({reasons}): check the input of this step")


def _outputs(settings: StepSettings) -> Iterator[tuple[str, Path]]:
    """Flag and path of each output that is asked for."""
    for setting in fields(type(settings)):
        if isinstance(setting.role, Output) and (value := getattr(settings, setting.name)):
            yield setting.flag, Path(value)


def _checked_rows(flag: str, path: Path) -> int:
    """The number of rows of a dataset."""
    import pyarrow.parquet as pq

    manifest = json.loads((path / MANIFEST).read_text())
    for shard in manifest["shards"]:
        file = path / shard["file"]
        if not file.is_file():
            raise OutputError(f"{flag} {file}: not there, but in {MANIFEST}: run the step again")
        if (found := pq.read_metadata(file).num_rows) != shard["rows"]:
            raise OutputError(f"{flag} {file}: {found} rows, {shard['rows']} in {MANIFEST}: run the step again")
    rows = int(manifest["rows"])
    if rows != sum(shard["rows"] for shard in manifest["shards"]):
        raise OutputError(f"{flag} {path / MANIFEST}: {rows} rows in all, but other sums: run the step again")
    return rows
