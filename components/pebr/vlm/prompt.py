"""The one prompt: the same words in SFT, sampling, rewards and evaluation, so that no phase asks in another way."""

import re
from typing import Any

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
    """A question that cannot be asked; the message says why."""


def user_turn(problem: str, image_count: int) -> list[dict[str, Any]]:
    """One user turn: the instructions, then the question, with an image wherever `<image>` stands in it.

    Args:
        problem: the question, with one `<image>` an image, or with none, in which case the images go first.
        image_count: how many images the question has.

    Returns:
        Chat messages as transformers' chat templates take them.

    Raises:
        PromptError: when placeholders and images do not match, the question is empty, or it holds a special token.

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
    pieces = [piece.strip("\r\n") for piece in pieces]  # a line break after <image> may be there or not
    if not any(piece.strip() for piece in pieces):
        raise PromptError("the question is empty")
    content: list[dict[str, Any]] = [{"type": "text", "text": INSTRUCTIONS + pieces[0]}]
    for piece in pieces[1:]:
        content += [{"type": "image"}, {"type": "text", "text": piece}]
    return [{"role": "user", "content": [part for part in content if part.get("text") != ""]}]
