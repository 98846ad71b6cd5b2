"""The images of the toy data: groups of coloured shapes in the corners of a grid, and small bar charts.

An image has 112 x 112 px, 4 x 4 cells of 28 px. A Qwen2.5-VL vision tower (patch 14, merge 2) turns one cell into one
token. A scene has everything that a question can ask about; drawing only adds a jitter of some pixels.
"""

import random
from dataclasses import dataclass

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

    @property
    def phrase(self) -> str:
        """The group in words.

        >>> Group(2, "red", "cross", "top left").phrase
        '2 red crosses'
        """
        plural = "" if self.count == 1 else "es" if self.shape.endswith("s") else "s"
        return f"{self.count} {self.colour} {self.shape}{plural}"


@dataclass(frozen=True)
class Bar:
    """One bar of a chart; its value is its height in units."""

    colour: str
    value: int

    @property
    def phrase(self) -> str:
        """The bar in words."""
        return f"{self.colour} {self.value}"


@dataclass(frozen=True)
class ShapeScene:
    """Two or three groups in reading order, all of different colours and in different corners."""

    groups: tuple[Group, ...]

    @property
    def description(self) -> str:
        """The full description of the image."""
        return "The picture shows " + ", ".join(f"{group.corner} {group.phrase}" for group in self.groups) + "."

    @property
    def key_words(self) -> tuple[str, ...]:
        """The phrases that a right description contains."""
        return tuple(group.phrase for group in self.groups)

    @property
    def glimpse(self) -> "ShapeScene":
        """The scene as a careless teacher describes it: the first group only."""
        return ShapeScene(self.groups[:1])

    def draw(self, jitter: random.Random) -> Image.Image:
        """Draw the image; `jitter` moves each shape by at most one pixel per axis and varies its radius by 2 px."""
        image, pen = _canvas()
        for group in self.groups:
            column, row = 2 * (CORNERS.index(group.corner) % 2), 2 * (CORNERS.index(group.corner) // 2)
            for place in range(group.count):
                centre_x = (column + place % 2) * CELL + CELL // 2 + jitter.randint(-1, 1)
                centre_y = (row + place // 2) * CELL + CELL // 2 + jitter.randint(-1, 1)
                _draw_shape(pen, group.shape, COLOURS[group.colour], centre_x, centre_y, jitter.randint(10, 12))
        return image


@dataclass(frozen=True)
class BarScene:
    """Three or four bars of different colours, from left to right."""

    bars: tuple[Bar, ...]

    @property
    def description(self) -> str:
        """The full description of the image."""
        return "The chart has the bars " + ", ".join(bar.phrase for bar in self.bars) + "."

    @property
    def key_words(self) -> tuple[str, ...]:
        """The phrases that a right description contains."""
        return tuple(bar.phrase for bar in self.bars)

    @property
    def glimpse(self) -> "BarScene":
        """The scene as a careless teacher describes it: the first bar only."""
        return BarScene(self.bars[:1])

    def draw(self, jitter: random.Random) -> Image.Image:
        """Draw the image; `jitter` moves each bar by at most one pixel."""
        image, pen = _canvas()
        for i, bar in enumerate(self.bars):
            left = i * CELL + 5 + jitter.randint(-1, 1)
            top = SIDE - 4 - bar.value * UNIT
            pen.rectangle((left, top, left + CELL - 11, SIDE - 4), fill=COLOURS[bar.colour])
        pen.line((0, SIDE - 3, SIDE, SIDE - 3), fill=(90, 90, 90), width=2)
        return image


Scene = ShapeScene | BarScene


def shape_scene(draw: random.Random) -> ShapeScene:
    """A random scene of shapes."""
    size = draw.choice((2, 3))
    corners = sorted(draw.sample(range(len(CORNERS)), size))
    colours = draw.sample(sorted(COLOURS), size)
    return ShapeScene(
        tuple(
            Group(draw.randint(1, MOST_SHAPES), colour, draw.choice(SHAPES), CORNERS[corner])
            for corner, colour in zip(corners, colours, strict=True)
        )
    )


def bar_scene(draw: random.Random) -> BarScene:
    """A random bar chart."""
    colours = draw.sample(sorted(COLOURS), draw.choice((3, 4)))
    return BarScene(tuple(Bar(colour, draw.randint(1, HIGHEST_BAR)) for colour in colours))


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (SIDE, SIDE), (250, 250, 250))
    return image, ImageDraw.Draw(image)


def _draw_shape(
    pen: ImageDraw.ImageDraw, shape: str, colour: tuple[int, int, int], x: int, y: int, radius: int
) -> None:
    """Draw one shape centred at (x, y); `radius` is its half width in px."""
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    else:  # a cross of two beams
        pen.rectangle((x - radius, y - 3, x + radius, y + 3), fill=colour)
        pen.rectangle((x - 3, y - radius, x + 3, y + radius), fill=colour)
