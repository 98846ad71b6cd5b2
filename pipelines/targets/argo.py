"""Runs on Argo Workflows, through the Kubernetes API: a Workflow made from the compiled pipeline, found by a label.

The workflow's status holds the state of each step, its metrics (which are output parameters) and artifact locations.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial

from kubernetes import client

from pipelines.forms import argo
from pipelines.ir.plan import Json, Output
from pipelines.ir.reader import Pipeline
from pipelines.ir.values import written
from pipelines.targets import FAILED, RUNNING, SUCCEEDED, Progress
from pipelines.targets.cluster import REMEDIES, connect, start_once
from pipelines.targets.retrying import TIMEOUT, persist

STATES = {"Succeeded": SUCCEEDED, "Failed": FAILED, "Error": FAILED}
LABEL = "pebr/run"


class Argo:
    """Argo Workflows in a namespace: a `Target`."""

    def __init__(self, pipeline: Pipeline, namespace: str) -> None:
        """Make a client; without a namespace, that of the kubeconfig or of this pod is used. No request is sent yet."""
        self.where, own_namespace = connect()
        self._persist = partial(persist, where=self.where, remedies=REMEDIES)
        self.workflows = client.CustomObjectsApi()
        place = {"namespace": namespace or own_namespace, "plural": "workflows"}
        self.kind = {"group": "argoproj.io", "version": "v1alpha1", **place}
        self.pipeline, self.name = pipeline, ""

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
        status = self._status()
        steps = {node["displayName"]: node["phase"].lower() for node in self._nodes(status)}
        return Progress(STATES.get(status.get("phase", ""), RUNNING), steps, status.get("message", ""))

    def scores(self) -> dict[str, dict[str, float]]:
        return {
            node["displayName"]: json.loads(parameter["value"])
            for node in self._nodes(self._status())
            for parameter in node.get("outputs", {}).get("parameters", ())
            if parameter["name"] == "metrics"
        }

    def location(self, artifact: Output) -> str:
        status = self._status()
        repository = status.get("artifactRepositoryRef", {}).get("artifactRepository", {}).get("s3", {})
        for node in self._nodes(status):
            for made in node.get("outputs", {}).get("artifacts", ()):
                if (node["displayName"], made["name"]) == (artifact.step, artifact.name):
                    place = repository | made.get("s3", {})
                    return f"s3://{place.get('bucket', '')}/{place.get('key', '')}"
        return ""

    def _status(self) -> Json:
        def ask() -> Json:
            found = self.workflows.get_namespaced_custom_object(**self.kind, name=self.name, _request_timeout=TIMEOUT)
            return dict(found.get("status", {}))

        return self._persist(ask, f"ask for workflow {self.name}")

    def _nodes(self, status: Json) -> Iterator[Json]:
        """The nodes of the steps, sorted by start; without the DAG's own node and the nodes of single attempts."""
        steps = {step.id for step in self.pipeline.plan({})}
        nodes = sorted(status.get("nodes", {}).values(), key=lambda node: node.get("startedAt") or "")
        return (node for node in nodes if node["displayName"] in steps)
