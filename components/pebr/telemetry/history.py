"""The history of a training run: one JSON object per training step, in a file that survives a kill and a resume."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pebr.files import atomic_file, blamed
from pebr.telemetry import metrics, tracking


class History:
    """Appends one row per training step to a JSON-lines file and flushes it at once.

    Args:
        path: of the file, which is replaced.
        rows: of the finished training steps, from the checkpoint: a resumed run ends with the same file as one that
            was not killed.
    """

    def __init__(self, path: Path | str, rows: Iterable[Mapping[str, object]] = ()) -> None:
        self.path = Path(path)
        with atomic_file(self.path) as beside:
            beside.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def append(self, row: Mapping[str, object]) -> None:
        """Add the row of one training step, with a key `step`; publish its numbers as metrics and to trackers."""
        with blamed(self.path), self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        metrics.publish(row)
        tracking.publish(row)


def read_history(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a history file, without a last line that a kill cut off; [] if the file is missing."""
    path = Path(path)
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            rows.append(json.loads(line))
    return rows


def validated_on(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the newest validation of a history has asked, in words.

    >>> validated_on([{"validation/reward": 0.5, "validated_on": "MMStar"}, {"step": 2}]), validated_on([])
    ('questions of MMStar', 'held-out questions')
    """
    names = (row["validated_on"] for row in reversed(rows) if row.get("validated_on"))
    return next((f"questions of {name}" for name in names), "held-out questions")
