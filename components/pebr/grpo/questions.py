"""Which questions a run visits, and when: a pure function of the dataset and the seed, so a resume needs no state."""

import json
import random
from collections import Counter
from collections.abc import Sequence
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


@dataclass(frozen=True)
class Plan:
    """The order of questions.

    Args:
        questions: rows of the dataset that may be asked.
        per_step: questions a step.
        per_update: questions an optimizer update.
        epochs: passes over the questions.
        max_steps: at most so many steps; 0 means all.
        seed: of the order.
    """

    questions: Sequence[int]
    per_step: int
    per_update: int
    epochs: int
    max_steps: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole steps only, as each epoch leaves out others; at least one, which then has fewer questions."""
        return max(1, len(self.questions) // self.per_step)

    @property
    def steps(self) -> int:
        """Steps of the run."""
        steps = self.epochs * self.steps_per_epoch
        return min(steps, self.max_steps) if self.max_steps else steps

    @cached_property
    def updates_per_step(self) -> int:
        """Optimizer updates a step."""
        return len(self.updates(0))

    def updates(self, step: int) -> list[list[int]]:
        """The dataset rows of each update of a step, over all ranks; `step` counts from 0.

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
    """The rows of a dataset that can be asked, and how many were refused for which reason. No pixel is read.

    Args:
        dataset: Parquet dataset of questions.
        encoder: counts tokens.
        max_prompt_tokens: the longest prompt; longer ones are refused, never cut.
        needs_key_words: whether a part of the reward is for key words: a question without any would never earn it.

    Raises:
        InputError: when no question is left.
    """
    kept: list[int] = []
    seen: set[str] = set()
    refused: Counter[str] = Counter()
    for index, row in enumerate(iter_rows(Path(dataset), columns=["qid", "problem", "images", "key_words"])):
        tokens = prompt_tokens(row["problem"], image_bytes(row["images"]), encoder, max_prompt_tokens)
        if isinstance(tokens, Fault):
            refused[tokens.kind] += 1
        elif row["qid"] in seen:  # random numbers are named by it
            refused["qid twice"] += 1
        elif needs_key_words and not any(map(fold_key_word, row["key_words"])):
            refused["no key words, while the reward has a keyword weight"] += 1
        else:
            seen.add(row["qid"])
            kept.append(index)
    if not kept:
        raise InputError(f"{dataset}: no question can be asked ({dict(refused) or 'it is empty'})")
    return kept, refused


def further_columns(rows: Sequence[dict[str, Any]], repeats: int) -> dict[str, list[Any]]:
    """The dataset's further columns (the JSON text in `extra`) as reward functions take them, each row repeated.

    >>> further_columns([{"extra": '{"kind": "count"}'}, {"extra": ""}], repeats=2)
    {'kind': ['count', 'count', None, None]}
    """
    parsed = [json.loads(row["extra"] or "{}") for row in rows]
    names = sorted({name for extra in parsed for name in extra})
    return {name: [extra.get(name) for extra in parsed for _ in range(repeats)] for name in names}
