"""A small simulation of a cluster: training steps with stragglers, preemption, shared transfers, a queue for GPUs.

Each function draws from a `random.Random`, and each has a closed form for a case that can be solved
(`tests/test_scale.py`). Times are in seconds, sizes in bytes.
"""

import heapq
import math
import random
from collections.abc import Sequence


def synchronous_step(base: float, jitter: float, ranks: int, draw: random.Random) -> float:
    """A step that ends when the last rank ends; each takes `base` and an exponential delay of mean `jitter`.

    Its mean is base + jitter x (1 + 1/2 + ... + 1/ranks).
    """
    return base + (max(draw.expovariate(1 / jitter) for _ in range(ranks)) if jitter else 0.0)


def preempted(work: float, interval: float, save: float, restart: float, rate: float, draw: random.Random) -> float:
    """The time of `work` seconds of training on machines that are taken away at random (a Poisson process).

    After each `interval` of work a checkpoint takes `save`. What was done since the last one is lost; the next attempt
    begins after `restart`.

    Args:
        rate: preemptions per second, of all machines together; 0 for none.
        draw: random numbers.
    """
    done = total = 0.0
    while done < work:
        part = min(interval, work - done)
        needed = part + (save if done + part < work else 0.0)
        until = draw.expovariate(rate) if rate else math.inf
        if until < needed:
            total += until + restart
            continue
        total, done = total + needed, done + part
    return total


def expected_preempted(work: float, interval: float, save: float, restart: float, rate: float) -> float:
    """The expectation of `preempted`: of a part of s seconds, (e^(rate s) - 1) (1/rate + restart).

    With p = e^(-rate s) that a part succeeds, E = (1 - p)/rate + (1 - p)(restart + E).
    """
    whole, rest = divmod(work, interval)
    parts = [interval] * int(whole) + ([rest] if rest > 1e-9 * interval else [])
    lengths = [part + save * (i + 1 < len(parts)) for i, part in enumerate(parts)]
    if not rate:
        return sum(lengths)
    return sum(math.expm1(rate * length) * (1 / rate + restart) for length in lengths)


def best_interval(save: float, rate: float) -> float:
    """The interval between checkpoints that loses least, by Young's first order: sqrt(2 save / rate)."""
    return math.sqrt(2 * save / rate)


def shared_transfers(starts: Sequence[float], size: float, link: float, store: float) -> list[float]:
    """When clients that each fetch `size` bytes are done: each link is limited, and they share the store's rate fairly.

    Args:
        starts: of the clients.
        size: bytes of each.
        link: bytes per second of a client.
        store: bytes per second of the store.
    """
    ends = [0.0] * len(starts)
    waiting = sorted(range(len(starts)), key=lambda i: starts[i])
    left: dict[int, float] = {}
    now = 0.0
    while waiting or left:
        if not left:
            now = max(now, starts[waiting[0]])
        while waiting and starts[waiting[0]] <= now:
            left[waiting.pop(0)] = size
        rate = min(link, store / len(left))
        end = now + min(left.values()) / rate
        step = min(end, starts[waiting[0]]) if waiting else end
        for client in list(left):
            left[client] -= rate * (step - now)
            if left[client] <= 1e-9 * size:
                ends[client] = step
                del left[client]
        now = step
    return ends


def static_shares(shards: int, workers: int, mean: float, jitter: float, draw: random.Random) -> float:
    """The time of shards that are dealt out in turn before they start, as in the rollout: that of the slowest worker.

    Each shard takes `mean` and an exponential delay of mean `jitter`.
    """
    totals = [0.0] * workers
    for shard in range(shards):
        totals[shard % workers] += mean + (draw.expovariate(1 / jitter) if jitter else 0.0)
    return max(totals)


def fetched_shares(shards: int, workers: int, mean: float, jitter: float, draw: random.Random) -> float:
    """The same, if each worker fetches its next shard when it is free."""
    free = [0.0] * workers
    for _ in range(shards):
        heapq.heappush(free, heapq.heappop(free) + mean + (draw.expovariate(1 / jitter) if jitter else 0.0))
    return max(free)


def mean_wait(rate: float, service: float, servers: int, jobs: int, draw: random.Random) -> float:
    """The mean wait of jobs that come at random (`rate` per second) for one of some servers, first come, first served.

    Each job takes `service`. With one server it is rho service / (2 (1 - rho)), rho = rate x service
    (Pollaczek-Khinchine).
    """
    free, now, waited = [0.0] * servers, 0.0, 0.0
    for _ in range(jobs):
        now += draw.expovariate(rate)
        begin = max(now, heapq.heappop(free))
        waited += begin - now
        heapq.heappush(free, begin + service)
    return waited / jobs
