"""The name of a run, made of everything its result depends on: runs with the same name may share checkpoints."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pebr.step.settings import Input, StepSettings, fields, unread
from pebr.step.sources import code_of, code_of_plugins

SAMPLE_BYTES = 1 << 20
DIFFERENCES_TOLD = 5

Facts = Mapping[str, object]  # JSON


def run_name(facts: Facts) -> str:
    """The name of a run: a digest of the facts that its result depends on.

    A checkpoint prefix that ends with this name holds the checkpoints of this run only. With another learning rate,
    another model or another version of its code, a run starts from the beginning.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def facts_of(settings: StepSettings, ignoring: Collection[str] = ()) -> dict[str, object]:
    """The facts that a step's result depends on: parameters by value, input artifacts by content, code by its sources.

    Fields marked `ANY_VALUE_RESUMES`, inputs that are not read, and fields named in `ignoring`, are left out.
    """
    left_out = {*ignoring, *unread(type(settings), vars(settings))}
    used = [field for field in fields(type(settings)) if field.name not in left_out]
    facts: dict[str, object] = {field.name: getattr(settings, field.name) for field in used if field.names_run}
    inputs = [field.name for field in used if isinstance(field.role, Input)]
    facts |= {name: fingerprint(getattr(settings, name)) for name in inputs}
    code = code_of(type(settings).__module__.removesuffix(".settings"))
    if rewards := code_of_plugins(str(facts.get("reward", ""))):
        facts["rewards"] = rewards
    return facts | ({"code": code} if code else {})


def differences(there: Facts, here: Facts) -> list[str]:
    """What distinguishes two runs: settings with their values, inputs by name, code by file."""
    told: list[str] = []
    for name in sorted(there.keys() | here.keys()):
        one, other = there.get(name), here.get(name)
        if isinstance(one, Mapping) or isinstance(other, Mapping):
            files, others = dict(one or {}), dict(other or {})  # type: ignore[call-overload]
            changed = sorted(file for file in files.keys() | others.keys() if files.get(file) != others.get(file))
            told += [f"{name} of {file}" for file in changed]
        elif one != other:
            told.append(f"{name} {one!r} there, {other!r} here")
    return told


def few(differences: Sequence[str]) -> str:
    """The first of some differences, and how many more there are."""
    more = f" and {len(differences) - DIFFERENCES_TOLD} more" if len(differences) > DIFFERENCES_TOLD else ""
    return ", ".join(differences[:DIFFERENCES_TOLD]) + more


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
