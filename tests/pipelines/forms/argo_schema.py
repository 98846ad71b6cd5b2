"""Checks of an Argo manifest: its schema, closed (from hera, Argo's Python client), and that no reference dangles."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from hera.workflows import models
from jsonschema import Draft202012Validator

TAG = re.compile(r"\{\{(?!=)(.+?)\}\}")
INDEXED = re.compile(r"tasks\['([^']+)'\]\.(outputs\.(?:parameters|artifacts)\['([^']+)'\]|status)")


@cache
def validator(kind: str) -> Draft202012Validator:
    """The schema of a kind, closed: a field that Argo does not know is an error, and so is null."""
    schema = copy.deepcopy(getattr(models, kind).model_json_schema(by_alias=True))
    for definition in (schema, *schema["$defs"].values()):
        if definition.get("type") == "object" and "properties" in definition:
            definition["additionalProperties"] = False
        for name, spec in definition.get("properties", {}).items():
            if isinstance(spec, dict) and {"type": "null"} in spec.get("anyOf", ()):
                spec["anyOf"].remove({"type": "null"})
                if len(spec["anyOf"]) == 1:  # else errors within would be told of the whole
                    spec.update(spec.pop("anyOf")[0])
            if name in ("limits", "requests"):  # of resources: quantities by name
                definition["properties"][name] = {"type": "object", "additionalProperties": {"type": "string"}}
    return Draft202012Validator(schema)


def schema_errors(document: dict[str, Any]) -> list[str]:
    """What the schema says against a manifest."""
    return [f"{error.json_path}: {error.message[:300]}" for error in validator(document["kind"]).iter_errors(document)]


def reference_errors(document: dict[str, Any]) -> Iterator[str]:
    """References to parameters, templates, tasks and outputs that are not there, or not there in time."""
    spec = document["spec"]
    templates = {template["name"]: template for template in spec["templates"]}
    parameters = {parameter["name"] for parameter in spec["arguments"]["parameters"]}
    if len(templates) != len(spec["templates"]):
        yield "two templates of one name"
    tasks = {task["name"]: task for task in templates[spec["entrypoint"]]["dag"]["tasks"]}
    for name, task in tasks.items():
        yield from (f"{name}: no task {need}" for need in task.get("dependencies", ()) if need not in tasks)
        template = templates[task["template"]]
        for kind in ("parameters", "artifacts"):
            given = {argument["name"] for argument in task.get("arguments", {}).get(kind, ())}
            taken = {entry["name"] for entry in template.get("inputs", {}).get(kind, ())}
            if given != taken:
                yield f"{name}: {kind} given {sorted(given)}, taken {sorted(taken)}"
        known = {f"inputs.parameters.{entry['name']}" for entry in template.get("inputs", {}).get("parameters", ())}
        known |= {f"workflow.parameters.{parameter}" for parameter in parameters}
        known |= {"workflow.name", "workflow.uid", "pod.name"}
        yield from (f"{name}: unknown {tag}" for tag in TAG.findall(str(template)) if tag not in known)
        yield from _task_reference_errors(name, tasks, templates, parameters)


def _task_reference_errors(name: str, tasks: dict, templates: dict, parameters: set[str]) -> Iterator[str]:
    """References of a task's arguments and condition; Argo resolves only those to its ancestors."""
    before, waiting = set(), list(tasks[name].get("dependencies", ()))
    while waiting:
        need = waiting.pop()
        if need not in before:
            before.add(need)
            waiting += tasks[need].get("dependencies", ())
    text = str(tasks[name].get("arguments", "")) + tasks[name].get("when", "")
    yield from (
        f"{name}: when: no parameter {p}"
        for p in re.findall(r"workflow\.parameters\.(\w+)", text)
        if p not in parameters
    )
    found = [
        (task, kind, output)
        for task, _, kind, output in re.findall(r"tasks\.([\w-]+)(\.outputs\.(\w+)\.([\w-]+))", text)
    ]
    for task, what, output in INDEXED.findall(text.replace("\\'", "'")):
        found.append((task, what.split(".")[1].split("[")[0] if output else "", output))
    for task, kind, output in found:
        if task not in before:
            yield f"{name}: {task} is not before it"
        elif output and output not in {e["name"] for e in templates[tasks[task]["template"]]["outputs"].get(kind, ())}:
            yield f"{name}: {task} has no {kind} {output}"
