"""Multiple choice: the options that a question lists, and the option that an answer picks."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from pebr.answers.sentences import shorter_readings
from pebr.answers.wording import same_words

# Labels in a question: "(A)" anywhere; "A.", "A)", "A:", "A、" at the start of a line; after "Choices:" all of these
# anywhere. If the first label follows the end of a sentence, "A.", "A)" and "A、" also stand within a line.
_MARKER = re.compile(r"\b(?:choices|options)\b[^\S\n]*:", re.IGNORECASE)
_AFTER_MARKER = re.compile(r"(?<![\w'’-])(?:\*\*)?[(\[]?([A-Za-z])[.):、\]]+(?:\*\*)?\s*(?=\S)")
_LABEL = re.compile(
    r"""(?: (?<![A-Za-z])[(\[]([A-Z])[)\]]\.?
          | ^[ \t]*(?:[-*•][ \t]+)?(?:\*\*)?(?: ([A-Z])[.):、] | \(([a-z])\) )(?:\*\*)? ) \s*(?=\S)""",
    re.MULTILINE | re.VERBOSE,
)
_IN_LINE = re.compile(
    r"""(?: (?: ^ | [?？:)] | [.。](?=\s*A[.)、].*\sB[.)、].*\sC[.)、]) ) [^\S\n]* (?=A) | (?<=[\s,;]) (?!A) )
    ([A-Z])[.)、]\s*(?=\S)""",
    re.MULTILINE | re.VERBOSE,
)
_WIDE = str.maketrans({"（": " (", "）": ") ", "．": ".", "：": ":"} | {chr(ord(x) + 0xFEE0): x for x in "ABCDEFGH"})
_TYPESET = re.compile(r"\\(?:textbf|textrm|text|mathbf|mathrm|mathit|bf)\s*\{\s*\(([A-Z])\)(?:\s|~|\\[ ,;:])*\}")
_SPACE_AFTER = re.compile(r"(?:\s|,|;|&|~|\\(?:q?quad\b|[ ,;:\\]|hspace\{[^{}]*\}))+\Z|\A(?:\s|~|\\[ ,;:])+")
# Words before a letter: what it stands for. All but the first three are ignored only if no option has that text.
_NAMED = r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)\s+)?"
_THING = re.compile(
    r"""(?:the\s+|my\s+)? (?:(?:correct|right|final|best)\s+)?
    (?: option | choice | answer | letter | figure | fig\.? | image | picture | photo | diagram | drawing | graph
      | chart | plot | table | shape | panel | pattern | map | curve | line | point | object | item | statement | box
      | group | region | circle | container | position | symbol )
    \s+ (?:(?:is\s+)?(?:labell?ed|marked|named|called|is|with\s+(?:the\s+)?(?:letter|label))\s+)?
    (?=[(\["']?(?-i:[A-Z])[)\]"']?\Z)""",
    re.IGNORECASE | re.VERBOSE,
)
_BARE = re.compile(rf"{_NAMED}[(\[{{]?\s*([A-Za-z])\s*[)\]}}]?[.):,]*", re.IGNORECASE)
_LABELLED = re.compile(
    rf"{_NAMED}(?:[(\[]\s*([A-Za-z])\s*[)\]]\s*[.:,-]?|([A-Za-z])\s*(?:[.):]|\s-\s))\s*(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_TRAILING = re.compile(r"(.*\S)\s*[(\[](?:option\s+|choice\s+)?([A-Z])[)\]]", re.DOTALL)
_LOOSE = re.compile(rf"(?i:{_NAMED})([A-Z])[,\s]\s*\(?(\S.*?)\)?|(\S.*?)(?:,\s*|\s+=?\s*)\(?([A-Z])\)?", re.DOTALL)
_LETTER_IN_REST = re.compile(
    r"""(?: ^ | \b(?:or|and)\b | [/&;,] ) \s* [(\[]? ([A-Za-z]) [)\]]? [.:]? \s* $   # ... or B
      | ^ (?:or|and|/|&|;|,) \s* [(\[]? ([A-Za-z]) (?![A-Za-z'])                     # or B ...
      | (?<![A-Za-z]) (?: \(([A-Z])\) | ([A-Z])[).:] )                              # ... (B) ..., ... B. ...""",
    re.VERBOSE,
)
_SEVERAL = re.compile(r"\A(?:both|(?:option|choice|answer|letter|figure|image|statement)s)\s+", re.IGNORECASE)
_SEPARATOR = re.compile(r"\s*(?:,|;|&|/|\band\b)\s*(?:and\s+)?|\s+")
_LETTER_FIRST = re.compile(rf"(?i:{_SEVERAL.pattern[2:]})?[(\[]?[A-Ha-h](?![a-z])")
_LETTERS = frozenset("ABCDEFGH")  # possible labels if the options are unknown
_MOST_LISTS = 20  # of options in one question
CONTRADICTION = "?"  # in place of a letter
Verdict = TypeVar("Verdict")  # an undecided comparison


class Pick(NamedTuple):
    """The letter of an option in an answer, and the rest of the answer."""

    letter: str  # upper-case
    rest: str  # "" for a single letter
    hedged: bool  # the rest names another letter


@lru_cache(maxsize=4096)
def read_pick(text: str) -> Pick | None:
    """The option that a plain text picks by letter: "A", "(a)", "A.", "Figure A", "A. 12", "(A) 12", "12 (A)".

    >>> read_pick("(B) 12"), read_pick("A cat"), read_pick("A. or B").hedged
    (Pick(letter='B', rest='12', hedged=False), None, True)
    """
    if thing := _THING.match(text):
        text = text[thing.end() :].strip("\"'")
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
    text = _SEVERAL.sub("", text.replace(")(", ") ("))
    parts = [part.strip("()[].") for part in _SEPARATOR.split(text) if part.strip("()[].")]
    if compact and len(parts) == 1 and parts[0].isupper():
        parts = list(parts[0])
    picked = frozenset(part.upper() for part in parts)
    return picked if len(parts) == len(picked) > 1 and picked <= letters else None


def same_picks(given: str, reference: str, letters: frozenset[str]) -> bool | None:
    """Whether two plain texts pick the same several letters; None if one of them is not several letters.

    One word of letters ("ACD") is several letters only if the other text is a list of letters ("A, C and D"): two words
    are compared as words.
    """
    if not _LETTER_FIRST.match(given) or not _LETTER_FIRST.match(reference):
        return None
    listed = [read_picks(text, letters, compact=False) for text in (given, reference)]
    if listed == [None, None]:
        return None
    first, second = (
        found or read_picks(text, letters, compact=True) for found, text in zip(listed, (given, reference), strict=True)
    )
    return None if first is None or second is None else first == second


def options_in(question: str) -> dict[str, str]:
    """The options that a question lists; {} if it lists none.

    Known forms: "(A) 12 (B) 14 ..." anywhere; one "A. 12" per line; "A. 12 B. 14" in a line, after the end of a
    sentence; `\\textbf{(A) } 12 \\qquad \\textbf{(B) } 14`.

    The letters must run from A without a gap, at least A and B. The last such list in the question counts. The last
    option ends at the end of its line; if an earlier option has several lines, it ends at the next empty line.

    >>> options_in("How many?\\nChoices:\\n(A) 12\\n(B) 14")
    {'A': '12', 'B': '14'}
    """
    question = _TYPESET.sub(r" (\1) ", question.translate(_WIDE))
    markers = list(_MARKER.finditer(question))
    tail = question[markers[-1].end() :] if markers else ""
    return (
        _listed(tail, _LABEL)
        or _listed(tail, _AFTER_MARKER)
        or _listed(question, _LABEL)
        or _listed(question, _IN_LINE)
    )


def _listed(text: str, label: re.Pattern[str]) -> dict[str, str]:
    """The last run of labels from A in a text, with the text after each label."""
    labels = [(next(filter(None, match.groups())).upper(), match) for match in label.finditer(text)]
    for start in reversed([index for index, (letter, _) in enumerate(labels) if letter == "A"][-_MOST_LISTS:]):
        run: list[re.Match[str]] = []
        for letter, match in labels[start:]:
            if letter == chr(ord("A") + len(run)):
                run.append(match)
        if len(run) > 1:
            ends = [match.start() for match in run[1:]] + [len(text)]
            texts = [_SPACE_AFTER.sub("", text[match.end() : end]) for match, end in zip(run, ends, strict=True)]
            texts[-1] = texts[-1].split("\n\n" if any("\n" in each for each in texts[:-1]) else "\n")[0].rstrip(" ,;")
            if all(texts):
                return {
                    chr(ord("A") + index): each.strip("$" * (each.count("$") % 2)) for index, each in enumerate(texts)
                }
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


def picked_option(text: str, options: Mapping[str, str], compare: Callable[[str, str], bool | Verdict]) -> str:
    """The letter of the option that a plain text picks, by letter, text or both.

    `options` has upper-case letters and plain texts. `compare` compares an answer with the text of an option. The
    result is "" if the text picks none, and `CONTRADICTION` if its letter and its text are those of two options.
    """

    def only(same: Callable[[str, str], bool | Verdict], answer: str) -> str:
        """The letter of the only option that is the same as the answer; "" if none or several are."""
        letters = [letter for letter, option in options.items() if same(answer, option) is True]
        return letters[0] if len(letters) == 1 else ""

    def letter_of(answer: str) -> str:
        """The letter of the option with this text; "" if none or several have it."""
        return only(same_words, answer) or only(compare, answer)

    exact = only(str.__eq__, text)
    if exact and (len(text) > 1 or text.islower()):  # "Figure B" may be the text of option A
        return exact
    pick = read_pick(text)
    if pick and pick.letter in options:
        readings = (pick.rest, *shorter_readings(pick.rest)) if pick.rest else ()
        named = next(filter(None, map(letter_of, readings)), "") if readings else pick.letter
        if named == pick.letter or not (named or pick.hedged):
            return pick.letter
        return CONTRADICTION
    named = "" if pick else only(same_words, text)
    loose = None if named else _LOOSE.fullmatch(text)  # "A 12", "A (12)", "12, A"
    letter, rest = (loose[1] or loose[4], loose[2] or loose[3]) if loose else ("", "")
    if letter in options and (beside := letter_of(rest)):
        return letter if beside == letter else CONTRADICTION
    return named or ("" if pick else only(compare, text))


def compare_by_letter(given: str, reference: str, compare: Callable[[str, str], bool | Verdict]) -> bool | None:
    """Whether two plain texts pick the same letter, if the options are unknown; None if letters cannot decide it.

    "A. 12" equals "A" and equals "12", but not "A. 13".
    """
    picked, wanted = read_pick(given), read_pick(reference)
    if not (picked or wanted) or (picked and picked.hedged):
        return True if same_picks(given, reference, _LETTERS) else None
    if picked and wanted:
        same_rest = not (picked.rest and wanted.rest) or compare(picked.rest, wanted.rest) is True
        return picked.letter == wanted.letter and same_rest
    rest, other = (picked.rest, reference) if picked else (wanted.rest, given)  # type: ignore[union-attr]
    return True if rest and compare(rest, other) is True else None
