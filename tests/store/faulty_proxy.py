"""A TCP proxy in front of a real server that damages connections at random, from a seed, as bad networks do."""

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

UNAVAILABLE = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FaultyProxy:
    """Forwards bytes; some connections are dropped, delayed, answered with 503, or cut off in the body.

    `swap` is a pair of byte strings of equal length: the first is replaced by the second in the forwarded bytes, as a
    broken network card or middlebox does.
    """

    def __init__(self, port: int, share: float, seed: int, swap: tuple[bytes, bytes] = (b"", b"")) -> None:
        self.swap = swap
        self.target, self.share, self.random = ("127.0.0.1", port), share, random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            fault = ""
            if self.random.random() < self.share:
                fault = self.random.choice(["drop", "delay", "503", "cut upload", "cut download"])
                self.faults[fault] += 1
            limit = self.random.randrange(1, 400_000)
            threading.Thread(target=self._serve, args=(client, fault, limit), daemon=True).start()

    def _serve(self, client: socket.socket, fault: str, limit: int) -> None:
        with client:
            if fault == "drop":
                return
            if fault == "503":
                client.recv(1024)
                client.sendall(UNAVAILABLE)
                return
            if fault == "delay":
                time.sleep(0.3)
            with socket.create_connection(self.target) as server:
                up = threading.Thread(
                    target=self._pump, args=(client, server, limit if fault == "cut upload" else 0), daemon=True
                )
                up.start()
                self._pump(server, client, limit if fault == "cut download" else 0)

    def _pump(self, source: socket.socket, sink: socket.socket, limit: int) -> None:
        """Forward bytes, at most `limit` if it is not 0; then close both directions."""
        passed = 0
        try:
            while data := source.recv(65536):
                data = data.replace(*self.swap) if self.swap[0] else data
                if limit and passed + len(data) > limit:
                    sink.sendall(data[: limit - passed])
                    break
                sink.sendall(data)
                passed += len(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def close(self) -> None:
        self.closed = True
        self.listener.close()


@contextmanager
def faulty_proxy(port: int, share: float, seed: int, swap: tuple[bytes, bytes] = (b"", b"")) -> Iterator[FaultyProxy]:
    """A proxy to a port of this machine; each connection is faulty with probability `share`."""
    proxy = FaultyProxy(port, share, seed, swap)
    try:
        yield proxy
    finally:
        proxy.close()
