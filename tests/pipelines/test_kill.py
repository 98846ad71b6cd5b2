"""The toy pipeline with little RL, killed at every step: it ends with the same bytes as one that was not killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pebr.toy.clip import train_clip

ROOT = Path(__file__).parents[2]
SMALL = {"rollout_samples": 4, "perception_max_steps": 3, "reasoning_max_steps": 3, "save_every": 2}
TIMED = ("system.Metrics", "system.HTML")  # what says how long something took


def start(work: Path, clip: Path) -> subprocess.Popen[str]:
    changes = {**SMALL, "clip_source": clip}
    command = [sys.executable, "-m", "pipelines.run", "--work", str(work), "--threads", "1"]
    command += [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def statuses(work: Path) -> dict[str, dict[str, Any]]:
    path = work / "run.json"
    return {s["step"]: s for s in json.loads(path.read_text())["steps"]} if path.exists() else {}


def digests(work: Path) -> dict[tuple[str, str], str]:
    """(step, output) -> digest, of all outputs but those that tell times."""
    return {
        (step, name): made["digest"]
        for step, status in statuses(work).items()
        for name, made in status["artifacts"].items()
        if made["schema"] not in TIMED and name != "history"
    }


@pytest.mark.e2e
@pytest.mark.timeout(3600)
def test_killed_at_every_step_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    clip = train_clip(tmp_path / "clip", seed=0, steps=2)
    work = tmp_path / "work"
    process = start(work, clip)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    undisturbed = digests(work)
    steps = [step for step, status in statuses(work).items() if status["state"] == "done"]
    shutil.rmtree(work)

    chance = random.Random(0)
    for step in steps:
        process = start(work, clip)
        while process.poll() is None and statuses(work).get(step, {}).get("state") not in ("running", "done", "kept"):
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, 8.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(work, clip)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    assert digests(work) == undisturbed
