"""The record of what was published, in a folder or at an `s3://` prefix. The models themselves are not moved.

    latest.json               the version that is published now
    RUN.json                  each version that is kept: run, model, scores, parameters, batches of data, facts of steps
    RUN.questions.jsonl       its scores per question, which a later run is compared with (`pipelines.paired`)
    held/RUN.json             a run that a gate held back: the reasons, and its batches, which later runs leave out
    weeks/OCCASION.json       the base and the batches that were chosen for an occasion (`pipelines.publishing.batches`)

`latest.json` is written after the others: where it names a version, all of it is there. To go back to an earlier
version, copy its RUN.json to latest.json.
"""

import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pebr.errors import InputError
from pebr.evaluate.settings import QUESTIONS
from pebr.store.contract import NotThereError, StoreError
from pebr.store.opening import open_store
from pipelines.gate import Verdict
from pipelines.ir.plan import Json
from pipelines.paired import Question, read_results

ABOUT = ("recipe", "commit", "image", "pushed")  # pushed: where a copy of the model is, an image by its digest
LATEST, HELD, WEEKS = "latest.json", "held/", "weeks/"
Batches = Mapping[str, Sequence[str]]  # locations of data, by the name of the parameter that takes them
log = logging.getLogger("pipelines.submit")


@dataclass(frozen=True)
class Record:
    """A version: published, or held back."""

    run: str
    model: str  # location; can be the `model_source` of a later run
    scores: Mapping[str, float]  # metrics of the final evaluation
    about: Mapping[str, str] = field(default_factory=dict)  # of `ABOUT`
    parameters: Json = field(default_factory=dict)  # all of the run
    batches: Batches = field(default_factory=dict)  # all that the model and those it continues have been trained on
    steps: Json = field(default_factory=dict)  # facts of each step, for estimates (`pipelines.estimate.past`)
    time: str = ""  # when it was published or held back, UTC; "" if unknown

    def document(self) -> dict[str, Any]:
        """The record as JSON has it."""
        fields = {"run": self.run, "model": self.model, "scores": dict(self.scores), **self.about, "time": self.time}
        return fields | {"parameters": self.parameters, "batches": self.batches, "steps": self.steps}


class Records:
    """The records at a location."""

    def __init__(self, location: str) -> None:
        self.location, self.store = location, open_store(location)

    def latest(self) -> Record | None:
        """The published version; None if there is none.

        Raises:
            InputError: `latest.json` is not such a file.
        """
        return self._record(LATEST)

    def all(self) -> list[Record]:
        """All versions that were published and are kept or held back, oldest first."""
        keys = [key for key in self.store.list("") if self._is_version(key) or key.startswith(HELD)]
        return sorted((made for key in keys if (made := self._record(key))), key=lambda made: made.time)

    def results(self, run: str) -> dict[Question, dict[str, float]]:
        """The scores per question of a published version.

        Raises:
            InputError: it has none: it was published by an earlier version of pebr.
        """
        name = f"{run}.{QUESTIONS}"
        text = self._text(name)
        if text is None:
            raise InputError(
                f"{self.location}/{name}: not there, so {run} cannot be compared per question: publish once without the"
                " paired gate"
            )
        return read_results(text.splitlines(), f"{self.location}/{name}")

    def publish(self, record: Record, questions: Path | None, keep: int = 0) -> None:
        """Write a version, make it the published one, and remove all versions but the newest `keep` (0: keep all).

        `questions` is the file of its scores per question, if it is known.
        """
        if questions:
            self.store.put(questions, f"{record.run}.{QUESTIONS}")
        document = record.document() | {"time": now()}
        self._write(f"{record.run}.json", document)
        self._write(LATEST, document)
        self.store.delete_prefix(f"{HELD}{record.run}.json")  # an operator has published it after all
        if keep:
            self._remove_old(keep)

    def hold(self, record: Record, verdicts: Sequence[Verdict]) -> None:
        """Write down that gates have held a run back, and why."""
        failed = [verdict for verdict in verdicts if not verdict.passed]
        reasons = [
            {"gate": v.gate, "score": v.score if math.isfinite(v.score) else None, "bound": v.bound, "note": v.note}
            for v in failed
        ]
        self._write(f"{HELD}{record.run}.json", record.document() | {"time": now(), "reasons": reasons})

    def held(self) -> dict[str, str]:
        """The batches of runs that were held back: location -> the run's file, removing which admits them again."""
        found = {}
        for key in self.store.list(HELD):
            record = self._record(key)
            for batch in (batch for named in (record.batches if record else {}).values() for batch in named):
                found[batch] = f"{self.location.rstrip('/')}/{key}"
        return found

    def withdrawn(self) -> dict[str, str]:
        """The batches of versions from which an operator went back: location -> the version's file.

        A kept version is one of these if it is newer than the published one. Versions published after such a return
        do not have its batches either, although they name the same parameters.
        """
        latest = self.latest()
        found: dict[str, str] = {}
        for key in self.store.list("") if latest else ():
            record = self._record(key) if self._is_version(key) else None
            for name, batches in (record.batches if record else {}).items():
                if latest and record and (record.time > latest.time or name in latest.batches):
                    lost = [batch for batch in batches if batch not in latest.batches.get(name, ())]
                    found |= dict.fromkeys(lost, f"{self.location.rstrip('/')}/{key}")
        return found

    def chosen(self, occasion: str) -> Json | None:
        """What was chosen for an occasion; None if nothing was."""
        text = self._text(f"{WEEKS}{occasion}.json")
        return dict(json.loads(text)) if text else None

    def choose(self, occasion: str, choice: Json) -> None:
        """Write down what is chosen for an occasion, so that a retry chooses the same."""
        self._write(f"{WEEKS}{occasion}.json", choice)

    def _remove_old(self, keep: int) -> None:
        """Remove the records and models of all versions but the newest; what cannot be removed is warned of."""
        kept = [made for key in self.store.list("") if self._is_version(key) and (made := self._record(key))]
        kept.sort(key=lambda made: made.time, reverse=True)
        latest = self.latest()
        used = {made.model for made in [*kept[:keep], *([latest] if latest else [])]}
        for old in kept[keep:]:
            if latest and old.run == latest.run:
                continue
            try:
                if old.model not in used:
                    parent, _, name = old.model.rstrip("/").rpartition("/")
                    open_store(parent).delete_prefix(f"{name}/")
                self.store.delete_prefix(f"{old.run}.{QUESTIONS}")
                self.store.delete_prefix(f"{old.run}.json")
            except (StoreError, InputError) as error:
                log.warning("version %s is to be removed, but: %s", old.run, error)
            else:
                log.info("removed: version %s, %s (the newest %d are kept)", old.run, old.model, keep)

    @staticmethod
    def _is_version(key: str) -> bool:
        return "/" not in key and key.endswith(".json") and key != LATEST

    def _record(self, key: str) -> Record | None:
        text = self._text(key)
        if text is None:
            return None
        try:
            found = json.loads(text)
            scores = {name: float(score) for name, score in found["scores"].items()}
            about = {name: str(found[name]) for name in ABOUT if name in found}
            more = {name: found.get(name, {}) for name in ("parameters", "batches", "steps")}
            return Record(str(found["run"]), str(found["model"]), scores, about, **more, time=found.get("time", ""))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(
                f"{self.location}/{key}: it names no scores: fix it, or remove it to start without a published model"
            ) from None

    def _text(self, key: str) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                self.store.get(key, Path(folder) / "text")
            except NotThereError:
                return None
            return (Path(folder) / "text").read_text(encoding="utf-8")

    def _write(self, key: str, document: Json) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "text"
            path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            self.store.put(path, key)


def now() -> str:
    """The time in UTC, to the microsecond: versions are sorted by it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
