"""Logs and progress: one line per event on standard error, the same in a terminal, a pod's log and a file."""

import logging
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from pebr.telemetry import metrics

Item = TypeVar("Item")
log = logging.getLogger("pebr")
_ERROR = re.compile(r"[\d:]+ ERROR (?:\[rank \d+\] )?(.+)")  # a line of `configure`
_LINE = re.compile(r"[\d:]+ (DEBUG|INFO|WARNING|ERROR) ")  # the beginning of such a line
_RECENT = 60  # progress lines, which take at least five minutes


def configure(level: str | None = None) -> None:
    """Send the logs of `pebr`, and the warnings and errors of other libraries, to standard error.

    The level is by default that of the environment variable PEBR_LOG_LEVEL, or INFO.
    """
    rank = os.environ.get("RANK")
    prefix = f"[rank {rank}] " if rank not in (None, "0") else ""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {prefix}%(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    log.setLevel(level or os.environ.get("PEBR_LOG_LEVEL", "INFO" if rank in (None, "0") else "WARNING"))


def progress(items: Iterable[Item], total: int, description: str, every_seconds: float = 5.0) -> Iterator[Item]:
    """Yield `items` and log how many of `total` (0 if unknown) are done, the rate and the time left.

    At most one line per `every_seconds`. Rate and time left use the last `_RECENT` lines; the final line reports the
    whole run.
    """
    started = time.monotonic()
    lines = deque([(started, 0)], maxlen=_RECENT)
    metrics.record("pebr_items_planned", total, description)
    for done, item in enumerate(items, start=1):
        yield item
        metrics.record("pebr_items_done_total", 1, description)
        now = time.monotonic()
        if done == total or now - lines[-1][0] >= every_seconds:
            since, before = lines[0] if done != total else (started, 0)
            lines.append((now, done))
            rate = (done - before) / max(now - since, 1e-9)
            of_total = f" of {total}" if total else ""
            time_left = f"{duration((total - done) / rate)} left" if done < total else duration(now - started)
            log.info("%s: %d%s, %.3g per second, %s", description, done, of_total, rate, time_left)


def last_error(lines: Iterable[str]) -> str:
    """The message of the last error in a log that `configure` set up; "" if there is none.

    >>> last_error(["16:02:11 INFO 9 rows", "16:02:12 ERROR [rank 1] data/: no rows", "16:02:12 INFO bye"])
    'data/: no rows'
    """
    return ([found[1] for line in lines if (found := _ERROR.fullmatch(line))] or [""])[-1]


def failure_of(lines: Sequence[str]) -> str:
    """What ended a process, from its log: the last error, else the last line of a traceback, else the last line.

    >>> failure_of(["Traceback (most recent call last):", "ValueError: no 7", "16:02:12 WARNING node 0 ends", ""])
    'ValueError: no 7'
    """
    said = [line for line in lines if line.strip()]
    foreign = [line for line in said if not _LINE.match(line)]
    return last_error(lines) or (foreign or said or [""])[-1]


def duration(seconds: float) -> str:
    """A duration in readable form.

    >>> [duration(s) for s in (0.42, 38.2, 95, 7300)]
    ['0.4 s', '38 s', '1 min 35 s', '2 h 1 min']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
