"""Waiting for a run: why a step does not start, which step failed and how, a run that is deleted, Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines import submit
from tests.pipelines.servers import Kubeflow, Kubernetes, serving

ROOT = Path(__file__).parents[3]
NO_IMAGE = 'ErrImagePull: failed to pull and unpack image "registry/pebr:1": not found'
NO_NODE = "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def send(to: str, *more: str) -> int:
    place = ["--artifacts", "s3://pebr/runs"] if to == "job" else []
    return submit.main(["--to", to, "--poll", "0.001", "--wait", *place, *more])


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def workflow(phase: str, *attempts: tuple[str, str, str], waited: float = 0.0) -> dict[str, Any]:
    """A workflow's status as Argo 4.0 writes it: a node per step that says Running or Failed, and its attempts' nodes.

    Each attempt is step, phase, message.
    """
    nodes: dict[str, dict[str, Any]] = {"root": {"displayName": "pebr-r1-toy", "type": "DAG", "phase": phase}}
    for step, ended, message in attempts:
        number = sum(node["displayName"].startswith(f"{step}(") for node in nodes.values())
        above = ended if ended in ("Failed", "Error", "Succeeded") else "Running"
        nodes[step] = {"displayName": step, "type": "Retry", "phase": above, "startedAt": ago(waited)}
        attempt = {"displayName": f"{step}({number})", "type": "Pod", "phase": ended, "message": message}
        nodes[f"{step}-{number}"] = attempt | {"id": f"{step}-{number}", "startedAt": ago(waited)}
    return {"phase": phase, "nodes": nodes}  # 4.0 gives a failed workflow no message


def pod(name: str, labels: dict[str, str], node: str = "", **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels, "creationTimestamp": ago(300)}
    metadata["annotations"] = {"workflows.argoproj.io/node-id": node}
    return {"metadata": metadata, "spec": {"containers": []}, "status": status}


def container(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "image": "x", "imageID": "x", "ready": False, "restartCount": 0, "state": state}


def job_pods(cluster: Kubernetes, *pods: dict[str, Any]) -> None:
    """Start the Job of the toy recipe and give it these pods."""
    assert submit.main(["--to", "job", "--artifacts", "s3://pebr/runs"]) == 0
    (job,) = cluster.kinds["jobs"]
    for made in pods:
        made["metadata"]["labels"] = {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    cluster.kinds["pods"] += pods


@pytest.mark.parametrize("reason", [NO_IMAGE, NO_NODE, 'pods "x" is forbidden: exceeded quota: pebr'])
def test_argo_says_why_a_pod_does_not_start_and_how_long(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    caplog.set_level("INFO")
    pending = workflow("Running", ("sft-warm-up", "Pending", reason), waited=125)
    cluster.script = [pending, pending, workflow("Succeeded", ("sft-warm-up", "Succeeded", ""))]
    assert send("argo") == 0
    (line,) = [r.getMessage() for r in caplog.records if "has waited" in r.getMessage()]
    assert re.search(rf"sft-warm-up +has waited 2 min \d+ s to start: {re.escape(reason)}", line)
    assert "sft-warm-up              pending" in caplog.text
    assert "sft-warm-up              running" not in caplog.text


def test_a_workflow_that_no_controller_takes_says_so(cluster: Kubernetes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    cluster.script = [{}, workflow("Succeeded")]
    assert send("argo") == 0
    assert "Argo has not begun it" in caplog.text


def test_a_job_says_why_its_pod_does_not_start(cluster: Kubernetes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_NODE[15:]}
    waiting = {"reason": "ErrImagePull", "message": NO_IMAGE[14:]}
    made = pod("run-1", {}, phase="Pending", conditions=[unscheduled])
    job_pods(cluster, made)
    cluster.script = [{}, {"conditions": [{"type": "Complete", "status": "True"}]}]
    assert send("job") == 0
    assert re.search(rf"has waited 5 min \d+ s to start: {re.escape(NO_NODE)}", caplog.text)
    scheduled = {"type": "PodScheduled", "status": "True"}
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "ContainersNotReady",
        "message": "containers with unready ...",
    }
    made["status"] = {"phase": "Pending", "conditions": [ready, scheduled]}
    made["status"]["initContainerStatuses"] = [container("wait-for-s3", terminated={"exitCode": 0})]
    made["status"]["containerStatuses"] = [container("run", waiting=waiting)]
    cluster.kinds["jobs"][0]["status"] = {}
    cluster.script = [{}, {"conditions": [{"type": "Complete", "status": "True"}]}]
    assert send("job") == 0
    assert NO_IMAGE in caplog.text
    assert "unready" not in caplog.text


def test_a_job_whose_pod_cannot_be_created_says_why(cluster: Kubernetes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    job_pods(cluster)
    name = cluster.kinds["jobs"][0]["metadata"]["name"]
    refused = f'Error creating: pods "{name}-x" is forbidden: exceeded quota: pebr, requested: limits.memory=12Gi'
    cluster.kinds["events"].append(
        {"metadata": {}, "involvedObject": {"kind": "Job", "name": name}, "reason": "FailedCreate", "message": refused}
    )
    cluster.script = [{}, {"conditions": [{"type": "Complete", "status": "True"}]}]
    assert send("job") == 0
    assert refused in caplog.text


def test_kubeflow_says_that_a_run_has_not_begun(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    server = Kubeflow()
    server.script = ["PENDING", "SUCCEEDED"]
    with serving(server):
        assert send("kfp", "--host", server.address) == 0
    assert "the run" in caplog.text
    assert "kubectl --namespace kubeflow get pods --selector pipeline/runid=run-0" in caplog.text


@pytest.mark.parametrize("to", ["argo", "job", "kfp"])
def test_a_step_that_waits_longer_than_the_start_timeout_ends_the_waiting(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture, to: str
) -> None:
    cluster.script = [workflow("Running", ("sft-warm-up", "Pending", NO_NODE), waited=90)] * 3
    server = Kubeflow()
    server.script = ["PENDING"]
    with serving(server):
        if to == "job":
            cluster.script = [{}] * 3
            job_pods(cluster, pod("run-1", {}, phase="Pending"))
        more = ["--host", server.address] if to == "kfp" else []
        assert send(to, "--start-timeout", "60", *more) == 4
    assert "--start-timeout is 1 min 0 s" in caplog.text
    assert "The run is not stopped" in caplog.text


def test_a_step_that_waits_for_another_steps_gpus_may_wait(cluster: Kubernetes) -> None:
    other = ("rollout", "Running", "")
    waiting = workflow("Running", ("sft-warm-up", "Pending", NO_NODE), other, waited=90)
    cluster.script = [waiting, waiting, workflow("Succeeded")]
    assert send("argo", "--start-timeout", "60") == 0


LOG = """10:00:01 INFO pebr.sft: 9 rows
10:00:02 ERROR [rank 3] /tmp/inputs/dataset: no rows: its folder rejected/ has the reasons
10:00:02 INFO bye
"""


def test_a_failed_workflow_names_the_step_its_exit_code_its_last_error_and_its_log(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    code, killed = "main: Error (exit code 2)", "main: OOMKilled (exit code 137)"
    cluster.script = [
        workflow(
            "Failed", ("rollout", "Failed", killed), ("sft-warm-up", "Error", killed), ("sft-warm-up", "Failed", code)
        )
    ] * 2
    assert submit.main(["--to", "argo"]) == 0
    name = cluster.kinds["workflows"][0]["metadata"]["name"]
    labels = {"workflows.argoproj.io/workflow": name}
    for number, exit_code in enumerate((137, 2)):
        ended = container("main", terminated={"exitCode": exit_code, "reason": "Error"})
        made = pod(f"pod-{number}", labels, f"sft-warm-up-{number}", phase="Failed", containerStatuses=[ended])
        cluster.kinds["pods"].append(made)
    cluster.logs = {"pod-0": "10:00:00 ERROR of the first attempt\n", "pod-1": LOG}
    page = tmp_path / "page.md"
    assert send("argo", "--summary", str(page)) == 1
    error = "/tmp/inputs/dataset: no rows: its folder rejected/ has the reasons"
    command = "kubectl --namespace team logs pod-1 --container main"
    assert f"sft-warm-up failed, exit code 2: {error}; its log: {command}\n" in caplog.text
    gone = f"kubectl --namespace team get workflow {name} --output yaml"
    assert f"rollout failed, exit code 137: {killed}; its log: {gone}\n" in caplog.text
    assert f"**sft-warm-up** failed (exit code 2): {error}" in page.read_text()
    assert command in page.read_text()
    assert "first attempt" not in caplog.text


def test_a_traceback_ends_with_the_error(cluster: Kubernetes, caplog: pytest.LogCaptureFixture) -> None:
    job_pods(
        cluster, pod("run-1", {}, phase="Failed", containerStatuses=[container("run", terminated={"exitCode": 1})])
    )
    cluster.logs = {"run-1": 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: no 7\n\n'}
    cluster.script = [{"conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimit"}]}] * 2
    assert send("job") == 1
    assert "run-1 failed, exit code 1: ValueError: no 7; its log" in caplog.text


def test_a_step_that_never_had_a_pod_has_the_message_of_its_node(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    node = {"displayName": "sft-warm-up", "type": "Retry", "phase": "Error", "message": "no such template"}
    cluster.script = [{"phase": "Error", "nodes": {"a": node}}] * 2
    assert send("argo") == 1
    assert "sft-warm-up failed: no such template; its log" in caplog.text


def test_a_failed_job_names_the_last_error_of_its_last_pod(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    ended = container("run", terminated={"exitCode": 2})
    job_pods(cluster, pod("run-1", {}, phase="Failed", containerStatuses=[ended]))
    cluster.logs = {"run-1": LOG}
    cluster.script = [{"conditions": [{"type": "Failed", "status": "True", "message": "PodFailurePolicy"}]}] * 2
    assert send("job") == 1
    assert "run-1 failed, exit code 2: /tmp/inputs/dataset: no rows" in caplog.text
    assert "kubectl --namespace team logs run-1 --container run" in caplog.text


def test_a_failed_kubeflow_run_names_the_step_and_its_log(caplog: pytest.LogCaptureFixture) -> None:
    server = Kubeflow()
    server.script = ["FAILED"]
    with serving(server):
        assert send("kfp", "--host", server.address) == 1
    assert "evaluate-stage-2 failed: no message" in caplog.text
    assert "kubectl --namespace kubeflow logs pebr-r1-x-system-container-impl-1 --container main" in caplog.text


@pytest.mark.parametrize("to", ["argo", "job", "kfp"])
def test_a_run_that_is_deleted_while_it_is_waited_for_says_so(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture, tmp_path: Path, to: str
) -> None:
    caplog.set_level("INFO")
    cluster.script = [workflow("Running", ("rollout", "Running", "")) if to == "argo" else {}, None]
    server = Kubeflow()
    server.script = ["RUNNING", "GONE"]
    page = tmp_path / "page.md"
    with serving(server):
        more = ["--host", server.address] if to == "kfp" else []
        assert send(to, "--summary", str(page), *more) == 1
    assert "was deleted, while it was waited for" in page.read_text()
    assert "fix --host" not in caplog.text


def test_ctrl_c_ends_the_waiting_in_one_line_and_not_the_run(cluster: Kubernetes, tmp_path: Path) -> None:
    running = workflow("Running", ("rollout", "Running", ""))
    cluster.script = [running] * 1000
    command = [sys.executable, "-m", "pipelines.submit", "--to", "argo", "--wait", "--poll", "0.2"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=os.environ)
        while "rollout" not in (tmp_path / "log").read_text():
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    (job,) = cluster.kinds["workflows"]
    name = job["metadata"]["name"]
    *_, last = (tmp_path / "log").read_text().splitlines()
    assert last == (
        f"run {name} goes on (kubectl --namespace team get workflow {name}): the same command waits for it again"
    )
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "My_Run"], "--name My_Run: give at most 63"),
        (["--name", "a" * 64], "give at most 63"),
        (["--name=-a"], "give at most 63"),
        (["--image", "Registry/Pebr:1"], "not an image's name"),
        (["--image", "pebr@sha256:12"], "not an image's name"),
        (["--image", "pebr:1 "], "not an image's name"),
        (["--summary", "/nowhere/page.md"], "/nowhere/page.md: No such file or directory"),
        (["--summary", "/tmp"], "/tmp: Is a directory"),
        (["--publish", "gs://bucket"], "unknown scheme 'gs'"),
        (["--publish", "s3://B"], "s3://B"),
        (["--publish", __file__], "this is a file"),
    ],
)
@pytest.mark.parametrize("to", ["argo", "job"])
def test_what_is_malformed_is_refused_before_anything_is_submitted(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture, to: str, options: list[str], said: str
) -> None:
    assert send(to, *options) == 2
    assert said in caplog.text
    assert not cluster.requests


def test_a_broken_record_of_what_was_published_is_found_before_the_run(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "latest.json").write_text(json.dumps({"scores": []}))
    assert send("argo", "--publish", str(tmp_path)) == 2
    assert "it names no scores" in caplog.text
    assert not cluster.requests
