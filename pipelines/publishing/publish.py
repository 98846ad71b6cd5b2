"""Publishes the model of a run that passed its gates.

The model gets two files more: README.md, its card, and the chat template of a server. Then it is pushed to a hub and
registered, if that is asked for. The record of the published model, `latest.json`, is written last: where it is, all of
this is done. Publishing again does no harm.
"""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pebr.errors import InputError
from pebr.files import sha256
from pebr.step.outputs import MANIFEST
from pebr.store.contract import NotThereError, Store
from pebr.store.listing import LISTING, Entry, read_listing, write_listing
from pebr.store.opening import open_store
from pebr.vlm.prompt import PROMPT_FILE, read_template
from pebr.vlm.serving import SERVING_FILE, TEMPLATE_FILES, own_chat_template, serving_template
from pipelines.ir.kinds import FILTER, INGEST
from pipelines.ir.plan import Constant, Output, Step
from pipelines.publishing.card import Data, Facts, Origin, card, license_of
from pipelines.publishing.copying import copied
from pipelines.publishing.hub import push, repository
from pipelines.publishing.oci import SCHEME, Repository
from pipelines.publishing.record import Record, Records
from pipelines.publishing.registry import Registry
from pipelines.targets import Target, TargetError

CARD = "README.md"
log = logging.getLogger("pipelines.submit")


@dataclass(frozen=True)
class Places:
    """Where a model is published."""

    record: str  # folder or s3:// prefix of latest.json
    push: str = ""  # hf://organisation/name, or oci://registry/name
    registry: str = ""  # address of a Model Registry
    license: str = ""  # of the model, by the hub's identifier; "" for that of the base model
    keep: int = 0  # versions that are kept; 0 for all


def publish(facts: Facts, places: Places, record: Record, questions: Path | None) -> None:
    """Publish a model; see the top of this file.

    Args:
        facts: of the run.
        places: where it is published.
        record: of the version.
        questions: file of its scores per question.

    Raises:
        TargetError: the hub or the registry cannot be reached or refuses.
        StoreError: the model cannot be read, or the record not be written.
        InputError: the model is to be pushed, and there are no credentials to read it.
    """
    try:
        files = describe(facts, places.license)
    except InputError as error:  # this machine may not read the model, so it cannot push it either
        if places.push:
            raise
        log.warning("the model gets no card and no serving template: %s", error)
        files = {}
    if places.push:
        pushed = _push(facts, places.push, files)
        log.info("pushed: %s", pushed)
        record = replace(record, about={**record.about, "pushed": pushed})
    if places.registry:
        told = f"Trained by the pipeline {facts.pipeline} with the recipe {facts.recipe}"
        properties = {**record.about, **record.scores}
        made = Registry(places.registry).register(facts.pipeline, facts.run, facts.model, properties, told)
        log.info("registered: version %s of %s, id %s", facts.run, facts.pipeline, made)
    Records(places.record).publish(record, questions, places.keep)


def check_address(address: str) -> None:
    """Check where a model is to be pushed.

    Raises:
        InputError: it is neither a repository of the hub nor one of an OCI registry.
    """
    if address.startswith(SCHEME):
        Repository(address)
    else:
        repository(address)


def _push(facts: Facts, address: str, files: Mapping[str, str]) -> str:
    """Push the model of a run; returns where it is."""
    if not address.startswith(SCHEME):
        return push(facts.model, address, files, f"{facts.run} of commit {facts.commit}")
    named = {"title": facts.run, "revision": facts.commit}
    annotations = {f"org.opencontainers.image.{name}": value for name, value in named.items() if value}
    with copied(facts.model, files) as folder:
        return Repository(address).push(folder, facts.run, annotations)


def describe(facts: Facts, license_name: str = "") -> dict[str, str]:
    """Write the card and the serving template into the model; returns these texts, by file name.

    Raises:
        TargetError: the model has no chat template, or a prompt that cannot be read.
    """
    store = open_store(facts.model)
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        for name in (CARD, PROMPT_FILE, *TEMPLATE_FILES):
            _fetch(store, name, here)
        known = (
            license_of((here / CARD).read_text(encoding="utf-8", errors="replace")) if (here / CARD).is_file() else {}
        )
        license_fields = {"license": license_name} if license_name else known
        if not license_fields:
            log.warning("the base model's card names no licence: give --license, such as apache-2.0")
        try:
            origin = Origin(read_template(here), license_fields)
            files = {CARD: card(facts, origin), SERVING_FILE: serving_template(own_chat_template(here), origin.prompt)}
        except InputError as error:
            raise TargetError(f"{facts.model}: {str(error).replace(str(here), 'the model')}") from error
        _add(store, files, here)
    return files


def _add(store: Store, files: Mapping[str, str], scratch: Path) -> None:
    """Write texts into a stored folder, and into its listing if it has one: what is not listed would not be fetched."""
    for name, text in files.items():
        (scratch / name).write_text(text, encoding="utf-8")
        store.put(scratch / name, name)
    if _fetch(store, LISTING, scratch):
        listed = read_listing((scratch / LISTING).read_bytes())
        added = {name: Entry((scratch / name).stat().st_size, sha256(scratch / name)) for name in files}
        (scratch / LISTING).write_bytes(write_listing(listed | added))
        store.put(scratch / LISTING, LISTING)


def data_of(target: Target, steps: Sequence[Step]) -> list[Data]:
    """What the run has brought in: each source, with rows and digest where a filter has written its rows."""
    filters = {step.artifacts.get("source"): step for step in steps if step.module == FILTER}
    found = []
    for step in steps:
        source = step.parameters.get("source")
        if step.module != INGEST or not isinstance(source, Constant):
            continue
        filtered = filters.get(Output(step.id, "output"))
        rows, digest = _manifest(target.location(Output(filtered.id, "output"))) if filtered else (None, "")
        found.append(Data(step.title.removeprefix("Ingest "), str(source.value), rows, digest))
    return found


def _manifest(location: str) -> tuple[int | None, str]:
    """Rows and digest of a dataset's manifest; (None, "") if the run does not have it, or it may not be read here."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            found = bool(location) and _fetch(open_store(location), MANIFEST, Path(scratch))
        except InputError as error:
            log.warning("the card has no digest of %s: %s", location, error)
            found = False
        if not found:
            return None, ""
        path = Path(scratch) / MANIFEST
        return int(json.loads(path.read_text())["rows"]), sha256(path)


def _fetch(store: Store, name: str, folder: Path) -> bool:
    """Copy a file of a stored folder, if it is there; returns whether it is."""
    try:
        store.get(name, folder / name)
    except NotThereError:
        return False
    return True
