"""MLflow's own server gets rows, parameters, results and files, and gives them back."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pebr.telemetry import tracking
from tests.telemetry.fetch_mlflow import MLFLOW

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a database and a folder of its own."""
    program = str(MLFLOW) if MLFLOW.exists() else shutil.which("mlflow")
    if not program:
        message = "needs MLflow: python tests/telemetry/fetch_mlflow.py"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{folder}/db", "--artifacts-destination", str(folder / "files")]
    command = [program, "server", "--port", str(port), "--workers", "1", *store]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            time.sleep(0.1)
            try:
                if httpx.get(f"{address}/health", timeout=5).is_success:
                    break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "log").read_text()
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def asked(server: str, what: str, **content: Any) -> Any:
    answer = httpx.post(f"{server}/api/2.0/mlflow/{what}", json=content, timeout=60)
    answer.raise_for_status()
    return answer.json()


def curve(server: str, run: str, name: str) -> list[tuple[int, float]]:
    found = httpx.get(
        f"{server}/api/2.0/mlflow/metrics/get-history", params={"run_id": run, "metric_key": name}, timeout=60
    ).json()
    return [(point.get("step", 0), point["value"]) for point in found["metrics"]]


def track(step: str, stage: str, parameters: dict[str, object], rows: int, files: list[Path]) -> None:
    """A step with so many training steps."""
    tracking.identify(step, stage, parameters)
    for number in range(1, rows + 1):
        tracking.publish({"step": number, "reward": number / 100, "reward/a=b": 1.0, "kl": None, "note": "text"})
    tracking.finish({"accuracy": 0.625}, files)


@pytest.mark.slow
def test_a_step_makes_a_run_with_all_it_knows(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("PEBR_RUN", "tuesday")
    monkeypatch.setattr(tracking, "PATIENCE", 60.0)
    (tmp_path / "report.html").write_text("<p>fine</p>")
    parameters: dict[str, object] = {f"setting_{i}": "x" * 600 for i in range(120)}
    track("grpo", "reasoning", parameters, 600, [tmp_path / "report.html"])
    assert caplog.text == ""

    experiment = httpx.get(
        f"{server}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "pebr"}
    ).json()["experiment"]["experiment_id"]
    (run,) = asked(server, "runs/search", experiment_ids=[experiment])["runs"]
    info, data = run["info"], run["data"]
    assert (info["run_name"], info["status"]) == ("tuesday grpo reasoning", "FINISHED")
    assert len(data["params"]) == 120
    assert {m["key"]: m["value"] for m in data["metrics"]} == {
        "reward": 6.0, "reward/a_b": 1.0, "final/accuracy": 0.625,
    }  # fmt: skip
    assert curve(server, info["run_id"], "reward") == [(number, number / 100) for number in range(1, 601)]
    path = info["artifact_uri"].removeprefix("mlflow-artifacts:").strip("/")
    stored = httpx.get(f"{server}/api/2.0/mlflow-artifacts/artifacts/{path}/report.html", timeout=60)
    assert stored.text == "<p>fine</p>"


@pytest.mark.slow
def test_steps_share_a_run_that_is_given(
    server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = asked(server, "experiments/create", name="shared")["experiment_id"]
    run = asked(server, "runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_RUN_ID", run)
    monkeypatch.setattr(tracking, "PATIENCE", 60.0)
    track("sft", "", {"seed": 1}, 2, [])
    track("grpo", "perception", {"seed": 2}, 3, [])
    assert caplog.text == ""
    found = httpx.get(f"{server}/api/2.0/mlflow/runs/get", params={"run_id": run}, timeout=60).json()["run"]
    assert found["info"]["status"] == "RUNNING"  # its owner ends it
    assert {p["key"]: p["value"] for p in found["data"]["params"]} == {"sft/seed": "1", "grpo/perception/seed": "2"}
    assert curve(server, run, "sft/reward") == [(1, 0.01), (2, 0.02)]
    assert len(curve(server, run, "grpo/perception/reward")) == 3
    track("sft", "", {"seed": 5}, 1, [])  # MLflow changes no parameter, so it refuses this one
    assert "the run keeps the parameters that it has" in caplog.text
    assert len(curve(server, run, "sft/reward")) == 3


def test_no_code_of_mlflow_is_needed() -> None:
    code = "import sys; import pebr.telemetry.mlflow; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
