"""The order of the rooms, read from the imports: no import goes to a higher room, and no file imports in a circle."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PEBR = ROOT / "components" / "pebr"
PHASES = {path.parent.name for path in PEBR.glob("*/__main__.py")}
# Each room may import from the rooms before it, and from itself. Names in one string are side by side: they do not
# import each other.
ROOMS = (
    *("errors", "files", "telemetry", "english", "answers store", "step", "data"),
    *("benchmarks vlm", "rewards", "sampling"),
    *("training", "toy", " ".join(sorted(PHASES)), "inspect answer"),
)
# The same inside pipelines/; the commands are on top.
PIPELINES = (
    *("ir", "parameters recipes paired estimate", "gate", "local", "clusters", "components", "pebr_r1", "forms"),
    *("targets", "publishing", "nodes", "compile run submit"),
)
FILES = sorted([*PEBR.rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")])
LIMITS = {"module": 350, "function": 60}


def module_of(path: Path) -> str:
    """The dotted name of a source file."""
    base = PEBR.parent if path.is_relative_to(PEBR) else ROOT
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def imports(source: str) -> Iterator[str]:
    """The dotted names that a file imports, anywhere in it; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import: write the full name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    """The room of a module: the second part of its name; "" for anything else, and for the packages themselves."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package in ("pebr", "pipelines") else ""


def level(name: str) -> int:
    """The place of a module's room, from the lowest."""
    rooms = ROOMS if name.startswith("pebr.") else PIPELINES
    return next(place for place, names in enumerate(rooms) if room(name) in names.split())


def wrong(module: str, source: str) -> list[str]:
    """The imports that a module may not have."""
    found = []
    for name in sorted(set(imports(source))):
        if module.startswith("pebr") and name.partition(".")[0] in ("pipelines", "tests", "benchmarks", "kfp"):
            found.append(f"{name}: components do not import it")
        same = name.partition(".")[0] == module.partition(".")[0]
        if same and room(name) not in ("", room(module)) and room(module) and level(name) >= level(module):
            found.append(f"{name}: not below {room(module)}")
    return found


def test_every_import_goes_to_a_lower_room() -> None:
    assert len(PHASES) == 9
    assert len(FILES) > 120
    found = {str(path.relative_to(ROOT)): bad for path in FILES if (bad := wrong(module_of(path), path.read_text()))}
    assert found == {}


def test_every_room_has_a_place() -> None:
    assert [module for path in FILES if room(module := module_of(path)) and level(module) < 0] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pebr.data.shards", "from pebr.filter.work import work"),
        ("pebr.answers.check", "def f():\n    import pebr.grpo.loss"),
        ("pebr.grpo.loss", "from pebr import sft"),
        ("pebr.english.words", "from pebr.answers import units"),
        ("pebr.store.s3", "from pebr.answers import units"),
        ("pebr.sft.work", "from pipelines.ir.plan import Step"),
        ("pebr.sft.work", "import kfp.dsl"),
        ("pebr.step.command", "from pebr.merge.settings import Settings"),
        ("pipelines.ir.reader", "from pipelines.local.artifacts import Shelf"),
        ("pipelines.parameters", "from pipelines.run import main"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert wrong(module, source)


def graph() -> dict[str, set[str]]:
    """Which file imports which: module -> modules."""
    modules = {module_of(path): path for path in FILES}
    return {name: {other for other in imports(path.read_text()) if other in modules} - {name}
            for name, path in modules.items()}  # fmt: skip


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """A circle of imports; [] if there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_file_imports_in_a_circle() -> None:
    # A package that is imported for one of its modules is no edge: only what its own file imports counts.
    assert circle(graph()) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_modules_and_functions_are_short() -> None:
    long = [str(path.relative_to(ROOT)) for path in FILES if path.read_text().count("\n") > LIMITS["module"]]
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > LIMITS["function"]:
                long.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert long == []
