"""A cluster for the tests of steps on several nodes, and what a cluster file says of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.clusters.launcher import nodes
from pipelines.clusters.placement import Placement
from pipelines.nodes import following, jobs, node_log, removal
from pipelines.nodes.exchange import Exchange
from pipelines.nodes.following import Following
from pipelines.nodes.jobs import Container, Jobs, Kind
from pipelines.targets import retrying
from pipelines.targets.cluster import connect
from tests.grpo.conftest import command, question_rows  # noqa: F401 - fixtures
from tests.k8s.schemas import models
from tests.pipelines.nodes.cluster import Cluster, serving

PLACEMENT = Placement(
    cpu="2",
    memory="3G",
    gpus=4,
    shared_memory="1Gi",
    scratch="9Gi",
    cache_claim="pebr-cache",
    timeout=3600,
    run_as_user=1234,
    priority_class="high",
    labels={"kueue.x-k8s.io/queue-name": "research", "team": "vision"},
    annotations={"sidecar.istio.io/inject": "false"},
    node_selector={"gpu": "h100"},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    secrets={"pebr-s3": {"access-key": "AWS_ACCESS_KEY_ID"}},
    config={"pebr-store": {"endpoint": "PEBR_S3_ENDPOINT"}},
    metrics_port=9464,
    pull_policy="Always",
    pull_secrets=("registry",),
    nodes=2,
    nodes_account="pebr-run",
)
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "launcher", "uid": "uid-of-launcher"}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that KUBECONFIG names, with the pod `launcher` in the namespace `team`."""
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(following, "POLL", 0.05)
    monkeypatch.setattr(removal, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(node_log, "AGAIN_SECONDS", 0.05)
    with serving(Cluster(tmp_path / "pods")) as made:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": made.address}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        made.launcher("launcher")
        yield made


class Started:
    """A job on the cluster, whose pods run scripts, and its following."""

    def __init__(self, kind: Kind, folder: Path, count: int = 2) -> None:
        if kind is jobs.TRAIN_JOB:
            models("kubeflow_trainer_api")  # here, in the test's thread: it skips the test where there are no schemas
        where, namespace = connect()
        self.exchange = Exchange(str(folder / "exchange"))
        self.jobs = Jobs(kind, "pebr-step-1", namespace, where)
        told = nodes(PLACEMENT) | {"count": count}
        container = Container("registry.example/pebr:1", ["python", "-m", "pipelines.nodes.node"], {"PEBR_RUN": "r"})
        self.jobs.create(jobs.manifest(kind, "pebr-step-1", json.loads(json.dumps(told)), container, OWNER))
        self.following = Following(self.jobs, self.exchange, namespace, count)


@pytest.fixture(params=list(jobs.KINDS.values()), ids=list(jobs.KINDS))
def kind(request: pytest.FixtureRequest) -> Any:
    """Each kind of job."""
    return request.param
