"""Recipes: named sets of values for the pipeline's parameters, one YAML file each.

A recipe may name a `base`, another recipe (by name, or by a path relative to its own folder): it then states only what
differs. A parameter without a value must be given by whoever runs the recipe (`--set rl_source=s3://...`).
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from pebr.errors import InputError

FOLDER = Path(__file__).parent
BOOLEANS = {"true": True, "false": False}
Value = str | int | float | bool
Definitions = Mapping[str, Mapping[str, object]]  # the compiled pipeline's inputs: parameterType, defaultValue


def names() -> list[str]:
    """The recipes that come with the pipeline."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(recipe: str, changes: Sequence[str], inputs: Definitions) -> dict[str, Value]:
    """All parameters of a run: the pipeline's defaults, overridden by the recipe, then by `name=value` changes.

    Raises:
        InputError: an unknown recipe or parameter, a value of a wrong type, or a missing value.
    """
    values = {name: typed(name, spec.get("defaultValue"), inputs, "the pipeline") for name, spec in inputs.items()}
    for path, chosen in _layers(recipe, FOLDER, ()):
        values |= {name: typed(name, value, inputs, str(path)) for name, value in chosen.items()}
    for change in changes:
        name, sign, text = change.partition("=")
        if not sign:
            raise InputError(f"--set {change}: write it as name=value")
        values[name.strip()] = typed(name.strip(), text, inputs, "--set")
    if missing := [name for name, value in values.items() if value is None]:
        raise InputError(f"recipe {recipe} has no value for {', '.join(missing)}: give each by --set NAME=VALUE")
    return {name: value for name, value in values.items() if value is not None}


def _layers(recipe: str, folder: Path, above: tuple[Path, ...]) -> list[tuple[Path, dict[str, object]]]:
    """The files of a recipe with their parameters: its base first, itself last."""
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else FOLDER / f"{recipe}.yaml"
    path = folder / path if above else path
    if not path.is_file():
        place = f"{above[-1]}: base: " if above else ""
        raise InputError(f"{place}no recipe {recipe}: give one of {', '.join(names())}, or the path of a YAML file")
    if path.resolve() in above:
        raise InputError(f"{path}: base: {recipe} is based on this recipe itself: remove one base")
    try:
        document = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}): fix it") from None
    chosen = document.get("parameters") if isinstance(document, dict) else None
    if not isinstance(chosen, dict):
        raise InputError(f"{path}: not a recipe: it needs a mapping of names to values under parameters:")
    base = document.get("base")
    below = _layers(str(base), path.parent, (*above, path.resolve())) if base else []
    return [*below, (path, chosen)]


def typed(name: str, value: object, inputs: Definitions, place: str) -> Value | None:
    """A parameter's value in its declared type, from a YAML value or from text; None stays None.

    Raises:
        InputError: the pipeline has no such parameter, or the value is not of its type.
    """
    if name not in inputs:
        near = difflib.get_close_matches(name, inputs, n=1)
        remedy = f"did you mean {near[0]}?" if near else "python -m pipelines.parameters lists them all"
        raise InputError(f"{place}: the pipeline has no parameter {name}: {remedy}")
    if value is None:
        return None
    kind, text = inputs[name]["parameterType"], str(value).strip()
    try:
        match kind:
            case "BOOLEAN":
                return BOOLEANS[text.lower()]
            case "NUMBER_INTEGER":
                return int(text.removesuffix(".0"))  # YAML written by the SDK has 4.0 for 4
            case "NUMBER_DOUBLE":
                return float(text)
    except (KeyError, ValueError):
        wanted = {"BOOLEAN": "true or false", "NUMBER_INTEGER": "a whole number", "NUMBER_DOUBLE": "a number"}
        raise InputError(f"{place}: {name} is {value}: give {wanted[str(kind)]}") from None
    return value if isinstance(value, str) else text
