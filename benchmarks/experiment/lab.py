"""Runs steps of the pipeline in this process, one after the other, each once: an experiment that can be continued.

A step's outputs lie in a folder of its name. Its metrics are written last, so a step without them is run again, and
resumes from its checkpoints.
"""

import json
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from pebr.files import atomic_file
from pebr.step.settings import Output, StepSettings, fields
from pipelines.parameters import TASKS, fields_of, settings_of
from pipelines.recipes import Value


class OutOfTime(Exception):
    """The time that was given is over; everything that is finished is kept."""


class Clock:
    """The time that is left; 0 minutes for no limit."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes if minutes else float("inf")

    def check(self) -> None:
        """Raise `OutOfTime` if the time is over."""
        if time.monotonic() > self._end:
            raise OutOfTime


class Lab:
    """The steps of one seed.

    Args:
        folder: of all outputs.
        values: of the pipeline's parameters.
        clock: is asked before each step.
    """

    def __init__(self, folder: Path, values: Mapping[str, Value], clock: Clock) -> None:
        self.folder, self.values, self.clock = folder, dict(values), clock

    def run(self, task: str, name: str, changes: Mapping[str, Value] | None = None, **inputs: Path) -> Path:
        """Run a task of the pipeline, unless it is done; returns the folder of its outputs, named as its settings.

        Args:
            task: a task of `pipelines.parameters.TASKS`.
            name: of the folder.
            changes: other values of the pipeline's parameters.
            inputs: the input artifacts, by the names of the step's settings.

        Raises:
            OutOfTime: no time is left to begin.
            InputError: the step refuses its settings or its data.
        """
        place = self.folder / name
        if self.metrics(name):
            return place
        self.clock.check()
        place.mkdir(parents=True, exist_ok=True)
        step = TASKS[task].step
        given = self.values | dict(changes or {})
        chosen = {field.name: given[parameter] for parameter, _, field in fields_of(task)}
        outputs = {s.name: str(place / s.name) for s in fields(settings_of(step)) if isinstance(s.role, Output)}
        construct: Callable[..., StepSettings] = settings_of(step)
        paths = {name: str(path) for name, path in inputs.items()}
        settings = construct(**{**chosen, **TASKS[task].fixed, **outputs, **paths})
        started = time.monotonic()
        found = import_module(f"pebr.{step}.work").work(settings)
        with atomic_file(place / "metrics") as path:
            path.write_text(json.dumps({**found, "seconds": round(time.monotonic() - started, 1)}) + "\n")
        return place

    def metrics(self, name: str) -> dict[str, float]:
        """The metrics of a finished step; {} if it is not done."""
        path = self.folder / name / "metrics"
        return json.loads(path.read_text()) if path.exists() else {}
