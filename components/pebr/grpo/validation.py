"""Validation of a GRPO stage: answers to the held-out questions, scored by the stage's reward and for accuracy.

Its random numbers follow from the run's seed alone, the same in every validation: so two validations differ by the
weights only, and training's samples are those of a run without validations.
"""

import time
from dataclasses import dataclass, replace
from functools import partial

from pebr.errors import InputError
from pebr.grpo.experience import Collector, Experience
from pebr.grpo.measures import HistoryRow, of_answers
from pebr.grpo.policy import Policy
from pebr.grpo.settings import Settings
from pebr.rewards.accuracy import accuracy_reward
from pebr.sampling.contract import SamplingSettings, sample_seed
from pebr.training.validation import Score

NOT_VALIDATED = ("reward_at_", "reward_spread", "zero_advantage_share")  # they describe what training can learn from


@dataclass
class Validator:
    """Validates a policy on held-out questions."""

    every: int  # training steps between validations
    rows: list[int]  # of the held-out questions in the dataset
    collector: Collector  # samples and rewards for validations
    score: Score

    def due(self, step: int, is_last: bool) -> bool:
        """Whether to validate after a training step, counted from 1."""
        return is_last or step % self.every == 0

    def validate(self, policy: Policy) -> tuple[HistoryRow, list[Experience]]:
        """Sample answers to the held-out questions and score them. All ranks call this.

        Returns:
            Measures for the history, `validation/...`, and the answers.
        """
        started = time.perf_counter()
        with policy.sampling() as sampler:
            experiences = replace(self.collector).collect(sampler, self.rows, step=0)
        measures = {f"validation/{k}": v for k, v in of_answers(experiences).items() if not k.startswith(NOT_VALIDATED)}
        seconds = round(time.perf_counter() - started, 4)
        return measures | {"validation/updates": policy.engine.step, "seconds_validation": seconds}, experiences


def validator_of(settings: Settings, training: Collector, rows: list[int]) -> Validator:
    """The validator of a stage.

    Args:
        settings: of the stage.
        training: the collector of training, of which the validator's is a copy with other samples.
        rows: held-out questions.

    Raises:
        InputError: `best_by` names no score.
    """
    reward = training.reward
    components = dict(reward.components)
    if "accuracy" not in components:  # with weight 0: it is measured, and not part of the reward
        components["accuracy"] = 0.0, partial(accuracy_reward, checker=reward.checker, reading=settings.answer_reading)
    if settings.best_by != "reward" and settings.best_by not in components:
        raise InputError(f"--best-by {settings.best_by}: give reward, {', '.join(components)}")
    sampling = SamplingSettings(
        settings.validation_samples,
        settings.validation_temperature,
        1.0,
        settings.max_response_tokens,
        sample_seed(settings.seed, 0, "validation", 0),
    )
    collector = replace(training, sampling=sampling, reward=replace(reward, components=components), noise=None)
    name = "" if settings.best_by == "reward" else f"/{settings.best_by}"
    score = Score(f"validation/reward{name}", True, settings.stop_at, settings.stop_patience)
    return Validator(settings.validate_every, rows, collector, score)
