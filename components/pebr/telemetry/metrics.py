"""Prometheus metrics of a run: each number of a history row is a gauge, `pebr_training{name="reward/clip"}`.

No port is opened unless PEBR_METRICS_PORT is set, as in the pods of a cluster with Prometheus.
"""

import os
from collections.abc import Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Gauge, start_http_server


@cache
def _gauge() -> Gauge | None:
    """The gauge, with its HTTP endpoint started on first use; None if no port is set."""
    port = os.environ.get("PEBR_METRICS_PORT")
    if not port:
        return None
    registry = CollectorRegistry()
    gauge = Gauge(
        "pebr_training", "The newest value of each number of the training history", ["name"], registry=registry
    )
    start_http_server(int(port), registry=registry)
    return gauge


def publish(row: Mapping[str, object]) -> None:
    """Set the gauges to the numbers of a history row; other values are ignored."""
    gauge = _gauge()
    if gauge is None:
        return
    for name, value in row.items():
        if isinstance(value, int | float):
            gauge.labels(name).set(value)
