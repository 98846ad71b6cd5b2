"""Progress lines."""

import logging
import re

import pytest

from pebr.telemetry import logs


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(logs, "time", made)
    return made


def lines(caplog: pytest.LogCaptureFixture, clock: Clock, seconds: list[float], total: int) -> list[str]:
    """The log lines for items with these durations."""
    caplog.set_level(logging.INFO, "pebr")
    moving = iter(logs.progress(range(len(seconds)), total, "filter"))
    next(moving)
    for taken in seconds[:-1]:
        clock.now += taken
        next(moving)
    clock.now += seconds[-1]
    assert list(moving) == []
    return caplog.messages


def test_a_line_at_most_every_five_seconds_and_one_at_the_end(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    assert lines(caplog, clock, [2.0] * 10, 10) == [
        "filter: 3 of 10, 0.5 per second, 14 s left",
        "filter: 6 of 10, 0.5 per second, 8.0 s left",
        "filter: 9 of 10, 0.5 per second, 2.0 s left",
        "filter: 10 of 10, 0.5 per second, 20 s",
    ]


def test_the_time_left_is_told_by_the_recent_rate(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    logged = lines(caplog, clock, [3600.0] + [5.0] * 99, 1000)
    assert re.search("^filter: 10 of 1000, .* 100 h", logged[9])  # an engine that started for an hour
    assert logged[-1] == "filter: 100 of 1000, 0.2 per second, 1 h 15 min left"


def test_without_a_total_nothing_is_said_of_what_is_left(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    assert lines(caplog, clock, [6.0, 6.0], 0) == [
        "filter: 1, 0.167 per second, 6.0 s",
        "filter: 2, 0.167 per second, 12 s",
    ]
