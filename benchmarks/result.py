"""What benchmarks share: the memory that something takes, and how each ends: a file, one line, and an exit code."""

import ctypes
import gc
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

RESULTS = Path(__file__).parent / "results"


def finish(name: str, ratio: float, goal: float, numbers: Mapping[str, Any]) -> NoReturn:
    """Write `results/<name>.json`, print `name: ratio=2.7 goal=2.5 ok`, exit with 0 when the goal is reached."""
    reached = ratio >= goal
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    content = {"name": name, "ratio": round(ratio, 3), "goal": goal, "reached": reached, "machine": machine, **numbers}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    print(f"{name}: ratio={ratio:.2f} goal={goal:g} {'ok' if reached else 'short'}")
    sys.exit(0 if reached else 1)


def peak_bytes(action: Callable[[], object]) -> int:
    """What an action takes at most beyond what is there before it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts at what is resident now
    before = _status("VmRSS")
    action()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024
