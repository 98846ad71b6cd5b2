"""Submitting to Argo and as a Job, over HTTP to an API server that speaks Kubernetes' part of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import recipes, submit
from pipelines.ir.reader import Pipeline
from pipelines.local.artifacts import Artifacts, Status
from pipelines.local.runner import Run
from tests.pipelines.forms.argo_schema import reference_errors, schema_errors
from tests.pipelines.servers import Kubernetes

TOY = yaml.safe_load((recipes.FOLDER / "toy.yaml").read_text())["parameters"]
METRICS = {"accuracy": 0.62, "clip": 0.7, "seconds": 3.0}


def send(to: str, *more: str) -> int:
    return submit.main(["--to", to, "--poll", "0.001", *more])


def workflow_status(phase: str) -> dict[str, Any]:
    """A workflow's status as Argo writes it: the DAG, a step with its two attempts, a skipped step."""
    artifact = {"name": "output", "s3": {"key": "pebr/run/merge-stage-2/output"}}
    nodes = [
        {"displayName": "pebr-r1-toy", "type": "DAG", "phase": phase},
        {
            "displayName": "evaluate-stage-2",
            "type": "Retry",
            "phase": phase,
            "outputs": {"parameters": [{"name": "metrics", "value": json.dumps(METRICS)}]},
        },
        {"displayName": "evaluate-stage-2(0)", "type": "Pod", "phase": "Failed"},
        {"displayName": "evaluate-stage-2(1)", "type": "Pod", "phase": phase},
        {"displayName": "merge-stage-2", "type": "Retry", "phase": phase, "outputs": {"artifacts": [artifact]}},
        {"displayName": "evaluate-ablation", "type": "Skipped", "phase": "Skipped"},
    ]
    return {
        "phase": phase,
        "message": "child failed" if phase == "Failed" else "",
        "nodes": {str(i): node for i, node in enumerate(nodes)},
        "artifactRepositoryRef": {"artifactRepository": {"s3": {"bucket": "models", "endpoint": "s3:8333"}}},
    }


def job_status(kind: str) -> dict[str, Any]:
    return {
        "conditions": [{"type": kind, "status": "True", "message": "BackoffLimitExceeded" if kind == "Failed" else ""}]
    }


def test_argo_gets_a_workflow_with_the_runs_parameters(cluster: Kubernetes) -> None:
    assert send("argo", "--set", "ablation=true", "--set", "learning_rate=1e-5") == 0
    (made,) = cluster.kinds["workflows"]
    document = {key: value for key, value in made.items() if key != "status"}
    del document["metadata"]["creationTimestamp"]
    assert schema_errors(document) == []
    assert list(reference_errors(document)) == []
    values = {p["name"]: p["value"] for p in document["spec"]["arguments"]["parameters"]}
    assert values["ablation"] == "true"
    assert values["learning_rate"] == "1e-05"
    assert values["sft_epochs"] == str(TOY["sft_epochs"])
    assert len(document["metadata"]["name"]) < 64


@pytest.mark.parametrize("to", ["argo", "job"])
def test_the_same_run_is_started_once_and_a_failed_one_anew(cluster: Kubernetes, to: str) -> None:
    place = ["--artifacts", "s3://pebr/runs"]
    kept = cluster.kinds["workflows" if to == "argo" else "jobs"]
    assert [send(to, *place), send(to, *place)] == [0, 0]
    assert len(kept) == 1
    kept[0]["status"] = workflow_status("Failed") if to == "argo" else job_status("Failed")
    assert send(to, *place) == 0
    assert len(kept) == 2
    assert kept[1]["metadata"]["name"] == kept[0]["metadata"]["name"] + "-2"


@pytest.mark.parametrize("to", ["argo", "job"])
def test_a_failed_run_is_started_anew_when_its_first_starts_are_gone(cluster: Kubernetes, to: str) -> None:
    """As after ttlSecondsAfterFinished."""
    place = ["--artifacts", "s3://pebr/runs", "--name", "n" * 63]
    kept = cluster.kinds["workflows" if to == "argo" else "jobs"]
    for _ in range(3):
        assert send(to, *place) == 0
        kept[-1]["status"] = workflow_status("Failed") if to == "argo" else job_status("Failed")
    del kept[0]
    assert send(to, *place) == 0
    assert [item["metadata"]["name"] for item in kept] == ["n" * 61 + f"-{i}" for i in (2, 3, 4)]


@pytest.mark.parametrize("to", ["argo", "job"])
def test_a_name_that_something_else_has_is_left_to_it(cluster: Kubernetes, to: str) -> None:
    kept = cluster.kinds["workflows" if to == "argo" else "jobs"]
    kept.append({"metadata": {"name": "mine", "creationTimestamp": "2026-11-20T00:00:00Z"}, "status": {}})
    assert send(to, "--artifacts", "s3://pebr/runs", "--name", "mine") == 0
    assert [item["metadata"]["name"] for item in kept] == ["mine", "mine-2"]


@pytest.mark.parametrize("to", ["argo", "job"])
@pytest.mark.parametrize("fault", ["drop", "drop-after", 500, 503])
@pytest.mark.parametrize("at", range(3))
def test_a_fault_at_any_request_changes_nothing(cluster: Kubernetes, to: str, fault: Any, at: int) -> None:
    cluster.faults = [""] * at + [fault]
    cluster.script = [workflow_status("Succeeded") if to == "argo" else job_status("Complete")]
    assert send(to, "--wait", "--artifacts", "s3://pebr/runs") == 0
    assert len(cluster.kinds["workflows"] + cluster.kinds["jobs"]) == 1


@pytest.mark.parametrize(("gate", "code"), [("accuracy>=0.6", 0), ("accuracy>=0.7", 3)])
def test_argos_status_has_scores_and_the_model(cluster: Kubernetes, tmp_path: Path, gate: str, code: int) -> None:
    cluster.script = [{}, workflow_status("Running"), workflow_status("Succeeded")]
    page = tmp_path / "page.md"
    assert send("argo", "--gate", gate, "--publish", str(tmp_path / "published"), "--summary", str(page)) == code
    assert "| evaluate-ablation | skipped |" in page.read_text()
    assert "(0)" not in page.read_text()
    if code == 0:
        told = json.loads((tmp_path / "published" / "latest.json").read_text())
        assert told["model"] == "s3://models/pebr/run/merge-stage-2/output"
        assert told["scores"] == METRICS


@pytest.mark.parametrize("to", ["argo", "job"])
def test_a_failed_run_is_told_and_ends_with_1(cluster: Kubernetes, tmp_path: Path, to: str) -> None:
    cluster.script = [workflow_status("Failed") if to == "argo" else job_status("Failed")]
    page = tmp_path / "page.md"
    assert send(to, "--gate", "accuracy>=0", "--artifacts", "s3://pebr/runs", "--summary", str(page)) == 1
    assert ("child failed" if to == "argo" else "BackoffLimitExceeded") in page.read_text()


def test_a_job_runs_the_whole_dag_and_leaves_its_scores_in_the_pods_status(cluster: Kubernetes, tmp_path: Path) -> None:
    told = {"scores": {"evaluate-stage-2": METRICS}, "outputs": {"merge-stage-2": "merge-stage-2/0a1b/output"}}
    options = ["--artifacts", "s3://pebr/runs", "--image", "registry/pebr@sha256:" + "12" * 32, "--set", "seed=7"]
    assert send("job", *options) == 0
    (job,) = cluster.kinds["jobs"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry/pebr@sha256:" + "12" * 32
    assert {"--set=seed=7", f"--set=sft_epochs={TOY['sft_epochs']}", "--store", "s3://pebr/runs"} <= set(
        container["args"]
    )
    ended = {"state": {"terminated": {"exitCode": 0, "message": json.dumps(told)}}}
    labels = {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    pod = {"metadata": {"name": "pod", "labels": labels}, "spec": {"containers": []}}
    status = {"name": "run", "image": "x", "imageID": "x", "ready": False, "restartCount": 0, **ended}
    cluster.kinds["pods"].append(pod | {"status": {"phase": "Succeeded", "containerStatuses": [status]}})
    job["status"] = job_status("Complete")
    assert send("job", *options, "--gate", "clip>=0.7", "--publish", str(tmp_path)) == 0
    assert json.loads((tmp_path / "latest.json").read_text())["model"] == "s3://pebr/runs/merge-stage-2/0a1b/output"
    status["state"]["terminated"]["message"] = json.dumps(told)[:40]
    assert send("job", *options, "--gate", "clip>=0.7") == 4


def test_a_job_without_a_store_is_refused(cluster: Kubernetes, caplog: pytest.LogCaptureFixture) -> None:
    assert send("job") == 2
    assert "give --artifacts" in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--set", "processes=0"], "the Job's pod has none"),
        (["--pipeline", str(submit.COMPILED / "gpu" / "pebr_r1.yaml")], "remove --pipeline"),
    ],
)
def test_a_job_refuses_what_its_pod_does_not_have(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture, change: list[str], said: str
) -> None:
    assert send("job", "--artifacts", "s3://pebr/runs", "--image", "x@sha256:" + "12" * 32, *change) == 2
    assert said in caplog.text
    assert not cluster.requests


def test_a_kubeconfig_that_is_named_goes_before_the_pods_own_account(
    cluster: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "namespace").write_text("of-the-pod")
    monkeypatch.setattr("pipelines.targets.cluster.NAMESPACE", tmp_path / "namespace")
    assert send("argo") == 0
    assert cluster.requests[-1].endswith("/namespaces/team/workflows")


@pytest.mark.parametrize("fault", [401, 403, 404])
def test_a_refusal_ends_at_once_with_the_remedy(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture, fault: int
) -> None:
    cluster.faults = [fault]
    assert send("argo") == 4
    assert {401: "fix KUBECONFIG", 403: "bind the role", 404: "kubectl apply -k"}[fault] in caplog.text


def test_no_cluster_is_cannot_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert send("argo") == 4


def test_the_runner_leaves_what_a_job_reads(tmp_path: Path) -> None:
    """The file of --scores has the form that the Job target reads."""
    run = Run(Pipeline(submit.DEFAULT), {}, Artifacts(tmp_path / "artifacts"), tmp_path)
    for step in ("evaluate-stage-2", "merge-stage-2", "report"):
        run.statuses[step] = Status(step, step, state="done", key="0a1b")
        folder = run.artifacts.folder(step, "0a1b")
        folder.mkdir(parents=True)
        (folder / "metrics").write_text(json.dumps(METRICS))
    assert run.scores() == {
        "scores": {"evaluate-stage-2": METRICS},
        "outputs": {name: f"{name}/0a1b/output" for name in ("merge-stage-2", "evaluate-stage-2")},
    }
