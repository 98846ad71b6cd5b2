"""The launcher of a step on several nodes: `python -m pipelines.nodes pebr.grpo --model ... --output ...`

It runs in the step's own pod, with few resources: it copies the inputs to the store of the checkpoints, makes the job
that PEBR_NODES describes, shows the log of node 0 as its own, and fetches the outputs. Exit codes are those of a step:

    0   the outputs are where the flags say
    2   wrong input: that of a node, or one that keeps the nodes from starting
    75  preempted: this pod got SIGTERM, or a node did; the nodes had their time to write a checkpoint
    else, that of the first node that failed; the job is deleted, a retry makes it again and resumes

Started again for the same run, it goes on with the job that it finds. Its pod owns the job: when it is deleted, so are
the nodes.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from kubernetes import client

from pebr.errors import EXIT_PREEMPTED, EXIT_WRONG_INPUT, InputError, Preempted
from pebr.step.command import parse, write_metrics
from pebr.step.identity import facts_of, run_name
from pebr.step.outputs import check_outputs
from pebr.step.settings import Input, Output, ResumableSettings, fields
from pebr.telemetry.logs import configure
from pipelines.ir.plan import Json
from pipelines.ir.values import written
from pipelines.nodes import jobs
from pipelines.nodes.exchange import Exchange
from pipelines.nodes.following import Following
from pipelines.nodes.jobs import KINDS, Container, Jobs, Manifest
from pipelines.nodes.removal import job_to_follow
from pipelines.parameters import settings_of
from pipelines.targets import TargetError
from pipelines.targets.cluster import connect

log = logging.getLogger("pebr.nodes")

FOLDER = "/tmp"  # noqa: S108 - of a node, for inputs and outputs; a volume of its pod
# Variables that a node gets from the launcher, unless the cluster file sets them; Kubeflow's plugin sets MLflow's.
PASSED_ON = ("PEBR_RUN", "PEBR_LOG_LEVEL", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a step on several nodes; returns the exit code."""
    configure()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    module, *flags = sys.argv[1:] if arguments is None else arguments
    try:
        launch = Launch(module, flags)
        return launch.run(stop)
    except InputError as error:
        log.error("%s", error)  # noqa: TRY400 - the message is complete
        return EXIT_WRONG_INPUT
    except Preempted as preempted:
        log.warning("%s", preempted)
        return EXIT_PREEMPTED
    except (TargetError, OSError) as error:  # OSError: of the store
        log.error("%s", error)  # noqa: TRY400
        return 1


class Launch:
    """One step on its nodes.

    Attributes:
        name: of the job; the same for a launcher that is started again.
        exchange: for its inputs and outputs.
    """

    def __init__(self, module: str, flags: Sequence[str]) -> None:
        """Read the step's settings and the description of the nodes.

        Raises:
            InputError: the settings are wrong, there is no cluster, or the nodes cannot exchange anything.
        """
        self.module = module
        settings = parse(settings_of(module.removeprefix("pebr.")), flags)
        if not isinstance(settings, ResumableSettings) or not settings.checkpoints.startswith("s3://"):
            given = getattr(settings, "checkpoints", "")
            raise InputError(
                f"--checkpoints {given!r}: the nodes share no disk: give checkpoints=s3://bucket/prefix, through which"
                " inputs and outputs go"
            )
        self.settings = settings
        try:
            self.told: Json = json.loads(os.environ["PEBR_NODES"])
        except (KeyError, ValueError):
            raise InputError("PEBR_NODES: not set by a cluster file: compile the pipeline with nodes: ...") from None
        kind = KINDS[self.told.get("as") or ("trainjob" if settings.executor_input else "job")]
        what = getattr(settings, "stage", "") or module.removeprefix("pebr.")
        facts = {"step": facts_of(settings), "run": os.environ.get("PEBR_RUN", ""), "nodes": self.told}
        self.name = f"pebr-{what}-{run_name(facts)}"
        try:
            where, namespace = connect()
        except TargetError as error:
            raise InputError(f"{error}: to run without a cluster, compile the pipeline without nodes") from None
        self.namespace, self.jobs = namespace, Jobs(kind, self.name, namespace, where)
        self.exchange = Exchange(f"{settings.checkpoints.rstrip('/')}/{self.name}-exchange")
        roles = [(s.name, s.role, str(getattr(settings, s.name))) for s in fields(type(settings))]
        # An input that is no path stands for itself, such as the name of a CLIP model.
        self.inputs = {n: Path(v) for n, role, v in roles if isinstance(role, Input) and v and Path(v).exists()}
        self.outputs = {n: Path(v) for n, role, v in roles if isinstance(role, Output) and v}

    def run(self, stop: threading.Event) -> int:
        """Run the step to its end; returns the exit code.

        Raises:
            InputError: the cluster refuses the job.
            Preempted: `stop` was set; the nodes have ended.
            TargetError: the cluster does not answer, and the job is left as it is for the next launcher; or an earlier
                job of this run does not end.
        """
        if not self.exchange.is_done():
            self.exchange.beat()
            self.exchange.put_inputs(self.inputs)
            if stop.is_set():
                raise Preempted("stopped by SIGTERM before the nodes were started")
            self._start(stop)
            following = Following(self.jobs, self.exchange, self.namespace, self.told["count"])
            if code := following.to_the_end(stop):
                return code
            if not self.exchange.is_done():
                log.error("%s has ended, but its outputs are not in %s", self.jobs.told, self.exchange.location)
                self.jobs.delete()
                return 1
        self.exchange.fetch_outputs(self.outputs)
        metrics = self.outputs.get("metrics")
        if metrics is not None:  # Kubeflow reads them from a file of its own, too
            write_metrics(self.settings, json.loads(metrics.read_text()))
        check_outputs(self.settings)
        self.jobs.delete()
        self.exchange.delete()
        return 0

    def _start(self, stop: threading.Event) -> None:
        """Create the job, or go on with the one that an earlier launcher of this run has left."""
        own = self._pod()
        found = job_to_follow(self.jobs, stop)
        if found is None:
            body = jobs.manifest(self.jobs.kind, self.name, self.told, self._container(own), _owner(own))
            try:
                self.jobs.create(body)
            except TargetError as error:
                if error.passing:
                    raise
                hint = ": bind the role pebr-launcher of k8s/base to this pod's account" if "403" in str(error) else ""
                raise InputError(f"{error}{hint}") from error
            log.info("%s: %d nodes", self.jobs.told, self.told["count"])
            return
        log.info("%s: found, going on with it", self.jobs.told)
        owners = found["metadata"].get("ownerReferences", [])
        if own.metadata.uid not in {owner["uid"] for owner in owners}:
            self.jobs.own([*owners, _owner(own)])

    def _pod(self) -> client.V1Pod:
        """The pod of this process."""
        name = os.environ.get("PEBR_POD", "")
        if not name:
            raise InputError("PEBR_POD: not set: this command runs in a pod of the pipeline, not by hand")
        return self.jobs.pod(name)

    def _container(self, own: client.V1Pod) -> Container:
        """The container of a node: the image of this pod, and the step's command with paths of the node."""
        image = next(container.image for container in own.spec.containers if container.name == "main")
        paths = {name: f"{FOLDER}/inputs/{name}" for name in self.inputs}
        paths |= {name: f"{FOLDER}/outputs/{name}" for name in self.outputs}
        words = ["python", "-m", "pipelines.nodes.node", "--exchange", self.exchange.location, "--folder", FOLDER]
        words += ["--inputs", ",".join(self.inputs), "--outputs", ",".join(self.outputs), "--"]
        command = [*words, self.module, *_flags(self.settings, {**paths, "executor_input": ""})]
        known = {entry["name"] for entry in self.told["pod"]["spec"]["containers"][0]["env"]}
        variables = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name) and name not in known}
        return Container(image, command, variables)


def _flags(settings: ResumableSettings, changes: Mapping[str, str]) -> list[str]:
    """The command line of settings, with some values changed."""
    flags = []
    for setting in fields(type(settings)):
        flags += [setting.flag, written(changes.get(setting.name, getattr(settings, setting.name)))]
    return flags


def _owner(pod: client.V1Pod) -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}
