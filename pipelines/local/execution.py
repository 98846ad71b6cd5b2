"""Runs one step as a process on this machine: its command, attempts, time limit, log and outputs.

A command runs under `pipelines.local.guard`, on this machine or in a container (`pipelines.local.docker`). After
SIGTERM it has `GRACE` seconds to write a checkpoint; then its process group is killed. A wrong input (exit code 2) is
never retried, and its error is one line. Any other failure is retried according to the step's retry policy; the error
of the last attempt shows the end of its log.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pebr.errors import EXIT_WRONG_INPUT
from pebr.telemetry.logs import last_error
from pipelines.ir.plan import Json, Step, cast
from pipelines.ir.values import command_line
from pipelines.local import guard
from pipelines.local.artifacts import Made, Status, digest, size
from pipelines.local.docker import Docker

GRACE = 30.0
EXIT_TIMED_OUT = 124  # the exit code of timeout(1)


class StepError(Exception):
    """A step failed, with this exit code, and is not retried."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Stopped(Exception):  # noqa: N818 - an event, not an error
    """The run was asked to stop."""


@dataclass(frozen=True)
class Place:
    """Where and how steps run."""

    run_name: str  # name of the run, for Kubeflow's placeholders
    root: Path  # folder of all artifacts
    # Threads of the numerical libraries, the same for all steps, so that the results do not depend on which steps run
    # at the same time
    threads: int
    lock: int  # file descriptor that every guard keeps open: the run's folder is locked until the last guard ends
    stop: threading.Event  # set to stop the run
    docker: Docker | None = None  # the containers that steps run in; None for processes on this machine


def execute(
    step: Step, status: Status, parameters: Json, inputs: Mapping[str, tuple[Path, Status]], log: Path, place: Place
) -> None:
    """Run a step's command until it succeeds, append its output to `log`, and update its status.

    Args:
        inputs: path of each input artifact, and the status of the step that made it.

    Raises:
        StepError: the step failed, and is not retried.
        Stopped: the run was asked to stop.
    """
    folder = place.root / step.id / status.key
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "$.pipeline_job_name": place.run_name,
        "$.pipeline_job_resource_name": place.run_name,
        "$.pipeline_job_uuid": place.run_name,
        "$.pipeline_task_name": step.id,
        "$.pipeline_task_uuid": status.key,
        "$.pipeline_root": str(place.root),
    }
    words = command_line(step, _executor_input(step, folder, parameters, inputs), names)
    variables = {
        "OMP_NUM_THREADS": str(place.threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # steps that run at the same time share cores: waiting threads must not spin
        "PYTHONHASHSEED": "0",
        "PEBR_RUN": os.environ.get("PEBR_RUN", place.run_name),
        **step.environment,
    }
    if place.docker:
        command = place.docker.command(step, words, folder, [path for path, _ in inputs.values()], variables)
    else:
        local = [sys.executable, *words[1:]] if words[0] in ("python", "python3") else words
        command = [sys.executable, "-I", "-S", guard.__file__, *local]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, **variables}
    _until_success(step, status, command, environment, log, place)
    collect(step, status, folder)


def _until_success(
    step: Step, status: Status, command: list[str], environment: Mapping[str, str], log: Path, place: Place
) -> None:
    """Run the command until it succeeds or must not be retried."""
    pause = step.retry.wait
    while True:
        status.attempts += 1
        start = log.stat().st_size if log.exists() else 0
        status.exit_code = _attempt(command, environment, step, status.attempts, log, place)
        if status.exit_code == 0:
            return
        if place.stop.is_set():
            raise Stopped
        if status.exit_code == EXIT_WRONG_INPUT or status.attempts > step.retry.count:
            raise StepError(_failure(step, status, log, start), status.exit_code)
        if place.stop.wait(min(pause, step.retry.longest)):
            raise Stopped
        pause *= step.retry.factor


def _attempt(
    command: list[str], environment: Mapping[str, str], step: Step, attempt: int, log: Path, place: Place
) -> int:
    """Run the command once; returns its exit code."""
    deadline = time.monotonic() + (step.timeout or float("inf"))
    timed_out = False
    with log.open("a") as output:
        print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} attempt {attempt}", file=output, flush=True)
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=[place.lock],
        )
        while process.poll() is None:
            timed_out = time.monotonic() > deadline
            asked = timed_out or place.stop.is_set()
            if asked:
                process.terminate()
            try:
                process.wait(GRACE if asked else 0.1)
            except subprocess.TimeoutExpired:
                if asked and process.stdin:
                    process.stdin.close()  # the guard kills the whole group
                    process.wait()
    return EXIT_TIMED_OUT if timed_out else process.returncode


def _failure(step: Step, status: Status, log: Path, start: int) -> str:
    """The message of a failed step: the error of a wrong input; else the end of its log and its exit code.

    `start` is the byte offset of the last attempt in the log.
    """
    lines = [line for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
    if status.exit_code == EXIT_WRONG_INPUT:
        return f"step {step.id}: {last_error(lines) or lines[-1]}; its log: {log}"
    last = lines[-12:]
    code = f"exit code {status.exit_code}"
    if status.exit_code == EXIT_TIMED_OUT:
        code += f", out of time ({step.timeout:g} s)"
    times = f" {status.attempts} times" if status.attempts > 1 else ""
    return "\n".join([*(f"    {line}" for line in last), f"step {step.id} failed{times}, {code}; its log: {log}"])


def collect(step: Step, status: Status, folder: Path) -> None:
    """Read a step's output parameters, and its artifacts with their digests and metadata, into its status."""
    file = folder / "executor_output.json"
    output = json.loads(file.read_text()) if file.is_file() else {}
    # Assigned to the status at the end: another thread writes the status to a file meanwhile.
    parameters: dict[str, object] = dict(output.get("parameterValues", {}))
    artifacts: dict[str, Made] = {}
    for name, kind in step.parameter_outputs.items():
        if (folder / name).is_file():
            text = (folder / name).read_text()
            parameters[name] = text if kind == "STRING" else cast(json.loads(text), kind)
        elif name not in parameters:
            raise StepError(f"step {step.id} ended without an error but did not write its output {name}: fix the step")
    metadata = {
        name: listed["artifacts"][0].get("metadata", {}) for name, listed in output.get("artifacts", {}).items()
    }
    for name, schema in step.artifact_outputs.items():
        path = folder / name
        if not path.exists() and name in metadata:
            path.write_text(json.dumps(metadata[name]))  # metrics that only the executor output holds
        if not path.exists():
            raise StepError(f"step {step.id} ended without an error but did not write its output {name}: fix the step")
        facts = metadata.get(name, {})
        artifacts[name] = {"digest": digest(path), "bytes": size(path), "schema": schema, "metadata": facts}
    status.parameters, status.artifacts = parameters, artifacts


def _executor_input(step: Step, folder: Path, parameters: Json, inputs: Mapping[str, tuple[Path, Status]]) -> Json:
    """Kubeflow's description of a task, the value of `{{$}}`; URIs are local paths."""

    def described(path: Path, schema: str, metadata: Json) -> Json:
        kind = {"schemaTitle": schema, "schemaVersion": "0.0.1"}
        return {"artifacts": [{"name": path.name, "type": kind, "uri": str(path), "metadata": dict(metadata)}]}

    made = {name: (path, maker.artifacts[path.name]) for name, (path, maker) in inputs.items()}
    return {
        "inputs": {
            "parameterValues": dict(parameters),
            "artifacts": {n: described(path, m["schema"], m["metadata"]) for n, (path, m) in made.items()},
        },
        "outputs": {
            "parameters": {name: {"outputFile": str(folder / name)} for name in step.parameter_outputs},
            "artifacts": {name: described(folder / name, kind, {}) for name, kind in step.artifact_outputs.items()},
            "outputFile": str(folder / "executor_output.json"),
        },
    }
