"""The one prompt: SFT, sampling, rewards and evaluation all ask questions in the same words.

The words are a template: `TEMPLATE`, or another that the warm-up gets by its setting `prompt`. The warm-up writes it
into the model's directory as `prompt.txt`, from where all later steps read it.

Published questions may hold a block of instructions of their own. `split_instructions` removes it, so that every
question is asked with one block. The block itself can be the template, see `template_of`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from pebr.errors import InputError

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

QUESTION = "{question}"  # its place in a template
TEMPLATE = INSTRUCTIONS + QUESTION
PROMPT_FILE = "prompt.txt"
PUBLISHED = "instructions"  # in a manifest of filtered rows: the block that most questions had, "" for none

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


def read_template(path: Path | str) -> str:
    """The template in a file, or in a model's directory; ours if the directory has none.

    Raises:
        InputError: the file cannot be read, or does not say once where the question stands.
    """
    path = Path(path)
    if path.is_dir():
        path = path / PROMPT_FILE
        if not path.exists():
            return TEMPLATE
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a prompt ({error}): give a text file") from error
    return _checked(template, str(path))


def template_of(instructions: str) -> str:
    """The template that asks every question with a block of instructions that `split_instructions` found.

    Raises:
        InputError: the block holds special tokens, or the place of a question.
    """
    return _checked(instructions + QUESTION, "the instructions of the data")


def _checked(template: str, where: str) -> str:
    if template.count(QUESTION) != 1 or IMAGE_PLACEHOLDER in template or _SPECIAL_TOKEN.search(template):
        raise InputError(f"{where}: give a prompt with {QUESTION} once, without images and special tokens")
    return template


def user_turn(problem: str, image_count: int, template: str = TEMPLATE) -> list[Message]:
    """One user turn: the template with the question, with an image at each `<image>`, or all first without any.

    Args:
        problem: the question, with one `<image>` per image. Without any, the images come first.
        image_count: the number of images.
        template: has `QUESTION` once.

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
    before, after = template.split(QUESTION)
    pieces[0] = before + pieces[0]
    pieces[-1] += after
    content: list[Part] = [{"type": "text", "text": pieces[0]}]
    for piece in pieces[1:]:
        content += [{"type": "image"}, {"type": "text", "text": piece}]
    return [{"role": "user", "content": [part for part in content if part.get("text") != ""]}]


def conversation(turns: Sequence[str], image_count: int, template: str = TEMPLATE) -> list[Message]:
    """A chat that ends with a question. Each of its questions is asked as by `user_turn`.

    Args:
        turns: questions, each but the last followed by its answer.
        image_count: of all questions. Without any `<image>`, all images come first in the first question.
        template: has `QUESTION` once.

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
            messages += user_turn(turn, asked[place // 2], template)
            continue
        if special := _SPECIAL_TOKEN.search(turn):
            raise PromptError(f"an answer holds the special token {special.group()}")
        messages.append({"role": "assistant", "content": [{"type": "text", "text": turn}]})
    return messages


def split_instructions(question: str) -> tuple[str, str]:
    """A block of instructions, "" if there is none, and the question without it.

    A block is any text that lists the headers of the answer's sections. The question is what follows the list, after
    `Question:` if that is there. An `<image>` before it goes to the question. Of several blocks the first is returned.

    Raises:
        PromptError: there is such a block, and no question after it.

    >>> split_instructions("<image>" + INSTRUCTIONS + "Which colour?") == (INSTRUCTIONS, "<image>Which colour?")
    True
    """
    headers = list(_HEADER.finditer(question))
    kinds = [header.lastgroup for header in headers]
    if len(set(kinds)) < _FEWEST_HEADERS or not {"description", "answer"} <= set(kinds):
        return "", question
    end = headers[kinds.index("answer")].end()
    rest = question[end:]
    mark = _QUESTION.search(rest)
    start = end + (mark.end() if mark else rest.find("\n") if "\n" in rest else len(rest))
    before, asked = question[:start], question[start:].strip()
    if not asked.replace(IMAGE_PLACEHOLDER, "").strip():
        raise PromptError("a block of instructions without a question after it")
    _, asked = split_instructions(IMAGE_PLACEHOLDER * before.count(IMAGE_PLACEHOLDER) + asked)
    return before.replace(IMAGE_PLACEHOLDER, "").lstrip(), asked
