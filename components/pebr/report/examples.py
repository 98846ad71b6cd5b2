"""Example questions of the held-out data with the answer of each model, chosen by a fixed rule.

Most are questions that the warm-up answered wrong and stage 2 right. If there are such questions, one was right after
the warm-up and is wrong now, and one is still wrong: the reader should also see failures. The seed chooses the
questions of each kind.
"""

import base64
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

from pebr.data.images import decode
from pebr.report.findings import AnswerRow, Model
from pebr.vlm.response import Problem, parse

SIDE = 448  # px; larger images are shrunk
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
        return [(line, _begins_section(line)) for line in self.response.splitlines()]


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
    """Choose the examples to show. Questions that became right come first.

    Args:
        models: warm-up, stage 1, stage 2, and others.
        count: the number of examples.
        seed: of the choice.
    """
    right = [_outcomes(model) for model in models]
    shared = sorted(set.intersection(*(set(outcomes) for outcomes in right)))
    kinds: dict[str, list[tuple[str, str]]] = {verdict: [] for verdict in VERDICTS.values()}
    for key in shared:
        kinds[VERDICTS[right[0][key], right[2][key]]].append(key)
    chance = random.Random(seed)
    for keys in kinds.values():
        chance.shuffle(keys)
    rare = [key for verdict in ("lost", "still wrong") for key in kinds[verdict][:1]][: max(count - 1, 0)]
    rest = _varied(kinds["learned"], models[0]) + kinds["right before and after"]
    chosen = [*rest[: count - len(rare)], *rare]
    rows = [_rows(model, set(chosen)) for model in models]
    return [_example(models, [of_model[key] for of_model in rows]) for key in chosen]


def _outcomes(model: Model) -> dict[tuple[str, str], bool]:
    """(benchmark, question id) -> whether the first answer is right."""
    outcomes: dict[tuple[str, str], bool] = {}
    for row in model.rows(["benchmark", "qid", "correct"]):
        outcomes.setdefault((row["benchmark"], row["qid"]), row["correct"] >= 0.5)
    return outcomes


def _varied(keys: Sequence[tuple[str, str]], model: Model) -> list[tuple[str, str]]:
    """Reorder the keys so that every category occurs once before any occurs twice."""
    wanted = set(keys)
    category = {
        (row["benchmark"], row["qid"]): row["category"]
        for row in model.rows(["benchmark", "qid", "category"])
        if (row["benchmark"], row["qid"]) in wanted
    }
    seen: dict[str, int] = {}
    rounds = []
    for key in keys:
        seen[category[key]] = seen.get(category[key], 0) + 1
        rounds.append(seen[category[key]])
    return [key for _, key in sorted(zip(rounds, keys, strict=True), key=lambda pair: pair[0])]


def _rows(model: Model, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], AnswerRow]:
    """The first answer of a model to each wanted question."""
    rows: dict[tuple[str, str], AnswerRow] = {}
    for row in model.rows():
        key = (row["benchmark"], row["qid"])
        if key in wanted:
            rows.setdefault(key, row)
    return rows


def _example(models: Sequence[Model], rows: Sequence[AnswerRow]) -> Example:
    answers = [
        Answer(model.name, model.style, row["response"], row["given"], row["correct"] >= 0.5)
        for model, row in zip(models, rows, strict=True)
    ]
    first = rows[0]
    return Example(
        question=first["question"].replace("<image>", "").strip(),
        reference=first["answer"],
        category=first["category"],
        image=_data_uri(first["images"][0]["bytes"]) if first["images"] else "",
        verdict=VERDICTS[answers[0].correct, answers[2].correct],
        answers=answers,
    )


def _begins_section(line: str) -> bool:
    return bool(line.strip()) and Problem.TEXT_BEFORE not in parse(line).problems


def _data_uri(data: bytes) -> str:
    """An image as a PNG data URI, shrunk to at most SIDE px per side."""
    image = decode(data)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
