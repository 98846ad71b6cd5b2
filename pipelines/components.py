"""The Kubeflow components, one per step, built from the steps' settings (`pebr.<step>.settings`).

A component runs `python -m pebr.<step>` with one flag per field: artifacts as paths, parameters as values. A step that
the cluster file puts on several nodes runs `python -m pipelines.nodes pebr.<step>` with the same flags. kfp reads no
more of a component function than its signature, its docstring and its name, so these are set from the settings.
"""

import inspect
import os
from collections.abc import Callable, Iterable
from functools import cache

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from pebr.step.settings import Input, Output, Setting, fields
from pipelines.clusters.launcher import command_of
from pipelines.parameters import settings_of

# The image of every step, set when compiling; on a cluster use a digest.
IMAGE = os.environ.get("PEBR_IMAGE", "pebr:latest")


@cache
def component(step: str) -> BaseComponent:
    """The component of a step: `component("grpo")(model=..., samples=8, ...)` makes a task of the DAG."""
    settings = [setting for setting in fields(settings_of(step)) if setting.name != "executor_input"]
    settings.sort(key=_place)  # inputs, outputs, then parameters

    def container(*values: object) -> dsl.ContainerSpec:
        words: list[object] = []
        for setting, value in zip(settings, values, strict=True):
            words += [setting.flag, value.path if setting.role else value]  # type: ignore[attr-defined]
        return dsl.ContainerSpec(image=IMAGE, command=command_of(step), args=[*words, "--executor-input", "{{$}}"])

    # Without descriptions and defaults of the parameters: the pipeline has them, and gives its steps every parameter.
    summary, _, _ = (settings_of(step).__doc__ or "").partition("\n\nArgs:")
    return dsl.container_component(described(container, step, summary, map(_parameter, settings)))


def described(
    function: Callable[..., object], name: str, doc: str | None, parameters: Iterable[inspect.Parameter]
) -> Callable[..., object]:
    """A function of positional values, with the name, docstring and signature that kfp shall read."""
    function.__name__ = name
    function.__doc__ = doc
    function.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    return function


def _place(setting: Setting) -> int:
    kinds = (Input, Output)
    return next((place for place, kind in enumerate(kinds) if isinstance(setting.role, kind)), len(kinds))


def _parameter(setting: Setting) -> inspect.Parameter:
    if setting.role is None:
        return parameter(setting.name, setting.type)
    kind = getattr(dsl, setting.role.kind)
    return parameter(setting.name, dsl.Input[kind] if isinstance(setting.role, Input) else dsl.Output[kind])


def parameter(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a signature that kfp reads."""
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
