"""The process of one custom reward: python -m pebr.rewards.plugin_process FUNCTION DESCRIPTOR

A custom reward is foreign code. In a process of its own it can neither end nor hang the training, nor change its data:
it gets a copy of the batch. The process imports the function, then answers each pickled batch on its connection with
`("values", numbers)` or `("error", text)`. What the function prints goes to the log.
"""

import hashlib
import importlib
import math
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from pebr.rewards.batch import RewardBatch
from pebr.step.ranks import die_with_parent

Function = Callable[[RewardBatch], object]


def load(name: str) -> Function:
    """Import a function, `package.module:function` or `folder/file.py:function`.

    Raises:
        ImportError: there is no such module or file.
        AttributeError: the module has no such function.
        TypeError: it is not a function.
        SystemExit, Exception: whatever the module raises.
    """
    place, _, function_name = name.rpartition(":")
    if place.endswith(".py"):
        path = Path(place).resolve()
        sys.path.insert(0, str(path.parent))  # as for a script: the modules beside it can be imported
        place = path.stem
    function: Function = getattr(importlib.import_module(place), function_name)
    if not callable(function):
        raise TypeError("it is not a function")
    return function


def scored(function: Function, batch: RewardBatch) -> tuple[str, object]:
    """The function's answer to a batch: its numbers, one per sample, or what is wrong with them."""
    _seed(batch)
    try:
        values = function(batch)
        if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping | set):
            return "error", f"it returned {type(values).__name__}, not one number per sample"
        found = list(values)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything
        if isinstance(error, SystemExit):
            return "error", f"it called sys.exit({error.code!r})"
        traceback.print_exc()
        return "error", f"{type(error).__name__}: {error}"
    if len(found) != len(batch):
        return "error", f"it returned {len(found)} values for {len(batch)} samples"
    for qid, value in zip(batch.qids, found, strict=True):
        if not _is_finite(value):
            return "error", f"question {qid}: {value!r} is not a finite number"
    return "values", [float(value) for value in found]


def _seed(batch: RewardBatch) -> None:
    """Seed the random numbers by the batch, so that a resumed run gets the same rewards."""
    digest = hashlib.blake2b(repr((batch.qids, batch.responses)).encode(), digest_size=4).digest()
    number = int.from_bytes(digest, "big")
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - not a number, above the largest float, or an object that raises anything
        return False


def main() -> None:
    """Import the function, say whether that worked, and score batches until the connection is closed."""
    name, descriptor = sys.argv[1:]
    die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the training finishes its step first, and this with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)
    connection = Connection(int(descriptor))
    try:
        function = load(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything
        connection.send(("error", f"{type(error).__name__}: {error}"))
        return
    connection.send(("values", []))
    while True:
        try:
            batch = connection.recv()
        except EOFError:
            return
        connection.send(scored(function, batch))


if __name__ == "__main__":
    main()
