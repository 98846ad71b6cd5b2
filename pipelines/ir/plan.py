"""The flat plan of a compiled pipeline: its steps, and the sources of their inputs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

REFERENCE = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
LAUNCHER = "pipelines.nodes"  # the module of a launcher; the step's own is its first argument
Json = Mapping[str, Any]  # a mapping of a JSON or YAML document; its values are not checked
CASTS: dict[str, Callable[[float], object]] = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float}


@dataclass(frozen=True)
class Constant:
    """A value from the IR or the caller."""

    value: object


@dataclass(frozen=True)
class Output:
    """An output of another step: a parameter or an artifact."""

    step: str
    name: str


@dataclass(frozen=True)
class FirstOf:
    """The first output that exists, of the branches of a condition."""

    sources: tuple["Source", ...]


@dataclass(frozen=True)
class Template:
    """A text with references to parameters, from an f-string in the pipeline's function."""

    text: str
    parameters: tuple[tuple[str, "Source"], ...]


Source = Constant | Output | FirstOf | Template


@dataclass(frozen=True)
class Guard:
    """The condition of an `If`: an expression over parameters."""

    expression: str
    parameters: Mapping[str, Source]


@dataclass(frozen=True)
class Retry:
    """Number of retries of a failed step; seconds of the first wait, which grows by `factor` up to `longest`."""

    count: int = 0
    wait: float = 0.0
    factor: float = 2.0
    longest: float = 3600.0


@dataclass(frozen=True)
class Step:
    """One container of the pipeline."""

    id: str  # unique in the pipeline: the display name with letters, digits and hyphens only
    title: str  # display name
    task: str  # name of the task in the IR; unique in the pipeline
    component: str  # name of its component in the IR; the SDK appends a number for each further task
    command: tuple[str, ...]  # the container's command and arguments, with placeholders
    environment: Mapping[str, str]  # environment variables of the container
    resources: Json  # requests and limits of the IR: cpuRequest, memoryRequest, accelerator and so on
    parameters: Mapping[str, Source]  # sources of the inputs, by name
    artifacts: Mapping[str, Source]  # sources of the inputs, by name
    parameter_types: Mapping[str, str]  # type of each parameter of the component
    parameter_outputs: Mapping[str, str]  # type of each output parameter
    artifact_outputs: Mapping[str, str]  # schema title of each output artifact (`system.Dataset` and so on)
    optional: frozenset[str]  # names of the artifact inputs that may be missing
    after: frozenset[str]  # ids of the steps that must end before this one starts
    guards: tuple[Guard, ...]  # conditions; the step is skipped unless all are true
    retry: Retry
    timeout: float | None  # time limit of one attempt in seconds; None for no limit

    @property
    def module(self) -> str:
        """The Python module of the step, such as `pebr.sft` (the step's kind), on one or more nodes; "" for others."""
        if self.command[1:2] != ("-m",):
            return ""
        return self.command[3] if self.on_nodes else self.command[2]

    @property
    def on_nodes(self) -> bool:
        """Whether the step runs on several nodes, which the command launches."""
        return self.command[2:3] == (LAUNCHER,)


def cast(value: object, kind: str) -> object:
    """The value in its declared type: the IR writes the integer 4 as 4.0, and the number 1.0 as 1."""
    return CASTS[kind](value) if kind in CASTS and isinstance(value, int | float) else value
