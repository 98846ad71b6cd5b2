"""A real Prometheus for tests and benchmarks: Debian's package, on free ports of this machine."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "k8s" / "monitoring"
ALERTS = MONITORING / "alerts.yaml"
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))


def program(name: str) -> str:
    """The path of `prometheus`, `promtool` or `prometheus-pushgateway`; without it a test is skipped, in CI fails."""
    if found := shutil.which(name):
        return found
    message = f"needs {name}: apt-get install prometheus prometheus-pushgateway"
    pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    raise AssertionError  # not reached


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def faster(text: str, factor: float) -> str:
    """Rules whose minutes and hours pass faster, for runs of seconds."""
    units = {"m": 60_000, "h": 3_600_000}
    text = re.sub(r"\b(\d+)([mh])\b", lambda found: f"{int(int(found[1]) * units[found[2]] / factor)}ms", text)
    return re.sub(r"\b(\d+) \* 60\b", lambda found: f"{int(found[1]) * 60 / factor:g}", text)


def rules(factor: float = 1.0) -> dict[str, Any]:
    """The alert rules, as a Prometheus without an operator reads them."""
    text = ALERTS.read_text()
    return yaml.safe_load(faster(text, factor) if factor != 1 else text)["spec"]


@contextmanager
def pushgateway(folder: Path) -> Iterator[int]:
    """Run a Pushgateway; yields its port."""
    port = free_port()
    with _server([program("prometheus-pushgateway"), f"--web.listen-address=127.0.0.1:{port}"], folder, port):
        yield port


@contextmanager
def prometheus(folder: Path, ports: Mapping[int, bool], factor: float) -> Iterator["Prometheus"]:
    """Run a Prometheus that scrapes these ports of this machine twice a second, with faster alert rules.

    Args:
        folder: for all its files.
        ports: to scrape, and whether the labels there win, as at a Pushgateway.
        factor: how much faster minutes pass in the rules.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        {
            "job_name": f"port-{port}",
            "honor_labels": honor,
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }
        for port, honor in ports.items()
    ]
    # On a busy machine a page may take a while, and a scrape that fails ends its series.
    interval = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "200ms"}
    configuration = {"global": interval, "rule_files": ["rules.yaml"], "scrape_configs": jobs}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules(factor)))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _server(command, folder, port):
        yield Prometheus(port)


class Prometheus:
    """Questions to a running Prometheus, about the time since it was started."""

    def __init__(self, port: int) -> None:
        self.port, self.started = port, time.time()

    def curves(self, query: str) -> list[dict[str, Any]]:
        """The series of a query, with all their values since the start."""
        found = self._ask("query_range", query=query, start=self.started, end=time.time(), step=0.5)
        return [series for series in found["result"] if any(value != "NaN" for _, value in series["values"])]

    def fired(self) -> set[str]:
        """The alerts that have fired since the start."""
        return {series["metric"]["alertname"] for series in self.curves('ALERTS{alertstate="firing"}')}

    def wait_for(self, query: str, seconds: float = 60.0) -> None:
        """Wait until a query has data."""
        until = time.monotonic() + seconds
        while not self.curves(query):
            assert time.monotonic() < until, f"no data: {query}"
            time.sleep(0.2)

    def _ask(self, what: str, **given: object) -> Any:
        query = urllib.parse.urlencode({name: str(value) for name, value in given.items()})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{what}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]


@contextmanager
def _server(command: list[str], folder: Path, port: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{Path(command[0]).name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / f"{Path(command[0]).name}.log").read_text()
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)
