"""Conditions on one variable as intervals: "3 < x ≤ 5" and "x ∈ (3, 5]" become "(3, 5]"."""

import re
from typing import NamedTuple

_SIDE = r"([^<>≤≥≠=∈]{1,60}?)"
_NAME = r"\s*([^\W\d_])\s*"
_BETWEEN = re.compile(rf"{_SIDE}\s*([<>≤≥]){_NAME}([<>≤≥])\s*{_SIDE}")
_BOUND = re.compile(rf"{_NAME}([<>≤≥])\s*{_SIDE}")
_BOUND_BEFORE = re.compile(rf"{_SIDE}\s*([<>≤≥]){_NAME}")
_MEMBER = re.compile(rf"{_NAME}∈\s*([(\[{{].*)")
_OR = re.compile(r"\s*(?:∪|(?<!\w)or(?!\w))\s*")
_IN = re.compile(r"\A[^\W\d_]\s*∈\s*")
_INTERVAL = re.compile(r"[(\[][^()\[\]]{1,60},[^()\[\]]{1,60}[)\]]|\{[^{}]{1,60}\}")
_VALUE = re.compile(r"[\d∞π]")
_TURNED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}


class Condition(NamedTuple):
    """A condition on one variable."""

    name: str
    interval: str  # for example "(3, 5]"


def read_condition(text: str) -> Condition | None:
    """Read a plain text as a condition on one variable with numbers as bounds; None for any other text.

    >>> read_condition("5 > x ≥ 3"), read_condition("x ≤ 2π"), read_condition("x < y")
    (Condition(name='x', interval='[3, 5)'), Condition(name='x', interval='(-∞, 2π]'), None)
    """
    if match := _MEMBER.fullmatch(text):
        return Condition(match[1], match[2])
    low, high, first, second = "-∞", "∞", "<", "<"
    if match := _BETWEEN.fullmatch(text):
        low, first, name, second, high = match.groups()
        if first in ">≥":
            low, first, second, high = high, _TURNED[second], _TURNED[first], low
    elif match := _BOUND.fullmatch(text) or _BOUND_BEFORE.fullmatch(text):
        groups = match.groups()
        name, sign, value = groups if match.re is _BOUND else (groups[2], _TURNED[groups[1]], groups[0])
        if sign in "<≤":
            second, high = sign, value
        else:
            first, low = _TURNED[sign], value
    else:
        return None
    if first not in "<≤" or second not in "<≤" or not (_VALUE.search(low) and _VALUE.search(high)):
        return None
    return Condition(name, f"{'(' if first == '<' else '['}{low}, {high}{')' if second == '<' else ']'}")


def as_intervals(given: str, reference: str) -> tuple[str, str] | None:
    """Two plain texts as intervals, if one is a condition and the other is a condition or an interval; else None."""
    first, second = read_condition(given), read_condition(reference)
    if first and second:
        return (first.interval, second.interval) if first.name == second.name else None
    if first and reference[0] in "([{":
        return first.interval, reference
    return (given, second.interval) if second and given[0] in "([{" else None


def as_unions(given: str, reference: str) -> tuple[list[str], list[str]] | None:
    """Two plain texts as the intervals whose union they are, if both are unions; else None.

    >>> as_unions("x<1 or x>3", "(3, ∞) ∪ (-∞, 1)")
    (['(-∞, 1)', '(3, ∞)'], ['(3, ∞)', '(-∞, 1)'])
    """
    if not all("∪" in text or _OR.search(text) for text in (given, reference)):
        return None
    parts = [[part.strip() for part in _OR.split(_IN.sub("", text))] for text in (given, reference)]
    conditions = [[read_condition(part) for part in row] for row in parts]
    names = {condition.name for row in conditions for condition in row if condition}
    intervals = [
        [condition.interval if condition else part for condition, part in zip(row, texts, strict=True)]
        for row, texts in zip(conditions, parts, strict=True)
    ]
    is_union = all(_INTERVAL.fullmatch(interval) for row in intervals for interval in row)
    return (intervals[0], intervals[1]) if is_union and len(names) <= 1 else None
