"""Targets of a run: Kubeflow Pipelines, Argo Workflows, or a Kubernetes Job that runs the whole DAG in one pod.

Each target starts a run under a name, finds it again by that name, reports its progress, and reads its scores. A run
that is running or has succeeded is not started a second time; a run that has failed is started again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.ir.plan import Output

RUNNING, SUCCEEDED, FAILED = "running", "succeeded", "failed"
ACTIVE = "running"  # state of a step whose container runs


class TargetError(Exception):
    """The cluster cannot be reached, or refuses the request; the message says what to check.

    `passing` is true if the reason may pass, although all retries failed.
    """

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class GoneError(TargetError):
    """The run does not exist any more: it was deleted."""


@dataclass(frozen=True)
class Waiting:
    """A step whose container has not started."""

    reason: str  # the platform's own words
    since: float  # unix seconds


@dataclass(frozen=True)
class Failure:
    """A step that failed."""

    step: str
    exit_code: int | None  # of its container; None if the platform does not report it
    error: str  # the last error line of its log, or the platform's message
    command: str  # shows the log


@dataclass(frozen=True)
class Progress:
    """The state of a run."""

    state: str  # running, succeeded or failed
    # State of each step, by its id, as the target names it, in lower case
    steps: Mapping[str, str] = field(default_factory=dict)
    message: str = ""  # the target's message about a failure
    waiting: Mapping[str, Waiting] = field(default_factory=dict)  # steps whose container has not started, by id


class Target(Protocol):
    """A cluster interface that runs the pipeline."""

    def submit(self, name: str, parameters: Mapping[str, object]) -> str:
        """Start the run of this name, or find it if it is running or has succeeded.

        Returns a URL or a command that shows the run.

        Raises:
            TargetError: the target cannot be reached or refuses the request.
        """
        ...

    def progress(self) -> Progress:
        """The state of the run that `submit` started or found.

        Raises:
            GoneError: the run was deleted.
            TargetError: the target cannot be reached or refuses the request.
        """
        ...

    def failures(self) -> list[Failure]:
        """The steps that failed; called after the run failed."""
        ...

    def scores(self) -> dict[str, dict[str, float]]:
        """Metrics of each step that has any, by step id; called after the run succeeded."""
        ...

    def location(self, artifact: Output) -> str:
        """The location of an output artifact; "" if the run does not have it."""
        ...
