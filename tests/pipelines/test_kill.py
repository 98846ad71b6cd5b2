"""A small toy pipeline, killed in every step: it ends with what one in another folder, not killed, ends with."""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pebr.toy.clip import train_clip
from tests.pipelines.small_run import output_of, run, start, states, statuses

OF_RL = {"stage-1-perception", "merge-stage-1", "evaluate-stage-1", "stage-2-reasoning", "merge-stage-2",
         "evaluate-stage-2", "report"}  # fmt: skip


def results(work: Path) -> dict[tuple[str, str], Any]:
    """(step, output) -> its digest, or, of what tells times beside numbers, the numbers."""
    found = {}
    for step, status in statuses(work).items():
        for name, made in status["artifacts"].items():
            path = output_of(work, step, name)
            if name in ("metrics", "history"):
                rows = [json.loads(line) for line in path.read_text().splitlines()] if name == "history" else None
                found[step, name] = [untimed(row) for row in rows or [json.loads(path.read_text())]]
            elif made["schema"] != "system.HTML":  # the report shows times
                found[step, name] = made["digest"]
    return found


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of numbers without those that depend on the clock; the report's size does, too."""
    return {name: value for name, value in row.items() if "second" not in name and name != "started"}


@pytest.mark.e2e
@pytest.mark.timeout(3600)
def test_killed_in_every_step_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    clip = train_clip(tmp_path / "clip", seed=0, steps=2)
    calm, work = tmp_path / "calm", tmp_path / "killed"
    run(calm, clip)
    undisturbed = results(calm)
    undisturbed.pop(("report", "metrics"))
    took = {step: status["seconds"] for step, status in statuses(calm).items() if status["state"] == "done"}

    chance = random.Random(0)
    inside = []
    for step, seconds in took.items():
        process = start(work, clip)
        while process.poll() is None and statuses(work).get(step, {}).get("state") not in ("running", "done", "kept"):
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, seconds))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if statuses(work)[step]["state"] == "running":
            inside.append(step)
    assert len(inside) >= len(took) / 2, inside

    run(work, clip)
    killed = results(work)
    killed.pop(("report", "metrics"))
    assert killed == undisturbed

    run(work, clip)
    assert states(work, "kept") == set(took)
    assert states(work, "done") == set()
    run(work, clip, learning_rate=1e-4)
    assert states(work, "done") == OF_RL
    assert states(work, "kept") == set(took) - OF_RL
