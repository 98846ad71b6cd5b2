"""The answer check of rollout, the accuracy reward and evaluation: does the given answer equal the reference?

The rules of `pebr.answers.equality` decide most pairs in this process. Pairs that need computer algebra go to worker
processes, which are killed when a pair exceeds its time limit. No answer is ever evaluated as code, and every answer
costs bounded time. A pair that is not decided within its limit counts as wrong and is logged.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Self

from pebr.answers.equality import Symbolic, compare
from pebr.answers.workers import WorkerPool

log = logging.getLogger("pebr.rewards")


class AnswerChecker:
    """Compares answers with references: `with AnswerChecker(workers=2) as checker: checker.check(given, references)`.

    `failures` counts the pairs so far that exceeded the time limit or crashed a worker. They count as wrong.
    Threads may share a checker: their pairs go to the workers one call after the other.
    """

    def __init__(self, workers: int = 1, seconds: float = 2.0) -> None:
        """
        Args:
            workers: processes for computer algebra. They start with `start`, or when the first pairs need them.
            seconds: limit of processor time per pair. The wall-clock limit is 5 times this, plus 5 seconds.
        """
        self.failures = 0
        self.pool = WorkerPool(workers, seconds)
        self._turn = threading.Lock()  # the pool and `failures` belong to one thread at a time

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the worker processes in the background, so that the first check does not wait for them."""
        with self._turn:
            self.pool.start()

    def close(self) -> None:
        """End the worker processes. The next check starts new ones."""
        with self._turn:
            self.pool.close()

    def check(
        self, given: Sequence[str], references: Sequence[str], options: Sequence[Mapping[str, str] | None] | None = None
    ) -> list[bool]:
        """Whether each given answer equals its reference: (S,).

        Args:
            given: answers as models wrote them, without the header; any text is accepted. (S,)
            references: the right answers. (S,)
            options: per pair the options of a multiple-choice question (letter -> text), or None. With options, the
                reference may be a letter or the text of an option. (S,)

        Raises:
            ValueError: if the lists differ in length.
            WorkerError: if a worker process does not start.
        """
        choices = options if options is not None else [None] * len(given)
        verdicts = [compare(*row) for row in zip(given, references, choices, strict=True)]
        pairs = sorted({pair for verdict in verdicts if isinstance(verdict, Symbolic) for pair in verdict.pairs})
        decided: dict[tuple[str, str], bool | None] = {}
        failed: list[tuple[str, str]] = []
        if pairs:
            with self._turn:
                decided = dict(zip(pairs, self.pool.run(pairs), strict=True))
                failed = [pair for pair, verdict in decided.items() if verdict is None]
                self.failures += len(failed)
        if failed:
            log.warning("answer check: %d pairs given up and counted as wrong, the first: %r", len(failed), failed[0])
        return [any(all(map(decided.get, way)) for way in v.ways) if isinstance(v, Symbolic) else v for v in verdicts]
