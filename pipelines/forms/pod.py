"""Converts a step's settings in the IR to the fields of a pod: variables, resources, volumes, security.

The second document of the IR holds the settings from kfp-kubernetes (`pipelines.clusters.placement`): one mapping per
step, here called `kubernetes`. Kubeflow's backend makes a pod from it; this module does the same for Argo.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.clusters.placement import SCRATCH, container_security
from pipelines.ir.plan import Json

Manifest = dict[str, Any]  # a part of a Kubernetes manifest

SUPPORTED = {  # settings that this module and `pipelines.forms.argo` read
    "activeDeadlineSeconds",
    "configMapAsEnv",
    "emptyDirMounts",
    "fieldPathAsEnv",
    "imagePullPolicy",
    "imagePullSecret",
    "nodeSelector",
    "podMetadata",
    "pvcMount",
    "secretAsEnv",
    "securityContext",
    "tolerations",
}


def resources(given: Json) -> Manifest:
    """Requests and limits; the limit of an accelerator is also its request."""
    requests = {"cpu": given.get("resourceCpuRequest"), "memory": given.get("resourceMemoryRequest")}
    accelerator = given.get("accelerator", {})
    limits = {
        "cpu": given.get("resourceCpuLimit"),
        "memory": given.get("resourceMemoryLimit"),
        accelerator.get("resourceType"): accelerator.get("resourceCount"),
    }
    filled = {"requests": requests, "limits": limits}
    return {side: {k: v for k, v in amounts.items() if v} for side, amounts in filled.items() if any(amounts.values())}


def environment(plain: Mapping[str, str], kubernetes: Json) -> Iterator[Manifest]:
    """Environment variables: plain ones, then those from secrets, config maps and fields of the pod."""
    yield from ({"name": name, "value": value} for name, value in plain.items())
    for kind, reference in (("secret", "secretKeyRef"), ("configMap", "configMapKeyRef")):
        for source in kubernetes.get(f"{kind}AsEnv", ()):
            optional = {"optional": True} if source.get("optional") else {}
            for pair in source["keyToEnv"]:
                key = {"name": source[f"{kind}Name"], "key": pair[f"{kind}Key"], **optional}
                yield {"name": pair["envVar"], "valueFrom": {reference: key}}
    for field in kubernetes.get("fieldPathAsEnv", ()):
        yield {"name": field["name"], "valueFrom": {"fieldRef": {"fieldPath": field["fieldPath"]}}}


def volumes(kubernetes: Json) -> tuple[list[Manifest], list[Manifest]]:
    """Volumes and their mounts; one is always mounted at /tmp."""
    made, mounts = [], []
    for directory in kubernetes.get("emptyDirMounts", ()):
        sizes = {key: directory[key] for key in ("medium", "sizeLimit") if key in directory}
        made.append({"name": directory["volumeName"], "emptyDir": sizes})
        mounts.append({"name": directory["volumeName"], "mountPath": directory["mountPath"]})
    for claim in kubernetes.get("pvcMount", ()):
        made.append({"name": claim["constant"], "persistentVolumeClaim": {"claimName": claim["constant"]}})
        mounts.append({"name": claim["constant"], "mountPath": claim["mountPath"]})
    if SCRATCH not in {mount["mountPath"] for mount in mounts}:
        made.append({"name": "scratch", "emptyDir": {}})
        mounts.append({"name": "scratch", "mountPath": SCRATCH})
    return made, mounts


def security_context(kubernetes: Json) -> Manifest:
    """No privileges, a read-only root file system, and the user of the settings, if any."""
    return dict(container_security(int(kubernetes.get("securityContext", {}).get("runAsUser") or -1)))
