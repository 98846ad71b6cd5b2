"""The metrics of a step: what is recorded, served and pushed."""

import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pebr.telemetry import metrics
from pebr.telemetry.history import History
from pebr.telemetry.logs import progress

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def step() -> Iterator[None]:
    """This process runs a step; afterwards it is none again."""
    metrics.identify("grpo", "perception", str(ROOT / "runs" / "out"))
    yield
    metrics._about = None
    metrics._exporter.cache_clear()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    monkeypatch.setenv("PEBR_METRICS_PORT", str(free))
    monkeypatch.setenv("PEBR_RUN", "tuesday")
    return free


def page(port: int, path: str = "metrics") -> str:
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10).read().decode()


def value(text: str, name: str, **labels: str) -> float:
    """The value of the one series with this name and these labels."""
    pattern = re.compile(rf"^{name}\{{(.*)\}} (\S+)$", re.MULTILINE)
    (found,) = [m[2] for m in pattern.finditer(text) if all(f'{k}="{v}"' in m[1] for k, v in labels.items())]
    return float(found)


def test_a_history_row_is_served_with_step_stage_and_run(port: int, tmp_path: Path) -> None:
    row = {"step": 3, "reward": 0.25, "reward/clip": 0.5, "reward_at_0/clip": 0.1, "kl": None, "note": "text"}
    History(tmp_path / "history").append(row | {"seconds_sampling": 2.0, "seconds_reward/clip": 0.5, "drift/kl": 1e-4})
    text = page(port)
    who = {"step": "grpo", "stage": "perception", "run": "tuesday"}
    assert value(text, "pebr_training_step", **who) == 3
    assert value(text, "pebr_reward_component", component="clip", **who) == 0.5
    assert value(text, "pebr_reward_zero_ratio", component="clip", **who) == 0.1
    assert value(text, "pebr_part_seconds_sum", part="sampling", **who) == 2.0
    assert value(text, "pebr_part_seconds_count", part="reward/clip", **who) == 1
    assert value(text, "pebr_drift_nats", measure="kl", **who) == 1e-4
    assert "pebr_kl_nats{" not in text
    assert "text" not in text


def test_progress_and_answers_are_counted(port: int) -> None:
    list(progress(range(5), 7, "filter a"))
    for tokens, reason in ((3, "stop"), (40, "length")):
        metrics.record_answer(tokens, reason)
    text = page(port)
    assert value(text, "pebr_items_done_total", activity="filter a") == 5
    assert value(text, "pebr_items_planned", activity="filter a") == 7
    assert value(text, "pebr_answer_tokens_bucket", le="16.0") == 1
    assert value(text, "pebr_answer_tokens_sum") == 43
    assert value(text, "pebr_answers_cut_off_total") == 1


def test_the_waiting_share_is_what_sampling_and_training_leave(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now)
    metrics.serve()
    now = 110.0
    seconds = {"seconds_sampling": 4.0, "seconds_training": 2.0, "seconds_rewards": 3.0}
    metrics.publish({"step": 1, **seconds})
    assert value(page(port), "pebr_waiting_ratio") == pytest.approx(0.4)
    now = 130.0
    metrics.publish({"step": 2, **seconds, "seconds_validation": 10.0})
    text = page(port)
    assert value(text, "pebr_waiting_ratio") == pytest.approx(0.2)
    assert value(text, "pebr_step_seconds_sum") == pytest.approx(30.0)


def test_counters_without_a_label_begin_at_zero(port: int) -> None:
    metrics.serve()
    assert value(page(port), "pebr_updates_refused_total", step="grpo") == 0


def test_health_is_told_beside_the_metrics(port: int) -> None:
    metrics.serve()
    assert page(port, "healthz") == "ok\n"
    assert value(page(port), "pebr_disk_free_bytes") <= value(page(port), "pebr_disk_size_bytes")


def test_no_port_is_opened_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEBR_METRICS_PORT", raising=False)
    metrics.publish({"step": 1})
    assert not metrics.recorded()


def test_only_the_first_rank_of_a_step_records(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    metrics.identify("grpo")
    assert not metrics.recorded()
    monkeypatch.delenv("RANK")
    metrics._about = None  # such as the runner, whose steps need the port
    metrics._exporter.cache_clear()
    assert not metrics.recorded()


@pytest.mark.parametrize("given", ["taken", "70000", "-1", "http", "80.5"])
def test_a_port_that_cannot_be_opened_is_a_warning_and_another_is_used(
    given: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        given = str(taken.getsockname()[1]) if given == "taken" else given
        monkeypatch.setenv("PEBR_METRICS_PORT", given)
        with caplog.at_level("INFO", "pebr"):
            metrics.publish({"step": 3})
    warning, info = caplog.records
    assert warning.levelname == "WARNING"
    assert f"PEBR_METRICS_PORT={given}" in warning.getMessage()
    assert value(page(info.args[0]), "pebr_training_step") == 3


@pytest.mark.parametrize("gateway", ["127.0.0.1:9", "gateway:port", "http://", "no host:9091", "127.0.0.1:no-http"])
def test_a_pushgateway_that_is_down_or_none_is_a_warning(
    gateway: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with suppress(OSError):  # nobody has come
                client, _ = server.accept()
                with client:
                    client.recv(100)
                    client.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=greet, daemon=True).start()
        gateway = gateway.replace("no-http", str(server.getsockname()[1]))
        monkeypatch.setenv("PEBR_PUSHGATEWAY", gateway)
        metrics.finish({"kept": 3.0})
    (warning,) = caplog.records
    assert f"PEBR_PUSHGATEWAY={gateway}" in warning.getMessage()


def test_store_transfers_are_recorded(port: int, tmp_path: Path) -> None:
    from pebr.store.opening import open_store

    (tmp_path / "file").write_bytes(b"12345")
    store = open_store(tmp_path / "store")
    store.put(tmp_path / "file", "key")
    store.get("key", tmp_path / "back")
    text = page(port)
    for operation in ("put", "get"):
        assert value(text, "pebr_store_bytes_total", operation=operation) == 5
        assert value(text, "pebr_store_seconds_count", operation=operation) == 1
