"""Resources of each step on a cluster: CPUs, memory, GPUs, volumes, secrets, node selection, time limit, retries.

A cluster file (`pipelines/clusters/*.yaml`) holds settings for all steps (`defaults`) and for single steps (`steps`, by
component name). `placed` sets them on a task of the DAG at compile time, through kfp-kubernetes. So they are in the IR,
and the Argo form and the local runner read them there. The environment variable PEBR_CLUSTER names the cluster file:
the name of a file in pipelines/clusters/, or a path. Default: cpu.

The IR has no field for these; the Argo form (`pipelines.forms.argo`) writes them itself:
- a pod's PriorityClass. The IR holds it as an annotation. On Kubeflow, use an admission policy, or Kueue's labels.
- dropped capabilities and seccomp. Kubeflow enforces both for every pod.
- the time between SIGTERM and SIGKILL: none on Kubeflow, whose launcher does not pass the signal on; more on Argo. On
  Kubeflow only periodic checkpoints count: set `checkpoints=s3://...` and `save_minutes`.
- the exit codes that are retried: Argo and the local runner do not retry a wrong input. Kubeflow 2.17, as it is
  installed, retries no step that exits with an error, whatever `retries` says: Argo's defaults there have
  `retryPolicy: OnError`. With `retryPolicy: Always` in the workflow controller's configuration, or none, it retries
  all, wrong inputs too.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml
from kfp import kubernetes
from kfp.dsl.pipeline_task import PipelineTask

from pebr.errors import InputError
from pipelines.clusters.checks import fault
from pipelines.ir.plan import Json
from pipelines.parameters import TASKS

CLUSTERS = Path(__file__).parent
SCRATCH = "/tmp"  # noqa: S108 - besides its outputs, a step writes only to this folder; it holds HOME and caches
USER = 1000  # of pods that the code writes itself; the image runs as any user
GRACE = 600  # seconds between SIGTERM and SIGKILL in such pods: the time to write and upload a checkpoint
LONGEST = 30 * 24 * 3600  # seconds; stands for no limit
PRIORITY = "pebr/priority-class"  # annotation that holds the PriorityClass in the IR
PROMETHEUS = "prometheus.io"  # annotations that say where to scrape
WORKFLOW = "workflows.argoproj.io/workflow"  # label that Argo gives every pod, also below Kubeflow
OWN = {"app.kubernetes.io/part-of": "pebr"}  # label of pods with metrics, for PodMonitors
ON_NODES = ("sft", "grpo")  # steps that train on several nodes
CACHE = "/cache"  # mount path of the volume `cache_claim`


@dataclass(frozen=True)
class Placement:
    """The settings of one step."""

    cpu: str = "1"  # requested CPUs, as a Kubernetes quantity
    memory: str = "2G"  # requested memory; also the limit
    gpus: int = 0  # GPUs; 0 for none
    gpu_resource: str = "nvidia.com/gpu"  # resource name of the device plugin
    # Size of a memory volume at /dev/shm, which is part of `memory`; empty for the default of 64 MB. NCCL and data
    # loaders with worker processes need more
    shared_memory: str = ""
    scratch: str = ""  # size limit of the volume at /tmp; empty for none
    cache_claim: str = ""  # name of a PersistentVolumeClaim for downloaded models, mounted at /cache; empty for none
    timeout: int = 0  # time limit of one attempt in seconds; 0 for no limit
    retries: int = 2  # number of retries after a failed attempt
    backoff: int = 10  # seconds before the first retry; the wait doubles with each retry
    run_as_user: int = -1  # user id of the process, not 0; -1 for the default of the image or the platform
    # The pod's PriorityClass; empty for the cluster's default; ignored on Kubeflow, see above
    priority_class: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)  # labels of the pod, such as Kueue's queue and priority
    annotations: Mapping[str, str] = field(default_factory=dict)  # annotations of the pod
    node_selector: Mapping[str, str] = field(default_factory=dict)  # required labels of the node
    tolerations: tuple[Mapping[str, str], ...] = ()  # taints that are tolerated: key, operator, value, effect
    # Environment from secrets: secret name -> key -> variable. A missing secret is no error.
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # Environment from config maps: name -> key -> variable. A missing one is no error.
    config: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # Port of /metrics and /healthz, in the pod's annotations `prometheus.io/...`; 0 opens none
    metrics_port: int = 0
    # Always, IfNotPresent or Never; empty for Kubernetes' default: Always if the tag is `latest`
    pull_policy: str = ""
    pull_secrets: tuple[str, ...] = ()  # names of the secrets for pulling the image
    # Number of pods that sft or grpo trains on, each with the resources above. With more than one, the step's own pod
    # is a small launcher (`pipelines.nodes`); this needs checkpoints=s3://...
    nodes: int = 1
    # How the launcher makes them: `trainjob` (Kubeflow Trainer v2) or `job` (an Indexed Job); empty for a TrainJob on
    # Kubeflow and a Job on plain Argo
    nodes_as: str = ""
    nodes_account: str = ""  # service account of these pods, without rights; empty for the namespace's default


class Cluster:
    """The placements of a cluster file."""

    def __init__(self, path: Path) -> None:
        """Read and check a cluster file.

        Raises:
            InputError: the file is missing, or has an unknown step or setting, or a value that Kubernetes would refuse.
        """
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in CLUSTERS.glob("*.yaml")))
            raise InputError(f"{path}: no such cluster file: set PEBR_CLUSTER to one of {known}, or to a path")
        self.path = path
        try:
            document = yaml.safe_load(path.read_text()) or {}
        except yaml.YAMLError as error:
            raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}): fix it") from None
        if not isinstance(document, dict) or not all(isinstance(part, dict | None) for part in document.values()):
            raise InputError(f"{path}: not a cluster file: it needs mappings under defaults: and steps:")
        if unknown := set(document) - {"defaults", "steps"}:
            raise InputError(
                f"{path}: {', '.join(sorted(unknown))}: unknown at the top level: give only defaults and steps"
            )
        self.defaults: Json = document.get("defaults") or {}
        self.steps: Mapping[str, Json] = document.get("steps") or {}
        steps = {task.step for task in TASKS.values()}
        if strange := set(self.steps) - steps:
            raise InputError(
                f"{path}: steps: no step {', '.join(sorted(strange))}: known are {', '.join(sorted(steps))}"
            )
        for step in ("defaults", *self.steps):
            self.of(step)

    def of(self, component: str) -> Placement:
        """The settings of a component's steps: the defaults, overridden by the component's own."""
        own = self.steps.get(component) or {}
        if not isinstance(own, dict):
            raise InputError(f"{self.path}, {component}: {own!r}: give a mapping of settings to values")
        given = {**self.defaults, **own}
        types = {field.name: type(field.default) for field in dataclasses.fields(Placement)}
        for name, value in given.items():
            if name not in types:
                raise InputError(f"{self.path}, {component}: no setting {name}: known are {', '.join(types)}")
            if types[name] in (int, str) and type(value) is not types[name]:
                raise InputError(f"{self.path}, {component}: {name}: {value!r} must be {types[name].__name__}")
            if problem := fault(name, value):
                raise InputError(f"{self.path}, {component}: {name}: {problem}")
        if given.get("nodes", 1) > 1 and component not in ON_NODES:
            raise InputError(
                f"{self.path}, {component}: nodes: only {' and '.join(ON_NODES)} train on several nodes: set it there"
            )
        for name in ("tolerations", "pull_secrets"):
            given[name] = tuple(given.get(name, ()))
        return Placement(**given)


@cache
def load(name: str) -> Cluster:
    """Read the cluster file with this name in pipelines/clusters/, or at this path."""
    return Cluster(Path(name) if name.endswith((".yaml", ".yml")) else CLUSTERS / f"{name}.yaml")


def placed(task: PipelineTask, placement: Placement) -> PipelineTask:
    """Set the resources of a placement on a task.

    Kubeflow counts the maximum duration of retries from the start of the first attempt (default: one hour). So it must
    cover all attempts; else a step that ran for longer would not be retried.
    """
    task.set_cpu_request(placement.cpu)
    task.set_memory_request(placement.memory).set_memory_limit(placement.memory)
    task.set_retry(
        placement.retries,
        backoff_duration=f"{placement.backoff}s",
        backoff_factor=2.0,
        backoff_max_duration=f"{(placement.timeout or LONGEST) * (placement.retries + 1)}s",
    )
    if placement.gpus:
        task.set_accelerator_type(placement.gpu_resource).set_accelerator_limit(placement.gpus)
    if placement.timeout:
        kubernetes.set_timeout(task, placement.timeout)
    if placement.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=placement.shared_memory)  # noqa: S108
    if placement.scratch:
        kubernetes.empty_dir_mount(task, "scratch", SCRATCH, size_limit=placement.scratch)
    if placement.cache_claim:
        kubernetes.mount_pvc(task, placement.cache_claim, CACHE)
        task.set_env_variable("HF_HOME", f"{CACHE}/huggingface")
    user = placement.run_as_user
    kubernetes.set_security_context(task, run_as_user=None if user < 0 else user, run_as_non_root=True)
    priority = {PRIORITY: placement.priority_class} if placement.priority_class else {}
    own = _monitored(task, placement.metrics_port) if placement.metrics_port else {}
    for add, pairs in (
        (kubernetes.add_pod_label, placement.labels),
        (kubernetes.add_pod_annotation, {**own, **placement.annotations, **priority}),
        (kubernetes.add_node_selector, placement.node_selector),
    ):
        for key, value in sorted(pairs.items()):
            add(task, key, value)
    for toleration in placement.tolerations:
        kubernetes.add_toleration_json(task, dict(toleration))
    for name, variables in sorted(placement.secrets.items()):
        kubernetes.use_secret_as_env(task, name, dict(variables), optional=True)
    for name, variables in sorted(placement.config.items()):
        kubernetes.use_config_map_as_env(task, name, dict(variables), optional=True)
    if placement.pull_policy:
        kubernetes.set_image_pull_policy(task, placement.pull_policy)
    if placement.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(placement.pull_secrets))
    return task


def _monitored(task: PipelineTask, port: int) -> dict[str, str]:
    """Label a task for a PodMonitor and let it open this port; returns the annotations that say so."""
    for key, value in OWN.items():
        kubernetes.add_pod_label(task, key, value)
    # From the annotation: the same IR opens no port where it runs without Kubernetes.
    kubernetes.use_field_path_as_env(task, "PEBR_METRICS_PORT", f"metadata.annotations['{PROMETHEUS}/port']")
    kubernetes.use_field_path_as_env(task, "PEBR_RUN", f"metadata.labels['{WORKFLOW}']")
    return metrics_annotations(port)


def metrics_annotations(port: int) -> dict[str, str]:
    """The annotations of a pod that say where to scrape."""
    scraped = {"scrape": "true", "port": str(port), "path": "/metrics"}
    return {f"{PROMETHEUS}/{name}": value for name, value in scraped.items()}


def container_security(user: int = -1) -> Json:
    """The security context of a container: no privileges, a read-only root file system, and this user, if not -1."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        **({"runAsUser": user} if user >= 0 else {}),
    }
