"""The compiled pipeline as a plain Argo Workflow, for a cluster with Argo and without Kubeflow.

Every step of the IR's flat plan (`pipelines.ir`) becomes a container template and a task of one DAG. Argo replaces
Kubeflow's launcher: artifacts go through Argo's artifact repository (as plain files and folders, not as archives),
pipeline parameters are workflow parameters, conditions are `when`, the outputs of two branches are joined by
`fromExpression`. A wrong input (exit code 2) is not retried; other failures are, as often as the IR says.

All containers of a pod, Argo's own too, do not run as root, have no privileges and a read-only root file system, as the
pod security standard `restricted` demands; steps write to the volume /tmp.
Step metrics are also output parameters, so that `pipelines.submit` reads the scores from the workflow's status. The
same IR gives the same bytes.

Not supported: what `pipelines.ir` does not support, an optional input that a condition may leave out, and settings of
kfp-kubernetes that `pipelines.clusters.placement` never writes. They raise an InputError.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pebr.errors import EXIT_WRONG_INPUT, InputError
from pipelines.clusters import launcher
from pipelines.clusters.placement import GRACE, PRIORITY, SCRATCH, USER
from pipelines.forms import pod
from pipelines.forms.pod import Manifest
from pipelines.ir.plan import REFERENCE, Constant, FirstOf, Guard, Json, Output, Source, Step, Template, cast
from pipelines.ir.reader import Pipeline
from pipelines.ir.values import command_line, written

INPUTS, OUTPUTS = f"{SCRATCH}/inputs", f"{SCRATCH}/outputs"
SERVICE_ACCOUNT, LAUNCHER_ACCOUNT = "pebr-workflow", "pebr-launcher"  # of a step; of a step on several nodes
KEPT = 30 * 24 * 3600  # seconds until an ended workflow is deleted; its artifacts stay
NAMES = {
    "$": "",  # the executor input is for Kubeflow; without it, steps write nothing for Kubeflow
    "$.pipeline_job_name": "{{workflow.name}}",
    "$.pipeline_job_uuid": "{{workflow.uid}}",
    "$.pipeline_job_resource_name": "{{workflow.name}}",
    "$.pipeline_task_name": "{{pod.name}}",
    "$.pipeline_task_uuid": "{{pod.name}}",
}


@dataclass(frozen=True)
class PipelineParameter:
    """A pipeline parameter without a value."""

    name: str
    kind: str


@dataclass
class Inputs:
    """The inputs of a step from other steps: arguments of its task in the DAG, in the order of their use."""

    parameters: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, Manifest] = field(default_factory=dict)


def workflow(pipeline: Pipeline) -> Manifest:
    """The `Workflow` of a pipeline, ready for `kubectl create`."""
    return _manifest("Workflow", {"generateName": f"{pipeline.name}-"}, pipeline)


def workflow_template(pipeline: Pipeline) -> Manifest:
    """The `WorkflowTemplate` of a pipeline; Argo's UI, a CronWorkflow or `argo submit --from` start runs from it."""
    return _manifest("WorkflowTemplate", {"name": pipeline.name}, pipeline)


def _manifest(kind: str, metadata: Mapping[str, str], pipeline: Pipeline) -> Manifest:
    description = pipeline.document["pipelineInfo"].get("description", "")
    annotations = {"workflows.argoproj.io/description": description, "workflows.argoproj.io/version": ">= 3.6.0"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": kind,
        "metadata": {**metadata, "labels": {"app.kubernetes.io/name": pipeline.name}, "annotations": annotations},
        "spec": specification(pipeline),
    }


def specification(pipeline: Pipeline) -> Manifest:
    """The `spec` of a pipeline's workflow.

    Raises:
        InputError: the pipeline uses a feature that a plain workflow does not have.
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
        "podSpecPatch": json.dumps(_pod_patch()),
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


def _pod_patch() -> Manifest:
    """The grace period, and a security context for Argo's own containers, which have none."""
    context = pod.security_context({})
    return {
        "terminationGracePeriodSeconds": GRACE,
        "initContainers": [{"name": "init", "securityContext": context}],
        "containers": [{"name": "wait", "securityContext": context}],
    }


def _executor(pipeline: Pipeline, step: Step) -> tuple[Json, Json]:
    """The container and the Kubernetes settings of a step in the IR."""
    label = pipeline.document["components"][f"comp-{step.component}"]["executorLabel"]
    kubernetes = pipeline.kubernetes.get(label, {})
    if unknown := sorted(set(kubernetes) - pod.SUPPORTED):
        raise InputError(f"step {step.id}: {', '.join(unknown)}: not supported on Argo: remove it, or use Kubeflow")
    return pipeline.document["deploymentSpec"]["executors"][label]["container"], kubernetes


def _parameter(name: str, spec: Json) -> dict[str, str]:
    made = {"name": name}
    if "defaultValue" in spec:
        made["value"] = written(cast(spec["defaultValue"], spec["parameterType"]))
    if "description" in spec:
        made["description"] = spec["description"]
    return made


def _task(step: Step, steps: Mapping[str, Step], inputs: Inputs) -> Manifest:
    """The step's task in the DAG."""
    task: Manifest = {"name": step.id, "template": step.id}
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


def _template(step: Step, image: str, kubernetes: Json, inputs: Inputs) -> Manifest:
    """The step's container template; fills `inputs` with the arguments of its task."""
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
    template: Manifest = {
        "name": step.id,
        "metadata": {"labels": labels, **_present("annotations", annotations)},
        **_present("serviceAccountName", launcher.VARIABLE in step.environment and LAUNCHER_ACCOUNT),
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


def _present(name: str, value: object) -> Manifest:
    """A field, or nothing if its value is empty."""
    return {name: value} if value else {}


def _outputs(step: Step) -> Manifest:
    """Output parameters and artifacts; metrics are both."""
    metrics = [name for name, schema in step.artifact_outputs.items() if schema == "system.Metrics"]
    plain = [{"name": n, "valueFrom": {"path": f"{OUTPUTS}/{n}"}} for n in (*step.parameter_outputs, *metrics)]
    artifacts = [{"name": n, "path": f"{OUTPUTS}/{n}", "archive": {"none": {}}} for n in step.artifact_outputs]
    return {**_present("parameters", plain), **_present("artifacts", artifacts)}


def _text(source: Source, kind: str, inputs: Inputs) -> str:
    """A parameter in a command: its value, or Argo's reference to it."""
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
    """A text of the IR; Argo would read double braces as a reference."""
    if "{{" in text:
        raise InputError(f"value {text}: double braces are a reference in Argo: remove them")
    return text


def _artifact(source: Source) -> Manifest:
    """The source of an artifact, as an argument of a task."""
    match source:
        case Output(step, name):
            return {"from": f"{{{{tasks.{step}.outputs.artifacts.{name}}}}}"}
        case FirstOf(sources):
            return {"fromExpression": _first([s for s in sources if isinstance(s, Output)], "artifacts")}
    raise InputError(f"an artifact comes from {source}: use Kubeflow")


def _first(outputs: Sequence[Output], kind: str) -> str:
    """The expression for the first output whose step has succeeded; one of them has."""
    *choices, last = [(f"tasks['{o.step}']", f"tasks['{o.step}'].outputs.{kind}['{o.name}']") for o in outputs]
    tests = "".join(f"{task}.status == 'Succeeded' ? {value} : " for task, value in choices)
    return tests + last[1]


def _condition(guard: Guard, steps: Mapping[str, Step]) -> str:
    """A condition in Argo's expression language, which has the IR's operators; its parameters are all strings."""

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


def _retries(step: Step) -> Manifest:
    """The retry strategy; no `maxDuration`, as it includes the attempts: a long step would not be retried."""
    retry = step.retry
    if not retry.count:
        return {}
    return {
        "limit": str(retry.count),
        "retryPolicy": "Always",
        "expression": f"asInt(lastRetry.exitCode) != {EXIT_WRONG_INPUT}",
        "backoff": {"duration": f"{retry.wait:g}s", "factor": f"{retry.factor:g}"},
    }
