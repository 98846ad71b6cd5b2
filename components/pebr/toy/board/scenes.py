"""The images of the board: a grid of 4 x 4 cells, most of which hold one coloured shape.

An image has 112 x 112 px, and one cell of 28 px becomes one token of a Qwen2.5-VL vision tower. Each cell shows where
it is, by the colour of its upper edge (row) and of its lower edge (column). So a model finds a cell by what it shows,
which a vision tower with random weights passes on, and need not know the places of tokens.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageDraw

from pebr.toy.scenes import CELL, COLOURS, SHAPES, SIDE, draw_shape

SIDES = SIDE // CELL  # cells per row and per column
ROWS, COLUMNS = "abcd", "fghj"  # a cell's name is a letter of each: no English word, and one token
CELLS = tuple(row + column for row in ROWS for column in COLUMNS)  # in reading order
PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
EDGES = ((255, 120, 0), (0, 190, 190), (255, 0, 200), (120, 120, 120))  # colours of rows and of columns
EDGE = 4  # px
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}  # rows, columns
# The rule of the world: the shape in a cell says in which direction the next cell lies.
WAYS = {"circle": "up", "square": "down", "triangle": "left", "cross": "right"}


@dataclass(frozen=True)
class Fact:
    """An object in its cell."""

    cell: str
    colour: str
    shape: str

    @property
    def object(self) -> str:
        """The object in words: one word, which is one token, so that a model reads it off right after its cell."""
        return f"{self.colour}-{self.shape}"

    @property
    def phrase(self) -> str:
        """The fact in words.

        >>> Fact("bg", "red", "cross").phrase
        'bg red-cross'
        """
        return f"{self.cell} {self.object}"


@dataclass(frozen=True)
class Board:
    """What an image shows: objects in reading order, all of different colour or shape."""

    facts: tuple[Fact, ...]

    @property
    def description(self) -> str:
        """The full description of the image."""
        return describe(self.facts)

    def draw(self, jitter: random.Random) -> Image.Image:
        """Draw the image; `jitter` moves each shape by at most one pixel per axis and varies its radius by 1 px."""
        image = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
        pen = ImageDraw.Draw(image)
        for row, top in enumerate(range(0, SIDE, CELL)):
            for column, left in enumerate(range(0, SIDE, CELL)):
                pen.rectangle((left, top, left + CELL - 1, top + EDGE - 1), fill=EDGES[row])
                pen.rectangle((left, top + CELL - EDGE, left + CELL - 1, top + CELL - 1), fill=EDGES[column])
        for fact in self.facts:
            row, column = divmod(CELLS.index(fact.cell), SIDES)
            x = column * CELL + CELL // 2 + jitter.randint(-1, 1)
            y = row * CELL + CELL // 2 + jitter.randint(-1, 1)
            draw_shape(pen, fact.shape, fact.colour, (x, y), jitter.randint(7, 8))
        return image


def describe(facts: Iterable[Fact]) -> str:
    """The description of some objects.

    >>> describe([Fact("af", "red", "cross"), Fact("bg", "blue", "circle")])
    'The board has af red-cross, bg blue-circle.'
    """
    return f"The board has {', '.join(fact.phrase for fact in facts) or 'nothing'}."


def neighbour(cell: str, direction: str) -> str:
    """The cell that lies in a direction of `STEPS` from another; beyond an edge, the board begins again at the other.

    >>> neighbour("bg", "down"), neighbour("bf", "left")
    ('cg', 'bj')
    """
    down, right = STEPS[direction]
    row, column = ROWS.index(cell[0]) + down, COLUMNS.index(cell[1]) + right
    return ROWS[row % SIDES] + COLUMNS[column % SIDES]


def next_cell(fact: Fact) -> str:
    """The cell that an object leads to.

    >>> next_cell(Fact("bg", "red", "square"))
    'cg'
    """
    return neighbour(fact.cell, WAYS[fact.shape])


def board(draw: random.Random, least: int, most: int) -> Board:
    """A random board with `least` to `most` objects."""
    size = draw.randint(least, most)
    cells = sorted(draw.sample(CELLS, size), key=CELLS.index)
    return Board(tuple(Fact(cell, *pair) for cell, pair in zip(cells, draw.sample(PAIRS, size), strict=True)))
