"""Seconds of the parts of a training step. On a GPU, events in its stream measure them, so nothing waits for it."""

import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")


class Stopwatch:
    """Adds up seconds by name.

    >>> watch = Stopwatch(torch.device("cpu"))
    >>> with watch.part("reading"):
    ...     pass
    >>> list(watch.each("waiting", "ab"))
    ['a', 'b']
    >>> sorted(watch.seconds())
    ['reading', 'waiting']
    """

    def __init__(self, device: torch.device) -> None:
        self._mark = _event if device.type == "cuda" else time.perf_counter
        self._parts: list[tuple[str, object, object]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure what happens inside."""
        start = self._mark()
        yield
        self._parts.append((name, start, self._mark()))

    def each(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, and measure how long each of them takes to come."""
        iterator = iter(items)
        while True:
            with self.part(name):
                item = list(itertools.islice(iterator, 1))
            if not item:
                return
            yield item[0]

    def seconds(self) -> dict[str, float]:
        """The seconds of each part."""
        found: dict[str, float] = {}
        for name, start, end in self._parts:
            found[name] = found.get(name, 0.0) + _between(start, end)
        return found


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(start: object, end: object) -> float:
    """The seconds between two marks; waits until a GPU has reached the second one."""
    if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        end.synchronize()
        return start.elapsed_time(end) / 1000
    return float(end) - float(start)  # type: ignore[arg-type]
