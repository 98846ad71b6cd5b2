"""Values that a step would refuse when its turn comes, hours later, refused before anything starts.

A step's settings (`pebr.<step>.settings`) say which words a parameter takes; those that the pipeline's parameters give
it are held against them.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Literal, get_args, get_origin, get_type_hints

from pebr.errors import InputError
from pipelines.ir.plan import Constant, Step
from pipelines.local.artifacts import MODULE


def check(steps: Iterable[Step]) -> None:
    """See that every step takes the words that it is given.

    Args:
        steps: a pipeline's plan, with the run's parameters.

    Raises:
        InputError: when one does not.
    """
    for step in steps:
        if not MODULE.fullmatch(step.module):
            continue
        types = get_type_hints(import_module(f"{step.module}.settings").Settings)
        for name, source in step.parameters.items():
            words = get_args(types[name]) if get_origin(types.get(name)) is Literal else ()
            if words and isinstance(source, Constant) and source.value not in words:
                known = ", ".join(word or "''" for word in words)
                raise InputError(f"step {step.id}: {name} is {source.value!r}: give one of {known}")
