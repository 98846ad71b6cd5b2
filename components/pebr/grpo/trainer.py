"""The loop of a GRPO stage (method.md, DeepSeekMath arXiv 2402.03300): sample, reward, update, again.

    python -m pebr.grpo --model sft/ --dataset medium/ --output weights/ --history history.jsonl --rollouts rollouts/

A step asks its questions with the policy as it is, rewards the answers, and takes one or more optimizer updates on
them. Everything random follows from coordinates: the order of questions from (seed, epoch), a sample from (seed, step,
question, place). So a run that was killed goes on from its newest checkpoint as if nothing had happened.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from pebr.answers.check import AnswerChecker
from pebr.data.records import RL_SCHEMA
from pebr.data.shards import ShardedDataset
from pebr.errors import InputError
from pebr.grpo.experience import Collector
from pebr.grpo.questions import Plan, askable
from pebr.grpo.record import Rollouts, summary
from pebr.grpo.settings import Settings
from pebr.grpo.update import Updater
from pebr.rewards.clip import load_scorer
from pebr.rewards.stages import StageReward, Tools, build_reward
from pebr.sampling.contract import Sampler, SamplingSettings
from pebr.sampling.start import start_sampler
from pebr.step import launch
from pebr.step.identity import facts_of, run_name
from pebr.telemetry.history import History
from pebr.telemetry.logs import duration
from pebr.training import lora
from pebr.training.checkpoints import Checkpoints
from pebr.training.engine import EngineSettings, TrainingEngine, UpdateReport
from pebr.training.logprobs import PolicyModel
from pebr.training.randomness import seed_everything
from pebr.vlm.encoding import Encoder
from pebr.vlm.families import train_vision
from pebr.vlm.loading import DTYPES, load_config, load_model, load_processor

log = logging.getLogger(__name__)


def work(settings: Settings) -> Mapping[str, float]:
    """Run the stage and return its scalars.

    Raises:
        InputError: when model or dataset cannot be used, before a process is started.
        Preempted: stopped by SIGTERM, with a checkpoint to go on from.
    """
    dataset = ShardedDataset(settings.dataset)
    if not len(dataset):
        raise InputError(f"{settings.dataset}: no questions: look at the report of the split for why")
    if missing := set(RL_SCHEMA.names) - set(dataset[0]):
        raise InputError(f"{settings.dataset}: no column {', '.join(sorted(missing))}: give an output of split")
    load_config(settings.model)
    launch.relaunch_with_processes("pebr.grpo", settings.processes)
    return launch.as_rank(lambda place: _train(settings, dataset, place))


def _train(settings: Settings, dataset: ShardedDataset, place: launch.Place) -> Mapping[str, float]:
    """The stage on one of its ranks."""
    seed_everything(settings.seed)
    encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels))
    needs_key_words = settings.stage == "perception" and settings.keyword_weight > 0
    kept, refused = askable(settings.dataset, encoder, settings.max_prompt_tokens, needs_key_words)
    if refused:
        log.warning("questions refused: %s", ", ".join(f"{count} {reason}" for reason, count in refused.most_common()))
    plan = Plan(
        kept,
        settings.questions_per_step,
        settings.questions_per_update,
        settings.epochs,
        settings.max_steps,
        settings.seed,
    )
    log.info("%d questions, %d steps of %d updates", len(kept), plan.steps, plan.updates_per_step)
    if len(kept) < settings.questions_per_step:
        log.warning("%d questions, fewer than --questions-per-step %d", len(kept), settings.questions_per_step)
    with AnswerChecker() as checker:
        run = Run(settings, place, dataset, encoder, plan, _stage_reward(settings, encoder, checker, place))
        for step in range(run.resume(), plan.steps):
            run.step(step)
        run.finish()
    return {
        "steps": plan.steps,
        "questions": len(kept),
        "refused_questions": refused.total(),
        "refused_updates": run.engine.refused_steps,
        **_overview(run.rows),
    }


def _stage_reward(settings: Settings, encoder: Encoder, checker: AnswerChecker, place: launch.Place) -> StageReward:
    """The stage's reward, with the CLIP model loaded where it is needed."""
    needs_clip = settings.stage == "perception" and settings.clip_weight
    scorer = load_scorer(settings.clip_model, str(place.device)) if needs_clip else None
    return build_reward(settings, Tools(checker, encoder.count_tokens, scorer))


class Run:
    """A stage under way: the policy in its engine, the sampler, and the files that are written."""

    def __init__(
        self,
        settings: Settings,
        place: launch.Place,
        dataset: ShardedDataset,
        encoder: Encoder,
        plan: Plan,
        reward: StageReward,
    ) -> None:
        self.settings = settings
        self.place = place
        self.plan = plan
        self.rows: list[dict[str, Any]] = []  # of the history
        dtype = DTYPES[settings.dtype]
        prefix = _prefix(settings)
        model = load_model(settings.model, dtype)
        train_vision(model, not settings.freeze_vision)
        if settings.lora_rank:
            lora.attach(model, settings.lora_rank, settings.seed)
        self.policy = PolicyModel(model, encoder.banned_token_ids)
        self.engine = TrainingEngine(
            self.policy,
            EngineSettings(
                learning_rate=settings.learning_rate,
                total_steps=plan.steps * plan.updates_per_step,
                weight_decay=settings.weight_decay,
                max_grad_norm=settings.max_grad_norm,
                dtype=settings.dtype,
                zero_stage=settings.zero_stage,
                gradient_checkpointing=settings.gradient_checkpointing,
            ),
            place,
            weights=model,
            checkpoints=Checkpoints(prefix, settings.keep_checkpoints, place),
        )
        reference = self._reference(encoder, dtype) if settings.kl_weight else None  # before the sampler counts memory
        # transformers can sample from the module that is trained, unless its weights lie in shards
        self._live = settings.sampling == "transformers" and settings.zero_stage < 3
        self._sampler: Sampler = start_sampler(
            settings.sampling,
            Path(settings.model),
            encoder,
            dtype,
            model=model if self._live else None,
            max_tokens=settings.max_prompt_tokens + settings.max_response_tokens,
            memory_share=settings.memory_share,
            tensor_parallel=settings.tensor_parallel,
            sleeps=True,
        )
        self._collector = Collector(
            dataset,
            encoder,
            self._sampler,
            SamplingSettings(
                settings.samples, settings.temperature, settings.top_p, settings.max_response_tokens, settings.seed
            ),
            reward,
            settings.advantage,
            place,
        )
        self._updater = Updater(self.engine, reference, encoder, self._collector.prompt, settings)
        self._rollouts = Rollouts(f"{prefix}-rollouts", reward.weights, settings.reward_mode)

    def resume(self) -> int:
        """Take up the newest checkpoint, if there is one; returns the steps done."""
        state = self.engine.resume()
        self.rows = state["history"] if state else []
        if self.place.rank == 0:
            self._history = History(self.settings.history, self.rows)
        self.engine.checkpoint({"history": self.rows}, due=False)  # told to stop while all was being loaded
        return len(self.rows)

    def step(self, step: int) -> None:
        """One step, counted from 0."""
        updates = self.plan.updates(step)
        with self._sampling():
            experiences = self._collector.collect([row for rows in updates for row in rows], step)
        self.engine.checkpoint({"history": self.rows}, due=False)  # told to stop: the samples can be drawn again
        started = time.perf_counter()
        remaining = iter(experiences)
        reports = self._updater.step([[next(remaining) for _ in rows] for rows in updates])
        seconds = {**self._collector.seconds, "training": time.perf_counter() - started}
        drift = self._updater.drift.drift()
        row = {
            "step": step + 1,
            **summary(experiences),
            **_of_updates(reports),
            **self._updater.sums.means(),
            **drift.row(),
            **self._collector.measured,
        }
        row |= {f"seconds_{name}": round(value, 4) for name, value in seconds.items()}
        row = {name: value if value is None or math.isfinite(value) else None for name, value in row.items()}
        self.rows.append(row)
        if self.place.rank == 0:
            self._rollouts.write(step + 1, experiences)
            self._history.append(row)
            log.info(
                "step %d of %d: reward %.4f, loss %s, %.0f tokens an answer, %.1f s, %s left",
                step + 1,
                self.plan.steps,
                row["reward"],
                row["loss"],
                row["response_tokens"],
                sum(seconds.values()),
                duration(_pace(self.rows[-10:]) * (self.plan.steps - step - 1)),
            )
        if self.settings.drift_limit:
            drift.check(self.settings.drift_limit)
        last = step + 1 == self.plan.steps
        due = bool(self.settings.save_every) and (step + 1) % self.settings.save_every == 0
        self.engine.checkpoint({"history": self.rows}, due=last or due)

    def finish(self) -> None:
        """Write what the next steps of the pipeline read."""
        self._sampler.close()
        self.engine.finish()
        self.engine.save_sharded(Path(self.settings.output))
        if self.place.rank == 0:
            self._rollouts.complete(self.settings.rollouts, self.plan.steps)

    def _reference(self, encoder: Encoder, dtype: torch.dtype) -> PolicyModel:
        """The stage's initial model, frozen."""
        model = load_model(self.settings.model, dtype).to(self.place.device).requires_grad_(False)
        return PolicyModel(model, encoder.banned_token_ids).eval()

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """The sampler awake with the policy's weights, the policy in evaluation mode."""
        if not self._live and self.engine.step:
            self._sampler.wake()
            self._sampler.sync(self.engine.gathered_parameters())
        self.policy.eval()
        yield
        self.policy.train()
        self._sampler.sleep()


def _of_updates(reports: Sequence[UpdateReport]) -> dict[str, float | None]:
    """What the step's updates did, under the names of the history."""
    taken = [report for report in reports if not report.refused]
    return {
        "loss": fmean(report.loss for report in taken) if taken else None,
        "grad_norm": fmean(report.grad_norm for report in taken) if taken else None,
        "learning_rate": reports[-1].learning_rate,
        "refused_updates": sum(report.refused for report in reports),
    }


def _pace(rows: Sequence[Mapping[str, Any]]) -> float:
    """Seconds a step of these took."""
    return fmean(sum(value for name, value in row.items() if name.startswith("seconds_")) for row in rows)


def _overview(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The run in a few numbers: means over its first and last tenth, and its time; without those that have no value."""
    tenth = max(len(rows) // 10, 1)
    parts = {"reward_first": [row["reward"] for row in rows[:tenth]]}
    for name in ("reward", "kl", "entropy", "response_tokens", "zero_advantage_share"):
        parts[name] = [row[name] for row in rows[-tenth:] if row[name] is not None]
    result = {name: fmean(values) for name, values in parts.items() if values}
    for name in ("seconds_sampling", "seconds_rewards", "seconds_training"):
        result[name] = round(sum(row[name] for row in rows), 3)
    return result


def _prefix(settings: Settings) -> str:
    """Where this run's checkpoints are: of its settings, model and dataset, and of no other run's."""
    facts = facts_of(settings, ignoring=() if settings.stage == "perception" else ("clip_model",))
    return f"{settings.checkpoint_root}/{run_name(facts)}"
