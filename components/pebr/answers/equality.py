"""Whether two answers are equal, by exact rules that run in linear time and evaluate nothing.

The rules, in order: options by letter or text, the same words, yes and no, quantities, lists. If no rule decides and
both texts are mathematical expressions, the result is a `Symbolic` question for computer algebra. Computer algebra may
never end, so it runs in processes that can be killed (`pebr.answers.workers`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from pebr.answers.arithmetic import arithmetic_value
from pebr.answers.intervals import as_intervals
from pebr.answers.listing import is_balanced, order_matters, read_list
from pebr.answers.options import compare_by_letter, compare_by_options, read_pick
from pebr.answers.plain_text import MAX_CHARACTERS, plain
from pebr.answers.quantities import ASSIGNED, NO_UNIT, Quantity, read_quantity, same_quantity
from pebr.answers.sentences import shorter_readings
from pebr.answers.units import Unit, read_unit
from pebr.answers.wording import same_words, yes_or_no

MAX_EXPRESSION = 300  # characters; computer algebra does not get longer texts


class Symbolic(NamedTuple):
    """Pairs of plain texts for computer algebra. The answers are equal if all pairs are equal."""

    pairs: tuple[tuple[str, str], ...]  # given, reference


def compare(given: str, reference: str, options: Mapping[str, str] | None = None) -> bool | Symbolic:
    """Whether `given` equals `reference`, or a question for computer algebra.

    Args:
        given: an answer as a model wrote it. If it has several lines, its first line alone is also compared.
        reference: the right answer.
        options: letter -> text, for multiple choice. The reference may then be a letter or the text of an option.

    >>> compare("**7**", "7"), compare("A. 12", "A"), compare("ab", "ba")
    (True, True, False)
    """
    wanted = plain(reference)
    texts = {letter.strip().upper(): plain(text) for letter, text in (options or {}).items()}
    undecided: bool | Symbolic = False
    for answer in _readings(given) if wanted else ():
        verdict = compare_by_options(answer, wanted, texts, compare_values) if texts else None
        if verdict is None:
            verdict = compare_by_letter(answer, wanted, compare_values)
        if verdict is None:
            verdict = compare_values(answer, wanted)
        if verdict is True:
            return True
        undecided = undecided or verdict
    return undecided


def _readings(given: str) -> Iterator[str]:
    """The plain forms of an answer: the whole text, its first line, and the short forms of each if it is a sentence."""
    whole = plain(given)
    head, *below = given.strip()[: MAX_CHARACTERS + 1].split("\n")
    first = plain(head) if below and "\\boxed" not in given and not any(map(_is_answer, below)) else ""
    for text in filter(None, (whole, first)):
        yield text
        yield from shorter_readings(text)


def _is_answer(line: str) -> bool:
    """Whether a line is an answer by itself. Then the first line alone is not the whole answer."""
    text = plain(line)
    return bool(text) and (read_pick(text) is not None or read_answer_quantity(text) is not None)


@lru_cache(maxsize=2048)
def compare_values(given: str, reference: str) -> bool | Symbolic:
    """Whether two plain texts are equal, without regard to options."""
    if not given or not reference:
        return False
    if same_words(given, reference):
        first, second = read_answer_quantity(given), read_answer_quantity(reference)
        return not (first and second and first.unit != second.unit)  # "5 mW" is not "5 MW"
    if wanted := yes_or_no(reference, alone=True):
        return yes_or_no(given, alone=False) == wanted
    first, second = read_answer_quantity(given), read_answer_quantity(reference)
    if second and not first and not second.unit:
        first = _with_attached_unit(given)
    elif first and not second and not first.unit:
        second = _with_attached_unit(reference)
    if first and second:
        return same_quantity(first, second)
    if intervals := as_intervals(given, reference):
        given, reference = intervals
    verdict = _compare_lists(given, reference)
    return _compare_expressions(given, reference) if verdict is None else verdict


def read_answer_quantity(text: str) -> Quantity | None:
    """A plain text as a quantity, written as a number or as plain arithmetic; None for any other text."""
    quantity = read_quantity(text)
    if quantity is None and (value := arithmetic_value(text)) is not None:
        return Quantity(value, None, percent=False, unit=None, noun=frozenset())
    return quantity


def _with_attached_unit(text: str) -> Quantity | None:
    """ "5m" as 5: if the other side is a number without a unit, the letter is a unit, not a factor."""
    return read_quantity(text[:-1]) if re.search(r"\d[mgshlLVWJ]$", text) else None


_PLUS_MINUS = re.compile(r"\A([a-zA-Z]\s*=\s*)?±\s*([^-+±,]+)\Z")  # "±2" is "2, -2"


def _compare_lists(given: str, reference: str) -> bool | Symbolic | None:
    """Compare two lists item by item; None if one of the texts cannot be a list, or both have a single item."""
    first, second = (read_list(_PLUS_MINUS.sub(r"\1\2, \1-\2", text)) for text in (given, reference))
    if first is None or second is None or (
        len(first.items) == len(second.items) == 1 and "[]" not in {first.brackets, second.brackets}  # "[7]" is 7
    ):  # fmt: skip
        return None
    ordered = order_matters(first, second, lambda item: read_answer_quantity(item) is not None)
    if ordered is None:
        return False
    if ordered:
        return _all(map(compare_values, first.items, second.items))
    others = list(second.items)
    undecided = False
    for item in first.items:
        verdicts = [compare_values(item, other) for other in others]
        if True in verdicts:
            del others[verdicts.index(True)]
        elif any(isinstance(verdict, Symbolic) for verdict in verdicts):
            undecided = True
        else:
            return False
    return Symbolic(((given, reference),)) if undecided else True


def _all(verdicts: Iterable[bool | Symbolic]) -> bool | Symbolic:
    """False if one verdict is False; else the questions that are left; else True."""
    pairs: list[tuple[str, str]] = []
    for verdict in verdicts:
        if isinstance(verdict, Symbolic):
            pairs += verdict.pairs
        elif not verdict:
            return False
    return Symbolic(tuple(pairs)) if pairs else True


_MATHEMATICAL = re.compile(r"[\d\\^_=<>≤≥≠+*/√π∞±×·÷∪∩∈∅|]")
_WORDS_OF_MATHEMATICS = re.compile(
    r"\\[a-zA-Z]+|\b(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?\b|\b(?:log|ln|exp|sqrt|max|min|lim|mod|and|or)(?![a-zA-Z])"
)
_PROSE = re.compile(r"(?<![\w\\])(?:[^\W\d_]{3,}|(?:is|are|to|of|it|no|if|so|at|by|as|on|an|be)(?!\w))")  # not "3xyz"
_ATTACHED_UNIT = re.compile(r"(.*[})π])([^\W\d_]{2,}(?:\^[23])?)")
_LABEL = re.compile(r"\d*[A-Za-z]+\d[A-Za-z\d]*")  # "B2", "CO2": a name, not a product
_ONLY_NUMBERS = re.compile(r"[-\d\s./:=]+")
_HEAVY = re.compile(r"(?:\^|\*\*)\s*[({]?\s*\d{4}|\d{5}\s*!|!\s*!|(?:(?:\^|\*\*)[^\s^*+/-]*){3}")


def _compare_expressions(given: str, reference: str) -> bool | Symbolic:
    """The question for computer algebra; False if one of the texts is not an expression or is too large."""
    given, given_unit = _split_unit(given)
    reference, reference_unit = _split_unit(reference)
    if _LABEL.fullmatch(given) or _LABEL.fullmatch(reference):
        return False
    if given_unit and reference_unit and given_unit != reference_unit:
        return False
    if ("=" in given) != ("=" in reference):  # "x = 2π" is 2π
        given, reference = ASSIGNED.sub("", given, count=1), ASSIGNED.sub("", reference, count=1)
    if same_words(given, reference):
        return True
    pairs = [(given, reference)]
    if "=" in given and "=" not in reference:  # "\\sqrt{16} = 4" equals 4 if both sides do
        pairs = [(side.strip(), reference) for side in _sides(given)]
    if all(_is_expression(text) for pair in pairs for text in pair):
        return Symbolic(tuple(pair for pair in pairs if not same_words(*pair)))
    return False


def _sides(text: str) -> list[str]:
    """Split a text at its equals signs, except those in braces: "\\sum_{i=1}^3 i = 6" has two sides."""
    sides, depth = [""], 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "=" and depth <= 0:
            sides.append("")
        else:
            sides[-1] += character
    return sides


def _split_unit(text: str) -> tuple[str, Unit | None]:
    """Split the unit off the end of an expression: "2π cm", "3\\sqrt{2}cm", "4π square units"."""
    words = text.split(" ")
    for count in range(min(3, len(words) - 1), 0, -1):
        head, tail = " ".join(words[:-count]), " ".join(words[-count:])
        if re.search(r"[\w})π°]$", head) and (NO_UNIT.fullmatch(tail) or read_unit(tail)):
            return head, read_unit(tail)
    match = _ATTACHED_UNIT.fullmatch(text)
    unit = read_unit(match[2]) if match else None
    return (match[1], unit) if match and unit else (text, None)


def _is_expression(text: str) -> bool:
    """True if a text may be mathematics and is not so large that only the time limit would end its evaluation."""
    if len(text) > MAX_EXPRESSION or not _MATHEMATICAL.search(text) or _HEAVY.search(text):
        return False
    if _ONLY_NUMBERS.fullmatch(text) and not read_answer_quantity(text):  # a date, a range, a ratio
        return False
    return is_balanced(text) and not _PROSE.search(_WORDS_OF_MATHEMATICS.sub(" ", text))
