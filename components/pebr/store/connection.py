"""HTTP connections that detect a response whose head was cut off.

Python's http.client accepts a head that ends where the connection breaks: a content length may lose digits, and a
missing digest header is not noticed. Here the head must end with an empty line; else the request fails and is retried.
"""

import http.client
from typing import Any, BinaryIO  # Any: attributes and settings of other libraries

import urllib3


class Lines:
    """A file that keeps the last line read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.last = file, b""

    def readline(self, limit: int = -1) -> bytes:
        """The next line."""
        self.last = self.file.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class Response(http.client.HTTPResponse):
    """A response with a complete head."""

    def begin(self) -> None:
        """Read the head.

        Raises:
            IncompleteRead: the head is cut off.
        """
        lines = Lines(self.fp)
        self.fp = lines  # type: ignore[assignment]
        super().begin()
        self.fp = lines.file if self.fp is lines else self.fp  # type: ignore[assignment, comparison-overlap]
        if lines.last not in (b"\r\n", b"\n"):
            raise http.client.IncompleteRead(lines.last)


class PlainConnection(urllib3.connection.HTTPConnection):
    """A connection over http."""

    response_class = Response


class SecureConnection(urllib3.connection.HTTPSConnection):
    """A connection over https."""

    response_class = Response


class PlainPool(urllib3.HTTPConnectionPool):
    """Connections over http."""

    ConnectionCls = PlainConnection


class SecurePool(urllib3.HTTPSConnectionPool):
    """Connections over https."""

    ConnectionCls = SecureConnection


def pool_manager(**settings: Any) -> urllib3.PoolManager:
    """A `urllib3.PoolManager` of connections that check the head."""
    manager = urllib3.PoolManager(**settings)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager
