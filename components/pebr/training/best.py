"""The folder of a stage's weights: those of the last training step, and inside it those of the best.

index.json, rank-...     the last weights, see sharded.py
best/index.json, ...     the best weights; not there if the last are the best
best.json                the best training step, its score, and the folder of its weights; written last
"""

import json
from pathlib import Path
from typing import Literal

from pebr.errors import InputError

BEST = "best"
RECORD = "best.json"


def weights_in(directory: Path, weights: Literal["last", "best"]) -> Path:
    """The folder of the last or the best weights.

    Raises:
        InputError: there are no best weights.
    """
    if weights == "last":
        return directory
    if not (directory / RECORD).is_file():
        raise InputError(f"{directory}: no {RECORD}: train with --validate-every, or give --weights last")
    return directory / json.loads((directory / RECORD).read_text())["folder"]
