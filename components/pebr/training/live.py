"""What a running step shows to `python -m pebr.report --follow`: its history and a sample, beside its checkpoints.

    <checkpoints of the run>-live/history.jsonl
    <checkpoints of the run>-live/live.json       title, number of training steps, time, sample
    <history>.live.json                           the same, for the runner on this machine

So a report can be made wherever the checkpoints can be read, on S3 too. A store that fails is a warning: it does not
fail the step.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from pebr.files import atomic_file
from pebr.store.opening import open_store

log = logging.getLogger(__name__)

SUFFIX = "-live"
HISTORY, STATE = "history.jsonl", "live.json"
EVERY_SECONDS = 60.0


def beside(history: Path) -> Path:
    """The file beside a history that has the newest `State`."""
    return history.with_name(f"{history.name}.{STATE}")


class SampledAnswer(TypedDict):
    """An answer of the sample."""

    text: str
    reward: float
    components: dict[str, float]


class SampledQuestion(TypedDict):
    """A question of the sample."""

    question: str
    reference: str
    image: str  # data URI; "" without an image
    answers: list[SampledAnswer]


class State(TypedDict):
    """The content of live.json."""

    title: str
    steps: int  # training steps of the whole run
    updated: float  # unix seconds
    done: bool  # whether the training has ended
    best_by: str  # the measure of the history that names the best weights; "" without validation
    sampled: str  # where the sample is from; "" without a sample
    sample: list[SampledQuestion]


class Live:
    """Writes the live files of one run, for rank 0."""

    def __init__(self, checkpoints: str, title: str, steps: int, history: Path | str, best_by: str = "") -> None:
        self._store = open_store(f"{checkpoints}{SUFFIX}")
        self._history = Path(history)
        self._state = State(title=title, steps=steps, updated=0.0, done=False, best_by=best_by, sampled="", sample=[])
        self._written = -EVERY_SECONDS  # monotonic

    def write(
        self,
        now: bool = False,
        sampled: str = "",
        sample: Callable[[], Sequence[SampledQuestion]] | None = None,
        done: bool = False,
    ) -> None:
        """Write the files, at most once per `EVERY_SECONDS` unless `now`.

        Args:
            now: write in any case, as after a validation.
            sampled: where the sample is from.
            sample: makes the sample, when the files are written; None to keep the last one.
            done: whether the training has ended.
        """
        if not now and time.monotonic() - self._written < EVERY_SECONDS:
            return
        self._written = time.monotonic()
        self._state["updated"], self._state["done"] = time.time(), done
        if sample is not None:
            self._state["sampled"], self._state["sample"] = sampled, list(sample())
        try:
            with atomic_file(beside(self._history)) as state:
                state.write_text(json.dumps(self._state))
            self._store.put(self._history, HISTORY)
            self._store.put(beside(self._history), STATE)
        except OSError as error:
            log.warning("the live report is not updated: %s", error)
