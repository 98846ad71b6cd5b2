"""Runs with kills, and their files, for the tests of steps that resume."""

import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from pebr.store.opening import open_store

ROOT = Path(__file__).parents[2]


def run_with_kills(settings: str, work: str, flags: list[str], kills: int, seconds: float = 0.0) -> float:
    """Run a step and kill it `kills` times, each within `seconds` of a start. Returns the seconds of the last run."""
    job = {"settings": settings, "work": work, "flags": flags, "kills": kills, "seconds": seconds, "seed": 1}
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.killing", json.dumps(job)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["killed"] == kills
    return float(report["seconds"])


def files(directory: Path, without: Collection[str] = ()) -> dict[str, bytes]:
    """The contents of a directory's files by name."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.name not in without}


def without_times(rows: list[dict]) -> list[dict]:
    """The rows of a history without seconds."""
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


def newest_checkpoint(location: str, copy: Path) -> dict[str, bytes]:
    """The files of the newest checkpoint: weights, moments, random states, counters; without seconds."""
    store = open_store(location)
    last = sorted({key.rsplit("/", 1)[0] for key in store.list("") if key.endswith("index.json")})[-1]
    copy.mkdir()
    for key in store.list(last + "/"):
        store.get(key, copy / key.rsplit("/", 1)[1])
    found = files(copy)
    index = json.loads(found["index.json"])
    index["state"]["history"] = without_times(index["state"]["history"])
    return found | {"index.json": json.dumps(index).encode()}
