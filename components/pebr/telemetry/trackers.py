"""The interface of experiment trackers, and those whose packages write by themselves: TensorBoard and Weights & Biases.

`pebr.telemetry.tracking` calls a tracker from a thread of its own and tries again what fails, so that a tracker only
says how to send.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class About(NamedTuple):
    """What is known of a step before it works."""

    step: str  # of the DAG
    stage: str  # of GRPO, or ""
    run: str  # PEBR_RUN, or ""
    parameters: Mapping[str, object]  # its settings

    @property
    def name(self) -> str:
        """A name for people, such as `tuesday grpo perception`."""
        return " ".join(part for part in (self.run, self.step, self.stage) if part)


class Row(NamedTuple):
    """The numbers of a training step."""

    step: int
    milliseconds: int  # Unix time
    numbers: Mapping[str, float]


class RefusedError(Exception):
    """The tracker does not take this, however often it is sent."""


class UnreachableError(Exception):
    """The tracker cannot be reached, or fails, for now."""


class Tracker(Protocol):
    """A place for the numbers of a step. Every method may raise one of the two errors above."""

    name: str  # label of its metrics

    def start(self, about: About) -> None:
        """Make or find the run there; called again until it succeeds."""
        ...

    def log(self, rows: Sequence[Row]) -> None:
        """Send rows."""
        ...

    def end(self, results: Mapping[str, float] | None, files: Sequence[Path]) -> None:
        """Send the final numbers and files; None: the step has failed."""
        ...


@dataclass
class TensorBoard:
    """Event files below a folder, written by the package `tensorboard`."""

    folder: Path
    name: str = "tensorboard"
    _writer: Any = None

    def start(self, about: About) -> None:
        writer = importlib.import_module("tensorboard.summary").Writer
        self._writer = writer(str(self.folder / about.name.replace(" ", "-").replace("/", "-")))

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for name, value in row.numbers.items():
                self._writer.add_scalar(name, value, row.step, wall_time=row.milliseconds / 1000)
        self._writer.flush()

    def end(self, results: Mapping[str, float] | None, _files: Sequence[Path]) -> None:
        for name, value in (results or {}).items():
            self._writer.add_scalar(f"final/{name}", value, 0)
        self._writer.close()


@dataclass
class WeightsAndBiases:
    """A run of a project, through the package `wandb`, which has its own settings in the environment (WANDB_...)."""

    project: str
    name: str = "wandb"
    _run: Any = None

    def start(self, about: About) -> None:
        wandb = importlib.import_module("wandb")
        try:
            self._run = wandb.init(
                project=self.project,
                name=about.name,
                group=about.run or None,
                job_type=about.step,
                config=dict(about.parameters),
            )
        except wandb.Error as error:
            raise UnreachableError(str(error)) from error

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._run.log(dict(row.numbers), step=row.step)

    def end(self, results: Mapping[str, float] | None, files: Sequence[Path]) -> None:
        self._run.summary.update({f"final/{name}": value for name, value in (results or {}).items()})
        for file in files:
            self._run.save(str(file), base_path=str(file.parent), policy="now")
        self._run.finish(exit_code=int(results is None))
