"""Trackers get everything while they work, and disturb nothing while they do not."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pebr.telemetry import metrics, tracking
from pebr.telemetry.history import History
from pebr.telemetry.trackers import About, RefusedError, Row, UnreachableError

ABOUT = About("grpo", "reasoning", "tuesday", {"seed": 3})


class Memory:
    """A tracker in this process; `faults` are raised by its calls, one after the other, None for none."""

    name = "memory"

    def __init__(self, faults: Sequence[Exception | None] = (), seconds: float = 0.0) -> None:
        self.faults, self.seconds = list(faults), seconds
        self.about: About | None = None
        self.rows: list[Row] = []
        self.ended: list[object] = []

    def _answer(self) -> None:
        time.sleep(self.seconds)
        if self.faults and (fault := self.faults.pop(0)):
            raise fault

    def start(self, about: About) -> None:
        self._answer()
        self.about = about

    def log(self, rows: Sequence[Row]) -> None:
        self._answer()
        self.rows += rows

    def end(self, results: Mapping[str, float] | None, files: Sequence[Path]) -> None:
        self._answer()
        self.ended += [results, list(files)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short waits, and a step that counts what is dropped."""
    monkeypatch.setattr(tracking, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(tracking, "IMPATIENCE", 0.3)
    monkeypatch.setenv("PEBR_METRICS_PORT", "0")
    metrics.identify("grpo")
    yield
    metrics._about = None
    metrics._exporter.cache_clear()
    tracking.finish(None)


def rows(count: int) -> list[Row]:
    return [Row(step, step * 1000, {"reward": step / 10}) for step in range(1, count + 1)]


def dropped() -> float:
    exporter = metrics._exporter()
    assert exporter
    value = exporter.registry.get_sample_value(
        "pebr_tracking_dropped_total", {"step": "grpo", "stage": "", "run": "", "tracker": "memory"}
    )
    assert value is not None
    return value


def sent(tracker: Memory, count: int, results: Mapping[str, float] | None = None) -> None:
    """Send rows, then the end."""
    sender = tracking.Sender(tracker, ABOUT)
    for row in rows(count):
        sender.put(row)
    sender.close(results, [Path("report.html")])


def test_rows_arrive_in_order_and_then_the_end() -> None:
    tracker = Memory()
    sent(tracker, 250, {"accuracy": 0.5})
    assert tracker.about == ABOUT
    assert tracker.rows == rows(250)
    assert tracker.ended == [{"accuracy": 0.5}, [Path("report.html")]]
    assert dropped() == 0


def test_what_fails_for_a_while_is_sent_again() -> None:
    away = UnreachableError("503")
    tracker = Memory([away, None, away, away])
    sent(tracker, 3)
    assert tracker.rows == rows(3)
    assert tracker.ended == [None, [Path("report.html")]]
    assert dropped() == 0


def test_what_is_refused_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Memory([None, RefusedError("400 no such run")])
    sender = tracking.Sender(tracker, ABOUT)
    sender.put(rows(1)[0])
    while dropped() == 0:
        time.sleep(0.01)
    sender.put(rows(2)[1])
    sender.close({}, [])
    assert tracker.rows == rows(2)[1:]
    assert dropped() == 1
    assert "400 no such run" in caplog.text


@pytest.mark.parametrize("fault", [UnreachableError("refused"), RefusedError("401"), OSError("disk full")])
def test_a_tracker_that_never_works_costs_a_moment_and_is_counted(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    sent(Memory([fault] * 1000), 5)
    assert time.monotonic() - began < 2
    assert dropped() == 6
    assert "6 of the step's rows and results could not be sent" in caplog.text


@pytest.mark.parametrize("body", ["<html>Welcome</html>", "[]", "{}", '{"run": {"info": {}}}'])
def test_a_server_that_is_no_mlflow_is_a_warning(body: str, caplog: pytest.LogCaptureFixture) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (tracker,) = tracking._trackers({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.server_port}"})
        sender = tracking.Sender(tracker, ABOUT)
        sender.put(rows(1)[0])
        sender.close({}, [])
        server.shutdown()
    assert "nothing is sent" in caplog.text
    assert "check MLFLOW_TRACKING_URI" in caplog.text
    assert "2 of the step's rows and results could not be sent" in caplog.text


def test_a_step_does_not_wait_for_a_slow_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 0.2)
    began = time.monotonic()
    sent(Memory(seconds=30), 1000)
    assert time.monotonic() - began < 2
    assert dropped() == 1001


def test_of_too_many_rows_that_wait_the_oldest_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "ROWS_KEPT", 10)
    tracker = Memory([UnreachableError("down")] * 3)
    sent(tracker, 500)
    assert tracker.rows[-10:] == rows(500)[-10:]
    assert len(tracker.rows) + dropped() == 500


def test_nothing_is_started_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "PEBR_TENSORBOARD", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    tracking.identify("grpo", "reasoning", {})
    History(tmp_path / "history").append({"step": 1, "loss": 0.5})
    assert tracking._senders == []


def test_a_package_that_is_missing_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert tracking._trackers({"PEBR_TENSORBOARD": "logs", "WANDB_PROJECT": "pebr", "MLFLOW_RUN_ID": "1"}) == []
    assert "pip install tensorboard" in caplog.text
    assert "pip install wandb" in caplog.text
    assert "MLFLOW_TRACKING_URI=: give an http(s) address" in caplog.text


def test_ranks_and_launchers_send_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    tracking.identify("grpo", "", {})
    tracking.finish(None)  # a launcher: no row and no result
    assert tracking._senders is None
    monkeypatch.setenv("RANK", "1")
    tracking.identify("grpo", "", {})
    tracking.publish({"step": 1, "loss": 0.5})
    assert tracking._senders is None
