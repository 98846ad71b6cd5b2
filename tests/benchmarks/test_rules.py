"""The rule of each benchmark, on answers that depend on the benchmark's own convention."""

import pytest

from pebr.answers.equality import compare
from pebr.benchmarks.rules import (
    Comparison,
    benchmark_of,
    dynamath,
    hallusion,
    hallusion_scores,
    literal_list,
    logicvista,
    mathvista,
    ocrbench,
    options,
    question_text,
    relaxed,
)
from pebr.data.benchmark import BenchmarkRow


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
        ("D", "Figure D", True),
        ("3", "3", True),  # labels can be digits
        ("3", "Option 3", True),
        ("1, 4", "4 and 1", True),
        ("3", "4", False),
        ("3", "3, 4", False),
        ("3", "C", False),
    ],
)
def test_logicvista_compares_sets_of_letters(reference: str, given: str, right: bool) -> None:
    assert logicvista(row(reference), given) is right


def test_logicvista_takes_the_text_of_an_option() -> None:
    asked = BenchmarkRow(index="0", question="Which? (A) 12 (B) 14 (C) 16", answer="B")
    assert logicvista(asked, "14")
    assert not logicvista(asked, "16")


@pytest.mark.parametrize(
    ("reference", "given", "right"),
    [
        ("Yes", "yes", True),
        ("Yes", "Yes, it is longer.", True),
        ("No", "No.", True),
        ("No", "The answer is no", True),
        ("1", "Yes", True),
        ("0", "No", True),
        ("Yes", "No", False),
        ("0", "Yes", False),
        ("Yes", "yes or no", False),
        ("No", "I cannot know", False),
    ],
)
def test_hallusionbench_compares_yes_and_no(reference: str, given: str, right: bool) -> None:
    assert hallusion(row(reference), given) is right


def test_hallusionbench_counts_figures_and_questions_with_all_answers_right() -> None:
    def asked(index: str) -> BenchmarkRow:
        return BenchmarkRow(index=index, question="Q?", answer="Yes", extra={"l2-category": "chart"})

    rows = [asked(f"VD_chart_0_{s}_{f}_{q}") for s in range(2) for f in range(2) for q in range(2)]
    correct = [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]  # figure 1 of set 0 has a wrong answer to question 1
    assert hallusion_scores(rows, correct) == {"figure_accuracy": 3 / 4, "question_accuracy": 3 / 4}
    columns = [
        BenchmarkRow(
            index=str(i), question="Q?", answer="Yes", extra={"set_id": "0", "figure_id": str(i), "question_id": "0"}
        )
        for i in range(4)
    ]
    assert hallusion_scores(columns, [1.0, 1.0, 1.0, 0.0]) == {"figure_accuracy": 3 / 4, "question_accuracy": 0.0}


@pytest.mark.parametrize(
    ("category", "reference", "given", "right"),
    [
        ("Regular Text Recognition", "['CENTRE']", "The word is Centre.", True),
        ("Regular Text Recognition", "['one', 'two']", "TWO", True),
        ("Regular Text Recognition", "['CENTRE']", "center", False),
        ("Handwritten Mathematical Expression Recognition", "['x ^ { 2 }']", "x^{2}", True),
        ("Handwritten Mathematical Expression Recognition", "['X ^ { 2 }']", "x^{2}", False),
    ],
)
def test_ocrbench_searches_the_reference_in_the_answer(category: str, reference: str, given: str, right: bool) -> None:
    assert ocrbench(row(reference, category=category), given) is right


def test_options_are_read_from_the_question_and_not_listed_again() -> None:
    asked = BenchmarkRow(index="0", question="How long?\nChoices:\nA:2\nB:2√3\nC:√3", answer="C")
    assert options(asked) == {"A": "2", "B": "2√3", "C": "√3"}
    assert question_text(asked) == asked.question
    assert benchmark_of("MathVerse_MINI").rule(asked, "√3") == Comparison("√3", "C", options(asked))


@pytest.mark.parametrize("cell", ["['12', '14']", '["12", "14"]', "['12' '14']", "A. 12; B. 14"])
def test_choices_in_any_notation(cell: str) -> None:
    assert options(row("B", extra={"choices": cell})) == {"A": "12", "B": "14"}


def test_a_hint_comes_before_the_question() -> None:
    assert question_text(row("6", extra={"hint": "A cube has 6 faces."})) == "Hint: A cube has 6 faces.\nQ?"


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
