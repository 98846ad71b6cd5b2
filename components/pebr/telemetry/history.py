"""The history of a training run: one JSON object a step, in a file that survives a kill and a resume."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pebr.telemetry.metrics import publish


class History:
    """Appends one row a step to a JSON-lines file, each flushed at once.

    On a resume from step k the rows after k are cut off, so that the file ends the same as without the kill.
    """

    def __init__(self, path: Path | str, resume_step: int = 0) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_history(self.path) if row["step"] <= resume_step]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in kept))

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
