"""Shared by the benchmarks: measure peak memory; report a result as a file, one line and an exit code."""

import ctypes
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

Result = TypeVar("Result")
RESULTS = Path(__file__).parent / "results"


def finish(name: str, ratio: float, goal: float, numbers: Mapping[str, object]) -> NoReturn:
    """Write `results/<name>.json`, print `name: ratio=2.7 goal=2.5 ok`, exit with 0 if the goal is reached, else 1."""
    reached = ratio >= goal
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    content = {"name": name, "ratio": round(ratio, 3), "goal": goal, "reached": reached, "machine": machine, **numbers}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    print(f"{name}: ratio={ratio:.2f} goal={goal:g} {'ok' if reached else 'short'}")
    sys.exit(0 if reached else 1)


def seconds(action: Callable[[], Result]) -> tuple[float, Result]:
    """The duration of an action in seconds, and its result."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def peak_bytes(action: Callable[[], object]) -> int:
    """The peak resident memory of an action, beyond the memory in use before it, in bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark to the current resident size
    before = status_bytes("VmRSS")
    action()
    return status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """A field of this process's /proc status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024
