"""The files of a directory, and the listing that marks a stored directory as complete."""

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

LISTING = ".pebr-listing.json"


class Entry(NamedTuple):
    """A file of a stored directory: its size in bytes and its SHA-256."""

    size: int
    sha256: str


def files_of(directory: Path) -> dict[str, Path]:
    """The files of a directory by relative name, sorted, without unfinished files and listings; {} if it is absent.

    Raises:
        OSError: a folder cannot be read.
    """
    found = {}
    for folder, folders, names in os.walk(directory, onerror=_raise_unless_absent, followlinks=True):
        folders[:] = [name for name in folders if not is_unfinished(name) and not leads_up(Path(folder) / name)]
        for name in names:
            if not is_unfinished(name) and name != LISTING:
                path = Path(folder) / name
                found[path.relative_to(directory).as_posix()] = path
    return dict(sorted(found.items()))


def leads_up(folder: Path) -> bool:
    """True for a link to a folder that it lies in: to follow it would never end."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def is_unfinished(name: str) -> bool:
    """True for the temporary name of a file or folder that is being written, or whose writer was killed."""
    return name.startswith(".") and name.endswith(".partial")


def write_listing(entries: Mapping[str, Entry]) -> bytes:
    """The content of a listing."""
    return (json.dumps({name: entry._asdict() for name, entry in entries.items()}, indent=1) + "\n").encode()


def read_listing(content: bytes) -> dict[str, Entry]:
    """The files that a listing names.

    Raises:
        ValueError: the content is not a listing.
    """
    try:
        return {checked_key(name): Entry(**entry) for name, entry in json.loads(content).items()}
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a listing: {error}") from error


def checked_key(key: str) -> str:
    """The key itself, if it names something inside the store.

    Raises:
        ValueError: the key is absolute or contains `..`.
    """
    if key.startswith("/") or ".." in PurePosixPath(key).parts:
        raise ValueError(f"key {key!r} leads out of the store")
    return key
