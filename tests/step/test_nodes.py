"""Nodes that meet and watch one another; and two launchers on this machine, each with its own ranks."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pebr.errors import EXIT_PREEMPTED, InputError
from pebr.step import nodes
from pebr.step.nodes import Nodes, nodes_of

WORKER = """
import os, sys, time
from pathlib import Path
from pebr.step import launch
launch.relaunch_with_processes("nodes_worker", 2)
place = launch.join()
Path(sys.argv[2], str(place.rank)).write_text(f"{place.world_size} {os.environ['LOCAL_RANK']}")
if sys.argv[1] == "done":
    sys.exit(launch.as_rank(lambda place: 0))
sys.exit(7) if place.rank == 3 else time.sleep(3600)
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def places(count: int, port: int) -> list[dict[str, str]]:
    """The environments of the nodes, as Kubeflow Trainer sets them."""
    shared = {"PET_NNODES": str(count), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    return [shared | {"PET_NODE_RANK": str(rank)} for rank in range(count)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(nodes, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(nodes, "FAREWELL_SECONDS", 1.0)


def meet(*processes: int) -> list[Nodes]:
    """Nodes with these numbers of processes, all in this process."""
    around = places(len(processes), free_port())
    with ThreadPoolExecutor(len(processes)) as pool:
        return [node for node in pool.map(nodes_of, around, processes) if node]


def why_lost(node: Nodes, seconds: float = 20.0) -> str:
    deadline = time.monotonic() + seconds
    while not node.lost and time.monotonic() < deadline:
        time.sleep(0.02)
    return node.lost


def test_one_node_meets_nobody() -> None:
    assert nodes_of({}, 1) is None
    assert nodes_of({"PET_NNODES": "1"}, 1) is None


def test_a_missing_or_wrong_variable_is_told() -> None:
    for wrong in ({"PET_MASTER_ADDR": None}, {"PET_NODE_RANK": "first"}, {"PET_NNODES": "1:4"}):
        known = {k: v for k, v in (places(2, 1)[0] | wrong).items() if v is not None}
        with pytest.raises(InputError, match="set PET_NNODES, PET_NODE_RANK"):
            nodes_of(known, 1)


def test_nodes_of_different_size_are_refused() -> None:
    with pytest.raises(InputError, match="node 0 has 1, node 1 has 2"):
        meet(1, 2)


def test_nodes_that_end_well_miss_nobody() -> None:
    for code in (0, EXIT_PREEMPTED):
        met = meet(2, 2, 2)
        assert [node.rank for node in met] == [0, 1, 2]
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda node, code=code: node.leave(code), met))
        assert [node.lost for node in met] == [""] * 3


def test_a_node_that_fails_is_named_with_its_exit_code(caplog: pytest.LogCaptureFixture) -> None:
    first, second = meet(1, 1)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(second.leave, 7)
        assert why_lost(first).endswith(" ended with exit code 7")
        first.leave(1)
    assert "node 1 ends with exit code 7" in caplog.text
    assert "start all nodes again, they resume" in caplog.text


def test_a_node_that_falls_silent_is_named() -> None:
    first, second = meet(1, 1)
    second._ended.set()  # no sign of life from now on
    assert " is gone: no sign of life for " in why_lost(first)
    assert why_lost(first).startswith("node 1 (")
    first.leave(1)


@pytest.mark.parametrize(
    ("how", "why"), [(signal.SIGKILL, "the connection to the store"), (signal.SIGSTOP, "does not answer")]
)
def test_a_node_0_that_is_gone_is_named(how: signal.Signals, why: str) -> None:
    """Killed, or silent as a machine without power, whose connections nobody closes."""
    around = places(2, free_port())
    code = "import os, time; from pebr.step.nodes import nodes_of; nodes_of(os.environ, 1); time.sleep(3600)"
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | around[0])
    try:
        second = nodes_of(around[1], 1)
        assert second
        process.send_signal(how)
        assert why_lost(second).startswith("node 0 (")
        assert why in second.lost
        second.leave(1)  # does not wait for the store
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def launch(tmp_path: Path) -> Callable[[str], list[tuple[int, str]]]:
    """Run the worker on two nodes of two ranks each; returns exit codes and errors."""
    (tmp_path / "nodes_worker.py").write_text(WORKER)

    def run(what: str) -> list[tuple[int, str]]:
        known = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
        known |= {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(tmp_path / "nodes_worker.py"), what, str(tmp_path)]
        started = [
            subprocess.Popen(command, env=known | place, stderr=subprocess.PIPE, text=True)
            for place in places(2, free_port())
        ]
        return [(process.returncode, said) for process in started for said in [process.communicate(timeout=300)[1]]]

    return run


@pytest.mark.slow
def test_the_ranks_of_two_nodes_are_one_group(launch: Callable[..., list[tuple[int, str]]], tmp_path: Path) -> None:
    assert [code for code, _ in launch("done")] == [0, 0]
    assert [(tmp_path / str(rank)).read_text() for rank in range(4)] == ["4 0", "4 1", "4 0", "4 1"]


@pytest.mark.slow
def test_a_rank_that_fails_on_one_node_ends_the_other(launch: Callable[..., list[tuple[int, str]]]) -> None:
    (first, told), (second, _) = launch("fail")
    assert (first, second) == (1, 7)
    assert "ended with exit code 7: ending the ranks of this node" in told
