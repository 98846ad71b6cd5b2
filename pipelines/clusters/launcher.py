"""A step that trains on several nodes: its own pod is a small launcher, and the nodes' pod is written beside it.

With `nodes: 2` in a cluster file, `place` gives the step of the DAG few resources and the environment variable
PEBR_NODES: the number of nodes and the pod that each of them shall be, as JSON. `pipelines.nodes`, which the step's
command starts, makes a Kubeflow TrainJob or an Indexed Job of it.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from kfp import kubernetes
from kfp.dsl.pipeline_task import PipelineTask

from pipelines.clusters.placement import (
    CACHE,
    GRACE,
    OWN,
    SCRATCH,
    USER,
    WORKFLOW,
    Placement,
    container_security,
    load,
    metrics_annotations,
    placed,
)
from pipelines.ir.plan import LAUNCHER

VARIABLE = "PEBR_NODES"
COMPONENT = {"app.kubernetes.io/component": "train"}  # label of the nodes; the service and network policy select it
QUEUES = "kueue.x-k8s.io/"  # labels of Kueue: they are for the job, not for its pods or its launcher
CPU, MEMORY = "500m", "2G"  # of a launcher: it copies files
Manifest = dict[str, Any]


def placement_of(step: str) -> Placement:
    """The settings of a step on the cluster that PEBR_CLUSTER names."""
    return load(os.environ.get("PEBR_CLUSTER", "cpu")).of(step)


def command_of(step: str) -> list[str]:
    """The command of a step's pod, without the step's flags."""
    launcher = [LAUNCHER] if placement_of(step).nodes > 1 else []
    return ["python", "-m", *launcher, f"pebr.{step}"]


def place(task: PipelineTask) -> PipelineTask:
    """Set the resources of the cluster that PEBR_CLUSTER names on a task."""
    placement = placement_of(task.component_spec.name)
    return placed(task, placement) if placement.nodes == 1 else launched(task, placement)


def launched(task: PipelineTask, placement: Placement) -> PipelineTask:
    """Make a task a launcher of nodes, and tell it what they are."""
    own = dataclasses.replace(placement, cpu=CPU, memory=MEMORY, gpus=0, shared_memory="", cache_claim="")
    placed(task, dataclasses.replace(own, metrics_port=0, labels=_others(placement), node_selector={}, tolerations=()))
    kubernetes.use_field_path_as_env(task, "PEBR_POD", "metadata.name")
    kubernetes.use_field_path_as_env(task, "PEBR_RUN", f"metadata.labels['{WORKFLOW}']")
    return task.set_env_variable(VARIABLE, json.dumps(nodes(placement), separators=(",", ":")))


def nodes(placement: Placement) -> Manifest:
    """What a launcher is told: number and kind of the nodes, time limit, labels of the job, and a node's pod.

    The pod has neither name nor image, and its container no command: the launcher knows them.
    """
    monitored = bool(placement.metrics_port)
    annotations = metrics_annotations(placement.metrics_port) if monitored else {}
    labels = {**COMPONENT, **(OWN if monitored else {}), **_others(placement)}
    volumes, mounts = zip(*_volumes(placement), strict=True)
    limits = {"memory": placement.memory}
    limits |= {placement.gpu_resource: str(placement.gpus)} if placement.gpus else {}
    container = {
        "name": "node",
        **_present("imagePullPolicy", placement.pull_policy),
        "env": [*_environment(placement)],
        "resources": {"requests": {"cpu": placement.cpu, **limits}, "limits": limits},
        "securityContext": container_security(placement.run_as_user),
        "volumeMounts": list(mounts),
    }
    user = {"runAsUser": USER, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": {"runAsNonRoot": True, **user},
        **_present("serviceAccountName", placement.nodes_account),
        **_present("priorityClassName", placement.priority_class),
        **_present("nodeSelector", dict(placement.node_selector)),
        **_present("tolerations", [dict(toleration) for toleration in placement.tolerations]),
        **_present("imagePullSecrets", [{"name": name} for name in placement.pull_secrets]),
        "containers": [container],
        "volumes": list(volumes),
    }
    pod = {"metadata": {"labels": labels, **_present("annotations", {**annotations, **placement.annotations})}}
    return {
        "count": placement.nodes,
        **_present("as", placement.nodes_as),
        **_present("timeout", placement.timeout),
        **_present("labels", dict(placement.labels)),
        "pod": {**pod, "spec": spec},
    }


def _others(placement: Placement) -> dict[str, str]:
    """The labels of single pods: Kueue admits the job as a whole."""
    return {key: value for key, value in placement.labels.items() if not key.startswith(QUEUES)}


def _present(name: str, value: object) -> Manifest:
    """A field, or nothing if its value is empty."""
    return {name: value} if value else {}


def _environment(placement: Placement) -> Iterator[Manifest]:
    """The variables of a node: the same as those of a step in one pod."""
    if placement.cache_claim:
        yield {"name": "HF_HOME", "value": f"{CACHE}/huggingface"}
    sources: tuple[tuple[str, Mapping[str, Mapping[str, str]]], ...] = (
        ("secretKeyRef", placement.secrets),
        ("configMapKeyRef", placement.config),
    )
    for kind, named in sources:
        for source, variables in sorted(named.items()):
            for key, variable in variables.items():
                yield {"name": variable, "valueFrom": {kind: {"name": source, "key": key, "optional": True}}}
    if placement.metrics_port:
        yield {"name": "PEBR_METRICS_PORT", "value": str(placement.metrics_port)}


def _volumes(placement: Placement) -> Iterator[tuple[Manifest, Manifest]]:
    """Volumes and their mounts; the one at /tmp also holds a node's inputs and outputs."""
    size = _present("sizeLimit", placement.scratch)
    yield {"name": "scratch", "emptyDir": size}, {"name": "scratch", "mountPath": SCRATCH}
    if placement.shared_memory:
        memory = {"medium": "Memory", "sizeLimit": placement.shared_memory}
        yield {"name": "shm", "emptyDir": memory}, {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108
    if claim := placement.cache_claim:
        yield {"name": claim, "persistentVolumeClaim": {"claimName": claim}}, {"name": claim, "mountPath": CACHE}
