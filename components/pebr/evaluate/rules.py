"""How each benchmark's answers are scored, by rule: VLMEvalKit's conventions without its judge model.

A rule takes a row and the answer that a response gave. It either decides, or names the comparison that the one answer
check of `pebr.rewards.answer` is to make, so that benchmarks and rewards agree on what "equal" means.
"""

import ast
import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pebr.data.benchmark import BenchmarkRow

MAX_ANSWER_CHARACTERS = 2000  # a longer "answer" is a response without one
RELAXED_TOLERANCE = 0.05  # ChartQA, arXiv 2203.10244
DYNAMATH_TOLERANCE = 0.001  # DynaMath, arXiv 2411.00836


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
    return Comparison(given, row.answer, row.options)


def relaxed(row: BenchmarkRow, given: str) -> bool:
    """ChartQA's relaxed accuracy: numbers within 5 % of the reference ("%" means /100), else equal but for case.

    >>> relaxed(BenchmarkRow(index="0", question="", answer="100"), "104.9")
    True
    """
    number, reference = _number(given), _number(row.answer)
    if number is not None and reference:
        return abs(number - reference) / abs(reference) <= RELAXED_TOLERANCE
    return given.strip().lower() == row.answer.strip().lower()


def mathvista(row: BenchmarkRow, given: str) -> bool | Comparison:
    """MathVista: an option for multiple choice, else by answer type: integer, float (to its precision), list, text."""
    if row.extra.get("question_type") == "multi_choice":
        choices = literal_list(row.extra.get("choices", ""))
        options = {chr(ord("A") + i): choice for i, choice in enumerate(choices)} or row.options
        return Comparison(given, row.extra.get("answer_option") or row.answer, options)
    if row.answer_type in {"integer", "float"}:
        number, reference = _number(given.rstrip(".")), _number(row.answer)
        if number is None or reference is None:
            return False
        digits = 0 if row.answer_type == "integer" else int(float(row.extra.get("precision") or 2))
        return round(number, digits) == round(reference, digits) and (row.answer_type == "float" or number % 1 == 0)
    if row.answer_type == "list":
        return literal_list(given) == literal_list(row.answer) != []
    return Comparison(given, row.answer, {})


def dynamath(row: BenchmarkRow, given: str) -> bool | Comparison:
    """DynaMath: a number within 0.001 of the reference, or the option, or the text."""
    if row.answer_type == "float":
        number, reference = _number(given.strip().split(" ")[0]), _number(row.answer)
        return number is not None and reference is not None and abs(number - reference) <= DYNAMATH_TOLERANCE
    return Comparison(given, row.answer, row.options)


def logicvista(row: BenchmarkRow, given: str) -> bool:
    """LogicVista: the same set of option letters, in any order and with any separators.

    >>> logicvista(BenchmarkRow(index="0", question="", answer="A, C"), "(C) and (A).")
    True
    """
    reference = _letters(row.answer)
    return reference is not None and _letters(given) == reference


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
    if not row.options or all(f"{letter}." in row.question or f"({letter})" in row.question for letter in row.options):
        return row.question
    listed = "\n".join(f"{letter}. {text}" for letter, text in row.options.items())
    return f"{row.question}\nOptions:\n{listed}"


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


def _number(text: str) -> float | None:
    """The finite number that a whole text is ("%" means /100), or None."""
    text = text.strip()
    percent = text.endswith("%")
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", text.rstrip("%")):
        return None
    number = float(text.rstrip("%")) / (100 if percent else 1)
    return number if math.isfinite(number) else None


def _letters(text: str) -> frozenset[str] | None:
    """The set of option letters that a text is, or None when it says anything else."""
    words = re.sub(r"\band\b|[\s,;.()&]+", " ", text, flags=re.IGNORECASE).upper().split()
    if not words or len(text) > MAX_ANSWER_CHARACTERS:
        return None
    if len(words) == 1 and words[0].isalpha():  # "AC"
        return frozenset(words[0]) if len(words[0]) <= 8 else None
    return frozenset(words) if all(len(word) == 1 for word in words) else None
