"""Files and folders that appear whole or not at all, and the SHA-256 of a file."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pebr.errors import UNUSABLE


@contextmanager
def atomic_directory(target: Path | str) -> Iterator[Path]:
    """A new directory beside `target` that takes its place when the block ends well, and vanishes when it does not."""
    target = Path(target)
    beside = _beside(target)
    beside.mkdir(parents=True)
    try:
        yield beside
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        _name_place(error, target)
        raise
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif target.exists():
        target.unlink()
    beside.rename(target)


@contextmanager
def atomic_file(target: Path | str) -> Iterator[Path]:
    """A path beside `target`; it takes the target's place when the block ends well, and vanishes when it does not."""
    target = Path(target)
    beside = _beside(target)
    beside.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield beside
    except BaseException as error:
        beside.unlink(missing_ok=True)
        _name_place(error, target)
        raise
    beside.replace(target)


def partial(target: Path) -> Path:
    """The name, beside a target, under which it is written until it is whole."""
    return target.with_name(f".{target.name}.partial")


def _name_place(error: BaseException, target: Path) -> None:
    """Say in an error of a full disk, which comes from a write and so names no file, what was being written.

    Raises:
        OSError: in place of the error by which a library in Rust (safetensors, tokenizers) tells of the system's.
    """
    if isinstance(error, OSError):
        if error.errno in UNUSABLE and not error.filename:
            error.filename = str(target)
    elif (told := re.search(r"\(os error (\d+)\)", str(error))) and (number := int(told[1])) in UNUSABLE:
        raise OSError(number, os.strerror(number), str(target)) from error


def _beside(target: Path) -> Path:
    """The temporary name of `target`; what a killed run left under that name is removed."""
    path = partial(target)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return path


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
