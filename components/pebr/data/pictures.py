"""Finds the pictures that rows name: loose files and members of archives, by path, else by suffix.

A row names a picture as its maker stored it: with or without a first folder, or with the path of another disk. If no
file has this path, the longest suffix of it that a file ends with counts, if that is one file only.
"""

import errno
import os
import re
import stat
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from unicodedata import normalize

from pebr.data.archives import Archive, MemberError, is_archive, without_ending
from pebr.data.columns import Picture
from pebr.data.records import Fault
from pebr.store.listing import files_of

MISSING, AMBIGUOUS, OUTSIDE = "image missing", "image ambiguous", "image outside the root"
IS_URL, UNREADABLE = "image is a URL", "image unreadable"
BY_PATH, BY_SUFFIX, INSIDE = "by path", "by suffix", "in the row"
NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class PictureError(Exception):
    """A picture that cannot be used."""

    def __init__(self, kind: str, detail: str) -> None:
        self.fault = Fault(kind, detail[:200])
        super().__init__(kind)


class Place(NamedTuple):
    """Where a picture is: a loose file, or a member of an archive."""

    name: str  # path of the file, or name of the member
    archive: Archive | None
    how: str  # `BY_PATH`, `BY_SUFFIX` or `INSIDE`


class Pictures:
    """The pictures of a source.

    Args:
        folder: of the source.
        root: the folder that paths are relative to, in `folder` or the same.
        archives: in the folder.
    """

    def __init__(self, folder: Path, root: Path, archives: Sequence[Archive]) -> None:
        self._folder, self._root, self._archives = folder, Path(os.path.normpath(root)), archives
        below = os.path.relpath(root, folder)
        self._below = "" if below == "." else below

    @property
    def sequential(self) -> bool:
        """Whether reading out of order is slow."""
        return any(archive.sequential for archive in self._archives)

    def position(self, picture: Picture) -> tuple[int, int]:
        """The number of a picture's archive and its place there, in the order of fast reading; (0, 0) if in none."""
        if picture.data is not None:
            return 0, 0
        try:
            place = self.place(picture)
        except PictureError:
            return 0, 0
        if place.archive is None:
            return 0, 0
        return self._archives.index(place.archive) + 1, place.archive.position(place.name) or 0

    def place(self, picture: Picture) -> Place:
        """The place of a row's picture that is not in the row.

        Raises:
            PictureError: see `find`.
        """
        return Place(picture.path, picture.archive, INSIDE) if picture.archive else self.find(picture.path)

    def find(self, path: str) -> Place:
        """The place of the picture with this path.

        Raises:
            PictureError: there is none, or more than one; the path is a URL or leads out of the root.
            OSError: the disk fails, which is no reason to reject a row.
        """
        if _URL.match(path):
            raise PictureError(IS_URL, path)
        full = Path(os.path.normpath(self._root / path))
        inside = full.is_relative_to(self._root)
        if inside and _is_file(full, path):
            return Place(str(full), None, BY_PATH)
        asked = path.replace("\\", "/")
        if ".." in Path(os.path.normpath(asked)).parts:
            raise PictureError(OUTSIDE, path)
        name = os.path.normpath(asked)
        names = {name, os.path.normpath(Path(self._below, name))}
        found = [Place(n, a, BY_PATH) for a in self._archives for n in names if a.position(n) is not None]
        found = found or self._by_suffix(name)
        if len(found) != 1:
            files = ", ".join(sorted(place.name for place in found[:2]))
            raise (
                PictureError(AMBIGUOUS, f"{path} may be {files}") if found else PictureError(MISSING, repr(path)[1:-1])
            )
        return found[0]

    def read(self, place: Place) -> bytes:
        """The bytes of a picture.

        Raises:
            PictureError: it cannot be read.
            OSError: the disk fails.
        """
        try:
            return place.archive.read(place.name) if place.archive else Path(place.name).read_bytes()
        except MemberError as error:
            raise PictureError(UNREADABLE, str(error)) from error
        except OSError as error:
            if error.errno == errno.EACCES:
                raise PictureError(UNREADABLE, f"{place.name}: no permission") from error
            if error.errno in NOT_THERE:
                raise PictureError(MISSING, place.name) from error
            raise

    def _by_suffix(self, name: str) -> list[Place]:
        """The files that end with the longest suffix of a path that any file ends with; two are enough."""
        parts = PurePosixPath(normalize("NFC", name)).parts[::-1]
        for count in range(len(parts), 0, -1):
            prefix = "/".join(parts[:count]) + "/"
            first = bisect_left(self._backwards, (prefix,))
            if found := [place for key, place in self._backwards[first : first + 2] if key.startswith(prefix)]:
                return [self._places[number] for number in found]
        return []

    @cached_property
    def _places(self) -> list[Place]:
        return [place for _, place in self._all_files()]

    @cached_property
    def _backwards(self) -> list[tuple[str, int]]:
        """The paths of all files from their last part to their first, sorted, with their numbers in `_places`.

        Disks and archives have accents in one character or in two (NFC, NFD), rows often in the other form.
        """
        paths = enumerate(normalize("NFC", path) for path, _ in self._all_files())
        return sorted(("/".join(path.split("/")[::-1]) + "/", number) for number, path in paths)

    def _all_files(self) -> Iterator[tuple[str, Place]]:
        """All files with their paths in the folder; an archive is a folder of its name without the extension."""
        for path, full in files_of(self._folder).items():
            if not is_archive(path):
                yield path, Place(str(full), None, BY_SUFFIX)
        for archive in self._archives:
            top = archive.path.relative_to(self._folder).parent / without_ending(archive.path.name)
            for name in archive.names():
                yield f"{top.as_posix()}/{name}", Place(name, archive, BY_SUFFIX)


def _is_file(full: Path, path: str) -> bool:
    """Whether there is such a file.

    Raises:
        PictureError: a folder may not be read.
        OSError: the disk fails.
    """
    try:
        return stat.S_ISREG(full.stat().st_mode)
    except ValueError:  # a zero byte in the path
        return False
    except OSError as error:
        if error.errno == errno.EACCES:
            raise PictureError(UNREADABLE, f"{path}: no permission") from error
        if error.errno in NOT_THERE:
            return False
        raise
