"""The lines in docs/errors.md are those of the sources."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = re.findall(r"`([^`]+)`", "\n".join(
    row.split("|", 2)[2] for row in (ROOT / "docs" / "errors.md").read_text().splitlines()
    if row.startswith("| ") and not row.startswith(("| 0", "| 1", "| 2", "| 3", "| 75", "| code"))
))  # fmt: skip


def texts() -> Iterator[str]:
    """The fixed parts of all strings in the sources."""
    for path in [*(ROOT / "components" / "pebr").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]:
        yield from (
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )


@pytest.fixture(scope="module")
def said() -> str:
    return "\n".join(texts())


def test_there_are_lines() -> None:
    assert len(LINES) > 40


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_page_is_in_the_sources(line: str, said: str) -> None:
    parts = [part for part in line.split("…") if re.search(r"\w", part)]
    assert parts
    assert [part for part in parts if part not in said] == []
