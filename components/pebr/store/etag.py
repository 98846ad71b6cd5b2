"""The etag that S3 reports for an object: the MD5 of its bytes, or of the MD5s of its uploaded parts."""

import hashlib
from typing import BinaryIO

PART = 2**25  # bytes per part of a large object
SMALL_PART = 2**23  # bytes per part of a smaller one: SeaweedFS stores these in one piece and reports the plain MD5


class CountedFile:
    """A file of `size` bytes that the minio client reads part by part, with the etag of the bytes read so far."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.part_size = PART if size > PART else SMALL_PART
        self._file = file
        self._room = self.part_size  # bytes left in the current part
        self._parts = [hashlib.md5(usedforsecurity=False)]

    def read(self, count: int) -> bytes:
        """Read at most `count` bytes, and none beyond the current part."""
        if not self._room:
            self._room = self.part_size
            self._parts.append(hashlib.md5(usedforsecurity=False))
        data = self._file.read(min(count, self._room))
        self._room -= len(data)
        self._parts[-1].update(data)
        return data

    @property
    def etag(self) -> str:
        """The etag of the bytes read so far.

        >>> import io
        >>> file = CountedFile(io.BytesIO(b"abc"), 3)
        >>> file.read(3), file.etag
        (b'abc', '900150983cd24fb0d6963f7d28e17f72')
        """
        if len(self._parts) == 1:
            return self._parts[0].hexdigest()
        joined = hashlib.md5(b"".join(part.digest() for part in self._parts), usedforsecurity=False)
        return f"{joined.hexdigest()}-{len(self._parts)}"
