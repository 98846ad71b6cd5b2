"""Answers that are lists: "1, 2 and 3", "(1, 2)", "{2, 1}", "[0, 5)"."""

import re
from collections.abc import Callable
from typing import NamedTuple

MAX_ITEMS = 30
MAX_DEPTH = 12  # of brackets; a text with deeper nesting is not read

_WORD = r"\s(?:and|or|&)\s|(?<=[)\]}])(?:and|or|&)(?=[(\[{])"
_JOINT = {
    # with a space after a comma: "1,234, 5" has two items
    True: re.compile(rf"\s*(?:;|,\s+|{_WORD})\s*(?:(?:and|or)\s+)?"),
    False: re.compile(rf"\s*(?:;|,|{_WORD})\s*(?:(?:and|or)\s+)?"),
}
_MAY_BE_A_LIST = re.compile(r"[,;&()\[\]{}⟨⟩]|\b(?:and|or)\b")
_OPEN, _CLOSED = "([{⟨", ")]}⟩"


class Listing(NamedTuple):
    """A list as it was written."""

    brackets: str  # "()", "[)", "{}", ... or "" for a bare list
    items: tuple[str, ...]
    joint: str = ""  # "or" or "and" if the items are joined so, else ""


def is_balanced(text: str) -> bool:
    """True if every bracket is closed, by a bracket of any kind, and none is nested too deep."""
    depths = _depths(text)
    return min(depths) == depths[-1] == 0 and max(depths) <= MAX_DEPTH


def _depths(text: str) -> list[int]:
    """The number of open brackets before each character and at the end."""
    depths = [0]
    for character in text:
        depths.append(depths[-1] + (character in _OPEN) - (character in _CLOSED))
    return depths


def read_list(text: str) -> Listing | None:
    """Read a plain text as a list: items separated by commas, semicolons, "and" or "or", with or without brackets.

    A text of one item without brackets is a list of one item. None if the list is too long or nested too deep.

    >>> read_list("(1, 2]")
    Listing(brackets='(]', items=('1', '2'), joint='')
    """
    if not _MAY_BE_A_LIST.search(text):
        return Listing("", (text,))
    depths = _depths(text)
    if max(depths) > MAX_DEPTH:
        return None
    brackets = ""
    if text[0] in _OPEN and text[-1] in _CLOSED and all(depth > 0 for depth in depths[1:-1]):
        brackets = text[0] + text[-1]
    start, end = (1, len(text) - 1) if brackets else (0, len(text))
    level = len(brackets) // 2
    spaced = any(depths[comma.start()] == level for comma in re.finditer(r",\s", text))
    joint, joints, items = _JOINT[spaced], "", []
    position = start
    while position < end:
        match = joint.match(text, position) if depths[position] == level else None
        if match:
            items.append(text[start:position])
            joints += match[0]
            start = position = match.end()
        else:
            position += 1
    items = [item.strip() for item in (*items, text[start:end]) if item.strip()]
    word = "or" if "or" in joints else "and" if "and" in joints or "&" in joints else ""
    return Listing(brackets, tuple(items), word) if 1 <= len(items) <= MAX_ITEMS else None


def order_matters(first: Listing, second: Listing, is_value: Callable[[str], bool]) -> bool | None:
    """Whether two lists must have the same order to be equal; None if they cannot be equal.

    Order matters in round and square brackets and in lists of words without brackets. It does not matter in braces, in
    words joined by "and" or "or", and in lists of values without brackets, which are solutions. A list without brackets
    can equal a list with brackets except a half-open interval, and a vector (angle brackets) one in round or square
    brackets; other lists with different kinds of brackets are never equal. "red or blue" is not "red and blue".
    """
    kinds, joints = {first.brackets, second.brackets} - {""}, {first.joint, second.joint}
    half_open = bool(kinds & {"[)", "(]"}) and "" in {first.brackets, second.brackets}
    if (
        len(first.items) != len(second.items)
        or half_open
        or (len(kinds) > 1 and not ("⟨⟩" in kinds and kinds & {"()", "[]"}))
    ):
        return None
    if all(is_value(item) for item in (*first.items, *second.items)):
        if joints == {"or", "and"} and any(mark in first.items[0] for mark in "<>≤≥"):  # "x < 1 and x > 3" is no union
            return None
        return bool(kinds) and kinds != {"{}"}
    if "or" in joints and len(joints) > 1:
        return None
    return kinds != {"{}"} and (bool(kinds) or joints not in ({"or"}, {"and"}))
