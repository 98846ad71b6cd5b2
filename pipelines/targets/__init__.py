"""Where a run may be sent: Kubeflow Pipelines, Argo Workflows, or a Kubernetes Job that runs the whole DAG in one pod.

Each target starts a run under a name that says what is run, finds it again by that name, tells how it goes, and reads
its scores. Starting the same run twice starts it once: a run that goes on or has ended well is taken as it is, and only
one that has failed is started anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

FINAL_MODEL = "merge-stage-2"  # the step that makes the pipeline's model
RUNNING, SUCCEEDED, FAILED = "running", "succeeded", "failed"


class TargetError(Exception):
    """The cluster cannot be reached, or refuses; the message says what to look at.

    `passing` is true where the reason may pass, though it has not for as long as it was tried.
    """

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class Progress:
    """How a run goes.

    Attributes:
        state: running, succeeded or failed.
        steps: state of each step, by its id; in the words of the target, lower case.
        message: what the target says of a failure.
    """

    state: str
    steps: Mapping[str, str] = field(default_factory=dict)
    message: str = ""


class Target(Protocol):
    """A place to run the pipeline."""

    def submit(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Start the run of this name, or find it.

        Args:
            name: of the run.
            parameters: all pipeline parameters.

        Returns:
            Where to look at it: a URL or a command.

        Raises:
            TargetError: when the target cannot be reached or refuses.
        """
        ...

    def progress(self) -> Progress:
        """How the run goes that `submit` started or found."""
        ...

    def scores(self) -> dict[str, dict[str, float]]:
        """Metrics of each step of the run that has such, by step id; called once it has succeeded."""
        ...

    def model(self) -> str:
        """Where the run's final model lies."""
        ...
