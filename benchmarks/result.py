"""How every benchmark ends: its numbers in a file, one line, and an exit code."""

import json
import os
import platform
import sys
from collections.abc import Mapping
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
