"""What a settings field states about itself, once: name, type, default, help, artifact role, and run identity.

A step's settings are one frozen dataclass, `pebr.<step>.settings.Settings`. Each field looks like this:

    samples: Annotated[int, Bounds(1), "Answers per question."] = 8
    model: Annotated[str, Input("Model"), "Hugging Face directory of the model."]
    processes: Annotated[int, Bounds(0, 256), ANY_VALUE_RESUMES, "Training processes."] = 0

The command line, the Kubeflow component, the pipeline parameters, the documentation, the name of the run and the checks
before a run are all derived from these fields. Groups of fields that several steps share are base classes of their
settings. This module and all `settings.py` files import neither torch nor kfp.
"""

import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, get_args, get_origin

from pebr.errors import InputError


class Input(NamedTuple):
    """Marks a field as an input artifact; `kind` is its Kubeflow type: Artifact, Dataset, Metrics or Model.

    `needed_by` names a setting without which the step does not read it: then the artifact does not name the run.
    """

    kind: str = "Artifact"
    needed_by: str = ""


class Output(NamedTuple):
    """Marks a field as an output artifact; `kind` is its Kubeflow type: Artifact, Dataset, HTML, Metrics or Model."""

    kind: str = "Artifact"


class Unnamed(NamedTuple):
    """Marks a field that does not change a run's result: a run resumes from its checkpoints with any value of it."""


ANY_VALUE_RESUMES = Unnamed()


class Bounds(NamedTuple):
    """Marks a number with the values allowed, `least` to `most`; with `above`, `least` itself is refused.

    Every field that is a number has bounds: NaN, infinity and slips of the keyboard are outside all of them.
    """

    least: float
    most: float = 2**31 - 1
    above: bool = False

    def correction(self, value: float) -> str:
        """What to give instead of the value; empty if it is within the bounds.

        >>> [Bounds(0, 1, above=True).correction(value) for value in (0, 0.5, 1.5, float("nan"))]
        ['give more than 0', '', 'give at most 1', 'give more than 0']
        """
        if value > self.most:
            return f"give at most {self.most}"
        if self.above:
            return "" if value > self.least else f"give more than {self.least}"
        return "" if value >= self.least else f"give at least {self.least}"


SHARE = Bounds(0, 1)
WEIGHT = Bounds(0, 1000)  # of a term or a reward
SEED = Bounds(0, 2**63 - 1)
PROCESSES = Bounds(0, 256)


@dataclass(frozen=True)
class Setting:
    """One field of a step's settings."""

    name: str  # name of the field
    type: type  # int, float, str or bool
    default: object  # the default; `dataclasses.MISSING` when a value is required
    help: str  # help text
    role: Input | Output | None  # the field as an artifact; None for a parameter
    names_run: bool  # whether another value is another run, which does not resume from this one's checkpoints
    choices: tuple[object, ...]  # the values allowed; empty for any
    bounds: Bounds | None = None  # of a number

    @property
    def flag(self) -> str:
        """The command line flag."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is dataclasses.MISSING


def documented(text: str, entries: Mapping[str, str]) -> str:
    """A docstring with an `Args:` section of these entries, as tyro and kfp read it."""
    lines = (
        textwrap.fill(
            f"{name}: {entry}", 112, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False
        )
        for name, entry in entries.items()
    )
    return "\n".join([inspect.cleandoc(text), "", "Args:", *lines, ""])


def _annotations(cls: type) -> dict[str, list[object]]:
    """The annotations of each field, those of the nearest class first; fields in the order of the dataclass."""
    found: dict[str, list[object]] = {}
    for base in reversed(cls.__mro__):
        for name, annotation in inspect.get_annotations(base).items():
            found.setdefault(name, []).insert(0, annotation)
    return found


def _markers(cls: type, name: str) -> Iterable[object]:
    return (mark for a in _annotations(cls)[name] if get_origin(a) is Annotated for mark in get_args(a)[1:])


def help_of(cls: type, name: str) -> str:
    """The help text of a field; a class that changes only the default of an inherited field inherits the text.

    Raises:
        TypeError: the field has no help text.
    """
    for mark in _markers(cls, name):
        if isinstance(mark, str):
            return mark
    raise TypeError(f"{cls.__module__}.{cls.__qualname__}.{name}: no help text: write Annotated[type, 'help']")


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """Base of the settings of every step, and of every group of settings.

    Subclasses get an `Args:` section in their docstring, made of the help texts.
    """

    metrics: Annotated[str, Output("Metrics"), "JSON file for the step's scalar results."] = ""
    executor_input: Annotated[str, ANY_VALUE_RESUMES, "Kubeflow's executor input, `{{$}}`; empty elsewhere."] = ""

    def __init_subclass__(cls) -> None:
        cls.__doc__ = documented(cls.__doc__ or "", {name: help_of(cls, name) for name in _annotations(cls)})

    def __post_init__(self) -> None:
        """Check every field that has bounds or a fixed set of values.

        Raises:
            InputError: naming the flag, its value and the values allowed.
        """
        for setting in fields(type(self)):
            value = getattr(self, setting.name)
            if setting.choices and value not in setting.choices:
                known = ", ".join(str(choice) or "''" for choice in setting.choices)
                raise InputError(f"{setting.flag} is {value!r}: give one of {known}")
            if setting.bounds and (correction := setting.bounds.correction(value)):
                raise InputError(f"{setting.flag} {value}: {correction}")


@dataclass(frozen=True, kw_only=True)
class ResumableSettings(StepSettings):
    """Settings of a step that takes hours: it draws random numbers, and resumes from checkpoints."""

    output: Annotated[str, Output(), "The result of the step."]
    checkpoints: Annotated[
        str,
        ANY_VALUE_RESUMES,
        "Folder or s3:// prefix of the checkpoints that a killed step resumes from; each run keeps its own below it."
        " Empty: beside the output, which outlives a process but not a pod.",
    ] = ""
    seed: Annotated[
        int, SEED, "Seed of everything random. An answer's seed also depends on its question and number."
    ] = 0

    @property
    def checkpoint_root(self) -> str:
        """The folder or s3:// prefix below which each run keeps its checkpoints."""
        return self.checkpoints or f"{self.output}.checkpoints"


def fields(cls: type) -> tuple[Setting, ...]:
    """The fields of a subclass of `StepSettings`, in order."""
    return tuple(_setting(cls, field) for field in dataclasses.fields(cls))  # type: ignore[arg-type]


def unread(cls: type, values: Mapping[str, object]) -> set[str]:
    """The input artifacts that a step with these values of its settings does not read."""
    needed_by = {field.name: field.role.needed_by for field in fields(cls) if isinstance(field.role, Input)}
    return {name for name, setting in needed_by.items() if setting and not values.get(setting)}


def _setting(cls: type, field: "dataclasses.Field[object]") -> Setting:
    kind = _annotations(cls)[field.name][0]
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    marks = list(_markers(cls, field.name))
    role = next((mark for mark in marks if isinstance(mark, Input | Output)), None)
    bounds = next((mark for mark in marks if isinstance(mark, Bounds)), None)
    return Setting(
        name=field.name,
        type=type(choices[0]) if choices else kind,  # type: ignore[arg-type]
        default=field.default,
        help=help_of(cls, field.name),
        role=role,
        names_run=role is None and not any(isinstance(mark, Unnamed) for mark in marks),
        choices=choices,
        bounds=bounds,
    )
