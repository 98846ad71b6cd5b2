"""Prometheus scrapes the numbers of the history."""

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pebr.telemetry import metrics


def test_history_numbers_are_scraped(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import sys, pathlib; from pebr.telemetry.history import History; "
        "History(pathlib.Path(sys.argv[1])).append({'step': 3, 'reward/clip': 0.5, 'note': 'text'}); "
        "print('up', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "history")],
        env={"PEBR_METRICS_PORT": str(port)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"up\n"
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    finally:
        process.communicate(b"")
    assert 'pebr_training{name="reward/clip"} 0.5' in page
    assert "note" not in page


@pytest.mark.parametrize("port", ["taken", "70000", "-1", "http", "80.5"])
def test_a_port_that_cannot_be_opened_is_a_warning_and_another_is_used(
    port: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        given = str(taken.getsockname()[1]) if port == "taken" else port
        monkeypatch.setenv("PEBR_METRICS_PORT", given)
        metrics._gauge.cache_clear()
        with caplog.at_level("INFO", "pebr"):
            metrics.publish({"step": 3})
        metrics._gauge.cache_clear()
    warning, info = caplog.records
    assert warning.levelname == "WARNING"
    assert f"PEBR_METRICS_PORT={given}" in warning.getMessage()
    page = urllib.request.urlopen(f"http://127.0.0.1:{info.args[0]}/metrics").read().decode()
    assert 'pebr_training{name="step"} 3.0' in page
