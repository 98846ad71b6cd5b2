"""Compute items in threads before they are asked for: bounded, in order, errors raised where the item would come."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    threads: int = 1,
    start_thread: Callable[[], object] = lambda: None,
) -> Iterator[Result]:
    """Yield `function(item)` of every item, in order.

    When the caller stops early, results that no thread has begun are dropped and the threads end.

    Args:
        function: called in the threads; its error is raised in the caller.
        items: read in the caller's thread, at most `ahead` items before their result is asked for.
        ahead: results that are computed or waiting. With 0 there is no thread: each result is computed on request.
        threads: number of threads.
        start_thread: called once at the start of each thread.
    """
    if not ahead:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=start_thread)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
