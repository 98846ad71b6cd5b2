"""The keyword reward: the share of the question's key words that the image description contains.

A key word matches whole words only: "cat" is not in "category", "1" is not in "10". Case, accents, hyphens, plurals,
number words, spelling variants and signs ("∠ABC" is "angle ABC") do not matter: "seven circles" contains "7 circle".
The order of the words in a phrase matters. Only the image description counts, and in it only what it does not deny:
"there is no cat" contains no cat.

A description that only lists likely words scores 0: `pebr.rewards.prose` decides which words count.
"""

import re
from collections.abc import Iterable, Sequence

from pebr.english.key_words import CLAUSE, denied_words, fold_key_word, fold_words, is_cjk
from pebr.english.lexicon import DENIALS
from pebr.rewards.batch import RewardBatch
from pebr.rewards.prose import words_that_count
from pebr.rewards.stated_data import split_data

_MARKUP = re.compile(r"\*\*|__|^[ \t]{0,8}[*#]{1,6}[ \t]", re.MULTILINE)  # of Markdown: bold, bullets, headings
SKIPPED = "\n"  # replaces words that do not count; no key word contains it


def keyword_reward(batch: RewardBatch) -> list[float]:
    """The share of the key words that the image description contains: (S,) in [0, 1]."""
    return [
        keyword_share(key_words, response.description)
        for key_words, response in zip(batch.key_words, batch.parsed, strict=True)
    ]


def keyword_share(key_words: Sequence[str], description: str) -> float:
    """The share of the distinct key words that a description contains; 0 without key words, or for a mere word list.

    >>> keyword_share(["7 circles", "cat", "CIRCLE"], "There are seven circles in this category.")
    0.6666666666666666
    """
    wanted = {phrase for key_word in key_words if (phrase := fold_key_word(key_word))}
    if not wanted:
        return 0.0
    words: list[str] = []
    data: list[bool] = []
    clauses: list[list[str]] = [[]]
    for part, states_data in split_data(_MARKUP.sub("", description)):
        for place, piece in enumerate(CLAUSE.split(part)):
            folded = fold_words(piece)
            words += folded
            data += [states_data] * len(folded)
            clauses += [folded] if place else []
            clauses[-1] += [] if place else folded
    denied = [no for clause in clauses for no in denied_words(clause)]
    if not is_cjk(words):
        counts = words_that_count(words, data, frozenset(word for phrase in wanted for word in phrase))
        words = [word if counted else SKIPPED for word, counted in zip(words, counts, strict=True)]
    affirmed = _text(SKIPPED if no else word for word, no in zip(words, denied, strict=True))
    return sum(_text(phrase) in (_text(words) if phrase[0] in DENIALS else affirmed) for phrase in wanted) / len(wanted)


def _text(words: Iterable[str]) -> str:
    """Words as a text in which a phrase can be searched; "AB = 6" is "AB is 6"."""
    return f" {' '.join('is' if word == '=' else word for word in words)} "
