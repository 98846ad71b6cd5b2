"""The history of a training run: one JSON object a step, in a file that survives a kill and a resume."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pebr.files import atomic_file
from pebr.telemetry.metrics import publish


class History:
    """Appends one row a step to a JSON-lines file, each flushed at once.

    Args:
        path: of the file; what is there is replaced.
        rows: of the steps done, from the checkpoint: after a resume the file ends the same as without the kill.
    """

    def __init__(self, path: Path | str, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self.path = Path(path)
        with atomic_file(self.path) as beside:
            beside.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one step's row, which must have a key `step`, and publish its numbers to Prometheus."""
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        publish(row)


def read_history(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a history file, [] when there is none; a last line that a kill cut short is left out."""
    path = Path(path)
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            rows.append(json.loads(line))
    return rows
