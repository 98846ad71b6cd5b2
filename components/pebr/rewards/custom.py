"""Custom rewards: functions given as `package.module:function=weight`, added to the built-in rewards of the stage.

A function takes the `RewardBatch` (question, reference, response, parsed sections, encoded images, key words, any
extra column of the dataset) and returns one finite number per sample. For example, in `my_rewards.py`:

    def short(batch):
        return [1.0 if tokens < 400 else 0.0 for tokens in batch.response_tokens]

and `--reward my_rewards:short=0.1`, or `--reward path/to/my_rewards.py:short=0.1`. Each function runs in a process of
its own (`pebr.rewards.plugin_process`). Whatever it does wrong is an error that names it and the question.
"""

import math
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Pipe

from pebr.errors import InputError
from pebr.rewards.batch import Component, RewardBatch, RewardError
from pebr.step.ranks import LAUNCHER
from pebr.step.settings import WEIGHT

SAMPLE_SECONDS = 60.0  # limit for one sample, when the cause of a failure is looked for
START_SECONDS = 300.0  # limit for the import of a function, which may load a model


def load_custom(text: str, seconds: float = 600.0) -> dict[str, tuple[float, Component]]:
    """The components of a `--reward`: name of the function -> (weight, component).

    Args:
        text: functions with weights, separated by commas.
        seconds: how long a function may take for one batch.

    Raises:
        InputError: if the text is not a comma-separated list of importable functions with weights from -1000 to 1000.
    """
    weights: dict[str, float] = {}
    for name, weight in parts(text):
        if name in weights:
            raise InputError(f"reward {name!r} is given twice: give it once, with one weight")
        weights[name] = weight
    return {name: (weight, CustomReward(name, seconds)) for name, weight in weights.items()}


def parts(text: str) -> Iterator[tuple[str, float]]:
    """Name and weight of each function of a `--reward`.

    Raises:
        InputError: a part has another form.

    >>> list(parts("my_rewards:short=0.1, lib/more.py:fast=2"))
    [('my_rewards:short', 0.1), ('lib/more.py:fast', 2.0)]
    """
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, weight_text = part.rpartition("=")
        name = name.strip()
        try:
            weight = float(weight_text)
        except ValueError:
            weight = math.nan
        if not abs(weight) <= WEIGHT.most or not all(name.rpartition(":")):  # also true for NaN
            raise InputError(
                f"reward {part!r}: write package.module:function=weight or folder/file.py:function=weight, for example"
                " my_rewards:short=0.1"
            )
        yield name, weight


class CustomReward:
    """A custom reward in its own process, which ends with this object.

    Args:
        name: of the function.
        seconds: limit for a batch.

    Raises:
        InputError: the function cannot be imported.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.seconds = name, seconds
        self._start()

    def __call__(self, batch: RewardBatch) -> list[float]:
        """The value of each sample, (S,).

        Raises:
            RewardError: the function fails, ends its process, exceeds its limit or returns something else; the message
                names the first sample that fails when it is scored alone.
        """
        kind, answer = self._ask(batch, self.seconds)
        if kind == "values":
            return answer  # type: ignore[return-value]
        culprit = "" if str(answer).startswith("question ") else f"{self._culprit(batch)}: "
        raise RewardError(f"reward {self.name}: {culprit}{answer}")

    def _start(self) -> None:
        """Start the process."""
        ours, theirs = Pipe()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), LAUNCHER: str(os.getpid())}
        command = [sys.executable, "-m", "pebr.rewards.plugin_process", self.name, str(theirs.fileno())]
        self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._connection = ours
        self._end = weakref.finalize(self, _end, self._process, ours)
        kind, answer = self._answer(START_SECONDS)
        if kind == "error":
            self._end()
            raise InputError(f"reward {self.name!r} cannot be imported ({answer}): fix it, or install its package here")

    def _ask(self, batch: RewardBatch, seconds: float) -> tuple[str, object]:
        """The answer of the process, which is started again if it has ended."""
        if not self._end.alive:
            self._start()
        with suppress(BrokenPipeError):  # it has ended: there is no answer either
            self._connection.send(batch)
        return self._answer(seconds)

    def _answer(self, seconds: float) -> tuple[str, object]:
        try:
            if self._connection.poll(seconds):
                return self._connection.recv()  # type: ignore[no-any-return]
            reason = f"no answer within {seconds:g} s (--reward-seconds)"
        except (EOFError, ConnectionResetError):
            code = self._process.wait()
            reason = f"it ended its process ({f'exit code {code}' if code >= 0 else f'signal {-code}'})"
        self._end()
        return "error", reason

    def _culprit(self, batch: RewardBatch) -> str:
        """The sample that causes a failure, found by scoring each sample alone."""
        for index, qid in enumerate(batch.qids):
            if self._ask(batch.sample(index), min(self.seconds, SAMPLE_SECONDS))[0] == "error":
                return f"question {qid} (sample {index} of {len(batch)})"
        return f"questions {batch.qids[0]} to {batch.qids[-1]} together (no single sample fails alone)"


def _end(process: "subprocess.Popen[bytes]", connection: "object") -> None:
    connection.close()  # type: ignore[attr-defined]
    process.kill()
    process.wait()
