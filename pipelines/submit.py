"""Send the pipeline to a cluster: `python -m pipelines.submit --to kfp --recipe 7b --wait --gate 'accuracy>=0.6'`

    --to kfp     Kubeflow Pipelines, by its API   (--host or KFP_HOST; KFP_TOKEN)
    --to argo    Argo Workflows, by the Kubernetes API
    --to job     one pod that runs the whole DAG, by the Kubernetes API

A run has a name that says what is run: pipeline, recipe, commit, and a digest of the compiled file and all parameters.
Submitting again what runs or has ended well starts nothing; what has failed is started anew. With --wait the steps'
states are told as they change; then the gates (`pipelines.gate`) are held against the scores, and with --publish, when
all pass, the model is named the published one. --summary appends a page of Markdown, for a CI job's page.

Exit codes: 0 submitted, or ended well and all gates passed; 1 the run failed; 2 a wrong input; 3 a gate failed; 4 the
cluster cannot be reached or refuses; 5 a defect of this program, with its traceback, which says nothing of the run.
"""

import argparse
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pebr.errors import EXIT_WRONG_INPUT, InputError
from pebr.store.contract import StoreError
from pipelines import gate, recipes
from pipelines.ir.reader import Pipeline
from pipelines.parameters import check
from pipelines.targets import FAILED, FINAL_MODEL, RUNNING, Progress, Target, TargetError

EXIT_RUN_FAILED, EXIT_GATE_FAILED, EXIT_UNREACHABLE, EXIT_DEFECT = 1, 3, 4, 5
COMPILED = Path(__file__).parent / "compiled"
DEFAULT = COMPILED / "pebr_r1.yaml"
NO_DIGEST = "0" * 64
PATIENCE = 900.0  # seconds for which a run is waited for without an answer
log = logging.getLogger("pipelines.submit")


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.submit", description="Send the pipeline to a cluster.")
    add = parser.add_argument
    add("--to", choices=("kfp", "argo", "job"), required=True, help="Kubeflow, Argo, or a Job")
    add("--recipe", default="toy", help=f"{', '.join(recipes.names())}, or the path of a YAML file")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a pipeline parameter; may be repeated")
    add("--pipeline", type=Path, default=DEFAULT, help="compiled pipeline (%(default)s)")
    add("--image", default=os.environ.get("PEBR_IMAGE", ""), help="image of every step, by digest (the compiled one)")
    add("--name", default="", help="name of the run (made of pipeline, recipe, commit and parameters)")
    add("--occasion", default="", help="makes it another run than the same before: a date, the name of a scheduled job")
    add("--namespace", default="", help="Kubernetes namespace")
    add("--host", default=os.environ.get("KFP_HOST", ""), help="address of Kubeflow Pipelines")
    add("--experiment", default="pebr", help="Kubeflow experiment (%(default)s)")
    add("--artifacts", default="", help="s3:// prefix for the run's artifacts; kfp reads scores there")
    add("--wait", action="store_true", help="until the run has ended")
    add("--poll", type=float, default=15.0, help="seconds between questions (%(default)s)")
    add("--gate", action="append", default=[], help="such as accuracy>=0.6 or accuracy>=published-0.01; implies --wait")
    add("--publish", default="", help="s3:// prefix or folder that names the published model")
    add("--summary", type=Path, help="file to append a Markdown summary to")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _submit(options)
    except InputError as error:
        log.error("error: %s", error)  # noqa: TRY400 - the message says all
        return EXIT_WRONG_INPUT
    except (TargetError, StoreError) as error:
        log.error("error: %s", error)  # noqa: TRY400
        return EXIT_UNREACHABLE
    except OSError as error:
        place = error.filename or "a file"
        log.error("error: %s: %s: mend it, or give another place", place, error.strerror or error)  # noqa: TRY400
        return EXIT_WRONG_INPUT
    except Exception:
        log.exception("error: a defect of pebr, not of the run: please report it; submitting again finds the same run")
        return EXIT_DEFECT


def _submit(options: argparse.Namespace) -> int:
    if [text for text in options.gate if gate.check(text)] and not options.publish:
        raise InputError("a gate on what was published: give --publish, the place where that is named")
    if options.to == "kfp" and (options.gate or options.publish) and not options.artifacts:
        raise InputError("scores are read from the run's artifacts: give --artifacts s3://bucket/prefix")
    if options.to == "job" and options.pipeline != DEFAULT:
        raise InputError("a Job runs the pipeline in its image: leave --pipeline away, and build an image for another")
    pipeline = Pipeline(options.pipeline)
    image = _set_image(pipeline, options.image)
    parameters = recipes.load(options.recipe, options.set, pipeline.inputs)
    check(pipeline, parameters)
    name = options.name or run_name(pipeline, options.recipe, parameters, options.occasion)
    target = _target(options, pipeline, image)
    place = target.submit(name, parameters)
    log.info("run %s: %s", name, place)
    if not (options.wait or options.gate or options.publish):
        return 0
    started = time.monotonic()
    progress = follow(target, options.poll)
    scores: gate.Scores = {}
    verdicts: list[gate.Verdict] = []
    try:
        if progress.state != FAILED and (options.gate or options.publish or options.to != "kfp" or options.artifacts):
            scores = target.scores()
            published = gate.last_published(options.publish) if options.publish else None
            before = published["scores"] if published else None
            verdicts += [gate.judge(text, scores, before) for text in options.gate]
    finally:  # also when a gate names no score: the run has taken long, and its page is worth having
        page = summary(name, place, progress, scores, verdicts, time.monotonic() - started)
        log.info("%s", page)
        if options.summary:
            with options.summary.open("a") as file:
                file.write(page)
    if progress.state == FAILED:
        return EXIT_RUN_FAILED
    if not all(verdict.passed for verdict in verdicts):
        return EXIT_GATE_FAILED
    if options.publish:
        model = target.model()
        if not model:
            raise TargetError(f"{place}: the run has left no model of {FINAL_MODEL}: nothing is published")
        more = {"recipe": options.recipe, "commit": revision(), "image": image}
        gate.publish(options.publish, name, model, scores.get(gate.FINAL, {}), more)
    return 0


def run_name(pipeline: Pipeline, recipe: str, parameters: dict[str, Any], occasion: str = "") -> str:
    """A name of at most 63 letters that a DNS label may have, the same for the same run."""
    told = json.dumps([pipeline.document, pipeline.platform, parameters, occasion], sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    words = f"{pipeline.name}-{Path(recipe).stem}-{revision()[:10]}".lower()
    return f"{re.sub(r'[^a-z0-9]+', '-', words).strip('-')[:54]}-{digest}"


def revision() -> str:
    """The commit that this was made from: of the image, or of the working tree; "" when nobody knows."""
    if known := os.environ.get("PEBR_REVISION", ""):
        return known
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def follow(target: Target, poll: float) -> Progress:
    """Tell every change of a step's state until the run has ended."""
    shown: dict[str, str] = {}
    heard = time.monotonic()
    while True:
        try:
            progress = target.progress()
        except TargetError as error:
            if not error.passing or time.monotonic() - heard > PATIENCE:
                raise
            log.warning("%s", error)
            continue
        heard = time.monotonic()
        for step, state in progress.steps.items():
            if shown.get(step) != state:
                log.info("%s  %-24s %s", time.strftime("%H:%M:%S"), step, state)
        shown = dict(progress.steps)
        if progress.state != RUNNING:
            return progress
        time.sleep(poll)


def summary(
    name: str, place: str, progress: Progress, scores: gate.Scores, verdicts: Sequence[gate.Verdict], seconds: float
) -> str:
    """A page of Markdown about a run that has ended."""
    lines = [f"## {name}: {progress.state}", "", f"{place}, waited for {seconds / 60:.0f} minutes", ""]
    if progress.message:
        lines += [f"> {progress.message}", ""]
    if verdicts:
        lines += ["| gate | score | bound | |", "|---|---|---|---|"]
        lines += [
            f"| `{v.gate}` | {v.score:.4g} | {v.bound:.4g} | {'passed' if v.passed else '**failed**'} |"
            for v in verdicts
        ]
        lines += [""]
    evaluations = {step: told for step, told in scores.items() if "accuracy" in told}
    if evaluations:
        names = sorted({metric for told in evaluations.values() for metric in told} - {"started", "seconds"})
        lines += [f"| | {' | '.join(evaluations)} |", "|---" * (len(evaluations) + 1) + "|"]
        for metric in names:
            values = (f"{told[metric]:.4g}" if metric in told else "" for told in evaluations.values())
            lines += [f"| {metric} | {' | '.join(values)} |"]
        lines += [""]
    if progress.steps:
        lines += [
            "| step | state |",
            "|---|---|",
            *(f"| {step} | {state} |" for step, state in progress.steps.items()),
            "",
        ]
    return "\n".join(lines) + "\n"


def _set_image(pipeline: Pipeline, image: str) -> str:
    """Give every step the image, or see that the compiled one can be pulled; returns it."""
    containers = [executor["container"] for executor in pipeline.document["deploymentSpec"]["executors"].values()]
    for container in containers:
        container["image"] = image or container["image"]
    chosen = str(containers[0]["image"])
    if chosen.endswith(NO_DIGEST):
        raise InputError(f"image {chosen}: a digest that nobody has pushed: give --image registry/pebr@sha256:...")
    return chosen


def _target(options: argparse.Namespace, pipeline: Pipeline, image: str) -> Target:
    """The target that the command line names; each is imported alone, with its client."""
    if options.to == "kfp":
        from pipelines.targets.kubeflow import Kubeflow

        return Kubeflow(pipeline, options.host, options.artifacts, options.experiment, options.namespace)
    if options.to == "argo":
        from pipelines.targets.argo import Argo

        return Argo(pipeline, options.namespace)
    from pipelines.targets.job import Job

    return Job(options.namespace, image, options.artifacts)


if __name__ == "__main__":
    sys.exit(main())
