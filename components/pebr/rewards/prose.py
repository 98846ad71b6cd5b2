"""The guard against word lists: it decides which words of a description count for the keyword reward.

Without it, a list of all likely key words would score without describing the image. English prose is connected by
function words: prepositions, forms of "to be", pronouns, the verbs of descriptions. About a quarter of the words in
prose are such binding words. A list has none, or only articles, "and" and "no" between its items (`LOOSE_WORDS`).

Nothing counts in a description that is a word list:

- it has more than `SHORT` words, and either less than `LEAST_BINDING_SHARE` of them are binding words, or one binding
  word alone makes up more than `MOST_OF_ONE` of them ("circle of square of"); or
- it has `LEAST_WORDS` or more words, and less than `LEAST_FUNCTION_SHARE` of them are function words.

In other descriptions, these words do not count:

- words in a run of more than `LONGEST_RUN` words without a binding word;
- words after "no", up to the next function word: they name what is not in the image;
- distinct content words after the first `MOST_WORDS`.

If at least half of the distinct content words are words of the key words, only the rule for "no" applies, however terse
the description is. The guard cannot detect short lists and false sentences; the CLIP reward penalises those.
"""

from collections import Counter
from collections.abc import Sequence

from pebr.english.lexicon import FUNCTION_WORDS, LOOSE_WORDS

LEAST_WORDS = 8
LEAST_FUNCTION_SHARE = 0.08
SHORT = 20
LEAST_BINDING_SHARE = 0.12
MOST_OF_ONE = 0.4
LONGEST_RUN = 16
MOST_WORDS = 120
SKIPPED = "\n"  # replaces words that do not count; no key word contains it

_BINDING = FUNCTION_WORDS - LOOSE_WORDS


def words_that_count(words: Sequence[str], wanted: frozenset[str]) -> list[str]:
    """The words of a description that count, in order. `SKIPPED` stands in place of the others.

    `words` are those of the description, `wanted` those of the key words, both folded.

    >>> words_that_count("a red circle is to the left of no square".split(), frozenset({"circle"}))[-3:]
    ['of', 'no', '\\n']
    """
    content = [word for word in words if word not in FUNCTION_WORDS]
    if len(set(content)) <= 2 * len(wanted.intersection(content)):
        return _without_denied(words)
    if _is_word_list(words, len(content)):
        return []
    first = set(list(dict.fromkeys(content))[:MOST_WORDS])
    counted: list[str] = []
    run: list[str] = []
    for word in [*words, ""]:
        if word and word not in _BINDING:
            run.append(word if word in first or word in LOOSE_WORDS else SKIPPED)
            continue
        counted += run if len(run) <= LONGEST_RUN else [SKIPPED]
        counted.append(word)
        run = []
    return _without_denied(counted[:-1])


def _is_word_list(words: Sequence[str], content: int) -> bool:
    """Whether there are too many words, and too few binding words among them, for prose."""
    binding = [word for word in words if word in _BINDING]
    bare = len(words) >= LEAST_WORDS and len(words) - content < LEAST_FUNCTION_SHARE * len(words)
    if len(words) <= SHORT or bare:
        return bare
    commonest = max(Counter(binding).values(), default=0)
    return len(binding) < LEAST_BINDING_SHARE * len(words) or commonest > MOST_OF_ONE * len(words)


def _without_denied(words: Sequence[str]) -> list[str]:
    """The words, with those between "no" and the next function word replaced by `SKIPPED`."""
    counted: list[str] = []
    denied = False
    for word in words:
        if word in FUNCTION_WORDS:
            denied = word == "no"
        counted.append(SKIPPED if denied and word not in FUNCTION_WORDS else word)
    return counted
