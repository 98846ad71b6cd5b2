"""Rows of the public data sets as conversations and as questions, each with its fault if it cannot be used.

A reader yields every row, so that rows read = rows kept + rows rejected. It raises only if the file as a whole has the
wrong format.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pebr.data.column_names import NAMES
from pebr.data.columns import (
    PLACEHOLDER,
    Picture,
    answer_of,
    find,
    options_of_row,
    pictures_of,
    question_of,
    text_of,
    unknown_images,
    with_options,
    with_placeholders,
)
from pebr.data.records import Fault, Row
from pebr.data.tables import RowFile
from pebr.english.key_words import extract_key_words
from pebr.errors import InputError

SFT_FILE = "mulberry_sft.json"
RL_FILE = "pebr_grpo_dataset.json"
ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}  # other names of roles
SYSTEM_REMOVED, OPTIONS_ADDED = "system turns removed", "options added"
WRONG_MESSAGES = "messages of a wrong type"
Names = Mapping[str, tuple[str, ...]]


class SourceRow(NamedTuple):
    """A row of a source: its fields, its images, its fault or None, the original row, what was changed or removed.

    The fields of a row with a fault may have wrong types.
    """

    row: Row
    pictures: list[Picture]
    fault: Fault | None
    source: object
    changes: tuple[str, ...] = ()
    instructions: str = ""  # the block that was removed from its first question

    @property
    def image_paths(self) -> list[str]:
        """The paths of the images."""
        return [picture.path for picture in self.pictures]


def read_sft(path: Path) -> Iterator[SourceRow]:
    """Rows of an SFT file; see `sft_rows`.

    Raises:
        InputError: the file is missing, cut off, or no table.
    """
    return sft_rows(_rows(path))


def read_rl(path: Path) -> Iterator[SourceRow]:
    """Rows of an RL file; see `rl_rows`.

    Raises:
        InputError: the file is missing, cut off, or no table.
    """
    return rl_rows(_rows(path))


def sft_rows(items: Iterable[Any], names: Names = NAMES) -> Iterator[SourceRow]:
    """Conversations: `{"messages": [{"role", "content"}], "images"}`, LLaVA: `{"conversations": [{"from", "value"}]}`.

    Yields rows with qid (the row's number) and messages, which are the turns of user and assistant. System turns are
    removed: the questions of later steps have none, and must be asked in the same way.

    Args:
        items: the rows as they are written.
        names: of the columns.
    """
    for number, item in enumerate(items):
        row: Row = {"qid": f"{number:08d}"}
        if not isinstance(item, dict):
            yield SourceRow(row, [], Fault("not an object", f"row {number} is {type(item).__name__}"), item)
            continue
        messages, inside, fault = _messages(find(item, names["messages"])[1])
        systems = [message["content"] for message in messages if message["role"] == "system"]
        row["messages"] = turns = [message for message in messages if message["role"] != "system"]
        pictures, wrong = _pictures(item, names)
        pictures = pictures or inside
        fault = wrong or fault or _turns_fault(turns)
        if fault is None:
            turns[0]["content"] = PLACEHOLDER * "".join(systems).count(PLACEHOLDER) + turns[0]["content"]
            pictures, fault = _place_images(turns, pictures)
        changed = bool(systems or text_of(item.get("system")))
        yield SourceRow(row, pictures, fault, item, (SYSTEM_REMOVED,) if changed else ())


def rl_rows(items: Iterable[Any], names: Names = NAMES) -> Iterator[SourceRow]:
    """Questions: `{"qid": str | int, "problem", "answer", "images": [str], "key_words": [str]}`, or with other names.

    Yields rows with the fields of `QuestionRow` except the images; other columns go to `extra`. Options become part of
    the question, and the column `options` of `extra`. A row without a column qid has another id or its number. If a
    row has no keywords but a teacher's `description` of its image, the keywords are extracted from the description.

    Args:
        items: the rows as they are written.
        names: of the columns.
    """
    seen: set[str] = set()
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            wrong = Fault("not an object", f"row {number} is {type(item).__name__}")
            yield SourceRow({"qid": f"row {number}"}, [], wrong, item)
            continue
        read = _question(item, names)
        key, value = find(item, names["qid"])
        qid = text_of(value) if key else f"{number:08d}"
        fault = read.fault
        if not qid:
            fault = fault or Fault("no qid", f"row {number}")
        elif qid in seen and key == names["qid"][0]:
            fault = fault or Fault("qid occurs twice", qid)
        elif qid in seen:  # the id of an image, or of a shard
            qid = f"{qid}-{number:08d}"
        if fault is None:  # a rejected row does not use up its qid
            seen.add(qid)
        yield read._replace(row={"qid": qid or f"row {number}"} | read.row, fault=fault)


def read_rollouts(path: Path) -> Iterator[dict[str, str | float]]:
    """Rows of the authors' rollouts, JSON lines of `{"response", "ground_truth", "qid", "score": {"accuracy"}}`.

    Raises:
        InputError: a line is not such a row; the message has its number.
    """
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
                yield {
                    "qid": str(item["qid"]),
                    "response": str(item["response"]),
                    "ground_truth": str(item["ground_truth"]),
                    "accuracy": float(item["score"]["accuracy"]),
                }
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} (line {number}): not a rollout ({error}): fix or remove the line") from error


def _rows(path: Path) -> Iterator[Any]:
    _opened(path).close()
    return RowFile(str(path), (path,)).rows()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: give an existing file") from error


def _question(item: Mapping[str, Any], names: Names) -> SourceRow:
    """An RL row without its qid."""
    columns = {what: find(item, names[what]) for what in ("question", "answer", "images", "key_words", "qid")}
    question, options = question_of(columns["question"][1]), options_of_row(item, names["options"])
    words = columns["key_words"][1] or extract_key_words(text_of(item.get("description")))
    pictures, fault = _pictures(item, names)
    shown = with_options(question, options)
    problem, pictures = with_placeholders(shown, pictures)
    used = {name for name, _ in columns.values()}
    extra = {name: value for name, value in item.items() if name not in used}
    extra |= {"options": options} if options else {}
    row = {
        "problem": problem,
        "answer": answer_of(columns["answer"][1]),
        "key_words": words,
        "extra": _json(extra),
    }
    fault = fault or _question_fault(row, len(pictures))
    if fault and fault.kind == "no answer" and isinstance(value := columns["answer"][1], list) and len(value) > 1:
        fault = Fault("several answers", str(value)[:200])
    return SourceRow(row, pictures, fault, item, (OPTIONS_ADDED,) if shown != question else ())


def _json(value: object) -> str:
    """A value as JSON; the images of further columns as their sizes."""
    return json.dumps(value, sort_keys=True, default=lambda v: f"{len(v)} bytes" if isinstance(v, bytes) else str(v))


def _pictures(item: Mapping[str, Any], names: Names) -> tuple[list[Picture], Fault | None]:
    """The images in a row's columns, or their fault."""
    found = pictures_of(find(item, names["images"])[1])
    if isinstance(found, Fault):
        return [], found
    if not found and (name := unknown_images(item)):
        return [], Fault("image column not known", f"{name!r}: give --columns images={name}")
    return found, None


def _messages(value: object) -> tuple[list[dict[str, str]], list[Picture], Fault | None]:
    """The turns of a conversation, the images inside them, and the fault if there are no turns."""
    if not isinstance(value, list) or not value:
        return [], [], Fault("no messages", "messages is missing or empty")
    found: list[dict[str, str]] = []
    pictures: list[Picture] = []
    for message in value:
        role, content = ("role", "content") if isinstance(message, dict) and "role" in message else ("from", "value")
        if not isinstance(message, dict) or not {role, content} <= set(message):
            return [], [], Fault(WRONG_MESSAGES, "a message has a role and a content")
        text, inside = _content(message[content])
        name = str(message[role]).lower()
        if isinstance(inside, Fault):
            return [], [], inside
        if not isinstance(text, str) or not text.strip():
            return [], [], Fault("empty message", f"the {name}'s turn is empty")
        found.append({"role": ROLES.get(name, name), "content": text.strip()})
        pictures += inside
    return found, pictures, None


def _content(value: object) -> tuple[object, list[Picture] | Fault]:
    """The text of a turn and the images in it; a list of parts becomes a text with `<image>` at each image."""
    if not isinstance(value, list):
        return value, []
    text, pictures = "", list[Picture]()
    for part in value:
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") == "text":
            text += part["text"]
        elif isinstance(part, dict) and "image" in str(part.get("type", "")):
            given = {name: content for name, content in part.items() if name != "type"}
            found = pictures_of(given or None)
            if isinstance(found, Fault):
                return text, found
            text += PLACEHOLDER
            pictures += found
        else:
            return text, Fault(WRONG_MESSAGES, f"a part of a message is {str(part)[:80]}: texts and images are read")
    return text, pictures


def _turns_fault(messages: list[dict[str, str]]) -> Fault | None:
    """The fault of turns that do not alternate between user and assistant, or None."""
    roles = [message["role"] for message in messages]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        return Fault("turns out of order", f"roles are {', '.join(roles)[:80]}")
    return None


def _place_images(messages: list[dict[str, str]], pictures: list[Picture]) -> tuple[list[Picture], Fault | None]:
    """The images in the order of their placeholders in the user's turns, or the fault of the placeholders."""
    if any(PLACEHOLDER in message["content"] for message in messages[1::2]):
        return pictures, Fault("placeholder in an answer", "the assistant's turn has <image>")
    if len(messages) == 2:
        messages[0]["content"], pictures = with_placeholders(messages[0]["content"], pictures)
    asked = sum(message["content"].count(PLACEHOLDER) for message in messages[::2])
    return pictures, _placeholder_fault(asked, len(pictures))


def _question_fault(row: Row, images: int) -> Fault | None:
    """The fault of an RL row, or None."""
    if not row["problem"].replace(PLACEHOLDER, "").strip():
        return Fault("no question", "problem is missing or empty")
    if not row["answer"]:
        return Fault("no answer", "answer is missing or empty")
    words = row["key_words"]
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return Fault("keywords of a wrong type", "key_words is a list of words")
    return _placeholder_fault(row["problem"].count(PLACEHOLDER), images)


def _placeholder_fault(placeholders: int, images: int) -> Fault | None:
    """The fault of a text that has neither one placeholder per image nor none at all, or None."""
    if placeholders in {0, images}:
        return None
    return Fault("placeholders and images differ", f"{placeholders} <image> in the text, {images} images")
