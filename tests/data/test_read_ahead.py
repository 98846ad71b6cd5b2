"""Reading ahead changes when items are computed, and nothing else."""

import threading
import time
from collections.abc import Iterator

import pytest

from pebr.data.read_ahead import read_ahead


@pytest.mark.parametrize(("ahead", "threads"), [(0, 1), (1, 1), (5, 1), (5, 4), (100, 3)])
def test_results_come_in_order(ahead: int, threads: int) -> None:
    def slow(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return item * item

    assert list(read_ahead(slow, range(40), ahead, threads)) == [item * item for item in range(40)]
    assert list(read_ahead(slow, [], ahead, threads)) == []


def test_no_more_than_the_bound_is_read() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            read.append(item)
            yield item

    for count, result in enumerate(read_ahead(lambda item: item, items(), ahead=4)):
        assert result == count
        assert len(read) <= count + 5


@pytest.mark.parametrize("ahead", [0, 3])
def test_an_error_is_raised_where_its_result_would_come(ahead: int) -> None:
    results = read_ahead(lambda item: 1 // item, [1, 1, 0, 1], ahead)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_threads_end_when_the_caller_stops_early() -> None:
    begun: list[int] = []
    before = set(threading.enumerate())
    results = read_ahead(lambda item: begun.append(item) or time.sleep(0.01), range(1000), ahead=500)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) == before
    assert len(begun) < 500


def test_each_thread_is_prepared_once() -> None:
    prepared: list[int] = []
    names = read_ahead(lambda _: threading.get_ident(), range(20), 5, 2, lambda: prepared.append(threading.get_ident()))
    assert set(names) <= set(prepared)  # a thread may find no item left
    assert len(prepared) == len(set(prepared))
