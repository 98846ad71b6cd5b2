"""The one prompt: SFT, sampling, rewards and evaluation all ask questions in the same words."""

import re
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
    pieces = problem.split(IMAGE_PLACEHOLDER)
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
