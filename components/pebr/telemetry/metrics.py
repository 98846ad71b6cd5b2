"""Prometheus metrics of a run: each number of a history row is a gauge, `pebr_training{name="reward/clip"}`.

No port is opened unless PEBR_METRICS_PORT is set, as in the pods of a cluster with Prometheus. Metrics are optional: a
port that cannot be opened is a warning, and the run continues.
"""

import logging
import os
from collections.abc import Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Gauge, start_http_server

log = logging.getLogger(__name__)


@cache
def _gauge() -> Gauge | None:
    """The gauge, with its HTTP endpoint started on first use; None if no port is set, or none can be opened."""
    port = os.environ.get("PEBR_METRICS_PORT")
    if not port:
        return None
    registry = CollectorRegistry()
    gauge = Gauge(
        "pebr_training", "The newest value of each number of the training history", ["name"], registry=registry
    )
    for number in (port, "0"):  # 0: any free port
        try:
            server, _ = start_http_server(int(number), registry=registry)
        except (OSError, ValueError, OverflowError) as error:  # in use or reserved; no number; above 65535
            log.warning("PEBR_METRICS_PORT=%s: metrics cannot be served on port %s: %s", port, number, error)
        else:
            log.info("metrics are served on port %d", server.server_port)
            return gauge
    return None


def publish(row: Mapping[str, object]) -> None:
    """Set the gauges to the numbers of a history row; other values are ignored."""
    gauge = _gauge()
    if gauge is None:
        return
    for name, value in row.items():
        if isinstance(value, int | float):
            gauge.labels(name).set(value)
