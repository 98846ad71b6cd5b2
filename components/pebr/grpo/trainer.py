"""The loop of a GRPO stage (docs/method.md, DeepSeekMath arXiv 2402.03300): sample, reward, update, repeat.

A training step samples answers with the current policy, rewards them, and makes one or more optimizer updates. All
randomness follows from coordinates: the order of questions from (seed, epoch), a sample from (seed, step, question,
place). So a run that was killed and resumed gives the same bytes.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pebr.errors import InputError
from pebr.grpo.experience import Collector, Experience
from pebr.grpo.measures import (
    HistoryRow,
    exhausted,
    finite,
    futile_run,
    futile_steps,
    of_answers,
    of_updates,
    seconds_per_step,
)
from pebr.grpo.policy import Policy
from pebr.grpo.questions import Plan
from pebr.grpo.record import Rollouts
from pebr.grpo.sample import sample_of
from pebr.grpo.settings import Settings
from pebr.grpo.update import Updater
from pebr.grpo.validation import Validator
from pebr.sampling.drift import Drift
from pebr.telemetry import metrics
from pebr.telemetry.history import History, validated_on
from pebr.telemetry.logs import duration
from pebr.training.efficiency import publish_efficiency
from pebr.training.live import Live
from pebr.training.validation import own_rows, save_weights

log = logging.getLogger(__name__)


@dataclass
class Trainer:
    """Runs the training steps and writes the files of the run."""

    settings: Settings
    plan: Plan
    policy: Policy
    collector: Collector
    updater: Updater
    rollouts: Rollouts
    validator: Validator | None = None
    live: Live | None = None  # on rank 0
    rows: list[HistoryRow] = field(default_factory=list)
    _history: History | None = None  # on rank 0
    _resumed_from: str = ""  # the checkpoint of another run from which the next step continues

    def resume(self) -> int:
        """Resume from the newest checkpoint, if any. Returns the number of training steps done."""
        state = self.policy.engine.resume()
        self.rows = state["history"] if state else []
        self._resumed_from = state.get("resumed_from", "") if state else ""
        if self.policy.engine.rank == 0:
            if self._resumed_from:
                self.rollouts.adopt(self._resumed_from.rpartition("/")[0], len(self.rows))
            self._history = History(self.settings.history, self.rows)
            metrics.begin(self.plan.steps)
        self._checkpoint(due=False)  # a SIGTERM may have come while models were loaded
        return len(self.rows)

    def step(self, step: int) -> None:
        """Run one training step, counted from 0."""
        experiences, drift, measured = self._train(step)
        row = finite({"step": step + 1, **measured})
        if self._resumed_from:
            row["resumed_from"], self._resumed_from = self._resumed_from, ""
        is_last = step + 1 == self.plan.steps
        validated: list[Experience] = []
        if self.validator and self.validator.due(step + 1, is_last):
            measures, validated = self.validator.validate(self.policy)
            row |= finite(measures)
            if self.validator.benchmark:
                row["validated_on"] = self.validator.benchmark
        self.rows.append(row)
        if not is_last and (reason := self.ended()):
            row["stopped"] = reason
        self._record(row, experiences, validated)
        if self.settings.drift_limit:
            drift.check(self.settings.drift_limit)
        futile, limit = futile_steps(self._own_rows()), self.settings.futile_steps
        failed = bool(limit) and futile >= limit and not self.ended()
        due = self.policy.engine.is_due(step + 1, self.settings.save_every, self.settings.save_minutes)
        self._checkpoint(due=due or failed or is_last or "stopped" in row or self.best() is row)
        if futile:
            told = futile_run(self._own_rows())
            if failed:
                self.policy.engine.finish()
                raise InputError(f"{told}; stopped by --futile-steps {limit}, with a checkpoint of this step")
            if self._history is not None:
                log.warning("%s", told)

    def _train(self, step: int) -> tuple[list[Experience], Drift, HistoryRow]:
        """Sample answers and update the policy; returns the experience, the sampler's drift, and what was measured."""
        updates, begun = self.plan.updates(step), time.perf_counter()
        with self.policy.sampling() as sampler:
            rows, rounds = [row for rows in updates for row in rows], self.settings.replacement_rounds
            reserve = self.plan.reserve(step) if rounds else ()
            experiences = self.collector.collect(sampler, rows, step, reserve, rounds)
        self._checkpoint(due=False)  # if stopped here, the resumed run draws the same samples
        started = time.perf_counter()
        leave_out = self.settings.leave_out_cut_off
        remaining = iter([experience.complete() for experience in experiences] if leave_out else experiences)
        reports = self.updater.step([[next(remaining) for _ in rows] for rows in updates])
        ended = time.perf_counter()
        seconds = {**self.collector.seconds, **self.updater.seconds, "sync": self.policy.sync_seconds}
        seconds |= {"training": ended - started, "step": ended - begun}
        seconds["waiting"] = self.collector.seconds["waiting"] + self.updater.seconds["waiting"]
        trained = sum(experience.prompt_tokens + experience.answer_tokens for experience in experiences)
        publish_efficiency(self.policy.engine.weights, trained, seconds["training"], self.policy.engine.place)
        drift = self.updater.drift.drift()
        return (
            experiences,
            drift,
            {
                **of_answers(experiences),
                **of_updates(reports),
                **self.updater.sums.means(),
                **drift.row(),
                **self.collector.measured,
                **{f"seconds_{name}": round(value, 4) for name, value in seconds.items()},
            },
        )

    def _record(self, row: HistoryRow, trained: list[Experience], validated: list[Experience]) -> None:
        """Write what a training step has done to files, metrics, the log and the live report."""
        if self._history is None:
            return
        self.rollouts.write(row["step"], trained)
        self._history.append(row)
        for experience in trained:
            for ids, reason in zip(experience.token_ids, experience.finish_reasons, strict=True):
                metrics.record_answer(len(ids), reason)
        self._log(row, row["seconds_step"])
        self._show(trained, validated)

    def best(self) -> HistoryRow | None:
        """The row of the training step with the best validation; None without validation."""
        return self.validator.score.best(self._own_rows()) if self.validator else None

    def ended(self) -> str:
        """Why training ends after the last row, before its last step; "" if it does not."""
        rows = self._own_rows()
        reason = self.validator.score.stop(rows) if self.validator else ""
        return reason or exhausted(rows, self.settings.futile_steps)

    def finish(self) -> None:
        """Write the outputs that other steps of the pipeline read."""
        if self._history is not None and len(self.rows) < self.plan.steps:
            log.warning("stopped early, after step %d of %d: %s", len(self.rows), self.plan.steps, self.ended())
        save_weights(
            self.policy.engine,
            Path(self.settings.output),
            self.validator.score if self.validator else None,
            self.best(),
        )
        self.policy.engine.finish()
        if self._history is not None:
            self.rollouts.complete(self.settings.rollouts, len(self.rows))
        if self.live is not None:
            self.live.write(now=True, done=True)

    def _own_rows(self) -> Sequence[HistoryRow]:
        return own_rows(self.rows, pending=bool(self._resumed_from))

    def _checkpoint(self, due: bool) -> None:
        best = self.best()
        self.policy.engine.checkpoint({"history": self.rows}, due, best["validation/updates"] if best else 0)

    def _show(self, trained: list[Experience], validated: list[Experience]) -> None:
        if self.live is not None:
            asked, kind, dataset = trained, "training questions", self.collector.dataset
            if validated and self.validator:
                asked, kind, dataset = validated, validated_on(self.rows), self.validator.collector.dataset
            sample = partial(sample_of, dataset, asked)
            self.live.write(bool(validated), f"to {kind} in step {len(self.rows)}", sample)

    def _log(self, row: HistoryRow, seconds: float) -> None:
        done = len(self.rows)
        log.info(
            "step %d of %d: reward %.4f, loss %s, %.0f tokens per answer, %.1f s, %s left",
            done,
            self.plan.steps,
            row["reward"],
            row["loss"],
            row["response_tokens"],
            seconds,
            duration(seconds_per_step(self.rows[-10:]) * (self.plan.steps - done)),
        )
