"""The bytes of sources that an ingest step would copy."""

from pathlib import Path

from pebr.errors import InputError
from pebr.ingest.listed import parse
from pebr.store.contract import StoreError
from pebr.store.opening import open_store


def size_of(source: str) -> int:
    """Bytes of a list of sources: folders, files and `s3://` prefixes; 0 if one is of another kind or not there."""
    total = 0.0
    try:
        for listed in parse(source):
            size = _size(listed.location)
            if not size or listed.limit:
                return 0
            total += size * listed.share
    except (InputError, StoreError):
        return 0
    return round(total)


def _size(location: str) -> int:
    if "://" in location and not location.startswith(("s3://", "file://")):
        return 0
    if location.startswith("s3://"):
        store, _, name = location.rstrip("/").rpartition("/")
        return open_store(store).size(name)
    path = Path(location.removeprefix("file://"))
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
