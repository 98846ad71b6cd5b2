"""Send the pipeline to a cluster: `python -m pipelines.submit --to kfp --recipe 7b --wait --gate 'accuracy>=0.6'`

    --to kfp     Kubeflow Pipelines, by its API   (--host or KFP_HOST; KFP_TOKEN)
    --to argo    Argo Workflows, by the Kubernetes API
    --to job     one pod that runs the whole DAG, by the Kubernetes API
    --to local   this machine

The name of a run consists of pipeline, recipe, commit, and a digest of the compiled file and all parameters. If a run
of this name is running or has succeeded, no second one starts; a failed run is started again. With --wait, each change
of a step's state is reported; then the scores are compared with the gates (`pipelines.gate`). With --publish, if all
gates pass, the model gets a card and is recorded as the published one (`pipelines.publishing`); else the run is
recorded as held back. --summary appends a page of Markdown, for the page of a CI job.

A weekly loop: --base published continues from the published model, --batches trains on the data that came since, --gate
paired:... compares with it per question, --keep removes old versions. --plan says what would run, and submits nothing.

While it waits, it reports steps that do not start, with the platform's reason. Of a failed run it names each failed
step with its exit code, the last error line of its log, and the command that shows the log. Ctrl-C ends the waiting,
not the run.

Exit codes: 0 submitted, or succeeded and all gates passed; 1 the run failed or was deleted; 2 a wrong input; 3 a gate
failed; 4 the cluster cannot be reached, refuses the request, or does not start a step within --start-timeout; 5 a bug
in this program, with its traceback; 130 Ctrl-C. With 4, 5 and 130 the run is not affected.
"""

import argparse
import hashlib
import json
import logging
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pebr.errors import EXIT_WRONG_INPUT, InputError
from pebr.store.contract import StoreError
from pipelines import gate, recipes
from pipelines.estimate.forecast import cached, forecast
from pipelines.estimate.past import from_facts, signatures
from pipelines.estimate.sources import size_of
from pipelines.estimate.table import table
from pipelines.ir.kinds import EVALUATE, final_evaluation, final_model
from pipelines.ir.plan import Json, Step
from pipelines.ir.reader import Pipeline
from pipelines.parameters import check
from pipelines.publishing.batches import BASES, choose, settle
from pipelines.publishing.card import Facts
from pipelines.publishing.conclusion import Wanted, conclude
from pipelines.publishing.outcome import Outcome
from pipelines.publishing.publish import Places, check_address
from pipelines.publishing.record import Records
from pipelines.publishing.registry import Registry
from pipelines.targets import Target, TargetError
from pipelines.targets.following import follow

EXIT_UNREACHABLE, EXIT_DEFECT, EXIT_INTERRUPTED = 4, 5, 130
COMPILED = Path(__file__).parent / "compiled"
DEFAULT = COMPILED / "pebr_r1.yaml"
NO_DIGEST = "0" * 64
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # a DNS label
OCCASION = re.compile(r"[\w.-]+")  # a file is named after it
IMAGE = re.compile(  # the reference of an image: host and path, tag, digest
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
log = logging.getLogger("pipelines.submit")


def _parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.submit", description="Send the pipeline to a cluster.")
    add = parser.add_argument
    add("--to", choices=("kfp", "argo", "job", "local"), required=True, help="Kubeflow, Argo, a Job, or here")
    add("--recipe", default="toy", help=f"{', '.join(recipes.names())}, or the path of a YAML file")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a pipeline parameter; may be repeated")
    add("--pipeline", type=Path, default=DEFAULT, help="compiled pipeline (%(default)s)")
    add(
        "--image",
        default=os.environ.get("PEBR_IMAGE", ""),
        help="image of every step, by digest (the compiled pipeline's)",
    )
    add("--name", default="", help="name of the run (pipeline, recipe, commit and digest)")
    add(
        "--occasion",
        default="",
        help="part of the digest in the name, such as a date: starts a new run although nothing changed",
    )
    add("--namespace", default="", help="Kubernetes namespace")
    add("--host", default=os.environ.get("KFP_HOST", ""), help="address of Kubeflow Pipelines")
    add("--experiment", default="pebr", help="Kubeflow experiment (%(default)s)")
    add("--artifacts", default="", help="s3:// prefix for the run's artifacts; kfp reads scores there")
    add("--wait", action="store_true", help="wait until the run has ended")
    add("--start-timeout", type=float, default=0.0, help="seconds that a step may wait to start; 0: any time")
    add("--poll", type=float, default=15.0, help="seconds between requests for the state (%(default)s)")
    add("--gate", action="append", default=[], help="such as accuracy>=0.6 or paired:accuracy>=-0.02; implies --wait")
    add("--base", default=BASES[0], choices=BASES, help="the base model: the recipe's, or the published one")
    add("--batches", action="append", default=[], metavar="NAME=PLACE", help="a source: new folders there, or a list")
    add("--keep", type=int, default=0, help="published versions that are kept; 0: all")
    add("--plan", action="store_true", help="show what would run, and what it would take; submit nothing")
    add("--publish", default="", help="s3:// prefix or folder for the record of the published model")
    add("--push", default="", help="also push the model: hf://organisation/name[@branch], oci://registry/name")
    add("--registry", default="", help="also register the published model: address of a Kubeflow Model Registry")
    add("--license", default="", help="licence of the published model, such as apache-2.0 (the base model's)")
    add("--summary", type=Path, help="file to append a Markdown summary to")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit from the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _submit(options)
    except InputError as error:
        log.error("error: %s", error)  # noqa: TRY400 - the message is complete
        return EXIT_WRONG_INPUT
    except (TargetError, StoreError) as error:
        log.error("error: %s", error)  # noqa: TRY400
        return EXIT_UNREACHABLE
    except KeyboardInterrupt:
        log.error("stopped by Ctrl-C; a run that was started goes on: the same command waits for it again")  # noqa: TRY400
        return EXIT_INTERRUPTED
    except OSError as error:
        place = error.filename or "a file"
        log.error("error: %s: %s: fix it, or give another path", place, error.strerror or error)  # noqa: TRY400
        return EXIT_WRONG_INPUT
    except Exception:
        log.exception("error: a defect of pebr, not of the run: please report it; submit again to find the same run")
        return EXIT_DEFECT


def _submit(options: argparse.Namespace) -> int:
    _check_values(options)
    pipeline = Pipeline(options.pipeline)
    records = _records(options.publish)
    choice = choose(options.base, options.batches, records, options.occasion)
    if choice.nothing_new:
        log.info("nothing to do: no batch is new since the last published model")
        return 0
    parameters = recipes.load(options.recipe, [*options.set, *choice.changes], pipeline.inputs)
    check(pipeline, parameters)
    steps = pipeline.plan(parameters)
    _check_options(options, steps)
    image = _set_image(pipeline, options.image)
    if options.plan:
        print(_plan(steps, image, options.to, records))
        return 0
    if options.to == "kfp":
        _warn_of_losses(steps, parameters)
    name = options.name or run_name(pipeline, options.recipe, parameters, options.occasion)
    _check_published(options.gate, records, name)
    target = _target(options, pipeline, image)
    if options.batches or options.base != BASES[0]:
        settle(choice, records, options.occasion)
    place = target.submit(name, parameters)
    log.info("run %s: %s", name, place)
    if not (options.wait or options.gate or options.publish):
        return 0
    started = time.monotonic()
    try:
        progress = follow(target, options.poll, options.start_timeout)
    except KeyboardInterrupt:
        log.error("run %s goes on (%s): the same command waits for it again", name, place)  # noqa: TRY400
        return EXIT_INTERRUPTED
    facts = Facts(
        run=name,
        pipeline=pipeline.name,
        recipe=options.recipe,
        commit=revision(),
        image=image,
        parameters=parameters,
        changed=[k for k, value in parameters.items() if value != pipeline.inputs[k].get("defaultValue")],
    )
    readable = bool(options.gate or options.publish or options.to != "kfp" or options.artifacts)
    places = Places(options.publish, options.push, options.registry, options.license, options.keep)
    wanted = Wanted(options.gate, choice, records, places, options.summary, readable)
    with tempfile.TemporaryDirectory() as folder:
        outcome = Outcome(target, steps, final_evaluation(steps), Path(folder))
        return conclude(facts, place, progress, outcome, wanted, time.monotonic() - started)


def _records(location: str) -> Records | None:
    """The records of published models at the location of --publish; None without one."""
    if not location:
        return None
    if Path(location.removeprefix("file://")).is_file():
        raise InputError(f"--publish {location}: this is a file: give a folder or an s3:// prefix")
    records = Records(location)
    records.latest()  # a broken record is refused before anything runs
    return records


def _plan(steps: Sequence[Step], image: str, to: str, records: Records | None) -> str:
    """The forecast of a run, from the runs that were recorded with earlier models."""
    pasts = [past for record in (records.all() if records else []) if (past := from_facts(record.steps))]
    model = final_model(steps)
    read = {step.id for step in steps if step.module == EVALUATE or (model and step.id == model.step)}
    if to == "argo":  # it keeps no results for later runs
        read = {step.id for step in steps}
    states = cached(steps, signatures(steps, image), pasts, read if to in ("kfp", "argo") else set())
    return table(forecast(steps, pasts, states, size_of), len(pasts))


def _check_values(options: argparse.Namespace) -> None:
    """Refuse values of options that no run can have."""
    if options.occasion and not OCCASION.fullmatch(options.occasion):
        raise InputError(f"--occasion {options.occasion!r}: give letters, digits, '.', '-' and '_', such as 2026-11-30")
    if not 0 < options.poll < math.inf:
        raise InputError(f"--poll {options.poll}: give seconds above 0")
    if not options.start_timeout >= 0:
        raise InputError(f"--start-timeout {options.start_timeout}: give seconds, or 0 for any time")


def _check_options(options: argparse.Namespace, steps: Sequence[Step]) -> None:
    """Refuse wrong gates and options that do not fit each other, before the run starts."""
    if any([gate.check(text, steps) for text in options.gate]) and not options.publish:  # noqa: C419 - check all gates
        raise InputError("a gate compares with the published score: give --publish, the location of its record")
    if (options.gate or options.publish) and not final_model(steps):
        raise InputError("the pipeline has no evaluation of a final model: remove --gate and --publish")
    if options.to == "kfp" and (options.gate or options.publish) and not options.artifacts:
        raise InputError("scores are read from the run's artifacts: give --artifacts s3://bucket/prefix")
    if (options.push or options.registry or options.license) and not options.publish:
        raise InputError("only a published model is pushed or registered: give --publish, the location of its record")
    if options.push:
        check_address(options.push)
    if options.registry:
        Registry(options.registry)
    if options.to == "job" and options.pipeline != DEFAULT:
        raise InputError("a Job runs the pipeline of its image: remove --pipeline, or build an image with yours")
    if options.name and not NAME.fullmatch(options.name):
        raise InputError(f"--name {options.name}: give at most 63 of a-z, 0-9 and -, and neither first nor last a -")
    if options.summary:
        options.summary.open("a").close()
    if options.keep < 0 or (options.keep and not options.publish):
        raise InputError(f"--keep {options.keep}: give a number of versions, and --publish, the location of the record")


def _check_published(gates: Sequence[str], records: Records | None, name: str) -> None:
    """Refuse gates that compare with what the published version does not have; a run is not compared with itself."""
    published = records.latest() if records else None
    if records is None or published is None or published.run == name:
        return
    for text in gates:
        gate.check_published(text, published.scores, partial(records.results, published.run))


def _warn_of_losses(steps: Sequence[Step], parameters: Json) -> None:
    """Warn of settings with which a long step loses its work on Kubeflow, which ends it without notice."""
    if not any("accelerator" in step.resources for step in steps):
        return
    if not str(parameters.get("checkpoints", "")).startswith("s3://"):
        log.warning("checkpoints end with the pod: on Kubeflow give --set checkpoints=s3://bucket/prefix")
    if not parameters.get("save_minutes"):
        log.warning("Kubeflow ends a step without notice: give --set save_minutes=20, to lose at most that much")


def run_name(pipeline: Pipeline, recipe: str, parameters: Json, occasion: str = "") -> str:
    """The name of a run, a DNS label of at most 63 characters; equal for equal arguments and commits."""
    parts = json.dumps([pipeline.document, pipeline.platform, parameters, occasion], sort_keys=True)
    digest = hashlib.sha256(parts.encode()).hexdigest()[:8]
    words = f"{pipeline.name}-{Path(recipe).stem}-{revision()[:10]}".lower()
    return f"{re.sub(r'[^a-z0-9]+', '-', words).strip('-')[:54]}-{digest}"


def revision() -> str:
    """The commit of the image or of the working tree; "" if unknown."""
    if known := os.environ.get("PEBR_REVISION", ""):
        return known
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def _set_image(pipeline: Pipeline, image: str) -> str:
    """Set the image of every step if one is given; returns the image.

    Raises:
        InputError: the compiled image is the placeholder of the GPU pipeline.
    """
    containers = [executor["container"] for executor in pipeline.document["deploymentSpec"]["executors"].values()]
    for container in containers:
        container["image"] = image or container["image"]
    chosen = str(containers[0]["image"])
    if chosen.endswith(NO_DIGEST):
        raise InputError(f"image {chosen}: a placeholder without a pushed image: give --image registry/pebr@sha256:...")
    if not IMAGE.fullmatch(chosen):
        raise InputError(f"image {chosen}: not an image's name: give registry/pebr@sha256:... with 64 digits, or a tag")
    return chosen


def _target(options: argparse.Namespace, pipeline: Pipeline, image: str) -> Target:
    """The target of the command line; only its own client library is imported."""
    if options.to == "kfp":
        from pipelines.targets.kubeflow import Kubeflow

        return Kubeflow(pipeline, options.host, options.artifacts, options.experiment, options.namespace)
    if options.to == "argo":
        from pipelines.targets.argo import Argo

        return Argo(pipeline, options.namespace)
    if options.to == "local":
        from pipelines.targets.machine import Machine

        return Machine(options.pipeline, options.artifacts)
    from pipelines.targets.job import Job

    return Job(options.namespace, image, options.artifacts)


if __name__ == "__main__":
    sys.exit(main())
