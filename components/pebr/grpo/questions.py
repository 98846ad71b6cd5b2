"""The order of a run's questions: a pure function of the dataset and the seed, so resuming needs no state."""

import json
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
        chosen = order[place * self.per_step : (place + 1) * self.per_step]
        return [chosen[i : i + self.per_update] for i in range(0, len(chosen), self.per_update)]


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
