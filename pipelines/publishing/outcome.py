"""What is read from a run that has ended: the scores per question of its final evaluation, and facts for estimates."""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pebr.errors import InputError
from pebr.evaluate.settings import QUESTIONS
from pebr.store.contract import NotThereError, StoreError
from pebr.store.opening import open_store
from pipelines.estimate.past import facts, past_of
from pipelines.estimate.sources import size_of
from pipelines.ir.plan import Output, Step
from pipelines.paired import Difference, compare, read_results
from pipelines.publishing.record import Record, Records
from pipelines.targets import Target, TargetError

HISTORY = "history"  # the output of a step that trains
SPARED = {
    "checkpoints",
    "executor_input",
    "memory_share",
    "metrics",
    "only",
    "processes",
    "tensor_parallel",
    "vllm_args",
}
log = logging.getLogger("pipelines.submit")


class Outcome:
    """A run that has succeeded.

    Args:
        target: where it ran.
        steps: of its plan.
        final: its final evaluation.
        folder: for files that are fetched.
    """

    def __init__(self, target: Target, steps: Sequence[Step], final: Step | None, folder: Path) -> None:
        self.target, self.steps, self.final, self.folder = target, steps, final, folder

    def questions(self) -> Path | None:
        """The file of the scores per question; None if the run has none, as with an image of an earlier version."""
        path = self.folder / QUESTIONS
        if path.is_file():
            return path
        location = self.target.location(Output(self.final.id, "output")) if self.final else ""
        try:
            return path if location and _fetch(location, QUESTIONS, path) else None
        except InputError as error:
            log.warning("the scores per question cannot be read: %s", error)
            return None

    def difference(self, metric: str, records: Records, published: Record) -> Difference:
        """The difference of a metric to the published version, per question.

        Raises:
            InputError: one of the two has no scores per question, or they share too few questions.
        """
        path = self.questions()
        if path is None:
            raise InputError(
                f"paired:{metric}: the run has no {QUESTIONS} of its final evaluation: use an image of now"
            )
        if self.final:
            _warn_of_settings(self.final, published)
        new = read_results(path.read_text(encoding="utf-8").splitlines(), QUESTIONS)
        return compare(metric, new, records.results(published.run))

    def facts(self, image: str, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        """Facts of the steps for estimates; {} if they cannot be read, which is no reason not to publish."""
        sizes: dict[str, dict[str, int]] = {}
        histories: dict[str, list[dict[str, Any]]] = {}
        try:
            for step in self.steps:
                for name in step.artifact_outputs if step.id in metrics else ():
                    location = self.target.location(Output(step.id, name))
                    if not location:
                        continue
                    parent, _, last = location.rstrip("/").rpartition("/")
                    sizes.setdefault(step.id, {})[name] = open_store(parent).size(last)
                    if name == HISTORY and _fetch(parent, last, self.folder / HISTORY):
                        rows = (self.folder / HISTORY).read_text(encoding="utf-8").splitlines()
                        histories[step.id] = [json.loads(row) for row in rows]
            return facts(past_of(self.steps, image, metrics, sizes, histories, size_of))
        except (InputError, StoreError, TargetError, ValueError) as error:
            log.warning("what the run has taken is not kept for estimates: %s", error)
            return {}


def _warn_of_settings(final: Step, published: Record) -> None:
    """Warn if the published model was evaluated with other settings: the difference is then of both."""
    before = dict(published.steps.get(final.id, {}).get("settings", {}))
    now = {name: getattr(source, "value", None) for name, source in final.parameters.items()}
    changed = [name for name in sorted(before.keys() & now.keys() - SPARED) if before[name] != now[name]]
    if changed:
        told = ", ".join(f"{name} {before[name]!r}, now {now[name]!r}" for name in changed)
        log.warning("the published model was evaluated with other settings (%s): the difference is of both", told)


def _fetch(location: str, name: str, path: Path) -> bool:
    """Copy a stored file, if it is there; returns whether it is."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        try:
            open_store(location).get(name, Path(folder) / "file")
        except NotThereError:
            return False
        (Path(folder) / "file").replace(path)
    return True
