"""A job on a cluster, followed to its end: its log, who failed, what waits, and its deletion."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pebr.errors import Preempted
from pipelines.nodes import following
from pipelines.nodes.jobs import JOB, TRAIN_JOB, Kind
from tests.pipelines.nodes.cluster import Cluster
from tests.pipelines.nodes.conftest import Started

FOREVER = "import time; print('started', flush=True); time.sleep(3600)"
SAVES = (
    "import signal, sys, time\n"
    "def stop(*_):\n    print('checkpoint', flush=True); sys.exit(75)\n"
    "signal.signal(signal.SIGTERM, stop); print('started', flush=True)\n"
    "while True: time.sleep(0.1)"
)


def fails(code: int, message: str) -> str:
    return f"import sys; print('12:00:00 ERROR {message}', flush=True); sys.exit({code})"


def when(condition: Callable[[], object], action: Callable[[], object], seconds: float = 30.0) -> threading.Thread:
    """Do something as soon as a condition holds."""

    def wait() -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_node_0s_log_is_shown_once_also_over_a_cut_connection(
    cluster: Cluster, kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "import time\nfor i in range(20): print('line', i, flush=True); time.sleep(0.02)"
    cluster.scripts = {0: said, 1: "print('other')"}
    cluster.cut_log = True
    assert Started(kind, tmp_path).following.to_the_end(threading.Event()) == 0
    assert not cluster.cut_log
    assert capsys.readouterr().out == "".join(f"line {i}\n" for i in range(20))


@pytest.mark.parametrize(("codes", "expected"), [((1, 7), 7), ((1, 2), 2), ((75, 75), 75), ((0, 3), 3)], ids=str)
def test_a_node_that_fails_ends_the_job_with_its_code_and_error(
    cluster: Cluster,
    kind: Kind,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    codes: tuple[int, int],
    expected: int,
) -> None:
    """Node 0 ends a second after node 1, as a node does that misses another one."""
    cluster.scripts = {0: "import time; time.sleep(1.5)\n" + fails(codes[0], "lost"), 1: fails(codes[1], "no rows")}
    assert Started(kind, tmp_path).following.to_the_end(threading.Event()) == expected
    assert f"ended with exit code {codes[1]}: no rows" in caplog.text
    assert not cluster.jobs
    assert not cluster.pods


def test_an_evicted_node_is_a_preemption(cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cluster.scripts = {0: FOREVER, 1: FOREVER}
    started = Started(JOB, tmp_path)

    def evict() -> None:
        pod = cluster.running()[1]
        pod.disrupted = True
        pod.kill()

    when(lambda: len(cluster.running()) == 2, evict)
    assert started.following.to_the_end(threading.Event()) == 75
    assert "was ended by the cluster" in caplog.text


def test_sigterm_gives_the_nodes_time_and_deletes_the_job(
    cluster: Cluster, kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.scripts = {0: SAVES, 1: SAVES}
    started, stop = Started(kind, tmp_path), threading.Event()
    when(lambda: all(pod.lines for pod in cluster.running()) and len(cluster.running()) == 2, stop.set)
    with pytest.raises(Preempted, match="the nodes have ended"):
        started.following.to_the_end(stop)
    assert capsys.readouterr().out == "started\ncheckpoint\n"
    assert not cluster.jobs


def test_a_node_that_fits_nowhere_is_told_with_the_schedulers_words(
    cluster: Cluster, kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cluster.scripts, cluster.room = {0: "pass", 1: "pass"}, 0
    started = Started(kind, tmp_path)
    when(lambda: "Insufficient gpu" in caplog.text, lambda: setattr(cluster, "room", 2))
    assert started.following.to_the_end(threading.Event()) == 0
    assert "has waited" in caplog.text
    assert "Unschedulable: 0/2 nodes are available" in caplog.text


def test_a_job_whose_last_owner_is_deleted_goes_with_its_pods(
    cluster: Cluster, kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a workflow is deleted; the launcher may still be there for a moment."""
    cluster.scripts = {0: FOREVER, 1: FOREVER}
    started = Started(kind, tmp_path)
    when(lambda: len(cluster.running()) == 2, lambda: cluster.forget("launcher"))
    assert started.following.to_the_end(threading.Event()) != 0
    assert not cluster.jobs
    assert not cluster.pods


def test_a_container_that_was_started_again_counts_as_failed(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.pipelines.nodes.cluster.RESTART", 0.0)
    monkeypatch.setattr(following, "LINGER", 0.5)
    cluster.scripts = {0: FOREVER, 1: "import time; time.sleep(0.3); raise SystemExit(9)"}
    assert Started(TRAIN_JOB, tmp_path).following.to_the_end(threading.Event()) == 9


def test_the_launcher_gives_signs_of_life(cluster: Cluster, tmp_path: Path) -> None:
    cluster.scripts = {0: "pass", 1: "pass"}
    started = Started(JOB, tmp_path)
    assert started.exchange.silence() == float("inf")
    assert started.following.to_the_end(threading.Event()) == 0
    assert started.exchange.silence() < 60
