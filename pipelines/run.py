"""Run the compiled pipeline on this machine: `python -m pipelines.run --recipe toy [--set name=value ...]`

The runner reads the same compiled file that a cluster gets (`pipelines.ir`) and runs the container command of each step
as a process on this machine (`pipelines.local.execution`). A step starts as soon as its inputs exist. Steps run side by
side while their CPU and memory requests fit; a step that requests more than the machine has runs alone.

A finished step is not run again while its command, parameters, inputs and code are unchanged
(`pipelines.local.artifacts`). A killed run leaves no process behind. Started again, it keeps the finished steps, and
the step that was killed resumes from its own checkpoints. A run writes to --work:

    run.json         parameters, and the state of every step
    report.html      the report
    logs/STEP.log    what each step has said
    artifacts/       what each step has made (elsewhere with --store)

Exit codes: 0 done; 1 a step or the store failed: trying again may help; 2 a wrong input, of the run or of a step, or a
place that is full or may not be used: trying again cannot help; 130 or 143 stopped by SIGINT or SIGTERM.
"""

import argparse
import errno
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from pebr.errors import EXIT_WRONG_INPUT, UNUSABLE, InputError
from pebr.files import atomic_file
from pebr.store.contract import StoreError
from pipelines import recipes
from pipelines.ir.plan import Output, Step
from pipelines.ir.reader import Pipeline
from pipelines.ir.values import Missing, holds, inputs_of
from pipelines.local.artifacts import Shelf, Status, step_key
from pipelines.local.docker import Docker
from pipelines.local.execution import Place, StepError, Stopped, execute
from pipelines.local.terminal import View, results, show_end, watching
from pipelines.parameters import check

COMPILED = Path(__file__).parent / "compiled" / "pebr_r1.yaml"
OVER = ("done", "kept", "skipped")
MISNAMED = {errno.ENOENT, errno.ENOTDIR, errno.EEXIST}  # a path that leads nowhere, or to something else


class Run:
    """One run of a pipeline.

    Attributes:
        steps: the plan.
        statuses: the state of every step, by its id.
    """

    def __init__(self, pipeline: Pipeline, parameters: Mapping[str, Any], shelf: Shelf, work: Path) -> None:
        """A run of `pipeline` with all its `parameters`, artifacts on `shelf`, logs and state in `work`."""
        self.pipeline, self.parameters, self.shelf, self.work = pipeline, dict(parameters), shelf, work
        self.steps: list[Step] = pipeline.plan(parameters)
        self.statuses = {step.id: Status(step.id, step.title) for step in self.steps}
        (work / "logs").mkdir(parents=True, exist_ok=True)

    def log(self, step: str) -> Path:
        """The file that a step's output goes to."""
        return self.work / "logs" / f"{step}.log"

    def execute(self, place: Place, parallel: int, view: View) -> None:
        """Run every step that must be run.

        Args:
            place: where and how.
            parallel: how many steps may run side by side.
            view: is shown the statuses as they change.

        Raises:
            StepError, StoreError, OSError: when a step failed; the steps beside it end first.
            Stopped: when the run was told to stop.
        """
        waiting = list(self.steps)
        with ThreadPoolExecutor(parallel) as pool:
            try:
                failed = self._advance_all(waiting, pool, place, parallel, view)
            except BaseException:
                place.stop.set()  # or leaving the pool would wait for what runs, however long that takes
                raise
        for error in failed:
            raise error
        if waiting:
            raise Stopped

    def _advance_all(
        self, waiting: list[Step], pool: ThreadPoolExecutor, place: Place, parallel: int, view: View
    ) -> list[BaseException]:
        """Take steps from `waiting` as they can start, until one fails or the run shall stop; returns what failed."""
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

    def _startable(self, waiting: Sequence[Step], running: Mapping[Any, Step], parallel: int) -> Iterator[Step]:
        """The steps whose needs are met and that fit beside those that run."""
        beside = list(running.values())
        for step in list(waiting):
            ready = all(self.statuses[need].state in OVER for need in step.after)
            if ready and len(beside) < parallel and (not beside or _fit((*beside, step))):
                beside.append(step)
                yield step

    def _advance(self, step: Step, place: Place) -> None:
        """Bring a step to its end: skipped by a condition, kept from an earlier run, or run."""
        status = self.statuses[step.id]
        if not all(holds(guard, self._value_of) for guard in step.guards):
            status.state = "skipped"
            return
        try:
            parameters, inputs = inputs_of(step, self._value_of)
        except Missing:
            status.state = "skipped"
            return
        digests = {name: self.statuses[made.step].artifacts[made.name]["digest"] for name, made in inputs.items()}
        status.key = step_key(step, parameters, digests)
        if kept := self.shelf.find(step.id, status.key):
            kept.state = "kept"
            self.statuses[step.id] = kept
            return
        status.state, status.started = "running", time.time()
        try:
            taken = {
                name: (self.output(made.step, made.name), self.statuses[made.step]) for name, made in inputs.items()
            }
            execute(step, status, parameters, taken, self.log(step.id), place)
            status.seconds = round(time.time() - status.started, 3)
            self.shelf.keep(status)
        except BaseException as error:
            status.state = "stopped" if isinstance(error, Stopped) else "failed"
            status.seconds = round(time.time() - status.started, 3)
            raise
        status.state = "done"

    def _value_of(self, output: Output) -> Any:
        """A parameter's value; an artifact stands for itself."""
        status = self.statuses[output.step]
        if status.state == "skipped":
            raise Missing(output.step)
        return status.parameters.get(output.name, output)

    def output(self, step: str, name: str) -> Path:
        """Where an output of a finished step lies."""
        return self.shelf.path(self.statuses[step], name)

    def save(self, state: str) -> None:
        """Write run.json."""
        told = {
            "pipeline": self.pipeline.name,
            "state": state,
            "parameters": self.parameters,
            "steps": [asdict(self.statuses[step.id]) for step in self.steps],
        }
        text = json.dumps(told, indent=1) + "\n"
        path = self.work / "run.json"
        if not path.is_file() or path.read_text() != text:
            with atomic_file(path) as beside:
                beside.write_text(text)


def _fit(steps: Sequence[Step]) -> bool:
    """Whether what these steps ask for is here, and no two of them ask for a GPU."""
    asked = [step.resources for step in steps]
    memory = _memory() / 1e9
    return (
        sum(float(r.get("cpuRequest", 0)) for r in asked) <= len(os.sched_getaffinity(0))
        and sum(float(r.get("memoryRequest", 0)) for r in asked) <= memory  # GB
        and sum("accelerator" in r for r in asked) <= 1
    )


def _memory(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of memory that there are: this machine's, or what the container's control group (v2) allows."""
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return here if text == "max" else min(here, int(text))


@contextmanager
def locked(work: Path) -> Iterator[int]:
    """Hold a run's folder; the file descriptor is for the steps' guards, the last of which sets the folder free.

    Raises:
        InputError: when another run holds it, and goes on holding it for ten seconds.
    """
    with (work / "lock").open("w") as file:
        for _ in range(100):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            raise InputError(f"{work}: another run is at work here: wait for it, or give another --work")
        yield file.fileno()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.run", description="Run the compiled pipeline here.")
    add = parser.add_argument
    add("--recipe", default="toy", help=f"{', '.join(recipes.names())}, or the path of a YAML file")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a pipeline parameter; may be repeated")
    add("--seed", type=int, help="the same as --set seed=...")
    add("--work", type=Path, help="folder of the run (runs/RECIPE)")
    add("--store", default="", help="folder or s3://bucket/prefix for artifacts (WORK/artifacts)")
    add("--parallel", type=int, default=2, help="steps side by side, at most (%(default)s)")
    add("--threads", type=int, default=0, help="threads of each step (its share of the processors)")
    add("--scores", type=Path, help="file to write the evaluations' metrics and the models' places to, as JSON")
    add("--docker", default="", metavar="IMAGE", help="run each step in a container of this image")
    add("--network", default="none", help="Docker network of these containers (%(default)s)")
    add("--pipeline", type=Path, default=COMPILED, help="compiled pipeline (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except StepError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_INPUT if error.exit_code == EXIT_WRONG_INPUT else 1
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_WRONG_INPUT
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        remedy = "mend it, or give another --work or --store"
        told = f"{error.filename}: {error.strerror}: {remedy}" if error.filename else error
        print(f"error: {told}", file=sys.stderr)
        return EXIT_WRONG_INPUT if error.errno in MISNAMED | UNUSABLE.keys() else 1


def _run(options: argparse.Namespace) -> int:
    pipeline = Pipeline(options.pipeline)
    changes = options.set + ([f"seed={options.seed}"] if options.seed is not None else [])
    parameters = recipes.load(options.recipe, changes, pipeline.inputs)
    check(pipeline, parameters)
    work: Path = (options.work or Path("runs") / Path(options.recipe).stem).resolve()
    work.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    code = 0

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        nonlocal code
        if stop.is_set():
            os._exit(128 + number)  # asked twice: at once; the guards end the steps
        code = 128 + number
        stop.set()

    with locked(work) as lock:
        run = Run(pipeline, parameters, Shelf(work / "artifacts", options.store), work)
        docker = Docker(options.docker, options.network) if options.docker else None
        # More threads than processors cost more than they bring: those of two steps would wait for each other.
        threads = options.threads or max(1, len(os.sched_getaffinity(0)) // options.parallel)
        place = Place(f"{pipeline.name}-{work.name}", run.shelf.root, threads, lock, stop, docker)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask_to_stop)
        try:
            with watching(run.steps, run.log) as view:
                run.execute(place, options.parallel, view)
        except Stopped:
            run.save("stopped")
            print("stopped; the same command goes on from here", file=sys.stderr)
            return code
        except BaseException:
            run.save("failed")
            raise
        run.save("done")
        if options.scores:
            options.scores.write_text(json.dumps(_scores(run)))
        show_end(_outcome(run), results(run.steps, run.statuses, run.output))
    return 0


def _outcome(run: Run) -> list[str]:
    """What to say at the end: what ran, and where things lie."""
    ran = sum(status.state == "done" for status in run.statuses.values())
    lines = [f"{ran} steps ran" if ran else "nothing has changed since the last run: no step ran"]
    for step in run.steps:
        if run.statuses[step.id].state not in ("done", "kept"):
            continue
        if step.module == "pebr.report":
            shutil.copyfile(run.output(step.id, "output"), run.work / "report.html")
            lines.append(f"report     {run.work / 'report.html'}")
        if step.module in ("pebr.sft", "pebr.merge"):
            lines.append(f"model      {run.output(step.id, 'output')}  ({step.title})")
    return [*lines, f"artifacts  {run.shelf.root}", f"logs       {run.work / 'logs'}"]


def _scores(run: Run) -> dict[str, Any]:
    """Metrics of every evaluation, and where below the store each merged model lies, by step."""
    over = {s.id: (s.module, run.statuses[s.id]) for s in run.steps if run.statuses[s.id].state in ("done", "kept")}
    return {
        "scores": {
            step: json.loads(run.output(step, "metrics").read_text())
            for step, (module, _) in over.items()
            if module == "pebr.evaluate"
        },
        "models": {
            step: f"{step}/{status.key}/output" for step, (module, status) in over.items() if module == "pebr.merge"
        },
    }


if __name__ == "__main__":
    sys.exit(main())
