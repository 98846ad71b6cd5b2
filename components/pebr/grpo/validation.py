"""Validation of a GRPO stage: answers to held-out questions, scored by the stage's reward and for accuracy.

Instead of held-out questions, it can ask rows of a benchmark, and score them by its rule (`pebr.grpo.benchmark`).

Its random numbers follow from the run's seed alone, the same in every validation: so two validations differ by the
weights only, and training's samples are those of a run without validations.
"""

import time
from dataclasses import dataclass, replace
from functools import partial

from pebr.errors import InputError
from pebr.grpo.benchmark import Asked, rule_reward
from pebr.grpo.experience import Collector, Experience
from pebr.grpo.measures import HistoryRow, of_answers
from pebr.grpo.policy import Policy
from pebr.grpo.settings import Settings
from pebr.rewards.accuracy import accuracy_reward
from pebr.rewards.stages import StageReward
from pebr.sampling.contract import SamplingSettings, sample_seed
from pebr.training.validation import Score

NOT_VALIDATED = ("reward_at_", "reward_spread", "zero_advantage_share")  # they describe what training can learn from


@dataclass
class Validator:
    """Validates a policy on held-out questions, or on a benchmark."""

    every: int  # training steps between validations
    rows: list[int]  # of the questions in the collector's dataset
    collector: Collector  # samples and rewards for validations
    score: Score
    benchmark: str = ""  # its name; "" for held-out questions

    def due(self, step: int, is_last: bool) -> bool:
        """Whether to validate after a training step, counted from 1."""
        return is_last or step % self.every == 0

    def validate(self, policy: Policy) -> tuple[HistoryRow, list[Experience]]:
        """Sample answers to the questions and score them. All ranks call this.

        Returns:
            Measures for the history, `validation/...`, and the answers.
        """
        started = time.perf_counter()
        with policy.sampling() as sampler:
            experiences = replace(self.collector).collect(sampler, self.rows, step=0)
        measures = {f"validation/{k}": v for k, v in of_answers(experiences).items() if not k.startswith(NOT_VALIDATED)}
        seconds = round(time.perf_counter() - started, 4)
        return measures | {"validation/updates": policy.engine.step, "seconds_validation": seconds}, experiences


def validator_of(settings: Settings, training: Collector, rows: list[int], asked: Asked | None) -> Validator:
    """The validator of a stage.

    Args:
        settings: of the stage.
        training: the collector of training, of which the validator's is a copy with other samples.
        rows: held-out questions, or those of the benchmark.
        asked: of the benchmark to validate on; None for held-out questions.

    Raises:
        InputError: `best_by` names no score.
    """
    reward = rule_reward(asked, training.reward) if asked else _with_accuracy(training.reward, settings)
    if settings.best_by != "reward" and settings.best_by not in reward.components:
        raise InputError(f"--best-by {settings.best_by}: give reward, {', '.join(reward.components)}")
    sampling = SamplingSettings(
        settings.validation_samples,
        settings.validation_temperature,
        1.0,
        settings.max_response_tokens,
        sample_seed(settings.seed, 0, "validation", 0),
    )
    collector = replace(training, sampling=sampling, reward=reward, noise=None)
    if asked:
        prompts = replace(training.prompts, source=f"{settings.benchmarks}/{asked.name}.tsv")
        collector = replace(collector, dataset=asked.questions, prompts=prompts)
    name = "" if settings.best_by == "reward" else f"/{settings.best_by}"
    score = Score(f"validation/reward{name}", True, settings.stop_at, settings.stop_patience)
    return Validator(settings.validate_every, rows, collector, score, asked.name if asked else "")


def _with_accuracy(reward: StageReward, settings: Settings) -> StageReward:
    """The stage's reward with accuracy: with weight 0, if it is no part of it."""
    if "accuracy" in reward.components:
        return reward
    accuracy = partial(accuracy_reward, checker=reward.checker, reading=settings.answer_reading)
    return replace(reward, components={**reward.components, "accuracy": (0.0, accuracy)})
