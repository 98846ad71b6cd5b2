"""The interface of object storage: a folder (`file://` or a path) or an S3 bucket (`s3://bucket/prefix`).

A key names a file or a directory. A stored file or directory is visible completely or not at all. A directory becomes
visible when its last object is written: a listing of all its files with sizes and SHA-256 digests. `get` checks each
file of a directory against the listing.
"""

from pathlib import Path
from typing import Protocol


class StoreError(OSError):
    """The store failed, also after retries. The message names the operation and what to look at."""


class AlteredError(StoreError):
    """The bytes that arrived are not the bytes that were stored."""


class NotThereError(FileNotFoundError):
    """Nothing complete is stored under the key (yet)."""


class Store(Protocol):
    """Files and directories under keys such as `stage1/weights`. Empty folders are not stored."""

    def put(self, local: Path, key: str) -> None:
        """Store a file or directory under the key and replace what was there. The last of several writers wins.

        Raises:
            StoreError: the store cannot be written, or `local` does not exist.
        """
        ...

    def get(self, key: str, local: Path) -> None:
        """Fetch the file or directory under the key. `local` is replaced after everything has arrived and is correct.

        Files under `key/` that were not written by a `Store` count as a directory without digests to check.

        Raises:
            NotThereError: nothing complete is stored there.
            StoreError: the store cannot be read, or what arrives is not what was stored.
        """
        ...

    def exists(self, key: str) -> bool:
        """True if a file, or a directory that a `Store` wrote completely, is stored under the key."""
        ...

    def list(self, prefix: str) -> list[str]:
        """The sorted keys of all files that start with the prefix, including those of incomplete directories."""
        ...

    def size(self, key: str) -> int:
        """Bytes of the file under the key, or of all files of the directory; 0 if there is none."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Delete all files whose keys start with the prefix; a partly deleted directory never looks complete."""
        ...
