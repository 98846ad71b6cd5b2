"""The loop of a GRPO stage (docs/method.md, DeepSeekMath arXiv 2402.03300): sample, reward, update, repeat.

A training step samples answers with the current policy, rewards them, and makes one or more optimizer updates. All
randomness follows from coordinates: the order of questions from (seed, epoch), a sample from (seed, step, question,
place). So a run that was killed and resumed gives the same bytes.
"""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from pebr.errors import InputError
from pebr.grpo.experience import Collector
from pebr.grpo.measures import (
    HistoryRow,
    finite,
    futile_steps,
    futility,
    of_answers,
    of_updates,
    seconds_per_step,
)
from pebr.grpo.policy import Policy
from pebr.grpo.questions import Plan
from pebr.grpo.record import Rollouts
from pebr.grpo.settings import Settings
from pebr.grpo.update import Updater
from pebr.telemetry import metrics
from pebr.telemetry.history import History
from pebr.telemetry.logs import duration
from pebr.training.efficiency import publish_efficiency

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
        updates = self.plan.updates(step)
        with self.policy.sampling() as sampler:
            experiences = self.collector.collect(sampler, [row for rows in updates for row in rows], step)
        self._checkpoint(due=False)  # if stopped here, the resumed run draws the same samples
        started = time.perf_counter()
        remaining = iter(experiences)
        reports = self.updater.step([[next(remaining) for _ in rows] for rows in updates])
        seconds = {**self.collector.seconds, "training": time.perf_counter() - started}
        trained = sum(experience.prompt_tokens + experience.answer_tokens for experience in experiences)
        publish_efficiency(self.policy.engine.weights, trained, seconds["training"], self.policy.engine.place)
        drift = self.updater.drift.drift()
        row = finite(
            {
                "step": step + 1,
                **of_answers(experiences),
                **of_updates(reports),
                **self.updater.sums.means(),
                **drift.row(),
                **self.collector.measured,
                **{f"seconds_{name}": round(value, 4) for name, value in seconds.items()},
            }
        )
        if self._resumed_from:
            row["resumed_from"], self._resumed_from = self._resumed_from, ""
        self.rows.append(row)
        if self._history is not None:
            self.rollouts.write(step + 1, experiences)
            self._history.append(row)
            for experience in experiences:
                for ids, reason in zip(experience.token_ids, experience.finish_reasons, strict=True):
                    metrics.record_answer(len(ids), reason)
            self._log(row, sum(seconds.values()))
        if self.settings.drift_limit:
            drift.check(self.settings.drift_limit)
        futile, limit = futile_steps(self.rows), self.settings.futile_steps
        stopped = bool(limit) and futile >= limit
        due = self.policy.engine.is_due(step + 1, self.settings.save_every, self.settings.save_minutes)
        self._checkpoint(due=due or stopped or step + 1 == self.plan.steps)
        if futile:
            told = f"{futile} training steps in a row, up to step {step + 1}, taught nothing: {futility(row)}"
            if stopped:
                self.policy.engine.finish()
                raise InputError(f"{told}; stopped by --futile-steps {limit}, with a checkpoint of this step")
            if self._history is not None:
                log.warning("%s", told)

    def finish(self) -> None:
        """Write the outputs that other steps of the pipeline read."""
        self.policy.engine.finish()
        self.policy.engine.save_sharded(Path(self.settings.output))
        if self._history is not None:
            self.rollouts.complete(self.settings.rollouts, self.plan.steps)

    def _checkpoint(self, due: bool) -> None:
        self.policy.engine.checkpoint({"history": self.rows}, due=due)

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
