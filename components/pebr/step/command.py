"""A step, seen from outside: settings from flags, whole outputs or none, errors in one line, metrics for the UI.

A step is a command. `python -m pebr.sft --model ... --output ...` parses its frozen `Settings`, works, and exits:

    0   done; outputs are whole
    2   a wrong input (`InputError`), or a place that is full or may not be used: the message says what, where and how
        to mend; trying again cannot help
    75  preempted (`Preempted`): SIGTERM was obeyed and a checkpoint written; trying again goes on from it
    1   anything else: a traceback in the log; trying again may help
"""

import dataclasses
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pebr.errors import EXIT_PREEMPTED, EXIT_WRONG_INPUT, UNUSABLE, InputError, Preempted
from pebr.files import atomic_file

# The image that component.py files name. Set when compiling; a digest is the right value for a cluster.
IMAGE = os.environ.get("PEBR_IMAGE", "pebr:latest")

Settings = TypeVar("Settings")
log = logging.getLogger("pebr")


def main(
    settings_class: type[Settings],
    work: Callable[[Settings], Mapping[str, float]],
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Run a step as a process: parse, work, write metrics, exit with one of the codes above.

    Args:
        settings_class: a frozen dataclass whose fields are the step's flags; `metrics` and `executor_input` among them.
        work: does the step's work and returns its scalar metrics.
        arguments: the command line, `sys.argv[1:]` when None.
    """
    from pebr.telemetry.logs import configure

    configure()
    started = time.time()
    try:
        settings = parse(settings_class, sys.argv[1:] if arguments is None else arguments)
        metrics = dict(work(settings))
        metrics |= {"started": round(started, 3), "seconds": round(time.time() - started, 3)}
        if is_first_process():
            write_metrics(settings, metrics)
    except InputError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says all; a traceback would bury it
        sys.exit(EXIT_WRONG_INPUT)
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        place = error.filename2 or error.filename or getattr(settings, "output", "a disk")  # filename2: a copy's target
        log.error("%s: %s: %s", place, os.strerror(error.errno), UNUSABLE[error.errno])  # noqa: TRY400
        sys.exit(EXIT_WRONG_INPUT)
    except Preempted as stop:
        log.warning("%s", stop)
        sys.exit(EXIT_PREEMPTED)
    sys.exit(0)


def parse(settings_class: type[Settings], arguments: Sequence[str]) -> Settings:
    """The settings that a command line gives; booleans may be written `true` as in YAML or `True` as in Python.

    Raises:
        SystemExit: with tyro's explanation, when a flag is unknown, missing or of the wrong type.
    """
    import tyro

    booleans = {"--" + f.name.replace("_", "-") for f in dataclasses.fields(settings_class) if f.type in (bool, "bool")}  # type: ignore[arg-type]
    words = list(arguments)
    for i in range(1, len(words)):
        if words[i - 1].replace("_", "-") in booleans:
            words[i] = words[i].capitalize()
    program = f"python -m {settings_class.__module__.removesuffix('.settings')}"
    return tyro.cli(settings_class, args=words, prog=program, config=(tyro.conf.FlagConversionOff,))


def is_first_process() -> bool:
    """True in the one process that writes a step's results: rank 0, or the only process."""
    return os.environ.get("RANK", "0") == "0"


def write_metrics(settings: Any, metrics: Mapping[str, float]) -> None:
    """Write the scalars to `settings.metrics`, and Kubeflow's executor output to the file that its input names.

    JSON has no NaN and no infinity: such a scalar, the loss of a step that was refused, is left out.
    """
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    if settings.metrics:
        with atomic_file(Path(settings.metrics)) as path:
            path.write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
    if settings.executor_input:
        outputs = json.loads(settings.executor_input).get("outputs", {})
        artifacts = outputs.get("artifacts", {})
        if "metrics" in artifacts:  # the UI shows the metadata of a Metrics artifact
            artifacts["metrics"]["artifacts"][0]["metadata"] = metrics
        if "outputFile" in outputs:
            with atomic_file(Path(outputs["outputFile"])) as path:
                path.write_text(json.dumps({"artifacts": artifacts}))
