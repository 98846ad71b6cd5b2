"""The simulation of a cluster against closed forms, and the costs of the scale plan."""

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale import METHOD, Size, broken, costs
from benchmarks.simulation import (
    best_interval,
    expected_preempted,
    fetched_shares,
    mean_wait,
    preempted,
    shared_transfers,
    static_shares,
    synchronous_step,
)

seconds = st.floats(1, 1e5)


@given(seconds, seconds, st.floats(0, 100), seconds)
def test_without_preemption_time_is_work_and_checkpoints(work: float, interval: float, save: float, restart: float):
    made = preempted(work, interval, save, restart, 0.0, random.Random(0))
    parts = math.ceil(work / interval - 1e-9)
    assert made == pytest.approx(work + save * (parts - 1), rel=1e-6)
    assert expected_preempted(work, interval, save, restart, 0.0) == pytest.approx(made, rel=1e-6)


@pytest.mark.parametrize(("interval", "rate"), [(1200, 1 / 3600), (1200, 1 / 36000), (7200, 1 / 7200), (600, 1 / 900)])
def test_lost_work_is_that_of_a_poisson_process(interval: float, rate: float) -> None:
    draw, work = random.Random(0), 8 * 3600
    mean = fmean(preempted(work, interval, 30, 300, rate, draw) for _ in range(3000))
    assert mean == pytest.approx(expected_preempted(work, interval, 30, 300, rate), rel=0.04)


def test_half_an_interval_is_lost_per_preemption_where_they_are_rare() -> None:
    rate, interval, work = 1e-6, 1200.0, 1e6
    lost = expected_preempted(work, interval, 0, 0, rate) - work
    assert lost == pytest.approx(work * rate * interval / 2, rel=0.01)


def test_youngs_interval_loses_least() -> None:
    rate, save = 1 / 36000, 30.0
    best = best_interval(save, rate)
    took = {factor: expected_preempted(1e7, best * factor, save, 300, rate) for factor in (0.5, 0.8, 1.0, 1.25, 2.0)}
    assert min(took, key=lambda factor: took[factor]) in (0.8, 1.0)
    assert took[1.0] <= 1.001 * min(took.values())


@pytest.mark.parametrize("ranks", [1, 8, 64])
def test_the_slowest_of_n_exponential_delays_is_a_harmonic_sum(ranks: int) -> None:
    draw = random.Random(0)
    mean = fmean(synchronous_step(10, 1, ranks, draw) for _ in range(4000))
    assert mean == pytest.approx(10 + sum(1 / i for i in range(1, ranks + 1)), rel=0.01)
    assert synchronous_step(10, 0, ranks, draw) == 10


def test_one_client_has_the_slower_of_link_and_store() -> None:
    assert shared_transfers([5.0], 100, 10, 20) == [15.0]
    assert shared_transfers([5.0], 100, 10, 4) == [30.0]


@given(st.integers(1, 30), st.floats(1, 100), st.floats(1, 100))
def test_clients_that_start_together_share_the_store(clients: int, link: float, store: float) -> None:
    ends = shared_transfers([0.0] * clients, 1000, link, store)
    assert ends == pytest.approx([1000 / min(link, store / clients)] * clients)


def test_a_later_client_slows_an_earlier_one() -> None:
    """Alone for 5 s (50 of 100 bytes), then half the rate: 10 s more for the first; the second ends 5 s later."""
    assert shared_transfers([0.0, 5.0], 100, 10, 10) == pytest.approx([15.0, 20.0])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(1, 50), st.floats(1, 50))
def test_a_store_never_gives_more_than_its_rate(starts: list[float], link: float, store: float) -> None:
    ends = shared_transfers(starts, 100, link, store)
    for start, end in zip(starts, ends, strict=True):
        assert end - start >= 100 / min(link, store) * (1 - 1e-6)
    busy = max(ends) - min(starts)
    assert busy * store >= 100 * len(starts) * (1 - 1e-6)


def test_shards_without_delays_take_the_same_both_ways() -> None:
    draw = random.Random(0)
    assert static_shares(17, 4, 2.0, 0, draw) == fetched_shares(17, 4, 2.0, 0, draw) == 10.0
    assert static_shares(1, 4, 2.0, 0, draw) == 2.0


def test_fetching_is_not_slower_where_shards_differ() -> None:
    draw = random.Random(0)
    dealt = fmean(static_shares(64, 8, 1, 1, draw) for _ in range(500))
    fetched = fmean(fetched_shares(64, 8, 1, 1, draw) for _ in range(500))
    assert fetched < dealt
    assert fetched >= 64 * 2 / 8


def test_the_queue_of_one_server_is_that_of_pollaczek_and_khinchine() -> None:
    service, rate = 100.0, 0.006
    rho = service * rate
    wait = mean_wait(rate, service, 1, 100_000, random.Random(0))
    assert wait == pytest.approx(rho * service / (2 * (1 - rho)), rel=0.05)
    assert mean_wait(rate, service, 4, 20_000, random.Random(0)) < wait / 10


def test_ten_times_the_rows_take_ten_times_as_long_where_rows_count() -> None:
    small, large = costs(METHOD), costs(Size(**{**vars(METHOD), "rows": 10 * METHOD.rows}))
    for step in ("ingest", "filter", "sft"):
        assert large[step].seconds == pytest.approx(10 * small[step].seconds, rel=0.05), step
    for step in ("merge", "evaluate", "stage 1"):
        assert large[step].seconds == small[step].seconds


def test_more_gpus_and_smaller_models_are_faster() -> None:
    one, eight = costs(METHOD), costs(Size(**{**vars(METHOD), "gpus": 64, "nodes": 8}))
    assert one["sft"].seconds > eight["sft"].seconds > one["sft"].seconds / 8  # stragglers
    assert costs(Size(**{**vars(METHOD), "weights": 7e9}))["stage 1"].seconds > 2 * one["stage 1"].seconds


def test_the_methods_size_fits_and_a_hundred_times_does_not() -> None:
    assert broken(METHOD, costs(METHOD)) == []
    large = Size(**{**vars(METHOD), "rows": 100 * METHOD.rows})
    assert any("scratch" in line for line in broken(large, costs(large)))
    assert any("memory" in line for line in broken(Size(**{**vars(METHOD), "weights": 72e9}), costs(METHOD)))
