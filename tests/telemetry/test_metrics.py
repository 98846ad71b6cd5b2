"""Prometheus scrapes the numbers of the history."""

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path


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
