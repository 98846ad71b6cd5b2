"""Kill a step several times, then let it finish: `python -m tests.training.killing JOB`.

JOB is JSON: settings and work (modules, `pebr.sft.settings`, `pebr.sft.work`), flags (the command line), kills, seconds
(the longest time before a kill), seed.
Everything is imported once, here. Each run is a fork, killed with SIGKILL after a random time, so that kills happen
during start, resume, training, checkpoints and the final writing. Prints the number of killed runs, and the seconds of
the last one.
"""

import importlib
import json
import os
import random
import signal
import sys
import time

import deepspeed  # noqa: F401 - slow imports come before the forks
import transformers.models.auto.modeling_auto

import pebr.vlm.torchvision_operators  # noqa: F401
from pebr.step.command import main


def start(job: dict) -> int:
    """Run the step in a fork. Returns its process id."""
    if process := os.fork():
        return process
    settings_class = importlib.import_module(job["settings"]).Settings
    work = importlib.import_module(job["work"]).work
    try:
        main(settings_class, work, job["flags"])
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:  # noqa: BLE001 - a fork must end here after any error
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def ended(process: int, seconds: float) -> int | None:
    """The exit code of a process; None if it still runs after `seconds`."""
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
