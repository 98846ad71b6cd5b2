"""The one prompt: SFT, sampling, rewards and evaluation all ask questions in the same words.

Published questions may hold a block of instructions of their own. `without_instructions` removes it, so that every
question is asked with one block.
"""

import re
from collections.abc import Sequence
from typing import NotRequired, TypedDict

IMAGE_PLACEHOLDER = "<image>"

INSTRUCTIONS = (
    "Look at the image, then answer the question. Write these sections in this order:\n"
    "### Image Description:\n"
    "### Rationales:\n"
    "### Let's think step by step.\n"
    "### Step 1:\n"
    "### The final answer is:\n"
    "Add further steps as needed.\n\n"
    "Question: "
)

# A header of the answer's sections inside a question, and the mark between the instructions and the question itself.
_HEADER = re.compile(
    r"#{2,4}[^\S\n]*[*_]{0,2}(?:(?P<description>image\s+description)|(?P<rationales>rationales?)|(?P<step>step\s*\d)"
    r"|(?P<thinking>let['’]?s\s+think\s+step\s+by\s+step)|(?P<answer>(?:the\s+)?final\s+answer))\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"(?:\A[\s:.]*|^)[^\S\n]*[#*_]*[^\S\n]*(?:the\s+)?question(?:\s+is)?[*_]*\s*[:：][*_]*\s*",
    re.IGNORECASE | re.MULTILINE,
)
_FEWEST_HEADERS = 3  # of different kinds, in a block of instructions

_SPECIAL_TOKEN = re.compile(r"<\|[a-z_]+\|>")


class PromptError(ValueError):
    """A question that cannot be asked; the message is the reason."""


class Part(TypedDict):
    """A text or an image of a message."""

    type: str  # text or image
    text: NotRequired[str]


class Message(TypedDict):
    """A turn of a chat, as transformers' chat templates take it."""

    role: str
    content: list[Part]


def user_turn(problem: str, image_count: int) -> list[Message]:
    """One user turn: the instructions, then the question, with an image at each `<image>`, or all first without any.

    Raises:
        PromptError: when placeholders and images do not match, or the question is empty or contains a special token.

    >>> [part["type"] for part in user_turn("<image>What is left of <image>?", 2)[0]["content"]]
    ['text', 'image', 'text', 'image', 'text']
    """
    if special := _SPECIAL_TOKEN.search(problem):
        raise PromptError(f"the question holds the special token {special.group()}")
    pieces = problem.strip().split(IMAGE_PLACEHOLDER)
    if len(pieces) == 1:
        pieces = [""] * image_count + pieces
    if len(pieces) - 1 != image_count:
        raise PromptError(f"the question has {len(pieces) - 1} <image> placeholders and {image_count} images")
    pieces = [piece.strip("\r\n") for piece in pieces]  # with or without a line break after <image>
    if not any(piece.strip() for piece in pieces):
        raise PromptError("the question is empty")
    content: list[Part] = [{"type": "text", "text": INSTRUCTIONS + pieces[0]}]
    for piece in pieces[1:]:
        content += [{"type": "image"}, {"type": "text", "text": piece}]
    return [{"role": "user", "content": [part for part in content if part.get("text") != ""]}]


def conversation(turns: Sequence[str], image_count: int) -> list[Message]:
    """A chat that ends with a question. Each of its questions is asked as by `user_turn`.

    Args:
        turns: questions, each but the last followed by its answer.
        image_count: of all questions. Without any `<image>`, all images come first in the first question.

    Raises:
        PromptError: as `user_turn`, or when an answer contains a special token.
    """
    asked = [turn.count(IMAGE_PLACEHOLDER) for turn in turns[::2]]
    asked[0] += image_count - sum(asked) if len(asked) == 1 or not any(asked) else 0
    if sum(asked) != image_count:
        raise PromptError(f"the questions have {sum(asked)} <image> placeholders and {image_count} images")
    messages: list[Message] = []
    for place, turn in enumerate(turns):
        if place % 2 == 0:
            messages += user_turn(turn, asked[place // 2])
            continue
        if special := _SPECIAL_TOKEN.search(turn):
            raise PromptError(f"an answer holds the special token {special.group()}")
        messages.append({"role": "assistant", "content": [{"type": "text", "text": turn}]})
    return messages


def without_instructions(question: str) -> str:
    """The question without a block of instructions: any text that lists the headers of the answer's sections.

    The question is what follows the list, after `Question:` if that is there. An `<image>` before it is kept.

    Raises:
        PromptError: there is such a block, and no question after it.

    >>> without_instructions("<image>" + INSTRUCTIONS + "Which colour?")
    '<image>Which colour?'
    """
    headers = list(_HEADER.finditer(question))
    kinds = [header.lastgroup for header in headers]
    if len(set(kinds)) < _FEWEST_HEADERS or not {"description", "answer"} <= set(kinds):
        return question
    end = headers[kinds.index("answer")].end()
    rest = question[end:]
    mark = _QUESTION.search(rest)
    start = end + (mark.end() if mark else rest.find("\n") if "\n" in rest else len(rest))
    before, asked = question[:start], question[start:].strip()
    if not asked.replace(IMAGE_PLACEHOLDER, "").strip():
        raise PromptError("a block of instructions without a question after it")
    return without_instructions(IMAGE_PLACEHOLDER * before.count(IMAGE_PLACEHOLDER) + asked)
