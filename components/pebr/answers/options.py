"""Multiple choice: the options that a question lists, and the option that an answer picks."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from pebr.answers.wording import same_words

# Labels in a question: "(A)" anywhere; "A.", "A)", "A:" at the start of a line; after "Choices:" all of these anywhere.
_MARKER = re.compile(r"\b(?:choices|options)\b[^\S\n]*:", re.IGNORECASE)
_AFTER_MARKER = re.compile(r"(?<![\w'’-])(?:\*\*)?[(\[]?([A-Za-z])[.):\]]+(?:\*\*)?\s*(?=\S)")
_LABEL = re.compile(
    r"""(?: (?<![A-Za-z])[(\[]([A-Z])[)\]]\.?
          | ^[ \t]*(?:[-*•][ \t]+)?(?:\*\*)?(?: ([A-Z])[.):] | \(([a-z])\) )(?:\*\*)? ) \s*(?=\S)""",
    re.MULTILINE | re.VERBOSE,
)
_BARE = re.compile(r"(?:(?:option|choice|answer)\s+)?[(\[{]?\s*([A-Za-z])\s*[)\]}]?[.):,]*", re.IGNORECASE)
_LABELLED = re.compile(
    r"(?:(?:option|choice|answer)\s+)?(?:[(\[]\s*([A-Za-z])\s*[)\]]\s*[.:,-]?|([A-Za-z])\s*(?:[.):]|\s-\s))\s*(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_TRAILING = re.compile(r"(.*\S)\s*[(\[](?:option\s+|choice\s+)?([A-Z])[)\]]", re.DOTALL)
_LOOSE = re.compile(r"([A-Z])[,\s]\s*\(?(\S.*?)\)?|(\S.*?),\s*([A-Z])", re.DOTALL)
_LETTER_IN_REST = re.compile(
    r"""(?: ^ | \b(?:or|and)\b | [/&;,] ) \s* [(\[]? ([A-Za-z]) [)\]]? [.:]? \s* $   # ... or B
      | ^ (?:or|and|/|&|;|,) \s* [(\[]? ([A-Za-z]) (?![A-Za-z'])                     # or B ...
      | (?<![A-Za-z]) (?: \(([A-Z])\) | ([A-Z])[).:] )                              # ... (B) ..., ... B. ...""",
    re.VERBOSE,
)
_SEPARATOR = re.compile(r"\s*(?:,|;|&|/|\band\b)\s*(?:and\s+)?|\s+")
_LETTERS = frozenset("ABCDEFGH")  # possible labels if the options are unknown
Verdict = TypeVar("Verdict")  # an undecided comparison


class Pick(NamedTuple):
    """The letter of an option in an answer, and the rest of the answer."""

    letter: str  # upper-case
    rest: str  # "" for a single letter
    hedged: bool  # the rest names another letter


@lru_cache(maxsize=4096)
def read_pick(text: str) -> Pick | None:
    """The option that a plain text picks by letter: "A", "(a)", "A.", "Option A", "A. 12", "(A) 12", "12 (A)".

    >>> read_pick("(B) 12"), read_pick("A cat"), read_pick("A. or B").hedged
    (Pick(letter='B', rest='12', hedged=False), None, True)
    """
    if match := _BARE.fullmatch(text):
        return Pick(match[1].upper(), "", False)
    if match := _LABELLED.fullmatch(text):
        letter, rest = (match[1] or match[2]).upper(), match[3]
    elif match := _TRAILING.fullmatch(text):
        letter, rest = match[2], match[1]
    else:
        return None
    others = {found.upper() for match in _LETTER_IN_REST.finditer(rest) for found in match.groups() if found}
    return Pick(letter, rest, hedged=bool(others - {letter}))


def read_picks(text: str, letters: frozenset[str], compact: bool) -> frozenset[str] | None:
    """The two or more letters that a plain text picks ("A, C", "(A) and (C)"); None for any other text.

    Only the upper-case `letters` can be picked. If `compact`, "AC" also picks two letters.
    """
    if len(text) > 80:
        return None
    text = text.replace(")(", ") (")
    parts = [part.strip("()[].") for part in _SEPARATOR.split(text) if part.strip("()[].")]
    if compact and len(parts) == 1 and parts[0].isupper():
        parts = list(parts[0])
    picked = frozenset(part.upper() for part in parts)
    return picked if len(parts) == len(picked) > 1 and picked <= letters else None


def options_in(question: str) -> dict[str, str]:
    """The options that a question lists, as "(A) 12 (B) 14 ..." or as one "A. 12" per line; {} if it lists none.

    The letters must run from A without a gap, at least A and B. The last such list in the question counts. The last
    option ends at the end of its line; if an earlier option has several lines, it ends at the next empty line.

    >>> options_in("How many?\\nChoices:\\n(A) 12\\n(B) 14")
    {'A': '12', 'B': '14'}
    """
    markers = list(_MARKER.finditer(question))
    tail = question[markers[-1].end() :] if markers else ""
    return _listed(tail, _LABEL) or _listed(tail, _AFTER_MARKER) or _listed(question, _LABEL)


def _listed(text: str, label: re.Pattern[str]) -> dict[str, str]:
    """The last run of labels from A in a text, with the text after each label."""
    labels = [(next(filter(None, match.groups())).upper(), match) for match in label.finditer(text)]
    for start in reversed([index for index, (letter, _) in enumerate(labels) if letter == "A"]):
        run: list[re.Match[str]] = []
        for letter, match in labels[start:]:
            if letter == chr(ord("A") + len(run)):
                run.append(match)
        if len(run) > 1:
            ends = [match.start() for match in run[1:]] + [len(text)]
            texts = [text[match.end() : end].strip(" \t\n,;") for match, end in zip(run, ends, strict=True)]
            texts[-1] = texts[-1].split("\n\n" if any("\n" in each for each in texts[:-1]) else "\n")[0].rstrip(" ,;")
            return {chr(ord("A") + index): each for index, each in enumerate(texts)}
    return {}


def options_of(question: str, column: object = None) -> dict[str, str]:
    """The options of a question, letter -> text: from the dataset's column `options`, else from the question's text.

    The column has letter -> text, or the texts in the order of their letters. Other values are ignored.
    """
    if isinstance(column, Mapping):
        return {str(letter): str(text) for letter, text in column.items() if text is not None}
    if isinstance(column, Sequence) and not isinstance(column, str):
        return {chr(ord("A") + index): str(text) for index, text in enumerate(column)}
    return options_in(question)


def compare_by_options(
    given: str, reference: str, options: Mapping[str, str], compare: Callable[[str, str], bool | Verdict]
) -> bool | Verdict | None:
    """Whether the answer picks the right option by letter, text or both; None if the options cannot decide it.

    All texts are plain. The reference is a letter, several letters, or the text of an option. `options` has upper-case
    letters. `compare` compares an answer with the text of an option.
    """

    def letter_of(text: str) -> str:
        """The letter of the option with this text; "" if none or several have it."""
        same = [letter for letter, option in options.items() if same_words(text, option)]
        same = same or [letter for letter, option in options.items() if compare(text, option) is True]
        return same[0] if len(same) == 1 else ""

    wanted = read_pick(reference)
    right = wanted.letter if wanted and wanted.letter in options else letter_of(reference)
    if not right:
        several = read_picks(reference, frozenset(options), compact=True)
        return None if several is None else read_picks(given, frozenset(options), compact=True) == several
    pick = read_pick(given) or _loose_pick(given, options, letter_of)
    if pick and pick.letter in options and not (given.islower() and given in options.values()):
        named = letter_of(pick.rest) if pick.rest else pick.letter
        return pick.letter == right and (named == right or (not named and not pick.hedged))
    if named := letter_of(given):
        return named == right
    return compare(given, options[right])


def _loose_pick(given: str, options: Mapping[str, str], letter_of: Callable[[str], str]) -> Pick | None:
    """Read "A 12", "A (12)" or "12, A" if 12 is the text of option A; None for any other text."""
    match = _LOOSE.fullmatch(given)
    letter, rest = (match[1] or match[4], match[2] or match[3]) if match else ("", "")
    return Pick(letter, rest, hedged=False) if letter in options and letter_of(rest) == letter else None


def compare_by_letter(given: str, reference: str, compare: Callable[[str, str], bool | Verdict]) -> bool | None:
    """Whether two plain texts pick the same letter, if the options are unknown; None if letters cannot decide it.

    "A. 12" equals "A" and equals "12", but not "A. 13".
    """
    picked, wanted = read_pick(given), read_pick(reference)
    if not (picked or wanted) or (picked and picked.hedged):
        several = read_picks(reference, _LETTERS, compact=False)
        return True if several and several == read_picks(given, _LETTERS, compact=False) else None
    if picked and wanted:
        same_rest = not (picked.rest and wanted.rest) or compare(picked.rest, wanted.rest) is True
        return picked.letter == wanted.letter and same_rest
    rest, other = (picked.rest, reference) if picked else (wanted.rest, given)  # type: ignore[union-attr]
    return True if rest and compare(rest, other) is True else None
