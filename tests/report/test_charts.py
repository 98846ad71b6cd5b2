"""The arithmetic of the charts."""

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.report import charts
from pebr.report.charts import Series

heights = st.lists(st.floats(0, 300), min_size=1, max_size=8)
finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(heights, st.floats(1, 30), st.floats(0, 300) | st.just(math.inf))
def test_labels_are_spread_without_overlap_and_keep_their_order(values: list[float], gap: float, most: float) -> None:
    placed = charts.spread(values, gap, most)
    assert max(placed) <= most
    pairs = sorted(zip(values, placed, strict=True))
    assert all(b - a >= gap - 1e-6 for a, b in itertools.pairwise(sorted(placed)))
    assert all(p <= q + 1e-6 for (v, p), (w, q) in itertools.pairwise(pairs) if v < w)


@given(heights, st.floats(1, 30))
def test_labels_that_are_far_enough_apart_stay(values: list[float], gap: float) -> None:
    apart = [i * gap * 1.5 for i, _ in enumerate(values)]
    assert charts.spread(apart, gap) == pytest.approx(apart)


@given(finite, st.floats(1e-3, 1e6))
def test_ticks_are_a_few_round_numbers_within_the_range(low: float, extent: float) -> None:
    marks = charts.ticks(low, low + extent)
    assert 2 <= len(marks) <= 8
    slack = 1e-6 * (abs(low) + extent)
    assert all(low - slack <= mark <= low + extent + slack for mark in marks)


@given(st.lists(finite, min_size=1, max_size=30), st.integers(1, 9))
def test_the_running_mean_is_the_obvious_one(values: list[float], window: int) -> None:
    for i, mean in enumerate(charts.running_mean(values, window)):
        last = values[: i + 1][-window:]
        assert mean == pytest.approx(sum(last) / len(last))


def test_a_lines_points_lie_where_their_values_are() -> None:
    chart = charts.line_chart(
        [Series("a", [(0, 0.0), (10, 1.0)], "s1")], "a", y_range=(0.0, 1.0), width=500, height=210
    )
    (path,) = re.findall(r'class="line s1" d="M(.*?)"', chart)
    (x0, y0), (x1, y1) = (map(float, point.split()) for point in path.split("L"))
    assert (x0, y0) == (44.0, 184.0)
    assert (x1, y1) == (404.0, 10.0)


def test_a_long_label_fits() -> None:
    chart = charts.line_chart([Series("a long name", [(0, 0.5), (1, 0.5)], "s1")], "a", width=390, height=150)
    ((x, text),) = re.findall(r'<text class="label s1" x="([\d.]+)".*?>(.*?)</text>', chart)
    assert float(x) + charts.LABEL_WIDTH * len(text) <= 390


def test_bars_are_as_tall_as_their_counts() -> None:
    tall = [float(h) for h in re.findall(r'height="([\d.]+)"/>', charts.histogram([2, 4, 0], ["hard"] * 3, "bars"))]
    assert tall == [77.0, 154.0, 0.0]


def test_a_chart_of_nothing_is_empty() -> None:
    assert charts.line_chart([Series("a", [], "s1")], "a") == ""
