"""Runs on Argo Workflows, through the Kubernetes API: a Workflow made from the compiled pipeline, found by a label.

The workflow's status holds the state of each step, its metrics (which are output parameters) and artifact locations.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial

from kubernetes import client

from pipelines.forms import argo
from pipelines.ir.plan import Json, Output
from pipelines.ir.reader import Pipeline
from pipelines.ir.values import written
from pipelines.targets import FAILED, RUNNING, SUCCEEDED, Failure, Progress, Waiting
from pipelines.targets.cluster import REMEDIES, connect, start_once
from pipelines.targets.pods import Pods, seconds_of
from pipelines.targets.retrying import TIMEOUT, persist

NODE = "workflows.argoproj.io/node-id"  # annotation of a pod: its node in the workflow's status
STATES = {"Succeeded": SUCCEEDED, "Failed": FAILED, "Error": FAILED}
LABEL = "pebr/run"


class Argo:
    """Argo Workflows in a namespace: a `Target`."""

    def __init__(self, pipeline: Pipeline, namespace: str) -> None:
        """Make a client; without a namespace, that of the kubeconfig or of this pod is used. No request is sent yet."""
        self.where, own_namespace = connect()
        self._persist = partial(persist, where=self.where, remedies=REMEDIES)
        self.workflows = client.CustomObjectsApi()
        self.pods = Pods(self.where, namespace or own_namespace)
        place = {"namespace": self.pods.namespace, "plural": "workflows"}
        self.kind = {"group": "argoproj.io", "version": "v1alpha1", **place}
        self.pipeline, self.name = pipeline, ""
        self.steps = {step.id for step in pipeline.plan({})}

    def submit(self, name: str, parameters: Mapping[str, object]) -> str:
        document = argo.workflow(self.pipeline)
        for parameter in document["spec"]["arguments"]["parameters"]:
            if parameter["name"] in parameters:
                parameter["value"] = written(parameters[parameter["name"]])

        def listed() -> list[tuple[str, str]]:
            found = self.workflows.list_namespaced_custom_object(
                **self.kind, label_selector=f"{LABEL}={name}", _request_timeout=TIMEOUT
            )["items"]
            earlier = sorted(found, key=lambda item: item["metadata"]["creationTimestamp"])
            phases = (item.get("status", {}).get("phase", "") for item in earlier)
            return [(e["metadata"]["name"], STATES.get(p, RUNNING)) for e, p in zip(earlier, phases, strict=True)]

        def create(own_name: str) -> None:
            labels = document["metadata"]["labels"] | {LABEL: name}
            body = document | {"metadata": {"name": own_name, "labels": labels}}
            self.workflows.create_namespaced_custom_object(**self.kind, body=body, _request_timeout=TIMEOUT)

        self.name = self._persist(lambda: start_once(name, listed, create), f"start workflow {name}")
        return f"kubectl --namespace {self.kind['namespace']} get workflow {self.name}"

    def progress(self) -> Progress:
        workflow = self._workflow()
        status = workflow.get("status", {})
        steps = {node["displayName"]: node["phase"].lower() for node in self._nodes(status)}
        waiting = {
            step: Waiting(node.get("message") or "not scheduled yet", seconds_of(node.get("startedAt")))
            for step, node in self._attempts(status)
            if node["phase"] == "Pending"
        }
        steps |= dict.fromkeys(waiting, "pending")  # the node above an attempt is running all the while
        state = STATES.get(status.get("phase", ""), RUNNING)
        if state == RUNNING and not steps:
            reason = (
                status.get("message") or "Argo has not begun it: does its controller run, and watch this namespace?"
            )
            waiting = {self.name: Waiting(reason, seconds_of(workflow["metadata"].get("creationTimestamp")))}
        return Progress(state, steps, status.get("message", ""), waiting)

    def failures(self) -> list[Failure]:
        status = self._workflow().get("status", {})
        failed = {node["displayName"]: node for node in self._nodes(status) if STATES.get(node["phase"]) == FAILED}
        attempts = {step: node for step, node in self._attempts(status) if STATES.get(node["phase"]) == FAILED}
        pods = self.pods.labelled(f"workflows.argoproj.io/workflow={self.name}")
        by_node = {(pod.metadata.annotations or {}).get(NODE): pod for pod in pods}
        return [self._failure(step, attempts.get(step, node), by_node) for step, node in failed.items()]

    def _failure(self, step: str, node: Json, pods: Mapping[str | None, client.V1Pod]) -> Failure:
        """The failure of a step, from its last attempt's node and pod, as far as they are left."""
        message = str(node.get("message", ""))
        code = re.search(r"exit code (\d+)", message)
        exit_code = int(code[1]) if code else None
        if pod := pods.get(node.get("id")):
            found = self.pods.failure(step, pod, "main")
            return Failure(step, exit_code if found.exit_code is None else found.exit_code, found.error, found.command)
        command = f"kubectl --namespace {self.pods.namespace} get workflow {self.name} --output yaml"
        return Failure(step, exit_code, message, command)

    def scores(self) -> dict[str, dict[str, float]]:
        return {
            node["displayName"]: json.loads(parameter["value"])
            for node in self._nodes(self._workflow().get("status", {}))
            for parameter in node.get("outputs", {}).get("parameters", ())
            if parameter["name"] == "metrics"
        }

    def location(self, artifact: Output) -> str:
        status = self._workflow().get("status", {})
        repository = status.get("artifactRepositoryRef", {}).get("artifactRepository", {}).get("s3", {})
        for node in self._nodes(status):
            for made in node.get("outputs", {}).get("artifacts", ()):
                if (node["displayName"], made["name"]) == (artifact.step, artifact.name):
                    place = repository | made.get("s3", {})
                    return f"s3://{place.get('bucket', '')}/{place.get('key', '')}"
        return ""

    def _workflow(self) -> Json:
        ask = partial(
            self.workflows.get_namespaced_custom_object, **self.kind, name=self.name, _request_timeout=TIMEOUT
        )
        return dict(self._persist(ask, f"ask for workflow {self.name}", run=f"workflow {self.name}"))

    def _nodes(self, status: Json) -> Iterator[Json]:
        """The nodes of the steps, sorted by start; without the DAG's own node and the nodes of single attempts."""
        return (node for node in _by_start(status) if node["displayName"] in self.steps)

    def _attempts(self, status: Json) -> Iterator[tuple[str, Json]]:
        """The nodes with a pod, and their step's id, sorted by start; a step that may be retried has several."""
        for node in _by_start(status):
            step = re.sub(r"\(\d+\)$", "", node["displayName"])
            if node.get("type") == "Pod" and step in self.steps:
                yield step, node


def _by_start(status: Json) -> list[Json]:
    """All nodes of a workflow's status."""
    return sorted(status.get("nodes", {}).values(), key=lambda node: node.get("startedAt") or "")
