"""A real Prometheus beside a tiny run: every panel has data, and no alert fires."""

import json
import re
from pathlib import Path

import pytest

from tests.prometheus import DASHBOARDS, Prometheus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# Of a GPU, of a tracker (tests/telemetry/test_tracking.py has one) and of validation, which this run does not have.
TRACKING = {"pebr_tracking_dropped_total", "pebr_tracking_waiting_rows"}
ABSENT = {"pebr_gpu_memory_peak_bytes", "pebr_validation", *TRACKING}


def queries(path: Path) -> list[tuple[str, str]]:
    """Title and query of every panel of a dashboard, for all runs."""
    panels = json.loads(path.read_text())["panels"]
    found = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]
    return [(t, re.sub(r"\$(run|step|stage)", ".*", e).replace("$__rate_interval", "10s")) for t, e in found]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_is_empty(watched: Prometheus, path: Path) -> None:
    asked = queries(path)
    assert len(asked) > 5
    assert [
        (title, query)
        for title, query in asked
        if not any(name in query for name in ABSENT) and not watched.curves(query)
    ] == []


def test_no_alert_fires_in_a_healthy_run(watched: Prometheus) -> None:
    assert watched.curves("ALERTS") == [] or watched.fired() == set()


def test_a_short_step_leaves_its_last_values_at_the_pushgateway(watched: Prometheus) -> None:
    (kept,) = watched.curves('pebr_rows_kept_total{step="filter",job="pebr",run="tuesday"}')
    assert float(kept["values"][-1][1]) == 150
    assert watched.curves('pebr_rows_rejected_total{step="filter",job="pebr"}')
    assert watched.curves('pebr_result{step="evaluate",name="accuracy"}')
