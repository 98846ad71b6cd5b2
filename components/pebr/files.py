"""Files and folders that appear complete or not at all, and the SHA-256 of a file."""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pebr.errors import UNUSABLE

# Errors of `copy_file_range` between two file systems, on one without it, and in a container that forbids it.
_NOT_SHARED = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


@contextmanager
def atomic_directory(target: Path | str) -> Iterator[Path]:
    """A new temporary directory beside `target`: it replaces `target` on success and is removed on an error."""
    target = Path(target)
    beside = _beside(target)
    beside.mkdir(parents=True)
    try:
        with blamed(target):
            yield beside
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif target.exists():
        target.unlink()
    beside.rename(target)


@contextmanager
def atomic_file(target: Path | str) -> Iterator[Path]:
    """A temporary path beside `target`: the file there replaces `target` on success and is removed on an error."""
    target = Path(target)
    beside = _beside(target)
    beside.parent.mkdir(parents=True, exist_ok=True)
    try:
        with blamed(target):
            yield beside
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    beside.replace(target)


def partial(target: Path) -> Path:
    """The temporary name, beside `target`, of a file or folder that is not complete yet."""
    return target.with_name(f".{target.name}.partial")


@contextmanager
def blamed(target: Path | str) -> Iterator[None]:
    """Add the target's path to an error such as a full disk; a failed write names no file.

    Raises:
        OSError: replaces the error in which a Rust library (safetensors, tokenizers) wraps the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno in UNUSABLE and not error.filename:
            error.filename = str(target)
        raise
    except BaseException as error:
        if (match := re.search(r"\(os error (\d+)\)", str(error))) and (number := int(match[1])) in UNUSABLE:
            raise OSError(number, os.strerror(number), str(target)) from error
        raise


def _beside(target: Path) -> Path:
    """The temporary name of `target`; removes what a killed run left under that name."""
    path = partial(target)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return path


def index_of(archive: Path) -> Path:
    """The file beside an archive that keeps the index of its members."""
    return archive.with_name(f".{archive.name}.index")


def is_index(name: str) -> bool:
    """Whether a file is such an index. A reader leaves it in a folder of another step: it is no part of the data.

    >>> is_index(index_of(Path("data/images.tar")).name)
    True
    """
    return name.startswith(".") and name.endswith(".index")


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of a file to a new one.

    Where the file system can (XFS, Btrfs, NFS 4.2), both share their blocks until one is changed: the copy takes no
    time and no space.
    """
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as write:
        try:
            while os.copy_file_range(read.fileno(), write.fileno(), 2**30):
                pass
        except OSError as error:
            if error.errno not in _NOT_SHARED:
                raise
            shutil.copyfileobj(read, write, 2**20)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
