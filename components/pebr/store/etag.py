"""The etag by which S3 tells what it has stored: the MD5 of an object, or of the MD5s of the parts it was sent in."""

import hashlib
from typing import BinaryIO

PART = 2**25  # bytes of one part of a large object
SMALL_PART = 2**23  # of a middling one: what SeaweedFS stores in one piece, and so gives the plain MD5 of


class CountedFile:
    """A file as the minio client reads it, part by part, that knows the etag of what has been read.

    Args:
        file: read from its beginning.
        size: of the file in bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.part_size = PART if size > PART else SMALL_PART
        self._file = file
        self._room = self.part_size  # bytes that the current part still takes
        self._parts = [hashlib.md5(usedforsecurity=False)]

    def read(self, count: int) -> bytes:
        """At most `count` bytes, and none beyond the current part."""
        if not self._room:
            self._room = self.part_size
            self._parts.append(hashlib.md5(usedforsecurity=False))
        data = self._file.read(min(count, self._room))
        self._room -= len(data)
        self._parts[-1].update(data)
        return data

    @property
    def etag(self) -> str:
        """The etag of what has been read.

        >>> import io
        >>> file = CountedFile(io.BytesIO(b"abc"), 3)
        >>> file.read(3), file.etag
        (b'abc', '900150983cd24fb0d6963f7d28e17f72')
        """
        if len(self._parts) == 1:
            return self._parts[0].hexdigest()
        joined = hashlib.md5(b"".join(part.digest() for part in self._parts), usedforsecurity=False)
        return f"{joined.hexdigest()}-{len(self._parts)}"
