"""Runs on this machine: `pipelines.run` in the background, with the same names, gates and records as on a cluster.

A run has a folder of its own, `runs/NAME`; artifacts lie in a folder or at an `s3://` prefix that all runs share, so a
run takes the steps that an earlier one has finished. A run goes on when `submit` is stopped.
"""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pebr.store.opening import open_store
from pebr.telemetry.logs import last_error
from pipelines.ir.plan import Json, Output
from pipelines.targets import FAILED, RUNNING, SUCCEEDED, Failure, Progress, TargetError

ENDED = ("done", "kept")


class Machine:
    """This machine: a `Target`."""

    def __init__(self, pipeline: Path, artifacts: str, runs: Path = Path("runs")) -> None:
        """Nothing is started yet.

        Args:
            pipeline: the compiled pipeline.
            artifacts: folder or `s3://` prefix for the artifacts of all runs; "" for `RUNS/artifacts`.
            runs: folder of the runs' own folders.
        """
        self.pipeline, self.runs = pipeline.resolve(), runs.resolve()
        local = artifacts.removeprefix("file://")
        self.store = artifacts.rstrip("/") if artifacts.startswith("s3://") else str(
            Path(local).resolve() if local else self.runs / "artifacts"
        )  # fmt: skip
        self.work = self.runs
        self.process: subprocess.Popen[bytes] | None = None

    def submit(self, name: str, parameters: Mapping[str, object]) -> str:
        self.work = self.runs / name
        self.work.mkdir(parents=True, exist_ok=True)
        if not self._is_running() and self._state().get("state") != "done":
            recipe = self.work / "parameters.yaml"  # all of them: none keeps the value of a recipe
            recipe.write_text(yaml.safe_dump({"parameters": dict(parameters)}))
            command = [sys.executable, "-m", "pipelines.run", "--recipe", str(recipe), "--pipeline", str(self.pipeline)]
            command += ["--work", str(self.work), "--store", self.store]
            with (self.work / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=_environment(),
                )
        return f"tail -f {self.work / 'log'}"

    def progress(self) -> Progress:
        running = self.process.poll() is None if self.process else self._is_running()
        document = self._state()
        steps = {step["step"]: step["state"] for step in document.get("steps", ()) if step["state"] != "waiting"}
        if running:
            return Progress(RUNNING, steps)
        if document.get("state") == "done" and not (self.process and self.process.returncode):
            return Progress(SUCCEEDED, steps)
        log = self.work / "log"
        lines = [line for line in log.read_text(errors="replace").splitlines() if line] if log.is_file() else []
        return Progress(FAILED, steps, lines[-1] if lines else "it ended without a word")

    def failures(self) -> list[Failure]:
        found = []
        for step in self._state().get("steps", ()):
            if step["state"] == "failed":
                log = self.work / "logs" / f"{step['step']}.log"
                lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
                found.append(Failure(step["step"], step["exit_code"], last_error(lines) or "", f"tail {log}"))
        return found

    def scores(self) -> dict[str, dict[str, float]]:
        found, store = {}, open_store(self.store)
        with tempfile.TemporaryDirectory() as folder:
            for step in self._ended():
                if "metrics" in step["artifacts"]:
                    store.get(f"{step['step']}/{step['key']}/metrics", Path(folder) / "metrics")
                    found[step["step"]] = json.loads((Path(folder) / "metrics").read_text())
        return found

    def location(self, artifact: Output) -> str:
        for step in self._ended():
            if step["step"] == artifact.step and artifact.name in step["artifacts"]:
                return f"{self.store}/{step['step']}/{step['key']}/{artifact.name}"
        return ""

    def _ended(self) -> Iterator[dict[str, Any]]:
        """The steps that are done, in this run or an earlier one, as run.json has them."""
        return (step for step in self._state().get("steps", ()) if step["state"] in ENDED)

    def _state(self) -> Json:
        path = self.work / "run.json"
        try:
            return dict(json.loads(path.read_text())) if path.is_file() else {}
        except ValueError:
            raise TargetError(f"{path}: not the state of a run: remove the folder, and submit again") from None

    def _is_running(self) -> bool:
        """Whether a run holds the lock of its folder."""
        with (self.work / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _environment() -> dict[str, str]:
    """This process's environment, in which `pipelines` can be imported from any folder."""
    found = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(found)}
