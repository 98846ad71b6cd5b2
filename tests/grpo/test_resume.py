"""A run that is killed anywhere, and started again, ends as if nothing had happened: bit for bit."""

import hashlib
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pebr.step import EXIT_PREEMPTED
from tests.grpo.conftest import ROOT, environment, finish, history

pytestmark = pytest.mark.slow

STEPS = 6
SETTINGS = {"max_steps": STEPS, "epochs": 2, "keep_checkpoints": 2}


def digests(folder: Path) -> dict[str, str]:
    """Weights and rollouts of a finished run."""
    files = [*(folder / "weights").iterdir(), *(folder / "rollouts").iterdir()]
    return {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def started(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def rows(folder: Path) -> int:
    path = folder / "history.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def kill_somewhere(arguments: list[str], folder: Path, rng: random.Random) -> bool:
    """Start a run and kill it a random while after its first new step; False when it ended before."""
    process = started(arguments)
    before = rows(folder)
    delay = rng.choice([0.0, rng.uniform(0, 0.4), rng.uniform(0, 3)])
    if rng.random() < 0.8:  # otherwise it may die while it starts
        while process.poll() is None and rows(folder) == before:
            time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    return process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    finish(command(folder, **SETTINGS))
    return folder


def assert_same(folder: Path, whole: Path) -> None:
    assert history(folder) == history(whole)
    assert digests(folder) == digests(whole)


def test_killed_at_twenty_points(command, whole, tmp_path):
    rng = random.Random(0)
    kills = runs = 0
    while kills < 20:
        folder = tmp_path / str(runs)
        folder.mkdir()
        while kill_somewhere(command(folder, **SETTINGS), folder, rng):
            kills += 1
        finish(command(folder, **SETTINGS))
        assert_same(folder, whole)
        runs += 1


@pytest.mark.s3
def test_killed_with_checkpoints_on_s3(command, whole, tmp_path, s3_address):
    """Nothing but the store survives, as when a pod is scheduled on another machine."""
    rng = random.Random(1)
    prefix = "s3://pebr/grpo-resume"
    for attempt in range(5):
        kill_somewhere(command(tmp_path / str(attempt), **SETTINGS, checkpoints=prefix), tmp_path / str(attempt), rng)
    finish(command(tmp_path / "last", **SETTINGS, checkpoints=prefix))
    assert_same(tmp_path / "last", whole)


def test_told_to_stop_it_writes_a_checkpoint_and_asks_to_be_retried(command, whole, tmp_path):
    arguments = command(tmp_path, **SETTINGS, save_every=0)
    process = started(arguments)
    while rows(tmp_path) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == EXIT_PREEMPTED
    assert 2 <= rows(tmp_path) < STEPS
    finish(arguments)
    assert_same(tmp_path, whole)


def test_a_checkpoint_of_two_ranks_goes_on_with_one(command, whole, tmp_path):
    process = started(command(tmp_path, **SETTINGS, processes=2, zero_stage=2))
    while rows(tmp_path) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == EXIT_PREEMPTED
    finish(command(tmp_path, **SETTINGS))
    for one, other in zip(history(tmp_path), history(whole), strict=True):
        for name, value in other.items():
            if not name.startswith("drift"):
                assert one[name] == pytest.approx(value, rel=2e-3, abs=1e-5), (one["step"], name)
