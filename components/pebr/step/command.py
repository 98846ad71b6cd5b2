"""A step as a command: flags in, metrics and an exit code out.

`python -m pebr.sft --model ... --output ...` reads its frozen `Settings` from the flags, works, and exits with:

    0   done; the outputs are complete (`pebr.step.outputs` has checked them)
    2   wrong input (`InputError`), or a disk that is full or not writable: one line says what is wrong, where, and how
        to fix it; a retry cannot help
    75  preempted (`Preempted`): the step received SIGTERM and wrote a checkpoint; a retry resumes from it
    1   any other failure: the log has the traceback; a retry may help
"""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from pebr.errors import EXIT_PREEMPTED, EXIT_WRONG_INPUT, UNUSABLE, InputError, Preempted, RanksEnded
from pebr.files import atomic_file
from pebr.step.outputs import check_outputs, check_places, only_writer
from pebr.step.ranks import is_first_process, tell_done
from pebr.step.settings import Output, StepSettings, fields
from pebr.telemetry import metrics as telemetry
from pebr.telemetry import tracking
from pebr.telemetry.logs import configure

Settings = TypeVar("Settings", bound=StepSettings)
log = logging.getLogger("pebr")


def main(
    settings_class: type[Settings],
    work: Callable[[Settings], Mapping[str, float]],
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Run a step as a process: read flags, work, write the metrics that `work` returns, exit with a code above."""
    configure()
    started = time.time()
    settings = None
    try:
        settings = parse(settings_class, sys.argv[1:] if arguments is None else arguments)
        if is_first_process():
            check_places(settings)
        _watch(settings)
        with only_writer(settings):
            metrics = _worked(settings, work)
        if metrics is not None and is_first_process():
            metrics |= {"started": round(started, 3), "seconds": round(time.time() - started, 3)}
            write_metrics(settings, metrics)
        if is_first_process():
            check_outputs(settings)
        if metrics is not None:
            tracking.finish(metrics, _shown(settings))
            telemetry.finish(metrics)
        tell_done()
    except InputError as error:
        log.error("%s", error)  # noqa: TRY400 - the message is complete; a traceback would hide it
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
    finally:
        tracking.finish(None)
    sys.exit(0)


def _worked(settings: Settings, work: Callable[[Settings], Mapping[str, float]]) -> dict[str, float] | None:
    """The metrics of the work; None if other processes have done it and written them.

    Raises:
        RuntimeError: code that the work calls has left the process.
    """
    try:
        return dict(work(settings))
    except RanksEnded as end:
        if end.code:
            raise
        return None
    except SystemExit as stop:
        raise RuntimeError(
            f"sys.exit({stop.code!r}) was called inside the step, which is not done: see the traceback for the place"
        ) from stop


def parse(settings_class: type[Settings], arguments: Sequence[str]) -> Settings:
    """Read settings from a command line; booleans may be written as in YAML (`true`) or as in Python (`True`).

    Raises:
        InputError: the settings are refused.
        SystemExit: a flag is unknown, missing or of the wrong type; tyro has printed why.
    """
    import tyro

    booleans = {setting.flag for setting in fields(settings_class) if setting.type is bool}
    words = list(arguments)
    for i in range(1, len(words)):
        if words[i - 1].replace("_", "-") in booleans:
            words[i] = words[i].capitalize()
    program = f"python -m {settings_class.__module__.removesuffix('.settings')}"
    # tyro prints errors of a constructor in a box: read the flags without the checks, then construct with them.
    text = (settings_class.__doc__ or "").partition("\n\nArgs:")[0]
    unchecked = type("Settings", (settings_class,), {"__doc__": text, "__post_init__": lambda _: None})
    read: StepSettings = tyro.cli(unchecked, args=words, prog=program, config=(tyro.conf.FlagConversionOff,))
    return settings_class(**vars(read))


def _watch(settings: StepSettings) -> None:
    """Tell metrics and trackers which step this process runs."""
    step, stage = type(settings).__module__.removesuffix(".settings").rpartition(".")[2], getattr(settings, "stage", "")
    parameters = [setting.name for setting in fields(type(settings)) if setting.role is None]
    telemetry.identify(step, stage, getattr(settings, "output", ""))
    tracking.identify(step, stage, {name: getattr(settings, name) for name in parameters if name != "executor_input"})


def _shown(settings: StepSettings) -> list[Path]:
    """The outputs of a step that people look at."""
    kinds = ("HTML", "Metrics")
    shown = [s.name for s in fields(type(settings)) if isinstance(s.role, Output) and s.role.kind in kinds]
    return [path for name in shown if (path := Path(getattr(settings, name))).is_file()]


def write_metrics(settings: StepSettings, metrics: Mapping[str, float]) -> None:
    """Write the scalars to `settings.metrics`, and Kubeflow's executor output to the file that its input names.

    JSON has neither NaN nor infinity: such a scalar (the loss of a refused update) is left out.
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
