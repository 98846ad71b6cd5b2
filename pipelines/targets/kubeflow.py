"""Runs on Kubeflow Pipelines, through its REST API (v2beta1) and the official client's models.

The compiled IR goes along with the run, so nothing need be uploaded before. The API does not tell what a step has
measured: the artifacts of the run are put under a prefix of our choice (`--artifacts`, the run's pipeline root), and
scores and the model are read from there. So evaluations and the last merge are not taken from Kubeflow's cache: what
they made would lie with another run.

Starting a run looks for it first, each time it is tried: an answer that was lost may have been a yes.
"""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import kfp_server_api as api

from pebr.errors import InputError
from pebr.store.opening import open_store
from pipelines.ir.reader import Pipeline
from pipelines.targets import FAILED, FINAL_MODEL, RUNNING, SUCCEEDED, Progress
from pipelines.targets.retrying import TIMEOUT, persist

TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 - where Kubeflow mounts one into pods
STATES = {"SUCCEEDED": SUCCEEDED, "SKIPPED": SUCCEEDED, "FAILED": FAILED, "CANCELED": FAILED}
REMEDIES = {
    401: "the token is missing or has expired: set KFP_TOKEN",
    403: "the token does not allow this: ask for a role in the namespace, or set another KFP_TOKEN",
    404: "there is no Kubeflow Pipelines API (v2beta1) there: mend --host",
}
Answer = TypeVar("Answer")


class Kubeflow:
    """Kubeflow Pipelines at an address."""

    def __init__(self, pipeline: Pipeline, host: str, artifacts: str, experiment: str, namespace: str) -> None:
        """A client; nothing is sent yet.

        Args:
            pipeline: the compiled pipeline.
            host: address of the API, with or without /pipeline; the token is taken from KFP_TOKEN or TOKEN_FILE.
            artifacts: `s3://` prefix or folder for the run's artifacts; "" for Kubeflow's own, without scores then.
            experiment: name of the experiment; made when it is not there.
            namespace: of a Kubeflow with several users; "" otherwise.
        """
        if not host:
            raise InputError("no address of Kubeflow Pipelines: give --host https://... or set KFP_HOST")
        configuration = api.Configuration(host=host.rstrip("/"))
        configuration.retries = False  # tried again here, where it is known what may be
        if certificates := os.environ.get("SSL_CERT_FILE"):
            configuration.ssl_ca_cert = certificates
        self.client = api.ApiClient(configuration)
        self.runs, self.experiments = api.RunServiceApi(self.client), api.ExperimentServiceApi(self.client)
        self.pipeline, self.host, self.artifacts = pipeline, host.rstrip("/"), artifacts.rstrip("/")
        self.experiment, self.namespace = experiment, namespace
        self.run_id = ""

    def submit(self, name: str, parameters: Mapping[str, Any]) -> str:
        """See `Target.submit`."""
        experiment = self._experiment()
        config = api.V2beta1RuntimeConfig(parameters=dict(parameters), pipeline_root=self.artifacts or None)
        body = api.V2beta1Run(
            display_name=name, experiment_id=experiment, pipeline_spec=self._spec(), runtime_config=config
        )

        def start() -> str:
            for run in self._runs(name, experiment):  # the newest first
                if STATES.get(run.state) != FAILED:
                    return str(run.run_id)
                break
            return str(self.runs.run_service_create_run(run=body, _request_timeout=TIMEOUT).run_id)

        self.run_id = self._persist(start, f"start run {name}")
        return f"{self.host.removesuffix('/pipeline')}/#/runs/details/{self.run_id}"

    def progress(self) -> Progress:
        """See `Target.progress`."""
        run = self._persist(
            lambda: self.runs.run_service_get_run(self.run_id, _request_timeout=TIMEOUT), "ask for the run"
        )
        names = dict(self._steps()) | {step.title: step.id for step in self.pipeline.plan({})}
        details = (run.run_details.task_details if run.run_details else None) or []
        steps = {
            names[task.display_name]: (task.state or "pending").lower()
            for task in sorted(details, key=lambda task: str(task.start_time or ""))
            if task.display_name in names
        }
        return Progress(STATES.get(run.state, RUNNING), steps, run.error.message if run.error else "")

    def scores(self) -> dict[str, dict[str, float]]:
        """See `Target.scores`."""
        store = open_store(self._location())
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            for step, key in self._outputs("metrics"):
                store.get(key, Path(folder) / "metrics")
                found[step] = json.loads((Path(folder) / "metrics").read_text())
        return found

    def model(self) -> str:
        """See `Target.model`."""
        keys = [key for step, key in self._outputs("output") if step == FINAL_MODEL]
        return f"{self.artifacts}/{keys[-1]}" if keys else ""

    def _location(self) -> str:
        if not self.artifacts:
            raise InputError("scores and models are read from the run's artifacts: give --artifacts s3://bucket/prefix")
        return self.artifacts

    def _outputs(self, output: str) -> Iterator[tuple[str, str]]:
        """Steps of the run that have an output of this name, and its key: .../RUN/TASK/EXECUTION/OUTPUT."""
        start = f"{self.pipeline.name}/{self.run_id}/"
        steps = dict(self._steps())
        pattern = re.compile(rf"({re.escape(start)}([^/]+)/[^/]+/{output})(/.*)?")
        found = {
            match[1]: match[2] for key in open_store(self._location()).list(start) if (match := pattern.match(key))
        }
        return ((steps[task], key) for key, task in found.items() if task in steps)

    def _steps(self) -> Iterator[tuple[str, str]]:
        """Kubeflow's name of each task, which is unique in the pipeline, and our id of the step."""
        ids = {step.component: step.id for step in self.pipeline.plan({})}
        for component in [self.pipeline.document["root"], *self.pipeline.document["components"].values()]:
            for name, task in component.get("dag", {}).get("tasks", {}).items():
                called = task["componentRef"]["name"].removeprefix("comp-")
                if called in ids:
                    yield name, ids[called]

    def _spec(self) -> dict[str, Any]:
        """The pipeline as the API takes it; what is read from a run's artifacts is made anew in each run."""
        document = json.loads(json.dumps(self.pipeline.document))
        read = {task for task, step in self._steps() if step.startswith("evaluate") or step == FINAL_MODEL}
        for component in [document["root"], *document["components"].values()]:
            for name, task in component.get("dag", {}).get("tasks", {}).items():
                if name in read:
                    task["cachingOptions"] = {}
        return {
            "pipeline_spec": document,
            **({"platform_spec": self.pipeline.platform} if self.pipeline.platform else {}),
        }

    def _experiment(self) -> str:
        """The experiment's id; it is made when it is not there."""
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
                if error.status == 409:  # somebody was faster: ask again
                    return ask()
                raise
            return str(made.experiment_id)

        return self._persist(ask, f"find experiment {self.experiment}")

    def _runs(self, name: str, experiment: str) -> list[Any]:
        """Runs of this name, the newest first."""
        listed = self.runs.run_service_list_runs(
            experiment_id=experiment,
            filter=_named("display_name", name),
            sort_by="created_at desc",
            page_size=10,
            _request_timeout=TIMEOUT,
        )
        return listed.runs or []

    def _persist(self, action: Callable[[], Answer], what: str) -> Answer:
        def authorized() -> Answer:
            if token := _token():
                self.client.set_default_header("authorization", f"Bearer {token}")
            return action()

        return persist(authorized, what, self.host, REMEDIES)


def _token() -> str:
    """The token, read anew for each request: the one in the file is renewed while a run is waited for."""
    known = os.environ.get("KFP_TOKEN", "")
    return known or (Path(TOKEN_FILE).read_text().strip() if Path(TOKEN_FILE).is_file() else "")


def _named(key: str, value: str) -> str:
    """A filter of the API: the key equals the value."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "stringValue": value}]})
