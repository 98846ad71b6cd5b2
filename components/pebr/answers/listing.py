"""Answers that are lists: "1, 2 and 3", "(1, 2)", "{2, 1}", "[0, 5)"."""

import re
from collections.abc import Callable
from typing import NamedTuple

MAX_ITEMS = 30
MAX_DEPTH = 12  # of brackets; a text with deeper nesting is not read

_JOINT = {
    # with a space after a comma: "1,234, 5" has two items
    True: re.compile(r"\s*(?:;|,\s+|\s(?:and|or|&)\s)\s*(?:(?:and|or)\s+)?"),
    False: re.compile(r"\s*(?:;|,|\s(?:and|or|&)\s)\s*(?:(?:and|or)\s+)?"),
}


class Listing(NamedTuple):
    """A list as it was written."""

    brackets: str  # "()", "[)", "{}", ... or "" for a bare list
    items: tuple[str, ...]


def is_balanced(text: str) -> bool:
    """True if every bracket is closed, by a bracket of any kind, and none is nested too deep."""
    depths = _depths(text)
    return min(depths) == depths[-1] == 0 and max(depths) <= MAX_DEPTH


def _depths(text: str) -> list[int]:
    """The number of open brackets before each character and at the end."""
    depths = [0]
    for character in text:
        depths.append(depths[-1] + (character in "([{") - (character in ")]}"))
    return depths


def read_list(text: str) -> Listing | None:
    """Read a plain text as a list: items separated by commas, semicolons, "and" or "or", with or without brackets.

    A text of one item without brackets is a list of one item. None if the list is too long or nested too deep.

    >>> read_list("(1, 2]")
    Listing(brackets='(]', items=('1', '2'))
    """
    depths = _depths(text)
    if max(depths) > MAX_DEPTH:
        return None
    brackets = ""
    if text[0] in "([{" and text[-1] in ")]}" and all(depth > 0 for depth in depths[1:-1]):
        brackets = text[0] + text[-1]
    start, end = (1, len(text) - 1) if brackets else (0, len(text))
    joint = _JOINT[re.search(r",\s", text) is not None]
    items = []
    position = start
    while position < end:
        match = joint.match(text, position) if depths[position] == len(brackets) // 2 else None
        if match:
            items.append(text[start:position])
            start = position = match.end()
        else:
            position += 1
    items = [item.strip() for item in (*items, text[start:end]) if item.strip()]
    return Listing(brackets, tuple(items)) if 1 <= len(items) <= MAX_ITEMS else None


def order_matters(first: Listing, second: Listing, is_number: Callable[[str], bool]) -> bool | None:
    """Whether two lists must have the same order to be equal; None if they cannot be equal.

    Order matters in round and square brackets and in lists of words without brackets. It does not matter in braces and
    in lists of numbers without brackets, which are solutions. A list without brackets can equal a list with brackets;
    lists with different kinds of brackets are never equal.
    """
    kinds = {first.brackets, second.brackets} - {""}
    if len(first.items) != len(second.items) or len(kinds) > 1:
        return None
    bare_numbers = not kinds and all(is_number(item) for item in (*first.items, *second.items))
    return not bare_numbers and kinds != {"{}"}
