"""What the columns of published data sets are called, and what their values mean: texts, answers, options, images."""

import ast
import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pebr.answers.options import options_in
from pebr.data.archives import Archive
from pebr.data.records import Fault

PLACEHOLDER = "<image>"
_BASE64 = ("iVBOR", "/9j/", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0A", "AAAA")  # how encoded image files begin
_LONGEST_PATH = 4096
_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_IMAGE_FILE = re.compile(r".+\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif)", re.IGNORECASE | re.DOTALL)
_OTHER_PLACEHOLDER = re.compile(
    r"<\|vision_start\|><\|image_pad\|><\|vision_end\|>|<\|?\s*(?:image|img)[\s_-]?(?P<number>\d{1,2})?\s*/?\|?>", re.I
)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_LABEL = re.compile(r"\s*(?:\(([A-Za-z])\)|([A-Za-z])\s*[.):])\s*(?=\S)")
_OPTION = re.compile(r"[A-Z]")


@dataclass(frozen=True)
class Picture:
    """An image of a row: a path in the source, the bytes themselves, or the name of a member of this archive."""

    path: str
    data: bytes | None = None
    archive: Archive | None = None

    def __str__(self) -> str:
        return self.path


class _WrongError(ValueError):
    """A value of a wrong type; the message says which."""


def find(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any]:
    """Name and value of the first of these columns with a value, else of the first that is there, else ("", None).

    If none of them is there, upper and lower case do not matter.
    """
    there = [(name, row[name]) for name in names if name in row]
    if not there:
        there = [(name, row[name]) for name in row if name.lower() in names]
    return next((found for found in there if not is_empty(found[1])), there[0] if there else ("", None))


def is_empty(value: object) -> bool:
    """Whether a value stands for none: null, NaN or infinite, "", [] or {}."""
    return value is None or (isinstance(value, float) and not math.isfinite(value)) or (
        isinstance(value, str | bytes | list | dict) and not value
    )  # fmt: skip


def text_of(value: object) -> str:
    """An answer or id as text, "" if it is neither text nor a number: numbers sometimes have no quotes.

    >>> [text_of(value) for value in (" 7 ", 7, 0.5, True, None, float("nan"), {})]
    ['7', '7', '0.5', 'True', '', '', '']
    """
    return str(value).strip() if isinstance(value, str | int | float) and not is_empty(value) else ""


def question_of(value: object) -> str:
    """A question's text: a text, or the user's turn of a list of messages; "" for anything else."""
    if isinstance(value, list):
        asked = [turn.get("content") for turn in value if isinstance(turn, dict) and turn.get("role") == "user"]
        value = asked[0] if len(asked) == 1 else None
    return value.strip() if isinstance(value, str) else ""


def answer_of(value: object) -> str:
    """The reference answer: a text, a number, or equal ones in a list; what is in `<answer>` tags or in `\\boxed{}`.

    >>> [answer_of(value) for value in ("<think>2</think> <answer> 7 </answer>", r"So $\\boxed{x^{2}}$.", ["a", "a"])]
    ['7', 'x^{2}', 'a']
    """
    if isinstance(value, dict):
        value = value.get("ground_truth")
    if isinstance(value, list):
        texts = {text_of(item) for item in value}
        value = texts.pop() if len(texts) == 1 else None
    text = text_of(value)
    if tagged := _TAGGED.findall(text):
        text = tagged[-1].strip()
    return boxed(text) or text


def boxed(text: str) -> str:
    """The content of the last `\\boxed{...}` whose braces close; "" if there is none."""
    start = text.rfind(r"\boxed{")
    depth = 0
    for place in range(start + 6, len(text)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 7 : place].strip()
    return ""


def options_of_row(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """The options of a row, letter -> text: from a column of all, or from columns A, B, ...; {} for none.

    A column of all has a list of texts or of mappings, a mapping, lists of labels and texts, or the text of one.
    Labels such as "A." before all options are removed.
    """
    value = _parsed(find(row, names)[1])
    if isinstance(value, str):
        return options_in(f"Options:\n{value}")
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, dict):
        return {str(letter).strip().upper(): text for letter, option in value.items() if (text := text_of(option))}
    if isinstance(value, list):
        return _lettered([_option_text(option) for option in value])
    columns = {name: text for name in row if _OPTION.fullmatch(name) and (text := text_of(row[name]))}
    return dict(sorted(columns.items())) if {"A", "B"} <= set(columns) else {}


def _option_text(option: object) -> str:
    if isinstance(option, dict):
        option = next((option[key] for key in ("text", "value", "content", "option") if key in option), None)
    return text_of(option)


def _lettered(texts: Sequence[str]) -> dict[str, str]:
    """Texts in the order of their letters, without their labels; {} if one is empty or there are too many."""
    if len(texts) > 26 or not all(texts):
        return {}
    letters = [chr(ord("A") + number) for number in range(len(texts))]
    labels = [_LABEL.match(text) for text in texts]
    labelled = [(match[1] or match[2]).upper() for match in labels if match] == letters
    return {
        letter: text[match.end() :] if labelled and match else text
        for letter, text, match in zip(letters, texts, labels, strict=True)
    }


def with_options(question: str, options: Mapping[str, str]) -> str:
    """A question with its options, one per line, unless it lists them or there are fewer than two."""
    words = " ".join(question.casefold().split())
    there = all(
        re.search(rf"\({letter}\)|\b{letter}[.):]", question) and " ".join(text.casefold().split()) in words
        for letter, text in options.items()
    )
    if len(options) < 2 or there:
        return question
    return question + "\nOptions:\n" + "\n".join(f"{letter}. {text}" for letter, text in options.items())


def pictures_of(value: object) -> list[Picture] | Fault:
    """The images in a column: paths, bytes, base64, data URIs, structs of bytes and path, lists of these."""
    try:
        return _pictures(value, top=True)
    except (_WrongError, RecursionError) as error:
        return Fault("images of a wrong type", str(error)[:200])


def unknown_images(row: Mapping[str, Any]) -> str:
    """The name of a column that looks like an image; "" if there is none."""
    for name, value in row.items():
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, dict) and isinstance(first.get("bytes"), bytes):
            return name
        if isinstance(first, str) and (_DATA_URI.match(first) or (len(first) < 300 and _IMAGE_FILE.fullmatch(first))):
            return name
    return ""


def with_placeholders(text: str, pictures: Sequence[Picture]) -> tuple[str, list[Picture]]:
    """A text whose placeholders are `<image>`, and its images in their order.

    Other ways to write them (`<image 1>`, `<img>`, `<IMAGE>`) count only if there is one per image and no `<image>`.
    """
    found = list(_OTHER_PLACEHOLDER.finditer(text))
    if PLACEHOLDER in text or not found or len(found) != len(pictures):
        return text, list(pictures)
    numbers = [int(match["number"] or 0) for match in found]
    in_order = sorted(numbers) == list(range(1, len(found) + 1))
    ordered = [pictures[number - 1] for number in numbers] if in_order else list(pictures)
    return _OTHER_PLACEHOLDER.sub(PLACEHOLDER, text), ordered


def _pictures(value: object, top: bool = False) -> list[Picture]:
    if top and is_empty(value):
        return []
    if isinstance(value, Picture):
        return [value]
    if isinstance(value, bytes):
        return [Picture("", value)]
    if isinstance(value, list):
        return [picture for item in value for picture in _pictures(item)]
    if isinstance(value, dict):
        return [_struct(value)]
    if isinstance(value, str) and value:
        items = _parsed(value) if value.startswith("[") else value
        return [picture for item in items for picture in _pictures(item)] if isinstance(items, list) else [_text(value)]
    raise _WrongError(f"images is {type(value).__name__}, a path or a list of paths is read")


def _struct(value: Mapping[str, Any]) -> Picture:
    """An image as a mapping: its bytes, or its path or address, maybe in a mapping of its own."""
    path = next((value[key] for key in ("path", "file_name", "filename", "name") if value.get(key)), "")
    for key in ("bytes", "base64", "b64_json", "data", "image", "url", "image_url", "src"):
        content = value.get(key)
        if isinstance(content, bytes) and content:
            return Picture(str(path), content)
        if isinstance(content, str) and content:
            return (
                _text(content) if key in {"image", "url", "image_url", "src"} else Picture(str(path), _decoded(content))
            )
        if isinstance(content, dict):
            return _struct(content)
    if isinstance(path, str) and path:
        return Picture(path)
    raise _WrongError(f"an image is a mapping of {', '.join(map(str, value))[:100]}: bytes or a path are read")


def _text(value: str) -> Picture:
    """An image as text: a data URI, base64, or a path."""
    if _DATA_URI.match(value):
        return Picture("", _decoded(value))
    if len(value) > 64 and value.startswith(_BASE64) and re.fullmatch(r"[A-Za-z0-9+/=_\s-]+", value):
        try:
            return Picture("", _decoded(value))
        except _WrongError:
            pass
    if len(value) > _LONGEST_PATH:
        raise _WrongError(f"an image is a text of {len(value)} characters, neither base64 nor a path")
    return Picture(value)


def _decoded(text: str) -> bytes:
    """The bytes of base64, or of a data URI."""
    text = text[match.end() :] if (match := _DATA_URI.match(text)) else text
    text = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _WrongError("an image is not base64") from error


def _parsed(value: object) -> object:
    """A list or mapping that is written as text, in JSON or Python; any other value as it is. No code is run."""
    if not isinstance(value, str) or not value.strip().startswith(("[", "{")):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
    return value
