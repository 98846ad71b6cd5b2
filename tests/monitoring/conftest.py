"""One tiny run of five steps, watched by a real Prometheus."""

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.monitoring.tiny_run import STEPS, TinyRun
from tests.prometheus import Prometheus, free_port, program, prometheus, pushgateway

FACTOR = 20.0  # minutes pass faster in the alert rules; a busy machine still starts a step within 30 of them


class Watched(NamedTuple):
    """A run that has ended."""

    prometheus: Prometheus
    pages: dict[str, str]  # step -> the last /metrics that was read while it ran


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    program("prometheus")  # before the work
    program("prometheus-pushgateway")
    folder = tmp_path_factory.mktemp("watched")
    run = TinyRun(folder)
    ports = {step: free_port() for step in STEPS}
    with pushgateway(folder / "push") as gateway:
        scraped = {gateway: True, **dict.fromkeys(ports.values(), False)}
        with prometheus(folder / "prometheus", scraped, FACTOR) as server:
            pages = {step: watch(run, step, ports[step], gateway) for step in STEPS}
            time.sleep(1)  # the last values at the Pushgateway are scraped
            yield Watched(server, pages)


def watch(run: TinyRun, step: str, port: int, gateway: int) -> str:
    """Run a step to its end; returns the last page of metrics that it served."""
    variables = {
        "PEBR_METRICS_PORT": str(port),
        "PEBR_PUSHGATEWAY": f"127.0.0.1:{gateway}",
        "PEBR_RUN": "tuesday",
        "PEBR_PEAK_FLOPS": "1e11",
    }
    process, page = run.start(step, variables=variables), ""
    while process.poll() is None:
        time.sleep(0.2)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                page = answer.read().decode()
        except OSError:
            continue
    assert process.returncode == 0, Path(run.folder / f"{step}.log").read_text()
    return page
