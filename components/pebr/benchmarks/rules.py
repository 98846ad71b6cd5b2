"""The rules that score each benchmark, with one record per benchmark: VLMEvalKit's conventions without a judge model.

A rule takes a row and the final answer of a response. It either decides, or returns a comparison for the answer check
of `pebr.answers.check`, so that benchmarks and rewards use the same definition of equal answers. A rule that decides
reads the answer in its plain form, as the answer check does: `**14**` is 14, "Yes." is yes.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from pebr.answers.arithmetic import arithmetic_value
from pebr.answers.equality import compare_values, read_answer_quantity
from pebr.answers.options import options_in, picked_option, read_pick, read_picks
from pebr.answers.plain_text import plain
from pebr.answers.sentences import shorter_readings
from pebr.answers.wording import same_words, yes_or_no
from pebr.data.benchmark import BenchmarkRow

MAX_ANSWER_CHARACTERS = 2000  # a longer answer counts as wrong
RELAXED_TOLERANCE = Fraction("0.05")  # ChartQA, arXiv 2203.10244
DYNAMATH_TOLERANCE = Fraction("0.001")  # DynaMath, arXiv 2411.00836
PI = "3.14159265358979"
LETTERS = frozenset("ABCDEFGHIJ")
_NUMPY_SPACE = re.compile(r"""(['"])\s+(?=['"])""")  # between the items of a printed array


class Comparison(NamedTuple):
    """Input of the answer check: is `given` the same answer as `reference`?"""

    given: str
    reference: str
    options: Mapping[str, str]


Rule = Callable[[BenchmarkRow, str], bool | Comparison]


def compare(row: BenchmarkRow, given: str) -> bool | Comparison:
    """The rule of MMStar, MathVision, WeMath, MathVerse and unknown benchmarks: the answer check decides.

    If the row has options, both the letter and the text of an option are accepted.
    """
    return Comparison(given, row.answer, options(row))


def relaxed(row: BenchmarkRow, given: str) -> bool:
    """ChartQA's relaxed accuracy: numbers within 5 % of the reference ("%" means /100), other text equal but for case.

    If the row has a list of references, the answer must match one of them.

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
    """MathVista: an option for multiple choice, else by answer type: integer, float (row's precision), list or text."""
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
    """DynaMath: a number within 0.001 of the reference, or the same option, or the same text."""
    if row.answer_type == "float":
        number, reference = _number(given), _number(row.answer)
        return number is not None and reference is not None and abs(number - reference) <= DYNAMATH_TOLERANCE
    return Comparison(given, row.answer, options(row))


def logicvista(row: BenchmarkRow, given: str) -> bool:
    """LogicVista: the same set of option labels, in any order and with any separator. Labels are letters or digits.

    >>> logicvista(BenchmarkRow(index="0", question="", answer="A, C"), "(C) and (A).")
    True
    """
    read = _digits if re.fullmatch(r"[\d\s,;&.()]+", row.answer) else _letters
    reference, answer = read(plain(row.answer)), plain(given)
    if reference is None:
        return False
    if any(read(text) == reference for text in (answer, *shorter_readings(answer))):
        return True
    texts = {letter: plain(text) for letter, text in options(row).items()}
    picked = picked_option(answer, texts, compare_values) if texts else ""
    return reference == frozenset(picked)


def hallusion(row: BenchmarkRow, given: str) -> bool:
    """HallusionBench: yes or no, with or without an explanation; "1" and "0" in the reference mean them too.

    >>> hallusion(BenchmarkRow(index="0", question="", answer="No"), "No, it is not.")
    True
    """
    wanted = {"1": "yes", "0": "no"}.get(row.answer.strip(), plain(row.answer).casefold())
    answer = plain(given)
    return any(yes_or_no(text, alone=False) == wanted for text in (answer, *shorter_readings(answer)))


def ocrbench(row: BenchmarkRow, given: str) -> bool:
    """OCRBench: the answer contains one of the references, without regard to case; formulas without regard to spaces.

    >>> ocrbench(BenchmarkRow(index="0", question="", answer="['Main Street']"), "It says MAIN STREET.")
    True
    """
    formula = row.category == "Handwritten Mathematical Expression Recognition"
    references = [answer.replace("\n", " ").strip() for answer in literal_list(row.answer) or [row.answer]]
    text = given.replace("\n", " ").strip()
    if formula:
        return any(answer.replace(" ", "") in text.replace(" ", "") for answer in references)
    return any(answer.lower() in text.lower() for answer in references)


def hallusion_scores(rows: Sequence[BenchmarkRow], correct: Sequence[float]) -> dict[str, float]:
    """HallusionBench's shares of figures and of questions with all answers correct (arXiv 2310.14566).

    The ids of set, figure and question are columns, else the fourth to sixth parts of the index.
    """
    figures: dict[tuple[str, ...], float] = {}
    questions: dict[tuple[str, ...], float] = {}
    for row, value in zip(rows, correct, strict=True):
        parts = dict(zip(("set_id", "figure_id", "question_id"), row.index.split("_")[3:6], strict=False)) | row.extra
        group = (row.extra.get("l2-category", row.category), parts.get("set_id", row.index))
        figure, question = ((*group, parts.get(name, row.index)) for name in ("figure_id", "question_id"))
        figures[figure] = min(figures.get(figure, 1.0), value)
        questions[question] = min(questions.get(question, 1.0), value)
    return {
        "figure_accuracy": sum(figures.values()) / len(figures),
        "question_accuracy": sum(questions.values()) / len(questions),
    }


def wemath_scores(rows: Sequence[BenchmarkRow], correct: Sequence[float]) -> dict[str, float]:
    """WeMath's four shares and two scores (arXiv 2407.01284), over problems of two and three steps.

    A problem has one composite question and one question per step. If the composite answer is wrong: insufficient
    knowledge if a step is wrong too, inadequate generalisation if all steps are correct. If it is correct: complete
    mastery or rote memorisation; for mastery, the strict score requires all steps to be correct, the loose one at least
    one. Score = mastery + 0.5 x inadequate generalisation, as shares of the problems.
    """
    problems: dict[str, dict[str, bool]] = defaultdict(dict)
    for row, value in zip(rows, correct, strict=True):
        problems[row.extra.get("ID", "")][row.extra.get("key", "")] = value >= 0.5
    counts = dict.fromkeys(("insufficient", "inadequate", "mastery_strict", "mastery_loose"), 0)
    total = 0
    for answers in problems.values():
        composite = [right for key, right in answers.items() if key.endswith("multi")]
        steps = [right for key, right in answers.items() if not key.endswith("multi")]
        if not composite or not steps:
            continue
        total += 1
        if composite[0]:
            counts["mastery_strict"] += all(steps)
            counts["mastery_loose"] += any(steps)
        else:
            counts["inadequate" if all(steps) else "insufficient"] += 1
    share = {name: count / total if total else 0.0 for name, count in counts.items()}
    return {
        "score_strict": share["mastery_strict"] + 0.5 * share["inadequate"],
        "score_loose": share["mastery_loose"] + 0.5 * share["inadequate"],
        "insufficient_knowledge": share["insufficient"],
        "inadequate_generalisation": share["inadequate"],
        "complete_mastery_strict": share["mastery_strict"],
        "complete_mastery_loose": share["mastery_loose"],
    }


def dynamath_worst_case(rows: Sequence[BenchmarkRow], correct: Sequence[float]) -> dict[str, float]:
    """DynaMath's worst-case accuracy: the share of questions with all variants correct (arXiv 2411.00836)."""
    worst: dict[str, float] = {}
    for row, value in zip(rows, correct, strict=True):
        question = row.extra.get("qid", row.index)
        worst[question] = min(worst.get(question, 1.0), value)
    return {"worst_case_accuracy": sum(worst.values()) / len(worst)}


class Benchmark(NamedTuple):
    """How a benchmark is scored; the defaults are used for every TSV that is not in `BENCHMARKS`."""

    name: str  # the TSV file's name without its suffix
    rule: Rule = compare
    groups: tuple[str, ...] = ("category", "split")  # columns by whose values the accuracy is also reported
    more_scores: Callable[[Sequence[BenchmarkRow], Sequence[float]], dict[str, float]] | None = None
    note: str = ""  # printed with the scores
    columns: tuple[str, ...] = ()  # that the rule and the further scores read, beside those that every table has


BENCHMARKS = (
    Benchmark("ChartQA_TEST", relaxed, ("split",)),
    Benchmark("MMStar", groups=("category", "l2_category")),
    Benchmark("MathVista_MINI", mathvista, ("task", "skills"), columns=("answer_type", "question_type")),
    Benchmark("MathVision", groups=("category",)),
    Benchmark(
        "MathVerse_MINI",
        groups=("problem_version",),
        note="approximate: scored by rule, while its published scores use a judge model",
    ),
    Benchmark("WeMath", groups=("key",), more_scores=wemath_scores, columns=("ID", "key")),
    Benchmark(
        "DynaMath", dynamath, ("subject", "knowledge_level"), dynamath_worst_case, columns=("answer_type", "qid")
    ),
    Benchmark("LogicVista", logicvista, ("skill",)),
    Benchmark("HallusionBench", hallusion, ("category", "l2-category"), hallusion_scores),
    Benchmark("OCRBench", ocrbench, ("category",)),
)


def benchmark_of(name: str) -> Benchmark:
    """The record of a benchmark by its TSV name."""
    return next((benchmark for benchmark in BENCHMARKS if benchmark.name == name), Benchmark(name))


def question_text(row: BenchmarkRow) -> str:
    """The question with its hint before it and its options below, one per line, unless it already contains them."""
    texts = listed_options(row)
    hint = f"Hint: {row.extra['hint']}\n" if row.extra.get("hint") else ""
    if not texts or all(f"{letter}." in row.question or f"({letter})" in row.question for letter in texts):
        return hint + row.question
    listed = "\n".join(f"{letter}. {text}" for letter, text in texts.items())
    return f"{hint}{row.question}\nOptions:\n{listed}"


def options(row: BenchmarkRow) -> dict[str, str]:
    """The options of a row, letter -> text: from its columns, else from the question's text; {} for none."""
    return listed_options(row) or options_in(row.question)


def listed_options(row: BenchmarkRow) -> dict[str, str]:
    """The options that a row has beside its question: in columns A..Z, else in column `choices`; {} for none.

    Choices that are equal to their letters are left out: their texts are in the image.
    """
    cell = row.extra.get("choices", "")
    texts = literal_list(_NUMPY_SPACE.sub(r"\1, ", cell))
    choices = {chr(ord("A") + i): choice for i, choice in enumerate(texts)} or options_in(f"Choices: {cell}")
    return row.options or {letter: text for letter, text in choices.items() if text != letter}


def literal_list(text: str) -> list[str]:
    """The items, as text, of a list in Python or JSON syntax; [] for anything else. No code is executed.

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
    """A list literal without the quotes of its items; any other text unchanged."""
    items = literal_list(plain(text))
    return f"[{', '.join(items)}]" if items else text


def _number(text: str) -> Fraction | None:
    """The number of an answer that is one number, with or without a unit or a noun ("%" means /100), or None."""
    answer = plain(text)
    quantity = read_answer_quantity(answer)
    if quantity is not None or "π" not in answer:
        return quantity.value if quantity is not None else None
    return arithmetic_value(re.sub(r"(?<=[\d)])\s*(?=π)", "*", answer).replace("π", f"({PI})"))


def _digits(text: str) -> frozenset[str] | None:
    """The set of digits that a plain text picks as labels, or None if it contains anything else."""
    named = re.sub(r"\b(?:options?|choices?|answers?|figures?|and)\b", " ", text, flags=re.IGNORECASE)
    return frozenset(re.findall(r"\d", named)) if re.fullmatch(r"[\d\s,;&.()]*\d[\s,;&.()]*", named) else None


def _letters(text: str) -> frozenset[str] | None:
    """The set of option letters that a plain text picks, or None if it contains anything else."""
    pick = read_pick(text)
    if pick is not None and not pick.hedged:
        return frozenset(pick.letter)
    return read_picks(
        re.sub(r"\b(?:options?|choices?|answers?)\b", "", text, flags=re.IGNORECASE), LETTERS, compact=True
    )
