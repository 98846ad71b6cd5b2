"""The key of a step: a digest of everything that its outputs depend on.

These are the step's command, parameters, the digests of its input artifacts, and the source files that its command
imports. Versions of installed packages, and rewards from outside `pebr`, are not part of the key.
"""

import ast
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pebr
from pebr.errors import InputError
from pipelines.ir.plan import Step
from pipelines.local.artifacts import digest

PACKAGE = Path(pebr.__file__).parent
LIMITS = re.compile(r"(?:\*[\d.]+)?(?::\d+)?$")  # the share and the number of rows of a listed source
MODULE = re.compile(r"pebr(\.\w+)+")
_PARSING = threading.Lock()  # Python 3.11 cannot make syntax trees in two threads at a time (CPython issue 106905)


def step_key(step: Step, parameters: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """The 16-digit digest of everything that a step's outputs depend on; `inputs` are its artifacts' digests."""
    parts = {
        "command": step.command,
        "environment": dict(step.environment),
        "outputs": [sorted(step.parameter_outputs), sorted(step.artifact_outputs)],
        "parameters": dict(parameters),
        "inputs": dict(inputs),
        "code": code_digest(step.module),
        # A step without input artifacts reads its data by name: if the name is a path, its files are part of the key.
        "files": [] if inputs else [_listing(value) for value in parameters.values() if isinstance(value, str)],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def code_digest(module: str) -> str:
    """The digest of the source files that `python -m pebr.x` imports, and of the other files in its folder.

    For a module outside `pebr` it is "".
    """
    if not MODULE.fullmatch(module):
        return ""
    own = PACKAGE.joinpath(*module.split(".")[1:])
    files = {path for path in own.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    waiting = set(_sources(f"{module}.__main__"))
    while waiting:
        path = waiting.pop()
        files.add(path)
        waiting |= {source for name in _imports(path) for source in _sources(name)} - files
    listing = "".join(f"{path.relative_to(PACKAGE)}\0{digest(path)}\n" for path in sorted(files))
    return hashlib.sha256(listing.encode()).hexdigest()


def _imports(path: Path) -> Iterator[str]:
    """Modules of `pebr` that a source file imports anywhere, or names in a string constant."""
    try:
        with _PARSING:
            tree = ast.parse(path.read_text())
    except SyntaxError as error:
        raise InputError(
            f"{path}, line {error.lineno}: {error.msg}: fix it, then start the same command again"
        ) from None
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (name.name for name in names)
            case ast.ImportFrom(str(module), names, 0):
                yield from (module, *(f"{module}.{name.name}" for name in names))
            case ast.Constant(str(text)) if MODULE.fullmatch(text):
                yield from (text, f"{text}.__main__")


def _sources(module: str) -> Iterator[Path]:
    """The files that an import of a module of `pebr` runs: its own and those of the packages around it."""
    words = module.split(".")
    if words[0] != "pebr":
        return
    for length in range(1, len(words) + 1):
        base = PACKAGE.joinpath(*words[1:length])
        yield from (path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file())


def _listing(value: str) -> list[tuple[str, int, int]]:
    """Name, bytes and modification time of each file at a path or in a list of sources; [] for any other text."""
    if not value or ("://" in value and "," not in value):
        return []
    listed = [value] if Path(value).exists() else [LIMITS.sub("", part.strip()) for part in value.split(",")]
    files: list[Path] = []
    for root in (Path(name) for name in listed if name and "://" not in name):
        files += [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
