"""Runs in one pod: a Kubernetes Job that runs the whole DAG with `pipelines.run`, for clusters without an engine.

The Job is k8s/jobs/run/run.yaml with a name, an image and parameters. The runner writes its scores to the container's
termination message, which is read from the pod's status.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from pebr.errors import InputError
from pipelines.ir.plan import Json, Output
from pipelines.ir.values import written
from pipelines.targets import FAILED, RUNNING, SUCCEEDED, Failure, Progress, TargetError, Waiting
from pipelines.targets.cluster import REMEDIES, connect, start_once
from pipelines.targets.pods import Pods, seconds_of, waiting
from pipelines.targets.retrying import TIMEOUT, persist

MANIFEST = Path(__file__).parents[2] / "k8s" / "jobs" / "run" / "run.yaml"
LABEL = "pebr/run"


class Job:
    """Jobs in a namespace: a `Target`."""

    def __init__(self, namespace: str, image: str, store: str) -> None:
        """Make a client; without a namespace, that of the kubeconfig or of this pod is used. No request is sent yet.

        `store` is an `s3://` prefix for artifacts: a run that starts again finds a failed run's finished steps there.
        """
        if not store.startswith("s3://"):
            raise InputError("a Job's disk is deleted with its pod: give --artifacts s3://bucket/prefix")
        self.where, own_namespace = connect()
        self._persist = partial(persist, where=self.where, remedies=REMEDIES)
        self.namespace = namespace or own_namespace
        self.jobs, self.pods = client.BatchV1Api(), Pods(self.where, self.namespace)
        self.image, self.store, self.name = image, store.rstrip("/"), ""

    def submit(self, name: str, parameters: Mapping[str, object]) -> str:
        if parameters.get("processes") == 0:
            raise InputError(
                "processes is 0, one per GPU, and the Job's pod has none: --set processes=1, or --to kfp, argo"
            )

        def listed() -> list[tuple[str, str]]:
            selection = f"{LABEL}={name}"
            found = self.jobs.list_namespaced_job(self.namespace, label_selector=selection, _request_timeout=TIMEOUT)
            earlier = sorted(found.items, key=lambda job: job.metadata.creation_timestamp)
            return [(str(job.metadata.name), _state(job)) for job in earlier]

        def create(own_name: str) -> None:
            body = self.manifest(own_name, name, parameters)
            self.jobs.create_namespaced_job(self.namespace, body, _request_timeout=TIMEOUT)

        self.name = self._persist(lambda: start_once(name, listed, create), f"start job {name}")
        return f"kubectl --namespace {self.namespace} logs --follow job/{self.name}"

    def manifest(self, own_name: str, run: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        """The Job of a run: the committed Job with a name, an image, a store and parameters."""
        made: dict[str, Any] = yaml.safe_load(MANIFEST.read_text())
        made["metadata"] |= {"name": own_name, "labels": made["metadata"]["labels"] | {LABEL: run}}
        (container,) = made["spec"]["template"]["spec"]["containers"]
        container["image"] = self.image
        container["args"] = [
            *("--recipe", "toy"),  # all parameters are set, so none keeps the value of the recipe
            *(f"--set={k}={written(v)}" for k, v in parameters.items()),
            *("--store", self.store, "--work", "/tmp/run", "--scores", "/dev/termination-log"),  # noqa: S108 - the pod's
        ]
        return made

    def progress(self) -> Progress:
        job = self._job()
        pods = self._pods()
        phases = {pod.metadata.name: (pod.status.phase or "Pending").lower() for pod in pods}
        held = {pod.metadata.name: why for pod in pods if (why := waiting(pod))}
        if not pods and _state(job) == RUNNING:
            reason = self.pods.refusal(self.name) or "it has no pod yet"
            held = {self.name: Waiting(reason, seconds_of(job.metadata.creation_timestamp))}
        messages = [c.message for c in job.status.conditions or () if c.type == "Failed" and c.message]
        return Progress(_state(job), phases, "; ".join(messages), held)

    def failures(self) -> list[Failure]:
        """See `Target.failures`. The step is the last pod that failed; the error line names the step of the DAG."""
        failed = [pod for pod in self._pods() if pod.status.phase == "Failed"]
        return [self.pods.failure(pod.metadata.name, pod, "run") for pod in failed[-1:]]

    def scores(self) -> dict[str, dict[str, float]]:
        return dict(self._result().get("scores", {}))

    def location(self, artifact: Output) -> str:
        """See `Target.location`. Only merged models and evaluations have one."""
        key = self._result().get("outputs", {}).get(artifact.step, "")
        return f"{self.store}/{key}" if key else ""

    def _result(self) -> Json:
        """The termination message of the pod that succeeded: the file of `pipelines.run --scores`."""
        for pod in self._pods():
            for container in pod.status.container_statuses or ():
                ended = container.state.terminated if container.state else None
                if ended and ended.exit_code == 0 and ended.message:
                    return self._read(ended.message)
        return {}

    def _read(self, message: str) -> Json:
        try:
            return dict(json.loads(message))
        except ValueError:  # Kubernetes cuts the message at 4096 bytes
            problem = f"the pod's termination message is no JSON ({message[:60]!r}...)"
            raise TargetError(f"{self.where}: job {self.name}: {problem}: read the metrics in {self.store}") from None

    def _job(self) -> client.V1Job:
        ask = partial(self.jobs.read_namespaced_job, self.name, self.namespace, _request_timeout=TIMEOUT)
        return self._persist(ask, f"ask for job {self.name}", run=f"job {self.name}")

    def _pods(self) -> list[client.V1Pod]:
        return self.pods.labelled(f"batch.kubernetes.io/job-name={self.name}")


def _state(job: client.V1Job) -> str:
    ended = {condition.type for condition in job.status.conditions or () if condition.status == "True"}
    return SUCCEEDED if "Complete" in ended else FAILED if "Failed" in ended else RUNNING
