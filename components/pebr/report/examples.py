"""Example questions of the held-out data with the answer of each model, chosen by a fixed rule.

Most are questions that the warm-up answered wrong and stage 2 right. If there are such questions, one was right after
the warm-up and is wrong now, and one is still wrong: the reader should also see failures. The seed chooses the
questions of each kind.
"""

import random
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass

from pebr.data.images import data_uri
from pebr.report.findings import AnswerRow, Model
from pebr.vlm.response import Problem, parse

Key = tuple[str, str]  # benchmark, question id
VERDICTS = {
    (False, True): "learned",
    (True, False): "lost",
    (False, False): "still wrong",
    (True, True): "right before and after",
}


@dataclass(frozen=True)
class Answer:
    """The answer of one model."""

    model: str
    style: str
    response: str
    given: str  # the final answer in the response
    correct: bool

    @property
    def lines(self) -> list[tuple[str, bool]]:
        """The lines of the response; True for a line that begins a section."""
        return [
            (line, bool(line.strip()) and Problem.TEXT_BEFORE not in parse(line).problems)
            for line in self.response.splitlines()
        ]


@dataclass(frozen=True)
class Example:
    """One question, its image as a data URI, and the answer of each model."""

    question: str
    reference: str
    category: str
    image: str  # data URI
    verdict: str
    answers: list[Answer]


def choose(models: Sequence[Model], count: int, seed: int) -> list[Example]:
    """Choose `count` examples to show. Questions that became right come first.

    `models` are the warm-up, stage 1, stage 2, and others.
    """
    outcomes = [_first_answers(model, ["benchmark", "qid", "correct"]) for model in models]
    kinds: dict[str, list[Key]] = {verdict: [] for verdict in VERDICTS.values()}
    for key in sorted(set.intersection(*map(set, outcomes))):
        kinds[_verdict(outcomes[0][key], outcomes[2][key])].append(key)
    chance = random.Random(seed)
    for keys in kinds.values():
        chance.shuffle(keys)
    rare = [key for verdict in ("lost", "still wrong") for key in kinds[verdict][:1]][: max(count - 1, 0)]
    rest = _varied(kinds["learned"], models[0]) + kinds["right before and after"]
    chosen = [*rest[: count - len(rare)], *rare]
    rows = [_first_answers(model, wanted=set(chosen)) for model in models]
    return [_example(models, [of_model[key] for of_model in rows]) for key in chosen]


def _first_answers(
    model: Model, columns: Sequence[str] | None = None, wanted: Container[Key] | None = None
) -> dict[Key, AnswerRow]:
    """The first answer of a model to each question, or to each wanted question."""
    answers: dict[Key, AnswerRow] = {}
    for row in model.rows(columns):
        key = (row["benchmark"], row["qid"])
        if wanted is None or key in wanted:
            answers.setdefault(key, row)
    return answers


def _verdict(before: AnswerRow, after: AnswerRow) -> str:
    return VERDICTS[before["correct"] >= 0.5, after["correct"] >= 0.5]


def _varied(keys: Sequence[Key], model: Model) -> list[Key]:
    """Reorder the keys so that every category occurs once before any occurs twice."""
    rows = _first_answers(model, ["benchmark", "qid", "category"], set(keys))
    seen: Counter[str] = Counter()
    rounds = {}
    for key in keys:
        rounds[key] = seen[rows[key]["category"]]
        seen[rows[key]["category"]] += 1
    return sorted(keys, key=rounds.__getitem__)


def _example(models: Sequence[Model], rows: Sequence[AnswerRow]) -> Example:
    first = rows[0]
    return Example(
        question=first["question"].replace("<image>", "").strip(),
        reference=first["answer"],
        category=first["category"],
        image=data_uri(first["images"][0]["bytes"]) if first["images"] else "",
        verdict=_verdict(first, rows[2]),
        answers=[
            Answer(model.name, model.style, row["response"], row["given"], row["correct"] >= 0.5)
            for model, row in zip(models, rows, strict=True)
        ],
    )
