"""The worker processes: killed if they hang, replaced if they die, bounded in memory."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pebr.answers import workers
from pebr.answers.check import AnswerChecker
from pebr.answers.workers import WorkerError, WorkerPool

HANGS = ("(x+1)^{999}(x+2)^{999}(x-3)^{999}", "x^2+1")
RIGHT, WRONG = ("(x+1)(x-1)", "x^2-1"), ("x+1", "x+2")


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(1, seconds=1.0)
    yield pool
    pool.close()


def test_a_pair_that_hangs_fails_alone(pool: WorkerPool) -> None:
    assert pool.run([RIGHT, HANGS, RIGHT, WRONG]) == [True, None, True, False]


def test_the_limit_holds(pool: WorkerPool) -> None:
    pool.run([RIGHT])
    before = os.times()
    started = time.monotonic()
    assert pool.run([HANGS]) == [None]
    assert 0.9 < time.monotonic() - started < 1.0 * workers.BUSY + workers.GRACE_SECONDS + 1
    assert os.times().user - before.user < 0.5  # waiting uses no processor time


def test_a_process_that_is_killed_is_replaced(pool: WorkerPool) -> None:
    pool.run([RIGHT])
    pool.workers[0].process.kill()
    pool.workers[0].process.wait()
    assert pool.run([RIGHT, WRONG]) == [True, False]  # by its child, now an orphan, or by a new process
    pool.close()


def test_the_death_of_an_idle_child_shifts_no_verdict(pool: WorkerPool) -> None:
    pool.run([RIGHT])
    [child] = children(pool.workers[0].process.pid)
    os.kill(child, signal.SIGKILL)
    assert pool.run([RIGHT, WRONG, RIGHT, HANGS, WRONG, RIGHT]) == [True, False, True, None, False, True]


def test_a_process_that_died_between_two_calls_loses_no_pair(pool: WorkerPool) -> None:
    pool.run([RIGHT])
    process = pool.workers[0].process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert pool.run([RIGHT, WRONG]) == [True, False]


def test_a_process_that_stops_answering_is_killed_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.5)
    pool = WorkerPool(1, seconds=0.1)
    pool.run([RIGHT])
    os.kill(pool.workers[0].process.pid, signal.SIGSTOP)
    for child in children(pool.workers[0].process.pid):
        os.kill(child, signal.SIGSTOP)  # no processor time passes, so the kernel timer never fires
    started = time.monotonic()
    assert pool.run([RIGHT]) == [None]
    assert time.monotonic() - started < 10
    pool.close()


def children(parent: int) -> list[int]:
    """The process ids of a process's children."""
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        return [int(word) for word in file.read().split()]


def test_several_processes_share_the_pairs() -> None:
    pool = WorkerPool(2, seconds=5.0)
    pairs = [RIGHT, WRONG] * 20
    assert pool.run(pairs) == [True, False] * 20
    assert len(pool.workers) == 2
    pool.close()


def test_nothing_is_left_after_close() -> None:
    pool = WorkerPool(1, seconds=1.0)
    pool.run([RIGHT])
    process = pool.workers[0].process
    inner = children(process.pid)
    pool.close()
    assert process.returncode is not None
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{child}") for child in inner) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{child}") for child in inner)


def test_a_process_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.sys, "executable", "/bin/false")
    with pytest.raises(WorkerError, match="ended at its start"):
        WorkerPool(1, seconds=1.0).run([RIGHT])


def test_a_pool_started_long_before_its_first_pair_serves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(workers, "START_SECONDS", -1.0)  # their start limit is over when the first pair arrives
        pool = WorkerPool(2, seconds=1.0)
        pool.start()
    started = {worker.process.pid for worker in pool.workers}
    assert len(started) == 2
    pool.start()  # all processes are already started
    assert pool.run([RIGHT]) == [True]
    assert {worker.process.pid for worker in pool.workers} == started
    pool.close()


def test_failures_are_counted_and_wrong(caplog: pytest.LogCaptureFixture) -> None:
    with AnswerChecker(workers=1, seconds=1.0) as checker:
        assert checker.check([HANGS[0], "7", HANGS[0]], [HANGS[1], "7", HANGS[1]]) == [False, True, False]
        assert checker.failures == 1  # equal pairs are compared once
    assert "1 pairs given up and counted as wrong" in caplog.text


ATTEMPTS = """
import os, socket, subprocess, sympy
import pebr.answers.symbolic as symbolic
ATTEMPTS = {
    "a string as SymPy reads it": lambda: sympy.sympify("3+4"),
    "eval": lambda: eval("3+4"),
    "exec": lambda: exec("x = 7"),
    "a shell": lambda: os.system("true"),
    "a program": lambda: subprocess.run(["true"]),
    "a socket": lambda: socket.socket(),
    "too much memory": lambda: bytearray(5 << 30),
    "a crash": lambda: os.abort(),
    "recursion": lambda: (lambda f: f(f))(lambda f: f(f)),
    "nothing": lambda: True,
}
symbolic.same_expression = lambda name, _: ATTEMPTS[name]()
symbolic.WARM_UP = ()
symbolic.main()
"""


def test_a_forbidden_action_ends_the_child_and_the_next_child_continues() -> None:
    names = re.findall(r'^    "(.+?)": lambda', ATTEMPTS, re.MULTILINE)
    result = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, "20"],
        input="".join(json.dumps([number, name, ""]) + "\n" for number, name in enumerate(names, start=1)),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    ready, *lines = result.stdout.splitlines()
    assert ready == "ready"
    verdicts = {names[number - 1]: verdict for number, verdict in map(json.loads, lines)}
    assert verdicts == dict.fromkeys(names) | {"nothing": True}
