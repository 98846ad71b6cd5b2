"""The rule of each benchmark, on answers that depend on the benchmark's own convention."""

import pytest

from pebr.answers.equality import compare
from pebr.data.benchmark import BenchmarkRow
from pebr.evaluate.rules import (
    Comparison,
    benchmark_of,
    dynamath,
    literal_list,
    logicvista,
    mathvista,
    question_text,
    relaxed,
)


def row(answer: str, **fields: object) -> BenchmarkRow:
    return BenchmarkRow(index="0", question="Q?", answer=answer, **fields)


@pytest.mark.parametrize(
    ("reference", "given", "right"),
    [
        ("100", "105", True),  # 5 % off
        ("100", "105.1", False),
        ("-100", "-95", True),
        ("50%", "0.5", True),  # "%" means /100
        ("0.5", "52%", True),
        ("0", "0", True),  # zero has no relative error: compared as text
        ("0", "0.01", False),
        ("Blue", " blue ", True),
        ("Blue", "light blue", False),
        ("2015", "2016", True),  # the published rule takes years for numbers
        ("1e400", "1e400", True),  # infinite as a float: nothing breaks
        ("Yes", "Yes.", True),
        ("14", "**14**", True),
        ("45%", "45 %", True),
        ("1000", "1,000", True),
        ("14", "14 people", True),
        ("45", "45%", False),  # the published rule's "%"
        ("['14', 'fourteen people']", "14", True),  # one of several references is enough
        ("['blue', 'navy']", "Navy.", True),
        ("['blue', 'navy']", "red", False),
    ],
)
def test_chartqa_is_relaxed_on_numbers_only(reference: str, given: str, right: bool) -> None:
    assert relaxed(row(reference), given) is right


@pytest.mark.parametrize(
    ("answer_type", "reference", "given", "right"),
    [
        ("integer", "7", "7.0", True),
        ("integer", "7", "7.4", False),
        ("float", "1.45", "1.449", True),  # to the row's precision
        ("float", "1.45", "1.4", False),
        ("list", "[2007, 2008]", "[2007, 2008]", True),
        ("list", "[2007, 2008]", "2007", False),
        ("list", "[1, 2]", "[1, 2].", True),
        ("list", "['a', 'b']", "[a, b]", True),
        ("list", "[1, 2]", "[2, 1]", False),
        ("integer", "7", "seven", True),
        ("integer", "7", "7 apples", True),
        ("integer", "1000", "1,000", True),
        ("integer", "7", "8 apples", False),
    ],
)
def test_mathvista_compares_by_answer_type(answer_type: str, reference: str, given: str, right: bool) -> None:
    fields = {"answer_type": answer_type, "extra": {"question_type": "free_form", "precision": "2"}}
    verdict = mathvista(row(reference, **fields), given)
    assert (compare(verdict.given, verdict.reference) if isinstance(verdict, Comparison) else verdict) is right


def test_mathvista_multiple_choice_is_asked_with_its_choices() -> None:
    extra = {"question_type": "multi_choice", "choices": "['3/11', '8/11']", "answer_option": "B"}
    assert mathvista(row("8/11", extra=extra), "8/11") == Comparison("8/11", "B", {"A": "3/11", "B": "8/11"})


@pytest.mark.parametrize(
    ("reference", "given", "right"),
    [
        ("3.14", "3.1409", True),
        ("3.14", "3.142", False),
        ("3.14", "3.1405 cm", True),
        ("3.14", "3.14.", True),
        ("3.1416", "π", True),
        ("6.2832", "$2\\pi$", True),
        ("1.5708", "\\pi/2", True),
        ("3.14", "pi", False),
        ("0.5", "1/2", True),
        ("0.333", "\\frac{1}{3}", True),
        ("3.14", "a circle", False),
    ],
)
def test_dynamath_numbers_are_within_a_thousandth(reference: str, given: str, right: bool) -> None:
    assert dynamath(row(reference, answer_type="float"), given) is right


@pytest.mark.parametrize(
    ("reference", "given", "right"),
    [
        ("A, C", "C and A", True),
        ("A, C", "AC", True),
        ("A, C", "A", False),
        ("B", "(B).", True),
        ("B", "the bench", False),
        ("A", "", False),
        ("A", "**A**", True),
        ("A", "\\boxed{A}", True),
        ("A", "Option A", True),
        ("A", "[A]", True),
        ("A", "A. because it turns", True),
        ("A, C", "Options A and C", True),
        ("A", "The correct option is A.", True),
        ("A", "A or B", False),
        ("A", "[B]", False),
    ],
)
def test_logicvista_compares_sets_of_letters(reference: str, given: str, right: bool) -> None:
    assert logicvista(row(reference), given) is right


def test_an_unknown_benchmark_goes_to_the_answer_check() -> None:
    options = {"A": "red", "B": "blue"}
    assert benchmark_of("My_Own").rule(row("B", options=options), "(b)") == Comparison("(b)", "B", options)


def test_a_literal_is_read_and_never_evaluated() -> None:
    assert literal_list("[__import__('os').getpid()]") == []
    assert literal_list("[" * 100_000) == []


def test_mathvision_is_asked_and_compared_with_its_column_of_choices() -> None:
    chosen = row("B", extra={"choices": "['3/11', '8/11']"})
    assert benchmark_of("MathVision").rule(chosen, "8/11") == Comparison("8/11", "B", {"A": "3/11", "B": "8/11"})
    assert question_text(chosen) == "Q?\nOptions:\nA. 3/11\nB. 8/11"
    letters = row("B", extra={"choices": "['A', 'B']"})
    assert benchmark_of("MathVision").rule(letters, "B") == Comparison("B", "B", {})
    assert question_text(letters) == "Q?"


def test_options_are_listed_once() -> None:
    options = {"A": "red", "B": "blue"}
    asked = question_text(row("B", options=options))
    assert asked.endswith("A. red\nB. blue")
    shown = BenchmarkRow(index="0", question="Which? A. red B. blue", answer="B", options=options)
    assert question_text(shown) == shown.question
