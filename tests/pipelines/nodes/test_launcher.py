"""Steps on two nodes through their launcher, on a cluster whose pods are processes without a common disk."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.clusters.launcher import nodes
from pipelines.clusters.placement import Placement
from tests.grpo.conftest import ROOT, Command, environment, finish, history
from tests.grpo.test_resume import digests
from tests.pipelines.nodes.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.s3]

SETTINGS = {"max_steps": 2, "zero_stage": 2, "keep_checkpoints": 2}


class Launchers:
    """Starts launchers of a command on a cluster, each in a pod of its own."""

    def __init__(self, cluster: Cluster, arguments: list[str], kind: str = "") -> None:
        self.cluster, self.arguments, self.count = cluster, arguments, 0
        self.told = json.dumps(nodes(Placement(nodes=2, nodes_as=kind)))

    def start(self) -> "subprocess.Popen[str]":
        self.count += 1
        pod = f"launcher-{self.count}"
        self.cluster.launcher(pod)
        variables = {"PEBR_NODES": self.told, "PEBR_POD": pod, "PEBR_RUN": "run-1"}
        command = [sys.executable, "-m", "pipelines.nodes", *self.arguments[2:]]
        return subprocess.Popen(
            command, cwd=ROOT, env={**environment(), **variables}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str]", seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def said(cluster: Cluster, text: str) -> bool:
    return any(text in line for pod in cluster.running() for line in pod.lines)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, s3_address: str, tmp_path: Path) -> str:
    """Where checkpoints go; the pods get the environment of this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'components'}{os.pathsep}{ROOT}")
    return f"s3://pebr/{tmp_path.name}"


@pytest.mark.timeout(900)
def test_grpo_on_two_nodes_trains_as_two_ranks_do_and_survives_a_lost_node_and_a_lost_launcher(
    cluster: Cluster, command: Command, place: str, tmp_path: Path
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    finish(command(whole, **SETTINGS, processes=2))
    launchers = Launchers(cluster, command(parted, **SETTINGS, checkpoints=place))

    first = launchers.start()
    wait_for(lambda: said(cluster, "checkpoint of step 2 written"), first)
    next(pod for pod in cluster.running() if pod.index == 1).kill()
    shown, told = first.communicate(timeout=200)
    assert first.returncode == 137, told + shown
    assert "node 1 (" in told
    assert "ended with exit code 137" in told
    assert "step 1 of 2" in shown  # the log of node 0
    assert not cluster.jobs

    second = launchers.start()
    wait_for(lambda: said(cluster, "GRPO") or len(cluster.running()) == 2, second)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    assert len(cluster.jobs) == 1
    third = launchers.start()
    wait_for(lambda: third.poll() is not None or len(cluster.created) > 2, third)
    assert third.poll() is not None
    shown, told = third.communicate()
    assert third.returncode == 0, told + shown
    assert "found, going on with it" in told
    assert len(cluster.created) == 2
    assert history(parted) == history(whole)
    assert digests(parted) == digests(whole)
    assert json.loads((parted / "metrics.json").read_text())["steps"] == 2
    assert not cluster.jobs
