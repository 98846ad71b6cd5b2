"""Object storage by one small interface: a folder (`file://` or a path) or an S3 bucket (`s3://bucket/prefix`).

A key names a file or a directory. What is put under a key is seen whole or not at all: a file appears at once, a
directory when its last file has been written: a listing of all its files with sizes and SHA-256 digests. Whoever gets
a directory checks what arrives against the listing.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

LISTING = ".pebr-listing.json"


class StoreError(OSError):
    """The store failed, also when tried again; the message says what was tried and what to look at."""


class AlteredError(StoreError):
    """What arrived is not what was stored, also when the store itself works well."""


class NotThereError(FileNotFoundError):
    """Nothing whole is stored under the key (yet)."""


class Entry(NamedTuple):
    """A file of a stored directory: its bytes' number and SHA-256."""

    size: int
    sha256: str


class Store(Protocol):
    """Files and directories under keys such as `stage1/weights`. Empty folders are not kept."""

    def put(self, local: Path, key: str) -> None:
        """Store a file or directory under the key, in place of what was there; the last of several writers wins.

        Raises:
            StoreError: it cannot be written, or is not there to be stored.
        """
        ...

    def get(self, key: str, local: Path) -> None:
        """Fetch what is under the key to `local`, which is replaced when all has arrived and is right.

        Files that something else than a `Store` has put under `key/` count as a directory, with no digests to check.

        Raises:
            NotThereError: nothing whole is there.
            StoreError: it cannot be read, or what arrives is not what was stored.
        """
        ...

    def exists(self, key: str) -> bool:
        """True when a file, or a directory that a `Store` has written whole, is under the key."""
        ...

    def list(self, prefix: str) -> list[str]:
        """The keys of all files whose keys start with the prefix, sorted; those of unfinished directories too."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Remove all files whose keys start with the prefix; nothing half-removed looks whole."""
        ...


def files_of(directory: Path) -> dict[str, Path]:
    """The files of a directory by their relative names, sorted, but for what is being written and for listings.

    Raises:
        OSError: a folder cannot be read; none there is an empty one.
    """
    found = {}
    for folder, folders, names in os.walk(directory, onerror=_raise_unless_absent, followlinks=True):
        folders[:] = [name for name in folders if not is_unfinished(name)]
        for name in names:
            if not is_unfinished(name) and name != LISTING:
                path = Path(folder) / name
                found[path.relative_to(directory).as_posix()] = path
    return dict(sorted(found.items()))


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def is_unfinished(name: str) -> bool:
    """Whether a file or folder of this name is one that is still being written, or was when its writer was killed."""
    return name.startswith(".") and name.endswith(".partial")


def write_listing(entries: Mapping[str, Entry]) -> bytes:
    """A listing's content."""
    return (json.dumps({name: entry._asdict() for name, entry in entries.items()}, indent=1) + "\n").encode()


def read_listing(content: bytes) -> dict[str, Entry]:
    """The files that a listing names.

    Raises:
        ValueError: it is not a listing.
    """
    try:
        return {checked_key(name): Entry(**entry) for name, entry in json.loads(content).items()}
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a listing: {error}") from error


def checked_key(key: str) -> str:
    """The key, when it names something inside the store.

    Raises:
        ValueError: for an absolute key or one with `..`.
    """
    if key.startswith("/") or ".." in PurePosixPath(key).parts:
        raise ValueError(f"key {key!r} leads out of the store")
    return key
