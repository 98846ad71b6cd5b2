"""What steps have made: where it lies, its digests, and the key that says whether a step must run again.

A step's outputs lie in `ROOT/<step>/<key>/<output>`, and beside them, written last, `status.json`: with it the step is
done, without it the folder is what a killed attempt left, for the next one to go on from. An output that is gone, or
has another size than it had, is made again. The key is a digest of all that an output depends on: the step's command,
parameters, the digests of its input artifacts, and the source files that its command imports. Versions of installed
packages and rewards from outside `pebr` are not in it.

With an S3 store the folder is a copy: a finished step is sent there, and fetched from there when it is not here.
"""

import ast
import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pebr
from pebr.errors import InputError
from pebr.files import atomic_file
from pipelines.ir.plan import Step

if TYPE_CHECKING:
    from pebr.store.contract import Store

PACKAGE = Path(pebr.__file__).parent
MODULE = re.compile(r"pebr(\.\w+)+")
_PARSING = threading.Lock()  # Python 3.11 cannot make syntax trees in two threads at a time (CPython issue 106905)


@dataclass
class Status:
    """A step in a run.

    Attributes:
        step, title: of the step.
        state: waiting, running, done, kept (done in an earlier run), skipped (a condition), failed, stopped.
        key: digest of what the outputs depend on; "" before the inputs are known.
        attempts: how often the command was started.
        exit_code: of the last attempt.
        started: unix seconds.
        seconds: that the step took, all attempts and the waits between them together.
        artifacts: output name -> digest, bytes, schema and metadata.
        parameters: output parameters.
    """

    step: str
    title: str
    state: str = "waiting"
    key: str = ""
    attempts: int = 0
    exit_code: int | None = None
    started: float = 0.0
    seconds: float = 0.0
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)


class Shelf:
    """The folder of artifacts, and the store behind it when there is one."""

    def __init__(self, folder: Path, store: str = "") -> None:
        """Artifacts in `folder`, or in `store`: another folder, or an `s3://` prefix of which `folder` is a copy."""
        self.remote: Store | None = None
        if store.startswith("s3://"):
            from pebr.store.opening import open_store

            self.remote = open_store(store)
        self.root = Path(store.removeprefix("file://")).resolve() if store and not self.remote else folder.resolve()
        self.root.mkdir(parents=True, exist_ok=True)

    def folder(self, step: str, key: str) -> Path:
        """Where a step's outputs lie."""
        return self.root / step / key

    def find(self, step: str, key: str) -> Status | None:
        """What an earlier run has finished under this key; None when nothing whole is there."""
        path = self.folder(step, key) / "status.json"
        if self.remote and not path.is_file() and self.remote.exists(f"{step}/{key}/status.json"):
            self.remote.get(f"{step}/{key}/status.json", path)
        if not path.is_file():
            return None
        status = Status(**json.loads(path.read_text()))
        for name, made in status.artifacts.items():
            here = path.parent / name
            if here.exists() and size(here) != made["bytes"]:
                _remove(here)
            if not here.exists() and not self.remote:
                return None
        return status

    def keep(self, status: Status) -> None:
        """Make a finished step's outputs last: send them to the store, remove what lies beside them, say it is done.

        It is said here last of all: what was killed before the store has everything is not done.
        """
        folder = self.folder(status.step, status.key)
        with atomic_file(folder / "status.json") as told:
            told.write_text(json.dumps(asdict(status), indent=1) + "\n")
            if self.remote:
                for name in status.artifacts:
                    self.remote.put(folder / name, f"{status.step}/{status.key}/{name}")
                self.remote.put(told, f"{status.step}/{status.key}/status.json")
            for path in folder.iterdir():
                if path != told and path.name not in status.artifacts:
                    _remove(path)

    def path(self, status: Status, name: str) -> Path:
        """An output of a finished step, fetched from the store when it is not here."""
        path = self.folder(status.step, status.key) / name
        if self.remote and not path.exists() and name in status.artifacts:
            self.remote.get(f"{status.step}/{status.key}/{name}", path)
        return path


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's file names and contents."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    listing = hashlib.sha256()
    for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
        listing.update(f"{file_path.relative_to(path).as_posix()}\0{digest(file_path)}\n".encode())
    return listing.hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def step_key(step: Step, parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The digest of all that a step's outputs depend on.

    Args:
        step: the step.
        parameters: its parameters' values.
        inputs: digest of each input artifact.
    """
    told = {
        "command": step.command,
        "environment": dict(step.environment),
        "outputs": [sorted(step.parameter_outputs), sorted(step.artifact_outputs)],
        "parameters": dict(parameters),
        "inputs": dict(inputs),
        "code": code_digest(step.module),
        # A step without input artifacts gets its data by name: where a name is a path here, see what lies there.
        "files": [] if inputs else [_listing(value) for value in parameters.values() if isinstance(value, str)],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def code_digest(module: str) -> str:
    """The digest of the sources that `python -m pebr.x` imports, and of the other files in its folder.

    Args:
        module: what the command runs, `pebr.x`; the digest of any other is "".
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
    told = "".join(f"{path.relative_to(PACKAGE)}\0{digest(path)}\n" for path in sorted(files))
    return hashlib.sha256(told.encode()).hexdigest()


def _imports(path: Path) -> Iterator[str]:
    """Names of modules of `pebr` that a source file imports, wherever in it, or names in a text to start or load."""
    try:
        with _PARSING:
            tree = ast.parse(path.read_text())
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}: mend it, and start again to go on") from None
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (name.name for name in names)
            case ast.ImportFrom(str(module), names, 0):
                yield from (module, *(f"{module}.{name.name}" for name in names))
            case ast.Constant(str(text)) if MODULE.fullmatch(text):
                yield from (text, f"{text}.__main__")


def _sources(module: str) -> Iterator[Path]:
    """The files that importing a module of `pebr` runs: the packages' around it and its own."""
    words = module.split(".")
    if words[0] != "pebr":
        return
    for length in range(1, len(words) + 1):
        base = PACKAGE.joinpath(*words[1:length])
        yield from (path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file())


def _listing(value: str) -> list[tuple[str, int, int]]:
    """Name, bytes and time of each file at a path; [] when the text is not the path of anything."""
    if not value or "://" in value or not Path(value).exists():
        return []
    root = Path(value)
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
