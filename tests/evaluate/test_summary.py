"""The scores of a benchmark, computed from scored answers."""

import pytest

from pebr.data.benchmark import BenchmarkRow
from pebr.evaluate.summary import missing_columns, overall, summarise


def row(index: int, **fields: object) -> BenchmarkRow:
    return BenchmarkRow(index=str(index), question="Q?", answer="A", **fields)


def test_accuracy_is_shown_by_category_and_split() -> None:
    rows = [row(0, category="sum"), row(1, category="sum"), row(2, category="colour")]
    scores = summarise("toy", rows, [1.0, 0.0, 1.0], {"clip": [0.2, None, 0.4]})
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["clip"] == pytest.approx(0.3)
    assert scores["by"]["category"] == {
        "colour": {"rows": 1, "accuracy": 1.0},
        "sum": {"rows": 2, "accuracy": 0.5},
    }


def test_a_measure_that_no_row_has_is_left_out() -> None:
    scores = summarise("toy", [row(0), row(1)], [1.0, 0.0], {"clip": [None, None], "keyword": [None, 0.0]})
    assert "clip" not in scores
    assert scores["keyword"] == 0.0


def test_a_row_with_several_skills_counts_for_each() -> None:
    rows = [row(0, extra={"skill": "inductive,spatial"}), row(1, extra={"skill": "spatial"})]
    by = summarise("LogicVista", rows, [1.0, 0.0], {})["by"]["skill"]
    assert by == {"inductive": {"rows": 1, "accuracy": 1.0}, "spatial": {"rows": 2, "accuracy": 0.5}}


def test_wemath_scores_follow_its_definition() -> None:
    # Four problems: mastery, rote (one step wrong, composite right), inadequate, insufficient.
    answers = {"m": (1, 1, 1), "r": (1, 0, 1), "g": (1, 1, 0), "k": (0, 1, 0)}
    rows, correct = [], []
    for problem, values in answers.items():
        for key, value in zip(("2steps_1", "2steps_2", "2steps_multi"), values, strict=True):
            rows.append(row(len(rows), extra={"ID": problem, "key": key}))
            correct.append(float(value))
    scores = summarise("WeMath", rows, correct, {})
    assert scores["score_strict"] == pytest.approx((1 + 0.5 * 1) / 4)
    assert scores["score_loose"] == pytest.approx((2 + 0.5 * 1) / 4)  # the rote problem has one step right


def test_dynamath_worst_case_needs_every_variant() -> None:
    rows = [row(i, extra={"qid": str(i // 2)}) for i in range(4)]
    scores = summarise("DynaMath", rows, [1.0, 1.0, 1.0, 0.0], {})
    assert scores["accuracy"] == 0.75
    assert scores["worst_case_accuracy"] == 0.5


def test_mathverse_is_labelled_approximate() -> None:
    assert "approximate" in summarise("MathVerse_MINI", [row(0)], [1.0], {})["note"]


def test_overall_is_the_mean_of_what_all_benchmarks_have() -> None:
    assert overall([{"accuracy": 0.2, "clip": 0.5, "rows": 3}, {"accuracy": 0.4, "rows": 9}]) == {
        "accuracy": pytest.approx(0.3)
    }


def test_the_columns_that_a_rule_needs_and_a_table_lacks() -> None:
    complete = row(0, answer_type="float", extra={"qid": "1"})
    assert missing_columns("DynaMath", [complete, row(1)]) == []
    assert missing_columns("DynaMath", [row(0)]) == ["answer_type", "qid"]
    assert missing_columns("MyOwn", [row(0)]) == []
