"""A handful of held-out questions with what each model answered, chosen by rule and not by hand.

Most are questions that the warm-up got wrong and stage 2 right; one is the other way round, and one is still wrong,
where there are such: a reader shall see what was lost too. Which of a kind are shown, the seed decides.
"""

import base64
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pebr.data.images import decode
from pebr.report.findings import Model
from pebr.vlm.response import Problem, parse

SIDE = 448  # pixels that a picture is shrunk to, at most
VERDICTS = {
    (False, True): "learned",
    (True, False): "lost",
    (False, False): "still wrong",
    (True, True): "right before and after",
}


@dataclass(frozen=True)
class Answer:
    """What one model said."""

    model: str
    style: str
    response: str
    given: str
    correct: bool

    @property
    def lines(self) -> list[tuple[str, bool]]:
        """The response's lines, and whether each begins a section."""
        return [(line, _begins_section(line)) for line in self.response.splitlines()]


@dataclass(frozen=True)
class Example:
    """One question: its picture as a data URI, and every model's answer."""

    question: str
    reference: str
    category: str
    picture: str
    verdict: str
    answers: list[Answer]


def choose(models: Sequence[Model], count: int, seed: int) -> list[Example]:
    """The examples to show, what was learned first.

    Args:
        models: warm-up, stage 1, stage 2, and more.
        count: how many.
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
    """(benchmark, question) -> whether the first answer is right."""
    outcomes: dict[tuple[str, str], bool] = {}
    for row in model.rows(["benchmark", "qid", "correct"]):
        outcomes.setdefault((row["benchmark"], row["qid"]), row["correct"] >= 0.5)
    return outcomes


def _varied(keys: Sequence[tuple[str, str]], model: Model) -> list[tuple[str, str]]:
    """The keys in an order that shows every category once before any twice."""
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


def _rows(model: Model, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The wanted rows of a model's answers, the first of each question."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in model.rows():
        key = (row["benchmark"], row["qid"])
        if key in wanted:
            rows.setdefault(key, row)
    return rows


def _example(models: Sequence[Model], rows: Sequence[dict[str, Any]]) -> Example:
    answers = [
        Answer(model.name, model.style, row["response"], row["given"], row["correct"] >= 0.5)
        for model, row in zip(models, rows, strict=True)
    ]
    first = rows[0]
    return Example(
        question=first["question"].replace("<image>", "").strip(),
        reference=first["answer"],
        category=first["category"],
        picture=_data_uri(first["images"][0]["bytes"]) if first["images"] else "",
        verdict=VERDICTS[answers[0].correct, answers[2].correct],
        answers=answers,
    )


def _begins_section(line: str) -> bool:
    return bool(line.strip()) and Problem.TEXT_BEFORE not in parse(line).problems


def _data_uri(data: bytes) -> str:
    """A picture as a PNG in the page itself, shrunk where it is large."""
    image = decode(data)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
