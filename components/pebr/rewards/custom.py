"""Custom rewards: functions given as `package.module:function=weight`, added to the built-in rewards of the stage.

A function takes the `RewardBatch` (question, reference, response, parsed sections, encoded images, key words, any
extra column of the dataset) and returns one finite number per sample. For example, in `my_rewards.py`:

    def short(batch):
        return [1.0 if tokens < 400 else 0.0 for tokens in batch.response_tokens]

and `--reward my_rewards:short=0.1`.
"""

import importlib
import math
from collections.abc import Callable, Sequence
from functools import partial

from pebr.errors import InputError
from pebr.rewards.batch import Component, RewardBatch, RewardError

Function = Callable[[RewardBatch], Sequence[float]]


def load_custom(text: str) -> dict[str, tuple[float, Component]]:
    """The components of a `--reward`: `package.module:function` -> (weight, component).

    Raises:
        InputError: if the text is not a comma-separated list of importable functions with finite weights.
    """
    components: dict[str, tuple[float, Component]] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, weight_text = part.partition("=")
        name = name.strip()
        try:
            weight = float(weight_text)
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise InputError(f"reward {part!r}: write package.module:function=weight, for example my_rewards:short=0.1")
        if name in components:
            raise InputError(f"reward {name!r} is given twice: give it once, with one weight")
        components[name] = (weight, partial(_call, name=name, function=_import(name)))
    return components


def _import(name: str) -> Function:
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"reward {name!r} cannot be imported ({error}): install its package in this image") from error
    if not callable(function):
        raise InputError(f"reward {name!r} is not a function: write package.module:function=weight")
    return function  # type: ignore[no-any-return]


def _call(batch: RewardBatch, *, name: str, function: Function) -> list[float]:
    """Call the function and check its result. An error names the first sample that fails when it is scored alone."""
    try:
        values = list(function(batch))
    except Exception as error:
        raise RewardError(f"reward {name}: {_culprit(batch, function)}: {type(error).__name__}: {error}") from error
    if len(values) != len(batch):
        raise RewardError(f"reward {name} returned {len(values)} values for {len(batch)} samples")
    for qid, value in zip(batch.qids, values, strict=True):
        try:
            finite = math.isfinite(value)
        except TypeError:  # the function returned something else
            finite = False
        if not finite:
            raise RewardError(f"reward {name}: question {qid}: {value!r} is not a finite number")
    return [float(value) for value in values]


def _culprit(batch: RewardBatch, function: Function) -> str:
    """The sample that causes a failure, found by scoring each sample alone."""
    for index, qid in enumerate(batch.qids):
        try:
            function(batch.sample(index))
        except Exception:  # noqa: BLE001 - any error marks the sample; the caller reports the original one
            return f"question {qid} (sample {index} of {len(batch)})"
    return "the whole batch (no single sample fails alone)"
