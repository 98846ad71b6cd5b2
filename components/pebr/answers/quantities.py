"""Quantities in answers: "7", "-1,234.5", "3/4", "2 1/2", "1.5e3", "50%", "$5", "7 red apples", "3 × 10^4 km/h".

Numbers are read exactly, as fractions, by the parser in this file. No text is evaluated as Python, and numbers that
would grow too large (`9**9**9**9`) are refused. After the number, only a unit of measure or the name of the counted
things is accepted. Words that change the value ("7 or 8", "7 out of 10", "7 and a half") are never skipped.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from pebr.answers.units import Unit, both_in_one, read_unit, same_dimension
from pebr.english.lexicon import FUNCTION_WORDS
from pebr.english.words import NUMBERS, SCALES, fold_numbers, singular, split_number_compounds

DIGITS_OF_A_ROUNDED_NUMBER = 6  # a decimal with at least this many significant digits equals a number that rounds to it
_MAX_DIGITS = 400  # of a number; also the largest power of ten
_MAX_NOUN_WORDS = 5
_MAX_SYMBOL = 3  # characters of a symbol such as "x" or "AB"; longer names are descriptions

# Words that, after a number, do not name counted things.
_NOT_A_NOUN = (
    FUNCTION_WORDS
    | SCALES.keys()
    | NUMBERS.keys()
    | set(
        re.findall(
            r"\w+",
            """times plus minus squared cubed equals versus vs point remainder power divided multiplied except never
            wrong incorrect false negative positive pair score gross double triple twice fewer greater larger smaller
            cheaper taller older younger longer shorter higher lower wider faster slower heavier later earlier worse
            better bigger half third quarter fourth fifth sixth seventh eighth ninth tenth hundredth thousandth
            sin cos tan cot sec csc log exp sqrt mod max min lim
            january february april june july august september october november december""",
        )
    )
)


class Quantity(NamedTuple):
    """A number with its unit, or with the things that it counts."""

    value: Fraction  # in `unit`; a percentage is already divided by 100
    significant: int | None  # significant digits of a decimal number as written; None for integers and fractions
    percent: bool
    unit: Unit | None
    noun: frozenset[str]  # words that name the counted things, in the singular
    name: str = ""  # the symbol that it is assigned to: "x" in "x = 5"


_WHOLE = r"\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,3}(?:[ ']\d{3})+(?!\d)|\d+"
_NUMBER = re.compile(
    rf"""(?P<whole>{_WHOLE})? (?P<decimals>\.\d*)? (?:[eE](?P<exponent>[-+]?\d{{1,4}})(?![\w.]))?""", re.VERBOSE
)
_TIMES_TEN = re.compile(r"\s*[×x*·]\s*10\s*(?:\^|\*\*)\s*[({]?\s*([-+]?\d{1,4})\s*[)}]?(?![\w.])")
_COMPOUND = re.compile(
    r"(\d{1,6})\s*([^\W\d]{1,12}|')\s*(?:,|and(?!\w))?\s*(\d{1,6}(?:\.\d{1,6})?)\s*([^\W\d]{1,12}|\")"
)
_AND_A_HALF = re.compile(r"(\d{1,9}) and (?:a|1)[ -](half|third|quarter|fourth|fifth|sixth|eighth|tenth)(?![\w-])")
_MIXED = re.compile(r"(\d{1,400})\s+(?:and\s+)?(\d{1,400})\s*/\s*(\d{1,400})(?![\d/.])")
_FRACTION = re.compile(r"\\frac\{(\d{1,400})\}\{(\d{1,400})\}")
_SIGN = re.compile(r"\s*([-+])\s*")
_PERCENT = re.compile(r"\s*(?:%|percent\b|per cent\b|pct\b|percentage(?: points?)?\b)", re.IGNORECASE)
_SCALED = re.compile(r"([KkMBT]|bn|mn)(?![\w/^·])")  # "3.5M", attached to the number
_SUFFIXES = {"K": 10**3, "k": 10**3, "M": 10**6, "mn": 10**6, "B": 10**9, "bn": 10**9, "T": 10**12}
_OUT_OF = re.compile(r"(\d{1,9}) (?:(?:out of|in) (?:every |the )?)(\d{1,9})(?: [a-z ]{3,40})?")
_OF = re.compile(r"\A\s+of\s+(?:the\s+|all\s+)*(?=[a-zA-Z])")  # "45% of the students"
_CURRENCY = re.compile(r"(?:us\s*)?([$€£¥₹])|(usd|eur|gbp|rs\.?|inr|rmb)\s", re.IGNORECASE)
_FRACTION_WORDS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_HYPHENED_FRACTION = re.compile(r"[a-z]+-(?:half|halves|(?:third|quarter|fourth|fifth|sixth|eighth|tenth)s?)")
_SPELLED = re.compile(
    r"(?:(an?|\d+)[ -])?(half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|eighths?|tenths?)(?!\w)(?! of)"
)
NO_UNIT = re.compile(r"(?:(?:square|sq\.?|cubic|cu\.?) )?units?(?: squared| cubed|\^[23])?", re.IGNORECASE)
_FUNCTIONS = "sin|cos|tan|cot|sec|csc"
ASSIGNED = re.compile(  # one name, or several: "AB = CD = "
    rf"\A(?:\\(?:{_FUNCTIONS})(?![a-z])|[^\W\d_]|[∠△])[\w ∠△'()°,:{{}}\\]{{0,40}}(?:=(?!=)|≈)\s*"
    r"(?:(?:[A-Z]{2,3}|[a-zA-Z]|[∠△][A-Z]{1,3})\s*=(?!=)\s*)*"
)
_SYMBOL = re.compile(
    rf"\\?(?:{_FUNCTIONS})(?![a-z]).*|m?∠.*|[A-Za-z]_\w+|[A-Z]{{1,2}}:[A-Z]{{1,2}}"
)  # a longer name that is one


@lru_cache(maxsize=2048)
def read_quantity(text: str) -> Quantity | None:
    """Read a whole plain text (`pebr.answers.plain_text.plain`) as a quantity; None if it is anything else.

    >>> read_quantity("2 1/2 cm").value
    Fraction(5, 2)
    >>> read_quantity("seven apples") == read_quantity("7 apple")
    True
    >>> read_quantity("7 or 8") is None
    True
    """
    name = ""
    if assigned := ASSIGNED.match(text):
        name, text = _name(assigned[0]), text[assigned.end() :]
    if compound := _compound(text):
        return compound._replace(name=name)
    if (" out of " in text or " in " in text) and (share := _share(text)):
        return share
    text = _AND_A_HALF.sub(lambda match: f"{match[1]} 1/{_divisor(match[2])}", _spelled_out(text), count=1)
    sign, text = _sign(text)
    currency = _CURRENCY.match(text)
    if currency:
        further, text = _sign(text[currency.end() :])
        sign *= further
    number = _number(text)
    if number is None:
        return None
    value, significant, rest = number
    value *= sign
    percent = _PERCENT.match(rest)
    if percent:
        value, rest = value / 100, _OF.sub(" ", rest[percent.end() :])
    if scaled := _SCALED.match(rest):
        value, rest = value * _SUFFIXES[scaled[1]], rest[scaled.end() :]
    scale_word, _, after_scale = rest.strip().partition(" ")
    if (scale := SCALES.get(singular(scale_word.lower()))) and not percent:
        value, rest = value * scale, " " + after_scale
    unit_and_noun = _unit_and_noun(rest)
    if unit_and_noun is None:
        return None
    unit, noun = unit_and_noun
    if currency:
        if unit:  # "$5 dollars"
            return None
        unit = read_unit((currency[1] or currency[2]).lower())
    return Quantity(value, significant, percent is not None, unit, noun, name)


def _share(text: str) -> Quantity | None:
    """Read "2 out of 5", "two out of five" or "1 in 6" as a fraction; None for any other text."""
    match = _OUT_OF.fullmatch(" ".join(fold_numbers(text.lower().split())))
    if not match or not int(match[2]):
        return None
    return Quantity(Fraction(int(match[1]), int(match[2])), None, percent=False, unit=None, noun=frozenset())


def _name(assigned: str) -> str:
    """The symbol in "x = " or "\\\\sin(A) = "; "" for a description in words and for several names."""
    symbol = re.sub(r"[\s\\{}()]", "", assigned.rstrip("=≈ "))
    if "=" in symbol or (len(symbol) > _MAX_SYMBOL and not _SYMBOL.fullmatch(symbol)):
        return ""
    return symbol.removeprefix("m") if "∠" in symbol else symbol


def _compound(text: str) -> Quantity | None:
    """Read "5 ft 7 in" or "1 hour and 30 minutes" as one quantity, in the base unit of the dimension."""
    match = _COMPOUND.fullmatch(text)
    large, small = (read_unit(match[2]), read_unit(match[4])) if match else (None, None)
    if match is None or large is None or small is None or not both_in_one(large, small):
        return None
    value = int(match[1]) * large.factor + Fraction(match[3]) * small.factor
    return Quantity(value, None, percent=False, unit=Unit(large.dimension, Fraction(1)), noun=frozenset())


def same_quantity(given: Quantity, reference: Quantity) -> bool:
    """True if two quantities are equal.

    If both have a unit or a noun, these must agree; a unit or noun on one side only is ignored. A percentage equals its
    value, and also a number above 1 with the same digits: "45" equals "45 %".
    """
    if not _of_the_same(given, reference):
        return False
    bare = [quantity for quantity in (given, reference) if not quantity.percent]
    if len(bare) == 1 and (bare[0].unit or bare[0].noun):  # "45 apples" is not a percentage
        return False
    first, second = given.value, reference.value
    if given.unit and reference.unit:
        first, second = first * given.unit.factor, second * reference.unit.factor
    if same_number(first, given.significant, second, reference.significant):
        return True
    if given.percent == reference.percent:
        return False
    share, other = (given, reference) if given.percent else (reference, given)
    return abs(other.value) > 1 and same_number(share.value * 100, share.significant, other.value, other.significant)


def _of_the_same(given: Quantity, reference: Quantity) -> bool:
    """False if the names, units or nouns of two quantities contradict each other."""
    if given.name and reference.name and given.name != reference.name:
        return False
    if given.unit and reference.unit:
        return same_dimension(given.unit, reference.unit)
    if given.unit or reference.unit:  # a unit on one side contradicts a noun on the other
        return not (reference.noun if given.unit else given.noun)
    return given.noun <= reference.noun or reference.noun <= given.noun


def same_number(first: Fraction, digits: int | None, second: Fraction, other_digits: int | None) -> bool:
    """True for equal numbers, and if an exact number rounds to a decimal of six or more significant digits.

    The digits of each number are the significant digits of a decimal; None: the number is exact.
    """
    if first == second:
        return True
    if (digits is None) == (other_digits is None):  # two decimals, or two exact numbers, must be equal
        return False
    written = digits or other_digits or 0
    if written < DIGITS_OF_A_ROUNDED_NUMBER:
        return False
    return round_significant(first, written) == round_significant(second, written)


def round_significant(value: Fraction, digits: int) -> Fraction:
    """Round a number to `digits` significant digits."""
    if not value:
        return value
    magnitude = len(str(abs(value.numerator))) - len(str(value.denominator))
    if abs(value) >= Fraction(10) ** magnitude:
        magnitude += 1
    return round(value, digits - magnitude)


def _sign(text: str) -> tuple[int, str]:
    match = _SIGN.match(text)
    return (-1 if match and match[1] == "-" else 1), text[match.end() :] if match else text


def _spelled_out(text: str) -> str:
    """Write number words at the start as digits, "minus" as a sign, and spelled fractions as fractions."""
    if not text[:1].isalpha():
        return text
    words = split_number_compounds(text.lower()).split()
    if words and _HYPHENED_FRACTION.fullmatch(words[0]):
        words[:1] = words[0].split("-")
    if words and words[0] in {"minus", "negative"}:
        return "-" + _spelled_out(" ".join(words[1:])) if len(words) < 20 else text
    spelled = _SPELLED.sub(lambda match: f"{'1' if match[1] in {None, 'a', 'an'} else match[1]}/{_divisor(match[2])}",
                           " ".join(fold_numbers(words)), count=1)  # fmt: skip
    return spelled if spelled[:1].isdigit() else text


def _divisor(word: str) -> int:
    return _FRACTION_WORDS["half" if word == "halves" else word.removesuffix("s")]


def _number(text: str) -> tuple[Fraction, int | None, str] | None:
    """The unsigned number at the start of a text: value, significant digits if it is a decimal, and the rest."""
    if match := _MIXED.match(text) or _FRACTION.match(text):
        whole, above, below = (int(group) for group in (["0", *match.groups()][-3:]))
        return (whole + Fraction(above, below), None, text[match.end() :]) if below else None
    literal = _literal(text)
    if literal is None:
        return None
    value, significant, rest = literal
    if rest.lstrip().startswith("/") and (below_literal := _literal(rest.lstrip()[1:].lstrip())):
        divisor, _, after = below_literal
        return (value / divisor, None, after) if divisor else None
    return value, significant, rest


def _literal(text: str) -> tuple[Fraction, int | None, str] | None:
    """Read the decimal number at the start of a text, with thousands separators and powers of ten."""
    match = _NUMBER.match(text)
    if not match or not (match["whole"] or (match["decimals"] or "").strip(".")):
        return None
    whole = re.sub(r"\D", "", match["whole"] or "")
    decimals = (match["decimals"] or "").strip(".")
    if len(whole) + len(decimals) > _MAX_DIGITS:
        return None
    rest = text[match.end() :]
    exponent = int(match["exponent"] or 0)
    if power := _TIMES_TEN.match(rest):
        exponent, rest = exponent + int(power[1]), rest[power.end() :]
    if abs(exponent) > _MAX_DIGITS:
        return None
    value = Fraction(int(whole + decimals), 10 ** len(decimals)) * Fraction(10) ** exponent
    written = (whole + decimals).lstrip("0")
    decimal = bool(decimals) or bool(match["exponent"]) or power is not None
    return value, len(written) if decimal else None, rest


def _unit_and_noun(rest: str) -> tuple[Unit | None, frozenset[str]] | None:
    """Read the text after a number as a unit and the name of the counted things; None if it is anything else."""
    attached = rest[:1].isalpha()
    rest = rest.strip()
    if rest.startswith("(") and rest.endswith(")"):  # "7 (apples)"
        rest = rest[1:-1].strip()
    if not rest or NO_UNIT.fullmatch(rest):
        return None, frozenset()
    if attached:  # "5cm"; not "2ab", and not "5m", which can mean 5 times m
        unit = read_unit(rest) if len(rest) > 1 or rest == "Ω" else None
        return (unit, frozenset()) if unit else None
    rest = re.sub(r"^-(?=[a-zA-Z])", "", rest)  # "7-sided"
    words = rest.split()
    if len(words) > _MAX_NOUN_WORDS + 3:
        return None
    for length in range(min(len(words), 4), 0, -1):
        unit = read_unit(" ".join(words[:length]))
        if unit and (noun := _noun(words[length:])) is not None:
            return unit, noun
    noun = _noun(words)
    return None if noun is None else (None, noun)


def _noun(words: list[str]) -> frozenset[str] | None:
    """The words that name the counted things, in the singular; None if the words are anything else."""
    folded = [singular(word.lower().strip(".,()")) for word in words]
    folded = [word for place, word in enumerate(folded) if word != "of" or place in {0, len(folded) - 1}]
    if len(folded) > _MAX_NOUN_WORDS or any(
        not re.fullmatch(r"[a-z][a-z-]*[a-z]", word) or word in _NOT_A_NOUN for word in folded
    ):
        return None
    return frozenset(folded) if not folded or len(folded[0]) > 2 else None
