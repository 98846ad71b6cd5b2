"""Runs on Kubeflow Pipelines, through its REST API (v2beta1) and the official client's models.

The request that starts a run contains the compiled IR, so no pipeline is uploaded before. The API does not report a
step's metrics. So the artifacts of the run are stored under a prefix of our choice (`--artifacts`, the run's pipeline
root), and scores and the model are read from there. Evaluations and the final merge do not use Kubeflow's cache: their
cached artifacts would be in the folder of another run.

Each try to start a run first looks for it: the response to an earlier try may have been lost.
"""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import kfp_server_api as api

from pebr.errors import InputError
from pebr.store.opening import open_store
from pipelines.ir.kinds import EVALUATE, final_model
from pipelines.ir.plan import Json, Output
from pipelines.ir.reader import Pipeline
from pipelines.targets import FAILED, RUNNING, SUCCEEDED, Failure, Progress, Waiting
from pipelines.targets.pods import seconds_of
from pipelines.targets.retrying import TIMEOUT, persist

TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 - the path at which Kubeflow mounts it into pods
STATES = {"SUCCEEDED": SUCCEEDED, "SKIPPED": SUCCEEDED, "FAILED": FAILED, "CANCELED": FAILED}
REMEDIES = {
    401: "the token is missing or has expired: set KFP_TOKEN",
    403: "the token does not allow this: ask for a role in the namespace, or set another KFP_TOKEN",
    404: "there is no Kubeflow Pipelines API (v2beta1) there: fix --host",
}
Answer = TypeVar("Answer")


class Kubeflow:
    """Kubeflow Pipelines at an address: a `Target`."""

    def __init__(self, pipeline: Pipeline, host: str, artifacts: str, experiment: str, namespace: str) -> None:
        """Make a client; no request is sent yet.

        Args:
            pipeline: the compiled pipeline.
            host: address of the API, with or without /pipeline; the token is read from KFP_TOKEN or TOKEN_FILE.
            artifacts: `s3://` prefix or folder for the run's artifacts; "" for Kubeflow's default, without scores.
            experiment: name of the experiment; created if it does not exist.
            namespace: namespace in a Kubeflow for several users; "" otherwise.
        """
        if not host:
            raise InputError("no address of Kubeflow Pipelines: give --host https://... or set KFP_HOST")
        configuration = api.Configuration(host=host.rstrip("/"))
        configuration.retries = False  # `pipelines.targets.retrying` retries what is safe to repeat
        if certificates := os.environ.get("SSL_CERT_FILE"):
            configuration.ssl_ca_cert = certificates
        self.client = api.ApiClient(configuration)
        self.runs, self.experiments = api.RunServiceApi(self.client), api.ExperimentServiceApi(self.client)
        self.pipeline, self.host, self.artifacts = pipeline, host.rstrip("/"), artifacts.rstrip("/")
        self.experiment, self.namespace = experiment, namespace
        self.run_id = ""
        self._keys: list[str] = []  # of the artifacts of a run that has ended

    def submit(self, name: str, parameters: Mapping[str, object]) -> str:
        experiment = self._experiment()
        config = api.V2beta1RuntimeConfig(parameters=dict(parameters), pipeline_root=self.artifacts or None)
        body = api.V2beta1Run(
            display_name=name, experiment_id=experiment, pipeline_spec=self._spec(), runtime_config=config
        )

        def start() -> str:
            for run in self._runs(name, experiment):  # newest first
                if STATES.get(run.state) != FAILED:
                    return str(run.run_id)
                break
            return str(self.runs.run_service_create_run(run=body, _request_timeout=TIMEOUT).run_id)

        self.run_id, self._keys = self._persist(start, f"start run {name}"), []
        return f"{self.host.removesuffix('/pipeline')}/#/runs/details/{self.run_id}"

    def progress(self) -> Progress:
        run = self._run()
        tasks = self._tasks(run)
        steps = {step: (task.state or "pending").lower() for step, task in tasks}
        pods = f"kubectl --namespace {self.namespace or 'kubeflow'} get pods --selector pipeline/runid={self.run_id}"
        silent = f"Kubeflow does not say why; {pods}"
        held = {
            step: Waiting(_message(task.error) or silent, seconds_of(task.create_time or task.start_time))
            for step, task in tasks
            if steps[step] == "pending"
        }
        state = STATES.get(run.state, RUNNING)
        if state == RUNNING and not steps:
            held = {"the run": Waiting(_message(run.error) or silent, seconds_of(run.created_at))}
        return Progress(state, steps, _message(run.error), held)

    def failures(self) -> list[Failure]:
        namespace = self.namespace or "kubeflow"
        found = []
        for step, task in dict(self._tasks(self._run())).items():
            if STATES.get(task.state) == FAILED:
                pods = [task.pod_name, *(child.pod_name for child in task.child_tasks or ())]
                pod = next((name for name in reversed(pods) if name), f"--selector pipeline/runid={self.run_id}")
                command = f"kubectl --namespace {namespace} logs {pod} --container main"
                found.append(Failure(step, None, _message(task.error), command))
        return found

    def _run(self) -> api.V2beta1Run:
        ask = partial(self.runs.run_service_get_run, self.run_id, _request_timeout=TIMEOUT)
        return self._persist(ask, "ask for the run", run=f"run {self.run_id}")

    def _tasks(self, run: api.V2beta1Run) -> list[tuple[str, api.V2beta1PipelineTaskDetail]]:
        """The tasks of the run that are steps, with the steps' ids, sorted by start."""
        names = self._steps | {step.title: step.id for step in self.pipeline.plan({})}
        details = (run.run_details.task_details if run.run_details else None) or []
        ordered = sorted(details, key=lambda task: str(task.start_time or ""))
        return [(names[task.display_name], task) for task in ordered if task.display_name in names]

    def scores(self) -> dict[str, dict[str, float]]:
        store = open_store(self._root())
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            for step, key in self._outputs("metrics"):
                store.get(key, Path(folder) / "metrics")
                found[step] = json.loads((Path(folder) / "metrics").read_text())
        return found

    def location(self, artifact: Output) -> str:
        keys = [key for step, key in self._outputs(artifact.name) if step == artifact.step]
        return f"{self.artifacts}/{keys[-1]}" if keys else ""

    def _root(self) -> str:
        if not self.artifacts:
            raise InputError("scores and models are read from the run's artifacts: give --artifacts s3://bucket/prefix")
        return self.artifacts

    def _outputs(self, output: str) -> Iterator[tuple[str, str]]:
        """Ids of the steps that have an output of this name, and its key: .../RUN/TASK/EXECUTION/OUTPUT."""
        start = f"{self.pipeline.name}/{self.run_id}/"
        steps = self._steps
        pattern = re.compile(rf"({re.escape(start)}([^/]+)/[^/]+/{output})(/.*)?")
        self._keys = self._keys or open_store(self._root()).list(start)
        found = {match[1]: match[2] for key in self._keys if (match := pattern.match(key))}
        return ((steps[task], key) for key, task in found.items() if task in steps)

    @cached_property
    def _steps(self) -> dict[str, str]:
        """Id of each step, by the name of its task in the IR."""
        return {step.task: step.id for step in self.pipeline.plan({})}

    def _spec(self) -> Json:
        """The pipeline in the API's form; steps whose outputs are read from the run's artifacts are never cached."""
        document = json.loads(json.dumps(self.pipeline.document))
        steps = self.pipeline.plan({})
        model = final_model(steps)
        read = {step.task for step in steps if step.module == EVALUATE or (model and step.id == model.step)}
        for component in [document["root"], *document["components"].values()]:
            for name, task in component.get("dag", {}).get("tasks", {}).items():
                if name in read:
                    task["cachingOptions"] = {}
        return {
            "pipeline_spec": document,
            **({"platform_spec": self.pipeline.platform} if self.pipeline.platform else {}),
        }

    def _experiment(self) -> str:
        """The id of the experiment, which is created if it does not exist."""
        selection = _named("display_name", self.experiment)
        scope = {"namespace": self.namespace} if self.namespace else {}

        def ask() -> str:
            listed = self.experiments.experiment_service_list_experiments(
                filter=selection, _request_timeout=TIMEOUT, **scope
            )
            if listed.experiments:
                return str(listed.experiments[0].experiment_id)
            body = api.V2beta1Experiment(display_name=self.experiment, **scope)
            try:
                made = self.experiments.experiment_service_create_experiment(experiment=body, _request_timeout=TIMEOUT)
            except api.ApiException as error:
                if error.status == 409:  # another process was faster: ask again
                    return ask()
                raise
            return str(made.experiment_id)

        return self._persist(ask, f"find experiment {self.experiment}")

    def _runs(self, name: str, experiment: str) -> list[api.V2beta1Run]:
        """Runs of this name, newest first."""
        listed = self.runs.run_service_list_runs(
            experiment_id=experiment,
            filter=_named("display_name", name),
            sort_by="created_at desc",
            page_size=10,
            _request_timeout=TIMEOUT,
        )
        return listed.runs or []

    def _persist(self, action: Callable[[], Answer], what: str, run: str = "") -> Answer:
        def authorized() -> Answer:
            if token := _token():
                self.client.set_default_header("authorization", f"Bearer {token}")
            return action()

        return persist(authorized, what, self.host, REMEDIES, run)


def _message(error: api.GoogleRpcStatus | None) -> str:
    return str(error.message) if error else ""


def _token() -> str:
    """The token, read again for each request: the file's token is renewed during a long wait."""
    known = os.environ.get("KFP_TOKEN", "")
    return known or (Path(TOKEN_FILE).read_text().strip() if Path(TOKEN_FILE).is_file() else "")


def _named(key: str, value: str) -> str:
    """A filter of the API for resources whose key has this value."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "stringValue": value}]})
