"""Finds the values of a step's inputs, conditions and command, when the steps before it have ended.

The placeholders of a command (`{{$.inputs.parameters['x']}}`, `{{$.outputs.artifacts['y'].path}}`, `{{$}}`, IfPresent,
Concat) are replaced by values.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping

from pebr.errors import InputError
from pipelines.ir import condition
from pipelines.ir.plan import REFERENCE, Constant, FirstOf, Guard, Json, Output, Source, Step, Template, cast

PLACEHOLDER = re.compile(r"\{\{\$(?:\.[^{}]*)?\}\}")


class Missing(LookupError):  # noqa: N818 - not an error: a condition is false
    """The value does not exist, because its step was skipped."""


def resolve(source: Source, value_of: Callable[[Output], object]) -> object:
    """The value of a source; `value_of` returns the value of another step's output.

    Raises:
        Missing: no value exists; `value_of` raises it if that step was skipped.
    """
    match source:
        case Constant(value):
            return value
        case Output():
            return value_of(source)
        case Template(text, parameters):
            values = {name: resolve(inner, value_of) for name, inner in parameters}
            return REFERENCE.sub(lambda found: written(values[found[1]]), text)
        case FirstOf(sources):
            for inner in sources:
                try:
                    return resolve(inner, value_of)
                except Missing:
                    continue
            raise Missing("none of the branches was taken")


def holds(guard: Guard, value_of: Callable[[Output], object]) -> bool:
    """Whether a condition is true; False if one of its values does not exist."""
    try:
        values = {name: resolve(source, value_of) for name, source in guard.parameters.items()}
    except Missing:
        return False
    return condition.evaluate(guard.expression, values)


def inputs_of(step: Step, value_of: Callable[[Output], object]) -> tuple[dict[str, object], dict[str, Output]]:
    """The parameters and artifacts of a step, without optional artifacts that do not exist (see `resolve`).

    Raises:
        Missing: a required input does not exist.
    """
    parameters = {name: resolve(source, value_of) for name, source in step.parameters.items()}
    artifacts: dict[str, Output] = {}
    for name, source in step.artifacts.items():
        try:
            artifact = resolve(source, value_of)
        except Missing:
            if name not in step.optional:
                raise
            continue
        if not isinstance(artifact, Output):
            raise InputError(f"step {step.id}: input {name} is {artifact!r}, which is no artifact: fix the pipeline")
        artifacts[name] = artifact
    return {
        name: cast(parameters[name], kind) for name, kind in step.parameter_types.items() if name in parameters
    }, artifacts


def command_line(step: Step, executor_input: Json, names: Mapping[str, str]) -> list[str]:
    """A step's command with every placeholder replaced.

    Args:
        executor_input: the step's inputs and outputs in Kubeflow's form, the value of `{{$}}`; URIs are local paths.
        names: values of other placeholders, by name without braces, such as `$.pipeline_job_name`.
    """
    inputs, outputs = executor_input["inputs"], executor_input["outputs"]
    table = {"$": json.dumps(executor_input), "$.outputs.output_file": outputs["outputFile"], **names}
    for name, value in inputs["parameterValues"].items():
        table[f"$.inputs.parameters['{name}']"] = written(value)
    for name, spec in outputs["parameters"].items():
        table[f"$.outputs.parameters['{name}'].output_file"] = spec["outputFile"]
    for side, artifacts in (("inputs", inputs["artifacts"]), ("outputs", outputs["artifacts"])):
        for name, listed in artifacts.items():
            for kind in ("path", "uri"):
                table[f"$.{side}.artifacts['{name}'].{kind}"] = listed["artifacts"][0]["uri"]
    present = {*inputs["parameterValues"], *inputs["artifacts"]}
    words = [word for text in step.command for word in _unfold(text, present)]
    return [PLACEHOLDER.sub(lambda found: _look_up(found[0], table, step), word) for word in words]


def written(value: object) -> str:
    """A parameter in the form of a command line: a string as it is, other values as JSON (true, 4, 1e-06, [1, 2])."""
    return value if isinstance(value, str) else json.dumps(value)


def _unfold(text: str, present: set[str]) -> Iterator[str]:
    """The words of one element of a command: a string, or the JSON of an `IfPresent` or `Concat` placeholder."""
    if not text.startswith(('{"IfPresent"', '{"Concat"')):
        yield text
        return
    structure = json.loads(text)
    if "Concat" in structure:
        yield "".join(word for part in structure["Concat"] for word in _unfold(_as_text(part), present))
        return
    choice = structure["IfPresent"]
    chosen = choice["Then"] if choice["InputName"] in present else choice.get("Else", [])
    for part in chosen if isinstance(chosen, list) else [chosen]:
        yield from _unfold(_as_text(part), present)


def _as_text(part: object) -> str:
    return part if isinstance(part, str) else json.dumps(part)


def _look_up(placeholder: str, table: Mapping[str, str], step: Step) -> str:
    key = placeholder[2:-2]
    if key not in table:
        raise InputError(f"step {step.id}: {placeholder} of its command has no value: give the input that it names")
    return table[key]
