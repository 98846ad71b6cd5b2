"""Sends history rows, parameters, final numbers and the report to experiment trackers, in the background.

    MLFLOW_TRACKING_URI     MLflow (`pebr.telemetry.mlflow` has its other variables)
    PEBR_TENSORBOARD        a folder for TensorBoard's event files; needs the package tensorboard
    WANDB_PROJECT           a project of Weights & Biases; needs the package wandb

Each tracker has a thread and a bounded queue. A step never waits for a tracker while it works, and at its end only as
long as the tracker answers. What could not be sent is counted, in the log and in `pebr_tracking_dropped_total`; the
step's result does not depend on it.
"""

import importlib.util
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from pebr.telemetry import metrics
from pebr.telemetry.trackers import About, RefusedError, Row, TensorBoard, Tracker, UnreachableError, WeightsAndBiases

log = logging.getLogger(__name__)

ROWS_KEPT = 10_000  # that wait for a tracker; of more, the oldest are dropped
ROWS_PER_SEND = 100
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between tries
# Seconds that the end of a step waits: for one answer of a tracker, of one that fails, and in all
PATIENCE, IMPATIENCE, LONGEST_END = 10.0, 1.0, 60.0


class Sender:
    """A tracker's thread and queue.

    Args:
        tracker: to send to.
        about: the step.
    """

    def __init__(self, tracker: Tracker, about: About) -> None:
        self._tracker, self._about = tracker, about
        self._rows: deque[Row] = deque()
        self._end: tuple[Mapping[str, float] | None, Sequence[Path]] | None = None
        self._changed = threading.Condition()
        self._started = self._failing = self._closed = self._told = False
        self._got_on = time.monotonic()  # when something was sent last
        self._dropped = 0
        metrics.record("pebr_tracking_dropped_total", 0, tracker.name)
        self._thread = threading.Thread(target=self._run, name=tracker.name, daemon=True)
        self._thread.start()

    def put(self, row: Row) -> None:
        """Queue a row."""
        with self._changed:
            self._rows.append(row)
            if len(self._rows) > ROWS_KEPT:
                self._rows.popleft()
                self._drop(1, f"more than {ROWS_KEPT} rows wait")
            metrics.record("pebr_tracking_waiting_rows", len(self._rows), self._tracker.name)
            self._changed.notify()

    def close(self, results: Mapping[str, float] | None, files: Sequence[Path]) -> None:
        """Queue the end, and wait for the thread while it gets on."""
        with self._changed:
            self._end = (results, files)
            self._changed.notify()
        self._got_on = time.monotonic()
        limit = self._got_on + LONGEST_END
        while self._thread.is_alive() and time.monotonic() < limit:
            self._thread.join(0.05)
            if time.monotonic() > self._got_on + (IMPATIENCE if self._failing else PATIENCE):
                break
        with self._changed:
            self._closed = True
            left = len(self._rows) + (self._end is not None)
            if left:
                self._drop(left, "the step has ended")
            if self._dropped:
                log.warning(
                    "%s: %d of the step's rows and results could not be sent", self._tracker.name, self._dropped
                )

    def _run(self) -> None:
        wait = FIRST_WAIT
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._rows or self._end)
                rows = [self._rows[i] for i in range(min(len(self._rows), ROWS_PER_SEND))]
            try:
                self._send(rows)
            except RefusedError as error:
                if not self._started:  # it refuses everything: `close` counts
                    log.warning("%s: nothing is sent: %s", self._tracker.name, error)
                    return
                self._drop(max(len(rows), 1), str(error))
            except (UnreachableError, OSError) as error:
                self._fail(str(error))
                if self._pause(wait):
                    return
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            self._failing, wait, self._got_on = False, FIRST_WAIT, time.monotonic()
            if self._forget(rows):
                return

    def _send(self, rows: Sequence[Row]) -> None:
        """Send rows; without any, the end."""
        if not self._started:
            self._tracker.start(self._about)
            self._started, self._got_on = True, time.monotonic()
        if rows:
            self._tracker.log(rows)
        elif self._end:
            self._tracker.end(*self._end)

    def _pause(self, seconds: float) -> bool:
        """Wait before the next try, less if the step ends; True if there is none."""
        with self._changed:
            if self._end is None:
                self._changed.wait_for(lambda: self._end is not None, seconds)
            else:
                self._changed.wait(FIRST_WAIT)
            return self._closed

    def _forget(self, rows: Sequence[Row]) -> bool:
        """Take what was sent from the queue; True if it was the end."""
        with self._changed:
            for row in rows:
                if self._rows and self._rows[0] is row:  # else it was dropped meanwhile
                    self._rows.popleft()
            metrics.record("pebr_tracking_waiting_rows", len(self._rows), self._tracker.name)
            if not rows:
                self._end = None
            return not rows

    def _fail(self, reason: str) -> None:
        self._failing = True
        if not self._told:
            log.warning("%s: %s: it is tried again; the step goes on", self._tracker.name, reason)
        self._told = True

    def _drop(self, count: int, reason: str) -> None:
        if not self._dropped:
            log.warning("%s: rows or results are not sent: %s", self._tracker.name, reason)
        self._dropped += count
        metrics.record("pebr_tracking_dropped_total", count, self._tracker.name)


_about: About | None = None  # of the step of this process
_senders: list[Sender] | None = None  # None: not started


def identify(step: str, stage: str, parameters: Mapping[str, object]) -> None:
    """Say which step this process runs. Before that, nothing is sent."""
    global _about, _senders
    _about, _senders = About(step, stage, os.environ.get("PEBR_RUN", ""), parameters), None


def publish(row: Mapping[str, object]) -> None:
    """Send the numbers of a history row."""
    numbers = {name: float(value) for name, value in row.items() if isinstance(value, int | float) and name != "step"}
    finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
    for sender in _started():
        sender.put(Row(int(str(row["step"])), time.time_ns() // 1_000_000, finite))


def finish(results: Mapping[str, float] | None, files: Sequence[Path] = ()) -> None:
    """Send the final numbers and files of the step; None if it has failed. A second call does nothing."""
    global _senders, _about
    senders = _started() if results is not None else _senders or []
    _senders, _about = None, None
    finite = None if results is None else {name: value for name, value in results.items() if math.isfinite(value)}
    for sender in senders:
        sender.close(finite, files)


def _started() -> list[Sender]:
    """The senders of this process, started on first use: a process that only starts ranks sends nothing."""
    global _senders  # noqa: PLW0603
    if _about is None or os.environ.get("RANK", "0") != "0":
        return []
    if _senders is None:
        _senders = [Sender(tracker, _about) for tracker in _trackers(os.environ)]
    return _senders


def _trackers(environment: Mapping[str, str]) -> list[Tracker]:
    """The trackers that the environment asks for; one whose package is missing is a warning."""
    found: list[Tracker] = []
    if environment.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://")):
        from pebr.telemetry.mlflow import MlFlow

        found.append(MlFlow(environment))
    elif environment.get("MLFLOW_TRACKING_URI") or environment.get("MLFLOW_RUN_ID"):
        log.warning("MLFLOW_TRACKING_URI=%s: give an http(s) address", environment.get("MLFLOW_TRACKING_URI", ""))
    if folder := environment.get("PEBR_TENSORBOARD"):
        found += [TensorBoard(Path(folder))] if _installed("tensorboard", "PEBR_TENSORBOARD") else []
    if project := environment.get("WANDB_PROJECT"):
        found += [WeightsAndBiases(project)] if _installed("wandb", "WANDB_PROJECT") else []
    return found


def _installed(package: str, variable: str) -> bool:
    there = importlib.util.find_spec(package) is not None
    if not there:
        log.warning("%s is set, but the package %s is not installed: pip install %s", variable, package, package)
    return there
