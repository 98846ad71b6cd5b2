"""A few processes that compare expressions (`pebr.answers.symbolic`), each of which can be killed.

Each keeps the limit of processor time itself, by an alarm that ends the child at work. Should even that fail, the
process is killed from here, by the clock on the wall, and replaced; its pair has failed, the other pairs go on. Threads
and handlers of signals cannot give this promise; the kernel can. Every pair goes out with a number and its verdict
comes back with it, so that no verdict is ever taken for another pair's, whichever process died when.
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

START_SECONDS = 120.0  # a process that is not ready by then never will be
BUSY = 5.0  # by how much the wall clock may outrun the processor's, on a machine that is busy
GRACE_SECONDS = 5.0  # on top of that


class WorkerError(RuntimeError):
    """A worker process cannot be started."""


class _Worker:
    """One process and the pair that it works on."""

    def __init__(self, seconds: float) -> None:
        self.limit = seconds * BUSY + GRACE_SECONDS
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pebr.answers.symbolic", str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # a line that waits in a buffer of ours is one that no selector sees
            start_new_session=True,  # a process group, so that the child at work is killed with it
        )
        self.input = cast("IO[bytes]", self.process.stdin)  # a pair a line
        self.output = cast("IO[bytes]", self.process.stdout)  # "ready", then a numbered verdict a line
        self.ready = False  # until then the deadline is that of its start
        self.pair: int | None = None
        self.sent = 0  # pairs; the number of the last one
        self.deadline = time.monotonic() + START_SECONDS

    def send(self, index: int, pair: tuple[str, str]) -> None:
        """Give it a pair."""
        self.sent += 1
        self.pair, self.deadline = index, time.monotonic() + self.limit
        self.input.write(json.dumps([self.sent, *pair]).encode() + b"\n")

    def kill(self) -> None:
        """End it and its child, whatever they do."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()
        with suppress(BrokenPipeError):
            self.input.close()


class WorkerPool:
    """Compares pairs of expressions in `size` processes, which start as pairs need them and live until `close`."""

    def __init__(self, size: int, seconds: float) -> None:
        self.size = size
        self.seconds = seconds
        self._workers: list[_Worker] = []

    def start(self) -> None:
        """Start all processes, without waiting for them to be ready."""
        self._workers += [_Worker(self.seconds) for _ in range(self.size - len(self._workers))]

    def run(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        """The verdict on each pair, (S,): None where it ran out of time or took its process down.

        A pair whose process ended without a word of it goes to another one, once: it had died before, or was killed.

        Raises:
            WorkerError: when a process does not start.
        """
        verdicts: list[bool | None] = [None] * len(pairs)
        waiting = deque(range(len(pairs)))
        returned: set[int] = set()  # pairs of processes that had ended
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.output, selectors.EVENT_READ, worker)
                if not worker.ready:  # started a while ago, and nobody has listened since
                    worker.deadline = time.monotonic() + START_SECONDS
            while waiting or any(worker.pair is not None for worker in self._workers):
                self._staff(selector, len(waiting))
                for worker in [w for w in self._workers if w.ready and w.pair is None][: len(waiting)]:
                    index = waiting.popleft()
                    with suppress(BrokenPipeError):  # the end of its output says the same below
                        worker.send(index, pairs[index])
                pending = [w.deadline for w in self._workers if not w.ready or w.pair is not None]
                ready = selector.select(max(0.0, min(pending, default=0.0) - time.monotonic()))
                for worker in [key.data for key, _ in ready]:
                    if not self._listen(worker, verdicts):
                        self._dismiss(worker, selector)
                        if worker.pair is not None and worker.pair not in returned:
                            returned.add(worker.pair)
                            waiting.append(worker.pair)
                for worker in [w for w in self._workers if w.pair is not None and w.deadline <= time.monotonic()]:
                    self._dismiss(worker, selector)
        return verdicts

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def _staff(self, selector: selectors.BaseSelector, waiting: int) -> None:
        """Start processes, as many as there is work for."""
        unoccupied = sum(worker.pair is None for worker in self._workers)
        for _ in range(min(self.size - len(self._workers), waiting - unoccupied)):
            worker = _Worker(self.seconds)
            self._workers.append(worker)
            selector.register(worker.output, selectors.EVENT_READ, worker)
        for worker in self._workers:
            if not worker.ready and worker.deadline <= time.monotonic():
                self._dismiss(worker, selector)
                raise WorkerError(f"answer check: a worker process was not ready after {START_SECONDS:.0f} s")

    def _listen(self, worker: _Worker, verdicts: list[bool | None]) -> bool:
        """Take what a process has written; False when it has ended, or speaks of no pair or another one: its child has
        died, and may have taken a pair along that it had not begun.
        """
        line = worker.output.readline()
        if not worker.ready:
            if not line:
                self._workers.remove(worker)
                worker.kill()
                raise WorkerError("answer check: a worker process ended at its start: python -m pebr.answers.symbolic")
            worker.ready = True
        elif line:
            number, verdict = json.loads(line)
            if number != worker.sent or worker.pair is None:
                return False
            verdicts[worker.pair], worker.pair = verdict, None
        return bool(line)

    def _dismiss(self, worker: _Worker, selector: selectors.BaseSelector) -> None:
        selector.unregister(worker.output)
        self._workers.remove(worker)
        worker.kill()
