"""Recipes: named sets of values for the pipeline's parameters, one YAML file each.

A recipe's parameter that stands without a value must be given by whoever runs it (`--set rl_source=s3://...`).
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pebr.errors import InputError

FOLDER = Path(__file__).parent
WORDS = {"true": True, "false": False}


def names() -> list[str]:
    """The recipes that come with the pipeline."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(recipe: str, changes: Sequence[str], inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All parameters of a run: the pipeline's defaults, the recipe's values over them, and the changes over those.

    Args:
        recipe: a name, or the path of a YAML file.
        changes: `name=value` texts.
        inputs: the compiled pipeline's inputs: name -> parameterType, defaultValue.

    Raises:
        InputError: for an unknown recipe or parameter, a value of a wrong type, or a value that is missing.
    """
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else FOLDER / f"{recipe}.yaml"
    if not path.is_file():
        raise InputError(f"no recipe {recipe}: give one of {', '.join(names())}, or the path of a YAML file")
    try:
        document = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}): mend it") from None
    chosen = document.get("parameters") if isinstance(document, dict) else None
    if not isinstance(chosen, dict):
        raise InputError(f"{path}: not a recipe: it needs a mapping of names to values under parameters:")
    values = {name: typed(name, spec.get("defaultValue"), inputs, "the pipeline") for name, spec in inputs.items()}
    values |= {name: typed(name, value, inputs, str(path)) for name, value in chosen.items()}
    for change in changes:
        name, sign, text = change.partition("=")
        if not sign:
            raise InputError(f"--set {change}: write it as name=value")
        values[name.strip()] = typed(name.strip(), text, inputs, "--set")
    if missing := [name for name, value in values.items() if value is None]:
        raise InputError(f"recipe {recipe} has no value for {', '.join(missing)}: give each by --set NAME=VALUE")
    return values


def typed(name: str, value: Any, inputs: Mapping[str, Mapping[str, Any]], place: str) -> Any:
    """A parameter's value in its declared type, from a YAML value or from text; None stays None.

    Raises:
        InputError: when the pipeline has no such parameter, or the value is not of its type.
    """
    if name not in inputs:
        near = difflib.get_close_matches(name, inputs, n=1)
        remedy = f"did you mean {near[0]}?" if near else "the docstring of pipelines/pebr_r1.py lists them all"
        raise InputError(f"{place}: the pipeline has no parameter {name}: {remedy}")
    if value is None:
        return None
    kind, text = inputs[name]["parameterType"], str(value).strip()
    try:
        match kind:
            case "BOOLEAN":
                return WORDS[text.lower()]
            case "NUMBER_INTEGER":
                return int(text.removesuffix(".0"))  # YAML written by the SDK has 4.0 for 4
            case "NUMBER_DOUBLE":
                return float(text)
    except (KeyError, ValueError):
        wanted = {"BOOLEAN": "true or false", "NUMBER_INTEGER": "a whole number", "NUMBER_DOUBLE": "a number"}[kind]
        raise InputError(f"{place}: {name} is {value}: give {wanted}") from None
    return value if isinstance(value, str) else text
