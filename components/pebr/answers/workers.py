"""A pool of processes that compare expressions (`pebr.answers.symbolic`) and can be killed.

Each process limits its own processor time: a kernel timer ends its child. If that fails, the pool kills the process at
the wall-clock limit and replaces it; its pair fails and the other pairs continue. Only killing a process is certain:
threads and Python signal handlers cannot stop all code. Each pair is sent with a number that comes back with its
verdict, so that a verdict never goes to the wrong pair.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, cast

START_SECONDS = 120.0  # limit for the start of a process
BUSY = 5.0  # wall-clock seconds per second of processor time, at most, on a busy machine
GRACE_SECONDS = 5.0  # added to the wall-clock limit


class WorkerError(RuntimeError):
    """A worker process cannot be started."""


class Worker:
    """One process and its current pair."""

    def __init__(self, seconds: float) -> None:
        self.limit = seconds * BUSY + GRACE_SECONDS
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pebr.answers.symbolic", str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # a selector does not see lines in a Python buffer
            start_new_session=True,  # a process group, so that its child is killed with it
        )
        self.input = cast("IO[bytes]", self.process.stdin)  # one pair per line
        self.output = cast("IO[bytes]", self.process.stdout)  # "ready", then one numbered verdict per line
        self.ready = False  # before that, the deadline is that of its start
        self.pair: int | None = None
        self.sent = 0  # number of pairs sent, which is the number of the last pair
        self.deadline = time.monotonic() + START_SECONDS

    def send(self, index: int, pair: tuple[str, str]) -> None:
        """Send it a pair."""
        self.sent += 1
        self.pair, self.deadline = index, time.monotonic() + self.limit
        self.input.write(json.dumps([self.sent, *pair]).encode() + b"\n")

    def kill(self) -> None:
        """Kill it and its child."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()
        with suppress(BrokenPipeError):
            self.input.close()


class WorkerPool:
    """Compares pairs of expressions in at most `size` processes, which start when needed and run until `close`."""

    def __init__(self, size: int, seconds: float) -> None:
        self.size = size
        self.seconds = seconds
        self.workers: list[Worker] = []

    def start(self) -> None:
        """Start all processes without waiting until they are ready."""
        self.workers += [Worker(self.seconds) for _ in range(self.size - len(self.workers))]

    def run(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        """The verdict on each pair, (S,): None if it exceeded its limit or crashed.

        If a process ends without reporting on its pair, the pair goes to another process, once.

        Raises:
            WorkerError: if a process does not start.
        """
        verdicts: list[bool | None] = [None] * len(pairs)
        waiting = deque(range(len(pairs)))
        returned: set[int] = set()  # pairs sent to a second process
        with selectors.DefaultSelector() as selector:
            for worker in self.workers:
                selector.register(worker.output, selectors.EVENT_READ, worker)
                if not worker.ready:  # `start` was called long ago: its start limit begins now
                    worker.deadline = time.monotonic() + START_SECONDS
            while waiting or any(worker.pair is not None for worker in self.workers):
                self._staff(selector, len(waiting))
                for worker in [w for w in self.workers if w.ready and w.pair is None][: len(waiting)]:
                    index = waiting.popleft()
                    with suppress(BrokenPipeError):  # the end of its output is handled below
                        worker.send(index, pairs[index])
                pending = [w.deadline for w in self.workers if not w.ready or w.pair is not None]
                ready = selector.select(max(0.0, min(pending, default=0.0) - time.monotonic()))
                for worker in [key.data for key, _ in ready]:
                    if not self._listen(worker, verdicts):
                        self._dismiss(worker, selector)
                        if worker.pair is not None and worker.pair not in returned:
                            returned.add(worker.pair)
                            waiting.append(worker.pair)
                for worker in [w for w in self.workers if w.pair is not None and w.deadline <= time.monotonic()]:
                    self._dismiss(worker, selector)
        return verdicts

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def _staff(self, selector: selectors.BaseSelector, waiting: int) -> None:
        """Start as many processes as there are pairs for; check that starting ones are within their limit."""
        unoccupied = sum(worker.pair is None for worker in self.workers)
        for _ in range(min(self.size - len(self.workers), waiting - unoccupied)):
            worker = Worker(self.seconds)
            self.workers.append(worker)
            selector.register(worker.output, selectors.EVENT_READ, worker)
        for worker in self.workers:
            if not worker.ready and worker.deadline <= time.monotonic():
                self._dismiss(worker, selector)
                raise WorkerError(f"answer check: no worker was ready after {START_SECONDS:.0f} s: start fewer workers")

    def _listen(self, worker: Worker, verdicts: list[bool | None]) -> bool:
        """Read a line of a process; False if the process has ended or the line has another number than its pair.

        A wrong number means that the child died, perhaps after reading a pair that it had not begun.
        """
        line = worker.output.readline()
        if not worker.ready:
            if not line:
                self.workers.remove(worker)
                worker.kill()
                raise WorkerError(
                    "answer check: a worker process ended at its start: run python -m pebr.answers.symbolic 1"
                )
            worker.ready = True
        elif line:
            number, verdict = json.loads(line)
            if number != worker.sent or worker.pair is None:
                return False
            verdicts[worker.pair], worker.pair = verdict, None
        return bool(line)

    def _dismiss(self, worker: Worker, selector: selectors.BaseSelector) -> None:
        selector.unregister(worker.output)
        self.workers.remove(worker)
        worker.kill()
