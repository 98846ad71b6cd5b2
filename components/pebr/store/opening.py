"""Opens the store at a location; only the code of that kind of store is imported."""

from pathlib import Path

from pebr.errors import InputError
from pebr.store.contract import Store


def open_store(location: str | Path) -> Store:
    """The store at `s3://bucket/prefix`, `file:///folder`, or a folder's path.

    Raises:
        InputError: the scheme is unknown, or the settings of an S3 store are wrong.
    """
    scheme, separator, rest = str(location).partition("://")
    if scheme == "s3" and separator:
        from pebr.store.s3 import S3Store

        bucket, _, prefix = rest.partition("/")
        return S3Store(bucket, prefix.strip("/"))
    if separator and scheme != "file":
        raise InputError(f"{location}: unknown scheme {scheme!r}: give s3://bucket/prefix, file:///folder or a path")
    from pebr.store.folder import FolderStore

    return FolderStore(Path(rest if separator else location))
