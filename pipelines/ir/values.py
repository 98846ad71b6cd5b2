"""What a step's inputs, conditions and command are, once the steps before it have ended.

`pipelines.ir` says where a value comes from; here it is found, conditions are decided and the placeholders of a command
(`{{$.inputs.parameters['x']}}`, `{{$.outputs.artifacts['y'].path}}`, `{{$}}`, IfPresent, Concat) give way to values.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pebr.errors import InputError
from pipelines.ir import condition
from pipelines.ir.plan import REFERENCE, Constant, FirstOf, Guard, Output, Source, Step, Template, cast

PLACEHOLDER = re.compile(r"\{\{\$(?:\.[^{}]*)?\}\}")


class Missing(LookupError):  # noqa: N818 - an event, not an error: a condition has left the value out
    """The value does not exist, because the step that makes it was skipped."""


def resolve(source: Source, value_of: Callable[[Output], Any]) -> Any:
    """The value that a source stands for.

    Args:
        source: where the value comes from.
        value_of: the value of another step's output; raises `Missing` when that step was skipped.

    Raises:
        Missing: when no value exists.
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


def holds(guard: Guard, value_of: Callable[[Output], Any]) -> bool:
    """Whether a condition is true; False when a value that it asks for does not exist."""
    try:
        values = {name: resolve(source, value_of) for name, source in guard.parameters.items()}
    except Missing:
        return False
    return condition.evaluate(guard.expression, values)


def inputs_of(step: Step, value_of: Callable[[Output], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A step's parameters and artifacts; an optional artifact that does not exist is left out.

    Args:
        step: the step.
        value_of: the value of another step's output; raises `Missing` when that step was skipped.

    Raises:
        Missing: when a needed input does not exist.
    """
    parameters = {name: resolve(source, value_of) for name, source in step.parameters.items()}
    artifacts = {}
    for name, source in step.artifacts.items():
        try:
            artifacts[name] = resolve(source, value_of)
        except Missing:
            if name not in step.optional:
                raise
    return {
        name: cast(parameters[name], kind) for name, kind in step.parameter_types.items() if name in parameters
    }, artifacts


def command_line(step: Step, executor_input: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """A step's command with every placeholder replaced.

    Args:
        step: the step.
        executor_input: its inputs and outputs in Kubeflow's form, what `{{$}}` stands for; URIs are local paths.
        names: other placeholders, without their braces: `$.pipeline_job_name` and so on.
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


def written(value: Any) -> str:
    """A parameter as a command line has it: true, 4, 1e-06, text as it is, lists and structures as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _unfold(text: str, present: set[str]) -> Iterator[str]:
    """The words of one element of a command: a plain text, or the JSON of an `IfPresent` or a `Concat` placeholder."""
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


def _as_text(part: Any) -> str:
    return part if isinstance(part, str) else json.dumps(part)


def _look_up(placeholder: str, table: Mapping[str, str], step: Step) -> str:
    key = placeholder[2:-2]
    if key not in table:
        raise InputError(f"step {step.id}: nothing stands for {placeholder} in its command: give the input it names")
    return table[key]
