"""Reads a history that a running step is writing, again and again, without parsing its old rows each time."""

import json
from pathlib import Path
from typing import Any


class Tail:
    """The rows of a history file so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changed = 0.0  # unix seconds of the last change; 0 before the file exists
        self._rows: list[dict[str, Any]] = []
        self._read = 0  # bytes
        self._file = 0  # inode

    def rows(self) -> list[dict[str, Any]]:
        """The complete rows; a file that was replaced, as when a step resumes, is read from its start."""
        try:
            with self.path.open("rb") as file:
                found = self.path.stat()
                if found.st_ino != self._file or found.st_size < self._read:
                    self._rows, self._read, self._file = [], 0, found.st_ino
                self.changed = found.st_mtime
                file.seek(self._read)
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return self._rows
        self._rows += [json.loads(line) for line in lines[:-1]]
        self._read += sum(len(line) + 1 for line in lines[:-1])
        return self._rows
