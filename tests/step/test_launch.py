"""Launching ranks: exit codes and signals are forwarded, and no rank outlives its launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WORKER = """
import os, signal, sys, time
from pathlib import Path
from pebr.step import launch
launch.relaunch_with_processes("launch_worker", 2)
rank, out = int(os.environ["RANK"]), Path(sys.argv[2])
if sys.argv[1] == "wait":
    stop = launch.StopSignal()
    launch.join()
    (out / str(rank)).write_text(str(os.getpid()))
    while not stop.received:
        time.sleep(0.02)
    sys.exit(75)
if sys.argv[1] == "rank":
    sys.exit(launch.as_rank(lambda place: 0 if place.world_size == 2 and place.rank == rank else 9))
if sys.argv[1] == "leave":
    launch.join()
    os._exit(0) if rank == 1 else time.sleep(3600)
if rank == 1:
    sys.exit(int(sys.argv[1])) if sys.argv[1] != "kill" else os.kill(os.getpid(), signal.SIGKILL)
time.sleep(3600)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    (tmp_path / "launch_worker.py").write_text(WORKER)
    return tmp_path


def start(folder: Path, what: str, stderr: int = subprocess.DEVNULL) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return subprocess.Popen(
        [sys.executable, str(folder / "launch_worker.py"), what, str(folder)],
        env=environment | {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"},
        stderr=stderr,
    )


def wait_for_ranks(folder: Path) -> list[int]:
    deadline = time.monotonic() + 120
    while not all((folder / rank).is_file() and (folder / rank).read_text() for rank in "01"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int((folder / rank).read_text()) for rank in "01"]


def test_ranks_find_one_another(worker: Path) -> None:
    assert start(worker, "rank").wait(120) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("what", "code"), [("2", 2), ("kill", 137)])
def test_the_first_failure_ends_all_and_gives_the_exit_code(worker: Path, what: str, code: int) -> None:
    assert start(worker, what).wait(300) == code  # the other rank, which sleeps for an hour, was killed


def test_a_rank_that_ends_early_with_0_is_a_failure(worker: Path) -> None:
    process = start(worker, "leave", stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"rank 1 ended with exit code 0 before its work was done" in said


def test_sigterm_reaches_every_rank(worker: Path) -> None:
    process = start(worker, "wait")
    wait_for_ranks(worker)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75


def test_a_rank_whose_launcher_was_gone_before_it_could_ask_ends_too() -> None:
    code = "from pebr.step.launch import die_with_parent; die_with_parent()"
    for launcher, expected in ((os.getpid(), 0), (1, -signal.SIGKILL)):
        environment = os.environ | {"PEBR_LAUNCHER": str(launcher)}
        assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == expected


def test_no_rank_outlives_its_launcher(worker: Path) -> None:
    process = start(worker, "wait")
    ranks = wait_for_ranks(worker)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(
        Path(f"/proc/{rank}/stat").exists() and " Z " not in Path(f"/proc/{rank}/stat").read_text() for rank in ranks
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
