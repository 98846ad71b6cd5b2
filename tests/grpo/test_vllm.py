"""A stage that samples with vLLM, by the command: both engines compute the same log-probabilities at every step."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.grpo.conftest import ROOT, environment, finish, history

pytestmark = pytest.mark.vllm

SETTINGS = {"sampling": "vllm", "learning_rate": 1e-2, "drift_limit": 1e-3, "save_every": 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"processes": 1, "zero_stage": 0},
        {"processes": 1, "zero_stage": 3, "lora_rank": 4},
        {"processes": 1, "zero_stage": 0, "noise": 500, "old_logprobs": "recompute"},
        {"processes": 2, "zero_stage": 3},
        {"processes": 2, "zero_stage": 0, "tensor_parallel": 2},
    ],
    ids=str,
)
def test_sampler_and_trainer_stay_one_model(command: Any, tmp_path: Path, changes: dict[str, int]) -> None:
    finish(command(tmp_path, **SETTINGS, **changes))
    rows = history(tmp_path)
    assert len(rows) == 3
    for row in rows:
        assert row["drift/max"] < 1e-3, row["step"]
        assert row["grad_norm"] > 0


def test_without_the_sync_the_drift_stops_the_run(command: Any, tmp_path: Path) -> None:
    arguments = command(tmp_path, **SETTINGS)
    arguments[arguments.index("pebr.grpo")] = "tests.grpo.unsynced"
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode != 0
    assert "sampler and trainer disagree" in done.stderr
    assert len(history(tmp_path)) == 2  # in the first step both engines have the initial model
