"""The tiny CLIP of the board: it learns that a description is better the more of the board it tells rightly.

The true caption lists all objects, in 30 % of cases in another order. The other one has one fact changed, or some
objects left out, and its cosine is pulled to its share of the facts. If such captions are contrasted instead, as in
`pebr.toy.clip`, a description of half a board scores less than an empty one.
"""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path

from pebr.toy.board.scenes import CELLS, Board, board, describe
from pebr.toy.board.solver import facts_in
from pebr.toy.board.world import Difficulty, questions
from pebr.toy.clip import Lesson, Shown
from pebr.toy.clip import train_clip as train
from pebr.toy.scenes import COLOURS, SHAPES

STEPS = 600
CONTEXT = 80  # tokens; the longest description has 61
WIDTH = 64
OBJECTS = (2, 14)  # on a board: simple boards teach single facts, and few objects are learnt from first


def train_clip(directory: Path | str, seed: int, steps: int = STEPS) -> Path:
    """Train the model as `pebr.toy.clip` does, on boards."""
    return train(directory, seed, steps, Lesson(questions, show, CONTEXT, WIDTH, worth))


def show(draw: random.Random) -> Shown:
    """A random board."""
    made = board(draw, OBJECTS[0], max(OBJECTS[1], Difficulty().objects[1]))
    return Shown(made.draw, partial(caption, made), partial(wrong_caption, made))


def worth(true: str, other: str) -> float:
    """The facts that two descriptions share, of all facts that either states (Jaccard index)."""
    whole, stated = set(facts_in(true)), set(facts_in(other))
    return len(whole & stated) / len(whole | stated)


def caption(shown: Board, draw: random.Random) -> str:
    """The full description, in 30 % of cases in another order."""
    facts = list(shown.facts)
    if draw.random() < 0.3:
        draw.shuffle(facts)
    return describe(facts)


def wrong_caption(shown: Board, draw: random.Random) -> str:
    """The description with one fact changed, or, in half of the cases, without some of the objects."""
    facts = list(shown.facts)
    if draw.random() < 0.5:
        kept = draw.randrange(len(facts))
        return describe(facts[place] for place in sorted(draw.sample(range(len(facts)), kept)))
    place = draw.randrange(len(facts))
    used = {fact.cell for fact in facts}
    values = {"cell": [cell for cell in CELLS if cell not in used], "colour": list(COLOURS), "shape": list(SHAPES)}
    name = draw.choice([name for name, found in values.items() if found])
    changed = draw.choice([value for value in values[name] if value != getattr(facts[place], name)])
    facts[place] = replace(facts[place], **{name: changed})
    return describe(sorted(facts, key=lambda fact: CELLS.index(fact.cell)))
