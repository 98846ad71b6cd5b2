"""Which rows are rejected for their texts, and how questions are cleaned.

The rules for warm-up data are those of the released code, among them: no reflective answers ("let me rethink it").
"""

import json
from collections import Counter
from collections.abc import Callable
from itertools import takewhile

from pebr.data.readers import SourceRow
from pebr.data.records import Fault, Row
from pebr.vlm.admission import NOT_ASKABLE
from pebr.vlm.prompt import IMAGE_PLACEHOLDER, PromptError, conversation, split_instructions
from pebr.vlm.response import parse

REFLECTION = "let me rethink it"
INSTRUCTIONS_REMOVED = "instructions removed"
OPENING = 48  # characters by which equal beginnings of questions are found
FEWEST, LARGEST_SHARE = 20, 0.3  # questions before a common beginning counts; share of questions that may have it


def cleaned(row: SourceRow) -> SourceRow:
    """The row with questions free of instructions, and its fault if its texts cannot be used."""
    if row.fault:
        return row
    fields = dict(row.row)
    try:
        if "messages" in fields:
            split = [split_instructions(message["content"]) for message in fields["messages"][::2]]
            fields["messages"] = [
                message | {"content": split[place // 2][1]} if place % 2 == 0 else message
                for place, message in enumerate(fields["messages"])
            ]
            conversation([message["content"] for message in fields["messages"][:-1]], len(row.pictures))
        else:
            split = [split_instructions(fields["problem"])]
            fields["problem"] = split[0][1]
            conversation([fields["problem"]], len(row.pictures))
    except PromptError as error:
        return row._replace(fault=Fault(NOT_ASKABLE, str(error)))
    changes = (*row.changes, INSTRUCTIONS_REMOVED) if fields != row.row else row.changes
    fault = next(filter(None, (rule(fields) for rule in RULES)), None)
    return row._replace(row=fields, fault=fault, changes=changes, instructions=split[0][0])


def question_of(row: Row) -> str:
    """The first question of a row, without placeholders."""
    text = row["messages"][0]["content"] if "messages" in row else row["problem"]
    return str(text).replace(IMAGE_PLACEHOLDER, "").strip()


class Openings:
    """Finds a long text with which many questions begin: instructions that are not recognised."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._common: dict[str, str] = {}  # opening -> the longest beginning of all questions that have it
        self._questions = 0

    def add(self, question: str) -> None:
        """Count a question."""
        opening = question[:OPENING]
        self._questions += 1
        if len(opening) == OPENING and (opening in self._common or len(self._common) < 100_000):
            self._counts[opening] += 1
            pairs = zip(self._common.get(opening, question), question, strict=False)
            self._common[opening] = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def most_common(self) -> tuple[str, int] | None:
        """The text with which a large share of the questions begins, and their number; None if there is none."""
        opening, count = next(iter(self._counts.most_common(1)), ("", 0))
        if self._questions < FEWEST or count < LARGEST_SHARE * self._questions:
            return None
        return self._common[opening], count


def _reflective(row: Row) -> Fault | None:
    """The fault of an answer in which the teacher reconsiders: the warm-up must not teach this habit."""
    if any(REFLECTION in answer.lower() for answer in _answers(row)):
        return Fault("reflective", f"holds {REFLECTION!r}")
    return None


def _unanswered(row: Row) -> Fault | None:
    """The fault of a response without a final answer: it would teach the model to give none."""
    if not all(parse(answer).answer for answer in _answers(row)):
        return Fault("no final answer", "an assistant's turn has no final-answer section")
    return None


def _not_text(row: Row) -> Fault | None:
    """The fault of a text that cannot be stored: half of a character, as JSON may write it."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return Fault("not Unicode text", f"{error.object[error.start : error.end]!r}")
    return None


def _answers(row: Row) -> list[str]:
    return [message["content"] for message in row.get("messages", [])[1::2]]


RULES: tuple[Callable[[Row], Fault | None], ...] = (_reflective, _unanswered, _not_text)
