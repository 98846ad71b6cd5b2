"""Logs how many bytes have arrived in a folder, the rate, and the time left if the whole size is known."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pebr.store.listing import leads_up
from pebr.telemetry.logs import duration

log = logging.getLogger("pebr")


@contextmanager
def watched(folder: Path, total: int, description: str, every_seconds: float = 10.0) -> Iterator[None]:
    """Log the bytes in a folder while the block runs.

    Args:
        folder: that the block fills.
        total: bytes of all; 0 if unknown.
        description: first words of each line.
        every_seconds: time between two lines.
    """
    ended = threading.Event()
    started = time.monotonic()

    def watch() -> None:
        while not ended.wait(every_seconds):
            arrived = bytes_in(folder)
            rate = arrived / (time.monotonic() - started)
            of_total = f" of {total / 1e6:.1f}" if total else ""
            left = f", {duration((total - arrived) / rate)} left" if 0 < arrived < total else ""
            log.info("%s: %.1f%s MB, %.1f MB per second%s", description, arrived / 1e6, of_total, rate / 1e6, left)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def bytes_in(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; files may come and go meanwhile."""
    if path.is_file():
        return path.stat().st_size
    size = 0
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not leads_up(Path(folder) / name)]
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(folder, name)).st_size
    return size
