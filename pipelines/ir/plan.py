"""What a compiled pipeline is made of once its nesting is taken away: steps, and where their inputs come from."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

REFERENCE = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
CASTS: dict[str, Callable[[Any], Any]] = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float}


@dataclass(frozen=True)
class Constant:
    """A value that the IR or the caller gives."""

    value: Any


@dataclass(frozen=True)
class Output:
    """What another step makes: a parameter or an artifact."""

    step: str
    name: str


@dataclass(frozen=True)
class FirstOf:
    """The first of several outputs that exists: the branches of a condition."""

    sources: tuple["Source", ...]


@dataclass(frozen=True)
class Template:
    """A text with references to parameters, as an f-string in the pipeline's function makes it."""

    text: str
    parameters: tuple[tuple[str, "Source"], ...]


Source = Constant | Output | FirstOf | Template


@dataclass(frozen=True)
class Guard:
    """A condition of an `If`: an expression over parameters."""

    expression: str
    parameters: Mapping[str, Source]


@dataclass(frozen=True)
class Retry:
    """How often a failed step is tried again, and the seconds between, growing by `factor` to at most `longest`."""

    count: int = 0
    wait: float = 0.0
    factor: float = 2.0
    longest: float = 3600.0


@dataclass(frozen=True)
class Step:
    """One container of the pipeline.

    Attributes:
        id: unique in the pipeline: the display name in letters that a file name may have.
        title: display name.
        component: name of the component it is made of; the SDK numbers it where several tasks are.
        command: the container's command and arguments, placeholders unresolved.
        environment: variables that the container sets.
        resources: requests and limits as the IR has them: cpuRequest, memoryRequest, accelerator and so on.
        parameters, artifacts: the inputs, by name.
        parameter_types: type of each parameter that the component declares.
        parameter_outputs: type of each output parameter.
        artifact_outputs: schema title of each output artifact (`system.Dataset` and so on).
        optional: names of the artifact inputs that may be absent.
        after: ids of the steps that must have ended before.
        guards: conditions, all of which must hold, or the step is skipped.
        timeout: seconds that one attempt may take; None for no limit.
    """

    id: str
    title: str
    component: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    resources: Mapping[str, Any]
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, Source]
    parameter_types: Mapping[str, str]
    parameter_outputs: Mapping[str, str]
    artifact_outputs: Mapping[str, str]
    optional: frozenset[str]
    after: frozenset[str]
    guards: tuple[Guard, ...]
    retry: Retry
    timeout: float | None

    @property
    def module(self) -> str:
        """The Python module that the command runs, `pebr.sft`; "" when it runs something else."""
        return self.command[2] if self.command[1:2] == ("-m",) else ""


def cast(value: Any, kind: str) -> Any:
    """YAML has 4.0 where the IR means the integer 4, and 1 where it means the number 1.0."""
    return CASTS[kind](value) if kind in CASTS and isinstance(value, int | float) else value
