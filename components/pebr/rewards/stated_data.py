"""The parts of a description that state data: numbers with the names beside them, table rows, labels, lists of phrases.

"China 45%, India 40%" and "AB = 6, BC = 8" have no words that connect a sentence, and still describe an image. The
guard against word lists (`pebr.rewards.prose`) does not judge these parts. There can be only a limited number of each
kind: a description with more of them is judged by all its words. A list of numbers or of single words states no data.
"""

import re
from collections.abc import Iterator

from pebr.english.key_words import FORMULA
from pebr.english.lexicon import FUNCTION_WORDS

MOST_NAMED = 24  # values with a capitalised name
MOST_UNNAMED = 12  # values with another name
MOST_PHRASES = 12  # phrases of several words in a list
MOST_SERIES = 4  # labelled series: "X-axis: Jan, Feb, Mar"
MOST_LABELS = 12  # different labels of points and segments
MOST_WORDS_OF_A_TABLE = 120
MOST_CELLS = 12  # of a row

_UNIT = r"(?:\s?(?:%|°|[A-Za-zµμΩ°/]{1,5}[²³2]?|thousand|million|billion|percent|degrees?)(?![\w-]))?"
_VALUE = rf"[-+]?[$€£¥]?\d+(?:[.,]\d+)*{_UNIT}"
_NAMED = re.compile(
    rf"""(?<![\w.'’&-])(?: (?P<high> (?:[A-Z][\w.'’&-]{{0,30}}|\d{{4}}) (?:\ (?:[A-Z][\w.'’&-]{{0,30}}|of|and)){{0,4}} )
      | (?P<low> [a-z][\w'’-]{{0,30}}(?:\ [a-z][\w'’-]{{0,30}})? ) )
    \s*+[:=|(–—-]?\s*+ {_VALUE} (?:(?:\s*(?:to|and|[-–,/|])\s*|\ ){_VALUE}){{0,8}} \)? (?=\s*(?:[,;.|)\n]|and\b|\Z))""",
    re.VERBOSE,
)
_ITEM = rf"(?:{_VALUE}|[A-Z][\w'’-]{{0,30}}(?:\ [A-Z][\w'’-]{{0,30}})?)"
_SERIES = re.compile(
    rf"(?<![\w'’-])[A-Za-z][\w-]{{0,30}}\ ?[*:]{{1,3}}\s*+{_ITEM}(?:,\s*+{_ITEM}){{1,11}}(?=\s*(?:[.;\n]|\Z))"
)
_EQUAL = re.compile(r"(?<!\w)[∠△]?[A-Z]{1,4}'?(?:\s*[=∥⊥≅+]\s*[∠△]?[A-Z]{1,4}'?)+(?!\w)")
_LABEL = re.compile(r"(?<![\w'’-])(?!I\b|A [a-z]|T shirt)[A-Z]{1,2}'?(?![\w'’-])")
_ROW = re.compile(r"^[^\n|]*\|[^\n|]*\|[^\n]*$", re.MULTILINE)
_PHRASE = r"(?:[-*•][ \t]{1,4})?(?:an?[ ])?(?<![\w'’-])[A-Za-z][\w'’-]{0,30}(?:[ ][a-z][\w'’-]{0,30}){1,4}"
_PHRASES = re.compile(rf"{_PHRASE}(?:\s*[,;\n]\s*(?:and[ ])?{_PHRASE}){{2,}}")


def split_data(description: str) -> list[tuple[str, bool]]:
    """A description as consecutive parts, and whether each part states data.

    >>> split_data("A chart: China 45%, India 40%.")
    [('A chart: ', False), ('China 45%', True), (', ', False), ('India 40%', True), ('.', False)]
    """
    parts: list[tuple[str, bool]] = []
    end = 0
    spans = {*_tables(description), *_named(description), *_labels(description), *_lists(description)}
    for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= end:
            parts += [(description[end:start], False), (description[start:stop], True)]
            end = stop
    return [(text, data) for text, data in (*parts, (description[end:], False)) if text]


def _named(description: str) -> Iterator[tuple[int, int]]:
    """Values with a name, and equal names: "Apple 75%", "AB = 6", "AB = CD"."""
    values = [match for match in _NAMED.finditer(description) if not _is_function(match["low"])]
    high = [match.span() for match in values if match["high"]]
    low = [match.span() for match in values if match["low"]]
    yield from high if len(high) <= MOST_NAMED else ()
    yield from low if len(low) <= MOST_UNNAMED else ()
    yield from (match.span() for form in (_EQUAL, FORMULA) for match in form.finditer(description))
    series = [match.span() for match in _SERIES.finditer(description)]
    yield from series if len(series) <= MOST_SERIES else ()


def _is_function(name: str | None) -> bool:
    """Whether a name has a function word, as "sales in" before a year."""
    return bool(name) and any(word in FUNCTION_WORDS for word in str(name).split())


def _labels(description: str) -> list[tuple[int, int]]:
    labels = list(_LABEL.finditer(description))
    return [match.span() for match in labels] if len({match[0] for match in labels}) <= MOST_LABELS else []


def _tables(description: str) -> list[tuple[int, int]]:
    """The rows of a table, if most rows have a number and the table is not too long."""
    rows = list(_ROW.finditer(description))
    numeric = sum(re.search(r"\d", row[0]) is not None for row in rows)
    words = sum(len(re.findall(r"\w+", row[0])) for row in rows)
    most_cells = max((row[0].count("|") for row in rows), default=0)
    is_table = len(rows) > 1 and 2 * numeric >= len(rows) and most_cells <= MOST_CELLS
    return [row.span() for row in rows] if is_table and words <= MOST_WORDS_OF_A_TABLE else []


def _lists(description: str) -> list[tuple[int, int]]:
    """Short lists of phrases of several different words: "red car, blue bicycle, wooden bench"."""
    found = []
    for match in _PHRASES.finditer(description):
        words = [word for word in re.findall(r"\w[\w'’-]*", match[0].casefold()) if word not in FUNCTION_WORDS]
        items = re.split(r"[,;\n]", match[0])
        if len(items) <= MOST_PHRASES and len(words) >= 1.7 * len(items) and len(set(words)) >= 0.75 * len(words):
            found.append(match.span())
    return found
