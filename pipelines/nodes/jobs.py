"""The job of a step's nodes in Kubernetes: its manifest, and the requests about it.

A job is either an Indexed Job, whose pods meet by the headless service `pebr-nodes` of k8s/base, or a TrainJob of
Kubeflow Trainer v2, which makes a service itself; the runtime `torch-distributed` comes with Trainer. When a node
fails, the launcher deletes the job, the DAG retries the step, and all nodes start again from the last checkpoint.
"""

import contextlib
import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from kubernetes import client

from pebr.step.ranks import NODE_RANK
from pipelines.ir.plan import Json
from pipelines.targets import GoneError
from pipelines.targets.pods import Pods, seconds_of
from pipelines.targets.retrying import TIMEOUT, ApiError, persist

SERVICE = "pebr-nodes"  # of k8s/base: gives each pod of an Indexed Job a name
PORT = 29400
RUNTIME = {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": "torch-distributed"}
MANAGER = "pebr/launcher"  # who patches the runtime
REMEDIES = {
    401: "the credentials are missing or have expired: fix the service account of this pod",
    404: "not found: is Kubeflow Trainer installed? Else set nodes_as: job in the cluster file",
}
Manifest = dict[str, Any]


class Kind(NamedTuple):
    """A kind of job: how the API names it, and the label that its pods have."""

    name: str
    group: str
    version: str
    plural: str
    label: str


JOB = Kind("Job", "batch", "v1", "jobs", "batch.kubernetes.io/job-name")
TRAIN_JOB = Kind("TrainJob", "trainer.kubeflow.org", "v1alpha1", "trainjobs", "jobset.sigs.k8s.io/jobset-name")
KINDS = {"job": JOB, "trainjob": TRAIN_JOB}


class Container(NamedTuple):
    """What the launcher adds to the pod that PEBR_NODES describes."""

    image: str
    command: Sequence[str]
    variables: Mapping[str, str]


def manifest(kind: Kind, name: str, told: Json, container: Container, owner: Manifest) -> Manifest:
    """The job's manifest.

    Args:
        kind: of the job.
        name: of the job.
        told: what PEBR_NODES says (`pipelines.clusters.launcher.nodes`).
        container: image, command and further variables of every node.
        owner: the launcher's pod; without any owner left, Kubernetes deletes the job.
    """
    pod = copy.deepcopy(told["pod"])
    (node,) = pod["spec"]["containers"]
    node |= {"image": container.image, "command": list(container.command)}
    node["env"] += [{"name": key, "value": value} for key, value in container.variables.items()]
    spec = _job(name, told["count"], pod) if kind is JOB else _train_job(told["count"], pod)
    deadline = {"activeDeadlineSeconds": told["timeout"]} if told.get("timeout") else {}
    labels = {"app.kubernetes.io/name": "pebr", **told.get("labels", {})}
    return {
        "apiVersion": f"{kind.group}/{kind.version}",
        "kind": kind.name,
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {**deadline, **spec},
    }


def _job(name: str, count: int, pod: Manifest) -> Manifest:
    (node,) = pod["spec"]["containers"]
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    node["env"] += [
        {"name": "PET_NNODES", "value": str(count)},
        {"name": NODE_RANK, "valueFrom": {"fieldRef": {"fieldPath": index}}},
        {"name": "PET_MASTER_ADDR", "value": f"{name}-0.{SERVICE}"},
        {"name": "PET_MASTER_PORT", "value": str(PORT)},
    ]
    pod["spec"] |= {"restartPolicy": "Never", "subdomain": SERVICE, "automountServiceAccountToken": False}
    return {
        "completions": count,
        "parallelism": count,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "template": pod,
    }


def _train_job(count: int, pod: Manifest) -> Manifest:
    """Trainer sets the variables that torchrun reads. What it has no place for stays unset: see docs/cluster.md."""
    (node,) = pod["spec"].pop("containers")
    pod["spec"].pop("priorityClassName", None)
    patched = {key: node[key] for key in ("name", "securityContext", "volumeMounts")}
    pod["spec"]["containers"] = [patched]
    job = {"name": "node", "template": {"spec": {"template": pod}}}
    trainer = {
        "numNodes": count,
        "image": node["image"],
        "command": node["command"],
        "env": node["env"],
        "resourcesPerNode": node["resources"],
    }
    patch = {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}
    return {"runtimeRef": dict(RUNTIME), "trainer": trainer, "runtimePatches": [patch]}


class Jobs:
    """The requests about one job, and about its pods."""

    def __init__(self, kind: Kind, name: str, namespace: str, where: str) -> None:
        self.kind, self.name, self.namespace = kind, name, namespace
        self._api = client.CustomObjectsApi()
        self._place = {"group": kind.group, "version": kind.version, "namespace": namespace, "plural": kind.plural}
        self._persist = partial(persist, where=where, remedies=REMEDIES)
        self._pods = Pods(where, namespace, REMEDIES)
        self.told = f"{kind.name} {name}"

    def get(self) -> Json | None:
        """The job; None if there is none."""
        ask = partial(self._api.get_namespaced_custom_object, **self._place, name=self.name, _request_timeout=TIMEOUT)
        try:
            return dict(self._persist(ask, f"ask for {self.told}", run=self.told))
        except GoneError:
            return None

    def create(self, body: Manifest) -> None:
        """Create the job, if it is not there."""

        def create() -> None:
            try:
                self._api.create_namespaced_custom_object(**self._place, body=body, _request_timeout=TIMEOUT)
            except ApiError as error:
                if error.status != 409:  # 409: an earlier try has created it, and its response was lost
                    raise

        self._persist(create, f"create {self.told}")

    def own(self, owners: Sequence[Manifest]) -> None:
        """Set the pods that own the job."""
        body = {"metadata": {"ownerReferences": list(owners)}}
        patch = partial(self._api.patch_namespaced_custom_object, **self._place, name=self.name, body=body)
        self._persist(partial(patch, _request_timeout=TIMEOUT), f"patch {self.told}")

    def delete(self) -> None:
        """Ask for the deletion of the job and its pods; they get SIGTERM and their time. The job goes last."""
        ask = partial(self._api.delete_namespaced_custom_object, **self._place, name=self.name)
        remove = partial(ask, propagation_policy="Foreground", _request_timeout=TIMEOUT)
        with contextlib.suppress(GoneError):
            self._persist(remove, f"delete {self.told}", run=self.told)

    def pods(self, job: Json | None = None) -> list[client.V1Pod]:
        """The pods of the nodes of a job, oldest first; without one, also those of earlier jobs of this name."""
        found = self._pods.labelled(f"{self.kind.label}={self.name}")
        if job is None:
            return found
        if self.kind is JOB:
            uid = job["metadata"]["uid"]
            return [pod for pod in found if uid in {owner.uid for owner in pod.metadata.owner_references or ()}]
        # The owner of a TrainJob's pods is a Job, which a JobSet owns: what is older than the TrainJob is not its own.
        since = seconds_of(job["metadata"]["creationTimestamp"])
        return [pod for pod in found if seconds_of(pod.metadata.creation_timestamp) >= since]

    def pod(self, name: str) -> client.V1Pod:
        """Any pod of the namespace."""
        return self._pods.named(name)

    def refusal(self) -> str:
        """Why no pod can be created, such as a full quota; "" if nothing says so."""
        return self._pods.refusal(self.name if self.kind is JOB else f"{self.name}-node-0")

    def last_line(self, pod: client.V1Pod) -> str:
        """Why a node ended: the last error line of its log, or what its status says."""
        return self._pods.failure(str(pod.metadata.name), pod, "node").error


def ended(job: Json) -> str:
    """`Complete` or `Failed` if the job has ended, else ""."""
    conditions = job.get("status", {}).get("conditions") or ()
    found = [c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"]
    return found[0] if found else ""


def message(job: Json) -> str:
    """What the conditions of a job say about its failure, or why it does not begin."""
    conditions = job.get("status", {}).get("conditions") or ()
    return "; ".join(f"{c.get('reason')}: {c['message']}" for c in conditions if c.get("message"))
