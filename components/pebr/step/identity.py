"""The name of a run, made of everything its result depends on: runs with the same name may share checkpoints."""

import hashlib
import json
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

import pebr
from pebr.step.settings import Input, StepSettings, fields

SAMPLE_BYTES = 1 << 20


def run_name(facts: Mapping[str, object]) -> str:
    """The name of a run: a digest of the facts that its result depends on, and of the code.

    A checkpoint prefix that ends with this name holds the checkpoints of this run only. With another learning rate,
    another model or another version of the code, a run starts from the beginning.
    """
    facts = {"code": code_fingerprint(), **facts}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def facts_of(settings: StepSettings, ignoring: Collection[str] = ()) -> dict[str, object]:
    """The facts that a step's result depends on: its parameters by value, its input artifacts by content.

    Fields marked `ANY_VALUE_RESUMES`, and those named in `ignoring`, are left out.
    """
    used = [field for field in fields(type(settings)) if field.name not in ignoring]
    facts: dict[str, object] = {field.name: getattr(settings, field.name) for field in used if field.names_run}
    inputs = [field.name for field in used if isinstance(field.role, Input)]
    return facts | {name: fingerprint(getattr(settings, name)) for name in inputs}


@cache
def code_fingerprint() -> str:
    """A digest of this package's sources."""
    root = Path(pebr.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def fingerprint(location: str) -> str:
    """The digest of a directory; any other text (empty, or a name from open_clip's list) stands for itself."""
    return directory_fingerprint(location) if location and Path(location).is_dir() else location


def directory_fingerprint(directory: Path | str) -> str:
    """A digest of a directory's files: names, sizes, and the first and last megabyte of each.

    Training changes every tensor, so two models of the same size differ there; a large model is not read whole.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(directory).iterdir() if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLE_BYTES))
            if size > SAMPLE_BYTES:
                file.seek(max(size - SAMPLE_BYTES, SAMPLE_BYTES))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
