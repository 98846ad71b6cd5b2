"""Answers to the rows of a benchmark: correct by its rule, alone or among others."""

import pytest

from pebr.answers.check import AnswerChecker
from pebr.benchmarks.rules import MAX_ANSWER_CHARACTERS
from pebr.benchmarks.scoring import correct, key_words
from pebr.data.benchmark import BenchmarkRow


def row(answer: str, **fields: object) -> BenchmarkRow:
    return BenchmarkRow(index="0", question="Q?", answer=answer, **fields)


def test_the_benchmark_decides_which_rule_counts(checker: AnswerChecker) -> None:
    rows, given = [row("100"), row("100"), row("B", options={"A": "red", "B": "blue"})], ["104.9", "", "blue"]
    assert correct("ChartQA_TEST", rows, given, checker) == [1.0, 0.0, 0.0]  # 5 % are allowed, options are unknown
    assert correct("MMStar", rows, given, checker) == [0.0, 0.0, 1.0]


def test_no_answer_and_an_endless_one_are_wrong(checker: AnswerChecker) -> None:
    given = ["7", "", "7" * (MAX_ANSWER_CHARACTERS + 1), " 7 "]
    assert correct("toy", [row(text or "7") for text in given], given, checker) == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("cell", "words"), [('["bar", "3"]', ["bar", "3"]), ("[1]", ["1"]), ("", []), ("bar, 3", []), ('{"a": 1}', [])]
)
def test_keywords_are_a_json_list(cell: str, words: list[str]) -> None:
    assert key_words(row("7", extra={"key_words": cell} if cell else {})) == words
