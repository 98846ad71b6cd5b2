"""Whether two answers are equal, by exact rules that run in linear time and evaluate nothing.

The rules, in order: options by letter or text, the same words, yes and no, quantities, times and dates, lists. If no
rule decides and both texts are mathematical expressions, the result is a `Symbolic` question for computer algebra.
Computer algebra may never end, so it runs in processes that can be killed (`pebr.answers.workers`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import permutations, product
from typing import NamedTuple

from pebr.answers.arithmetic import arithmetic_value
from pebr.answers.dates import same_moment
from pebr.answers.intervals import as_intervals, as_unions
from pebr.answers.listing import is_balanced, order_matters, read_list
from pebr.answers.names import without_names
from pebr.answers.options import compare_by_letter, picked_option, read_pick, read_picks
from pebr.answers.plain_text import MAX_CHARACTERS, plain
from pebr.answers.quantities import ASSIGNED, NO_UNIT, Quantity, read_quantity, same_quantity
from pebr.answers.sentences import is_explanation, shorter_readings, undressed
from pebr.answers.units import Unit, read_unit
from pebr.answers.wording import same_words, yes_or_no

MAX_EXPRESSION = 300  # characters; computer algebra does not get longer texts
MAX_LINES = 12  # of an answer; more are a text
MAX_WAYS = 24  # orders of a list that computer algebra tries
Pair = tuple[str, str]  # plain texts: given, reference


class Symbolic(NamedTuple):
    """Questions for computer algebra. The answers are equal if all pairs of one way are equal."""

    ways: tuple[tuple[Pair, ...], ...]

    @property
    def pairs(self) -> set[Pair]:
        """All pairs of all ways."""
        return {pair for way in self.ways for pair in way}


def compare(given: str, reference: str, options: Mapping[str, str] | None = None) -> bool | Symbolic:
    """Whether `given` equals `reference`, or a question for computer algebra.

    Args:
        given: an answer as a model wrote it. If it has several lines, each must be right or explain the others.
        reference: the right answer.
        options: letter -> text, for multiple choice. The reference may then be a letter or the text of an option.

    >>> compare("**7**", "7"), compare("A. 12", "A"), compare("ab", "ba")
    (True, True, False)
    """
    wanted = plain(reference)
    if not wanted:
        return False
    question = _Question(wanted, {letter.strip().upper(): plain(text) for letter, text in (options or {}).items()})
    if "\n" not in given or len(given) > MAX_CHARACTERS or "\\boxed" in given:
        return question.judge(plain(given))
    lines = [line for line in map(plain, given.split("\n")) if any(map(str.isalnum, line))]
    if len(lines) > MAX_LINES or any(map(question.picks_another, lines)):
        return False
    verdict = question.judge(plain(given))
    if verdict is True or len(lines) < 2:
        return verdict
    if question.judge(", ".join(lines)) is True:  # "x = 3" and "y = 2" are one answer
        return True
    counted = [v for line in lines if (v := question.judge(line)) or is_answer(line) or not is_explanation(line)]
    return (bool(counted) and _all(counted)) or verdict


def is_answer(line: str) -> bool:
    """Whether a plain text is an answer by itself: an option or a number."""
    readings = (line, *shorter_readings(line))
    return any(read_pick(text) is not None or read_answer_quantity(text) is not None for text in readings)


class _Question:
    """A plain reference with the options of its question, letter -> plain text."""

    def __init__(self, reference: str, options: Mapping[str, str]) -> None:
        self.reference, self.options = reference, options
        self.right = picked_option(reference, options, compare_values) if options else ""
        self.several = read_picks(reference, frozenset(options), compact=True) if options and not self.right else None

    def judge(self, answer: str) -> bool | Symbolic:
        """The verdict on a plain answer: that of its first reading that decides."""
        undecided: bool | Symbolic = False
        for reading in dict.fromkeys(_readings(answer)) if answer else ():
            found = self._verdict(reading)
            if isinstance(found, bool):
                return found
            undecided = undecided or found or False
        bare = undressed(self.reference)
        return undecided or (bare != self.reference and not self.options and compare_values(answer, bare))

    def picks_another(self, line: str) -> bool:
        """Whether a line of an answer picks another option than the right one."""
        if not self.right:
            return False
        readings = (line,) if is_explanation(line) else (line, *shorter_readings(line))
        picks = (picked_option(reading, self.options, compare_values) for reading in readings)
        return next(filter(None, picks), self.right) != self.right

    def _verdict(self, answer: str) -> bool | Symbolic | None:
        """The verdict on one reading of the answer; None if it decides nothing."""
        if self.right:
            picked = picked_option(answer, self.options, compare_values)
            return picked == self.right if picked else compare_values(answer, self.options[self.right]) or None
        if self.several:
            return True if read_picks(answer, frozenset(self.options), compact=True) == self.several else None
        decided = compare_by_letter(answer, self.reference, compare_values)
        return decided if decided is not None else compare_values(answer, self.reference) or None


def _readings(answer: str) -> Iterable[str]:
    """The plain forms of a plain answer: itself, and its short forms if it is a sentence or says its value twice."""
    for text in (answer, *shorter_readings(answer)):
        yield text
        yield undressed(text)
        if text[-1] == ")" and (twice := _TWICE.fullmatch(text)) and compare_values(twice[1], twice[2]) is True:
            yield twice[1]


_TWICE = re.compile(r"(\S[^()]*?)\s*\(([^()]{1,40})\)")  # "5 (five)"


@lru_cache(maxsize=2048)
def compare_values(given: str, reference: str) -> bool | Symbolic:
    """Whether two plain texts are equal, without regard to options."""
    if not given or not reference:
        return False
    first, second = read_answer_quantity(given), read_answer_quantity(reference)
    if second and not first and not second.unit:
        first = _with_attached_unit(given)
    elif first and not second and not first.unit:
        second = _with_attached_unit(reference)
    if same_words(given, reference):
        return not (first and second) or same_quantity(first, second)  # "5 mW" is not "5 MW", "3m" is not "3M"
    if wanted := yes_or_no(reference, alone=True):
        return yes_or_no(given, alone=False) == wanted
    same = same_quantity(first, second) if first and second else same_moment(given, reference)
    return same if same is not None else _compare_formulas(*without_names(given, reference))


def _compare_formulas(given: str, reference: str) -> bool | Symbolic:
    """Compare two plain texts that are neither quantities nor times: unions, lists, expressions."""
    if same_words(given, reference) or _same_formula(given, reference):
        return True
    if unions := as_unions(given, reference):
        return _in_any_order(*unions)
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
    return read_quantity(text[:-1]) if _ATTACHED_LETTER.search(text) else None


_ATTACHED_LETTER = re.compile(r"\d(?:[mghlLVWJN]|(?<!\d\d\d0)s)$")  # "1990s" is no number of seconds
_PRODUCT = re.compile(r"[a-zA-Z](?:\s*[*·×]\s*[a-zA-Z]){1,3}")
_COMPLEXITY = re.compile(r"[OΘΩ]\s*\((.+)\)")


def _same_formula(given: str, reference: str) -> bool:
    """Whether two plain texts are the same product of letters, chemical formula or order of complexity."""
    for product_, letters in ((given, reference), (reference, given)):
        if letters.isalpha() and len(letters) <= 4 and _PRODUCT.fullmatch(product_):
            return re.sub(r"[\s*·×]", "", product_) == letters
    if "_" in given + reference and re.sub(r"[_{}]", "", given) == re.sub(r"[_{}]", "", reference):
        return True
    orders = [_COMPLEXITY.fullmatch(text) for text in (given, reference)]
    first, second = (re.sub(r"[\s\\*·{}]", "", order[1]) if order else "" for order in orders)
    return bool(first) and first == second


_PLUS_MINUS = re.compile(r"\A([a-zA-Z]\s*=\s*)?±\s*([^-+±,]+)\Z")  # "±2" is "2, -2"


def _compare_lists(given: str, reference: str) -> bool | Symbolic | None:
    """Compare two lists item by item; None if one of the texts cannot be a list, or both have a single item."""
    first, second = (read_list(_PLUS_MINUS.sub(r"\1\2, \1-\2", text)) for text in (given, reference))
    if first is None or second is None or (
        len(first.items) == len(second.items) == 1 and "[]" not in {first.brackets, second.brackets}  # "[7]" is 7
    ):  # fmt: skip
        return None
    ordered = order_matters(first, second, _is_value)
    if ordered is None:
        return False
    if ordered:
        return _all(map(compare_values, first.items, second.items))
    return _in_any_order(first.items, second.items)


def _is_value(item: str) -> bool:
    """Whether an item of a list is a number, a point or an interval, and not words."""
    return read_answer_quantity(item) is not None or (
        re.search(r"[\d∞π]", item) is not None and not _PROSE.search(_WORDS_OF_MATHEMATICS.sub(" ", item))
    )


def _in_any_order(items: Sequence[str], others: Sequence[str]) -> bool | Symbolic:
    """Whether two lists of the same length have the same items."""
    if len(items) != len(others):
        return False
    left, undecided = list(others), []
    for item in items:
        verdicts = [compare_values(item, other) for other in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        elif any(verdicts):
            undecided.append(item)
        else:
            return False
    if len(undecided) > 4:
        return False
    ways = [_all(map(compare_values, undecided, order)) for order in permutations(left)]
    return True in ways or _either([way for way in ways if isinstance(way, Symbolic)])


def _either(questions: Sequence[Symbolic]) -> bool | Symbolic:
    """The question whether one of several is true; False if there are none or too many."""
    ways = tuple(way for question in questions for way in question.ways)
    return Symbolic(ways) if 0 < len(ways) <= MAX_WAYS else False


def _all(verdicts: Iterable[bool | Symbolic]) -> bool | Symbolic:
    """False if one verdict is False; else the questions that are left; else True."""
    questions: list[Symbolic] = []
    for verdict in verdicts:
        if isinstance(verdict, Symbolic):
            questions.append(verdict)
        elif not verdict:
            return False
    ways = [
        tuple(pair for way in choice for pair in way) for choice in product(*(q.ways for q in questions[:MAX_WAYS]))
    ]
    return _either([Symbolic(tuple(ways))]) if questions else True


_MATHEMATICAL = re.compile(r"[\d\\^_=<>≤≥≠+*/√π∞±×·÷∪∩∈∅|]")
_WORDS_OF_MATHEMATICS = re.compile(
    r"\\[a-zA-Z]+|\b(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?\b|\b(?:log|ln|exp|sqrt|max|min|lim|mod|and|or)(?![a-zA-Z])"
)
_PROSE = re.compile(r"(?<![\w\\])(?:[^\W\d_]{3,}|(?:is|are|to|of|it|no|if|so|at|by|as|on|an|be)(?!\w))")  # not "3xyz"
_ATTACHED_UNIT = re.compile(r"(.*[})π])([^\W\d_]{2,}(?:\^[23])?)")
_MEASURED = re.compile(r"(?:[\d√π^].*)?[\d})π°]$|[\d√π].*\w$|^[b-zB-HJ-Z]$")  # not "left", before "foot"
_LABEL = re.compile(r"\d*[A-Za-z]+\d[A-Za-z\d]*")  # "B2", "CO2": a name, not a product
_OPTION = re.compile(r"[A-Z][.)]\s")  # "D. 12"
_ONLY_NUMBERS = re.compile(r"[-\d\s./:=]+")
_HEAVY = re.compile(r"(?:\^|\*\*)\s*[({]?\s*\d{4}|\d{5}\s*!|!\s*!|(?:(?:\^|\*\*)[^\s^*+/-]*){3}")


def _compare_expressions(given: str, reference: str) -> bool | Symbolic:
    """The question for computer algebra; False if one of the texts is not an expression or is too large."""
    given, given_unit = _split_unit(given)
    reference, reference_unit = _split_unit(reference)
    if any(_LABEL.fullmatch(text) or _OPTION.match(text) for text in (given, reference)):
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
        return Symbolic((tuple(pair for pair in pairs if not same_words(*pair)),))
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
        if _MEASURED.search(head) and (NO_UNIT.fullmatch(tail) or read_unit(tail)):
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
