"""The questions about boards, with the answers that an inattentive teacher would write.

Everything follows from (seed, split, index), and no image occurs in two splits, as in `pebr.toy.world`.

The teacher of the warm-up data leaves each object out of its description with a known probability. It reasons from its
description alone: a step states the fact that it uses, and where a fact is missing, the step says so and the answer is
a guess. So its answers are right where the description has the facts, and else by chance (1 in 24 objects).
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pebr.errors import InputError
from pebr.toy.board.scenes import CELLS, PAIRS, WAYS, Board, Fact, board, describe, next_cell
from pebr.toy.board.solver import Question, answer, column, follow
from pebr.toy.world import PORTIONS, Asked, Split, ToyQuestion, portion, response_of

LEVELS: tuple[Literal["easy", "medium", "hard"], ...] = ("easy", "medium", "hard")  # by hops: 1, 2, 3
_TEXT = re.compile(r"(objects|hops|left_out)=(\d+(?:\.\d+)?|\.\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Difficulty:
    """What makes a board's questions hard."""

    objects: tuple[int, int] = (8, 14)  # on a board: least, most; 3 at least, as three hops need three
    hops: tuple[int, int] = (1, 3)  # facts that a question needs: least, most
    left_out: float = 0.4  # probability that the teacher leaves an object out of its description

    @classmethod
    def of(cls, text: str) -> "Difficulty":
        """The difficulty that a text states: any of objects, hops and left_out, separated by `&`.

        Raises:
            InputError: it states something else, or a value out of bounds.

        >>> Difficulty.of("objects=6-10&left_out=.5")
        Difficulty(objects=(6, 10), hops=(1, 3), left_out=0.5)
        """
        made = cls()
        for part in filter(None, text.split("&")):
            match = _TEXT.fullmatch(part)
            name, first, last = match.groups() if match else ("", "0", None)
            if name == "left_out" and last is None and float(first) < 1:
                made = replace(made, left_out=float(first))
            elif name in ("objects", "hops") and first.isdigit():
                least, most = int(first), int(last or first)
                bounds = (3, len(CELLS)) if name == "objects" else (1, 3)
                if bounds[0] <= least <= most <= bounds[1]:
                    made = (
                        replace(made, objects=(least, most)) if name == "objects" else replace(made, hops=(least, most))
                    )
                    continue
                raise InputError(f"{part}: give {name} from {bounds[0]} to {bounds[1]}, such as {name}={bounds[1]}")
            else:
                raise InputError(f"{part}: give objects=8-14, hops=1-3 or left_out=0.4 (below 1), separated by &")
        return made


def questions(
    seed: int, rows: int, split: Split, first: int = 0, difficulty: Difficulty | None = None
) -> Iterator[ToyQuestion]:
    """The `rows` questions of a split from index `first` on; the kinds take turns."""
    for index in range(first, first + rows):
        yield question(seed, split, index, difficulty or Difficulty())


def question(seed: int, split: Split, index: int, difficulty: Difficulty) -> ToyQuestion:
    """The question at index `index` of a split."""
    draw = random.Random(f"board/{seed}/{split}/{index}")
    least, most = difficulty.hops
    hops = least + index % (most - least + 1)
    shown = board(draw, *difficulty.objects)
    while portion(shown.description) not in PORTIONS[split] or (asked := _asked(shown, hops, draw)) is None:
        shown = board(draw, *difficulty.objects)
    habit = random.Random(f"board/{seed}/{split}/{index}/teacher")
    return ToyQuestion(
        qid=f"board-{split}-{seed}-{index:06d}",
        kind=f"{hops} hop{'s' * (hops > 1)}",
        difficulty=LEVELS[hops - 1],
        image=shown.draw(draw),
        problem=f"<image>{asked.text}",
        answer=answer(asked, shown.facts),
        description=shown.description,
        key_words=tuple(fact.phrase for fact in shown.facts),
        response=_solved(asked, shown, habit),
        taught=_solved(asked, _glimpse(shown, difficulty.left_out, habit), habit),
        board=column(asked, shown.facts),
    )


def _asked(shown: Board, hops: int, draw: random.Random) -> Question | None:
    """A question of so many hops that the board answers, leading through different objects; None if there is none."""
    found = [Question(fact.cell, hops) for fact in shown.facts]
    chains = [follow(made, shown.facts) for made in found]
    fitting = [
        made for made, (chain, missing) in zip(found, chains, strict=True) if not missing and len(set(chain)) == hops
    ]
    return draw.choice(fitting) if fitting else None


def _glimpse(shown: Board, left_out: float, habit: random.Random) -> Board:
    """The board without the objects that the teacher leaves out."""
    return Board(tuple(fact for fact in shown.facts if habit.random() >= left_out))


def _solved(asked: Question, seen: Board, habit: random.Random) -> str:
    """The response of a teacher who knows what is in its description; where that does not do, it guesses."""
    steps = steps_of(asked, seen.facts)
    guess = "-".join(habit.choice(PAIRS))
    made = Asked(asked.text, answer(asked, seen.facts) or guess, "Look up the facts.", steps)
    return response_of(describe(seen.facts), made, before_answer=" ")  # every word has a space before it: one token


def steps_of(asked: Question, facts: Sequence[Fact]) -> tuple[str, ...]:
    """The steps of a solution: each states the fact of a cell, or that it is unknown, and where its shape leads.

    >>> steps_of(Question("af", 2), [Fact("af", "red", "square")])
    ('See af red-square down bf.', 'See bf unknown.')
    """
    chain, missing = follow(asked, facts)
    steps = [f"See {fact.phrase} {WAYS[fact.shape]} {next_cell(fact)}." for fact in chain[: asked.hops - 1]]
    return (*steps, f"See {missing} unknown." if missing else f"See {chain[-1].phrase}.")
