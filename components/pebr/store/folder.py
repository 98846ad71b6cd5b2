"""The store in a folder, local or shared by several machines. A rename makes a stored file or directory visible."""

import contextlib
import errno
import hashlib
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from pebr.files import atomic_directory, atomic_file, blamed
from pebr.store.contract import NotThereError, StoreError
from pebr.store.listing import LISTING, Entry, checked_key, files_of, read_listing, write_listing
from pebr.store.measured import measured

CHUNK = 2**20  # bytes
OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR}  # a rename fails because the target exists


class FolderStore:
    """A `Store` in a folder. Each writer of a key uses its own temporary name, so writers do not disturb each other."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @measured
    def put(self, local: Path, key: str) -> None:
        target = self.root / checked_key(key)
        if not local.exists():
            raise StoreError(f"{local}: no such file or directory to store under {key}")
        beside = _name_beside(target)
        try:
            with blamed(target):
                if local.is_dir():
                    beside.mkdir(parents=True)
                    (beside / LISTING).write_bytes(write_listing(_copy_files(files_of(local), beside)))
                else:
                    beside.parent.mkdir(parents=True, exist_ok=True)
                    _copy(local, beside)
                _take_place(beside, target)
        except (NotADirectoryError, FileExistsError) as error:
            raise StoreError(f"{target}: a file stands where a folder is needed: choose another location") from error
        finally:
            _remove(beside)

    @measured
    def get(self, key: str, local: Path) -> None:
        source = self.root / checked_key(key)
        if source.is_file():
            with atomic_file(local) as path:
                _copy(source, path)
            return
        files = files_of(source)
        listing = self._listing(source)
        if listing is None and not files:
            raise NotThereError(f"{source}: nothing is stored here")
        with atomic_directory(local) as directory:
            try:
                copied = _copy_files(files if listing is None else {n: source / n for n in listing}, directory)
            except FileNotFoundError as error:
                raise StoreError(f"{error.filename}: listed but missing: store {key} again") from error
            for name, entry in (listing or {}).items():
                if copied[name] != entry:
                    raise StoreError(f"{source / name}: not what was stored ({entry}, now {copied[name]}): store again")

    def exists(self, key: str) -> bool:
        source = self.root / checked_key(key)
        return source.is_file() or (source / LISTING).is_file()

    def list(self, prefix: str) -> list[str]:
        return [name for name in files_of(self.root) if name.startswith(prefix)]

    def size(self, key: str) -> int:
        source = self.root / checked_key(key)
        files = [source] if source.is_file() else files_of(source).values()
        return sum(path.stat().st_size for path in files)

    def delete_prefix(self, prefix: str) -> None:
        keys = self.list(checked_key(prefix))
        folders = {folder for key in keys for folder in (self.root / key).parents if self.root in folder.parents}
        for folder in sorted(folders):
            if f"{folder.relative_to(self.root).as_posix()}/".startswith(prefix):
                (folder / LISTING).unlink(missing_ok=True)
        for key in keys:
            (self.root / key).unlink(missing_ok=True)
        for folder in sorted(folders, reverse=True):
            with contextlib.suppress(OSError):  # not empty, or gone
                folder.rmdir()

    @staticmethod
    def _listing(directory: Path) -> dict[str, Entry] | None:
        path = directory / LISTING
        try:
            return read_listing(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise StoreError(f"{path}: {error}: store the directory again") from error


def _copy_files(files: Mapping[str, Path], directory: Path) -> dict[str, Entry]:
    copied = {}
    for name, path in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        copied[name] = _copy(path, directory / name)
    return copied


def _copy(source: Path, target: Path) -> Entry:
    """Copy a file; the returned size and digest are those of the bytes that were read."""
    hasher = hashlib.sha256()
    size = 0
    with source.open("rb") as read, target.open("wb") as written:
        while chunk := read.read(CHUNK):
            hasher.update(chunk)
            written.write(chunk)
            size += len(chunk)
    return Entry(size, hasher.hexdigest())


def _name_beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")


def _take_place(new: Path, target: Path) -> None:
    """Rename `new` to `target`; move an existing target away first, repeatedly if other writers put it back."""
    while True:
        try:
            new.replace(target)
        except OSError as error:
            if error.errno not in OCCUPIED:
                raise
            _remove(_moved_away(target))
        else:
            return


def _moved_away(path: Path) -> Path:
    """Rename a file or folder so that readers no longer find it; returns the new name."""
    away = _name_beside(path)
    with contextlib.suppress(FileNotFoundError):  # another writer was faster
        path.rename(away)
    return away


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
