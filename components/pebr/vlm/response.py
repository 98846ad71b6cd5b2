"""The one parser of an answer's sections; the filter, rewards, rollout, evaluation and the report all use it.

A response has the headers of `pebr.vlm.prompt.INSTRUCTIONS`, in this order. A header is three number signs and its
words, at the start of the text or after white space. The words matter; case, spacing, a closing colon or full stop, and
bold marks do not. The content of a section is the rest of the header's line and the lines below, up to the next header.
An unknown heading also ends a section. If a section is repeated, the last one counts. Nothing is repaired silently:
every departure from the format is listed in `problems`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from pebr.vlm.families import FAMILIES
from pebr.vlm.prompt import IMAGE_PLACEHOLDER, INSTRUCTIONS


class Problem(StrEnum):
    """A departure from the format."""

    PROMPT_ECHO = "prompt echo"
    TEXT_BEFORE = "text before the first section"
    UNKNOWN_SECTION = "unknown section"
    NO_DESCRIPTION = "image description missing"
    NO_RATIONALES = "rationales missing"
    NO_THINKING = "step-by-step header missing"
    NO_STEPS = "steps missing"
    NO_ANSWER = "final answer missing"
    EMPTY_DESCRIPTION = "image description empty"
    EMPTY_RATIONALES = "rationales empty"
    EMPTY_STEP = "step empty"
    EMPTY_ANSWER = "final answer empty"
    REPEATED_DESCRIPTION = "image description repeated"
    REPEATED_RATIONALES = "rationales repeated"
    REPEATED_THINKING = "step-by-step header repeated"
    REPEATED_STEP = "step repeated"
    REPEATED_ANSWER = "final answer repeated"
    ORDER = "sections out of order"
    STEP_NUMBERS = "steps not numbered 1, 2, ..."


@dataclass(frozen=True)
class Response:
    """A response's sections, stripped of white space; "" or () if missing or without any letter or digit.

    `problems` is empty exactly when the response has the right format.
    """

    description: str
    rationales: str
    steps: tuple[str, ...]  # in the order of the text
    answer: str
    problems: tuple[Problem, ...]

    @property
    def well_formed(self) -> bool:
        """True when every section is present once, in order, with content."""
        return not self.problems


_HEADER = re.compile(
    r"""(?:^[^\S\n]*+\ufeff?[^\S\n]*+|(?<!\S))\#{3}(?!\#)[^\S\n]*+(?P<bold>[*_]{1,2})?[^\S\n]*+
    (?: (?P<description>image\s++description)
      | (?P<rationales>rationales)
      | (?P<thinking>let['’]s\s++think\s++step\s++by\s++step)
      | step[^\S\n]*+(?P<step>[0-9]{1,4})
      | (?P<answer>the\s++final\s++answer\s++is)
    )\b [^\S\n]*+(?:[:：]|\.(?![0-9]))? (?(bold)(?:[^\S\n]*+[*_]{1,2}[^\S\n]*+(?:[:：]|\.(?![0-9]))?)?)
    | ^[^\S\n]*+\#{3}(?!\#)(?P<unknown>)[^\n]*""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)

_CONTENT = re.compile(r"[^\W_]|[∞∅]")  # a section of dots, dashes or invisible characters is empty
# A section as its problems name it
_LABELS = {
    "description": "image description",
    "rationales": "rationales",
    "thinking": "step-by-step header",
    "step": "step",
    "answer": "final answer",
}
_MISSING = {name: Problem(f"{'steps' if name == 'step' else label} missing") for name, label in _LABELS.items()}
_EMPTY = {name: Problem(f"{label} empty") for name, label in _LABELS.items() if name != "thinking"}
_REPEATED = {name: Problem(f"{label} repeated") for name, label in _LABELS.items() if name != "step"}

# Lines of the prompt that are no headers; an answer that has one repeats the prompt.
_PROMPT_LINES = tuple(
    " ".join(line.casefold().split()) for line in INSTRUCTIONS.splitlines() if len(line) > 12 and "###" not in line
)
_CHAT_MARK = re.compile(
    "|".join(re.escape(mark) for mark in (IMAGE_PLACEHOLDER, *(mark for f in FAMILIES for mark in f.chat_marks)))
)


def parse(text: str) -> Response:
    """Read the sections of a response. Any text is accepted; the time is linear in its length.

    >>> parse("### Image Description: a cat ### The final answer is:\\n **yes**").answer
    '**yes**'
    >>> [str(problem) for problem in parse("### The final answer is: 7").problems][:2]
    ['image description missing', 'rationales missing']
    """
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)] * bool(headers)
    names = [header.lastgroup or "" for header in headers]
    written = [text[header.end() : end].strip() for header, end in zip(headers, ends, strict=True)]
    contents = [content if _CONTENT.search(content) else "" for content in written]
    before = text[: headers[0].start()] if headers else text

    last = dict(zip(names, contents, strict=True))  # a later section of the same name replaces an earlier one
    return Response(
        description=last.get("description", ""),
        rationales=last.get("rationales", ""),
        steps=tuple(content for name, content in zip(names, contents, strict=True) if name == "step"),
        answer=last.get("answer", ""),
        problems=tuple(_problems(text, before, headers, names, contents)),
    )


def begun(description: str) -> str:
    """A response that has its description and is to go on with the rationales.

    >>> begun("A red bar.")
    '### Image Description:\\nA red bar.\\n\\n### Rationales:\\n'
    """
    return f"### Image Description:\n{description}\n\n### Rationales:\n"


def _problems(
    text: str, before: str, headers: list[re.Match[str]], names: list[str], contents: list[str]
) -> list[Problem]:
    """All departures from the format, in the order of `Problem`."""
    found: set[Problem] = set()
    folded = " ".join(text.casefold().split())
    if any(line in folded for line in _PROMPT_LINES) or _CHAT_MARK.search(text):
        found.add(Problem.PROMPT_ECHO)
    if before.strip():
        found.add(Problem.TEXT_BEFORE)
    if "unknown" in names:
        found.add(Problem.UNKNOWN_SECTION)
    found |= {problem for name, problem in _MISSING.items() if name not in names}
    found |= {_EMPTY[name] for name, content in zip(names, contents, strict=True) if name in _EMPTY and not content}
    found |= {problem for name, problem in _REPEATED.items() if names.count(name) > 1}
    numbers = [int(header["step"]) for header in headers if header["step"]]
    if len(set(numbers)) < len(numbers):
        found.add(Problem.REPEATED_STEP)
    elif numbers != list(range(1, len(numbers) + 1)):
        found.add(Problem.STEP_NUMBERS)
    order = list(_LABELS)
    ranks = [order.index(name) for name in names if name in _LABELS]
    if ranks != sorted(ranks):
        found.add(Problem.ORDER)
    return [problem for problem in Problem if problem in found]
