"""Processes of a training step: one a GPU, started here, joined into one group.

A step's command is one process. Where it shall train on several, `relaunch_with_processes` starts the same command
once a rank and passes on what the ranks say: their exit code (torch.distributed.run turns each into 1, and the pipeline
must tell a preempted run from a broken one) and the signals that the command gets (so that every rank finishes its
step and writes its checkpoint). Ranks that something else has started (torch.distributed.run on several machines, a
PyTorchJob) are taken as they are: the environment names their rank.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import FrameType
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist

from pebr.errors import Preempted

Result = TypeVar("Result")
log = logging.getLogger(__name__)

COLLECTIVE_TIMEOUT = timedelta(hours=2)  # the longest that one rank may wait for another: a slow sampler, a big save
LAUNCHER = "PEBR_LAUNCHER"  # the process id of who started a rank
GRACE_SECONDS = 20.0  # between asking the other ranks to end and killing them, after one has failed


class Place(NamedTuple):
    """Where this process stands among the ranks."""

    rank: int
    world_size: int
    device: torch.device


class StopSignal:
    """Notes a SIGTERM, which a cluster sends before it takes a machine away, for the training loop to obey."""

    def __init__(self) -> None:
        self.received = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True
        log.warning("SIGTERM: finishing the step, then writing a checkpoint")


def relaunch_with_processes(module: str, processes: int, arguments: Sequence[str] | None = None) -> None:
    """Start `python -m module` once a rank and exit with their code; return where this process is itself a rank.

    Args:
        module: the step's module, `pebr.sft`.
        processes: how many; 0 means one a GPU, or one where there is no GPU.
        arguments: the command line, this process's own when None.

    Raises:
        SystemExit: with 0, or the exit code of the first rank that failed.
    """
    count = processes or max(torch.cuda.device_count(), 1)
    if "RANK" in os.environ or count == 1:
        return
    # The ranks meet at a store that this process holds: no port has to be guessed.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        LAUNCHER: str(os.getpid()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(available_cores() // count, 1))),
    }
    command = [sys.executable, "-m", module, *(sys.argv[1:] if arguments is None else arguments)]
    log.info("%s: %d processes", module, count)
    ranks = [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]
    sys.exit(_wait(ranks))


def join() -> Place:
    """Make this process a member of the group of ranks, and choose its device and communication library."""
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if "RANK" in os.environ:
        die_with_parent()
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # Checkpoints and small agreements between ranks are on the CPU, gradients where the model is.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if world_size == 1:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=COLLECTIVE_TIMEOUT)
        else:
            dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
    return Place(rank, world_size, device)


def as_rank(work: Callable[[Place], Result]) -> Result:
    """Do a step's work as a member of the group of ranks, and leave the group with the others.

    A rank that ended early would break the connections of the others; after an error there is nothing left to break.
    """
    place = join()
    try:
        result = work(place)
    except Preempted:
        _leave()
        raise
    _leave()
    return result


def is_first_here() -> bool:
    """True in the one rank of a machine that does what one must do for all of them."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def available_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _leave() -> None:
    if dist.get_world_size() > 1:  # a single process may need its group again: DeepSpeed can start in one group only
        dist.barrier()
        dist.destroy_process_group()


def die_with_parent() -> None:
    """Let the kernel kill this rank when its launcher is gone: an orphan would go on writing beside a restarted run."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
            os.kill(os.getpid(), signal.SIGKILL)  # it was gone before the kernel was asked


def _wait(ranks: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all ranks, passing signals on; when one fails, end the others. Returns the first failure's exit code."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for process in ranks:
            if process.poll() is None:
                process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    try:
        code, deadline = 0, float("inf")
        while None in (codes := [process.poll() for process in ranks]):
            failed = [ended for ended in codes if ended]
            if failed and not code:
                code, deadline = failed[0], time.monotonic() + GRACE_SECONDS
                pass_on(signal.SIGTERM, None)
            if time.monotonic() > deadline:
                pass_on(signal.SIGKILL, None)
            time.sleep(0.05)
        code = code or next((process.returncode for process in ranks if process.returncode), 0)
        return 128 - code if code < 0 else code  # a killed rank: the shell's convention
    finally:
        pass_on(signal.SIGKILL, None)
