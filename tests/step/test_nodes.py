"""Two nodes on this machine: launchers at two loopback addresses, each with its own ranks, joined at a store."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pebr.errors import EXIT_WRONG_INPUT

WORKER = """
import os, sys, time
from pathlib import Path
from pebr.errors import InputError
from pebr.step import launch, nodes
from pebr.telemetry.logs import configure
configure()
nodes.BEAT_SECONDS, nodes.SILENCE_SECONDS, nodes.FAREWELL_SECONDS = 0.1, 1.0, 2.0
what, out, processes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
try:
    launch.relaunch_with_processes("nodes_worker", processes)
except InputError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
stop = launch.StopSignal()
place = launch.join()
(out / str(place.rank)).write_text(f"{place.world_size} {os.environ['LOCAL_RANK']} {os.getpid()}")
if what == "done":
    sys.exit(launch.as_rank(lambda place: 0))
if what == "fail" and place.rank == 1:
    sys.exit(7)
while not stop.received:
    time.sleep(0.02)
sys.exit(75)
"""

Node = subprocess.Popen[str]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def places(count: int, port: int) -> list[dict[str, str]]:
    """The environments of the nodes, as Kubeflow Trainer sets them."""
    shared = {"PET_NNODES": str(count), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    return [shared | {"PET_NODE_RANK": str(rank)} for rank in range(count)]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., list[Node]]:
    (tmp_path / "nodes_worker.py").write_text(WORKER)
    (tmp_path / "out").mkdir()

    def started(what: str, processes: tuple[int, int] = (1, 1)) -> list[Node]:
        known = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
        known |= {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
        worker = str(tmp_path / "nodes_worker.py")
        return [
            subprocess.Popen(
                [sys.executable, worker, what, str(tmp_path / "out"), str(number)],
                env=known | place,
                stderr=subprocess.PIPE,
                text=True,
            )
            for place, number in zip(places(2, free_port()), processes, strict=True)
        ]

    return started


def ranks(folder: Path, count: int) -> list[list[int]]:
    """World size, local rank and process id of each rank, when all have joined."""
    deadline = time.monotonic() + 200
    files = [folder / "out" / str(rank) for rank in range(count)]
    while not all(file.is_file() and file.read_text() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [[int(word) for word in file.read_text().split()] for file in files]


def ends(nodes: list[Node]) -> list[tuple[int, str]]:
    return [(node.wait(200), node.stderr.read() if node.stderr else "") for node in nodes]


@pytest.mark.slow
def test_the_ranks_of_two_nodes_are_one_group(start: Callable[..., list[Node]], tmp_path: Path) -> None:
    nodes = start("done", (2, 2))
    assert [code for code, _ in ends(nodes)] == [0, 0]
    assert [rank[:2] for rank in ranks(tmp_path, 4)] == [[4, 0], [4, 1], [4, 0], [4, 1]]


@pytest.mark.slow
def test_nodes_of_different_size_are_refused(start: Callable[..., list[Node]]) -> None:
    for code, said in ends(start("done", (1, 2))):
        assert code == EXIT_WRONG_INPUT
        assert "node 0 has 1, node 1 has 2" in said


@pytest.mark.slow
def test_a_failure_on_one_node_ends_the_other(start: Callable[..., list[Node]]) -> None:
    (first, told), (second, _) = ends(start("fail"))
    assert (first, second) == (1, 7)
    assert "ended with exit code 7: ending the ranks of this node" in told


@pytest.mark.slow
@pytest.mark.parametrize("gone", [0, 1])
def test_a_node_that_falls_silent_is_named(start: Callable[..., list[Node]], tmp_path: Path, gone: int) -> None:
    """As a machine without power: nobody closes its connections."""
    nodes = start("wait")
    processes = [nodes[gone].pid, ranks(tmp_path, 2)[gone][2]]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        code, said = ends([nodes[1 - gone]])[0]
    finally:
        for process in processes:
            os.kill(process, signal.SIGKILL)
    nodes[gone].wait()
    assert code == 1
    assert f"node {gone} (" in said
    assert "is gone: " in said
    assert f"node {1 - gone} ends with exit code 1" in said
