"""What a run is made of, as a short name: runs with the same name would do the same, so they may share checkpoints."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pebr

SAMPLE_BYTES = 1 << 20


def run_name(facts: Mapping[str, Any]) -> str:
    """A name for a run from all that its result depends on: settings, and fingerprints of what it reads.

    A checkpoint prefix with this name at its end holds the checkpoints of this run alone: with another learning rate or
    another model, a run starts anew and not from the other's weights. So it does with other code: what a mended version
    would do otherwise is not taken over from the version before.
    """
    told = {"code": code_fingerprint(), **facts}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@cache
def code_fingerprint() -> str:
    """A digest of this package's sources."""
    root = Path(pebr.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


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
