"""The compiled pipeline as a plain Argo Workflow, for a cluster with Argo and without Kubeflow.

Every step of the IR's flat plan (`pipelines.ir`) becomes a container template and a task of one DAG. What Kubeflow's
launcher does, Argo does itself: artifacts go through its artifact repository (as plain files and folders, not as
archives), pipeline parameters are workflow parameters, conditions are `when`, the outputs of two branches are joined by
`fromExpression`. A wrong input (exit code 2) is not tried again; everything else is, as often as the IR says.

The containers run as any user but root, without privileges, on a read-only root file system; what is written goes to
/tmp, a volume. Step metrics are output parameters too, so that `pipelines.submit` reads the scores from the workflow's
status. The result is the same bytes for the same IR.

Left out, and refused with a line that says so: what `pipelines.ir` refuses, an optional input that a condition may
leave out, and settings of kfp-kubernetes that `pipelines.clusters.placement` never writes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pebr.errors import EXIT_WRONG_INPUT, InputError
from pipelines.clusters.placement import PRIORITY, SCRATCH
from pipelines.forms import pod
from pipelines.ir.plan import REFERENCE, Constant, FirstOf, Guard, Output, Source, Step, Template, cast
from pipelines.ir.reader import Pipeline
from pipelines.ir.values import command_line, written

INPUTS, OUTPUTS = f"{SCRATCH}/inputs", f"{SCRATCH}/outputs"
USER = 1000  # of the pods, Argo's own containers included; the image runs as any
SERVICE_ACCOUNT = "pebr-workflow"
GRACE = 600  # seconds that a step has, told to stop, to write and store a checkpoint; one that has ended is let go
KEPT = 30 * 24 * 3600  # seconds that a workflow that has ended is kept; its artifacts stay
NAMES = {
    "$": "",  # the executor input: Kubeflow's, and steps write nothing for Kubeflow without it
    "$.pipeline_job_name": "{{workflow.name}}",
    "$.pipeline_job_uuid": "{{workflow.uid}}",
    "$.pipeline_job_resource_name": "{{workflow.name}}",
    "$.pipeline_task_name": "{{pod.name}}",
    "$.pipeline_task_uuid": "{{pod.name}}",
}


@dataclass(frozen=True)
class PipelineParameter:
    """A pipeline parameter, which has no value yet."""

    name: str
    kind: str


@dataclass
class Inputs:
    """What a step takes from other steps: arguments of its task in the DAG, in the order in which they are met."""

    parameters: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)


def workflow(pipeline: Pipeline) -> dict[str, Any]:
    """The `Workflow` of a pipeline, ready for `kubectl create`."""
    return _manifest("Workflow", {"generateName": f"{pipeline.name}-"}, pipeline)


def workflow_template(pipeline: Pipeline) -> dict[str, Any]:
    """The `WorkflowTemplate` of a pipeline, from which Argo's UI, a CronWorkflow or `argo submit --from` start runs."""
    return _manifest("WorkflowTemplate", {"name": pipeline.name}, pipeline)


def _manifest(kind: str, metadata: Mapping[str, str], pipeline: Pipeline) -> dict[str, Any]:
    description = pipeline.document["pipelineInfo"].get("description", "")
    annotations = {"workflows.argoproj.io/description": description, "workflows.argoproj.io/version": ">= 3.5.0"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": kind,
        "metadata": {**metadata, "labels": {"app.kubernetes.io/name": pipeline.name}, "annotations": annotations},
        "spec": specification(pipeline),
    }


def specification(pipeline: Pipeline) -> dict[str, Any]:
    """The `spec` of a pipeline's workflow.

    Raises:
        InputError: when the pipeline has something that a plain workflow cannot express.
    """
    steps = pipeline.plan({name: PipelineParameter(name, s["parameterType"]) for name, s in pipeline.inputs.items()})
    by_id = {step.id: step for step in steps}
    executors = {step.id: _executor(pipeline, step) for step in steps}
    images = {container["image"] for container, _ in executors.values()}
    pull_secrets = sorted({s["secretName"] for _, kube in executors.values() for s in kube.get("imagePullSecret", ())})
    tasks, templates = [], []
    for step in steps:
        inputs = Inputs()
        container, kubernetes = executors[step.id]
        image = "{{workflow.parameters.image}}" if len(images) == 1 else container["image"]
        template = _template(step, image, kubernetes, inputs)  # fills `inputs`
        templates.append(template)
        tasks.append(_task(step, by_id, inputs))
    parameters = [_parameter(name, spec) for name, spec in pipeline.inputs.items()]
    if len(images) == 1:
        described = "image of every step; a digest (name@sha256:...) is the right value"
        parameters.insert(0, {"name": "image", "value": images.pop(), "description": described})
    return {
        "entrypoint": "main",
        "serviceAccountName": SERVICE_ACCOUNT,
        "archiveLogs": True,
        "podGC": {"strategy": "OnPodSuccess"},
        "podSpecPatch": f'{{"terminationGracePeriodSeconds": {GRACE}}}',
        "ttlStrategy": {"secondsAfterCompletion": KEPT},
        "artifactRepositoryRef": {"configMap": "artifact-repositories", "key": "pebr"},
        **({"imagePullSecrets": [{"name": name} for name in pull_secrets]} if pull_secrets else {}),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "arguments": {"parameters": parameters},
        "templates": [{"name": "main", "dag": {"tasks": tasks}}, *templates],
    }


def _executor(pipeline: Pipeline, step: Step) -> tuple[dict[str, Any], dict[str, Any]]:
    """A step's container and its Kubernetes settings, as the IR has them."""
    label = pipeline.document["components"][f"comp-{step.component}"]["executorLabel"]
    kubernetes = pipeline.kubernetes.get(label, {})
    if unknown := sorted(set(kubernetes) - pod.SUPPORTED):
        raise InputError(f"step {step.id}: {', '.join(unknown)}: not written for Argo: take it out, or use Kubeflow")
    return pipeline.document["deploymentSpec"]["executors"][label]["container"], kubernetes


def _parameter(name: str, spec: Mapping[str, Any]) -> dict[str, str]:
    made = {"name": name}
    if "defaultValue" in spec:
        made["value"] = written(cast(spec["defaultValue"], spec["parameterType"]))
    if "description" in spec:
        made["description"] = spec["description"]
    return made


def _task(step: Step, steps: Mapping[str, Step], inputs: Inputs) -> dict[str, Any]:
    """The step's task in the DAG."""
    task: dict[str, Any] = {"name": step.id, "template": step.id}
    if step.after:
        task["dependencies"] = sorted(step.after)
    if step.guards:
        conditions = " && ".join(f"({_condition(guard, steps)})" for guard in step.guards)
        task["when"] = "{{=" + conditions + "}}"
    for name, source in step.artifacts.items():
        if name in step.optional and isinstance(source, Output) and steps[source.step].guards != step.guards:
            raise InputError(f"step {step.id}: input {name} may be left out by a condition: use Kubeflow")
    if inputs.parameters or inputs.artifacts:
        task["arguments"] = {}
    if inputs.parameters:
        task["arguments"]["parameters"] = [{"name": k, "value": v} for k, v in inputs.parameters.items()]
    if inputs.artifacts:
        task["arguments"]["artifacts"] = [{"name": k, **v} for k, v in inputs.artifacts.items()]
    return task


def _template(step: Step, image: str, kubernetes: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """The step's container template; `inputs` is filled with what its task must be given."""
    for name, source in step.artifacts.items():
        inputs.artifacts[name] = _artifact(source)
    executor_input = {
        "inputs": {
            "parameterValues": {
                name: _text(step.parameters[name], kind, inputs)
                for name, kind in step.parameter_types.items()
                if name in step.parameters
            },
            "artifacts": {name: {"artifacts": [{"uri": f"{INPUTS}/{name}"}]} for name in step.artifacts},
        },
        "outputs": {
            "parameters": {name: {"outputFile": f"{OUTPUTS}/{name}"} for name in step.parameter_outputs},
            "artifacts": {name: {"artifacts": [{"uri": f"{OUTPUTS}/{name}"}]} for name in step.artifact_outputs},
            "outputFile": f"{OUTPUTS}/executor-output.json",
        },
    }
    words = command_line(step, executor_input, NAMES)
    metadata = kubernetes.get("podMetadata", {})
    labels = {"app.kubernetes.io/component": re.sub(r"-\d+$", "", step.component), **metadata.get("labels", {})}
    annotations = dict(metadata.get("annotations", {}))
    priority = annotations.pop(PRIORITY, "")
    template: dict[str, Any] = {
        "name": step.id,
        "metadata": {"labels": labels, **_present("annotations", annotations)},
        **_present("priorityClassName", priority),
        **_present("nodeSelector", kubernetes.get("nodeSelector", {}).get("labels")),
        **_present("tolerations", kubernetes.get("tolerations")),
        **_present("activeDeadlineSeconds", step.timeout and int(step.timeout)),
        **_present("retryStrategy", _retries(step)),
    }
    taken = {
        **_present("parameters", [{"name": name} for name in inputs.parameters]),
        **_present("artifacts", [{"name": name, "path": f"{INPUTS}/{name}"} for name in inputs.artifacts]),
    }
    volumes, mounts = pod.volumes(kubernetes)
    template |= {
        **_present("inputs", taken),
        **_present("outputs", _outputs(step)),
        "volumes": volumes,
        "container": {
            "image": image,
            **_present("imagePullPolicy", kubernetes.get("imagePullPolicy")),
            "command": words[:1],
            "args": words[1:],
            **_present("env", [*pod.environment(step.environment, kubernetes)]),
            **_present("resources", pod.resources(step.resources)),
            "securityContext": pod.security_context(kubernetes),
            "volumeMounts": mounts,
        },
    }
    return template


def _present(name: str, value: Any) -> dict[str, Any]:
    """A field, or none where its value is empty."""
    return {name: value} if value else {}


def _outputs(step: Step) -> dict[str, Any]:
    """Output parameters and artifacts; metrics are both."""
    metrics = [name for name, schema in step.artifact_outputs.items() if schema == "system.Metrics"]
    plain = [{"name": n, "valueFrom": {"path": f"{OUTPUTS}/{n}"}} for n in (*step.parameter_outputs, *metrics)]
    artifacts = [{"name": n, "path": f"{OUTPUTS}/{n}", "archive": {"none": {}}} for n in step.artifact_outputs]
    return {**_present("parameters", plain), **_present("artifacts", artifacts)}


def _text(source: Source, kind: str, inputs: Inputs) -> str:
    """A parameter as it stands in a command: its value, or Argo's reference to it."""
    match source:
        case Constant(PipelineParameter(name=name)):
            return f"{{{{workflow.parameters.{name}}}}}"
        case Constant(value):
            return _literal(written(cast(value, kind)))
        case Template(text, parameters):
            values = {name: _text(inner, "STRING", inputs) for name, inner in parameters}
            return "".join(values[part] if i % 2 else _literal(part) for i, part in enumerate(REFERENCE.split(text)))
        case Output(step, name):
            inputs.parameters[f"{step}-{name}"] = f"{{{{tasks.{step}.outputs.parameters.{name}}}}}"
            return f"{{{{inputs.parameters.{step}-{name}}}}}"
        case FirstOf(sources):
            outputs = [source for source in sources if isinstance(source, Output)]
            name = "-or-".join(f"{output.step}-{output.name}" for output in outputs)
            inputs.parameters[name] = "{{=" + _first(outputs, "parameters") + "}}"
            return f"{{{{inputs.parameters.{name}}}}}"


def _literal(text: str) -> str:
    """A text of the IR; Argo would take double braces for a reference of its own."""
    if "{{" in text:
        raise InputError(f"value {text}: double braces mean a reference to Argo: write it without")
    return text


def _artifact(source: Source) -> dict[str, Any]:
    """Where an artifact comes from, as a task's argument."""
    match source:
        case Output(step, name):
            return {"from": f"{{{{tasks.{step}.outputs.artifacts.{name}}}}}"}
        case FirstOf(sources):
            return {"fromExpression": _first([s for s in sources if isinstance(s, Output)], "artifacts")}
    raise InputError(f"an artifact comes from {source}: use Kubeflow")


def _first(outputs: Sequence[Output], kind: str) -> str:
    """The expression for the first output whose step has run; one of them has."""
    *choices, last = [(f"tasks['{o.step}']", f"tasks['{o.step}'].outputs.{kind}['{o.name}']") for o in outputs]
    tests = "".join(f"{task}.status == 'Succeeded' ? {value} : " for task, value in choices)
    return tests + last[1]


def _condition(guard: Guard, steps: Mapping[str, Step]) -> str:
    """A condition in Argo's expression language, which shares its signs with the IR's; all its parameters are text."""

    def operand(found: re.Match[str]) -> str:
        match guard.parameters[found[1]]:
            case Constant(PipelineParameter(name=name, kind=kind)):
                text = f"workflow.parameters.{name}"
            case Output(step, name):
                text, kind = f"tasks['{step}'].outputs.parameters['{name}']", steps[step].parameter_outputs[name]
            case other:
                raise InputError(f"condition {guard.expression}: depends on {other}: use Kubeflow")
        forms = {"BOOLEAN": "({} == 'true')", "NUMBER_INTEGER": "asInt({})", "NUMBER_DOUBLE": "asFloat({})"}
        return forms.get(kind, "{}").format(text)

    return re.sub(r"inputs\.parameter_values\['([^']+)'\]", operand, guard.expression)


def _retries(step: Step) -> dict[str, Any]:
    """Argo's `maxDuration` is left out: it counts from the first attempt on and would end retries of a long step."""
    retry = step.retry
    if not retry.count:
        return {}
    return {
        "limit": str(retry.count),
        "retryPolicy": "Always",
        "expression": f"asInt(lastRetry.exitCode) != {EXIT_WRONG_INPUT}",
        "backoff": {"duration": f"{retry.wait:g}s", "factor": f"{retry.factor:g}"},
    }
