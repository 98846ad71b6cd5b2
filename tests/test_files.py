"""Copies of files."""

import errno
import os
from pathlib import Path

import pytest

from pebr.files import copy_file


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
@pytest.mark.parametrize("folder", ["/dev/shm", ""], ids=["another file system", "the same file system"])
def test_a_copy_has_the_same_bytes(tmp_path: Path, size: int, folder: str) -> None:
    data = os.urandom(size)
    (tmp_path / "source").write_bytes(data)
    target = Path(folder or tmp_path) / f"{tmp_path.name}-copy"
    try:
        copy_file(tmp_path / "source", target)
        assert target.read_bytes() == data
    finally:
        target.unlink(missing_ok=True)


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EPERM, errno.EIO])
def test_a_system_that_cannot_share_blocks_copies_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    """A fault of the disk is not covered up."""

    def refuse(*_: object) -> int:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "source").write_bytes(b"data")
    if reason == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            copy_file(tmp_path / "source", tmp_path / "target")
    else:
        copy_file(tmp_path / "source", tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == b"data"
