"""New data since the last published model: batches below a prefix, or lines of a manifest.

    --batches rl_source=s3://data/rl           each folder below the prefix is a batch, such as s3://data/rl/2026-11-23
    --batches rl_source=s3://data/rl.txt       a manifest: each line is a source, of any kind that `ingest` reads

A batch is used when its folder, or its line, is there: write a folder elsewhere and move it, or use a manifest. With
`--base published`, a run continues from the published model and is trained on the new batches; with `--base recipe`, it
begins with the recipe's model and is trained on all batches. Batches of a run that a gate held back are left out, until
its file in `held/` is removed. Without any new batch there is no run.
"""

import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pebr.errors import InputError
from pebr.store.contract import NotThereError
from pebr.store.opening import open_store
from pipelines.publishing.record import Record, Records

BASES = ("recipe", "published")
MANIFEST = ".txt"
BATCH = re.compile(r"[\w.-]+")  # a folder's name; other signs have a meaning in a list of sources
log = logging.getLogger("pipelines.submit")


@dataclass(frozen=True)
class Choice:
    """What a run is made of."""

    changes: Sequence[str]  # of parameters, name=value
    batches: Mapping[str, Sequence[str]]  # new ones, by parameter
    used: Mapping[str, Sequence[str]]  # all that the model will have been trained on, by parameter
    nothing_new: bool = False  # batches were asked for, and none is new


def choose(base: str, places: Sequence[str], records: Records | None, occasion: str = "", keep: bool = True) -> Choice:
    """Choose the base model and the batches of a run; for one occasion, the choice stays the same.

    Args:
        base: of `BASES`.
        places: `parameter=prefix or manifest`.
        records: of what was published; None if nothing is to be published.
        occasion: of the run.
        keep: whether the choice for the occasion is written down.

    Raises:
        InputError: a place is not written like that, or has no batch at all.
    """
    if not places and base == BASES[0]:
        return Choice([], {}, {})
    if records is None:
        raise InputError(
            "--base and --batches refer to the published model: give --publish, the location of its record"
        )
    kept = records.chosen(occasion) if occasion else None
    if kept is not None:
        log.info("for %s, base and batches were chosen before: they stay", occasion)
        return Choice(kept["changes"], kept["batches"], kept["used"])
    made = _chosen(base, places, records.latest(), records.held())
    if occasion and keep and not made.nothing_new:
        records.choose(occasion, {"changes": made.changes, "batches": made.batches, "used": made.used})
    return made


def _chosen(base: str, places: Sequence[str], latest: Record | None, held: Mapping[str, str]) -> Choice:
    continues = base == "published" and latest is not None
    changes = [f"model_source={latest.model}"] if continues and latest else []
    before = latest.batches if latest else {}
    new: dict[str, list[str]] = {}
    used: dict[str, list[str]] = {}
    for text in places:
        name, sign, place = (part.strip() for part in text.partition("="))
        if not sign or not place:
            raise InputError(f"--batches {text}: write it as rl_source=s3://bucket/prefix")
        found = batches_at(place)
        for batch in found:
            if batch in held:
                log.info("left out: %s, which was held back: remove %s to use it", batch, held[batch])
        usable = [batch for batch in found if batch not in held]
        new[name] = [batch for batch in usable if batch not in before.get(name, ())]
        chosen = new[name] if continues and new[name] else usable
        if not chosen:
            raise InputError(f"--batches {text}: no batch is there that may be used: put a folder or a line there")
        changes.append(f"{name}={','.join(chosen)}")
        used[name] = list(dict.fromkeys([*before.get(name, ()), *chosen])) if continues else chosen
        log.info("%s: %d new batches of %d: %s", name, len(new[name]), len(found), ", ".join(new[name]) or "none")
    return Choice(changes, new, used, nothing_new=bool(places) and not any(new.values()))


def batches_at(place: str) -> list[str]:
    """The batches at a place, sorted by name, or as a manifest lists them.

    Raises:
        InputError: a folder's name has signs that a list of sources does not allow, or the manifest is not there.
    """
    place = place.rstrip("/")
    if place.endswith(MANIFEST):
        parent, _, name = place.rpartition("/")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "manifest"
            try:
                open_store(parent or ("/" if place.startswith("/") else ".")).get(name, path)
            except NotThereError:
                raise InputError(f"--batches {place}: there is no such manifest: check the name") from None
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    names = sorted({key.partition("/")[0] for key in open_store(place).list("") if "/" in key})
    for name in names:
        if not BATCH.fullmatch(name):
            raise InputError(f"--batches {place}: folder {name!r}: rename it to letters, digits, '.', '-' and '_'")
    return [f"{place}/{name}" for name in names]
