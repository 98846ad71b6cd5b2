"""What follows from validations: the best training step, and whether training should end early.

Both are functions of the history's rows alone, so a resumed run decides as the killed one would have.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebr.files import atomic_file
from pebr.training.best import BEST, RECORD
from pebr.training.engine import TrainingEngine

_COPY = re.compile(r"~\d+$")  # ends the id of a row that is used again (pebr.data.sources)
HistoryRow = dict[str, Any]  # see `pebr.telemetry.history`


def held_out(ids: Sequence[str], count: int) -> tuple[list[int], list[int]]:
    """Divide places into those to train on and those to validate on.

    The `count` ids with the smallest digests are held out, at most half of all. So the choice does not depend on the
    order of the data or on a seed, and few questions change sides when data are added. Of a row that is used several
    times (`NAME*2`), whose copies have ids such as `a~2`, the first is held out, and the copies are left out of both.

    Returns:
        The places to train on, and the places held out, both ascending.

    >>> held_out(["a", "b", "c", "d", "e"], 2)
    ([0, 1, 4], [2, 3])
    >>> held_out(["e", "d", "c", "b", "a"], 2)
    ([0, 3, 4], [1, 2])
    """
    known = set(ids)
    originals = [_COPY.sub("", name) for name in ids]
    first = [place for place, name in enumerate(ids) if name == originals[place] or originals[place] not in known]
    chosen = [first[place] for place in fixed_part([ids[place] for place in first], min(count, len(first) // 2))]
    hidden = {originals[place] for place in chosen}
    return [place for place in range(len(ids)) if originals[place] not in hidden], chosen


def fixed_part(ids: Sequence[str], count: int) -> list[int]:
    """The places of the `count` ids with the smallest digests, ascending: the same ids in any order of the data."""
    order = sorted(range(len(ids)), key=lambda place: (hashlib.sha256(ids[place].encode()).digest(), place))
    return sorted(order[:count])


def own_rows(rows: Sequence[HistoryRow], pending: bool) -> Sequence[HistoryRow]:
    """The rows since this run has continued from another run's checkpoint, if it has: only these have checkpoints here.

    `pending` says that it has, and that no training step has been made since.

    >>> rows = [{"step": 1}, {"step": 2, "resumed_from": "other/step-00000001"}, {"step": 3}]
    >>> own_rows(rows, pending=False) == rows[1:], own_rows(rows, pending=True), own_rows(rows[:1], pending=False)
    (True, [], [{'step': 1}])
    """
    first = max((place for place, row in enumerate(rows) if row.get("resumed_from")), default=0)
    return [] if pending else rows[first:]


@dataclass(frozen=True)
class Score:
    """The measure that validations are compared by."""

    key: str  # in the rows of the history
    higher_is_better: bool
    stop_at: float = 0.0  # see `ValidationSettings`
    stop_patience: int = 0

    def best(self, rows: Sequence[HistoryRow]) -> HistoryRow | None:
        """The first row with the best score; None without a validation."""
        validated = self._validated(rows)
        return min(validated, key=self._order) if validated else None

    def stop(self, rows: Sequence[HistoryRow]) -> str:
        """Why training should end after the last row; "" if it should not.

        >>> rows = [{"step": 1, "loss": 3.0}, {"step": 2}, {"step": 3, "loss": 3.5}, {"step": 4, "loss": 3.25}]
        >>> Score("loss", False, stop_patience=2).stop(rows)
        '2 validations in a row without a better loss than 3 after step 1 (--stop-patience 2)'
        >>> Score("loss", False, stop_patience=3).stop(rows)
        ''
        >>> Score("loss", False, stop_at=3.25).stop(rows)
        'loss 3.25 has reached --stop-at 3.25'
        """
        validated = self._validated(rows)
        if not validated or validated[-1] is not rows[-1]:
            return ""
        newest, best = rows[-1], min(validated, key=self._order)
        if self.stop_at and self._sign * (newest[self.key] - self.stop_at) >= 0:
            return f"{self.key} {newest[self.key]:g} has reached --stop-at {self.stop_at:g}"
        waited = len(validated) - 1 - next(place for place, row in enumerate(validated) if row is best)
        if self.stop_patience and waited >= self.stop_patience:
            return (
                f"{waited} validations in a row without a better {self.key} than {best[self.key]:g} after step"
                f" {best['step']} (--stop-patience {self.stop_patience})"
            )
        return ""

    @property
    def _sign(self) -> int:
        return 1 if self.higher_is_better else -1

    def _order(self, row: HistoryRow) -> float:
        return -self._sign * float(row[self.key])

    def _validated(self, rows: Sequence[HistoryRow]) -> list[HistoryRow]:
        return [row for row in rows if row.get(self.key) is not None]


def save_weights(engine: TrainingEngine, directory: Path, score: Score | None, best: HistoryRow | None) -> None:
    """Write the last weights, and those of the best training step in a folder inside, unless they are the same.

    All ranks call this when training has ended: the engine may have the best weights afterwards.

    Args:
        engine: with the last weights, and with a checkpoint of the best.
        directory: to write; merge reads it.
        score: by which the best is the best; None without validation.
        best: its row of the history, with the optimizer updates before it as `validation/updates`.
    """
    engine.save_sharded(directory)
    if score is None or best is None:
        return
    is_last = best["validation/updates"] == engine.step
    if not is_last:
        engine.restore(best["validation/updates"])
        engine.save_sharded(directory / BEST)
    if engine.rank == 0:
        record = {
            "step": best["step"],
            "measure": score.key,
            "score": best[score.key],
            "folder": "" if is_last else BEST,
        }
        with atomic_file(directory / RECORD) as path:
            path.write_text(json.dumps(record, indent=1) + "\n")
