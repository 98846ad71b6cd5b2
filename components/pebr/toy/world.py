"""The questions of the toy data, from easy to hard, each with the answer that a teacher would write.

Everything follows from (seed, split, index): each question can be made again on its own, and the same seed gives the
same bytes. A hash of the scene decides its split, so no image occurs in two splits, whatever the seeds.

The teacher of the warm-up data makes two kinds of errors, as large sets of model-written answers do: some descriptions
mention only one object, and some answers to questions of medium or hard difficulty are guesses. The warm-up learns both
habits. Perception rewards should remove the first, accuracy rewards the second. The easy questions of stage 1 are never
guessed, so stage 1 cannot remove the second.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from PIL import Image

from pebr.toy.scenes import CORNERS, HIGHEST_BAR, MOST_SHAPES, Bar, Group, Scene, bar_scene, shape_scene

Split = Literal["sft", "rl", "test"]
HASTY_DESCRIPTIONS, GUESSES = 0.25, 0.5  # shares: of all descriptions; of answers to medium and hard questions
PORTIONS: dict[Split, range] = {"sft": range(9), "rl": range(9, 14), "test": range(14, 16)}  # sixteenths of all scenes


@dataclass(frozen=True)
class ToyQuestion:
    """A question about one image, with the fields of all public formats."""

    qid: str
    kind: str
    difficulty: Literal["easy", "medium", "hard"]  # by design; rollouts measure the difficulty for a model
    image: Image.Image  # RGB, 112 x 112 px
    problem: str  # with `<image>`
    answer: str
    description: str
    key_words: tuple[str, ...]
    response: str  # the structured answer of a careful teacher
    taught: str  # the answer in the warm-up data, which has the teacher's errors
    board: str = ""  # of the board: the question and the image's facts as data, see `pebr.toy.board.solver`


class Asked(NamedTuple):
    """The texts of a question and its answer."""

    question: str
    answer: str
    rationale: str
    steps: tuple[str, ...]
    guesses: tuple[str, ...] = ()  # possible guesses of the teacher; () if the question is easy


def questions(seed: int, rows: int, split: Split, first: int = 0) -> Iterator[ToyQuestion]:
    """The `rows` questions of a split from index `first` on; the kinds take turns."""
    for index in range(first, first + rows):
        yield question(seed, split, index)


def question(seed: int, split: Split, index: int) -> ToyQuestion:
    """The question at index `index` of a split."""
    draw = random.Random(f"{seed}/{split}/{index}")
    kind = _KINDS[index % len(_KINDS)]
    scene = kind.scene(draw)
    while (asked := kind.ask(scene, draw)) is None or portion(scene.description) not in PORTIONS[split]:
        scene = kind.scene(draw)
    return ToyQuestion(
        qid=f"toy-{split}-{seed}-{index:06d}",
        kind=kind.name,
        difficulty=kind.difficulty,
        image=scene.draw(draw),
        problem="<image>" + asked.question,
        answer=asked.answer,
        description=scene.description,
        key_words=scene.key_words,
        response=response_of(scene.description, asked),
        taught=_taught(scene, asked, random.Random(f"{seed}/{split}/{index}/teacher")),
    )


def _taught(scene: Scene[Any], asked: Asked, habit: random.Random) -> str:
    """The response in the warm-up data: its description may be incomplete, its answer may be a guess."""
    seen = Scene(scene.parts[:1]) if habit.random() < HASTY_DESCRIPTIONS else scene
    if asked.guesses and habit.random() < GUESSES:
        asked = asked._replace(answer=habit.choice(asked.guesses), rationale="No look.", steps=("A guess.",))
    return response_of(seen.description, asked)


def response_of(description: str, asked: Asked, before_answer: str = "\n") -> str:
    """A response in the format of `pebr.vlm.response`. As in Mulberry, the answer is on the line after its header."""
    sections = [
        f"### Image Description:\n{description}",
        f"### Rationales:\n{asked.rationale}",
        "### Let's think step by step.",
        *(f"### Step {i}:\n{step}" for i, step in enumerate(asked.steps, start=1)),
        f"### The final answer is:{before_answer}{asked.answer}",
    ]
    return "\n\n".join(sections)


def portion(description: str) -> int:
    """The sixteenth of all scenes that a scene belongs to, by a hash of its full description."""
    return hashlib.sha256(description.encode()).digest()[0] % 16


def _colour(scene: Scene[Group], draw: random.Random) -> Asked | None:
    group = draw.choice(scene.parts)
    return Asked(
        f"What colour are the shapes at the {group.corner}?",
        group.colour,
        f"Look at the {group.corner}.",
        (f"{group.mention}.",),
    )


def _position(scene: Scene[Group], draw: random.Random) -> Asked | None:
    group = draw.choice(scene.parts)
    return Asked(
        f"Where are the {group.colour} shapes?",
        group.corner,
        f"Find {group.colour}.",
        (f"{group.mention}.",),
        guesses=CORNERS,
    )


def _count(scene: Scene[Group], draw: random.Random) -> Asked | None:
    group = draw.choice(scene.parts)
    return Asked(
        f"How many {group.colour} shapes are there?",
        str(group.count),
        f"Count {group.colour}.",
        (f"{group.mention}.",),
        guesses=_numbers(1, MOST_SHAPES),
    )


def _compare(scene: Scene[Group], draw: random.Random) -> Asked | None:
    first, second = draw.sample(scene.parts, 2)
    if first.count == second.count:
        return None
    more = max(first, second, key=lambda group: group.count)
    return Asked(
        f"Are there more {first.colour} or more {second.colour} shapes?",
        more.colour,
        f"Compare {first.colour} and {second.colour}.",
        (f"{first.mention}.", f"{second.mention}."),
        guesses=(first.colour, second.colour),
    )


def _sum(scene: Scene[Group], draw: random.Random) -> Asked | None:
    first, second = draw.sample(scene.parts, 2)
    total = first.count + second.count
    return Asked(
        f"How many {first.colour} and {second.colour} shapes are there together?",
        str(total),
        f"Add {first.colour} and {second.colour}.",
        (f"{first.mention}.", f"{second.mention}.", f"{first.count} + {second.count} = {total}"),
        guesses=_numbers(2, 2 * MOST_SHAPES),
    )


def _all(scene: Scene[Group], draw: random.Random) -> Asked | None:
    counts = [group.count for group in scene.parts]
    return _added("How many shapes are there in all?", "Add all groups.", counts, MOST_SHAPES)


def _tallest(scene: Scene[Bar], draw: random.Random) -> Asked | None:
    ordered = sorted(scene.parts, key=lambda bar: bar.value)
    if ordered[-1].value == ordered[-2].value:
        return None
    tallest = ordered[-1]
    return Asked("Which bar is the tallest?", tallest.colour, "Compare all bars.", (f"{tallest.phrase}.",))


def _value(scene: Scene[Bar], draw: random.Random) -> Asked | None:
    bar = draw.choice(scene.parts)
    return _height(bar, f"What is the value of the {bar.colour} bar?", f"Find {bar.colour}.")


def _first(scene: Scene[Bar], draw: random.Random) -> Asked | None:
    return _height(scene.parts[0], "How high is the bar furthest left?", "Look at the left.")


def _height(bar: Bar, question: str, rationale: str) -> Asked:
    return Asked(question, str(bar.value), rationale, (f"{bar.phrase}.",), guesses=_numbers(1, HIGHEST_BAR))


def _leftmost(scene: Scene[Bar], draw: random.Random) -> Asked | None:
    bar = scene.parts[0]
    return Asked("Which bar is furthest left?", bar.colour, "Look at the left.", (f"{bar.phrase}.",))


def _total(scene: Scene[Bar], draw: random.Random) -> Asked | None:
    values = [bar.value for bar in scene.parts]
    return _added("What is the sum of all bars?", "Add all bars.", values, HIGHEST_BAR)


def _added(question: str, rationale: str, numbers: list[int], most: int) -> Asked:
    """Add numbers of at most `most` one after another."""
    sums = list(accumulate(numbers))
    steps = tuple(f"{sums[i]} + {numbers[i + 1]} = {sums[i + 1]}" for i in range(len(numbers) - 1))
    return Asked(question, str(sums[-1]), rationale, steps, guesses=_numbers(len(numbers), len(numbers) * most))


def _numbers(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(first, last + 1))


class _Kind(NamedTuple):
    name: str
    difficulty: Literal["easy", "medium", "hard"]
    scene: Callable[[random.Random], Scene[Any]]
    ask: Callable[..., Asked | None]  # None if the scene does not allow the question


_KINDS = (
    _Kind("colour", "easy", shape_scene, _colour),
    _Kind("leftmost", "easy", bar_scene, _leftmost),
    _Kind("position", "medium", shape_scene, _position),
    _Kind("tallest", "easy", bar_scene, _tallest),
    _Kind("value", "medium", bar_scene, _value),
    _Kind("count", "medium", shape_scene, _count),
    _Kind("first", "medium", bar_scene, _first),
    _Kind("compare", "medium", shape_scene, _compare),
    _Kind("total", "hard", bar_scene, _total),
    _Kind("sum", "hard", shape_scene, _sum),
    _Kind("all", "hard", shape_scene, _all),
)
KINDS = tuple(kind.name for kind in _KINDS)
