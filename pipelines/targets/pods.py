"""Pods of a run: why one does not start, how its container ended, and the last error line of its log."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from kubernetes import client

from pebr.telemetry.logs import failure_of
from pipelines.targets import Failure, TargetError, Waiting
from pipelines.targets.cluster import REMEDIES
from pipelines.targets.retrying import TIMEOUT, persist

TAIL = 200  # lines at the end of a log


class Pods:
    """The pods of a namespace."""

    def __init__(self, where: str, namespace: str, remedies: Mapping[int, str] = REMEDIES) -> None:
        """`where` is the address of the API server, for messages; `remedies` explain HTTP statuses."""
        self.namespace, self.api = namespace, client.CoreV1Api()
        self._persist = partial(persist, where=where, remedies=remedies)

    def named(self, name: str) -> client.V1Pod:
        """The pod of this name."""
        ask = partial(self.api.read_namespaced_pod, name, self.namespace, _request_timeout=TIMEOUT)
        return self._persist(ask, f"ask for pod {name}")

    def labelled(self, selector: str) -> list[client.V1Pod]:
        """The pods with these labels, oldest first."""
        options = {"label_selector": selector, "_request_timeout": TIMEOUT}
        ask = partial(self.api.list_namespaced_pod, self.namespace, **options)
        found = self._persist(ask, f"ask for the pods of {selector.partition('=')[2]}").items
        return sorted(found, key=lambda pod: seconds_of(pod.metadata.creation_timestamp))

    def refusal(self, job: str) -> str:
        """Why the controller of a Job cannot create its pod, such as a full quota; "" if it has not said so."""
        selector = f"involvedObject.kind=Job,involvedObject.name={job},reason=FailedCreate"
        options = {"field_selector": selector, "_request_timeout": TIMEOUT}
        ask = partial(self.api.list_namespaced_event, self.namespace, **options)
        try:
            events = self._persist(ask, f"ask for the events of job {job}").items
        except TargetError:  # a role of an older k8s/base may not read events: the reason is only missing
            return ""
        return " ".join(str(events[-1].message).split()) if events else ""

    def failure(self, step: str, pod: client.V1Pod, container: str) -> Failure:
        """How the container of a failed step ended."""
        name = pod.metadata.name
        command = f"kubectl --namespace {self.namespace} logs {name} --container {container}"
        ended = next((s.state.terminated for s in _statuses(pod) if s.name == container and s.state), None)
        options = {"container": container, "tail_lines": TAIL, "_request_timeout": TIMEOUT}
        try:
            ask = partial(self.api.read_namespaced_pod_log, name, self.namespace, **options)
            lines = str(self._persist(ask, f"read the log of {name}") or "").splitlines()
            text = failure_of(lines)
        except TargetError:  # the pod or its log is gone; what the status says is left
            text = ""
        told = text or (ended and (ended.message or ended.reason)) or pod.status.message or pod.status.reason or ""
        return Failure(step, ended.exit_code if ended else None, " ".join(str(told).split()), command)


def waiting(pod: client.V1Pod) -> Waiting | None:
    """Why no container of a pod runs: the scheduler's or the node's own words; None if one runs or has ended."""
    if pod.status.phase not in (None, "Pending"):
        return None
    held = next((s.state.waiting for s in _statuses(pod) if s.state and s.state.waiting), None)
    refused = next((c for c in pod.status.conditions or () if c.status == "False" and c.reason and c.message), None)
    # A container that waits only for the others (PodInitializing, ContainerCreating) has no message.
    told = held if held and held.message else refused or held
    reason = f"{told.reason}: {told.message}" if told and told.message else told.reason if told else "not scheduled yet"
    return Waiting(" ".join(str(reason).split()), seconds_of(pod.metadata.creation_timestamp))


def seconds_of(moment: datetime | str | None) -> float:
    """Unix seconds of a time as the API gives it; 0 if there is none."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.timestamp() if moment else 0.0


def _statuses(pod: client.V1Pod) -> list[client.V1ContainerStatus]:
    return [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]
