"""The paired comparison, against a slow version, published closed forms and simulations."""

import json
import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.errors import InputError
from pipelines.paired import LEAST, compare, half_width, read_results


def results(values: list[float], benchmark: str = "b", metric: str = "accuracy") -> dict:
    return {(benchmark, str(i), "d"): {metric: value} for i, value in enumerate(values)}


def slow(groups: list[list[float]]) -> tuple[float, float]:
    """Mean of the groups' means and the half width of its 95 % interval, written out."""
    mean, total = 0.0, 0.0
    for group in groups:
        average = sum(group) / len(group)
        mean += average / len(groups)
        squares = 0.0
        for value in group:
            squares += (value - average) ** 2
        total += squares / (len(group) - 1) / len(group) / len(groups) ** 2
    return mean, 1.959963984540054 * total**0.5


scores = st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * 2), min_size=LEAST, max_size=60)


@given(st.lists(scores, min_size=1, max_size=3))
def test_mean_and_interval_are_those_of_the_slow_version(benchmarks: list[list[tuple[float, float]]]) -> None:
    old, new = {}, {}
    for name, rows in enumerate(benchmarks):
        old |= results([before for before, _ in rows], str(name))
        new |= results([after for _, after in rows], str(name))
    made = compare("accuracy", new, old)
    mean, half = slow([[after - before for before, after in rows] for rows in benchmarks])
    assert made.mean == pytest.approx(mean)
    assert (made.low, made.high) == pytest.approx((mean - half, mean + half))
    assert made.after - made.before == pytest.approx(mean)
    assert made.better + made.worse <= made.questions == sum(map(len, benchmarks))


def test_the_variance_of_right_and_wrong_is_that_of_mcnemars_table() -> None:
    """b and c are the questions that only one model answers; the variance is the sample's, (b - c) / n its mean."""
    b, c, n = 17, 9, 120
    changes = [1.0] * b + [-1.0] * c + [0.0] * (n - b - c)
    error = math.sqrt((b + c - (b - c) ** 2 / n) / (n * (n - 1)))
    assert half_width([changes]) == pytest.approx(1.959963984540054 * error)


def test_the_interval_is_that_of_a_paired_bootstrap() -> None:
    draw = random.Random(0)
    old = [float(draw.random() < 0.5) for _ in range(200)]
    new = [value if draw.random() < 0.8 else 1 - value for value in old]
    made = compare("accuracy", results(new), results(old))
    pairs = list(zip(old, new, strict=True))
    means = sorted(fmean(a - b for b, a in draw.choices(pairs, k=200)) for _ in range(2000))
    assert (made.low, made.high) == pytest.approx((means[50], means[1950]), abs=0.015)


def test_the_interval_holds_the_true_difference_in_95_of_100() -> None:
    draw, inside = random.Random(1), 0
    for _ in range(600):
        hard = [draw.random() for _ in range(80)]
        old = [float(draw.random() < p) for p in hard]
        new = [float(draw.random() < 0.9 * p) for p in hard]  # the true difference is -0.1 p, in the mean -0.05
        made = compare("accuracy", results(new), results(old))
        inside += made.low <= -0.05 <= made.high
    assert 0.92 <= inside / 600 <= 0.975


def test_pairing_narrows_the_interval_where_answers_are_alike() -> None:
    draw = random.Random(2)
    old = [float(draw.random() < 0.5) for _ in range(400)]
    new = [value if draw.random() < 0.95 else 1 - value for value in old]
    made = compare("accuracy", results(new), results(old))
    apart = math.hypot(half_width([old]), half_width([new]))
    assert made.high - made.mean < apart / 2


def test_only_the_same_questions_are_compared() -> None:
    """A question whose text, answer or image has changed has another digest."""
    old = results([1.0] * 40)
    new = {(b, q, "changed" if int(q) < 5 else d): v for (b, q, d), v in results([0.0] * 40).items()}
    made = compare("accuracy", new, old)
    assert (made.questions, made.left_out, made.worse) == (35, 10, 35)
    assert "10 questions that only one of the two has are left out" in str(made)


@pytest.mark.parametrize("metric", ["accuracy", "clip"])
def test_too_few_questions_are_refused(metric: str) -> None:
    with pytest.raises(InputError, match=f"{metric}: .* fewer than {LEAST}"):
        compare(metric, results([1.0] * 29), results([1.0] * 29))


def test_a_benchmark_of_one_question_makes_the_interval_infinite() -> None:
    both = results([1.0] * 40) | results([1.0], "tiny")
    assert compare("accuracy", both, both).low == -math.inf


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"benchmark": "b", "qid": "1", "digest": "d", "accuracy": "high"}'])
def test_a_broken_file_names_the_line(line: str) -> None:
    good = json.dumps({"benchmark": "b", "qid": "1", "digest": "d", "accuracy": 1.0})
    with pytest.raises(InputError, match="here, line 2"):
        read_results([good, line], "here")
