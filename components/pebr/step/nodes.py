"""The nodes of a step that runs on several machines: one launcher each, which meet at a store on node 0.

The cluster starts the step's command once per node, and says which node it is by the variables that torchrun reads
(Kubeflow Trainer sets them; k8s/training/ sets them for a Job):

    PET_NNODES                          number of nodes
    PET_NODE_RANK                       of this node, from 0
    PET_MASTER_ADDR, PET_MASTER_PORT    where node 0 is reached

The ranks of all nodes form one process group. Its collectives do not notice a machine that loses its power or its
network, for hours. So each launcher gives a sign of life to the store, and watches those of the others: if a node fails
or falls silent, the other nodes end too, and say which one it was. Started again, the step continues from its last
checkpoint.
"""

import logging
import socket
import threading
import time
from collections.abc import Mapping
from datetime import timedelta

import torch.distributed as dist

from pebr.errors import EXIT_PREEMPTED, InputError
from pebr.step.ranks import NODE_RANK

VARIABLES = ("PET_NNODES", NODE_RANK, "PET_MASTER_ADDR", "PET_MASTER_PORT")
MEETING = timedelta(minutes=15)  # time for all nodes to come: pods start one after the other, images are pulled
BEAT_SECONDS = 2.0  # between two signs of life
SILENCE_SECONDS = 60.0  # a node without a sign of life for so long is gone
FAREWELL_SECONDS = 10.0  # how long a node that has ended waits for the others, and their silence then
ENDED_WELL = (0, EXIT_PREEMPTED)
log = logging.getLogger(__name__)


class Nodes:
    """All nodes of a step, seen from one of them.

    Attributes:
        count: number of nodes.
        rank: of this node.
        store: where the ranks meet, too.
    """

    def __init__(self, count: int, rank: int, address: str, port: int, processes: int) -> None:
        """Wait until all nodes are there; each has the same number of processes.

        Raises:
            InputError: the nodes have different numbers of processes.
            ConnectionError: not all nodes have come within `MEETING`.
        """
        self.count, self.rank, self.address, self.port = count, rank, address, port
        self._lost, self._ended, self._patience = "", threading.Event(), SILENCE_SECONDS
        self._seen: dict[int, tuple[bytes, float]] = {}  # node -> its last sign of life, and when it was first seen
        try:
            self.store = dist.TCPStore(address, port, is_master=rank == 0, wait_for_workers=False, timeout=MEETING)
            self.store.set(f"node {rank}", f"{processes} {socket.gethostname()}")
            self.store.set(f"beat {rank}", "0")
            met = [self.store.get(f"node {node}").decode().split() for node in range(count)]
            self.store.wait([f"beat {node}" for node in range(count)])
        except dist.DistError as error:
            told = f"node {rank} of {count}: not all nodes met at {address}:{port} within {MEETING}"
            raise ConnectionError(f"{told}: are all pods running, and may they connect to this port?") from error
        self._hosts = [host for _, host in met]
        if {int(number) for number, _ in met} != {processes}:
            numbers = ", ".join(f"node {node} has {number}" for node, (number, _) in enumerate(met))
            raise InputError(f"--processes: {numbers}: give all nodes the same number of processes")
        self._answered = time.monotonic()  # when the store has answered last
        log.info("node %d of %d: all are there: %s", rank, count, ", ".join(self._hosts))
        threading.Thread(target=self._live, daemon=True, name="nodes").start()

    @property
    def lost(self) -> str:
        """Which node failed or is gone, and why; "" if all are well."""
        if not self._lost and self._store_is_silent():
            self._lost = f"node 0 ({self._hosts[0]}) is gone: the store there does not answer"
        return self._lost

    def leave(self, code: int) -> None:
        """Tell the others how this node has ended, and look how they end, for a while.

        Node 0, which has the store, waits until the others have ended.
        """
        deadline = time.monotonic() + FAREWELL_SECONDS
        self._patience = FAREWELL_SECONDS - 2 * BEAT_SECONDS
        others = [f"ended {node}" for node in range(self.count) if node != self.rank]
        try:
            if not self._store_is_silent():  # else each call would wait for it
                self.store.set(f"ended {self.rank}", str(code))
            while not self.lost and time.monotonic() < deadline and not all(self.store.check([key]) for key in others):
                time.sleep(0.05)
        except dist.DistError:
            self._lost = self._lost or self._no_store()
        self._ended.set()
        if code not in ENDED_WELL:
            told = self._lost or "the other nodes live"
            # No error: the rank that failed, or the loss of the other node, is one.
            log.warning(
                "node %d ends with exit code %d (%s): start all nodes again, they resume", self.rank, code, told
            )

    def _store_is_silent(self) -> bool:
        return self.rank > 0 and time.monotonic() - self._answered > self._patience

    def _no_store(self) -> str:
        return f"node 0 ({self._hosts[0]}) is gone: the connection to the store there is closed"

    def _live(self) -> None:
        """Give signs of life and watch the others, until this node ends."""
        number = 0
        while not self._ended.wait(BEAT_SECONDS):
            number += 1
            try:
                self.store.set(f"beat {self.rank}", str(number))
                for node in range(self.count):
                    if node != self.rank and not self._lost:
                        self._lost = self._fate(node)
                self._answered = time.monotonic()
            except dist.DistError:
                self._lost = self._lost or self._no_store()
                return

    def _fate(self, node: int) -> str:
        """What is wrong with another node; "" if nothing."""
        name = f"node {node} ({self._hosts[node]})"
        if self.store.check([f"ended {node}"]):
            code = int(self.store.get(f"ended {node}"))
            return f"{name} ended with exit code {code}" if code not in ENDED_WELL else ""
        beat, now = self.store.get(f"beat {node}"), time.monotonic()
        if self._seen.get(node, (b"", now))[0] != beat:
            self._seen[node] = beat, now
        silent = now - self._seen[node][1]
        return f"{name} is gone: no sign of life for {silent:.0f} s" if silent > self._patience else ""


def nodes_of(environment: Mapping[str, str], processes: int) -> Nodes | None:
    """Meet the other nodes that the environment speaks of; None if there are none.

    Raises:
        InputError: a variable is missing or is no number.
    """
    if environment.get(VARIABLES[0], "1") in ("", "1"):
        return None
    try:
        count, rank, port = (int(environment[name]) for name in (VARIABLES[0], VARIABLES[1], VARIABLES[3]))
        address = environment[VARIABLES[2]]
    except (KeyError, ValueError) as error:
        raise InputError(f"several nodes: {error}: set {', '.join(VARIABLES)}") from error
    return Nodes(count, rank, address, port, processes)
