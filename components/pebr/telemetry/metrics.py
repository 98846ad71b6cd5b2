"""Prometheus metrics of a step: those of `pebr.telemetry.catalog`, served over HTTP and left at a Pushgateway.

    PEBR_METRICS_PORT   port of /metrics and /healthz; no port is opened unless it is set, as in the pods of a cluster
    PEBR_PUSHGATEWAY    host:port or URL of a Pushgateway that gets the last values when the step ends
    PEBR_RUN            the label `run`; on a cluster, the name of the workflow

Without the first two nothing is recorded. The first rank records and serves. Metrics are optional: a port that cannot
be opened, or a Pushgateway that does not answer, is a warning, and the step continues.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    make_wsgi_app,
    pushadd_to_gateway,
)
from prometheus_client.exposition import ThreadingWSGIServer

from pebr.telemetry.catalog import METRICS, Metric

log = logging.getLogger(__name__)

PUSH_SECONDS = 5.0  # how long a Pushgateway may take
LABELS = ("step", "stage", "run")
_CATALOG = {metric.name: metric for metric in METRICS}
_KEYS = {metric.key: metric for metric in METRICS if metric.key}
# Gauges that stay true after the step; the others (ages, free space) would raise alerts for ever at a Pushgateway.
_LASTING = {"pebr_result", "pebr_items_planned", "pebr_benchmark_accuracy_ratio", "pebr_start_timestamp_seconds"}


def metric_of(key: str) -> tuple[Metric, str] | None:
    """The metric of a history row's key, and the value of its own label; None if there is none.

    >>> [found and (found[0].name, found[1]) for found in map(metric_of, ("kl", "reward/clip", "note"))]
    [('pebr_kl_nats', ''), ('pebr_reward_component', 'clip'), None]
    """
    if key in _KEYS:
        return _KEYS[key], ""
    prefixes = (key[:end] + "*" for end in range(len(key), 0, -1))
    return next(((_KEYS[p], key[len(p) - 1 :]) for p in prefixes if p in _KEYS), None)


class Exporter:
    """The metrics of one step, in a registry of their own.

    Args:
        step: of the DAG, such as `grpo`.
        stage: of GRPO, or "".
        output: a path on the file system whose free space is watched; "" for none.
    """

    def __init__(self, step: str, stage: str, output: str) -> None:
        disable_created_metrics()  # a series more for each counter, with the time of its first event
        self.registry = CollectorRegistry()
        self._identity = (step, stage, os.environ.get("PEBR_RUN", ""))
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._rows_at = time.monotonic()
        self._server: ThreadingWSGIServer | None = None
        for metric in METRICS:  # a counter that appears with its first event hides that event from `increase`
            if metric.kind == "counter" and not metric.label and {step, "all"} & set(metric.steps.split()):
                self.record(metric.name, 0.0)
        self.record("pebr_start_timestamp_seconds", time.time())
        self._watch("pebr_memory_peak_bytes", _peak_memory)
        if output:
            place = next(folder for folder in Path(output).absolute().parents if folder.exists())
            self._watch("pebr_disk_free_bytes", lambda: _disk(place)[0])
            self._watch("pebr_disk_size_bytes", lambda: _disk(place)[1])

    def record(self, name: str, value: float, own: str = "") -> None:
        """Set a gauge, add to a counter, or observe in a histogram; `own` is the value of the metric's own label."""
        child = self._child(name, own)
        match _CATALOG[name].kind:
            case "gauge":
                child.set(value)
            case "counter":
                child.inc(value)
            case "histogram":
                child.observe(value)

    def begin(self, training_steps: int) -> None:
        """Record that training begins, with so many steps in all."""
        self._rows_at = time.monotonic()
        self.record("pebr_training_steps_planned", training_steps)
        self.record("pebr_training_step_timestamp_seconds", time.time())
        self.record("pebr_checkpoint_timestamp_seconds", time.time())

    def row(self, row: Mapping[str, object]) -> None:
        """Record the numbers of a history row, and the time since the row before."""
        now = time.monotonic()
        wall, self._rows_at = now - self._rows_at, now
        for key, value in row.items():
            if (found := metric_of(key)) and _is_number(value):
                self.record(found[0].name, float(value), found[1])  # type: ignore[arg-type]
        self.record("pebr_training_step_timestamp_seconds", time.time())
        self.record("pebr_step_seconds", wall)
        if _is_number(seconds := row.get("seconds")):  # SFT trains and does nothing else
            self.record("pebr_part_seconds", float(seconds), "training")  # type: ignore[arg-type]
        parts = ("seconds", "seconds_sampling", "seconds_training", "seconds_validation")
        busy = [row.get(name) for name in parts]
        waited = row.get("seconds_waiting")  # inside the parts above, if the step measures it
        working = sum(float(value) for value in busy if isinstance(value, int | float))
        working -= float(waited) if isinstance(waited, int | float) else 0.0
        self.record("pebr_waiting_ratio", min(max(1 - working / max(wall, 1e-9), 0.0), 1.0))

    def serve(self, port: str) -> None:
        """Serve /metrics and /healthz on this port, or on any free one if it cannot be opened."""
        if self._server:
            return
        page = make_wsgi_app(self.registry)

        def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            if environment["PATH_INFO"] == "/healthz":
                start("200 OK", [("Content-Type", "text/plain")])
                return [b"ok\n"]
            return page(environment, start)

        for number in (port, "0"):  # 0: any free port
            try:
                self._server = make_server("", int(number), answer, ThreadingWSGIServer, handler_class=_Quiet)
            except (OSError, ValueError, OverflowError) as error:  # in use or reserved; no number; above 65535
                log.warning("PEBR_METRICS_PORT=%s: metrics cannot be served on port %s: %s", port, number, error)
            else:
                threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
                log.info("metrics are served on port %d", self._server.server_port)
                return

    def push(self, gateway: str) -> None:
        """Leave counters, histograms and final numbers at a Pushgateway."""
        lasting = [name for name in self._made if _CATALOG[name].kind != "gauge" or name in _LASTING]
        samples = [name + end for name in lasting for end in ("", "_total", "_bucket", "_sum", "_count")]
        group = {label: value for label, value in zip(LABELS, self._identity, strict=True) if value}
        try:
            pushadd_to_gateway(gateway, "pebr", self.registry.restricted_registry(samples), group, PUSH_SECONDS)  # type: ignore[arg-type]
        except (OSError, ValueError, HTTPException) as error:  # it is gone; no address; no HTTP
            log.warning("PEBR_PUSHGATEWAY=%s: the metrics of this step are not there: %s", gateway, error)

    def _child(self, name: str, own: str) -> Any:
        with self._lock:
            if name not in self._made:
                metric = _CATALOG[name]
                labels = [*LABELS, *([metric.label] if metric.label else [])]
                kinds: dict[str, Any] = {"gauge": Gauge, "counter": Counter, "histogram": Histogram}
                extra = {"buckets": metric.buckets} if metric.buckets else {}
                self._made[name] = kinds[metric.kind](name, metric.help, labels, registry=self.registry, **extra)
        values = (*self._identity, own) if _CATALOG[name].label else self._identity
        return self._made[name].labels(*values)

    def _watch(self, name: str, read: Callable[[], float]) -> None:
        self._child(name, "").set_function(read)


class _Quiet(WSGIRequestHandler):
    """Writes no log line per scrape."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is given
        """Do nothing."""


_about: tuple[str, str, str] | None = None  # step, stage and output; None in a process that is no step


@cache
def _exporter() -> Exporter | None:
    """The metrics of this process; None if it is not a step's first one, or nobody asks for them."""
    wanted = os.environ.get("PEBR_METRICS_PORT") or os.environ.get("PEBR_PUSHGATEWAY")
    return Exporter(*_about) if _about and wanted and os.environ.get("RANK", "0") == "0" else None


def identify(step: str, stage: str = "", output: str = "") -> None:
    """Say which step this process runs (see `Exporter`). Before that, nothing is recorded."""
    global _about  # noqa: PLW0603 - a process runs one step
    _about = (step, stage, output)
    _exporter.cache_clear()


def serve() -> None:
    """Open the port, if one is set. The first record does so too; a step that loads a model for long calls this."""
    if (exporter := _exporter()) and (port := os.environ.get("PEBR_METRICS_PORT")):
        exporter.serve(port)


def recorded() -> bool:
    """Whether anything is recorded in this process."""
    return _exporter() is not None


def record(name: str, value: float = 1.0, own: str = "") -> None:
    """Set a gauge, add to a counter, or observe in a histogram; `own` is the value of the metric's own label."""
    if exporter := _exporter():
        exporter.record(name, value, own)
        serve()


def record_row(rejected: str = "", rows: int = 1) -> None:
    """Count rows that were kept, or rejected for this reason."""
    if rejected:
        record("pebr_rows_rejected_total", rows, rejected)
    else:
        record("pebr_rows_kept_total", rows)


def record_answer(tokens: int, finish_reason: str) -> None:
    """Record the length of an answer, and whether it was cut off (`length`)."""
    record("pebr_answer_tokens", tokens)
    record("pebr_answers_cut_off_total", finish_reason == "length")


def begin(training_steps: int) -> None:
    """Record that training begins, with so many steps in all: from now on a step and a checkpoint are waited for."""
    if exporter := _exporter():
        exporter.begin(training_steps)
        serve()


def publish(row: Mapping[str, object]) -> None:
    """Record the numbers of a history row; other values, and keys without a metric, are ignored."""
    if exporter := _exporter():
        exporter.row(row)
        serve()


def finish(results: Mapping[str, float]) -> None:
    """Record the final numbers of the step, and leave the last values at the Pushgateway, if one is named."""
    if not (exporter := _exporter()):
        return
    for name, value in results.items():
        exporter.record("pebr_result", value, name)
    if gateway := os.environ.get("PEBR_PUSHGATEWAY"):
        exporter.push(gateway)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _peak_memory() -> float:
    """The largest resident memory of this process so far, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0  # KiB on Linux


def _disk(place: Path) -> tuple[float, float]:
    """Free bytes for this user, and size in bytes, of the file system of a folder; NaN if it is gone."""
    try:
        found = os.statvfs(place)
    except OSError:
        return math.nan, math.nan
    return float(found.f_bavail * found.f_frsize), float(found.f_blocks * found.f_frsize)
