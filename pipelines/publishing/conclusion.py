"""Concludes a run that has ended: judges it by its gates, tells about it, publishes its model or holds it back."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import gate
from pipelines.ir.kinds import EVALUATE, final_model
from pipelines.ir.plan import Json, Step
from pipelines.paired import Difference
from pipelines.publishing.batches import Choice
from pipelines.publishing.card import Facts
from pipelines.publishing.outcome import Outcome
from pipelines.publishing.publish import Places, data_of, publish
from pipelines.publishing.record import Record, Records
from pipelines.publishing.summary import summary
from pipelines.targets import FAILED, Failure, GoneError, Progress, Target, TargetError

EXIT_RUN_FAILED, EXIT_GATE_FAILED = 1, 3
log = logging.getLogger("pipelines.submit")


@dataclass(frozen=True)
class Wanted:
    """What is asked for after a run."""

    gates: Sequence[str]
    choice: Choice  # of its batches
    records: Records | None  # None: nothing is published
    places: Places
    summary: Path | None = None  # file to append the page to
    scores: bool = True  # whether the target has the scores


def conclude(facts: Facts, place: str, progress: Progress, outcome: Outcome, wanted: Wanted, waited: float) -> int:
    """Conclude a run that has ended; returns the exit code.

    Args:
        facts: of the run, without what is read from it: model, scores, verdicts, data.
        place: where the run can be seen.
        progress: its last state.
        outcome: what is read from it.
        wanted: gates and places.
        waited: seconds.

    Raises:
        InputError: a gate names a score that the run does not have.
        TargetError, StoreError: a place cannot be reached or refuses.
    """
    failures = _failures(outcome.target) if progress.state == FAILED else []
    final_id = outcome.final.id if outcome.final else ""
    scores: gate.Scores = {}
    verdicts: list[gate.Verdict] = []
    published = wanted.records.latest() if wanted.records else None
    if published and published.run == facts.run:
        published = None  # an earlier call has published this run: it is not compared with itself
    facts = replace(facts, final=final_id, before=published.scores if published else None)
    try:
        if progress.state != FAILED and wanted.scores:
            scores = outcome.target.scores()
            compare = _comparison(outcome, wanted.records, published)
            verdicts += [gate.judge(text, scores, final_id, facts.before, compare) for text in wanted.gates]
    finally:  # also if a gate names no score: the run took long, and its summary is useful
        evaluated = {s.id: scores[s.id] for s in outcome.steps if s.module == EVALUATE and s.id in scores}
        _tell(summary(facts.run, place, progress, failures, evaluated, verdicts, waited), wanted.summary)
    if progress.state == FAILED:
        return EXIT_RUN_FAILED
    passed = all(verdict.passed for verdict in verdicts)
    if wanted.records:
        facts = replace(facts, scores=evaluated, verdicts=verdicts)
        _record(facts, place, outcome, wanted, passed, outcome.facts(facts.image, scores))
    return 0 if passed else EXIT_GATE_FAILED


def _comparison(outcome: Outcome, records: Records | None, published: Record | None) -> gate.Compare | None:
    """How a metric is compared with the published version; None if there is none."""
    if records is None or published is None:
        return None

    def compare(metric: str) -> Difference:
        return outcome.difference(metric, records, published)

    return compare


def _record(facts: Facts, place: str, outcome: Outcome, wanted: Wanted, passed: bool, steps: Json) -> None:
    """Publish the model of a run, or write down that it is held back."""
    if wanted.records is None:
        return
    record = Record(
        run=facts.run,
        model=_location(outcome.target, outcome.steps, place) if passed else "",
        scores=facts.scores.get(facts.final, {}),
        about={"recipe": facts.recipe, "commit": facts.commit, "image": facts.image},
        parameters=facts.parameters,
        batches=wanted.choice.used if passed else wanted.choice.batches,
        steps=steps,
    )
    if not passed:
        wanted.records.hold(record, facts.verdicts)
        return
    facts = replace(facts, model=record.model, data=data_of(outcome.target, outcome.steps))
    if (questions := outcome.questions()) is None:
        log.warning("%s is published without scores per question: no paired gate can compare with it", record.run)
    publish(facts, wanted.places, record, questions)


def _tell(page: str, file: Path | None) -> None:
    """Log a run's summary, and append it to the file that the command line gives."""
    log.info("%s", page)
    if file:
        with file.open("a") as summary_file:
            summary_file.write(page)


def _location(target: Target, steps: Sequence[Step], place: str) -> str:
    """The location of the run's final model.

    Raises:
        TargetError: the run does not have it.
    """
    model = final_model(steps)
    location = target.location(model) if model else ""
    if not location:
        raise TargetError(
            f"{place}: the run has no model of {model.step if model else 'a merge'}: nothing is published"
        )
    return location


def _failures(target: Target) -> list[Failure]:
    """The failed steps, which are logged; [] if the target does not tell any more: the run has failed all the same."""
    try:
        failures = target.failures()
    except GoneError:
        return []
    except TargetError as error:
        log.warning("which steps failed is not known: %s", error)
        return []
    for failure in failures:
        code = "" if failure.exit_code is None else f", exit code {failure.exit_code}"
        log.error("%s failed%s: %s; its log: %s", failure.step, code, failure.error or "no message", failure.command)
    return failures
