"""The manifests of nodes: strictly valid, and with everything that a cluster file sets."""

import copy
import json
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pebr.step.nodes import VARIABLES
from pipelines.clusters.launcher import nodes
from pipelines.clusters.placement import Placement
from pipelines.nodes import jobs
from pipelines.nodes.jobs import JOB, TRAIN_JOB, Container, Kind
from tests.k8s.schemas import errors
from tests.k8s.test_manifests import K8S
from tests.pipelines.nodes.cluster import Cluster
from tests.pipelines.nodes.conftest import OWNER, PLACEMENT

CONTAINER = Container("registry/pebr@sha256:12", ["python", "-m", "x", "--flag", "a b"], {"PEBR_RUN": "run-1"})
NAME = "pebr-reasoning-0123456789abcdef"  # as long as a name gets


def made(kind: Kind, placement: Placement) -> dict[str, Any]:
    told = json.loads(json.dumps(nodes(placement)))
    before = copy.deepcopy(told)
    manifest = jobs.manifest(kind, NAME, told, CONTAINER, OWNER)
    assert told == before
    return manifest


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest["kind"] == "Job":
        return manifest["spec"]["template"]
    return Cluster.as_trainer_makes_it(None, manifest)  # type: ignore[arg-type]


@pytest.mark.parametrize("placement", [Placement(nodes=2), PLACEMENT], ids=["least", "all"])
def test_every_manifest_is_strictly_valid(kind: Kind, placement: Placement) -> None:
    manifest = made(kind, placement)
    if kind is JOB:
        kubernetes_validate.validate(manifest, "1.32", strict=True)
    else:
        assert errors(manifest) == []
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod_of(manifest)["spec"]}
    kubernetes_validate.validate(pod, "1.32", strict=True)


def test_the_validation_of_a_patch_is_strict() -> None:
    manifest = made(TRAIN_JOB, PLACEMENT)
    (job,) = manifest["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    job["template"]["spec"]["template"]["spec"]["priorityClassName"] = "high"
    assert errors(manifest)


def test_a_node_gets_all_that_the_cluster_file_sets(kind: Kind) -> None:
    manifest = made(kind, PLACEMENT)
    pod = pod_of(manifest)
    told = nodes(PLACEMENT)["pod"]
    (node,), (given,) = pod["spec"]["containers"], told["spec"]["containers"]
    assert node["image"] == CONTAINER.image
    assert [*node["command"], *node.get("args", ())] == CONTAINER.command
    assert node["resources"] == given["resources"]
    assert node["securityContext"] == given["securityContext"]
    assert node["volumeMounts"] == given["volumeMounts"]
    names = [entry["name"] for entry in node["env"]]
    assert len(names) == len(set(names))
    assert {*VARIABLES, "PEBR_RUN", *(entry["name"] for entry in given["env"])} == set(names)
    without = set() if kind is JOB else {"priorityClassName"}  # a TrainJob has no place for it
    for name in told["spec"].keys() - {"containers"} - without:
        assert pod["spec"][name] == told["spec"][name]
    assert pod["metadata"] == told["metadata"]
    assert manifest["spec"]["activeDeadlineSeconds"] == PLACEMENT.timeout
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert manifest["metadata"]["ownerReferences"] == [OWNER]


def test_the_nodes_of_a_job_meet_by_the_service_of_the_base() -> None:
    pod = made(JOB, PLACEMENT)["spec"]["template"]
    service, policy = yaml.safe_load_all((K8S / "base" / "nodes.yaml").read_text())
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    for selected in (service["spec"]["selector"], policy["spec"]["podSelector"]["matchLabels"]):
        assert selected.items() <= pod["metadata"]["labels"].items()
    variables = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    assert variables["PET_MASTER_ADDR"] == f"{NAME}-0.{service['metadata']['name']}"
    assert len(f"{NAME}-node-0-99-abcde") <= 63


def test_what_ended_a_job_is_read_from_its_conditions() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
    assert jobs.ended({"status": {"conditions": [{"type": "Suspended", "status": "True"}]}}) == ""
    assert jobs.ended({"status": {"conditions": [{**failed, "status": "False"}]}}) == ""
    assert jobs.ended({}) == ""
    assert jobs.ended({"status": {"conditions": [failed]}}) == "Failed"
    assert jobs.message({"status": {"conditions": [failed]}}) == "DeadlineExceeded: too long"


def test_the_pod_monitor_scrapes_the_containers_of_the_nodes(kind: Kind) -> None:
    monitor = yaml.safe_load((K8S / "monitoring" / "podmonitor.yaml").read_text())
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    label = "__meta_kubernetes_pod_container_name"
    (names,) = (rule["regex"] for rule in endpoint["relabelings"] if rule["sourceLabels"] == [label])
    pod = pod_of(made(kind, PLACEMENT))
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    for container in pod["spec"]["containers"]:
        assert re.fullmatch(names, container["name"])
