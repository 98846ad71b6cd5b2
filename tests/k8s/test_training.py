"""Manifests of a training step on several nodes: valid, alike, and what `pebr.grpo` and `pebr.step.nodes` read."""

from typing import Any

import kubernetes_validate
import pytest

from pebr.grpo.settings import Settings
from pebr.step.command import parse
from pebr.step.nodes import VARIABLES
from tests.k8s.schemas import errors
from tests.k8s.test_manifests import built

KINDS = ("job", "trainjob")


def items(kind: str) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in built(f"k8s/training/{kind}")}


def pod(kind: str) -> dict[str, Any]:
    """The specification of a node's pod; of a TrainJob as Trainer makes it of both manifests."""
    found = items(kind)
    if kind == "job":
        return found["Job"]["spec"]["template"]["spec"]
    job_set = found["TrainingRuntime"]["spec"]["template"]["spec"]
    made = job_set["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    trainer = found["TrainJob"]["spec"]["trainer"]
    given = {"command": trainer["command"], "args": trainer["args"], "resources": trainer["resourcesPerNode"]}
    return made | {"containers": [made["containers"][0] | given]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_resource_is_valid(kind: str) -> None:
    for item in built(f"k8s/training/{kind}"):
        if item["kind"].startswith("Train"):
            assert errors(item) == []
        else:
            kubernetes_validate.validate(item, "1.32", strict=True)
    own = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod(kind)}
    kubernetes_validate.validate(own, "1.32", strict=True)


def test_the_job_set_that_trainer_makes_is_valid() -> None:
    spec = items("trainjob")["TrainingRuntime"]["spec"]["template"]["spec"]
    job_set = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": "x"}, "spec": spec}
    assert errors(job_set) == []
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}
    kubernetes_validate.validate(job | {"spec": spec["replicatedJobs"][0]["template"]["spec"]}, "1.32", strict=True)
    job_set["spec"] = spec | {"failurPolicy": {}}
    assert errors(job_set)


def test_the_validation_of_a_train_job_is_strict() -> None:
    good = items("trainjob")["TrainJob"]
    assert errors(good | {"spec": good["spec"] | {"runtimRef": {}}})
    assert errors(good | {"spec": good["spec"] | {"trainer": good["spec"]["trainer"] | {"numNodes": "2"}}})


def test_both_start_the_same_step_with_its_settings() -> None:
    containers = [pod(kind)["containers"][0] for kind in KINDS]
    assert containers[0]["args"] == containers[1]["args"]
    for container in containers:
        assert container["command"] == ["python", "-m", "pebr.grpo"]
        settings = parse(Settings, container["args"])
        assert settings.checkpoints.startswith("s3://")
        assert settings.output.startswith(container["volumeMounts"][0]["mountPath"])


def test_a_node_of_the_job_knows_its_place() -> None:
    job, container = items("job")["Job"], pod("job")["containers"][0]
    known = {entry["name"]: entry for entry in container["env"]}
    assert set(VARIABLES) <= set(known)
    assert int(known["PET_NNODES"]["value"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert "job-completion-index" in known["PET_NODE_RANK"]["valueFrom"]["fieldRef"]["fieldPath"]
    service, name = items("job")["Service"]["metadata"]["name"], job["metadata"]["name"]
    assert known["PET_MASTER_ADDR"]["value"] == f"{name}-0.{service}"
    assert pod("job")["subdomain"] == service


@pytest.mark.parametrize("kind", KINDS)
def test_pods_run_without_privileges(kind: str) -> None:
    assert pod(kind)["securityContext"]["runAsNonRoot"] is True
    assert pod(kind)["automountServiceAccountToken"] is False
    (container,) = pod(kind)["containers"]
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert "@sha256:" in container["image"]
