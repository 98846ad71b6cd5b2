"""Waits for a run: logs each change of a step's state, and why a step does not start."""

import logging
import time
from collections.abc import Mapping

from pebr.telemetry.logs import duration
from pipelines.targets import ACTIVE, FAILED, RUNNING, GoneError, Progress, Target, TargetError, Waiting

PATIENCE = 900.0  # seconds without a response after which waiting ends
REMIND = 600.0  # seconds between two lines about the same reason
log = logging.getLogger("pipelines.submit")


def follow(target: Target, poll: float, start_timeout: float = 0.0) -> Progress:
    """Log a run until it has ended; returns its last state. A run that is deleted meanwhile has failed.

    `poll` is in seconds, as is `start_timeout`: how long a step may wait to start while no other one runs; 0 for ever.

    Raises:
        TargetError: the target does not respond any more, or the start timeout is over; the run is not stopped.
    """
    shown: dict[str, str] = {}
    told: dict[str, tuple[str, float]] = {}  # by step: the reason that was logged, and when
    answered = time.monotonic()
    while True:
        try:
            progress = target.progress()
        except GoneError as error:
            return Progress(FAILED, shown, f"{error}, while it was waited for")
        except TargetError as error:
            if not error.passing or time.monotonic() - answered > PATIENCE:
                raise
            log.warning("%s", error)
            continue
        answered = time.monotonic()
        for step, state in progress.steps.items():
            if shown.get(step) != state:
                log.info("%s  %-24s %s", time.strftime("%H:%M:%S"), step, state)
        shown = dict(progress.steps)
        if progress.state != RUNNING:
            return progress
        tell_waiting(progress.waiting, told)
        _check_start(progress, start_timeout)
        time.sleep(poll)


def tell_waiting(held: Mapping[str, Waiting], told: dict[str, tuple[str, float]]) -> None:
    """Log the steps that wait with a new reason, or with one that was logged long ago.

    Args:
        held: what waits, by name.
        told: what was logged of each, and when; it is updated.
    """
    for step in told.keys() - held.keys():
        del told[step]
    now = time.time()
    for step, waiting in held.items():
        reason, when = told.get(step, ("", 0.0))
        if waiting.reason != reason or now - when >= REMIND:
            told[step] = waiting.reason, now
            waited = duration(max(now - waiting.since, 0.0))
            log.info("%s  %-24s has waited %s to start: %s", time.strftime("%H:%M:%S"), step, waited, waiting.reason)


def _check_start(progress: Progress, limit: float) -> None:
    """Raise a TargetError if a step has waited longer than the limit, unless another step runs."""
    if not limit or not progress.waiting or ACTIVE in progress.steps.values():
        return
    step, waiting = min(progress.waiting.items(), key=lambda item: item[1].since)
    if (waited := time.time() - waiting.since) > limit:
        raise TargetError(
            f"{step} has waited {duration(waited)} to start, --start-timeout is {duration(limit)}: {waiting.reason}."
            " The run is not stopped: fix the reason and submit again to go on waiting, or delete the run"
        )
