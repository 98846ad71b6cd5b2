"""Starts the processes of a DAG step that trains, one per GPU, and joins them into one process group.

The command of a DAG step is one process. To train with several, `relaunch_with_processes` starts the same command once
per rank. It returns the ranks' exit code (torch.distributed.run turns every failure into 1, but the pipeline must
distinguish a preempted run from a broken one) and forwards signals, so that each rank finishes its training step and
writes its checkpoint. On several machines, the launchers of all of them join (`pebr.step.nodes`). Ranks that were
started by other programs (torch.distributed.run, a PyTorchJob) are used as they are: the environment has their rank.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import FrameType
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist

from pebr.errors import Preempted, RanksEnded
from pebr.step.nodes import Nodes, nodes_of
from pebr.step.ranks import DONE, LAUNCHER, die_with_parent, tell_done
from pebr.telemetry import metrics

Result = TypeVar("Result")
log = logging.getLogger(__name__)

COLLECTIVE_TIMEOUT = timedelta(hours=2)  # the longest wait of one rank for another: a slow sampler, a large checkpoint
GRACE_SECONDS = 20.0  # after one rank has failed: time between SIGTERM and SIGKILL to the others


class Place(NamedTuple):
    """The rank of this process, the number of ranks, and the device of this rank."""

    rank: int
    world_size: int
    device: torch.device


class StopSignal:
    """Remembers a SIGTERM, which a cluster sends before it removes a machine; the training loop reads `received`."""

    def __init__(self) -> None:
        self.received = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True
        log.warning("SIGTERM: finishing the training step, then writing a checkpoint")


def relaunch_with_processes(module: str, processes: int, arguments: Sequence[str] | None = None) -> None:
    """Start `python -m module` once per rank and exit with the ranks' code. Return at once if this process is a rank.

    Args:
        module: of the DAG step, such as `pebr.sft`.
        processes: number of ranks of this machine; 0 for one per GPU, or one without a GPU. With one rank in all,
            nothing is started.
        arguments: command line of the ranks; None for that of this process.

    Raises:
        RanksEnded: with 0, or the exit code of the first rank that failed.
    """
    if "RANK" in os.environ:
        metrics.serve()  # before models are loaded; a launcher of ranks leaves the port to the first one
        return
    count = processes or max(torch.cuda.device_count(), 1)
    nodes = nodes_of(os.environ, count)
    if nodes is None and count == 1:
        metrics.serve()
        return
    # This process owns the store at which the ranks meet, so that no port has to be guessed.
    store = nodes.store if nodes else dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    first = nodes.rank * count if nodes else 0
    shared = {
        "WORLD_SIZE": str(nodes.count * count if nodes else count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": nodes.address if nodes else "127.0.0.1",
        "MASTER_PORT": str(nodes.port if nodes else store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        LAUNCHER: str(os.getpid()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(available_cores() // count, 1))),
    }
    command = [sys.executable, "-m", module, *(sys.argv[1:] if arguments is None else arguments)]
    log.info("%s: %d processes", module, count)
    ranks = [_Rank(first + local, local, command, os.environ | shared) for local in range(count)]
    raise RanksEnded(_wait(ranks, nodes))


def join() -> Place:
    """Add this process to the process group, and choose its device and communication backend."""
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if "RANK" in os.environ:
        die_with_parent()
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # Checkpoints and small messages between ranks use the CPU, gradients use the model's device.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if world_size == 1:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=COLLECTIVE_TIMEOUT)
        else:
            dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
    return Place(rank, world_size, device)


def as_rank(work: Callable[[Place], Result]) -> Result:
    """Run `work` as a member of the process group, then leave the group together with the other ranks.

    A rank that ends early breaks the connections of the others. After an error the other ranks are not waited for.
    """
    place = join()
    try:
        result = work(place)
    except Preempted:
        _leave()
        raise
    _leave()
    tell_done()
    return result


def is_first_here() -> bool:
    """True in exactly one rank per machine, which does the work that is needed once per machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _leave() -> None:
    if dist.get_world_size() > 1:  # a single process may reuse its group: DeepSpeed can start in one group only
        dist.barrier()
        dist.destroy_process_group()


class _Rank:
    """A process of a rank, and a pipe in which it tells that its work is done."""

    def __init__(self, number: int, local: int, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.number = number
        self._done, done = os.pipe()
        os.set_blocking(self._done, False)
        environment = {**environment, "RANK": str(number), "LOCAL_RANK": str(local), DONE: str(done)}
        self.process = subprocess.Popen(command, env=environment, pass_fds=[done])
        os.close(done)
        self._code: int | None = None

    def code(self) -> int | None:
        """The exit code; None while it runs; 1 if it ended with 0 before its work was done."""
        if self._code is None and (code := self.process.poll()) is not None:
            self._code = code
            if code == 0 and not self._told():
                log.error(
                    "rank %d ended with exit code 0 before its work was done: see its last log lines", self.number
                )
                self._code = 1
        return self._code

    def _told(self) -> bool:
        try:
            return bool(os.read(self._done, 1))
        except BlockingIOError:  # a process that it left behind has the pipe
            return False


def _wait(ranks: Sequence[_Rank], nodes: Nodes | None = None) -> int:
    """Wait for all ranks and forward signals; if one fails, end the others. Returns the first failure's exit code.

    If another node fails, the ranks end with 1.
    """

    def forward(number: int, _frame: FrameType | None) -> None:
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    try:
        code, deadline = 0, float("inf")
        while None in (codes := [rank.code() for rank in ranks]):
            failed = [ended for ended in codes if ended]
            if not failed and not code and nodes and nodes.lost:
                log.error("%s: ending the ranks of this node", nodes.lost)
                failed = [1]
            if failed and not code:
                code, deadline = failed[0], time.monotonic() + GRACE_SECONDS
                forward(signal.SIGTERM, None)
            if time.monotonic() > deadline:
                forward(signal.SIGKILL, None)
            time.sleep(0.05)
        code = code or next(filter(None, codes), 0)
        code = 128 - code if code < 0 else code  # a killed rank: 128 + signal, as in a shell
        if nodes:
            nodes.leave(code)
        return code
    finally:
        forward(signal.SIGKILL, None)
