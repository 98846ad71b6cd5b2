"""How far a running step is: read from the end of its log and from its history."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pebr.telemetry.conditions import Condition, conditions, seconds_of
from pebr.telemetry.tail import Tail
from pipelines.local.artifacts import Status

LOG_BYTES = 8000  # at the end of a log, which hold its last progress line
CONDITIONS_SECONDS = 5.0  # the conditions of a step are not looked at more often
# The lines of `pebr.telemetry.logs.progress`, and those of steps that train.
LINES = (
    re.compile(r"(?P<done>\d+) of (?P<total>\d+), (?P<speed>\S+ per second), (?P<left>[^,]+?)(?: left)?$"),
    re.compile(r"step (?P<done>\d+) of (?P<total>\d+): .*?, (?:(?P<speed>[\d.]+ s), )?(?P<left>[^,]+) left$"),
)


class Progress(NamedTuple):
    """How far a step is."""

    done: int
    total: int
    speed: str  # "" if the line does not have it
    left: str  # time left


def progress_of(lines: Iterable[str]) -> Progress | None:
    """The progress in the last line that has one; None without such a line, and if all is done.

    >>> progress_of(["16:02:11 INFO rollout: 120 of 600, 3.2 per second, 2 min 30 s left", "16:02:12 INFO hello"])
    Progress(done=120, total=600, speed='3.2 per second', left='2 min 30 s')
    >>> progress_of(["12:00:00 INFO step 5 of 50: reward 0.4, loss 0.1, 45 tokens per answer, 3.2 s, 2 min left"])
    Progress(done=5, total=50, speed='3.2 s per step', left='2 min')
    >>> progress_of(["12:00:00 INFO step 5 of 50: loss 0.1, 58 s left"])
    Progress(done=5, total=50, speed='', left='58 s')
    """
    for line in reversed(list(lines)):
        for form in LINES:
            if found := form.search(line):
                speed = found["speed"] or ""
                done, total = int(found["done"]), int(found["total"])
                if done >= total:
                    return None
                return Progress(done, total, f"{speed} per step" if speed.endswith(" s") else speed, found["left"])
    return None


def last_lines(log: Path) -> list[str]:
    """The last lines of a log, without empty ones and the starts of attempts."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - LOG_BYTES, 0))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return [line for line in lines if line and not line.startswith("---")]


class Histories:
    """The histories of the steps of a run, and the conditions that hold in them."""

    def __init__(self, folder: Callable[[str, str], Path]) -> None:
        """`folder` returns the folder of a step's outputs, by step id and key."""
        self._folder = folder
        self._tails: dict[Path, Tail] = {}
        self._found: dict[str, tuple[float, list[Condition]]] = {}  # step -> when looked at, conditions

    def rows(self, status: Status) -> list[dict[str, Any]]:
        """The rows of a step's history so far; [] if it has none."""
        return self._tail(status).rows() if status.key else []

    def conditions(self, status: Status) -> list[Condition]:
        """The conditions that hold in a running step."""
        looked, found = self._found.get(status.step, (0.0, []))
        if status.state != "running" or not status.key:
            return []
        if time.monotonic() - looked >= CONDITIONS_SECONDS:
            rows = self.rows(status)
            changed = self._tail(status).changed
            found = conditions(rows, time.time() - changed if rows else None)
            self._found[status.step] = time.monotonic(), found
        return found

    def _tail(self, status: Status) -> Tail:
        path = self._folder(status.step, status.key) / "history"
        return self._tails.setdefault(path, Tail(path))


def newest(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The newest reward or loss, the newest validation score, and the seconds per training step.

    >>> newest([{"reward": 0.5, "loss": 0.1, "validation/reward": 0.4, "seconds_sampling": 2.0}, {"reward": 0.625}])
    ['reward 0.625', 'validation reward 0.400', '1.0 s per step']
    >>> newest([{"loss": 2.0, "validation/loss": 2.5, "seconds": 0.5}])
    ['loss 2.000', 'validation loss 2.500', '0.5 s per step']
    """
    if not rows:
        return []
    measure = "reward" if "reward" in rows[-1] else "loss"
    told = []
    for name, key in ((measure, measure), (f"validation {measure}", f"validation/{measure}")):
        value = next((row[key] for row in reversed(rows) if row.get(key) is not None), None)
        told += [] if value is None else [f"{name} {value:.3f}"]
    recent = [seconds_of(row) for row in rows[-10:]]
    return [*told, f"{sum(recent) / len(recent):.1f} s per step"]
