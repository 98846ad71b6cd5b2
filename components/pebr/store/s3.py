"""The S3 store: any server that speaks S3 (AWS, MinIO, SeaweedFS, ...), through the minio client.

The objects of a directory keep their relative names, so that other programs can read them. The listing is one more
object: it names a writer while the directory is being written or deleted, and all files with sizes and digests when the
directory is complete.

Several writers at a time need no lock. After a writer has stored its listing, it checks that its files are still there.
If some are not and the listing is still its own, it writes them again. So the last writer wins.

Networks fail: requests are retried (`s3_client.persist`), and a download continues where it was cut off. Not every
server checks what it receives, so uploads are compared by MD5, which S3 reports as the etag, and downloads by the
SHA-256 that is stored with the object.
"""

import hashlib
import io
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from minio.datatypes import Object
from minio.error import S3Error
from minio.helpers import check_bucket_name

from pebr.errors import InputError
from pebr.files import atomic_directory, atomic_file, sha256
from pebr.store.contract import AlteredError, NotThereError, StoreError
from pebr.store.etag import PART, CountedFile
from pebr.store.listing import LISTING, Entry, checked_key, files_of, read_listing, write_listing
from pebr.store.measured import measured
from pebr.store.s3_client import ABSENT, Interrupted, connect, persist

Item = TypeVar("Item")
Result = TypeVar("Result")

DIGEST = "x-amz-meta-sha256"
PARALLEL = 4  # requests at a time
ROUNDS = 20  # how often a directory is written while other writers replace its files
OPEN = b"being written by "  # start of the listing of an incomplete directory


class S3Store:
    """A prefix of a bucket: a `Store`.

    Raises:
        InputError: the bucket's name or the environment's settings are wrong.
    """

    def __init__(self, bucket: str, prefix: str = "", environment: Mapping[str, str] = os.environ) -> None:
        try:
            check_bucket_name(bucket)
        except ValueError as error:
            raise InputError(f"s3://{bucket}/{prefix}: {error}: give s3://bucket/prefix") from error
        self.bucket, self.prefix = bucket, prefix
        self.client = connect(environment)

    @measured
    def put(self, local: Path, key: str) -> None:
        checked_key(key)
        if local.is_dir():
            self._remove(key)  # a file stored under the same key
            self._put_directory(files_of(local), key)
        elif local.is_file():
            if self._stat(f"{key}/{LISTING}") is not None:
                self.delete_prefix(f"{key}/")
            self._put_file(local, key, _measure(local), PARALLEL)
        else:
            raise StoreError(f"{local}: no such file or directory to store under {key}")

    @measured
    def get(self, key: str, local: Path) -> None:
        checked_key(key)
        if self._stat(key) is not None:
            with atomic_file(local) as path:
                self._get_file(key, path)
            return
        listing = self._listing(key)
        names = [name[len(key) + 1 :] for name in self.list(f"{key}/")] if listing is None else list(listing)
        if listing is None and not names:
            raise NotThereError(f"{self._where(key)}: nothing is stored here")
        with atomic_directory(local) as directory:

            def fetch(name: str) -> None:
                path = directory / checked_key(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._get_file(f"{key}/{name}", path, listing[name] if listing else None)

            list(in_parallel(fetch, names))

    def exists(self, key: str) -> bool:
        try:
            return self._stat(key) is not None or self._listing(key) is not None
        except NotThereError:  # being written
            return False

    def list(self, prefix: str) -> list[str]:
        return sorted(key for key in self._keys(prefix) if not _is_listing(key))

    def size(self, key: str) -> int:
        start = self._name(checked_key(key))

        def ask() -> int:
            found = self.client.list_objects(self.bucket, prefix=start, recursive=True)
            own = (item for item in found if f"{item.object_name}/".startswith(f"{start}/"))
            return sum(item.size or 0 for item in own if not _is_listing(str(item.object_name)))

        return persist(ask, f"list {self._where(key)}")

    def delete_prefix(self, prefix: str) -> None:
        keys = self._keys(prefix)
        listings = [key for key in keys if _is_listing(key)]
        for key in listings:  # from here on, no directory is complete
            self._put_bytes(OPEN + b"nobody: it is being deleted", key)
        list(in_parallel(self._remove, [key for key in keys if not _is_listing(key)]))
        list(in_parallel(self._remove, listings))

    def _name(self, key: str) -> str:
        """The name of the object in the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def _where(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._name(key)}"

    def _keys(self, prefix: str) -> Sequence[str]:
        """The same as `list`, with the listings."""
        start, cut = self._name(checked_key(prefix)), len(self._name(""))

        def ask() -> Sequence[str]:
            found = self.client.list_objects(self.bucket, prefix=start, recursive=True)
            return [str(item.object_name)[cut:] for item in found if not item.is_dir]

        return persist(ask, f"list {self._where(prefix)}")

    def _remove(self, key: str) -> None:
        persist(lambda: self.client.remove_object(self.bucket, self._name(key)), f"delete {self._where(key)}")

    def _stat(self, key: str) -> Object | None:
        """Size, etag and metadata of an object; None if it is absent."""

        def ask() -> Object | None:
            try:
                return self.client.stat_object(self.bucket, self._name(key))
            except S3Error as error:
                if error.code in ABSENT:
                    return None
                raise

        return persist(ask, f"look up {self._where(key)}")

    def _put_directory(self, files: Mapping[str, Path], key: str) -> None:
        listing = f"{key}/{LISTING}"
        entries = dict(zip(files, in_parallel(_measure, files.values()), strict=True))
        missing = list(files)
        for _ in range(ROUNDS):
            self._put_bytes(OPEN + uuid.uuid4().hex.encode(), listing)
            list(in_parallel(lambda name: self._put_file(files[name], f"{key}/{name}", entries[name]), missing))
            list(in_parallel(self._remove, set(self.list(f"{key}/")) - {f"{key}/{name}" for name in files}))
            published = write_listing(entries)
            self._put_bytes(published, listing)
            there = dict(zip(files, in_parallel(lambda name: self._entry(f"{key}/{name}"), files), strict=True))
            missing = [name for name, entry in entries.items() if there[name] != entry]
            if not missing or self._content(listing) != published:
                return  # in the second case a later writer has replaced the listing and checks its own files
        raise StoreError(
            f"put {self._where(key)}: other writers replaced {missing[0]} {ROUNDS} times: let one process write it"
        )

    def _listing(self, key: str) -> dict[str, Entry] | None:
        """The files of a complete directory; None if there is no listing.

        Raises:
            NotThereError: the directory is being written or deleted, or its writer was killed.
        """
        content = self._content(f"{key}/{LISTING}")
        if content is None:
            return None
        if content.startswith(OPEN):
            raise NotThereError(f"{self._where(key)}: not complete (yet): {content.decode()}")
        try:
            return read_listing(content)
        except ValueError as error:
            raise StoreError(f"{self._where(key)}/{LISTING}: {error}: store the directory again") from error

    def _content(self, key: str) -> bytes | None:
        """The bytes of a small object; None if it is absent."""

        def read() -> bytes | None:
            try:
                response = self.client.get_object(self.bucket, self._name(key))
            except S3Error as error:
                if error.code in ABSENT:
                    return None
                raise
            with response:
                return response.read()

        return persist(read, f"get {self._where(key)}")

    def _put_bytes(self, data: bytes, key: str) -> None:
        self._put(lambda: io.BytesIO(data), key, Entry(len(data), hashlib.sha256(data).hexdigest()))

    def _put_file(self, path: Path, key: str, entry: Entry, parts_at_a_time: int = 1) -> None:
        self._put(lambda: path.open("rb"), key, entry, parts_at_a_time)

    def _put(self, source: Callable[[], BinaryIO], key: str, entry: Entry, parts_at_a_time: int = 1) -> None:
        """Store an object, a large one in parts, with its digest as metadata; check that it is stored as sent."""

        def send() -> None:
            with source() as file:
                counted = CountedFile(file, entry.size)
                self.client.put_object(
                    self.bucket,
                    self._name(key),
                    cast(BinaryIO, counted),
                    entry.size,
                    metadata={"sha256": entry.sha256},
                    part_size=counted.part_size,
                    num_parallel_uploads=parts_at_a_time,
                )
            stored = self._stat(key)
            if stored is None:
                raise Interrupted("the stored object is missing")
            if (stored.metadata or {}).get(DIGEST, entry.sha256) != entry.sha256:
                return  # another writer has replaced it since
            if stored.etag != counted.etag and self._digest(key) != entry.sha256:
                raise Interrupted("what is stored is not what was sent")

        persist(send, f"put {self._where(key)}")

    def _digest(self, key: str) -> str:
        """The SHA-256 of an object, read back: for servers whose etags are not MD5s (encryption)."""
        hasher = hashlib.sha256()
        with self.client.get_object(self.bucket, self._name(key)) as response:
            for chunk in response.stream(2**20):
                hasher.update(chunk)
        return hasher.hexdigest()

    def _entry(self, key: str) -> Entry | None:
        """Size and stored digest of an object."""
        stored = self._stat(key)
        return None if stored is None else Entry(int(stored.size or 0), (stored.metadata or {}).get(DIGEST, ""))

    def _get_file(self, key: str, path: Path, entry: Entry | None = None) -> None:
        """Fetch an object in parallel ranges; ranges are hashed in order while later ones still arrive."""
        stored = self._stat(key)
        if stored is None:
            if entry:
                raise StoreError(f"{self._where(key)}: listed but missing: store the directory again")
            raise NotThereError(f"{self._where(key)}: nothing is stored here (any more)")
        size, etag = int(stored.size or 0), str(stored.etag)
        digest = entry.sha256 if entry else (stored.metadata or {}).get(DIGEST, "")
        hasher = hashlib.sha256()
        with path.open("w+b", buffering=0) as file:  # unbuffered: it must not read ahead of the arrived bytes
            file.truncate(size)
            starts = range(0, size, PART)
            for _ in in_parallel(lambda at: self._get_range(key, etag, path, at, min(PART, size - at)), starts):
                hasher.update(file.read(PART))
        if digest and hasher.hexdigest() != digest:
            raise AlteredError(
                f"{self._where(key)}: what arrived is not what was stored (SHA-256 {hasher.hexdigest()[:12]}, stored"
                f" {digest[:12]}): another writer replaced it, or it is damaged: store it again"
            )

    def _get_range(self, key: str, etag: str, path: Path, start: int, length: int) -> None:
        """Fetch bytes [start, start + length) of an object; continues where a connection broke."""
        done = 0

        def fetch() -> None:
            nonlocal done
            with (
                self.client.get_object(
                    self.bucket,
                    self._name(key),
                    offset=start + done,
                    length=length - done,
                    request_headers={"If-Match": f'"{etag}"'},
                ) as response,
                path.open("r+b") as file,
            ):
                file.seek(start + done)
                for chunk in response.stream(2**20):
                    file.write(chunk)
                    done += len(chunk)
            if done != length:
                raise Interrupted(f"{done} of {length} bytes arrived")

        persist(fetch, f"get {self._where(key)}", lambda: done)


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results in order, computed `PARALLEL` at a time; after the first error no further item is started."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _is_listing(key: str) -> bool:
    return key.rpartition("/")[2] == LISTING


def _measure(path: Path) -> Entry:
    return Entry(path.stat().st_size, sha256(path))
