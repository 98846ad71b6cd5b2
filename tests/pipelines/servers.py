"""HTTP servers for `pipelines.submit`: the parts of Kubeflow's API (v2beta1) and Kubernetes' that it uses, and faults.

Both keep what they are sent and check it as the real ones would: Kubeflow's with the official client's models, which
raise on unknown or wrong fields. `faults` are served first, one a request, in order:

    a number      that HTTP status, nothing done
    drop          the connection is cut before anything is done
    drop-after    the request is done, and the connection cut before the answer
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Refused(Exception):
    """An HTTP status to answer with."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Text(str):
    """An answer that is no JSON."""


class Server:
    """What both have: faults, a log of requests, a token."""

    def __init__(self) -> None:
        self.faults: list[int | str] = []
        self.requests: list[str] = []
        self.token = ""
        self.address = ""
        self.lock = threading.Lock()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        raise NotImplementedError


class Kubeflow(Server):
    """Experiments and runs. `script` is what a run's states are, one a question; the last one stays."""

    def __init__(self) -> None:
        super().__init__()
        self.client = api.ApiClient()
        self.experiments: list[api.V2beta1Experiment] = []
        self.runs: list[api.V2beta1Run] = []
        self.script: list[str] = ["PENDING", "RUNNING", "SUCCEEDED"]
        self.tasks: list[str] = ["ingest", "evaluate-3"]
        self.when_started = lambda run: None

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        match method, path.removeprefix("/apis/v2beta1/").split("/"):
            case "GET", ["experiments"]:
                found = [e for e in self.experiments if self._selected(e, query)]
                return self._plain(api.V2beta1ListExperimentsResponse(experiments=found, total_size=len(found)))
            case "POST", ["experiments"]:
                made = self._model(body, "V2beta1Experiment")
                if made.display_name in {e.display_name for e in self.experiments}:
                    raise Refused(409, "Already exist error")
                made.experiment_id = f"experiment-{len(self.experiments)}"
                self.experiments.append(made)
                return self._plain(made)
            case "GET", ["runs"]:
                found = [r for r in reversed(self.runs) if self._selected(r, query)]
                assert query.get("sort_by") == "created_at desc"
                return self._plain(api.V2beta1ListRunsResponse(runs=found, total_size=len(found)))
            case "POST", ["runs"]:
                made = self._model(body, "V2beta1Run")
                assert {"pipeline_spec", "platform_spec"} >= set(made.pipeline_spec) > {"platform_spec"}
                if made.experiment_id not in {e.experiment_id for e in self.experiments}:
                    raise Refused(404, "no such experiment")
                made.run_id, made.state, made.created_at = f"run-{len(self.runs)}", "PENDING", NOW
                self.runs.append(made)
                self.when_started(made)
                return self._plain(made)
            case "GET", ["runs", run_id]:
                run = next((r for r in self.runs if r.run_id == run_id), None)
                if run is None:
                    raise Refused(404, "no such run")
                run.state = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if run.state == "GONE":
                    raise Refused(404, "no such run")
                details = [
                    api.V2beta1PipelineTaskDetail(
                        run_id=run_id, task_id=t, display_name=t, state=run.state, start_time=NOW
                    )
                    for t in (*self.tasks, "root-driver")
                ]
                run.run_details = api.V2beta1RunDetails(task_details=details if run.state != "PENDING" else [])
                if run.state == "FAILED" and details:
                    details[-2].child_tasks = [
                        api.PipelineTaskDetailChildTask(pod_name="pebr-r1-x-system-container-impl-1")
                    ]
                    run.error = api.GoogleRpcStatus(code=2, message="task evaluate-3 failed")
                return self._plain(run)
        raise Refused(404, "Not Found")

    def _selected(self, item: Any, query: dict[str, str]) -> bool:
        """Whether a filter, in the words of filter.proto, takes the item."""
        (predicate,) = json.loads(query["filter"])["predicates"]
        assert predicate["operation"] == "EQUALS"
        return getattr(item, predicate["key"]) == predicate["stringValue"]

    def _model(self, body: Any, kind: str) -> Any:
        """The body as the client's model; an unknown field is a 400, as in the real server."""
        known = set(getattr(api, kind).attribute_map.values())
        if unknown := set(body) - known:
            raise Refused(400, f"unknown field {unknown}")
        return self.client._ApiClient__deserialize(body, kind)

    def _plain(self, model: Any) -> Any:
        return self.client.sanitize_for_serialization(model)


class Kubernetes(Server):
    """Custom objects, jobs, pods and events of a namespace: created, listed by label, read; logs of pods.

    `script` is what a status is, one a question; None deletes the object.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[str, list[dict[str, Any]]] = {"workflows": [], "jobs": [], "pods": [], "events": []}
        self.script: list[dict[str, Any] | None] = []
        self.logs: dict[str, str] = {}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        found = re.fullmatch(
            r"/(?:api|apis/[\w.]+)/v1\w*/namespaces/team/(workflows|jobs|pods|events)(?:/([\w.-]+?))?(/log)?", path
        )
        if not found:
            raise Refused(404, "the server could not find the requested resource")
        kept, name = self.kinds[found[1]], found[2]
        if method == "POST":
            if body["metadata"]["name"] in {item["metadata"]["name"] for item in kept}:
                raise Refused(409, "already exists")
            body["metadata"]["creationTimestamp"] = f"2026-11-21T00:00:{len(kept):02}Z"
            kept.append(body | {"status": {}})
            return body
        if found[3]:
            assert query["container"] in ("main", "run")
            if name not in self.logs:
                raise Refused(404, f'pods "{name}" not found')
            return Text(self.logs[name])
        if name:
            item = next((item for item in kept if item["metadata"]["name"] == name), None)
            if item is None:
                raise Refused(404, "not found")
            if self.script and self.script[0] is None:
                kept.remove(item)
                raise Refused(404, "not found")
            if self.script:
                item["status"] = self.script.pop(0)
            return item
        if found[1] == "events":
            wanted = dict(pair.split("=") for pair in query["fieldSelector"].split(","))
            return {"items": [e for e in kept if wanted["involvedObject.name"] == e["involvedObject"]["name"]]}
        label, _, value = query["labelSelector"].partition("=")
        return {"items": [item for item in kept if item["metadata"].get("labels", {}).get(label) == value]}


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server, reachable at its `address` while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            split = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            with server.lock:
                fault = server.faults.pop(0) if server.faults else ""
                server.requests.append(f"{self.command} {split.path}")
                if fault == "drop":
                    return self.cut()
                try:
                    self.admit(fault)
                    query = {key: values[0] for key, values in parse_qs(split.query).items()}
                    status, told = 200, server.answer(self.command, split.path, query, body)
                except Refused as refusal:
                    status, told = refusal.status, {"code": refusal.status, "message": refusal.message}
            if fault == "drop-after":
                return self.cut()
            plain = isinstance(told, Text)
            data = told.encode() if plain else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if plain else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            return self.wfile.write(data)

        def admit(self, fault: int | str) -> None:
            if isinstance(fault, int):
                raise Refused(fault, f"a fault: {fault}")
            if server.token and self.headers.get("authorization") != f"Bearer {server.token}":
                raise Refused(401, "Unauthorized")

        def cut(self) -> None:
            self.close_connection = True
            self.connection.close()

        do_GET = do_POST = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
