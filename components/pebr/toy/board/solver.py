"""Questions about a board as data, and a solver that answers them from facts: those of the image, or of a description.

A question names a cell and leads from it to others: the shape in a cell says in which direction the next cell lies
(`pebr.toy.board.scenes.WAYS`). Each hop needs the fact of its cell. `measures` answers a question from what a model has
written down itself: the solver cannot see, so its accuracy ("oracle accuracy") says whether the description holds the
facts, apart from whether the model's reasoning uses them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pebr.toy.board.scenes import CELLS, Fact, next_cell
from pebr.toy.scenes import COLOURS, SHAPES

_FACT = re.compile(rf"\b({'|'.join(CELLS)}) ({'|'.join(COLOURS)})[ -]({'|'.join(SHAPES)})\b")


@dataclass(frozen=True)
class Question:
    """Where the chain of hops starts, and how many facts it needs; the answer is the object of the last."""

    start: str  # a cell
    hops: int = 1  # facts: one more than moves from cell to cell

    @property
    def text(self) -> str:
        """The question in words. Its start is in capitals, so that it is not taken for a part of a description.

        >>> Question("bf").text, Question("bf", 3).text
        ('What is at BF?', 'What is 2 moves from BF?')
        """
        where = "at" if self.hops == 1 else "1 move from" if self.hops == 2 else f"{self.hops - 1} moves from"
        return f"What is {where} {self.start.upper()}?"


def follow(question: Question, facts: Sequence[Fact]) -> tuple[list[Fact], str]:
    """The facts that a chain of hops leads through, and the cell of the next hop that is not known ("" if all are).

    A cell is not known if no fact, or more than one, is of it: contradictions answer nothing.

    >>> follow(Question("af", 2), [Fact("af", "red", "cross"), Fact("ag", "blue", "cross")])[0][-1].cell
    'ag'
    >>> follow(Question("af", 2), [Fact("af", "red", "cross")])[1]
    'ag'
    """
    chain: list[Fact] = []
    for _ in range(question.hops):
        cell = next_cell(chain[-1]) if chain else question.start
        fitting = [fact for fact in facts if fact.cell == cell]
        if len(fitting) != 1:
            return chain, cell
        chain += fitting
    return chain, ""


def answer(question: Question, facts: Sequence[Fact]) -> str:
    """The answer that follows from the facts; "" if they do not tell.

    >>> answer(Question("bg"), [Fact("bg", "red", "cross")])
    'red-cross'
    """
    chain, missing = follow(question, facts)
    return "" if missing else chain[-1].object


def facts_in(text: str) -> tuple[Fact, ...]:
    """The distinct facts that a description states, right or wrong, in its order.

    >>> [fact.phrase for fact in facts_in("The board has af red-cross, zz blue-circle, BG blue circle.")]
    ['af red-cross', 'bg blue-circle']
    """
    return tuple(dict.fromkeys(Fact(*found) for found in _FACT.findall(" ".join(text.casefold().split()))))


def column(question: Question, facts: Sequence[Fact]) -> str:
    """The cell of a benchmark's column `board`: the question and the image's facts, as JSON."""
    return json.dumps({"start": question.start, "hops": question.hops, "facts": [fact.phrase for fact in facts]})


def measures(cell: str, description: str) -> dict[str, float]:
    """How well a description tells what the image shows, for a cell of column `board`.

    Returns:
        oracle: 1 if the solver gives the right answer from the description, else 0.
        described: the share of the image's objects that the description states rightly.
        stated_right: the share of the description's facts that are right; left out if it states none.

    Raises:
        ValueError, LookupError, TypeError: the cell is not of this form.
    """
    made = json.loads(cell)
    question = Question(str(made["start"]), int(made["hops"]))
    if not 1 <= question.hops <= len(CELLS):
        raise ValueError(f"{question.hops} hops")
    shown, stated = facts_in(", ".join(map(str, made["facts"]))), facts_in(description)
    if not (wanted := answer(question, shown)):
        raise ValueError("no answer")
    right = len(set(shown) & set(stated))
    found = {"oracle": float(answer(question, stated) == wanted), "described": right / len(shown)}
    return found | ({"stated_right": right / len(stated)} if stated else {})
