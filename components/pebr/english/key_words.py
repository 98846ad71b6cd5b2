"""Key words: fold words to a form that can be compared, and extract the key words of a description."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from pebr.english.lexicon import (
    ABSENT,
    CARRY,
    COMPOUNDING,
    DENIALS,
    FUNCTION_WORDS,
    NOUNS_IN_ING,
    NOUNS_IN_LY,
    PRESENT,
    RELATIONS,
    UNDESCRIPTIVE,
    VARIANTS,
    VERBS,
    VERBS_OR_NOUNS,
)
from pebr.english.words import fold_numbers, singular, split_number_compounds

LONGEST_PHRASE = 4  # words of an extracted key word
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts without spaces: each character is a word
_TOKEN = re.compile(
    rf"(?<![\w.])\d+(?:[x×]\d+)+(?!\w)|(?<![\w.])-?\d+(?:[.,]\d+)*|[{_CJK}]|(?:(?![{_CJK}])[^\W\d_])+|[%°$€£^+=<>/*\\§]"
)
_BREAK = re.compile(r"[;!?()\n=<>+/|]|[.:](?!\d)|,(?!\d)|(?<!\w)-(?![\w.$])")  # where a phrase ends
CLAUSE = re.compile(r"[;!?()\n]|[.,:](?!\d)")  # where a clause ends
_CORNER = re.compile(r"\b(top|bottom|upper|lower)-(left|right)\b", re.IGNORECASE)
_SIGNS = {"%": "percent", "°": "degree", "$": "dollar", "€": "euro", "£": "pound"}
_SYMBOLS = str.maketrans(
    {"∠": " angle ", "△": " triangle ", "π": " pi ", "∥": " parallel to ", "⊥": " perpendicular to ", "√": " sqrt "}
    | dict(zip("²³⁴", ("^2", "^3", "^4"), strict=True))
)
_NEGATED = re.compile(r"\b(is|are|was|were|do|does|did|has|have|had|can|could|would|should)n['’]?t\b", re.IGNORECASE)
_COMPOUNDS = (  # spellings of one compound
    (re.compile(r"\bt[- ]shirt"), "tshirt"),
    (re.compile(r"\bright[- ]angled triangle"), "right triangle"),
    (re.compile(r"\b(?:beside|adjacent to)\b"), "next to"),
    (re.compile(r"\b(?:is|are) equal to\b|\bequals?\b"), "="),
    (_NEGATED, r"\1 not"),
    (re.compile(r"\bcannot\b"), "can not"),
)
_FIRST_A = re.compile(r"(?:^|(?<=[.!?:;\n]))\s*A(?=\s+([a-z][a-z-]*))")  # an article, unless a function word follows
ARTICLES = {"a", "an", "the"}
_BE = (["is"], ["are"], ["was"], ["were"], ["be"])
LABEL = "§"  # the point A, which is no article
FORMULA = re.compile(
    r"[A-Za-z∠△]{1,4}\s*=\s*-?\w{1,6}(?:\.\d+)?[²³°]?(?:\s*[-+*/^]\s*\w{1,6})*|\(\s*-?[\d.]+\s*,\s*-?[\d.]+\s*\)"
)


@lru_cache(maxsize=65536)
def fold_key_word(key_word: str) -> tuple[str, ...]:
    """The folded words of a key word, without a leading article; () if it has no words."""
    words = fold_words(key_word)
    return tuple(words[1:] if len(words) > 1 and words[0] in {"a", "an", "the"} else words)


def fold_words(text: str) -> list[str]:
    """The folded words of a text: lower-case, singular, without accents, numbers as digits.

    >>> fold_words("Twenty-three Cafés' top-left corners: 1,000 %")
    ['23', 'cafe', 'top', 'left', 'corner', '1000', 'percent']
    """
    if "A" in text:
        articles = _FIRST_A.sub(lambda match: match[0] if match[1] in FUNCTION_WORDS else match[0].lower(), text)
        text = re.sub(r"(?<![\w'’])A(?![\w'’])", LABEL, articles)
    plain = unicodedata.normalize("NFKD", text.translate(_SYMBOLS).casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    plain = split_number_compounds(plain)
    for pattern, spelling in _COMPOUNDS:
        plain = pattern.sub(spelling, plain)
    plain = re.sub(r"['’]s?\b", "", plain)
    words = [_SIGNS.get(word, word) for word in _TOKEN.findall(unicodedata.normalize("NFKC", plain))]
    words = [word.replace(",", "") if word[-1].isdigit() else singular(word) for word in words]
    return fold_numbers([VARIANTS.get(word, word) for word in words])


def is_cjk(words: Sequence[str]) -> bool:
    """Whether most of the words are single characters of a script without spaces (Chinese, Japanese, Korean)."""
    return sum(re.match(f"[{_CJK}]", word) is not None for word in words) > len(words) / 2


def extract_key_words(description: str, most: int = 16) -> list[str]:
    """The key words of a teacher's description: objects, their numbers, attributes and places.

    Fixed rules extract them, without a model: the same text gives the same list in every process. The words between
    function words and punctuation form a phrase ("two red circles"). A phrase longer than `LONGEST_PHRASE` keeps its
    last words, because the noun comes last in English. Relations of place ("to the left of") are separate key words.
    The first `most` key words in the text are kept.

    >>> extract_key_words("The picture shows two red circles to the left of a blue square.")
    ['two red circles', 'left of', 'blue square']
    """
    found: dict[tuple[str, ...], str] = {}
    text = _NEGATED.sub(r"\1 not", _CORNER.sub(r"\1 \2", description))
    for formula in FORMULA.findall(text):
        found.setdefault(fold_key_word(formula), formula)
    for clause in _BREAK.split(FORMULA.sub(";", text)):
        words = re.findall(
            rf"-?[$€£]?\d+(?:[.,]\d+)*%?(?:D\b|x\d+)*|(?:(?![{_CJK}])[^\W\d_])+(?:[-'’][^\W\d_]+)*", clause
        )
        for phrase in _phrases([word for word, denied in zip(words, denied_words(words), strict=True) if not denied]):
            found.setdefault(fold_key_word(phrase), phrase)
    folded = f" {' '.join(fold_words(description))} "
    places = {words: folded.find(f" {' '.join(words)} ") for words in found if words}
    order = sorted((words for words, place in places.items() if place >= 0), key=lambda words: places[words])
    return [found[words] for words in order][:most]


def denied_words(words: Sequence[str]) -> list[bool]:
    """Which words of a clause name what is not in the image: "no car", "not wearing a hat", "the dog is missing".

    >>> denied_words("there is not a car in front of it".split())
    [False, False, False, True, True, False, False, False, False]
    """
    folded = [word.casefold() for word in words]
    flags: list[bool] = []
    denied = named = False  # named: the thing that is denied
    for place, word in enumerate(folded):
        before = folded[max(place - 2, 0) : place]
        if (word in ABSENT and before[-1:] in _BE) or (
            word in PRESENT and before[-1:] == ["not"] and before[:1] in _BE
        ):
            flags = [True] * place  # the subject is denied
        ends = word in FUNCTION_WORDS and (
            word not in CARRY or (named and word in ARTICLES and folded[place - 1] not in {"or", "of"})
        )
        if word in DENIALS or ends:
            denied = word in DENIALS and folded[place + 1 : place + 2] not in (["only"], ["just"])
            named = False
            flags.append(False)
        else:
            named = named or not (word in FUNCTION_WORDS or word.endswith("ing"))
            flags.append(denied)
    return flags


def _phrases(words: list[str]) -> list[str]:
    """The phrases of one clause, in order."""
    folded = [word.casefold() for word in words]
    phrases: list[str] = []
    run: list[str] = []
    position = 0
    while position < len(words):
        relation = next((r for r in RELATIONS if tuple(folded[position : position + len(r)]) == r), None)
        label = words[position] == "A" and (position > 0 or (folded[1:2] and folded[1] in FUNCTION_WORDS))
        if relation or (folded[position] in FUNCTION_WORDS and not label) or _is_verb(folded, position, len(run)):
            phrases += _noun_phrase(run)
            run = []
        else:
            run.append(words[position])
        if relation:
            phrases.append(" ".join(relation))
        position += len(relation) if relation else 1
    return phrases + _noun_phrase(run)


def _noun_phrase(run: list[str]) -> list[str]:
    """A run of content words as a list of one key word; an empty list if it does not describe the image."""
    while run and run[0].casefold() in UNDESCRIPTIVE:
        run = run[1:]
    if not run or singular(run[-1].casefold()) in UNDESCRIPTIVE:
        return []
    return [" ".join(run[-LONGEST_PHRASE:])]


def _is_verb(words: Sequence[str], position: int, before: int) -> bool:
    """Whether a content word is probably a verb form or an adverb, and not a noun or an adjective.

    `before` is the number of words of its phrase before it.
    """
    word, after = words[position], words[position + 1 : position + 2]
    if word in VERBS or (len(word) > 4 and word.endswith("ly") and word not in NOUNS_IN_LY):
        return True
    if len(word) > 5 and word.endswith("ing"):
        return word not in NOUNS_IN_ING
    if word in VERBS_OR_NOUNS:
        return (
            bool(before and after)
            and words[position - 1] not in COMPOUNDING
            and after[0] not in {"is", "are", "was", "were", "of", "and", "or", "have", "has"}
        )
    ends_phrase = not after or after[0] in FUNCTION_WORDS
    return len(word) > 4 and word.endswith("ed") and ends_phrase and word not in {"red"}
