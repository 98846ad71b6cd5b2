"""Every step's command line, component and documentation say the same."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest
from kfp import dsl

import pebr

ROOT = Path(pebr.__file__).parent
STEPS = sorted(path.parent.name for path in ROOT.glob("*/component.py"))


def documented(docstring: str) -> dict[str, str]:
    """The entries of a Google-style Args section: name -> text, white space folded."""
    body = inspect.cleandoc(docstring).partition("Args:\n")[2]
    body = re.split(r"\n\S", body)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n      .*)*)", body, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def load(step: str) -> tuple[type, dsl.base_component.BaseComponent, str]:
    """A step's settings class, its component and the component's docstring."""
    settings = importlib.import_module(f"pebr.{step}.settings").Settings
    module = importlib.import_module(f"pebr.{step}.component")
    component = getattr(module, step)
    source = Path(module.__file__).read_text()
    docstring = re.search(rf"def {step}\(.*?\"\"\"(.*?)\"\"\"", source, flags=re.DOTALL).group(1)
    return settings, component, docstring


def test_every_phase_of_the_method_is_a_step() -> None:
    assert set(STEPS) >= {"ingest", "filter", "sft", "rollout", "split", "grpo", "merge", "evaluate", "report"}


@pytest.mark.parametrize("step", STEPS)
def test_component_and_command_take_the_same_parameters(step: str) -> None:
    settings, component, _ = load(step)
    flags = {f.name for f in dataclasses.fields(settings)}
    spec = component.component_spec
    interface = {*(spec.inputs or {}), *(spec.outputs or {})}
    assert flags - {"executor_input", "metrics"} == interface - {"metrics"}


@pytest.mark.parametrize("step", STEPS)
def test_component_passes_every_parameter_by_its_own_flag(step: str) -> None:
    settings, component, _ = load(step)
    words = str(component.component_spec.implementation.container.args)
    for field in dataclasses.fields(settings):
        assert f"--{field.name.replace('_', '-')}'" in words, field.name


@pytest.mark.parametrize("step", STEPS)
def test_component_defaults_are_the_settings_defaults(step: str) -> None:
    settings, component, _ = load(step)
    for field in dataclasses.fields(settings):
        spec = (component.component_spec.inputs or {}).get(field.name)
        if spec is not None and spec.default is not None:
            assert spec.default == field.default, field.name


@pytest.mark.parametrize("step", STEPS)
def test_every_parameter_is_documented_alike(step: str) -> None:
    settings, component, docstring = load(step)
    of_settings, of_component = documented(settings.__doc__), documented(docstring)
    assert set(of_settings) == {f.name for f in dataclasses.fields(settings)}
    shared = {k: v for k, v in of_settings.items() if k in of_component or k not in {"executor_input"}}
    assert of_component == {k: v for k, v in shared.items() if k in of_component}
    assert set(of_component) >= set(component.component_spec.inputs or {})
