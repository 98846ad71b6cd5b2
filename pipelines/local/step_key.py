"""The key of a step: a digest of everything that its outputs depend on.

These are the step's command, parameters, the digests of the input artifacts that it reads, and the source files that
its command imports, custom rewards included. Versions of installed packages are not part of the key.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from pebr.step.settings import unread
from pebr.step.sources import PACKAGE, closure, code_of_plugins
from pipelines.ir.plan import Step
from pipelines.local.artifacts import digest
from pipelines.parameters import settings_of

LIMITS = re.compile(r"(?:\*[\d.]+)?(?::\d+)?$")  # the share and the number of rows of a listed source
MODULE = re.compile(r"pebr(\.\w+)+")
STEP = re.compile(r"pebr\.(\w+)")


def step_key(step: Step, parameters: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """The 16-digit digest of everything that a step's outputs depend on; `inputs` are its artifacts' digests."""
    unused = (
        unread(settings_of(step.module.removeprefix("pebr.")), parameters) if STEP.fullmatch(step.module) else set()
    )
    parts = {
        "command": step.command,
        "environment": dict(step.environment),
        "outputs": [sorted(step.parameter_outputs), sorted(step.artifact_outputs)],
        "parameters": dict(parameters),
        "inputs": {name: made for name, made in inputs.items() if name not in unused},
        "code": code_digest(step.module),
        "rewards": code_of_plugins(str(parameters.get("reward", ""))),
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
    files |= closure([f"{module}.__main__"], PACKAGE, "pebr")
    listing = "".join(f"{path.relative_to(PACKAGE)}\0{digest(path)}\n" for path in sorted(files))
    return hashlib.sha256(listing.encode()).hexdigest()


def _listing(value: str) -> list[tuple[str, int, int]]:
    """Name, bytes and modification time of each file at a path or in a list of sources; [] for any other text."""
    if not value or ("://" in value and "," not in value):
        return []
    listed = [value] if Path(value).exists() else [LIMITS.sub("", part.strip()) for part in value.split(",")]
    files: list[Path] = []
    for root in (Path(name) for name in listed if name and "://" not in name):
        files += [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
