"""A real Prometheus beside a tiny run: every metric and every panel has data, and no alert fires."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from pebr.telemetry.catalog import METRICS
from tests.monitoring.conftest import Watched
from tests.prometheus import DASHBOARDS, program

pytestmark = pytest.mark.slow

# Of a GPU, of a tracker (tests/telemetry/test_tracking.py has one) and of validation, which this run does not have.
TRACKING = {"pebr_tracking_dropped_total", "pebr_tracking_waiting_rows"}
ABSENT = {"pebr_gpu_memory_peak_bytes", "pebr_validation", *TRACKING}


def queries(path: Path) -> list[tuple[str, str]]:
    """Title and query of every panel of a dashboard, for all runs."""
    panels = json.loads(path.read_text())["panels"]
    found = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]
    return [(t, re.sub(r"\$(run|step|stage)", ".*", e).replace("$__rate_interval", "10s")) for t, e in found]


def test_every_metric_has_data(watched: Watched) -> None:
    ends = {"histogram": "_count"}
    empty = {m.name for m in METRICS if not watched.prometheus.curves(m.name + ends.get(m.kind, ""))}
    assert empty == ABSENT


def test_every_metric_has_the_steps_that_the_table_says(watched: Watched) -> None:
    for metric in METRICS:
        series = watched.prometheus.curves(metric.name + ("_count" if metric.kind == "histogram" else ""))
        found = {one["metric"]["step"] for one in series}
        assert metric.steps == "all" or found <= set(metric.steps.split()), metric.name


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_is_empty(watched: Watched, path: Path) -> None:
    asked = queries(path)
    assert len(asked) > 5
    assert [
        (title, query)
        for title, query in asked
        if not any(name in query for name in ABSENT) and not watched.prometheus.curves(query)
    ] == []


def test_no_alert_fires_in_a_healthy_run(watched: Watched) -> None:
    assert watched.prometheus.curves("ALERTS") == [] or watched.prometheus.fired() == set()


def test_the_pages_pass_the_check_of_prometheus(watched: Watched) -> None:
    for step, page in watched.pages.items():
        if step == "filter" and not page:
            continue  # it was over before it was asked
        check = subprocess.run(
            [program("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
        )
        assert check.stdout + check.stderr == ""
        assert check.returncode == 0


def test_a_short_step_leaves_its_last_values_at_the_pushgateway(watched: Watched) -> None:
    (kept,) = watched.prometheus.curves('pebr_rows_kept_total{step="filter",job="pebr",run="tuesday"}')
    assert float(kept["values"][-1][1]) == 150
    assert watched.prometheus.curves('pebr_rows_rejected_total{step="filter",job="pebr"}')
    assert watched.prometheus.curves('pebr_result{step="evaluate",name="accuracy"}')
