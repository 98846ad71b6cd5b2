"""Paired gates: the whole interval must be within the bound."""

import math

import pytest

from pebr.errors import InputError
from pipelines.gate import check, judge
from pipelines.paired import Difference


def difference(low: float, high: float) -> Difference:
    return Difference("accuracy", (low + high) / 2, low, high, 0.5, 0.5, 100, 3, 4, 0, {"b": 0.0})


@pytest.mark.parametrize(
    ("gate", "passed", "score"),
    [
        ("paired:accuracy>=-0.02", True, -0.01),
        ("paired:accuracy>=0", False, -0.01),
        ("paired:accuracy>0", False, -0.01),
        ("paired:accuracy<=0.04", True, 0.03),
        ("paired:accuracy<=0.02", False, 0.03),
    ],
)
def test_the_end_of_the_interval_that_is_nearer_to_the_bound_decides(gate: str, passed: bool, score: float) -> None:
    verdict = judge(gate, {}, "last", {"accuracy": 0.5}, lambda _: difference(-0.01, 0.03))
    assert (verdict.passed, verdict.score) == (passed, score)
    assert "interval -0.0100 to +0.0300" in verdict.note


@pytest.mark.parametrize("gate", ["paired:accuracy>=0.5", "paired:accuracy<=-0.5"])
def test_where_nothing_was_published_a_paired_gate_passes_and_says_so(gate: str) -> None:
    verdict = judge(gate, {}, "last", None, lambda _: difference(0, 0))
    assert verdict.passed
    assert math.isinf(verdict.score)
    assert verdict.note == "no model was published before"


def test_a_paired_gate_needs_what_was_published_and_a_number() -> None:
    assert check("paired:accuracy>=-0.02", [])
    with pytest.raises(InputError, match="the bound of a paired gate is a number"):
        check("paired:accuracy>=published-0.01", [])
