"""Artifacts of the steps: their folders, sizes, digests, and the store behind them.

The outputs of a step are in `ROOT/<step>/<key>/<output>`; the key is `pipelines.local.step_key`. The file `status.json`
beside them is written last: if it exists, the step is done; without it, the folder is from a killed attempt, and the
next attempt continues from it. An output that is missing or has another size is made again.

With an S3 store, the folder is a copy: a finished step is uploaded, and downloaded when it is not on this machine.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pebr.files import atomic_file, is_index
from pipelines.ir.plan import Json

if TYPE_CHECKING:
    from pebr.store.contract import Store


class Made(TypedDict):
    """An output artifact: its digest, bytes, Kubeflow schema and metadata."""

    digest: str
    bytes: int
    schema: str
    metadata: Json


@dataclass
class Status:
    """The state of a step in a run."""

    step: str  # id and display name of the step
    title: str  # id and display name of the step
    # Waiting, running, done, kept (done in an earlier run), skipped (by a condition), failed, stopped
    state: str = "waiting"
    key: str = ""  # digest of what the outputs depend on; "" before the inputs are known
    attempts: int = 0  # number of times the command was started
    exit_code: int | None = None  # exit code of the last attempt
    started: float = 0.0  # unix seconds
    seconds: float = 0.0  # duration of all attempts and the waits between them
    artifacts: dict[str, Made] = field(default_factory=dict)  # output artifacts, by name
    parameters: dict[str, object] = field(default_factory=dict)  # output parameters, by name


class Artifacts:
    """The folder of artifacts, and the store behind it if there is one."""

    def __init__(self, folder: Path, store: str = "") -> None:
        """Artifacts in `folder`, or in `store`: another folder, or an `s3://` prefix of which `folder` is a copy."""
        self.remote: Store | None = None
        if store.startswith("s3://"):
            from pebr.store.opening import open_store

            self.remote = open_store(store)
        self.root = Path(store.removeprefix("file://")).resolve() if store and not self.remote else folder.resolve()
        self.root.mkdir(parents=True, exist_ok=True)

    def folder(self, step: str, key: str) -> Path:
        """The folder of a step's outputs."""
        return self.root / step / key

    def find(self, step: str, key: str) -> Status | None:
        """The status of a step that an earlier run finished under this key; None if its outputs are not complete."""
        path = self.folder(step, key) / "status.json"
        if self.remote and not path.is_file() and self.remote.exists(f"{step}/{key}/status.json"):
            self.remote.get(f"{step}/{key}/status.json", path)
        if not path.is_file():
            return None
        status = Status(**json.loads(path.read_text()))
        for name, made in status.artifacts.items():
            output = path.parent / name
            if output.exists() and size(output) != made["bytes"]:
                _remove(output)
            if not output.exists() and not (self.remote and self.remote.exists(f"{step}/{key}/{name}")):
                return None  # such as a model that `submit --keep` has removed
        return status

    def keep(self, status: Status) -> None:
        """Upload a finished step's outputs, remove the other files of its folder, and write `status.json`.

        `status.json` is written last: a step that is killed before the upload ends is not done.
        """
        folder = self.folder(status.step, status.key)
        with atomic_file(folder / "status.json") as beside:
            beside.write_text(json.dumps(asdict(status), indent=1) + "\n")
            if self.remote:
                for name in status.artifacts:
                    self.remote.put(folder / name, f"{status.step}/{status.key}/{name}")
                self.remote.put(beside, f"{status.step}/{status.key}/status.json")
            for path in folder.iterdir():
                if path != beside and path.name not in status.artifacts:
                    _remove(path)

    def path(self, status: Status, name: str) -> Path:
        """The path of a finished step's output; downloaded from the store if it is not on this machine."""
        path = self.folder(status.step, status.key) / name
        if self.remote and not path.exists() and name in status.artifacts:
            self.remote.get(f"{status.step}/{status.key}/{name}", path)
        return path


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's file names and contents, without indexes of archives."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    listing = hashlib.sha256()
    for file_path in sorted(_files(path)):
        listing.update(f"{file_path.relative_to(path).as_posix()}\0{digest(file_path)}\n".encode())
    return listing.hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder without indexes of archives, which a later step leaves there."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in _files(path))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not is_index(path.name)]
