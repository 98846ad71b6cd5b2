"""SFT that is killed at random points and restarted ends with the same bytes as an undisturbed run."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pebr.sft.settings import Settings
from pebr.telemetry.history import read_history
from tests.training.resumed import files, newest_checkpoint, run_with_kills, without_times


@pytest.fixture
def settings(sft_dataset: Path, tiny_models: dict[str, Path]) -> dict[str, Any]:
    return {
        "model": str(tiny_models["qwen2_5_vl"]),
        "dataset": str(sft_dataset),
        "epochs": 4,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "max_tokens": 300,
        "tokens_per_batch": 500,
        "dtype": "fp32",
        "zero_stage": 2,
        "gradient_checkpointing": "false",
        "processes": 1,
        "save_every": 1,
        "validate_every": 5,
        "validation_questions": 4,
    }


def flags_of(settings: dict[str, Any]) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def run(out: Path, settings: dict[str, Any], kills: int, seconds: float = 0.0) -> float:
    places = {"output": str(out / "model"), "history": str(out / "history.jsonl"), "metrics": str(out / "metrics.json")}
    flags = flags_of({"checkpoints": str(out / "checkpoints")} | settings | places)
    return run_with_kills("pebr.sft.settings", "pebr.sft.work", flags, kills, seconds)


def assert_same(killed: Path, whole: Path, location: str) -> None:
    assert files(killed / "model") == files(whole / "model")
    rows = [without_times(read_history(out / "history.jsonl")) for out in (killed, whole)]
    assert rows[0] == rows[1]
    theirs = newest_checkpoint(str(whole / "checkpoints"), whole / "copy")
    assert newest_checkpoint(location, killed / "copy") == theirs


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_resume_is_exact_on_a_folder(settings: dict[str, Any], tmp_path: Path) -> None:
    seconds = run(tmp_path / "whole", settings, kills=0)
    run(tmp_path / "killed", settings, kills=24, seconds=seconds / 3)
    assert_same(tmp_path / "killed", tmp_path / "whole", str(tmp_path / "killed" / "checkpoints"))


@pytest.mark.s3
@pytest.mark.timeout(3000)
def test_resume_is_exact_on_s3(settings: dict[str, Any], tmp_path: Path, s3_address: str) -> None:
    location = f"s3://pebr/{tmp_path.name}/checkpoints"
    seconds = run(tmp_path / "whole", settings, kills=0)
    run(tmp_path / "killed", settings | {"checkpoints": location}, kills=24, seconds=seconds / 3)
    assert_same(tmp_path / "killed", tmp_path / "whole", location)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_finishes_the_step_and_asks_to_be_started_again(
    settings: dict[str, Any], tmp_path: Path, processes: int
) -> None:
    places = {"output": str(tmp_path / "model"), "history": str(tmp_path / "history.jsonl")}
    chosen = settings | places | {"epochs": 1000, "save_every": 10**6, "processes": processes}
    assert {field.name for field in dataclasses.fields(Settings)} >= chosen.keys()
    command = [sys.executable, "-m", "pebr.sft", *flags_of(chosen)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    while len(read_history(tmp_path / "history.jsonl")) < 3:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 75
    steps = len(read_history(tmp_path / "history.jsonl"))
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "resumed from the checkpoint of step" in line:
            assert f"step {steps}" in line
            break
    else:
        raise AssertionError("it did not resume")
    process.kill()
    process.wait()
