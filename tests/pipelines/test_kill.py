"""A small toy pipeline, killed in every step: it ends with what one in another folder, not killed, ends with."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pebr.toy.clip import train_clip

ROOT = Path(__file__).parents[2]
# Little of everything, but enough warm-up that each level of difficulty has questions.
SMALL = {
    "toy_rows": 120, "sft_max_steps": 150, "sft_epochs": 100, "sft_save_every": 40,
    "rollout_samples": 4, "easy_at_least": 0.5, "samples": 4, "save_every": 2,
    "perception_questions_per_step": 4, "perception_questions_per_update": 2, "perception_max_steps": 4,
    "reasoning_questions_per_step": 4, "reasoning_questions_per_update": 2, "reasoning_max_steps": 4,
}  # fmt: skip
OF_RL = {"stage-1-perception", "merge-stage-1", "evaluate-stage-1", "stage-2-reasoning", "merge-stage-2",
         "evaluate-stage-2", "report"}  # fmt: skip


def start(work: Path, clip: Path, **changes: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.run", "--work", str(work), "--threads", "1"]
    settings = {**SMALL, "clip_source": clip, **changes}
    command += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def run(work: Path, clip: Path, **changes: Any) -> None:
    process = start(work, clip, **changes)
    out, _ = process.communicate()
    assert process.returncode == 0, out


def statuses(work: Path) -> dict[str, dict[str, Any]]:
    path = work / "run.json"
    return {s["step"]: s for s in json.loads(path.read_text())["steps"]} if path.exists() else {}


def states(work: Path, state: str) -> set[str]:
    return {step for step, status in statuses(work).items() if status["state"] == state}


def results(work: Path) -> dict[tuple[str, str], Any]:
    """(step, output) -> its digest, or, of what tells times beside numbers, the numbers."""
    found = {}
    for step, status in statuses(work).items():
        for name, made in status["artifacts"].items():
            path = work / "artifacts" / step / status["key"] / name
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
