"""How each benchmark's answers are scored, by rule: VLMEvalKit's conventions without its judge model.

A rule takes a row and the answer that a response gave. It either decides, or names the comparison that the one answer
check of `pebr.answers.check` is to make, so that benchmarks and rewards agree on what "equal" means. Where a rule
decides, it reads the answer in its plain form, as the answer check does: `**14**` is 14, "Yes." is yes.
"""

import ast
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import NamedTuple

from pebr.answers.arithmetic import arithmetic_value
from pebr.answers.equality import read_answer_quantity
from pebr.answers.options import read_pick, read_picks
from pebr.answers.plain_text import plain
from pebr.answers.sentences import shorter_readings
from pebr.answers.wording import same_words
from pebr.data.benchmark import BenchmarkRow

MAX_ANSWER_CHARACTERS = 2000  # a longer "answer" is a response without one
RELAXED_TOLERANCE = Fraction("0.05")  # ChartQA, arXiv 2203.10244
DYNAMATH_TOLERANCE = Fraction("0.001")  # DynaMath, arXiv 2411.00836
PI = "3.14159265358979"
LETTERS = frozenset("ABCDEFGHIJ")


class Comparison(NamedTuple):
    """A question for the answer check: is `given` the same answer as `reference`?"""

    given: str
    reference: str
    options: Mapping[str, str]


Rule = Callable[[BenchmarkRow, str], bool | Comparison]


def compare(row: BenchmarkRow, given: str) -> bool | Comparison:
    """The rule of MMStar, MathVision, WeMath, MathVerse and any benchmark not named here: the answer check decides.

    An option's letter and an option's text are both taken when the row has options.
    """
    return Comparison(given, row.answer, options(row))


def relaxed(row: BenchmarkRow, given: str) -> bool:
    """ChartQA's relaxed accuracy: numbers within 5 % of the reference ("%" means /100), else equal but for case.

    Where the row has a list of references, one of them is enough.

    >>> relaxed(BenchmarkRow(index="0", question="", answer="100"), "104.9")
    True
    """
    number = _number(given)
    for answer in literal_list(row.answer) or [row.answer]:
        reference = _number(answer)
        if number is not None and reference:
            right = abs(number - reference) <= RELAXED_TOLERANCE * abs(reference)
        else:
            right = same_words(plain(given), plain(answer))
        if right:
            return True
    return False


def mathvista(row: BenchmarkRow, given: str) -> bool | Comparison:
    """MathVista: an option for multiple choice, else by answer type: integer, float (to its precision), list, text."""
    if row.extra.get("question_type") == "multi_choice":
        return Comparison(given, row.extra.get("answer_option") or row.answer, options(row))
    if row.answer_type in {"integer", "float"}:
        number, reference = _number(given), _number(row.answer)
        if number is None or reference is None:
            return False
        digits = 0 if row.answer_type == "integer" else int(float(row.extra.get("precision") or 2))
        return round(number, digits) == round(reference, digits) and (row.answer_type == "float" or number % 1 == 0)
    if row.answer_type == "list":
        return Comparison(_as_list(given), _as_list(row.answer), {})
    return Comparison(given, row.answer, {})


def dynamath(row: BenchmarkRow, given: str) -> bool | Comparison:
    """DynaMath: a number within 0.001 of the reference, or the option, or the text."""
    if row.answer_type == "float":
        number, reference = _number(given), _number(row.answer)
        return number is not None and reference is not None and abs(number - reference) <= DYNAMATH_TOLERANCE
    return Comparison(given, row.answer, options(row))


def logicvista(row: BenchmarkRow, given: str) -> bool:
    """LogicVista: the same set of option letters, in any order and with any separators.

    >>> logicvista(BenchmarkRow(index="0", question="", answer="A, C"), "(C) and (A).")
    True
    """
    reference, answer = _letters(row.answer), plain(given)
    return reference is not None and any(_letters(text) == reference for text in (answer, *shorter_readings(answer)))


RULES: dict[str, Rule] = {
    "ChartQA_TEST": relaxed,
    "MathVista_MINI": mathvista,
    "DynaMath": dynamath,
    "LogicVista": logicvista,
}

# Which columns a benchmark's accuracy is shown by; any other TSV by its category and split, where it has them.
GROUPS: dict[str, tuple[str, ...]] = {
    "ChartQA_TEST": ("split",),
    "MMStar": ("category", "l2_category"),
    "MathVista_MINI": ("task", "skills"),
    "MathVision": ("category",),
    "MathVerse_MINI": ("problem_version",),
    "WeMath": ("key",),
    "DynaMath": ("subject", "knowledge_level"),
    "LogicVista": ("skill",),
}

NOTES: dict[str, str] = {
    "MathVerse_MINI": "approximate: scored by rule, while its published scores use a judge model",
}


def rule_for(benchmark: str) -> Rule:
    """The rule of a benchmark by its TSV name."""
    return RULES.get(benchmark, compare)


def question_text(row: BenchmarkRow) -> str:
    """The question as it is asked: with its options, a line each, unless the question shows them already."""
    texts = options(row)
    if not texts or all(f"{letter}." in row.question or f"({letter})" in row.question for letter in texts):
        return row.question
    listed = "\n".join(f"{letter}. {text}" for letter, text in texts.items())
    return f"{row.question}\nOptions:\n{listed}"


def options(row: BenchmarkRow) -> dict[str, str]:
    """A row's options, letter -> text: of its columns A..Z, else of its column `choices`; {} for none.

    Choices that are their own letters (they stand in the picture) are no texts.
    """
    choices = {chr(ord("A") + i): choice for i, choice in enumerate(literal_list(row.extra.get("choices", "")))}
    return row.options or {letter: text for letter, text in choices.items() if text != letter}


def literal_list(text: str) -> list[str]:
    """The items of a list written as a Python or JSON literal, as text; [] for anything else. Nothing is evaluated.

    >>> literal_list("['3/11', '8/11']")
    ['3/11', '8/11']
    """
    if len(text) > MAX_ANSWER_CHARACTERS or not text.strip().startswith("["):
        return []
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [str(item) for item in value] if isinstance(value, list) else []


def _as_list(text: str) -> str:
    """A list written as a literal without the quotes of its items; any other text as it is."""
    items = literal_list(plain(text))
    return f"[{', '.join(items)}]" if items else text


def _number(text: str) -> Fraction | None:
    """The number that a whole answer is, with or without a unit or a noun ("%" means /100), or None."""
    answer = plain(text)
    quantity = read_answer_quantity(answer)
    if quantity is not None or "π" not in answer:
        return quantity.value if quantity is not None else None
    return arithmetic_value(re.sub(r"(?<=[\d)])\s*(?=π)", "*", answer).replace("π", f"({PI})"))


def _letters(text: str) -> frozenset[str] | None:
    """The set of option letters that a plain text picks, or None when it says anything else."""
    pick = read_pick(text)
    if pick is not None and not pick.hedged:
        return frozenset(pick.letter)
    return read_picks(
        re.sub(r"\b(?:options?|choices?|answers?)\b", "", text, flags=re.IGNORECASE), LETTERS, compact=True
    )
