"""Records transfers of a store as metrics: how many, bytes and seconds."""

import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from pebr.telemetry import metrics

Own = TypeVar("Own")
Given = ParamSpec("Given")


def measured(method: Callable[Concatenate[Own, Given], None]) -> Callable[Concatenate[Own, Given], None]:
    """A `put` or `get` of a store that records itself when it has succeeded."""

    @wraps(method)
    def transfer(self: Own, /, *args: Given.args, **kwargs: Given.kwargs) -> None:
        started = time.perf_counter()
        method(self, *args, **kwargs)
        if metrics.recorded():
            local = next(value for value in (*args, *kwargs.values()) if isinstance(value, Path))
            metrics.record("pebr_store_transfers_total", 1, method.__name__)
            metrics.record("pebr_store_bytes_total", _bytes(local), method.__name__)
            metrics.record("pebr_store_seconds", time.perf_counter() - started, method.__name__)

    return transfer


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
