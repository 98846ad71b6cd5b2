"""The images of the toy data: groups of coloured shapes in the corners of a grid, and small bar charts.

An image has 112 x 112 px, 4 x 4 cells of 28 px. A Qwen2.5-VL vision tower (patch 14, merge 2) turns one cell into one
token. A scene has everything that a question can ask about; drawing only adds a jitter of some pixels.
"""

import random
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from PIL import Image, ImageDraw

SIDE = 112  # px
CELL = 28  # px
UNIT = 16  # px of height per unit of a bar

COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 160, 40),
    "blue": (20, 60, 220),
    "yellow": (245, 210, 0),
    "purple": (160, 30, 190),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "cross")
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
MOST_SHAPES = 4  # in one corner
HIGHEST_BAR = 6  # units


@dataclass(frozen=True)
class Group:
    """Equal shapes in one corner of the grid; they fill its cells in reading order."""

    count: int
    colour: str
    shape: str
    corner: str
    lead: ClassVar = "The picture shows"  # begins the description of a scene

    @property
    def phrase(self) -> str:
        """The group in words.

        >>> Group(2, "red", "cross", "top left").phrase
        '2 red crosses'
        """
        plural = "" if self.count == 1 else "es" if self.shape.endswith("s") else "s"
        return f"{self.count} {self.colour} {self.shape}{plural}"

    @property
    def mention(self) -> str:
        """The corner and the group in words."""
        return f"{self.corner} {self.phrase}"

    def draw(self, pen: ImageDraw.ImageDraw, place: int, jitter: random.Random) -> None:
        """Draw the shapes; `jitter` moves each by at most one pixel per axis and varies its radius by 2 px."""
        column, row = 2 * (CORNERS.index(self.corner) % 2), 2 * (CORNERS.index(self.corner) // 2)
        for cell in range(self.count):
            x = (column + cell % 2) * CELL + CELL // 2 + jitter.randint(-1, 1)
            y = (row + cell // 2) * CELL + CELL // 2 + jitter.randint(-1, 1)
            radius = jitter.randint(10, 12)  # half the width in px
            draw_shape(pen, self.shape, self.colour, (x, y), radius)


@dataclass(frozen=True)
class Bar:
    """One bar of a chart; its value is its height in units."""

    colour: str
    value: int
    lead: ClassVar = "The chart has the bars"

    @property
    def phrase(self) -> str:
        """The bar in words."""
        return f"{self.colour} {self.value}"

    mention = phrase

    def draw(self, pen: ImageDraw.ImageDraw, place: int, jitter: random.Random) -> None:
        """Draw the bar and the axis; `jitter` moves the bar by at most one pixel."""
        left = place * CELL + 5 + jitter.randint(-1, 1)
        top = SIDE - 4 - self.value * UNIT
        pen.rectangle((left, top, left + CELL - 11, SIDE - 4), fill=COLOURS[self.colour])
        pen.line((0, SIDE - 3, SIDE, SIDE - 3), fill=(90, 90, 90), width=2)


Part = TypeVar("Part", Group, Bar)


@dataclass(frozen=True)
class Scene(Generic[Part]):
    """What an image shows: groups in reading order, or bars from left to right."""

    parts: tuple[Part, ...]

    @property
    def description(self) -> str:
        """The full description of the image."""
        return f"{self.parts[0].lead} {', '.join(part.mention for part in self.parts)}."

    @property
    def key_words(self) -> tuple[str, ...]:
        """The phrases that a right description contains."""
        return tuple(part.phrase for part in self.parts)

    def draw(self, jitter: random.Random) -> Image.Image:
        """Draw the image."""
        image = Image.new("RGB", (SIDE, SIDE), (250, 250, 250))
        pen = ImageDraw.Draw(image)
        for place, part in enumerate(self.parts):
            part.draw(pen, place, jitter)
        return image


def draw_shape(pen: ImageDraw.ImageDraw, shape: str, colour: str, centre: tuple[int, int], radius: int) -> None:
    """Draw a shape around its centre; `radius` is half its width in px."""
    x, y = centre
    box = (x - radius, y - radius, x + radius, y + radius)
    fill = COLOURS[colour]
    if shape == "circle":
        pen.ellipse(box, fill=fill)
    elif shape == "square":
        pen.rectangle(box, fill=fill)
    elif shape == "triangle":
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=fill)
    else:  # a cross of two beams
        pen.rectangle((x - radius, y - 3, x + radius, y + 3), fill=fill)
        pen.rectangle((x - 3, y - radius, x + 3, y + radius), fill=fill)


def shape_scene(draw: random.Random) -> Scene[Group]:
    """Two or three random groups, all of different colours and in different corners."""
    size = draw.choice((2, 3))
    corners = sorted(draw.sample(CORNERS, size), key=CORNERS.index)
    colours = draw.sample(sorted(COLOURS), size)
    pairs = zip(corners, colours, strict=True)
    return Scene(tuple(Group(draw.randint(1, MOST_SHAPES), c, draw.choice(SHAPES), corner) for corner, c in pairs))


def bar_scene(draw: random.Random) -> Scene[Bar]:
    """Three or four random bars of different colours."""
    colours = draw.sample(sorted(COLOURS), draw.choice((3, 4)))
    return Scene(tuple(Bar(colour, draw.randint(1, HIGHEST_BAR)) for colour in colours))
