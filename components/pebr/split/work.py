"""The work of split: sort questions by difficulty, the share of correct answers of the warmed-up model.

A GRPO group with equal rewards has no advantage and teaches nothing. Easy questions (all answers correct) have no
variance in accuracy, but the quality of their image descriptions varies: they are used for perception. Medium questions
are used for reasoning. Hard questions (no answer correct) go back to the warm-up data.

The output is sorted by question id, so that it does not depend on the shards of the rollout.
"""

import logging
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from pebr.data.records import RL_SCHEMA, SPLIT_SCHEMA, Row
from pebr.data.shards import ShardedDataset, ShardWriter, iter_rows
from pebr.errors import InputError
from pebr.files import atomic_directory
from pebr.split.settings import Settings

log = logging.getLogger("pebr")

LEVELS = ("easy", "medium", "hard")


def work(settings: Settings) -> dict[str, float]:
    """Write the three datasets; returns their sizes and the histogram of correct answers.

    Raises:
        InputError: no question has an answer, or a question occurs twice.
    """
    samples, order = survey(Path(settings.rollouts))
    questions = ShardedDataset(settings.rollouts)
    histogram: Counter[int] = Counter()
    with ExitStack() as stack:
        writers = {}
        for level in LEVELS:
            directory = stack.enter_context(atomic_directory(getattr(settings, level)))
            writers[level] = stack.enter_context(ShardWriter(directory, SPLIT_SCHEMA, "split"))
        for index in order:
            row = questions[index]
            responses = row["responses"]
            if len(responses) < samples:
                reason = f"{len(responses)} of {samples} answers: the rollout was cut short"
                writers["hard"].reject(_question(row), reason, "incomplete")
                continue
            correct = sum(response["accuracy"] >= 0.5 for response in responses)
            histogram[correct] += 1
            level = difficulty(correct / samples, settings.easy_at_least, settings.hard_at_most)
            writers[level].write(_question(row) | {"difficulty": level, "correct": correct, "samples": samples})
        counts = dict.fromkeys(LEVELS, 0)
        for correct, rows in histogram.items():
            counts[difficulty(correct / samples, settings.easy_at_least, settings.hard_at_most)] += rows
        for writer in writers.values():
            writer.extra = {"samples": samples, "histogram": {str(k): histogram[k] for k in range(samples + 1)}}
    incomplete = len(order) - sum(counts.values())
    log.info("split: %s, incomplete %d", ", ".join(f"{level} {n}" for level, n in counts.items()), incomplete)
    metrics: dict[str, float] = {**counts, "incomplete": incomplete, "samples": samples}
    return metrics | {f"correct/{k}": histogram[k] for k in range(samples + 1)}


def survey(rollouts: Path) -> tuple[int, list[int]]:
    """The number of answers of a complete question (the maximum over all), and the row numbers sorted by question id.

    Raises:
        InputError: no question has an answer, or an id occurs twice.
    """
    ids: list[str] = []
    samples = 0
    for row in iter_rows(rollouts, columns=["qid", "responses"]):
        ids.append(row["qid"])
        samples = max(samples, len(row["responses"]))
    if not samples:
        raise InputError(f"{rollouts}: no question has an answer: run the rollout step on a dataset that has questions")
    order = sorted(range(len(ids)), key=ids.__getitem__)
    for first, second in pairwise(order):
        if ids[first] == ids[second]:
            raise InputError(f"{rollouts}: question {ids[first]} occurs twice: run the rollout step again")
    return samples, order


def difficulty(share: float, easy_at_least: float, hard_at_most: float) -> str:
    """The level of a question with this share of correct answers.

    >>> [difficulty(k / 8, 1.0, 0.0) for k in (0, 1, 7, 8)]
    ['hard', 'medium', 'medium', 'easy']
    """
    if share >= easy_at_least:
        return "easy"
    return "hard" if share <= hard_at_most else "medium"


def _question(row: Row) -> Row:
    return {name: row[name] for name in RL_SCHEMA.names}
