"""Readers of the formats of the public data sets. Rows are yielded as a stream, an unusable one with its fault.

A reader yields every row of its file, so that rows read = rows kept + rows rejected. It raises only if the file as a
whole has the wrong format.
"""

import codecs
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ijson

from pebr.data.records import Row
from pebr.english.key_words import extract_key_words
from pebr.errors import InputError

SFT_FILE = "mulberry_sft.json"
RL_FILE = "pebr_grpo_dataset.json"
PLACEHOLDER = "<image>"


class Fault(NamedTuple):
    """Why a row cannot be used: the kind, which is counted, and the details."""

    kind: str
    detail: str


class SourceRow(NamedTuple):
    """A row of a source: its fields, the paths of its images, its fault or None, and the original row.

    The fields of a row with a fault may have wrong types.
    """

    row: Row
    image_paths: list[str]
    fault: Fault | None
    source: object


def read_sft(path: Path) -> Iterator[SourceRow]:
    """Rows of a Mulberry-style SFT file: `{"messages": [{"role", "content"}, ...], "images": str | [str]}`.

    Yields rows with qid (the row's number in the file) and messages.

    Raises:
        InputError: the file is missing, cut off, or not a JSON array.
    """
    for number, item in enumerate(_array(path)):
        row: Row = {"qid": f"{number:08d}"}
        fault = None
        paths: list[str] = []
        if not isinstance(item, dict):
            fault = Fault("not an object", f"row {number} is {type(item).__name__}")
        else:
            row["messages"] = item.get("messages")
            paths, fault = _paths(item.get("images"))
            fault = fault or _messages_fault(item.get("messages"), len(paths))
        yield SourceRow(row, paths, fault, item)


def read_rl(path: Path) -> Iterator[SourceRow]:
    """Rows of an RL file: `{"qid": str | int, "problem", "answer", "images": [str], "key_words": [str]}`.

    Yields rows with the fields of `QuestionRow` except the images; other columns go to `extra`. If a row has no
    keywords but a teacher's `description` of its image, the keywords are extracted from the description.

    Raises:
        InputError: the file is missing, cut off, or not a JSON array.
    """
    seen: set[str] = set()
    known = {"qid", "problem", "answer", "images", "key_words"}
    for number, item in enumerate(_array(path)):
        if not isinstance(item, dict):
            wrong = Fault("not an object", f"row {number} is {type(item).__name__}")
            yield SourceRow({"qid": f"row {number}"}, [], wrong, item)
            continue
        qid = _text(item.get("qid"))
        paths, fault = _paths(item.get("images"))
        words = item.get("key_words") or extract_key_words(_text(item.get("description")))
        row = {
            "qid": qid or f"row {number}",
            "problem": item.get("problem"),
            "answer": _text(item.get("answer")),
            "key_words": words,
            "extra": json.dumps({k: v for k, v in item.items() if k not in known}, sort_keys=True),
        }
        fault = fault or _question_fault(row, len(paths))
        if not qid:
            fault = fault or Fault("no qid", f"row {number}")
        elif qid in seen:
            fault = fault or Fault("qid occurs twice", qid)
        if fault is None:  # a rejected row does not use up its qid
            seen.add(qid)
        yield SourceRow(row, paths, fault, item)


def read_rollouts(path: Path) -> Iterator[dict[str, str | float]]:
    """Rows of the authors' rollouts, JSON lines of `{"response", "ground_truth", "qid", "score": {"accuracy"}}`.

    Raises:
        InputError: a line is not such a row; the message has its number.
    """
    with _open(path) as file:
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


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: give an existing file") from error


def _array(path: Path) -> Iterator[Any]:
    """The items of a JSON array, one at a time."""
    with _open(path) as file:
        count = 0
        try:
            start = file.read(64)
            mark = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
            first = start[mark:].lstrip()[:1]
            if first != b"[":
                raise InputError(f"{path}: starts with {first!r}: give a JSON array of rows")
            file.seek(mark)
            for item in ijson.items(file, "item", use_float=True):
                count += 1
                yield item
        except (ijson.JSONError, UnicodeDecodeError) as error:
            where = f"after row {count} (byte {file.tell()} or before)"
            raise InputError(f"{path}: broken JSON {where}: {_line(error)}: copy the file again") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _paths(value: object) -> tuple[list[str], Fault | None]:
    """Image paths from a string, a list of strings or None."""
    if value is None or value == "":
        return [], None
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        return [], Fault(
            "images of a wrong type", f"images is {type(value).__name__}, a path or a list of paths is read"
        )
    return paths, None


def _messages_fault(messages: object, images: int) -> Fault | None:
    """The fault of an SFT row's turns, or None."""
    if not isinstance(messages, list) or not messages:
        return Fault("no messages", "messages is missing or empty")
    for message in messages:
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            return Fault("messages of a wrong type", "a message has a role and a content")
        if not isinstance(message["content"], str) or not message["content"].strip():
            return Fault("empty message", f"the {message['role']}'s turn is empty")
    roles = [message["role"] for message in messages if message["role"] != "system"]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        return Fault("turns out of order", f"roles are {', '.join(map(str, roles))[:80]}")
    asked = sum(m["content"].count(PLACEHOLDER) for m in messages if m["role"] == "user")
    return _placeholder_fault(asked, images)


def _question_fault(row: Row, images: int) -> Fault | None:
    """The fault of an RL row, or None."""
    if not isinstance(row["problem"], str) or not row["problem"].replace(PLACEHOLDER, "").strip():
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


def _text(value: object) -> str:
    """An answer or id as text, "" if it is neither text nor a number: numbers sometimes have no quotes.

    >>> [_text(value) for value in (" 7 ", 7, 0.5, True, None, ["7"])]
    ['7', '7', '0.5', 'True', '', '']
    """
    return str(value).strip() if isinstance(value, str | int | float) else ""
