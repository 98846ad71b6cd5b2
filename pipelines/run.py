"""Run the compiled pipeline on this machine: `python -m pipelines.run --recipe toy [--set name=value ...]`

The runner reads the same compiled file as a cluster (`pipelines.ir`) and runs the container command of each step as a
process on this machine (`pipelines.local`). A step starts as soon as its inputs exist. Steps run at the same time while
their CPU and memory requests fit; a step that requests more than the machine has runs alone.

A finished step does not run again while its command, parameters, inputs and code are unchanged
(`pipelines.local.step_key`). A killed run leaves no process behind. If started again, it keeps the finished steps, and
the step that was killed resumes from its own checkpoints. A run writes to --work:

    run.json         parameters, and the state of each step
    report.html      the report; while the run lasts, a live one (also: python -m pebr.report --follow WORK)
    logs/STEP.log    output of each step
    artifacts/       output artifacts of each step (elsewhere with --store)
    past/            what the last runs have taken, for --plan

Exit codes: 0 done; 1 a step or the store failed, a retry may help; 2 a wrong input of the run or of a step, or a folder
that is full or not writable, a retry does not help; 130 or 143 stopped by SIGINT or SIGTERM.
"""

import argparse
import errno
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from pebr.errors import EXIT_WRONG_INPUT, UNUSABLE, InputError
from pebr.store.contract import StoreError
from pipelines import recipes
from pipelines.ir.kinds import MERGE, REPORT, SFT
from pipelines.ir.reader import Pipeline
from pipelines.local.artifacts import Artifacts, Status
from pipelines.local.docker import Docker
from pipelines.local.execution import Place, StepError, Stopped
from pipelines.local.forecast import forecast_of, keep_facts
from pipelines.local.page import LivePage
from pipelines.local.progress import Histories
from pipelines.local.runner import Run, locked
from pipelines.local.terminal import results, show_end, watching
from pipelines.parameters import check

COMPILED = Path(__file__).parent / "compiled" / "pebr_r1.yaml"
WRONG_PATH = {errno.ENOENT, errno.ENOTDIR, errno.EEXIST}  # nothing is at the path, or something of another kind


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.run", description="Run the compiled pipeline on this machine."
    )
    add = parser.add_argument
    add("--recipe", default="toy", help=f"{', '.join(recipes.names())}, or the path of a YAML file")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a pipeline parameter; may be repeated")
    add("--seed", type=int, help="the same as --set seed=...")
    add("--work", type=Path, help="folder of the run (runs/RECIPE)")
    add("--store", default="", help="folder or s3://bucket/prefix for artifacts (WORK/artifacts)")
    add("--parallel", type=int, default=2, help="maximum number of steps at the same time (%(default)s)")
    add("--threads", type=int, default=0, help="threads per step (CPUs / --parallel)")
    add("--scores", type=Path, help="JSON file to write the evaluations' metrics and the models' locations to")
    add("--plan", action="store_true", help="show which steps would run, and what they would take; run nothing")
    add("--docker", default="", metavar="IMAGE", help="run each step in a container of this image")
    add("--network", default="none", help="Docker network of these containers (%(default)s)")
    add("--pipeline", type=Path, default=COMPILED, help="compiled pipeline (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        return start(options)
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
        remedy = "fix it, or give another --work or --store"
        message = f"{error.filename}: {error.strerror}: {remedy}" if error.filename else error
        print(f"error: {message}", file=sys.stderr)
        return EXIT_WRONG_INPUT if error.errno in WRONG_PATH | UNUSABLE.keys() else 1


def start(options: argparse.Namespace) -> int:
    """Run the pipeline with parsed options; returns 0, or the exit code of a signal."""
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
            os._exit(128 + number)  # the second signal: exit at once; the guards end the steps
        code = 128 + number
        stop.set()

    with locked(work) as lock:
        if options.plan:
            run = Run(pipeline, parameters, Artifacts(work / "artifacts", options.store), work)
            print(forecast_of(run))
            return 0
        page = LivePage(work)
        run = Run(pipeline, parameters, Artifacts(work / "artifacts", options.store), work)
        docker = Docker(options.docker, options.network) if options.docker else None
        # More threads than CPUs make a run slower: the threads of two steps would wait for each other.
        threads = options.threads or max(1, len(os.sched_getaffinity(0)) // options.parallel)
        place = Place(f"{pipeline.name}-{work.name}", run.artifacts.root, threads, lock, stop, docker)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask_to_stop)
        try:
            with watching(run.steps, run.log, Histories(run.artifacts.folder)) as show:

                def view(statuses: Mapping[str, Status]) -> None:
                    show(statuses)
                    page.update(statuses)

                run.execute(place, options.parallel, view)
        except Stopped:
            run.save("stopped")
            page.write()
            print("stopped; the same command continues from here", file=sys.stderr)
            return code
        except BaseException:
            run.save("failed")
            page.write()
            raise
        run.save("done")
        keep_facts(run)
        if options.scores:
            options.scores.write_text(json.dumps(run.scores()))
        show_end(_outcome(run), results(run.finished(), run.output))
    return 0


def _outcome(run: Run) -> list[str]:
    """The last lines of a run: how many steps ran, and the paths of its files. Copies the report to `work`."""
    ran = sum(status.state == "done" for status in run.statuses.values())
    lines = [f"{ran} steps ran" if ran else "nothing has changed since the last run: no step ran"]
    for step in run.finished():
        if step.module == REPORT:
            shutil.copyfile(run.output(step.id, "output"), run.work / "report.html")
            lines.append(f"report     {run.work / 'report.html'}")
        if step.module in (SFT, MERGE):
            lines.append(f"model      {run.output(step.id, 'output')}  ({step.title})")
    return [*lines, f"artifacts  {run.artifacts.root}", f"logs       {run.work / 'logs'}"]


if __name__ == "__main__":
    sys.exit(main())
