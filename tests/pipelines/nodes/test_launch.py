"""What a launcher makes of its command and its environment, before it starts anything."""

import json
import threading
from pathlib import Path

import pytest

from pebr.errors import InputError
from pebr.sft.settings import Settings
from pebr.step.command import parse
from pipelines.clusters.launcher import nodes
from pipelines.nodes import launcher
from pipelines.nodes.jobs import JOB, TRAIN_JOB
from pipelines.nodes.launcher import Launch
from tests.pipelines.nodes.cluster import Cluster
from tests.pipelines.nodes.conftest import PLACEMENT
from tests.s3_server import environment


@pytest.fixture
def flags(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The flags of a warm-up, in a pod that a cluster file made a launcher."""
    for name, value in environment("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PEBR_NODES", json.dumps(nodes(PLACEMENT)))
    monkeypatch.setenv("PEBR_POD", "launcher")
    monkeypatch.setenv("PEBR_RUN", "run-1")
    for name in ("model", "dataset"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    paths = {name: str(tmp_path / name) for name in ("model", "dataset", "output", "history", "metrics")}
    return {**paths, "checkpoints": "s3://pebr/checkpoints/", "learning-rate": "1e-05"}


def launch(flags: dict[str, str]) -> Launch:
    return Launch("pebr.sft", [word for name, value in flags.items() for word in (f"--{name}", value)])


def test_a_launcher_that_is_started_again_has_the_same_name_and_another_run_another(
    flags: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = [launch(flags).name, launch(flags).name, launch(flags | {"learning-rate": "2e-05"}).name]
    (tmp_path / "dataset" / "file").write_text("other rows")
    names.append(launch(flags).name)
    monkeypatch.setenv("PEBR_RUN", "run-2")
    names.append(launch(flags).name)
    monkeypatch.setenv("PEBR_NODES", json.dumps(nodes(PLACEMENT) | {"count": 3}))
    names.append(launch(flags).name)
    assert names[0] == names[1]
    assert len(set(names)) == 5
    assert names[0].startswith("pebr-sft-")


def test_a_node_gets_the_steps_settings_with_its_own_paths(flags: dict[str, str], cluster: Cluster) -> None:
    made = launch(flags)
    assert made.exchange.location == f"s3://pebr/checkpoints/{made.name}-exchange"
    container = made._container(made._pod())
    assert container.image.startswith("registry.example/pebr@sha256:7")
    assert container.variables["PEBR_RUN"] == "run-1"
    words = container.command[container.command.index("--") + 1 :]
    assert words[0] == "pebr.sft"
    settings = parse(Settings, words[1:])
    assert settings.learning_rate == 1e-05
    assert (settings.model, settings.output) == ("/tmp/inputs/model", "/tmp/outputs/output")
    assert settings.checkpoints == flags["checkpoints"]


def test_kubeflow_gets_a_train_job_and_argo_a_job_unless_the_cluster_file_says_so(
    flags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch(flags).jobs.kind == JOB
    assert launch(flags | {"executor-input": "{}"}).jobs.kind == TRAIN_JOB
    monkeypatch.setenv("PEBR_NODES", json.dumps(nodes(PLACEMENT) | {"as": "trainjob"}))
    assert launch(flags).jobs.kind == TRAIN_JOB


@pytest.mark.parametrize("checkpoints", ["", "/checkpoints", "file:///checkpoints"])
def test_nodes_that_could_exchange_nothing_are_refused(flags: dict[str, str], checkpoints: str) -> None:
    with pytest.raises(InputError, match="the nodes share no disk: give checkpoints=s3://"):
        launch(flags | {"checkpoints": checkpoints})


def test_outside_of_a_cluster_the_launcher_says_what_to_do(
    flags: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    monkeypatch.setattr(launcher, "configure", lambda: None)
    monkeypatch.setattr(launcher.signal, "signal", lambda *_: None)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert launcher.main(["pebr.sft", *words]) == 2
    assert "to run without a cluster, compile the pipeline without nodes" in caplog.text
    monkeypatch.delenv("PEBR_NODES")
    assert launcher.main(["pebr.sft", *words]) == 2
    assert "PEBR_NODES: not set by a cluster file" in caplog.text


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "bind the role pebr-launcher"), (404, "is Kubeflow Trainer installed?"), (422, "the manifest is invalid")],
)
def test_a_refused_job_is_a_wrong_input(flags: dict[str, str], cluster: Cluster, status: int, said: str) -> None:
    cluster.refusing = [(status, "the manifest is invalid")]
    with pytest.raises(InputError, match=said):
        launch(flags)._start(threading.Event())
