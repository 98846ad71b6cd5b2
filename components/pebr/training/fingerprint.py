"""What a run is made of, as a short name: runs with the same name would do the same, so they may share checkpoints."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SAMPLE_BYTES = 1 << 20


def run_name(facts: Mapping[str, Any]) -> str:
    """A name for a run from all that its result depends on: settings, and fingerprints of what it reads.

    A checkpoint prefix with this name at its end holds the checkpoints of this run alone: with another learning rate or
    another model, a run starts anew and not from the other's weights.
    """
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:16]


def directory_fingerprint(directory: Path | str) -> str:
    """A digest of a directory's files: names, sizes, and the first and last megabyte of each.

    Training changes every tensor, so two models of one size differ there; all bytes of a large model need not be read.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(directory).iterdir() if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLE_BYTES))
            if size > SAMPLE_BYTES:
                file.seek(max(size - SAMPLE_BYTES, SAMPLE_BYTES))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
