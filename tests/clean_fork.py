"""Children for tests that kill. They fork from a server process that has imported everything and run nothing.

A fork of the test's own process can hang: the threads of OpenMP, and locks that they hold, do not survive a fork.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any


def context() -> ForkServerContext:
    """Children of one server; the first one waits for its imports."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["pytest", "tests.evaluate.test_work", "tests.rollout.test_work"])
    return server


def start(function: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Call a function of a module in a child, without its error output. Returns the child."""
    child = context().Process(target=_quietly, args=(function, *arguments))
    child.start()
    return child


def _quietly(function: Callable[..., None], *arguments: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    function(*arguments)
