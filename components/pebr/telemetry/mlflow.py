"""MLflow as a tracker, over its REST API, without its package.

    MLFLOW_TRACKING_URI                             http(s) address of the server
    MLFLOW_RUN_ID                                   a run to log to; without it, each step makes a run of its own
    MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID  where new runs are made; `pebr` if neither is set
    MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD

If the run is given, other steps log to it too: names begin with the step and its stage (`grpo/perception/reward`), and
its status stays as it is. Files are sent through the server (`mlflow-artifacts:`), not to a bucket beside it.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

from pebr.telemetry.trackers import About, RefusedError, Row, UnreachableError

log = logging.getLogger(__name__)

METRICS_PER_REQUEST, PARAMETERS_PER_REQUEST = 1000, 100  # at most, says MLflow
LONGEST_PARAMETER = 500  # characters that every version of MLflow takes
REQUEST_SECONDS = 10.0
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses after which it is tried again
ARTIFACTS = "mlflow-artifacts:"
OTHER_SERVER = "the answer is not MLflow's: check MLFLOW_TRACKING_URI"


class MlFlow:
    """A tracker for the server that these variables name (see the module's docstring)."""

    name = "mlflow"

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._variables = environment
        self._run_id = environment.get("MLFLOW_RUN_ID", "")
        self._shared = bool(self._run_id)
        self._prefix = ""
        self._artifacts = ""

    @cached_property
    def _client(self) -> httpx.Client:
        token, user = (self._variables.get(f"MLFLOW_TRACKING_{name}") for name in ("TOKEN", "USERNAME"))
        return httpx.Client(
            base_url=self._variables["MLFLOW_TRACKING_URI"].rstrip("/"),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            auth=(user, self._variables.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None,
            timeout=REQUEST_SECONDS,
        )

    def start(self, about: About) -> None:
        """Find the given run, or make one; log the parameters."""
        if self._shared:
            self._prefix = "/".join(filter(None, (about.step, about.stage))) + "/"
        if self._run_id:
            found = self._call("GET", "runs/get", {"run_id": self._run_id})
        else:
            tags = {"pebr.step": about.step, "pebr.stage": about.stage, "pebr.run": about.run}
            asked = {
                "experiment_id": self._experiment(),
                "run_name": about.name,
                "start_time": _now(),
                "tags": [{"key": key, "value": value} for key, value in tags.items() if value],
            }
            found = self._call("POST", "runs/create", asked)
        info = _of(_of(found, "run"), "info")
        self._run_id, self._artifacts = _of(info, "run_id"), info.get("artifact_uri", "")
        parameters = [
            {"key": self._prefix + name, "value": str(value)[:LONGEST_PARAMETER]}
            for name, value in about.parameters.items()
        ]
        try:
            for part in _parts(parameters, PARAMETERS_PER_REQUEST):
                self._call("POST", "runs/log-batch", {"run_id": self._run_id, "params": part})
        except RefusedError as error:
            if not self._shared:
                raise
            # MLflow changes no parameter: those of an earlier step of this kind stay, such as another evaluation's.
            log.warning("mlflow: the run keeps the parameters that it has: %s", error)

    def log(self, rows: Sequence[Row]) -> None:
        """Send the numbers of training steps."""
        values = (
            {"key": self._prefix + _key(name), "value": value, "timestamp": row.milliseconds, "step": row.step}
            for row in rows
            for name, value in row.numbers.items()
        )
        for part in _parts(values, METRICS_PER_REQUEST):
            self._call("POST", "runs/log-batch", {"run_id": self._run_id, "metrics": part})

    def end(self, results: Mapping[str, float] | None, files: Sequence[Path]) -> None:
        """Send the final numbers and the files, and end a run of our own."""
        self.log([Row(0, _now(), {f"final/{name}": value for name, value in (results or {}).items()})])
        if not self._shared:
            status = "FAILED" if results is None else "FINISHED"
            self._call("POST", "runs/update", {"run_id": self._run_id, "status": status, "end_time": _now()})
        for file in files:
            if not self._artifacts.startswith(ARTIFACTS):
                raise RefusedError(f"{file.name}: the run's artifacts are at {self._artifacts}, not at the server")
            folder = self._artifacts.removeprefix(ARTIFACTS).strip("/")
            path = f"/api/2.0/mlflow-artifacts/artifacts/{folder}/{self._prefix}{file.name}"
            self._request("PUT", path, content=file.read_bytes())

    def _experiment(self) -> str:
        """The id of the experiment for new runs, which is made if it is not there."""
        if known := self._variables.get("MLFLOW_EXPERIMENT_ID"):
            return known
        name = self._variables.get("MLFLOW_EXPERIMENT_NAME") or "pebr"
        try:
            return str(_of(self._call("POST", "experiments/create", {"name": name}), "experiment_id"))
        except RefusedError:  # it is there
            found = self._call("GET", "experiments/get-by-name", {"experiment_name": name})
            return str(_of(_of(found, "experiment"), "experiment_id"))

    def _call(self, method: str, what: str, content: Mapping[str, object]) -> dict[str, Any]:
        path = f"/api/2.0/mlflow/{what}"
        answer = self._request(method, path, **({"params": content} if method == "GET" else {"json": content}))
        try:
            return dict(answer.json())
        except (ValueError, TypeError) as error:
            raise RefusedError(f"{path}: {OTHER_SERVER}") from error

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        """One request.

        Raises:
            UnreachableError: the server fails, or does not answer in time.
            RefusedError: it does not take the request.
        """
        try:
            answer = self._client.request(method, path, **content)
        except httpx.RequestError as error:
            raise UnreachableError(f"{self._client.base_url}: {type(error).__name__} {error}") from error
        except httpx.InvalidURL as error:
            raise RefusedError(f"MLFLOW_TRACKING_URI={self._variables['MLFLOW_TRACKING_URI']}: {error}") from error
        said = f"{path}: {answer.status_code} {' '.join(answer.text.split())[:200]}"
        if answer.status_code in PASSING:
            raise UnreachableError(said)
        if not answer.is_success:
            raise RefusedError(said)
        return answer


def _of(answer: Any, name: str) -> Any:
    """A field of an answer.

    Raises:
        RefusedError: it has none, so another server has answered.
    """
    if not isinstance(answer, Mapping) or name not in answer:
        raise RefusedError(f"no {name!r} in {str(answer)[:200]}: {OTHER_SERVER}")
    return answer[name]


def _key(name: str) -> str:
    """A name with the characters that MLflow allows.

    >>> _key("reward/tests.rewards:vowels=1")
    'reward/tests.rewards:vowels_1'
    """
    return "".join(sign if sign.isalnum() or sign in "_-. :/" else "_" for sign in name)


def _parts(items: Iterable[Mapping[str, object]], size: int) -> Iterable[list[Mapping[str, object]]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _now() -> int:
    return time.time_ns() // 1_000_000
