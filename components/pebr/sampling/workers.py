"""Data parallel workers: processes that each have a model of their own and do not communicate.

Worker k of n takes the shards k, k + n, ... and puts each into the checkpoint store as soon as it is finished. The
first worker waits for the others and makes the step's output. A restarted step keeps the finished shards.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

import torch

from pebr.errors import InputError, Preempted
from pebr.step.launch import die_with_parent, relaunch_with_processes

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


class Worker(NamedTuple):
    """This process among the workers."""

    number: int
    workers: int

    def has(self, shard: int) -> bool:
        """Whether a shard is this worker's."""
        return shard % self.workers == self.number


def start_workers(step: str, processes: int, tensor_parallel: int) -> Worker:
    """Start the workers of a step, such as "rollout", and return this process's place among them.

    Args:
        step: of the DAG.
        processes: number of workers; 0 for as many as the GPUs allow, or one without a GPU.
        tensor_parallel: GPUs per worker.

    Raises:
        RanksEnded: in the process that has started the workers, when all have ended.
    """
    relaunch_with_processes(f"pebr.{step}", processes or max(torch.cuda.device_count() // tensor_parallel, 1))
    if "RANK" in os.environ:
        die_with_parent()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Preempted(f"{step}: stopped by SIGTERM; the finished shards are kept: restart to continue")

    signal.signal(signal.SIGTERM, stop)
    return Worker(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def take_own_gpus(tensor_parallel: int) -> None:
    """Make only this worker's GPUs visible to it.

    Raises:
        InputError: the machine has too few.
    """
    count = torch.cuda.device_count()
    if not count:
        return
    place = int(os.environ.get("LOCAL_RANK", "0"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    own = visible[place * tensor_parallel : (place + 1) * tensor_parallel]
    if len(own) < tensor_parallel:
        raise InputError(
            f"worker {place} needs {tensor_parallel} GPUs of its own, but the machine has {count} in all:"
            " lower --processes or --tensor-parallel"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)


def wait_for_others(step: str, missing: Callable[[], int]) -> None:
    """Wait until the other workers have finished their shards, of which `missing` counts the missing ones."""
    while count := missing():
        log.info("%s: waiting for the other workers: %d shards are missing", step, count)
        time.sleep(_POLL_SECONDS)
