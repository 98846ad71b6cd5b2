"""An earlier job and its pods: the next launcher waits until they are gone, and says what is left where."""

import logging
import threading
import time
from pathlib import Path

import pytest

from pebr.errors import Preempted
from pipelines.nodes import removal
from pipelines.nodes.jobs import JOB
from pipelines.nodes.removal import job_to_follow
from pipelines.targets import TargetError
from tests.pipelines.nodes.cluster import Cluster
from tests.pipelines.nodes.conftest import Started
from tests.pipelines.nodes.test_following import FOREVER, SAVES


def started(cluster: Cluster, folder: Path, script: str) -> Started:
    """A job whose nodes run."""
    cluster.scripts = {0: script, 1: script}
    made = Started(JOB, folder)
    deadline = time.monotonic() + 30
    while len([pod for pod in cluster.running() if pod.lines]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return made


def test_a_pod_on_a_lost_machine_is_named_with_its_remedy_and_not_waited_for_without_end(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    made = started(cluster, tmp_path, FOREVER)
    (lost,) = (pod for pod in cluster.running() if pod.index == 1)
    lost.lost = True
    made.jobs.delete()
    while len(cluster.pods) > 1:
        time.sleep(0.02)
    monkeypatch.setattr(removal, "REMOVAL", 0.5)
    remedy = f"{lost.name} on machine-1 .*kubectl delete pod {lost.name} --force --grace-period=0 --namespace team"
    with pytest.raises(TargetError, match=f"Job pebr-step-1 of an earlier attempt is still not deleted .*{remedy}"):
        job_to_follow(made.jobs, threading.Event())
    told = [record.getMessage() for record in caplog.records if "is being deleted" in record.getMessage()]
    assert len(told) == 1
    assert "on machine-1" in told[0]
    caplog.clear()
    monkeypatch.setattr(removal, "REMIND", 0.2)
    with pytest.raises(TargetError):
        job_to_follow(made.jobs, threading.Event())
    assert caplog.text.count("is being deleted") in (2, 3)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Preempted):
        job_to_follow(made.jobs, stop)


def test_pods_that_outlive_their_job_end_before_the_next_one_is_created(cluster: Cluster, tmp_path: Path) -> None:
    made = started(cluster, tmp_path, SAVES.replace("sys.exit", "time.sleep(0.5); sys.exit"))
    cluster.vanish("pebr-step-1")
    assert made.jobs.get() is None
    assert len(made.jobs.pods()) == 2
    assert job_to_follow(made.jobs, threading.Event()) is None
    assert not cluster.pods


def test_the_exits_of_an_earlier_jobs_pods_are_not_those_of_the_job(cluster: Cluster, tmp_path: Path) -> None:
    started(cluster, tmp_path, SAVES)
    old = list(cluster.pods.values())
    cluster.vanish("pebr-step-1")
    cluster.orphans.clear()  # so slowly that the next job has ended before
    cluster.scripts = {0: "import time; time.sleep(1)", 1: ""}
    cluster.scripts[1] = cluster.scripts[0]
    again = Started(JOB, tmp_path)
    job = job_to_follow(again.jobs, threading.Event())
    assert job is not None
    assert not {pod.metadata.name for pod in again.jobs.pods(job)} & {pod.name for pod in old}
    assert again.following.to_the_end(threading.Event()) == 0
