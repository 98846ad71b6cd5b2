"""New data since the last published model: batches below a prefix, or lines of a manifest.

    --batches rl_source=s3://data/rl           each folder below the prefix is a batch, such as s3://data/rl/2026-11-23
    --batches rl_source=s3://data/rl.txt       a manifest: each line is a source, of any kind that `ingest` reads

A batch is used when its folder, or its line, is there: write a folder elsewhere and move it, or use a manifest. With
`--base published`, a run continues from the published model and is trained on the new batches; with `--base recipe`, it
begins with the recipe's model and is trained on all batches. Batches of a run that a gate held back are left out, until
its file in `held/` is removed; those of a version that was withdrawn by a return to an earlier one, until its RUN.json
is. Without any new batch there is no run.
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


def choose(base: str, places: Sequence[str], records: Records | None, occasion: str = "") -> Choice:
    """Choose the base model and the batches of a run; what was settled for an occasion (`settle`) stays.

    Args:
        base: of `BASES`.
        places: `parameter=prefix or manifest`, one per parameter.
        records: of what was published; None if nothing is to be published.
        occasion: of the run.

    Raises:
        InputError: a place is not written like that, or has no batch at all although another one has new ones.
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
    return _chosen(base, _by_parameter(places), records.latest(), {**records.withdrawn(), **records.held()})


def settle(choice: Choice, records: Records | None, occasion: str) -> None:
    """Write down what a run is made of, just before it is submitted: a retry for the occasion chooses the same."""
    if records and occasion:
        records.choose(occasion, {"changes": choice.changes, "batches": choice.batches, "used": choice.used})


def _by_parameter(places: Sequence[str]) -> dict[str, str]:
    """The place of each parameter."""
    found: dict[str, str] = {}
    for text in places:
        name, sign, place = (part.strip() for part in text.partition("="))
        if not sign or not place:
            raise InputError(f"--batches {text}: write it as rl_source=s3://bucket/prefix")
        if name in found:
            raise InputError(f"--batches {text}: {name} has a place already, {found[name]}: give one, or a manifest")
        found[name] = place
    return found


def _chosen(base: str, places: Mapping[str, str], latest: Record | None, barred: Mapping[str, str]) -> Choice:
    continues = base == "published" and latest is not None
    changes = [f"model_source={latest.model}"] if continues and latest else []
    before = latest.batches if latest else {}
    found = {name: batches_at(place) for name, place in places.items()}
    usable = {name: [batch for batch in batches if batch not in barred] for name, batches in found.items()}
    new = {name: [batch for batch in usable[name] if batch not in before.get(name, ())] for name in places}
    for name, batches in found.items():
        for batch in (batch for batch in batches if batch in barred):
            log.info("left out: %s, which was held back or withdrawn: remove %s to use it", batch, barred[batch])
        log.info("%s: %d new batches of %d: %s", name, len(new[name]), len(batches), ", ".join(new[name]) or "none")
    if places and not any(new.values()):
        return Choice(changes, new, {}, nothing_new=True)
    used: dict[str, list[str]] = {}
    for name, place in places.items():
        chosen = new[name] if continues and new[name] else usable[name]
        if not chosen:
            files = ", ".join(sorted({barred[batch] for batch in found[name]}))
            remedy = f"remove {files} to use what is there, or " if files else ""
            raise InputError(
                f"--batches {name}={place}: no batch is there that may be used, and others are new: {remedy}put a"
                " folder or a line there"
            )
        changes.append(f"{name}={','.join(chosen)}")
        used[name] = list(dict.fromkeys([*before.get(name, ()), *chosen])) if continues else chosen
    return Choice(changes, new, used)


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
