"""The pipeline by its command and a real Prometheus beside it: every metric of the catalog has data, in its steps.

What a metric needs (`only` in the catalog) is there: validations, an S3 store that fails now and then, an MLflow server
that is gone, a reward that makes updates overflow.
"""

import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pebr.telemetry.catalog import METRICS, Metric
from pebr.toy.clip import train_clip
from tests import s3_server
from tests.pipelines import small_run
from tests.prometheus import Prometheus, free_port, program, prometheus, pushgateway
from tests.store.faulty_proxy import faulty_proxy

pytestmark = [pytest.mark.e2e, pytest.mark.s3, pytest.mark.timeout(3000)]

RUN = "pebr-r1-run"  # the runner's name for it; while no step has the port, another program may take it
STEPS = {"ingest", "filter", "sft", "rollout", "split", "grpo", "merge", "evaluate", "report"}
ELSEWHERE = {  # what this run does not have
    "pebr_gpu_memory_peak_bytes",  # needs a GPU
    "pebr_answers_cut_off_total",  # tests/telemetry/test_metrics.py has one
    "pebr_checks_failed_total",  # tests/grpo/test_scoring.py has an answer that the check gives up
}
HUGE = """
calls = 0


def reward(batch):
    global calls
    calls += 1
    return [len(text) % 7 * (1e30 if calls % 2 else 1.0) for text in batch.responses]
"""


class Watched(NamedTuple):
    """A run that has ended."""

    prometheus: Prometheus
    pages: dict[str, str]  # the last page of each step that was read


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    program("prometheus-pushgateway")  # before the work
    folder, port = tmp_path_factory.mktemp("pipeline"), free_port()
    train_clip(folder / "clip", 0, steps=1)
    (folder / "huge.py").write_text(HUGE)
    with (
        pushgateway(folder / "push") as gateway,
        prometheus(folder / "prometheus", {gateway: True, port: False}, 1.0) as server,
        s3_server.s3_server(folder / "s3") as address,
        faulty_proxy(int(address.rpartition(":")[2]), share=0.2, seed=1) as proxy,
    ):
        variables = {
            **s3_server.environment(f"http://127.0.0.1:{proxy.port}"),
            "PEBR_METRICS_PORT": str(port),
            "PEBR_PUSHGATEWAY": f"127.0.0.1:{gateway}",
            "PEBR_PEAK_FLOPS": "1e11",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        }
        ended, pages = threading.Event(), dict[str, str]()
        reader = threading.Thread(target=read_pages, args=(port, pages, ended))
        reader.start()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            run_pipeline(folder)
        ended.set()
        reader.join()
        server.wait_for('pebr_result{step="report"}')  # the last values at the Pushgateway are scraped
        yield Watched(server, pages)


def run_pipeline(folder: Path) -> None:
    """Run all steps, one at a time, so that each gets the port."""
    small_run.run(
        folder / "run",
        folder / "clip",
        options=("--parallel", "1"),
        checkpoints="s3://pebr/checkpoints",
        sft_validate_every=50,
        sft_validation_questions=8,
        validate_every=2,
        validate_on="toy",
        validation_questions=8,
        advantage="mean",
        reasoning_reward=f"{folder}/huge.py:reward=1",
    )


def read_pages(port: int, pages: dict[str, str], ended: threading.Event) -> None:
    """Read the page of metrics five times a second until the end."""
    while not ended.wait(0.2):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                page = answer.read().decode()
        except OSError:
            continue
        if f'run="{RUN}"' in page and (found := re.search(r'step="(\w+)"', page)):
            pages[found[1]] = page


def values(watched: Watched, metric: Metric) -> dict[str, float]:
    """The largest value of a metric in each step that has it."""
    found: dict[str, float] = {}
    name = metric.name + ("_count" if metric.kind == "histogram" else "")
    for series in watched.prometheus.curves(f'{name}{{run="{RUN}"}}'):
        step, largest = series["metric"]["step"], max(float(value) for _, value in series["values"])
        found[step] = max(largest, found.get(step, largest))
    return found


@pytest.mark.parametrize("metric", [m for m in METRICS if m.name not in ELSEWHERE], ids=lambda metric: metric.name)
def test_a_metric_has_data_in_its_steps(watched: Watched, metric: Metric) -> None:
    found = values(watched, metric)
    if metric.steps == "all":
        assert found.keys() <= STEPS
        assert len(found) > 1
    else:
        expected = set(metric.steps.split())
        assert found.keys() <= expected
        assert metric.only or found.keys() == expected
    assert found
    assert metric.kind == "gauge" or max(found.values()) > 0


def test_every_step_leaves_its_start_and_its_results(watched: Watched) -> None:
    by_name = {metric.name: metric for metric in METRICS}
    for name in ("pebr_start_timestamp_seconds", "pebr_result"):
        assert values(watched, by_name[name]).keys() == STEPS


def test_the_pages_pass_the_check_of_prometheus(watched: Watched) -> None:
    assert {"sft", "rollout", "grpo", "evaluate"} <= watched.pages.keys()
    for page in watched.pages.values():
        check = subprocess.run(
            [program("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
        )
        assert (check.stdout + check.stderr, check.returncode) == ("", 0)


def test_only_what_needs_something_is_left_out() -> None:
    assert {metric.name for metric in METRICS if metric.only} >= ELSEWHERE
