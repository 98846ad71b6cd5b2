"""Waits until an earlier job of a launcher is gone, with its pods, before one of the same name is created.

The pods of two such jobs would use the same checkpoints and the same exchange. A pod on a lost machine stays in
deletion until the machine is back or an operator, who knows that it is off, removes the pod by force. A job whose
owners are gone is deleted in the background: it is gone at once, its pods later.
"""

import logging
import threading
import time
from collections.abc import Sequence

from kubernetes import client

from pebr.errors import Preempted
from pipelines.clusters.placement import GRACE
from pipelines.ir.plan import Json
from pipelines.nodes.jobs import Jobs
from pipelines.targets import TargetError
from pipelines.targets.following import REMIND

log = logging.getLogger("pebr.nodes")

LOOK_SECONDS = 5.0  # between two looks whether an earlier job is gone
REMOVAL = 2 * GRACE  # seconds until a job and its pods are deleted, at most


def job_to_follow(made: Jobs, stop: threading.Event) -> Json | None:
    """The job of this name; None if there is none, and no pod of an earlier one.

    Raises:
        Preempted: `stop` was set.
        TargetError: an earlier job or its pods are still there after `REMOVAL`.
    """
    began, told_at = time.monotonic(), 0.0
    while True:
        found = made.get()
        if found and not found["metadata"].get("deletionTimestamp"):
            return found
        pods = made.pods()
        if found is None and not pods:
            return None
        now = time.monotonic()
        if now - began >= REMOVAL:
            raise TargetError(
                f"{made.told} of an earlier attempt is still not deleted after {REMOVAL} s: {_left(made, pods)}"
            )
        if not told_at or now - told_at >= REMIND:
            told_at = now
            log.info("%s of an earlier attempt is being deleted: %s", made.told, _left(made, pods))
        if stop.wait(LOOK_SECONDS):
            raise Preempted("stopped by SIGTERM before the nodes were started")


def _left(made: Jobs, pods: Sequence[client.V1Pod]) -> str:
    """The pods that are left, and what to do if their machines are lost."""
    if not pods:
        return "no pod is left; if it stays, look at its finalizers"
    left = ", ".join(f"{pod.metadata.name} on {pod.spec.node_name or 'no machine'}" for pod in pods)
    names = " ".join(pod.metadata.name for pod in pods)
    remove = f"kubectl delete pod {names} --force --grace-period=0 --namespace {made.namespace}"
    return f"{left} must end first; only if the machine is lost: {remove}"
