"""Logs and progress: one line an event on standard error, the same in a terminal, a pod's log and a file."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
log = logging.getLogger("pebr")


def configure(level: str | None = None) -> None:
    """Send the logs of `pebr` to standard error; other libraries only from warnings on.

    Args:
        level: a level's name; by default the environment variable PEBR_LOG_LEVEL, or INFO.
    """
    rank = os.environ.get("RANK")
    prefix = f"[rank {rank}] " if rank not in (None, "0") else ""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {prefix}%(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    log.setLevel(level or os.environ.get("PEBR_LOG_LEVEL", "INFO" if rank in (None, "0") else "WARNING"))


def progress(items: Iterable[Item], total: int, description: str, every_seconds: float = 5.0) -> Iterator[Item]:
    """Pass `items` on, logging how many are done, the rate and the time left, at most every `every_seconds`.

    Args:
        items: what is worked on.
        total: how many there will be; 0 when that is not known.
        description: stands before the numbers.
        every_seconds: the shortest time between two lines.
    """
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if done == total or now - last >= every_seconds:
            last = now
            rate = done / max(now - started, 1e-9)
            of_total = f" of {total}" if total else ""
            left = f"{(total - done) / rate:.0f} s left" if done < total else f"{now - started:.1f} s"
            log.info("%s: %d%s, %.3g a second, %s", description, done, of_total, rate, left)
