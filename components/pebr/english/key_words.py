"""Key words: fold words to a form that can be compared, and extract the key words of a description."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from pebr.english.lexicon import FUNCTION_WORDS, NOUNS_IN_ING, RELATIONS, UNDESCRIPTIVE
from pebr.english.words import fold_numbers, singular, split_number_compounds

LONGEST_PHRASE = 4  # words of an extracted key word
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts without spaces: each character is a word
_TOKEN = re.compile(rf"(?<![\w.])-?\d+(?:[.,]\d+)*|[{_CJK}]|(?:(?![{_CJK}])[^\W\d_])+|[%°$€£^+=<>/*\\]")
_BREAK = re.compile(r"[.;:!?()\n=<>+/]|,(?!\d)|(?<!\w)-(?!\w)")  # where a phrase ends
_CORNER = re.compile(r"\b(top|bottom|upper|lower)-(left|right)\b", re.IGNORECASE)
_SIGNS = {"%": "percent", "°": "degree", "$": "dollar", "€": "euro", "£": "pound"}


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
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    plain = re.sub(r"['’]s?\b", "", split_number_compounds(plain))
    words = [_SIGNS.get(word, word) for word in _TOKEN.findall(unicodedata.normalize("NFKC", plain))]
    words = [word.replace(",", "") if word[-1].isdigit() else singular(word) for word in words]
    return fold_numbers(words)


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
    for clause in _BREAK.split(_CORNER.sub(r"\1 \2", description)):
        words = re.findall(rf"-?\d+(?:[.,]\d+)*%?|(?:(?![{_CJK}])[^\W\d_])+(?:[-'’][^\W\d_]+)*", clause)
        for phrase in _phrases(words):
            found.setdefault(fold_key_word(phrase), phrase)
    text = f" {' '.join(fold_words(description))} "
    return [phrase for words, phrase in found.items() if words and f" {' '.join(words)} " in text][:most]


def _phrases(words: list[str]) -> list[str]:
    """The phrases of one clause, in order."""
    folded = [word.casefold() for word in words]
    phrases: list[str] = []
    run: list[str] = []
    position = 0
    while position < len(words):
        relation = next((r for r in RELATIONS if tuple(folded[position : position + len(r)]) == r), None)
        if relation or folded[position] in FUNCTION_WORDS or _is_verb(folded[position]):
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


def _is_verb(word: str) -> bool:
    """Whether a content word is probably a verb form, such as "wearing", and not a noun, such as "building"."""
    return len(word) > 5 and word.endswith("ing") and word not in NOUNS_IN_ING
