"""HTTP connections that do not take half an answer for a whole one.

Python's http.client ends an answer's head where the connection ends: cut off there, a size loses digits, and a digest
is not missed. Here the head must end with its empty line; without it the request has failed, and is sent again.
"""

import http.client
from typing import Any, BinaryIO

import urllib3


class Lines:
    """A file that remembers the last line read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.last = file, b""

    def readline(self, limit: int = -1) -> bytes:
        """The next line."""
        self.last = self.file.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class Response(http.client.HTTPResponse):
    """An answer whose head is whole."""

    def begin(self) -> None:
        """Read the head.

        Raises:
            IncompleteRead: it is cut off.
        """
        lines = Lines(self.fp)
        self.fp = lines  # type: ignore[assignment]
        super().begin()
        self.fp = lines.file if self.fp is lines else self.fp  # type: ignore[assignment, comparison-overlap]
        if lines.last not in (b"\r\n", b"\n"):
            raise http.client.IncompleteRead(lines.last)


class PlainConnection(urllib3.connection.HTTPConnection):
    """Over http."""

    response_class = Response


class SecureConnection(urllib3.connection.HTTPSConnection):
    """Over https."""

    response_class = Response


class PlainPool(urllib3.HTTPConnectionPool):
    """Of http."""

    ConnectionCls = PlainConnection


class SecurePool(urllib3.HTTPSConnectionPool):
    """Of https."""

    ConnectionCls = SecureConnection


def pool_manager(**settings: Any) -> urllib3.PoolManager:
    """A `urllib3.PoolManager` of such connections."""
    manager = urllib3.PoolManager(**settings)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager
