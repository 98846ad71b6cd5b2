"""Follows the job of a step's nodes to its end: shows node 0's log, says why a node waits, and who failed first."""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from kubernetes import client

from pebr.errors import EXIT_PREEMPTED, EXIT_WRONG_INPUT, Preempted
from pipelines.ir.plan import Json
from pipelines.nodes import jobs
from pipelines.nodes.exchange import Exchange
from pipelines.nodes.jobs import Jobs
from pipelines.nodes.node_log import NodeLog
from pipelines.nodes.removal import REMOVAL
from pipelines.targets import TargetError, Waiting
from pipelines.targets.following import PATIENCE, tell_waiting
from pipelines.targets.pods import seconds_of, waiting

log = logging.getLogger("pebr.nodes")

INDEX = "batch.kubernetes.io/job-completion-index"  # annotation of a pod: which node it is
POLL = 2.0  # seconds between two looks at the job
BEAT = 30.0  # seconds between two signs of life
LINGER = 100.0  # seconds that the other nodes have to end by themselves after one has failed
DISRUPTED = "DisruptionTarget"  # condition of a pod that the cluster ends: eviction, preemption, a drained machine


class Failed(NamedTuple):
    """A node that failed."""

    node: str
    pod: client.V1Pod
    code: int
    at: datetime
    disrupted: bool  # the cluster has ended it


class Following:
    """The job while it runs."""

    def __init__(self, made: Jobs, exchange: Exchange, namespace: str, count: int) -> None:
        self.jobs, self.exchange, self.namespace, self.count = made, exchange, namespace, count
        self._logs: dict[str, NodeLog] = {}
        self._told: dict[str, tuple[str, float]] = {}  # see `tell_waiting`
        self._beaten = 0.0
        self._first_failure = 0.0

    def to_the_end(self, stop: threading.Event) -> int:
        """Follow the job; returns 0 if it has succeeded, else the exit code, after its deletion.

        Raises:
            Preempted: `stop` was set; the job is deleted, its nodes have ended.
            TargetError: the cluster does not answer for `PATIENCE`.
        """
        answered = time.monotonic()
        while not stop.wait(POLL):
            try:
                code = self._look()
            except TargetError as error:
                if not error.passing or time.monotonic() - answered > PATIENCE:
                    raise
                log.warning("%s", error)
                continue
            answered = time.monotonic()
            if code is not None:
                self._end(delete=code != 0)
                return code
        log.warning("SIGTERM: the nodes write a checkpoint and end")
        self._end(delete=True)
        raise Preempted("stopped by SIGTERM; the nodes have ended, start again to resume")

    def _look(self) -> int | None:
        """One look at the job: the exit code if it has ended, or must end, else None."""
        if time.monotonic() - self._beaten > BEAT:
            self._beaten = time.monotonic()
            self._beat()
        job = self.jobs.get()
        if job is None:
            log.error("%s was deleted", self.jobs.told)
            return 1
        pods = self.jobs.pods(job)
        self._show_logs(pods)
        state, failed = jobs.ended(job), failures(pods)
        if state == "Complete":
            return 0
        if failed:
            self._first_failure = self._first_failure or time.monotonic()
            over = len(failed) + sum(pod.status.phase == "Succeeded" for pod in pods) >= self.count
            if state or over or time.monotonic() - self._first_failure > LINGER:
                return self._tell(failed)
        elif state == "Failed":
            log.error("%s failed: %s", self.jobs.told, jobs.message(job) or "see its conditions")
            return 1
        else:
            self._tell_waiting(job, pods)
        return None

    def _show_logs(self, pods: Sequence[client.V1Pod]) -> None:
        """Begin to show the log of each pod of node 0 that has one."""
        for pod in pods:
            if _node(pod) == "0" and pod.metadata.name not in self._logs and pod.status.phase not in (None, "Pending"):
                self._logs[pod.metadata.name] = NodeLog(pod.metadata.name, self.namespace)
                self._logs[pod.metadata.name].start()

    def _beat(self) -> None:
        try:
            self.exchange.beat()
        except OSError as error:  # the nodes wait for a while
            log.warning("no sign of life for the nodes: %s", error)

    def _tell(self, failed: Sequence[Failed]) -> int:
        """Report the nodes that failed, the first one last; returns the step's exit code."""
        for found in sorted(failed, key=lambda one: one.at, reverse=True):
            how = "was ended by the cluster" if found.disrupted else f"ended with exit code {found.code}"
            log.error("node %s (%s) %s: %s", found.node, found.pod.metadata.name, how, self.jobs.last_line(found.pod))
        return exit_code(failed)

    def _tell_waiting(self, job: Json, pods: Sequence[client.V1Pod]) -> None:
        held = {f"node {_node(pod)}": why for pod in pods if (why := waiting(pod))}
        if not pods:
            since = seconds_of(job["metadata"].get("creationTimestamp"))
            suspended = job["spec"].get("suspend") and "it is suspended: its queue (Kueue) has not admitted it yet"
            held[self.jobs.told] = Waiting(
                suspended or self.jobs.refusal() or jobs.message(job) or "it has no pod yet", since
            )
        tell_waiting(held, self._told)

    def _end(self, delete: bool) -> None:
        """Delete the job and wait until its pods are gone, if asked for; show what is left of the log."""
        deadline = time.monotonic() + REMOVAL
        if delete:
            with suppress(TargetError):  # a pod may have started since the last look
                if job := self.jobs.get():
                    self._show_logs(self.jobs.pods(job))
            for lines in self._logs.values():
                lines.reading.wait(5.0)  # with its pod, a log is gone
            self.jobs.delete()
            while self.jobs.get() is not None and time.monotonic() < deadline:
                time.sleep(POLL / 4)
        for lines in self._logs.values():
            lines.close(seconds=10.0)


def failures(pods: Sequence[client.V1Pod]) -> list[Failed]:
    """The nodes that failed, also those whose container was started again."""
    found = []
    for pod in pods:
        conditions = {c.type for c in pod.status.conditions or () if c.status == "True"}
        states = [s for c in pod.status.container_statuses or () if c.name == "node" for s in (c.state, c.last_state)]
        ends = [s.terminated for s in states if s and s.terminated and s.terminated.exit_code]
        if ends or pod.status.phase == "Failed":
            at = ends[0].finished_at if ends and ends[0].finished_at else datetime.now(UTC)
            code = ends[0].exit_code if ends else 1
            found.append(Failed(_node(pod), pod, code, at, DISRUPTED in conditions))
    return found


def exit_code(failed: Sequence[Failed]) -> int:
    """The exit code of a step whose nodes failed.

    A wrong input is one whoever finds it. Otherwise the first node that ends says why: then the others end too.
    """
    if EXIT_WRONG_INPUT in {one.code for one in failed}:
        return EXIT_WRONG_INPUT
    if any(one.disrupted for one in failed):
        return EXIT_PREEMPTED
    return min(failed, key=lambda one: one.at).code


def _node(pod: client.V1Pod) -> str:
    return str((pod.metadata.annotations or {}).get(INDEX, "?"))
