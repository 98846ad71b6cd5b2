"""Kills a training step again and again and lets it finish: `python -m tests.training.killing JOB`.

JOB is JSON: settings and work (modules, `pebr.sft.settings`, `pebr.sft.work`), flags (the command line), kills, seconds
(the longest that a run is left alone), seed.
Everything is imported once, here; each run is a fork, killed with SIGKILL after a random time, so that the kills fall
on start, resume, steps, checkpoints and the last writing alike. Prints how many runs were killed, and how many seconds
the last one took.
"""

import importlib
import json
import os
import random
import signal
import sys
import time

import deepspeed  # noqa: F401 - imported before the forks, like all that is slow
import transformers.models.auto.modeling_auto

import pebr.vlm.torchvision_operators  # noqa: F401
from pebr.step.command import main


def start(job: dict) -> int:
    """Run the step in a fork; returns its process id."""
    if process := os.fork():
        return process
    settings_class = importlib.import_module(job["settings"]).Settings
    work = importlib.import_module(job["work"]).work
    try:
        main(settings_class, work, job["flags"])
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:  # noqa: BLE001 - whatever it was, a fork must end here
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def ended(process: int, seconds: float) -> int | None:
    """The exit status of a process, None when it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def run(job: dict) -> None:
    random.seed(job["seed"])
    killed = 0
    while killed < job["kills"]:
        process = start(job)
        code = ended(process, random.uniform(0, job["seconds"]))
        if code is None:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            killed += 1
        elif code:
            sys.exit(code)
    began = time.monotonic()
    code = ended(start(job), 3600)
    print(json.dumps({"killed": killed, "seconds": time.monotonic() - began}))
    sys.exit(code)


if __name__ == "__main__":
    importlib.import_module(json.loads(sys.argv[1])["work"])
    assert transformers.models.auto.modeling_auto
    run(json.loads(sys.argv[1]))
