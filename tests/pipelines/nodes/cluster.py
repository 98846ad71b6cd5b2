"""A small Kubernetes on this machine: an API server over HTTP whose Jobs and TrainJobs run as processes.

It checks manifests against the published schemas, closed, and does what the controllers, the kubelet and the garbage
collector do as far as `pipelines.nodes` sees it: pods that wait for room, logs with times, restarts of containers,
a failed job that ends its other pods, SIGTERM and SIGKILL, foreground deletion, owners. It also stands for DNS: the
address at which nodes meet becomes that of this machine, with a free port per job.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

from tests.k8s.schemas import errors
from tests.s3_server import free_port

KINDS = {"jobs": "batch.kubernetes.io/job-name", "trainjobs": "jobset.sigs.k8s.io/jobset-name"}
INDEX = "batch.kubernetes.io/job-completion-index"
RESTART = 10.0  # seconds until the kubelet starts a failed container again
Json = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Refused(Exception):
    """An HTTP status to answer with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Pod:
    """A pod of a job: a process, or one that waits for room."""

    def __init__(self, name: str, index: int, spec: Json, labels: Json, folder: Path, owner: str) -> None:
        self.owner = owner  # uid of its job
        self.lost = False  # its machine is: no process there can be told to end
        self.name, self.index, self.spec, self.labels, self.folder = name, index, spec, labels, folder
        self.created, self.process, self.code, self.ended = now(), None, None, ""
        self.last: int | None = None  # exit code before the container was started again
        self.killed_at = float("inf")
        self.disrupted = False
        self.lines: list[str] = []

    def start(self, port: int, script: str) -> None:
        (container,) = self.spec["containers"]
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            re.sub(r"^((?:--[\w-]+=)?)/tmp(?=/|$)", rf"\1{self.folder}", word)
            for word in (*container["command"], *container.get("args", ()))
        ]
        if script:
            command = ["python", "-u", "-c", script]
        variables = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        variables |= {
            entry["name"]: str(self.index)
            for entry in container["env"]
            if INDEX in entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        }
        variables |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port), "INDEX": str(self.index)}
        self.code = None
        self.process = subprocess.Popen(
            [sys.executable, *command[1:]],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        for line in process.stdout:
            moment = f"{datetime.now(UTC).isoformat(timespec='microseconds').removesuffix('+00:00')}000Z"
            self.lines.append(f"{moment} {line.decode()}")

    def look(self) -> None:
        """Notice that the process has ended; kill it when its time is over."""
        if self.process is None or self.code is not None:
            return
        if (code := self.process.poll()) is not None:
            self.code, self.ended = (128 - code if code < 0 else code), now()
            self.kill()
        elif time.monotonic() > self.killed_at:
            self.kill()

    def kill(self) -> None:
        """End all processes of the container, as the end of its first one does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def terminate(self, grace: float) -> None:
        if not self.lost and self.killed_at == float("inf"):
            self.killed_at = time.monotonic() + grace
            if self.process is None:
                self.code = 0
            elif self.code is None:
                self.process.send_signal(signal.SIGTERM)

    @property
    def phase(self) -> str:
        if self.process is None:
            return "Pending"
        return "Running" if self.code is None else "Failed" if self.code else "Succeeded"

    def document(self) -> Json:
        state: Json = {}
        if self.process is not None:
            state = {"running": {"startedAt": self.created}}
            if self.code is not None:
                state = {"terminated": {"exitCode": self.code, "finishedAt": self.ended}}
        last = {"lastState": {"terminated": {"exitCode": self.last, "finishedAt": self.ended}}} if self.last else {}
        conditions = []
        if self.process is None:
            unschedulable = {"reason": "Unschedulable", "message": "0/2 nodes are available: 2 Insufficient gpu."}
            conditions.append({"type": "PodScheduled", "status": "False", **unschedulable})
        if self.disrupted:
            conditions.append({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"})
        status = {"name": "node", "image": "x", "imageID": "x", "ready": True, "restartCount": int(bool(last))}
        return {
            "metadata": {
                "name": self.name,
                "labels": self.labels,
                "annotations": {INDEX: str(self.index)},
                "creationTimestamp": self.created,
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": self.owner}],
            },
            "spec": {**self.spec, "nodeName": f"machine-{self.index}"},
            "status": {
                "phase": self.phase,
                "conditions": conditions,
                "containerStatuses": [{**status, "state": state, **last}] if state else [],
            },
        }


class Cluster:
    """The cluster.

    Attributes:
        jobs: by kind and name: manifests with their status.
        pods: of the jobs, by name.
        room: how many pods can run at a time.
        scripts: Python that a pod of this index runs instead of its command.
        grace: seconds between SIGTERM and SIGKILL.
        cut_log: whether a connection to a log is cut after its first line, once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[tuple[str, str], Json] = {}
        self.pods: dict[str, Pod] = {}
        self.owners: dict[str, Json] = {}  # pods that are launchers
        self.ports: dict[str, int] = {}
        self.room, self.grace, self.cut_log = 100, 60.0, False
        self.scripts: dict[int, str] = {}
        self.refusing: list[tuple[int, str]] = []  # answers to the next requests that create something
        self.created: list[Json] = []
        self.orphans: set[str] = set()  # names of pods whose job is gone
        self.lock = threading.RLock()
        self.closed = threading.Event()
        self.address = ""

    def launcher(self, name: str) -> None:
        """Add a pod that is a launcher."""
        container = {"name": "main", "image": "registry.example/pebr@sha256:" + "7" * 64}
        metadata = {"name": name, "uid": f"uid-of-{name}", "creationTimestamp": now()}
        self.owners[name] = {"metadata": metadata, "spec": {"containers": [container]}, "status": {"phase": "Running"}}

    def forget(self, launcher: str) -> None:
        """Delete a launcher's pod; jobs without an owner go with it."""
        with self.lock:
            del self.owners[launcher]

    def vanish(self, name: str) -> None:
        """Delete a job in the background, as the garbage collector does: its pods end in their time."""
        with self.lock:
            job = self.jobs.pop(("jobs", name))
            for pod in self.pods.values():
                if pod.owner == job["metadata"]["uid"]:
                    pod.terminate(self.grace)
                    self.orphans.add(pod.name)

    def running(self) -> list[Pod]:
        with self.lock:
            return [pod for pod in self.pods.values() if pod.phase == "Running"]

    # What the controllers do, again and again.

    def reconcile(self) -> None:
        for pod in list(self.pods.values()):
            pod.look()
            if pod.name in self.orphans and pod.code is not None:
                del self.pods[pod.name]
        for (kind, name), job in list(self.jobs.items()):
            own = [pod for pod in self.pods.values() if pod.owner == job["metadata"]["uid"]]
            owners = {owner["uid"] for owner in job["metadata"]["ownerReferences"]}
            if not owners & {owner["metadata"]["uid"] for owner in self.owners.values()}:
                job["metadata"].setdefault("deletionTimestamp", now())
            if job["metadata"].get("deletionTimestamp"):
                self._remove(kind, name, own)
            else:
                self._schedule(name, own)
                self._conclude(kind, job, own)

    def _remove(self, kind: str, name: str, own: list[Pod]) -> None:
        for pod in own:
            pod.terminate(self.grace)
            if pod.code is not None:
                del self.pods[pod.name]
        if not own:
            del self.jobs[kind, name]

    def _schedule(self, name: str, own: list[Pod]) -> None:
        for pod in own:
            if pod.process is None and len(self.running()) < self.room:
                pod.start(self.ports[name], self.scripts.get(pod.index, ""))

    def _conclude(self, kind: str, job: Json, own: list[Pod]) -> None:
        if job["status"].get("conditions"):
            return
        failed = [pod for pod in own if pod.code]
        if kind == "trainjobs":  # restartPolicy OnFailure, as JobSet sets it
            for pod in failed:
                if (datetime.now(UTC) - datetime.fromisoformat(pod.ended)).total_seconds() > RESTART:
                    pod.last = pod.code
                    pod.start(self.ports[job["metadata"]["name"]], self.scripts.get(pod.index, ""))
        elif failed:
            for pod in own:
                if pod.code is None:
                    pod.terminate(self.grace)
            if all(pod.code is not None for pod in own):
                for pod in own:
                    if pod not in failed or pod.killed_at != float("inf"):
                        del self.pods[pod.name]  # the controller deletes the pods that ran when the first one failed
                job["status"]["conditions"] = [
                    {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "one failed"}
                ]
        if own and all(pod.code == 0 for pod in own):
            job["status"]["conditions"] = [{"type": "Complete", "status": "True", "reason": "x", "message": ""}]

    # What the API server does.

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        found = re.fullmatch(r"/(?:api|apis/[\w.]+)/v1\w*/namespaces/team/(\w+)(?:/([\w.-]+))?", path)
        if not found:
            raise Refused(404, "the server could not find the requested resource")
        kind, name = found[1], found[2]
        if kind == "pods":
            if name:
                return self._named({**{n: p.document() for n, p in self.pods.items()}, **self.owners}, name)
            label, _, value = query["labelSelector"].partition("=")
            return {"items": [p.document() for p in self.pods.values() if p.labels.get(label) == value]}
        if kind == "events":
            return {"items": []}
        if method == "POST":
            return self._create(kind, body)
        job = self._named({n: j for (k, n), j in self.jobs.items() if k == kind}, name)
        if method == "PATCH":
            job["metadata"] |= body["metadata"]
        if method == "DELETE":
            assert query["propagationPolicy"] == "Foreground"
            job["metadata"].setdefault("deletionTimestamp", now())
        return job

    def _named(self, items: dict[str, Json], name: str) -> Json:
        if name not in items:
            raise Refused(404, f'"{name}" not found')
        return items[name]

    def _create(self, kind: str, body: Json) -> Json:
        if self.refusing:
            raise Refused(*self.refusing.pop(0))
        name = body["metadata"]["name"]
        if (kind, name) in self.jobs:
            raise Refused(409, "already exists")
        self.created.append(json.loads(json.dumps(body)))
        if kind == "jobs":
            kubernetes_validate.validate(body, "1.32", strict=True)
            template = body["spec"]["template"]
        else:
            assert errors(body) == []
            template = self.as_trainer_makes_it(body)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, "1.32", strict=True)
        uid = f"uid-of-{name}-{len(self.created)}"
        count = body["spec"]["completions"] if kind == "jobs" else body["spec"]["trainer"]["numNodes"]
        self.jobs[kind, name] = {
            **body,
            "metadata": {**body["metadata"], "creationTimestamp": now(), "uid": uid},
            "status": {},
        }
        self.ports[name] = free_port()
        start = len(self.created)
        for index in range(count):
            own = f"{name}-{index}-{start}" if kind == "jobs" else f"{name}-node-0-{index}-{start}"
            labels = {**template["metadata"].get("labels", {}), KINDS[kind]: name}
            self.pods[own] = Pod(own, index, template["spec"], labels, self.folder / own, uid)
        return self.jobs[kind, name]

    def as_trainer_makes_it(self, train_job: Json) -> Json:
        """The pod template of the JobSet: the runtime torch-distributed, patched, with Trainer's variables."""
        spec = train_job["spec"]
        assert spec["runtimeRef"]["name"] == "torch-distributed"
        (patch,) = spec["runtimePatches"]
        (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        template = job["template"]["spec"]["template"]
        (patched,) = template["spec"]["containers"]
        trainer = spec["trainer"]
        name = train_job["metadata"]["name"]
        index = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}
        reserved = {"PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}
        assert not reserved & {entry["name"] for entry in trainer["env"]}
        variables = [
            *trainer["env"],
            {"name": "PET_NNODES", "value": str(trainer["numNodes"])},
            {"name": "PET_NODE_RANK", "valueFrom": index},
            {"name": "PET_MASTER_ADDR", "value": f"{name}-node-0-0.{name}"},
            {"name": "PET_MASTER_PORT", "value": "29400"},
        ]
        container = {key: trainer[key] for key in ("image", "command")}
        container |= {"env": variables, "resources": trainer["resourcesPerNode"], **patched}
        made = {**template["spec"], "restartPolicy": "OnFailure", "containers": [container]}
        return {"metadata": template["metadata"], "spec": made}

    def pod(self, name: str) -> Pod:
        if name not in self.pods:
            raise Refused(404, f'pods "{name}" not found')
        return self.pods[name]

    def log_of(self, pod: Pod) -> Iterator[str]:
        """The lines of a pod's log, as they come, until it has ended."""
        sent = 0
        while not self.closed.is_set():
            ended = pod.code is not None
            while sent < len(pod.lines):
                yield pod.lines[sent]
                sent += 1
            if ended:
                time.sleep(0.1)  # the reading thread may be behind
                yield from pod.lines[sent:]
                return
            time.sleep(0.02)


def handler_of(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            split = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            query = {key: values[0] for key, values in parse_qs(split.query).items()}
            try:
                if log := re.fullmatch(r".*/pods/([\w.-]+)/log", split.path):
                    self.send_log(log[1], query)
                    return
                with cluster.lock:
                    told = json.dumps(cluster.answer(self.command, split.path, query, body)).encode()
                self.send(200, told, "application/json")
            except Refused as refusal:
                told = json.dumps({"code": refusal.status, "message": str(refusal)}).encode()
                self.send(refusal.status, told, "application/json")

        def send(self, status: int, data: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def send_log(self, name: str, query: dict[str, str]) -> None:
            assert query["container"] == "node"
            pod = cluster.pod(name)
            if query.get("follow") not in ("True", "true"):
                told = "".join(line.partition(" ")[2] for line in pod.lines)
                self.send(200, told.encode(), "text/plain")
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in cluster.log_of(pod):
                data = line.encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                if cluster.cut_log:
                    cluster.cut_log = False
                    self.close_connection = True
                    self.connection.close()
                    return
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def serving(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, at work and reachable at its `address` while the block runs."""

    def work() -> None:
        while not cluster.closed.wait(0.05):
            with cluster.lock:
                cluster.reconcile()

    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(cluster))
    http.daemon_threads = True
    cluster.address = f"http://127.0.0.1:{http.server_address[1]}"
    threads = [
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
        threading.Thread(target=work, daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield cluster
    finally:
        cluster.closed.set()
        http.shutdown()
        http.server_close()
        for pod in cluster.pods.values():
            if pod.process is not None:
                pod.kill()
                pod.process.wait()
