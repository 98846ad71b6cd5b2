"""The work of merge: check the inputs, then stream the weights with `consolidate`."""

import logging
from collections.abc import Mapping
from pathlib import Path

from pebr.errors import InputError
from pebr.merge.settings import Settings
from pebr.training.best import weights_in
from pebr.training.consolidate import consolidate
from pebr.training.sharded import ShardedTensors

log = logging.getLogger(__name__)


def work(settings: Settings) -> Mapping[str, float]:
    """Merge a sharded checkpoint; returns the number of bytes written.

    Raises:
        InputError: the checkpoint is damaged, does not fit the model, or has no best weights.
    """
    sharded = weights_in(Path(settings.checkpoint), settings.weights)
    if damage := ShardedTensors(sharded).damage():
        raise InputError(f"{'; '.join(damage)}: run the step that wrote {Path(settings.checkpoint).name} again")
    written = consolidate(sharded, settings.model, settings.output, settings.dtype, settings.max_shard_bytes)
    return {"bytes": float(written)}
