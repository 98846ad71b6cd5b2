"""A run that is killed at random times and resumed gives the same bytes as an uninterrupted run."""

import hashlib
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pebr.errors import EXIT_PREEMPTED
from tests.grpo.conftest import ROOT, environment, finish, history
from tests.training.resumed import newest_checkpoint, run_with_kills

pytestmark = pytest.mark.slow

STEPS, KILLS = 6, 24
SETTINGS = {"max_steps": STEPS, "epochs": 3, "keep_checkpoints": 1, "validate_every": 2, "validation_questions": 6}
SETTINGS |= {"best_by": "accuracy"}  # always 0 here: the first validation stays the best


def digests(folder: Path) -> dict[str, str]:
    """Weights and rollouts of a finished run."""
    files = [path for name in ("weights", "rollouts") for path in (folder / name).rglob("*") if path.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def started(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def rows(folder: Path) -> int:
    path = folder / "history.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def killed(arguments: list[str], kills: int, seconds: float = 0.0) -> float:
    """Run the command and kill it `kills` times. Returns the seconds of the last run."""
    return run_with_kills("pebr.grpo.settings", "pebr.grpo.work", arguments[3:], kills, seconds)


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    finish(command(folder, **SETTINGS))
    return folder


@pytest.fixture(scope="module")
def seconds(command, tmp_path_factory):
    """Seconds of such a run, without imports."""
    return killed(command(tmp_path_factory.mktemp("timed"), **SETTINGS), kills=0)


def assert_same(folder: Path, whole: Path) -> None:
    assert history(folder) == history(whole)
    assert digests(folder) == digests(whole)
    assert json.loads((folder / "weights" / "best.json").read_text())["step"] == 2


def last_checkpoint(folder: Path, copy: Path, location: str = "") -> dict[str, bytes]:
    return newest_checkpoint(location or str(folder / "weights.checkpoints"), copy)


@pytest.mark.timeout(3000)
def test_killed_on_a_folder(command, whole, seconds, tmp_path):
    killed(command(tmp_path, **SETTINGS), KILLS, seconds / 3)
    assert_same(tmp_path, whole)
    assert last_checkpoint(tmp_path, tmp_path / "found") == last_checkpoint(whole, tmp_path / "expected")


@pytest.mark.s3
@pytest.mark.timeout(3000)
def test_killed_with_checkpoints_on_s3(command, whole, seconds, tmp_path, s3_address):
    location = "s3://pebr/grpo-resume"
    killed(command(tmp_path / "here", **SETTINGS, checkpoints=location), KILLS, seconds / 3)
    assert_same(tmp_path / "here", whole)
    assert last_checkpoint(tmp_path, tmp_path / "found", location) == last_checkpoint(whole, tmp_path / "expected")
    # only the store is left, as after a pod moved to another machine
    killed(command(tmp_path / "there", **SETTINGS, checkpoints=location), kills=0)
    assert_same(tmp_path / "there", whole)


def test_a_stopped_run_writes_a_checkpoint_and_exits_with_the_code_to_retry(command, whole, tmp_path):
    arguments = command(tmp_path, **SETTINGS, save_every=0)
    process = started(arguments)
    while rows(tmp_path) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == EXIT_PREEMPTED
    assert 2 <= rows(tmp_path) < STEPS
    finish(arguments)
    assert_same(tmp_path, whole)


def test_a_run_may_continue_from_another_ones_checkpoint_knowingly(command, whole, tmp_path):
    (other,) = (path for path in Path(f"{whole}/weights.checkpoints").iterdir() if (path / "step-00000012").exists())
    finish(command(tmp_path, **SETTINGS | {"max_steps": STEPS + 2, "epochs": 4}, learning_rate=1e-4, resume_from=other))
    rows = history(tmp_path)
    assert rows[:STEPS] == history(whole)
    assert rows[STEPS]["resumed_from"] == f"{other}/step-00000012"
    assert len(rows) == STEPS + 2
    shards = sorted((tmp_path / "rollouts").glob("part-*.parquet"))
    assert [path.read_bytes() for path in shards[:STEPS]] == [
        path.read_bytes() for path in sorted((whole / "rollouts").glob("part-*.parquet"))
    ]


def test_a_checkpoint_of_two_ranks_resumes_on_one(command, tmp_path):
    # Two ranks round differently from one. With large updates this would change sampled tokens.
    settings = SETTINGS | {"learning_rate": 1e-4}
    parted, whole = tmp_path / "parted", tmp_path / "whole"
    finish(command(whole, **settings))
    process = started(command(parted, **settings, processes=2, zero_stage=2))
    while rows(parted) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == EXIT_PREEMPTED
    finish(command(parted, **settings))
    for one, other in zip(history(parted), history(whole), strict=True):
        for name, value in other.items():
            if not name.startswith("drift"):
                assert one[name] == pytest.approx(value, rel=2e-3, abs=1e-5), (one["step"], name)
