"""Runs a step on one node: fetches its inputs, runs it, and node 0 stores its outputs.

python -m pipelines.nodes.node --exchange s3://... --inputs model,dataset --outputs output -- pebr.grpo --model ...

The step ends as it would in a pod of its own, and so does this command: SIGTERM is passed on, and its exit code is this
one's. If the launcher gives no sign of life for `ORPHANED` seconds (its run was cancelled on Kubeflow, which kills it
at once, or its machine is gone for good), the step gets a SIGTERM, so that it does not hold its GPUs for nobody.
"""

import argparse
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from pebr.errors import EXIT_PREEMPTED
from pebr.step.ranks import is_first_process
from pebr.telemetry.logs import configure
from pipelines.nodes.exchange import Exchange

log = logging.getLogger("pebr.nodes")

ORPHANED = 900.0  # seconds
LOOK_SECONDS = 60.0  # between two looks for a sign of life


class Child:
    """The step's process. A SIGTERM reaches it; one that comes before it has started ends this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        signal.signal(signal.SIGTERM, self._forward)

    def run(self, command: Sequence[str], exchange: Exchange) -> int:
        """Run the command; returns its exit code, 128 + signal for one that was killed."""
        self._process = process = subprocess.Popen(command)
        looked, told = time.monotonic(), False
        while process.poll() is None:
            if not told and time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                if (silent := exchange.silence()) > ORPHANED:
                    told = True
                    log.warning("the launcher gives no sign of life for %.0f s: stopping the step", silent)
                    process.terminate()
            time.sleep(0.1)
        return 128 - process.returncode if process.returncode < 0 else process.returncode

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if self._process is None:
            log.warning("SIGTERM before the step has started")
            sys.exit(EXIT_PREEMPTED)
        self._process.send_signal(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the step; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.nodes.node", description="Run a step on one node.")
    parser.add_argument("--exchange", required=True, help="location of the exchange")
    parser.add_argument("--folder", type=Path, required=True, help="for the step's inputs and outputs")
    parser.add_argument("--inputs", default="", help="names of the input artifacts, separated by commas")
    parser.add_argument("--outputs", default="", help="names of the output artifacts, separated by commas")
    parser.add_argument("step", nargs="+", help="the step's module and flags, after --")
    options = parser.parse_args(arguments)
    configure()
    child = Child()
    exchange = Exchange(options.exchange)
    try:
        if exchange.silence() > ORPHANED:
            log.warning("the launcher gives no sign of life: nothing is started")
            return EXIT_PREEMPTED
        exchange.fetch_inputs(filter(None, options.inputs.split(",")), options.folder / "inputs")
        code = child.run([sys.executable, "-m", *options.step], exchange)
        if code == 0 and is_first_process():
            exchange.put_outputs(filter(None, options.outputs.split(",")), options.folder / "outputs")
    except OSError as error:  # of the store: one line, as a step says it
        log.error("%s", error)  # noqa: TRY400
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
