"""The reward of each stage: its components, their weights and their sum.

To add a built-in reward: write its function in a module of this folder, give it a record in `BUILT_IN`, and give it
the field `NAME_weight` in `pebr.rewards.settings`.
"""

import inspect
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from pebr.answers.check import AnswerChecker
from pebr.errors import InputError
from pebr.rewards import released
from pebr.rewards.accuracy import accuracy_reward
from pebr.rewards.batch import Component, RewardBatch
from pebr.rewards.clip import ClipScorer, clip_reward
from pebr.rewards.custom import load_custom
from pebr.rewards.format import format_reward
from pebr.rewards.keywords import keyword_reward
from pebr.rewards.length import length_reward
from pebr.rewards.overlong import overlong_reward
from pebr.rewards.settings import RewardSettings
from pebr.rewards.sufficiency import sufficiency_reward
from pebr.vlm.settings import Reading


class Tools(NamedTuple):
    """What a built-in reward can use. A reward function names the tools it needs as its parameters."""

    checker: AnswerChecker
    count_tokens: Callable[[str], int]  # the number of tokens of a text, by the model's tokenizer
    scorer: ClipScorer | None = None  # None if no component of the stage needs CLIP
    max_response_tokens: int | None = None  # the token limit of an answer; None where nothing is sampled
    reading: Reading = "strict"  # of the final answer; `build_reward` takes it from the settings
    overlong_tokens: int = 0  # likewise


class BuiltIn(NamedTuple):
    """A built-in reward: a function of the batch and of any `Tools`, by name. It returns one value per sample, (S,).

    A value depends on its own sample only, so the samples of a step can be scored in parts.
    """

    stages: tuple[str, ...]  # where it counts
    paper: Callable[..., list[float]]
    released: Callable[..., list[float]]  # the formula of the authors' code; the same function if it has none
    of_description: bool = False  # judges the description
    needs_second_pass: bool = False  # reads `retold`, which is sampled after all answers of a step
    is_penalty: bool = False  # at best 0


BUILT_IN = {  # in this order in the history
    "clip": BuiltIn(("perception",), clip_reward, released.clip_reward, of_description=True),
    "keyword": BuiltIn(("perception",), keyword_reward, released.keyword_reward, of_description=True),
    "accuracy": BuiltIn(("reasoning",), accuracy_reward, released.accuracy_reward),
    "format": BuiltIn(("perception", "reasoning"), format_reward, released.format_reward),
    "length": BuiltIn(("perception",), length_reward, released.length_reward, of_description=True),
    "overlong": BuiltIn(("perception", "reasoning"), overlong_reward, overlong_reward, is_penalty=True),
    "sufficiency": BuiltIn(("perception", "reasoning"), sufficiency_reward, sufficiency_reward, True, True),
}


@dataclass(frozen=True)
class Scores:
    """The rewards of S samples and of their components."""

    total: list[float]  # (S,)
    raw: dict[str, list[float]]  # component -> (S,)
    weighted: dict[str, list[float]]  # component -> (S,), raw times weight; they add up to total
    seconds: dict[str, float]  # component -> wall-clock seconds
    failures: int  # answers that the answer check could not decide; they count as wrong
    cut_off: int | None = None  # descriptions that are longer than the CLIP model's window; None without CLIP


class Part(NamedTuple):
    """Some components' values of S samples."""

    raw: dict[str, list[float]]  # component -> (S,)
    seconds: dict[str, float]  # component -> wall-clock seconds


@dataclass(frozen=True)
class StageReward:
    """A weighted sum of components."""

    components: Mapping[str, tuple[float, Component]]
    checker: AnswerChecker
    scorer: ClipScorer | None = None  # of the CLIP component
    by_sample: frozenset[str] = frozenset()  # components that may score the samples of a step in parts

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each component."""
        return {name: weight for name, (weight, _) in self.components.items()}

    @property
    def of_description(self) -> frozenset[str]:
        """The components that judge descriptions."""
        return frozenset(name for name in self.components if name in BUILT_IN and BUILT_IN[name].of_description)

    @property
    def needs_second_pass(self) -> bool:
        """Whether a component reads what the model answers from the descriptions alone."""
        return any(name in BUILT_IN and BUILT_IN[name].needs_second_pass for name in self.components)

    def reward(self, batch: RewardBatch) -> Scores:
        """Score every sample.

        Raises:
            RewardError: if a component cannot score a sample. A failure never becomes a low reward.
        """
        failures = self.checker.failures
        part = self.part(batch, self.components)
        return self.scores(part, self.checker.failures - failures, self.cut_off(batch))

    def part(self, batch: RewardBatch, names: Collection[str]) -> Part:
        """The values of the components in `names`."""
        raw, seconds = {}, {}
        for name, (_, component) in self.components.items():
            if name in names:
                started = time.perf_counter()
                raw[name] = component(batch)
                seconds[name] = time.perf_counter() - started
        return Part(raw, seconds)

    def cut_off(self, batch: RewardBatch) -> int | None:
        """How many descriptions are longer than the CLIP model's window; None without CLIP."""
        return self.scorer.cut_off([r.description for r in batch.parsed]) if self.scorer else None

    def scores(self, part: Part, failures: int, cut_off: int | None) -> Scores:
        """The sum of the components, of which `part` has all."""
        raw = {name: part.raw[name] for name in self.components}
        weighted = {name: [weight * value for value in raw[name]] for name, (weight, _) in self.components.items()}
        total = [sum(values) for values in zip(*weighted.values(), strict=True)]
        return Scores(total, raw, weighted, part.seconds, failures, cut_off)


def build_reward(settings: RewardSettings, tools: Tools) -> StageReward:
    """The reward of the stage `settings.stage`.

    A component with weight 0 is not computed. Weights of components of the other stage are ignored, so that both stages
    can share one recipe.

    Raises:
        InputError: for a CLIP weight without a scorer, for a custom function that cannot be imported, and if every
            weight is 0.
    """
    components: dict[str, tuple[float, Component]] = {}
    tools = tools._replace(reading=settings.answer_reading, overlong_tokens=settings.overlong_tokens)
    for name, built_in in BUILT_IN.items():
        weight = getattr(settings, f"{name}_weight")
        if weight and settings.stage in built_in.stages:
            function = built_in.paper if settings.reward_mode == "paper" else built_in.released
            needed = {tool: getattr(tools, tool) for tool in list(inspect.signature(function).parameters)[1:]}
            if None in needed.values():
                missing = "a CLIP model: name one in clip_model" if name == "clip" else "a limit of the answers' tokens"
                raise InputError(f"{name} weight {weight} without {missing}, or set weight 0")
            components[name] = (weight, partial(function, **needed))
    # On a CPU there is nothing to gain from CLIP in parts: its batches fill all cores.
    by_sample = frozenset(
        name
        for name in components
        if not BUILT_IN[name].needs_second_pass and (name != "clip" or (tools.scorer and tools.scorer.on_gpu))
    )
    components |= load_custom(settings.reward, settings.reward_seconds)
    if not any(weight for weight, _ in components.values()):
        raise InputError(f"stage {settings.stage}: every reward weight is 0, so there is nothing to learn: set one")
    return StageReward(components, tools.checker, tools.scorer if "clip" in components else None, by_sample)
