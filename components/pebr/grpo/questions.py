"""The order of a run's questions: a pure function of the dataset and the seed, so resuming needs no state."""

import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pebr.data.readers import Fault
from pebr.data.shards import iter_rows
from pebr.english.key_words import fold_key_word
from pebr.errors import InputError
from pebr.vlm.admission import image_bytes, prompt_tokens
from pebr.vlm.encoding import Encoder

QuestionRow = Mapping[str, Any]  # a row of `RL_SCHEMA`


@dataclass(frozen=True)
class Plan:
    """The order of questions."""

    questions: Sequence[int]  # rows of the dataset that can be asked
    per_step: int  # questions per training step
    per_update: int  # questions per optimizer update
    epochs: int  # passes over the questions
    max_steps: int  # maximum number of training steps; 0 means no maximum
    seed: int  # of the order
    variances: Sequence[float] = ()  # of each question's accuracy in the rollout; () if none are drawn by it
    variance_share: float = 0.0  # of a step's questions, drawn by variance; the others take turns

    @property
    def steps_per_epoch(self) -> int:
        """Full training steps per epoch; each epoch leaves out other questions. At least 1, possibly a smaller one."""
        return max(1, len(self.questions) // self.per_step)

    @property
    def steps(self) -> int:
        """Training steps of the run."""
        steps = self.epochs * self.steps_per_epoch
        return min(steps, self.max_steps) if self.max_steps else steps

    @cached_property
    def updates_per_step(self) -> int:
        """Optimizer updates per training step."""
        return len(self.updates(0))

    @property
    def optimizer_updates(self) -> int:
        """Optimizer updates of the run."""
        return self.steps * self.updates_per_step

    def updates(self, step: int) -> list[list[int]]:
        """The dataset rows of each update of a training step, over all ranks. `step` counts from 0.

        >>> plan = Plan(range(10), per_step=4, per_update=2, epochs=2, max_steps=0, seed=0)
        >>> [plan.updates(step) for step in range(plan.steps)]
        [[[1, 0], [2, 4]], [[9, 3], [8, 6]], [[1, 4], [3, 5]], [[8, 0], [2, 6]]]
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        order = list(self.questions)
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        drawn = round(self.variance_share * self.per_step)
        in_turn = self.per_step - drawn
        chosen = order[place * in_turn : (place + 1) * in_turn]
        if drawn:
            rng = random.Random(f"{self.seed}/{step}/variance")
            chosen += self._by_variance(rng, drawn, set(chosen))
            rng.shuffle(chosen)  # so that every update has both
        return [chosen[i : i + self.per_update] for i in range(0, len(chosen), self.per_update)]

    def reserve(self, step: int) -> list[int]:
        """The questions that are not in a training step, in the order in which they replace those that are."""
        chosen = {row for update in self.updates(step) for row in update}
        left = [question for question in self.questions if question not in chosen]
        random.Random(f"{self.seed}/{step}/reserve").shuffle(left)
        return left

    def _by_variance(self, rng: random.Random, count: int, taken: set[int]) -> list[int]:
        """Draw questions with probabilities in proportion to their variances, none twice; those without come last.

        Source: weighted sampling without replacement by exponential keys (Efraimidis and Spirakis, 2006).
        """
        keys = []
        for question, variance in zip(self.questions, self.variances, strict=True):
            key = math.log(1.0 - rng.random())
            if question not in taken:
                keys.append((key / variance if variance else -math.inf, key, question))
        return [question for _, _, question in sorted(keys, reverse=True)[:count]]


def variances(dataset: Path | str, questions: Sequence[int]) -> list[float]:
    """The variance p (1 - p) of the accuracy of each question's answers in the rollout (MMR1, arXiv 2509.21268).

    Raises:
        InputError: the dataset is no output of split, or no question has a variance.
    """
    rows = list(iter_rows(Path(dataset), columns=["correct", "samples"]))
    if not all({"correct", "samples"} <= set(row) for row in rows):
        raise InputError(f"{dataset}: no column correct: --variance-share needs an output of split")
    shares = [rows[question]["correct"] / rows[question]["samples"] for question in questions]
    found = [share * (1 - share) for share in shares]
    if not any(found):
        raise InputError(f"{dataset}: the accuracy of no question varies: give medium questions, or --variance-share 0")
    return found


def askable(
    dataset: Path | str, encoder: Encoder, max_prompt_tokens: int, needs_key_words: bool
) -> tuple[list[int], Counter[str]]:
    """Find the rows of a dataset that can be asked, and count the rejected ones by reason. No image is decoded.

    Prompts longer than `max_prompt_tokens` are rejected, never truncated. Questions without key words are rejected if
    `needs_key_words`, because the reward then has a keyword weight.

    Raises:
        InputError: no question is left.
    """
    kept: list[int] = []
    seen: set[str] = set()
    rejected: Counter[str] = Counter()
    for index, row in enumerate(iter_rows(Path(dataset), columns=["qid", "problem", "images", "key_words"])):
        tokens = prompt_tokens(row["problem"], image_bytes(row["images"]), encoder, max_prompt_tokens)
        if isinstance(tokens, Fault):
            rejected[tokens.kind] += 1
        elif row["qid"] in seen:  # it is part of each sample's seed
            rejected["qid twice"] += 1
        elif needs_key_words and not any(map(fold_key_word, row["key_words"])):
            rejected["no key words, while the reward has a keyword weight"] += 1
        else:
            seen.add(row["qid"])
            kept.append(index)
    if not kept:
        raise InputError(f"{dataset}: no question can be asked ({dict(rejected) or 'it is empty'})")
    return kept, rejected


def further_columns(rows: Sequence[QuestionRow], repeats: Sequence[int]) -> dict[str, list[Any]]:
    """Parse the dataset's further columns (JSON text in `extra`) for reward functions, and repeat each row.

    >>> further_columns([{"extra": '{"kind": "count"}'}, {"extra": ""}], repeats=[2, 1])
    {'kind': ['count', 'count', None]}
    """
    parsed = [json.loads(row["extra"] or "{}") for row in rows]
    names = sorted({name for extra in parsed for name in extra})
    repeated = [extra for extra, times in zip(parsed, repeats, strict=True) for _ in range(times)]
    return {name: [extra.get(name) for extra in repeated] for name in names}
