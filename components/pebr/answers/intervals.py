"""Conditions on one variable as intervals: "3 < x ≤ 5" and "x ∈ (3, 5]" become "(3, 5]"."""

import re
from typing import NamedTuple

_SIDE = r"([^<>≤≥≠=∈]{1,60}?)"
_NAME = r"\s*([^\W\d_])\s*"
_BETWEEN = re.compile(rf"{_SIDE}\s*([<>≤≥]){_NAME}([<>≤≥])\s*{_SIDE}")
_BOUND = re.compile(rf"{_NAME}([<>≤≥])\s*{_SIDE}")
_BOUND_BEFORE = re.compile(rf"{_SIDE}\s*([<>≤≥]){_NAME}")
_MEMBER = re.compile(rf"{_NAME}∈\s*([(\[{{].*)")
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
