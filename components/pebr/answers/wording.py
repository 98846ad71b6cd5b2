"""Answers in words: equal whatever their case, articles, hyphens and number words; and yes or no."""

import re
from functools import lru_cache

from pebr.english.words import fold_numbers, split_number_compounds

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?|\S")
_HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")
_ARTICLE = re.compile(r"\b(?:the|an)\s+(?=\w)|\ba\s+(?=[^\W\d_]{2})")
_ACRONYM = re.compile(r"(?<![^\W_])(?:[a-z]{1,2}\.){1,}[a-z](?![^\W_])\.?")  # "u.s.a."
_AND = re.compile(r"\s*,?\s+and\s+|\s*[;&]\s*(?:and\s+)?|\s*,(?!\d{3}(?!\d))\s*(?:and\s+)?")


@lru_cache(maxsize=2048)
def answer_words(text: str) -> tuple[str, ...]:
    """The words and signs of a plain text without case, articles, quotes, hyphens; numbers as digits, "and" as a comma.

    >>> answer_words("The top-left corner") == answer_words("top left corner")
    True
    >>> answer_words("red, green and blue") == answer_words("Red, green, and blue")
    True
    """
    folded = split_number_compounds(text.casefold()).replace('"', "")
    if "." in folded:
        folded = _ACRONYM.sub(lambda match: match[0].replace(".", ""), folded)
    folded = _AND.sub(" , ", _ARTICLE.sub("", _HYPHEN.sub(" ", folded)))
    return tuple(fold_numbers(_WORD.findall(folded)))


def same_words(first: str, second: str) -> bool:
    """True if two plain texts have the same words in the same order."""
    return first == second or answer_words(first) == answer_words(second)


_OPPOSITE = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
_CLAUSE = frozenset(re.findall(r"\S+", ", . ; : ! - it they there he she this that these those because since as i we"))


def yes_or_no(text: str, alone: bool) -> str:
    """The word yes, no, true or false that a plain text consists of; "" if there is none, or if both opposites occur.

    Unless `alone`, the word may also begin a longer answer ("Yes, it does").

    >>> yes_or_no("Yes, it does", alone=False), yes_or_no("No dogs", alone=False), yes_or_no("yes, no", alone=False)
    ('yes', '', '')
    """
    words = answer_words(text)
    if not words or words[0] not in _OPPOSITE or (alone and len(words) > 1):
        return ""
    if len(words) > 1 and (words[1] not in _CLAUSE or _OPPOSITE[words[0]] in words):
        return ""
    return words[0]
