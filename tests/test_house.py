"""The house's arrows: which room may import which, read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PEBR = ROOT / "components" / "pebr"
PHASES = {path.parent.name for path in PEBR.glob("*/component.py")}
SOURCES = sorted(PEBR.rglob("*.py"))


def imports(source: str) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it the import stands; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"a relative import, line {node.lineno}: write the whole name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    """The room of a module of pebr; "" for those of the hall, such as step.py."""
    inside = path.relative_to(PEBR).parts
    return inside[0] if len(inside) > 1 else ""


def wrong(path: Path, source: str) -> list[str]:
    """The imports that a module of pebr may not have."""
    found = []
    for name in imports(source):
        top, _, rest = name.partition(".")
        phase = rest.partition(".")[0] if top == "pebr" else ""
        if top in ("pipelines", "tests", "benchmarks"):
            found.append(f"{name}: components import nothing from outside")
        if top == "kfp" and path.name != "component.py":
            found.append(f"{name}: only component.py files know Kubeflow")
        if phase in PHASES - {room(path)}:
            found.append(f"{name}: a phase is imported by no other room")
        if path.name == "component.py" and not name.startswith(("kfp", "pebr.step")):
            found.append(f"{name}: a component file imports kfp and pebr.step alone")
    return found


def test_every_import_follows_the_arrows() -> None:
    assert len(PHASES) >= 9
    assert len(SOURCES) > 80
    found = {str(path.relative_to(ROOT)): bad for path in SOURCES if (bad := wrong(path, path.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data/shards.py", "from pebr.filter.work import work"),
        ("rewards/answer.py", "def f():\n    import pebr.grpo.loss"),
        ("grpo/loss.py", "from pebr import sft"),
        ("sft/work.py", "from pipelines.ir import Step"),
        ("sft/work.py", "import kfp.dsl"),
        ("sft/component.py", "import torch"),
        ("step.py", "from pebr.merge.settings import Settings"),
    ],
)
def test_a_wrong_arrow_is_found(module: str, source: str) -> None:
    assert wrong(PEBR / module, source)
