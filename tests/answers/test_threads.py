"""Threads may share a checker."""

import random
from concurrent.futures import ThreadPoolExecutor

from pebr.answers.check import AnswerChecker

PAIRS = [(f"(x+{n})^2", f"x^2+{2 * n}x+{n * n + wrong}", not wrong) for n in range(1, 13) for wrong in (0, 1)]


def test_the_verdicts_of_threads_are_not_mixed_up(checker: AnswerChecker) -> None:
    def check(seed: int) -> bool:
        chosen = random.Random(seed).sample(PAIRS, 6)
        given, references, expected = zip(*chosen, strict=True)
        return checker.check(given, references) == list(expected)

    failures = checker.failures
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(check, range(40)))
    assert checker.failures == failures


def test_a_checker_may_be_closed_while_another_thread_checks() -> None:
    with AnswerChecker(workers=2) as checker, ThreadPoolExecutor(4) as threads:
        running = [threads.submit(checker.check, [given], [reference]) for given, reference, _ in PAIRS]
        for _ in range(3):
            checker.close()
        assert [future.result() for future in running] == [[right] for _, _, right in PAIRS]
