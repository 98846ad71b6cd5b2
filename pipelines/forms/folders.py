"""Writes the compiled pipeline as manifests for clusters, each a folder for `kubectl apply -k`.

    argo/       a WorkflowTemplate to apply, and workflow.yaml to `kubectl create` without it   (`pipelines.forms.argo`)
    kubeflow/   Kubeflow's Kubernetes-native Pipeline and PipelineVersion

A PipelineVersion cannot be changed after it is created, so its name ends with a digest of its content. It is larger
than an annotation may be (256 KiB), in which `kubectl apply` would keep it: apply it with `--server-side`.
"""

import hashlib
from pathlib import Path

from pipelines.forms import argo, quoting
from pipelines.forms.pod import Manifest
from pipelines.ir.reader import Pipeline

HEADING = "# Made by python -m pipelines.compile: do not edit.\n"
SERVER_SIDE = (
    "# Apply with kubectl apply --server-side: it is too large for the annotation that kubectl apply writes.\n"
)


def write(pipeline: Pipeline, folder: Path) -> None:
    """Write the argo/ and kubeflow/ folders of a compiled pipeline below `folder`."""
    _write(folder / "argo", {"template": [argo.workflow_template(pipeline)]}, {"workflow": [argo.workflow(pipeline)]})
    _write(folder / "kubeflow", {"pipeline": kubeflow(pipeline)}, {}, SERVER_SIDE)


def kubeflow(pipeline: Pipeline) -> list[Manifest]:
    """The `Pipeline` and `PipelineVersion` that the API server of Kubeflow Pipelines keeps as Kubernetes resources."""
    spec = {"pipelineSpec": pipeline.document}
    if pipeline.platform:
        spec["platformSpec"] = pipeline.platform
    digest = hashlib.sha256(quoting.dump([spec]).encode()).hexdigest()[:10]
    version = f"{pipeline.name}-{digest}"
    described = {"description": pipeline.document["pipelineInfo"].get("description", "")}
    return [
        _resource("Pipeline", pipeline.name, {"displayName": pipeline.name, **described}),
        _resource(
            "PipelineVersion", version, {"displayName": version, "pipelineName": pipeline.name} | described | spec
        ),
    ]


def _resource(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": "pipelines.kubeflow.org/v2beta1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _write(
    folder: Path, applied: dict[str, list[Manifest]], created: dict[str, list[Manifest]], note: str = ""
) -> None:
    """Write the manifests as files with a note at their top, and a kustomization that lists the applied ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, documents in (applied | created).items():
        (folder / f"{name}.yaml").write_text(quoting.dump(documents, note + HEADING))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{name}.yaml" for name in applied],
    }
    (folder / "kustomization.yaml").write_text(quoting.dump([kustomization], HEADING))
