"""Targets of a run: Kubeflow Pipelines, Argo Workflows, or a Kubernetes Job that runs the whole DAG in one pod.

Each target starts a run under a name, finds it again by that name, reports its progress, and reads its scores. A run
that is running or has succeeded is not started a second time; a run that has failed is started again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.ir.plan import Output

RUNNING, SUCCEEDED, FAILED = "running", "succeeded", "failed"


class TargetError(Exception):
    """The cluster cannot be reached, or refuses the request; the message says what to check.

    `passing` is true if the reason may pass, although all retries failed.
    """

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class Progress:
    """The state of a run."""

    state: str  # running, succeeded or failed
    # State of each step, by its id, as the target names it, in lower case
    steps: Mapping[str, str] = field(default_factory=dict)
    message: str = ""  # the target's message about a failure


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
        """The state of the run that `submit` started or found."""
        ...

    def scores(self) -> dict[str, dict[str, float]]:
        """Metrics of each step that has any, by step id; called after the run succeeded."""
        ...

    def location(self, artifact: Output) -> str:
        """The location of an output artifact; "" if the run does not have it."""
        ...
