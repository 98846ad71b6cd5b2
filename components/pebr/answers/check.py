"""Is the given answer the reference? One check for rollouts, the accuracy reward and evaluation.

Most pairs are decided by the rules of `pebr.answers.equality`, in this process; what needs computer algebra goes to
worker processes that are killed when they take too long. Answers are data: nothing in them is evaluated, whatever they
are costs a bounded time, and a pair that cannot be decided in that time is wrong and is reported as such.
"""

import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from pebr.answers.equality import Symbolic, compare
from pebr.answers.workers import WorkerPool

log = logging.getLogger("pebr.rewards")


class AnswerChecker:
    """Compares answers with references; `with AnswerChecker(workers=2) as checker: checker.check(given, references)`.

    `failures` counts the pairs, so far, that took longer than the limit or took a worker down; they counted as wrong.
    """

    def __init__(self, workers: int = 1, seconds: float = 2.0) -> None:
        """
        Args:
            workers: processes for computer algebra; they start when pairs need them, or by `start`.
            seconds: limit for one pair, of processor time; five times this, and five more, by the clock on the wall.
        """
        self.failures = 0
        self._pool = WorkerPool(workers, seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the worker processes beside what the caller does next, so that the first check does not wait."""
        self._pool.start()

    def close(self) -> None:
        """End the worker processes. The checker can be used again: they start anew."""
        self._pool.close()

    def check(
        self,
        given: Sequence[str],
        references: Sequence[str],
        options: Sequence[Mapping[str, str] | None] | None = None,
    ) -> list[bool]:
        """Whether each given answer is its reference, (S,).

        Args:
            given: answers as models wrote them, without the header; any text at all. (S,)
            references: the right answers. (S,)
            options: for multiple choice, letter -> text, or None, for each pair; the reference may then be a letter or
                an option's text. (S,)

        Raises:
            ValueError: when the lists differ in length.
            WorkerError: when a worker process does not start.
        """
        choices = options if options is not None else [None] * len(given)
        verdicts = [compare(*row) for row in zip(given, references, choices, strict=True)]
        pairs = sorted({pair for verdict in verdicts if isinstance(verdict, Symbolic) for pair in verdict.pairs})
        decided = dict(zip(pairs, self._pool.run(pairs), strict=True)) if pairs else {}
        failed = [pair for pair, verdict in decided.items() if verdict is None]
        if failed:
            self.failures += len(failed)
            log.warning("answer check: %d pairs given up and counted as wrong, the first: %r", len(failed), failed[0])
        return [all(map(decided.get, v.pairs)) if isinstance(v, Symbolic) else v for v in verdicts]
