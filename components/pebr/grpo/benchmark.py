"""Validations on a named benchmark: a fixed part of its rows as questions, and its own rule as the reward.

The rule, the question's text and the lenient reading of answers are those of an evaluation, so the last validation on a
whole benchmark has the accuracy that the evaluation reports.
"""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pebr.benchmarks.rules import question_text
from pebr.benchmarks.scoring import correct, key_words
from pebr.data.benchmark import BenchmarkRow, read_tsv, tables
from pebr.data.readers import Fault
from pebr.errors import InputError
from pebr.grpo.questions import QuestionRow
from pebr.grpo.settings import Settings
from pebr.rewards.batch import RewardBatch
from pebr.rewards.stages import BUILT_IN, StageReward
from pebr.training.validation import fixed_part
from pebr.vlm.admission import prompt_tokens
from pebr.vlm.encoding import Encoder
from pebr.vlm.reading import read_answer

log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """The rows of a benchmark that validations ask, also as questions."""

    name: str
    rows: list[BenchmarkRow]
    questions: list[QuestionRow]


def table_of(settings: Settings) -> Path:
    """The table of the benchmark that is validated on.

    Raises:
        InputError: there is no such table.
    """
    found = tables(Path(settings.benchmarks))
    if settings.validate_on not in found:
        raise InputError(
            f"{settings.benchmarks}: no {settings.validate_on}.tsv here: --validate-on takes one of {', '.join(found)}"
        )
    return found[settings.validate_on]


def asked_rows(settings: Settings, encoder: Encoder) -> Asked:
    """The rows that validations ask: `validation_questions` of those that can be asked, by a digest of their index.

    The table is read twice, so that no more images are in memory than are asked.

    Raises:
        InputError: there is no such table, or none of its rows can be asked.
    """
    table, faults = table_of(settings), Counter[str]()
    indexes = []
    for row in read_tsv(table):
        if fault := row.fault or _too_long(row, encoder, settings.max_prompt_tokens):
            faults[fault.kind] += 1
        else:
            indexes.append(row.index)
    if faults:
        reasons = ", ".join(f"{count} {kind}" for kind, count in faults.most_common())
        log.warning("validation on %s: rows that are not asked: %s", settings.validate_on, reasons)
    if not indexes:
        raise InputError(f"{table}: no row can be asked ({dict(faults) or 'it is empty'}): see --max-prompt-tokens")
    wanted = {indexes[place] for place in fixed_part(indexes, settings.validation_questions)}
    rows = [row for row in read_tsv(table) if not row.fault and row.index in wanted]
    log.info("validation: %d of %d rows of %s", len(rows), len(indexes), settings.validate_on)
    return Asked(settings.validate_on, rows, [_question(row) for row in rows])


def rule_reward(asked: Asked, training: StageReward) -> StageReward:
    """The reward of validations: accuracy by the benchmark's rule.

    The built-in components of the training's reward are measured beside it, with weight 0, as far as the rows have what
    they need: keywords, and an image for CLIP.
    """
    by_index = {row.index: row for row in asked.rows}

    def accuracy(batch: RewardBatch) -> list[float]:
        given = [read_answer(response).text for response in batch.responses]
        return correct(asked.name, [by_index[qid] for qid in batch.qids], given, training.checker)

    missing = {
        "keyword": not all(map(key_words, asked.rows)),
        "clip": not all(row.images for row in asked.rows),
    }
    beside = {
        name: (0.0, component)
        for name, (_, component) in training.components.items()
        if name in BUILT_IN and not missing.get(name)
    }
    components = beside | {"accuracy": (1.0, accuracy)}
    return replace(
        training,
        components=components,
        scorer=training.scorer if "clip" in components else None,
        by_sample=(training.by_sample & components.keys()) | {"accuracy"},
    )


def _too_long(row: BenchmarkRow, encoder: Encoder, limit: int) -> Fault | None:
    tokens = prompt_tokens(question_text(row), row.images, encoder, limit)
    return tokens if isinstance(tokens, Fault) else None


def _question(row: BenchmarkRow) -> QuestionRow:
    """A row of a benchmark as a row of a dataset of questions."""
    return {
        "qid": row.index,
        "problem": question_text(row),
        "answer": row.answer,
        "key_words": key_words(row),
        "images": [{"bytes": image, "path": ""} for image in row.images],
        "extra": "",
    }
