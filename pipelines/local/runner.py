"""One run of a pipeline on this machine: starts each step when its inputs exist and its requests fit, keeps the state.

A step is skipped by its conditions, kept if an earlier run finished it under the same key, or executed.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pebr.errors import InputError
from pebr.files import atomic_file
from pipelines.ir.kinds import EVALUATE, MERGE, left_out
from pipelines.ir.plan import Constant, Output, Step
from pipelines.ir.reader import Pipeline
from pipelines.ir.values import Missing, holds, inputs_of
from pipelines.local.artifacts import Artifacts, Status
from pipelines.local.execution import Place, Stopped, execute
from pipelines.local.step_key import step_key
from pipelines.local.terminal import View

ENDED = ("done", "kept", "skipped")


class Run:
    """One run of a pipeline: its steps (the plan), and the status of each by its id."""

    def __init__(self, pipeline: Pipeline, parameters: Mapping[str, object], artifacts: Artifacts, work: Path) -> None:
        """A run of `pipeline` with all its `parameters`; logs and state are written to `work`."""
        self.pipeline, self.parameters, self.artifacts, self.work = pipeline, dict(parameters), artifacts, work
        self.steps: list[Step] = pipeline.plan(parameters)
        self.statuses = {step.id: Status(step.id, step.title) for step in self.steps}
        for step in self.steps:  # what the parameters alone exclude, so that nobody waits for it
            known = [guard for guard in step.guards if all(isinstance(s, Constant) for s in guard.parameters.values())]
            if not all(holds(guard, self._value_of) for guard in known):
                self.statuses[step.id].state = "skipped"
        (work / "logs").mkdir(parents=True, exist_ok=True)

    def log(self, step: str) -> Path:
        """The log file of a step."""
        return self.work / "logs" / f"{step}.log"

    def execute(self, place: Place, parallel: int, view: View) -> None:
        """Run every step that must run, at most `parallel` at a time; call `view` when a status may have changed.

        Raises:
            StepError, StoreError, OSError: a step failed; the other running steps end first.
            Stopped: the run was asked to stop.
        """
        waiting = list(self.steps)
        with ThreadPoolExecutor(parallel) as pool:
            try:
                failed = self._advance_all(waiting, pool, place, parallel, view)
            except BaseException:
                place.stop.set()  # else the pool would wait for the running steps, for any length of time
                raise
        for error in failed:
            raise error
        if waiting:
            raise Stopped

    def _advance_all(
        self, waiting: list[Step], pool: ThreadPoolExecutor, place: Place, parallel: int, view: View
    ) -> list[BaseException]:
        """Start the `waiting` steps when they can start, until one fails or the run must stop; returns the errors."""
        running: dict[Future[None], Step] = {}
        failed: list[BaseException] = []
        while True:
            if not failed and not place.stop.is_set():
                for step in self._startable(waiting, running, parallel):
                    waiting.remove(step)
                    running[pool.submit(self._advance, step, place)] = step
            self.save("running")
            view(self.statuses)
            if not running:
                return failed
            ended, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            failed += [error for future in ended if (error := future.exception())]
            for future in ended:
                del running[future]

    def _startable(
        self, waiting: Sequence[Step], running: Mapping[Future[None], Step], parallel: int
    ) -> Iterator[Step]:
        """The steps whose inputs exist and whose requests fit beside the running steps."""
        beside = list(running.values())
        for step in list(waiting):
            ready = all(self.statuses[need].state in ENDED for need in step.after)
            if ready and len(beside) < parallel and (not beside or _fit((*beside, step))):
                beside.append(step)
                yield step

    def _advance(self, step: Step, place: Place) -> None:
        """Skip a step by its conditions, keep it from an earlier run, or run it."""
        status = self.statuses[step.id]
        if not all(holds(guard, self._value_of) for guard in step.guards):
            status.state = "skipped"
            return
        try:
            parameters, inputs, status.key = self._inputs(step)
        except Missing:
            status.state = "skipped"
            return
        if kept := self.artifacts.find(step.id, status.key):
            kept.state = "kept"
            self.statuses[step.id] = kept
            return
        status.state, status.started = "running", time.time()
        try:
            read = {
                name: (self.output(made.step, made.name), self.statuses[made.step]) for name, made in inputs.items()
            }
            execute(step, status, parameters, read, self.log(step.id), place)
            status.seconds = round(time.time() - status.started, 3)
            self.artifacts.keep(status)
        except BaseException as error:
            status.state = "stopped" if isinstance(error, Stopped) else "failed"
            status.seconds = round(time.time() - status.started, 3)
            raise
        status.state = "done"

    def _inputs(self, step: Step) -> tuple[dict[str, object], dict[str, Output], str]:
        """The parameters of a step, its artifacts, and its key; the steps before it have ended.

        Raises:
            Missing: a required input does not exist.
        """
        parameters, inputs = inputs_of(step, self._value_of)
        digests = {name: self.statuses[made.step].artifacts[made.name]["digest"] for name, made in inputs.items()}
        return parameters, inputs, step_key(step, parameters, digests)

    def _value_of(self, output: Output) -> object:
        """The value of an output parameter; an output artifact is returned as it is."""
        status = self.statuses[output.step]
        if status.state == "skipped":
            raise Missing(output.step)
        return status.parameters.get(output.name, output)

    def output(self, step: str, name: str) -> Path:
        """The path of a finished step's output."""
        return self.artifacts.path(self.statuses[step], name)

    def save(self, state: str) -> None:
        """Write run.json."""
        document = {
            "pipeline": self.pipeline.name,
            "state": state,
            "parameters": self.parameters,
            "artifacts": str(self.artifacts.root),
            "steps": [asdict(self.statuses[step.id]) for step in self.steps],
        }
        text = json.dumps(document, indent=1) + "\n"
        path = self.work / "run.json"
        if not path.is_file() or path.read_text() != text:
            with atomic_file(path) as beside:
                beside.write_text(text)

    def preview(self) -> dict[str, str]:
        """What the run would do with each step, without doing it: kept, runs or skipped, by step id."""
        states: dict[str, str] = {}
        for step in self.steps:
            state = "skipped" if left_out(step) else "runs"
            if state == "runs" and all(states[need] != "runs" for need in step.after):
                try:
                    kept = self.artifacts.find(step.id, self._inputs(step)[2])
                except Missing:
                    kept = None
                if kept:
                    self.statuses[step.id], state = kept, "kept"
            self.statuses[step.id].state = states[step.id] = state
        return states

    def finished(self) -> list[Step]:
        """The steps that this run or an earlier run has done."""
        return [step for step in self.steps if self.statuses[step.id].state in ("done", "kept")]

    def scores(self) -> dict[str, dict[str, object]]:
        """Metrics of each evaluation, and locations of merged models and evaluations below the store, by step id."""
        finished = self.finished()
        return {
            "scores": {
                step.id: json.loads(self.output(step.id, "metrics").read_text())
                for step in finished
                if step.module == EVALUATE
            },
            "outputs": {
                step.id: f"{step.id}/{self.statuses[step.id].key}/output"
                for step in finished
                if step.module in (MERGE, EVALUATE)
            },
        }


def _fit(steps: Sequence[Step]) -> bool:
    """Whether this machine has the CPUs and memory that the steps request; at most one of them may request a GPU."""
    requests = [step.resources for step in steps]
    memory = memory_bytes() / 1e9
    return (
        sum(float(r.get("cpuRequest", 0)) for r in requests) <= len(os.sched_getaffinity(0))
        and sum(float(r.get("memoryRequest", 0)) for r in requests) <= memory  # GB
        and sum("accelerator" in r for r in requests) <= 1
    )


def memory_bytes(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of memory of this machine, or of the container (control group v2) if that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return total if text == "max" else min(total, int(text))


@contextmanager
def locked(work: Path) -> Iterator[int]:
    """Lock a run's folder; yields the file descriptor of the lock, which the steps' guards keep open.

    Raises:
        InputError: another run holds the lock for more than ten seconds.
    """
    with (work / "lock").open("w") as file:
        for _ in range(100):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            raise InputError(f"{work}: another run uses this folder: wait until it ends, or give another --work")
        yield file.fileno()
