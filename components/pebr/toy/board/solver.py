"""Questions about a board as data, and a solver that answers them from facts: those of the image, or of a description.

A question names one object, by its cell or by its colour and shape, and leads from it to others, hop after hop: to the
object with the same shape in another colour, or to the one beside it. Each hop needs one fact. `measures` answers it
from what a model has written down itself: the solver cannot see, so its accuracy ("oracle accuracy") says whether the
description holds the facts, apart from whether the model's reasoning uses them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pebr.toy.board.scenes import CELLS, STEPS, Fact, neighbour
from pebr.toy.scenes import COLOURS, SHAPES

_FACT = re.compile(rf"\b({'|'.join(CELLS)}) ({'|'.join(COLOURS)})[ -]({'|'.join(SHAPES)})\b")


@dataclass(frozen=True)
class Question:
    """Where the chain of hops starts, and the further hops."""

    start: str  # a cell, or an object such as "red-cross"
    hops: tuple[str, ...] = ()  # a colour (the object in it, with the same shape), or a direction of `STEPS`

    @property
    def asks_place(self) -> bool:
        """Whether the answer is a cell: the last object is named by colour and shape. Else the answer is an object."""
        return (self.hops[-1] in COLOURS) if self.hops else (self.start not in CELLS)

    @property
    def text(self) -> str:
        """The question in words. Its start is in capitals, so that it is not taken for a part of a description.

        >>> Question("bf", ("red", "below")).text
        'What is below the Red one with the shape of BF?'
        >>> Question("red-cross", ("below", "blue")).text
        'Where is the Blue one with the shape of what is below the RED-CROSS?'
        """
        named = self.start.upper() if self.start in CELLS else f"the {self.start.upper()}"
        for place, hop in enumerate(self.hops):
            if hop in COLOURS:
                named = f"the {hop.capitalize()} one with the shape of {named}"
            else:
                named = f"{hop} {named}" if place == len(self.hops) - 1 else f"what is {hop} {named}"
        lead = "Where is" if self.asks_place else "What is" if self.hops else "What is at"
        return f"{lead} {named}?"

    @property
    def needs(self) -> tuple[str, ...]:
        """The start and the hops: one fact is needed for each."""
        return (self.start, *self.hops)


def follow(question: Question, facts: Sequence[Fact]) -> tuple[list[Fact], str]:
    """The facts that a chain of hops leads through, and what is missing for the next hop ("" if nothing is).

    A fact is missing if none, or more than one, fits: contradictions answer nothing.

    >>> follow(Question("af", ("blue",)), [Fact("af", "red", "cross"), Fact("bg", "blue", "cross")])[0][-1].cell
    'bg'
    >>> follow(Question("af", ("blue",)), [Fact("af", "red", "cross")])[1]
    'blue-cross'
    """
    chain: list[Fact] = []
    for hop in question.needs:
        if hop in STEPS:
            wanted = neighbour(chain[-1].cell, hop) or "nothing"
        else:
            wanted = f"{hop}-{chain[-1].shape}" if hop in COLOURS else hop
        fitting = [fact for fact in facts if wanted in (fact.cell, fact.object)]
        if len(fitting) != 1:
            return chain, wanted
        chain += fitting
    return chain, ""


def answer(question: Question, facts: Sequence[Fact]) -> str:
    """The answer that follows from the facts; "" if they do not tell.

    >>> answer(Question("red-cross"), [Fact("bg", "red", "cross")])
    'bg'
    """
    chain, missing = follow(question, facts)
    return "" if missing else chain[-1].cell if question.asks_place else chain[-1].object


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
    question = Question(str(made["start"]), tuple(map(str, made["hops"])))
    shown, stated = facts_in(", ".join(map(str, made["facts"]))), facts_in(description)
    if not shown:
        raise ValueError("no facts")
    right = len(set(shown) & set(stated))
    found = {"oracle": float(answer(question, stated) == answer(question, shown)), "described": right / len(shown)}
    return found | ({"stated_right": right / len(stated)} if stated else {})
