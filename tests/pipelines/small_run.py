"""The whole pipeline on little of everything, by its command, in a process that can be killed."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Little of everything, but enough warm-up that each level of difficulty has questions.
SMALL = {
    "toy_rows": 120, "sft_max_steps": 150, "sft_epochs": 100, "sft_save_every": 40,
    "rollout_samples": 4, "easy_at_least": 0.5, "samples": 4, "save_every": 2,
    "perception_questions_per_step": 4, "perception_questions_per_update": 2, "perception_max_steps": 4,
    "reasoning_questions_per_step": 4, "reasoning_questions_per_update": 2, "reasoning_max_steps": 4,
}  # fmt: skip


def start(work: Path, clip: Path, options: Sequence[str] = (), **changes: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.run", "--work", str(work), "--threads", "1", *options]
    settings = {**SMALL, "clip_source": clip, **changes}
    command += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def run(work: Path, clip: Path, options: Sequence[str] = (), **changes: Any) -> None:
    process = start(work, clip, options, **changes)
    out, _ = process.communicate()
    assert process.returncode == 0, out


def statuses(work: Path) -> dict[str, dict[str, Any]]:
    path = work / "run.json"
    return {s["step"]: s for s in json.loads(path.read_text())["steps"]} if path.exists() else {}


def states(work: Path, state: str) -> set[str]:
    return {step for step, status in statuses(work).items() if status["state"] == state}


def output_of(work: Path, step: str, name: str) -> Path:
    """Where a step of the run has put an output."""
    return work / "artifacts" / step / statuses(work)[step]["key"] / name
