"""The two stages' rewards: which components, in which weights, and their sum.

perception (stage 1) = clip + keyword + format + length; reasoning (stage 2) = accuracy + format; and, in either, any
functions of your own. Every component's raw and weighted value is kept for every sample, with the time it took.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pebr.answers.check import AnswerChecker
from pebr.answers.options import options_of
from pebr.errors import InputError
from pebr.rewards import released
from pebr.rewards.batch import RewardBatch
from pebr.rewards.clip import ClipScorer, clip_reward
from pebr.rewards.custom import load_custom
from pebr.rewards.format import format_reward
from pebr.rewards.keywords import keyword_reward
from pebr.rewards.length import length_reward

Stage = Literal["perception", "reasoning"]
Mode = Literal["paper", "released"]
Component = Callable[[RewardBatch], list[float]]

COMPONENTS: dict[str, tuple[str, ...]] = {
    "perception": ("clip", "keyword", "format", "length"),
    "reasoning": ("accuracy", "format"),
}


@dataclass(frozen=True)
class Scores:
    """The rewards of S samples, and what they are made of."""

    total: list[float]  # (S,)
    raw: dict[str, list[float]]  # component -> (S,)
    weighted: dict[str, list[float]]  # component -> (S,), raw times weight; they add up to total
    seconds: dict[str, float]  # component -> wall-clock seconds
    failures: int  # answers that the answer check gave up: they count as wrong


class StageReward:
    """A weighted sum of components, and the answer check that they ask."""

    def __init__(self, components: Mapping[str, tuple[float, Component]], checker: AnswerChecker) -> None:
        self.components = dict(components)
        self.checker = checker

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each component."""
        return {name: weight for name, (weight, _) in self.components.items()}

    def reward(self, batch: RewardBatch) -> Scores:
        """Score every sample.

        Raises:
            RewardError: when a component cannot score a sample; never a low reward instead.
        """
        raw, weighted, seconds = {}, {}, {}
        failures = self.checker.failures
        for name, (weight, component) in self.components.items():
            started = time.perf_counter()
            raw[name] = component(batch)
            seconds[name] = time.perf_counter() - started
            weighted[name] = [weight * value for value in raw[name]]
        total = [sum(parts) for parts in zip(*weighted.values(), strict=True)]
        return Scores(total, raw, weighted, seconds, self.checker.failures - failures)


def build_reward(
    stage: Stage,
    mode: Mode,
    weights: Mapping[str, float],
    clip: ClipScorer | None,
    checker: AnswerChecker,
    count_tokens: Callable[[str], int],
    custom: str = "",
) -> StageReward:
    """The reward of a stage.

    Args:
        stage: perception or reasoning.
        mode: `paper`, or `released`: the formulas of the authors' code, to compare with.
        weights: of the stage's components by name (`COMPONENTS`); weight 0 or no entry leaves a component out. Entries
            of the other stage's components are ignored, so that one recipe serves both.
        clip: the image-text scorer; may be None where the clip weight is 0.
        checker: decides whether an answer is the reference.
        count_tokens: number of tokens of a text, by the model's tokenizer.
        custom: your own components, `package.module:function=weight`, separated by commas.

    Raises:
        InputError: for a weight without its scorer, an unknown name, or a function that cannot be imported.
    """
    known = {name for names in COMPONENTS.values() for name in names}
    if unknown := sorted(set(weights) - known):
        raise InputError(f"reward weights: {', '.join(unknown)} unknown; known are {', '.join(sorted(known))}")
    chosen = {name: weights[name] for name in COMPONENTS[stage] if weights.get(name)}
    if "clip" in chosen and clip is None:
        raise InputError(f"clip weight {chosen['clip']} without a CLIP model: name one in clip_model, or set weight 0")
    makers: dict[str, Component] = {
        "keyword": keyword_reward,
        "format": format_reward,
        "length": partial(length_reward, count_tokens=count_tokens),
        "accuracy": partial(accuracy_reward, checker=checker),
    }
    if mode == "released":
        makers |= {
            "keyword": released.keyword_reward,
            "format": released.format_reward,
            "length": released.length_reward,
            "accuracy": partial(released.accuracy_reward, checker=checker),
        }
    if clip is not None:
        makers["clip"] = partial(clip_reward if mode == "paper" else released.clip_reward, scorer=clip)
    components = {name: (weight, makers[name]) for name, weight in chosen.items()} | load_custom(custom)
    if not components:
        raise InputError(f"stage {stage}: every reward weight is 0, so there is nothing to learn: set one")
    return StageReward(components, checker)


def accuracy_reward(batch: RewardBatch, checker: AnswerChecker) -> list[float]:
    """1 where the final answer is the reference, else 0; (S,)."""
    given = [response.answer for response in batch.parsed]
    columns = batch.extra.get("options") or [None] * len(batch)
    options = [options_of(*row) for row in zip(batch.questions, columns, strict=True)]
    return [float(right) for right in checker.check(given, batch.references, options)]
