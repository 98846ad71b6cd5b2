"""Reads Kubeflow's compiled pipeline (IR YAML): from nested DAGs to one flat list of steps.

The IR is nested: a condition is a DAG of its own, whose inputs and outputs only pass values on. `Pipeline.plan` removes
the nesting: it makes one `Step` per container. A step names the source of each input, the steps that it runs after,
and its conditions. A source is a `Constant`, an `Output` of another step, `FirstOf` several outputs (those of the
branches of a condition), or a `Template` of parameters. `pipelines.ir.values` reads the values at run time.

Loops (ParallelFor), exit handlers and importers are not supported: a pipeline that has one is refused.
"""

import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TypedDict

import yaml

from pebr.errors import InputError
from pipelines.ir.plan import REFERENCE, Constant, FirstOf, Guard, Json, Output, Retry, Source, Step, Template, cast

Sources = Mapping[str, Source]


class Input(TypedDict, total=False):
    """A parameter of the pipeline."""

    parameterType: str
    defaultValue: object
    description: str


class Pipeline:
    """A compiled pipeline.

    Attributes:
        name: name of the pipeline.
        inputs: its parameters, by name.
        document: the IR.
        platform: the IR's second document, with the settings of kfp-kubernetes; {} if there is none.
        kubernetes: these settings, by the label of the step's executor.
    """

    def __init__(self, path: Path) -> None:
        """Read a compiled pipeline.

        Raises:
            InputError: the file is missing, or it is not a compiled pipeline.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such compiled pipeline: write it with python -m pipelines.compile")
        documents = [d for d in yaml.safe_load_all(path.read_text()) if d]
        if not documents or "root" not in documents[0]:
            raise InputError(f"{path}: not a compiled pipeline: write it again with python -m pipelines.compile")
        self.document: Json = documents[0]
        self.platform: Json = documents[1] if len(documents) > 1 else {}
        kubernetes = self.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
        self.kubernetes: Mapping[str, Json] = kubernetes.get("executors", {})
        self.name: str = self.document["pipelineInfo"]["name"]
        self.inputs: Mapping[str, Input] = self.document["root"].get("inputDefinitions", {}).get("parameters", {})

    def set_defaults(self, values: Mapping[str, object]) -> None:
        """Give these parameters new defaults, also in `document`."""
        for name, value in values.items():
            self.inputs[name]["defaultValue"] = value

    def plan(self, values: Mapping[str, object]) -> list[Step]:
        """All steps, each after the steps that it needs. Parameters that are not in `values` have their defaults.

        Raises:
            InputError: the pipeline uses something that this reader does not support.
        """
        given = {name: spec.get("defaultValue") for name, spec in self.inputs.items()} | dict(values)
        parameters: dict[str, Source] = {
            name: Constant(cast(value, self.inputs[name]["parameterType"])) for name, value in given.items()
        }
        steps: list[Step] = []
        self._expand(self.document["root"], parameters, {}, (), frozenset(), steps)
        return steps

    def _expand(
        self,
        component: Json,
        parameters: Sources,
        artifacts: Sources,
        guards: tuple[Guard, ...],
        after: frozenset[str],
        steps: list[Step],
    ) -> dict[str, Source]:
        """Append the steps of a DAG to `steps`; returns the sources of its outputs."""
        tasks: Mapping[str, Json] = component["dag"]["tasks"]
        needs = {n: sorted({*t.get("dependentTasks", ()), *_producers(t)}) for n, t in sorted(tasks.items())}
        made: dict[str, dict[str, Source]] = {}  # outputs of each task
        leaves: dict[str, frozenset[str]] = {}  # steps of each task
        for name in TopologicalSorter(needs).static_order():
            task = tasks[name]
            inner = self.document["components"][task["componentRef"]["name"]]
            bound = _bind(task, parameters, artifacts, made)
            before = after.union(*(leaves[need] for need in needs[name]))
            inner_guards = guards + _guard(name, task, bound[0])
            first = len(steps)
            if "dag" in inner:
                made[name] = self._expand(inner, *bound, inner_guards, before, steps)
            else:
                step = self._step(name, task, inner, bound, inner_guards, before, {s.id for s in steps})
                steps.append(step)
                made[name] = {o: Output(step.id, o) for o in (*step.parameter_outputs, *step.artifact_outputs)}
            leaves[name] = frozenset(step.id for step in steps[first:])
        return {name: _selected(spec, made) for name, spec in _output_specs(component["dag"])}

    def _step(
        self,
        name: str,
        task: Json,
        component: Json,
        bound: tuple[dict[str, Source], dict[str, Source]],
        guards: tuple[Guard, ...],
        after: frozenset[str],
        taken: set[str],
    ) -> Step:
        """The step of a task whose component is a container."""
        label = component["executorLabel"]
        executor = self.document["deploymentSpec"]["executors"][label]
        title = task["taskInfo"]["name"]
        if "container" not in executor:
            raise InputError(f"task {title}: importers are not supported here: run it on Kubeflow")
        container = executor["container"]
        definitions = component.get("inputDefinitions", {})
        declared = definitions.get("parameters", {})
        defaults = {k: Constant(v["defaultValue"]) for k, v in declared.items() if "defaultValue" in v}
        outputs = component.get("outputDefinitions", {})
        deadline = self.kubernetes.get(label, {}).get("activeDeadlineSeconds")
        return Step(
            id=_unique(re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-"), taken),
            title=title,
            task=name,
            component=task["componentRef"]["name"].removeprefix("comp-"),
            command=(*container.get("command", ()), *container.get("args", ())),
            environment={e["name"]: e["value"] for e in container.get("env", ())},
            resources=container.get("resources", {}),
            parameters=defaults | bound[0],
            artifacts=bound[1],
            parameter_types={name: spec["parameterType"] for name, spec in declared.items()},
            parameter_outputs={k: v["parameterType"] for k, v in outputs.get("parameters", {}).items()},
            artifact_outputs={k: v["artifactType"]["schemaTitle"] for k, v in outputs.get("artifacts", {}).items()},
            optional=frozenset(k for k, v in definitions.get("artifacts", {}).items() if v.get("isOptional")),
            after=after,
            guards=guards,
            retry=_retry(task.get("retryPolicy")),
            timeout=float(deadline) if deadline else None,
        )


def _bind(
    task: Json, parameters: Sources, artifacts: Sources, made: Mapping[str, Sources]
) -> tuple[dict[str, Source], dict[str, Source]]:
    """The sources of a task's inputs: parameters, artifacts."""
    title = task["taskInfo"]["name"]
    if "parameterIterator" in task or "artifactIterator" in task:
        raise InputError(f"task {title}: loops are not supported here: run it on Kubeflow")
    inputs = task.get("inputs", {})
    bound: dict[str, Source] = {}
    for name, spec in inputs.get("parameters", {}).items():
        match spec:
            case {"runtimeValue": {"constant": constant}}:
                bound[name] = Constant(constant)
            case {"componentInputParameter": outer}:
                bound[name] = parameters[outer]
            case {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}:
                bound[name] = made[producer][key]
            case _:
                raise InputError(f"task {title}: input {name} comes from {next(iter(spec))}: run it on Kubeflow")
    for name, bound_source in bound.items():
        if isinstance(bound_source, Constant) and (referred := REFERENCE.findall(str(bound_source.value))):
            bound[name] = Template(str(bound_source.value), tuple((other, bound[other]) for other in referred))
    bound_artifacts: dict[str, Source] = {}
    for name, spec in inputs.get("artifacts", {}).items():
        match spec:
            case {"componentInputArtifact": outer}:
                if outer in artifacts:  # else: an optional input of the enclosing DAG, not given
                    bound_artifacts[name] = artifacts[outer]
            case {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": key}}:
                bound_artifacts[name] = made[producer][key]
    return bound, bound_artifacts


def _guard(name: str, task: Json, parameters: Sources) -> tuple[Guard, ...]:
    policy = task.get("triggerPolicy", {})
    if "strategy" in policy:
        raise InputError(f"task {name}: exit handlers are not supported here: run it on Kubeflow")
    return (Guard(policy["condition"], parameters),) if "condition" in policy else ()


def _producers(task: Json) -> Iterator[str]:
    """The tasks whose outputs are inputs of a task."""
    for kind in task.get("inputs", {}).values():
        for spec in kind.values():
            for output in spec.values():
                if isinstance(output, dict) and "producerTask" in output:
                    yield output["producerTask"]


def _output_specs(dag: Json) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A DAG's outputs: name and (task, output) pairs; the first pair that exists is used."""
    outputs = dag.get("outputs", {})
    for name, spec in outputs.get("artifacts", {}).items():
        yield name, [(s["producerSubtask"], s["outputArtifactKey"]) for s in spec["artifactSelectors"]]
    for name, spec in outputs.get("parameters", {}).items():
        selectors = (
            spec["valueFromOneof"]["parameterSelectors"] if "valueFromOneof" in spec else [spec["valueFromParameter"]]
        )
        yield name, [(s["producerSubtask"], s["outputParameterKey"]) for s in selectors]


def _selected(pairs: list[tuple[str, str]], made: Mapping[str, Sources]) -> Source:
    sources = tuple(made[task][output] for task, output in pairs)
    return sources[0] if len(sources) == 1 else FirstOf(sources)


def _retry(policy: Json | None) -> Retry:
    if not policy:
        return Retry()
    return Retry(
        count=int(policy.get("maxRetryCount", 0)),
        wait=float(str(policy.get("backoffDuration", "0s")).removesuffix("s")),
        factor=float(policy.get("backoffFactor", 2.0)),
        longest=float(str(policy.get("backoffMaxDuration", "3600s")).removesuffix("s")),
    )


def _unique(slug: str, taken: set[str]) -> str:
    """`slug`, or `slug-2` and so on: the two branches of a condition may hold steps of the same name."""
    return next(name for name in (slug, *(f"{slug}-{i}" for i in range(2, 1000))) if name not in taken)
