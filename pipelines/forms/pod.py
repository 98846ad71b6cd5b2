"""What the IR says about a step's pod, in the words of a pod's specification: variables, resources, volumes, security.

The IR's second document holds what kfp-kubernetes wrote (`pipelines.clusters.placement`): one mapping per step, called
`kubernetes` here. Kubeflow's backend makes a pod of it; this module does the same where there is no Kubeflow.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.clusters.placement import SCRATCH

SUPPORTED = {  # what is read here and in `pipelines.forms.argo`
    "activeDeadlineSeconds",
    "configMapAsEnv",
    "emptyDirMounts",
    "imagePullPolicy",
    "imagePullSecret",
    "nodeSelector",
    "podMetadata",
    "pvcMount",
    "secretAsEnv",
    "securityContext",
    "tolerations",
}


def resources(given: Mapping[str, Any]) -> dict[str, Any]:
    """Requests and limits; an accelerator is a limit, which is its request too."""
    requests = {"cpu": given.get("resourceCpuRequest"), "memory": given.get("resourceMemoryRequest")}
    accelerator = given.get("accelerator", {})
    limits = {
        "cpu": given.get("resourceCpuLimit"),
        "memory": given.get("resourceMemoryLimit"),
        accelerator.get("resourceType"): accelerator.get("resourceCount"),
    }
    filled = {"requests": requests, "limits": limits}
    return {side: {k: v for k, v in amounts.items() if v} for side, amounts in filled.items() if any(amounts.values())}


def environment(plain: Mapping[str, str], kubernetes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Variables: plain ones, then those from secrets and config maps."""
    yield from ({"name": name, "value": value} for name, value in plain.items())
    for kind, reference in (("secret", "secretKeyRef"), ("configMap", "configMapKeyRef")):
        for source in kubernetes.get(f"{kind}AsEnv", ()):
            optional = {"optional": True} if source.get("optional") else {}
            for pair in source["keyToEnv"]:
                key = {"name": source[f"{kind}Name"], "key": pair[f"{kind}Key"], **optional}
                yield {"name": pair["envVar"], "valueFrom": {reference: key}}


def volumes(kubernetes: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and where they are mounted; there is always one at /tmp."""
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


def security_context(kubernetes: Mapping[str, Any]) -> dict[str, Any]:
    """A container without privileges on a read-only root, as the user that the settings name, if any."""
    user = kubernetes.get("securityContext", {}).get("runAsUser")
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        **({"runAsUser": int(user)} if user else {}),
    }
