"""Which answers to the rows of a benchmark are correct, the same in evaluations and in validations during training."""

import json
from collections.abc import Sequence

from pebr.answers.check import AnswerChecker
from pebr.benchmarks.rules import MAX_ANSWER_CHARACTERS, Comparison, benchmark_of
from pebr.data.benchmark import BenchmarkRow


def correct(name: str, rows: Sequence[BenchmarkRow], given: Sequence[str], checker: AnswerChecker) -> list[float]:
    """1.0 for each correct answer, 0.0 for each other one: (S,).

    Args:
        name: of the benchmark, which says its rule.
        rows: the row of each answer, (S,).
        given: the final answer of each response, "" for none, (S,).
        checker: decides where the rule leaves it to the answer check.
    """
    rule = benchmark_of(name).rule
    verdicts = [
        rule(row, text) if 0 < len(text) <= MAX_ANSWER_CHARACTERS else False
        for row, text in zip(rows, given, strict=True)
    ]
    asked = [(i, verdict) for i, verdict in enumerate(verdicts) if isinstance(verdict, Comparison)]
    checked = checker.check(
        [c.given for _, c in asked], [c.reference for _, c in asked], [dict(c.options) for _, c in asked]
    )
    found = [float(verdict is True) for verdict in verdicts]
    for (i, _), right in zip(asked, checked, strict=True):
        found[i] = float(right)
    return found


def key_words(row: BenchmarkRow) -> list[str]:
    """The keywords of a row, from the JSON list in column `key_words`; [] if there is none."""
    try:
        words = json.loads(row.extra.get("key_words") or "[]")
    except ValueError:
        return []
    return [str(word) for word in words] if isinstance(words, list) else []
